"""SQL of batch statements: each that was accepted, once."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from registry.store.engine import ReadTx, WriteTx
from registry.store.tables import batches


async def insert_new(
    tx: WriteTx, unit: int, statements: Sequence[tuple[str, int, str]]
) -> set[str]:
    """Insert statements (digest, records, text); return the digests of those not there before.

    A concurrent insert of the same statement is waited for, and its outcome decides.
    """
    rows = [
        {"unit": unit, "digest": digest, "records": records, "statement": text}
        for digest, records, text in sorted(statements)
    ]
    query = insert(batches).values(rows).on_conflict_do_nothing().returning(batches.c.digest)
    return set((await tx.connection.execute(query)).scalars())


async def count(tx: ReadTx, unit: int) -> int:
    """Count the statements accepted under a prefix."""
    query = select(func.count()).select_from(batches).where(batches.c.unit == unit)
    return int((await tx.connection.execute(query)).scalar_one())
