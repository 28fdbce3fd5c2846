"""The canary: one row, written again and again, that says when and by which transaction."""

from __future__ import annotations

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert

from registry.store.engine import WriteTx
from registry.store.tables import canary


async def write(tx: WriteTx, least: float) -> None:
    """Write it, unless somebody did within the last `least` seconds."""
    statement = insert(canary).values(
        id=1, xid=func.pg_current_xact_id(), at=func.clock_timestamp()
    )
    fresh = statement.on_conflict_do_update(
        index_elements=[canary.c.id],
        set_={"xid": statement.excluded.xid, "at": statement.excluded.at},
        where=canary.c.at < func.clock_timestamp() - func.make_interval(0, 0, 0, 0, 0, 0, least),
    )
    await tx.connection.execute(fresh)
