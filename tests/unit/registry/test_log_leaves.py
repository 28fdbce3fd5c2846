"""From a row of the outbox to its entry: the kinds, the subject, the salted commitment."""

import pytest

from registry.log.leaves import entry_of, other
from registry.store.log import ChangeRow
from schemas.errors import TierlinkError
from schemas.keys import B64, b64encode, sha256
from schemas.leaf import Epoch, Leaf, What, commitment, status_digest
from schemas.merkle import leaf_hash

SALT = bytes(range(32))
DIGEST = b64encode(sha256(b"an envelope"))


def row(what, about="88.100/A-1", subject=None, **members):
    given = {"digest": DIGEST, "salt": SALT, "version": 3} | members
    return ChangeRow(
        7, 11, "88.100", about, given["version"], given["digest"], what, subject, given["salt"]
    )


@pytest.mark.parametrize(
    ("what", "about", "subject", "named", "indexed"),
    [
        ("record", "88.100/A-1", None, "88.100/A-1", True),
        ("link", "88.100/A-1", "key/upstream", "key/upstream", True),
        ("delegation", "88.100", None, "88.100", True),
        ("status", "88.100", None, "88.100", False),
        ("revocation", "88.100", "a-kid", "a-kid", False),
        ("batch", "88.100", "a-digest", "a-digest", True),
    ],
    ids=str,
)
def test_kinds(what, about, subject, named, indexed):
    entry = entry_of(row(what, about, subject))
    leaf = Leaf.parse(entry.leaf)
    assert (leaf.what, str(leaf.prefix), leaf.version) == (What(what), "88.100", 3)
    assert leaf.subject == commitment(SALT, named)
    assert leaf.digest == DIGEST
    assert entry.digest == (DIGEST if indexed else None)
    assert entry.hash == leaf_hash(entry.leaf)


def test_names_nothing():
    entry = entry_of(row("record"))
    assert b"A-1" not in entry.leaf


def test_root_prefix():
    entry = entry_of(row("delegation", ".")._replace(prefix="."))
    assert str(Leaf.parse(entry.leaf).prefix) == "."


@pytest.mark.parametrize("missing", ["digest", "salt"])
def test_a_row_of_somebody_else_is_refused(missing):
    with pytest.raises(TierlinkError, match="change 11 of transaction 7 has no"):
        entry_of(row("record", **{missing: None}))


def test_a_resumption_brings_the_delegation_back():
    suspended = status_digest(DIGEST, suspended=True)
    assert suspended == b64encode(sha256(f"tierlink-suspended\n{DIGEST}".encode()))
    assert status_digest(B64(DIGEST), suspended=False) == DIGEST


def test_an_epoch_is_indexed_nowhere():
    entry = other(Epoch(1, 2, bytes(32), bytes(32)).entry)
    assert (entry.digest, entry.hash) == (None, leaf_hash(entry.leaf))
