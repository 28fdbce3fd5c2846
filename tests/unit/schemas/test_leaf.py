"""Leaves of the log: they come back as they were, and nothing else passes for one."""

import pytest

from schemas.keys import b64encode, sha256
from schemas.leaf import Epoch, Leaf, What, commitment
from tests.parties import prefix, refusal

DIGEST = b64encode(sha256(b"envelope"))
SUBJECT = commitment(bytes(32), "88.100/A")
LEAF = Leaf(What.RECORD, prefix("88.100"), SUBJECT, 7, DIGEST)
EPOCH = Epoch(3, 70_001, sha256(b"root"), sha256(b"other root"))


@pytest.mark.parametrize("what", What)
def test_a_leaf_survives_its_bytes(what):
    leaf = Leaf(what, prefix("88.100"), SUBJECT, 7, DIGEST)
    assert leaf.entry == f"tierlink-leaf/v1\n{what}\n88.100\n{SUBJECT}\n7\n{DIGEST}\n".encode()
    assert Leaf.parse(leaf.entry) == leaf


def test_an_epoch_survives_its_bytes():
    roots = f"{b64encode(EPOCH.identifiers)}\n{b64encode(EPOCH.prefixes)}\n"
    assert EPOCH.entry == f"tierlink-epoch/v1\n3\n70001\n{roots}".encode()
    assert Epoch.parse(EPOCH.entry) == EPOCH


def test_a_commitment_depends_on_the_salt():
    assert commitment(b"a" * 32, "88.100/A") != commitment(b"b" * 32, "88.100/A")
    assert len(SUBJECT) == 43


CHANGES = {  # what is replaced in a leaf, by what, verdict
    "head": ("leaf/v1", "leaf/v2", "E_FORMAT"),
    "epoch": ("tierlink-leaf", "tierlink-epoch", "E_FORMAT"),
    "what": ("record", "recall", "E_FORMAT"),
    "prefix": ("88.100", "88.A", "E_FORMAT"),
    "version-zeros": ("\n7\n", "\n07\n", "E_FORMAT"),
    "version-signed": ("\n7\n", "\n+7\n", "E_FORMAT"),
    "version-enormous": ("\n7\n", "\n" + "7" * 20 + "\n", "E_FORMAT"),
    "digest-short": (DIGEST, DIGEST[:-1], "E_FORMAT"),
    "digest-trailing-bits": (DIGEST, DIGEST[:-1] + "9", "E_FORMAT"),
    "subject-padded": (SUBJECT, SUBJECT + "=", "E_FORMAT"),
    "line-more": ("record\n", "record\nx\n", "E_FORMAT"),
    "line-missing": ("record\n", "", "E_FORMAT"),
    "carriage-return": ("record\n", "record\r\n", "E_FORMAT"),
    "not-ascii": ("record", "\u00e9", "E_FORMAT"),
    "too-long": ("record", "r" * 2048, "E_LIMIT"),
}


@pytest.mark.parametrize(("old", "new", "code"), CHANGES.values(), ids=CHANGES)
def test_what_is_no_leaf(old, new, code):
    text = LEAF.entry.decode()
    assert text.count(old) == 1
    assert refusal(Leaf.parse, text.replace(old, new).encode()) == code


@pytest.mark.parametrize("entry", [b"", b"\n", LEAF.entry[:-1], LEAF.entry + b"\n", EPOCH.entry])
def test_what_is_no_leaf_at_all(entry):
    assert refusal(Leaf.parse, entry) == "E_FORMAT"


@pytest.mark.parametrize(
    ("old", "new"),
    [("\n3\n", "\n-3\n"), ("70001", "070001"), ("70001", "\u0667"), ("70001\n", "")],
    ids=["negative", "leading-zero", "arabic-digit", "line-missing"],
)
def test_what_is_no_epoch(old, new):
    assert refusal(Epoch.parse, EPOCH.entry.decode().replace(old, new).encode()) == "E_FORMAT"


def test_an_epoch_root_has_one_spelling():
    spelled = b64encode(EPOCH.identifiers)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = spelled[:-1] + alphabet[alphabet.index(spelled[-1]) | 1]
    entry = EPOCH.entry.decode().replace(spelled, other)
    assert refusal(Epoch.parse, entry.encode()) == "E_FORMAT"
