"""The outbox, `changes`: rows are inserted in the transaction of the write they tell of.

Nothing updates or deletes a row here. Reading follows the snapshot's xmin, never the last id.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import insert

from registry.store.engine import WriteTx
from registry.store.tables import changes

# In the order of the last seven columns.
Row = tuple[int, str, str, int, str | None, str, str | None]

_COLUMNS = ("unit", "op", "about", "also", "version", "digest", "what", "subject")


async def insert_change(tx: WriteTx, unit: int, row: Row) -> int:
    """Insert one row; return its xid, the position of the change."""
    values = dict(zip(_COLUMNS, (unit, *row), strict=True))
    statement = insert(changes).values(values).returning(changes.c.xid)
    return int((await tx.connection.execute(statement)).scalar_one())


async def copy_changes(tx: WriteTx, unit: int, rows: Iterable[Row]) -> None:
    """Insert many rows by COPY, in order."""
    driver = await tx.driver()
    await driver.copy_records_to_table(
        changes.name, records=((unit, *row) for row in rows), columns=_COLUMNS
    )
