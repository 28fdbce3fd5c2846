"""From a row of the outbox to the entry of the log that stands for it. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from registry.store.log import ChangeRow
from schemas.errors import TierlinkError
from schemas.identifier import Prefix
from schemas.keys import B64
from schemas.leaf import Leaf, What, commitment
from schemas.merkle import leaf_hash

# Kinds whose digest is that of one envelope and of no other leaf: each is in the log at most once
# (I7). A resumption repeats its delegation's, a revocation names the one it is listed in.
ENVELOPES = frozenset(
    {What.RECORD, What.LINK, What.DELEGATION, What.BATCH, What.GRANT, What.NOTICE}
)

_parse = lru_cache(maxsize=8192)(Prefix.parse)


class Entry(NamedTuple):
    """An entry that waits for its index."""

    hash: bytes
    leaf: bytes
    digest: str | None  # of the envelope it stands for; None for every other entry


def entry_of(row: ChangeRow) -> Entry:
    """Return the entry of a change; raise TierlinkError where the row cannot have one."""
    if row.salt is None or row.digest is None:
        missing = "digest" if row.digest is None else f"prefix {row.prefix}"
        raise TierlinkError(
            f"change {row.id} of transaction {row.xid} has no {missing}: it was not written by "
            "this registry",
            value=row.about,
            fix="find who writes to the table `changes`; the log waits at this row",
        )
    what = What(row.what)
    subject = row.about if row.subject is None else row.subject
    prefix = _parse(row.prefix)
    digest = B64(row.digest)
    leaf = Leaf(what, prefix, commitment(row.salt, subject), row.version, digest).entry
    return Entry(leaf_hash(leaf), leaf, digest if what in ENVELOPES else None)


def other(leaf: bytes) -> Entry:
    """Return the entry of a leaf that stands for no change: that of an epoch."""
    return Entry(leaf_hash(leaf), leaf, None)
