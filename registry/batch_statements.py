"""Batch statements: kept and told of once, in the transaction that accepts the first record.

The records of a statement come in any order and in any number of requests, at once too. Whoever
writes one admits its statement at the end, after the rows of the records, so that two who write
records of the same statement never wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable

from registry import changes
from registry.changes import Entry
from registry.store import batch_statements as store
from registry.store.engine import WriteTx
from registry.store.tables import unit_of
from schemas.batched import Statement, parse_statement
from schemas.change import Op
from schemas.envelope import Envelope
from schemas.identifier import Prefix
from schemas.leaf import What


async def admit(tx: WriteTx, prefix: Prefix, accepted: Iterable[Envelope | None]) -> None:
    """Keep the statements of what was accepted; tell of each that is new, for the log alone."""
    signed = (one.statement for one in accepted if one is not None and one.statement is not None)
    await admit_all(tx, prefix, (one.token for one in signed))


async def admit_all(tx: WriteTx, prefix: Prefix, statements: Iterable[str]) -> None:
    """Keep these statements, as `admit` does."""
    found = {text: parse_statement(text) for text in statements}
    if not found:
        return
    digests: dict[str, Statement] = {one.envelope.digest: one for one in found.values()}
    rows = [(digest, one.count, one.envelope.token) for digest, one in digests.items()]
    new = await store.insert_new(tx, unit_of(prefix), rows)
    entries = [_entry(prefix, digest, digests[digest].count) for digest in sorted(new)]
    if entries:
        await changes.record_many(tx, prefix, entries)


def _entry(prefix: Prefix, digest: str, count: int) -> Entry:
    return Entry(Op.LOGGED, str(prefix), count, digest=digest, what=What.BATCH, subject=digest)
