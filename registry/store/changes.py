"""The outbox, `changes`: rows are inserted in the transaction of the write they tell of.

Nothing updates or deletes a row here. Reading follows the snapshot's xmin, never the last id.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import insert

from registry.store.engine import WriteTx
from registry.store.tables import changes

Row = tuple[int, str, str, int, str | None]  # in the order of the last five columns

_COLUMNS = ("unit", "op", "about", "also", "version", "digest")


async def insert_change(tx: WriteTx, unit: int, row: Row) -> int:
    """Insert one row; return its xid, the position of the change."""
    op, about, also, version, digest = row
    statement = (
        insert(changes)
        .values(unit=unit, op=op, about=about, also=also, version=version, digest=digest)
        .returning(changes.c.xid)
    )
    return int((await tx.connection.execute(statement)).scalar_one())


async def copy_changes(tx: WriteTx, unit: int, rows: Iterable[Row]) -> None:
    """Insert many rows by COPY, in order."""
    driver = await tx.driver()
    await driver.copy_records_to_table(
        changes.name, records=((unit, *row) for row in rows), columns=_COLUMNS
    )
