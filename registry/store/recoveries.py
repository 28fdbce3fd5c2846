"""Recoveries: delegations by which a parent takes a prefix back, waiting for their time."""

from __future__ import annotations

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert as upsert

from registry.store.engine import WriteTx
from registry.store.prefixes import Recovery
from registry.store.tables import recoveries
from schemas.identifier import Prefix


async def insert(tx: WriteTx, prefix: Prefix, recovery: Recovery) -> bool:
    """Announce a recovery; False where one waits already."""
    statement = (
        upsert(recoveries)
        .values(
            prefix=str(prefix),
            sequence=recovery.sequence,
            delegation=recovery.delegation,
            effective_at=recovery.effective_at,
        )
        .on_conflict_do_nothing()
        .returning(recoveries.c.prefix)
    )
    return (await tx.connection.execute(statement)).one_or_none() is not None


async def take(tx: WriteTx, prefix: Prefix) -> Recovery | None:
    """Remove the recovery of a prefix and return it, None where none waits."""
    statement = (
        delete(recoveries)
        .where(recoveries.c.prefix == str(prefix))
        .returning(recoveries.c.sequence, recoveries.c.delegation, recoveries.c.effective_at)
    )
    row = (await tx.connection.execute(statement)).one_or_none()
    return Recovery(row.sequence, row.delegation, row.effective_at) if row else None
