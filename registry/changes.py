"""The outbox: one row per accepted write, in its transaction, read by log and resolvers alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from registry.store import changes as store
from registry.store.engine import WriteTx
from registry.store.tables import unit_of
from schemas.change import Op
from schemas.identifier import Prefix
from schemas.leaf import What


class Entry(NamedTuple):
    """One accepted write of a batch; the fields are those of `record`."""

    op: Op
    about: str
    version: int
    also: str = ""
    digest: str | None = None
    what: What = What.RECORD
    subject: str | None = None


async def record(
    tx: WriteTx,
    op: Op,
    prefix: Prefix,
    about: str,
    version: int,
    *,
    also: str = "",
    digest: str | None,
    what: What = What.RECORD,
    subject: str | None = None,
) -> int:
    """Tell of one write under `prefix`; return its position (the transaction's xid).

    `about` and `also` are as in `schemas.change.Change`; `digest` is the accepted envelope's, None
    where nothing was signed (a suspension). `what` and `subject`, which is `about` where not
    given, are those of the leaf that the log gains (`schemas.leaf`).
    """
    row = (op, about, also, version, digest, what, subject)
    return await store.insert_change(tx, unit_of(prefix), row)


async def record_many(tx: WriteTx, prefix: Prefix, entries: Iterable[Entry]) -> None:
    """Tell of many writes under one prefix, in order, by COPY."""
    rows = (
        (int(e.op), e.about, e.also, e.version, e.digest, e.what.value, e.subject) for e in entries
    )
    await store.copy_changes(tx, unit_of(prefix), rows)
