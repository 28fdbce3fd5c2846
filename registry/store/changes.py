"""The outbox, `changes`: rows are inserted in the transaction of the write they tell of.

Nothing updates a row here, and only those that both readers have passed are deleted. Reading
follows the snapshot's xmin, never the last id.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
from sqlalchemy import insert

from registry.store.engine import WriteTx
from registry.store.tables import changes

# In the order of the last seven columns.
Row = tuple[int, str, str, int, str | None, str | None, str | None]

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


class Kept(NamedTuple):
    """How far back the outbox reaches, and how far both of its readers have come.

    Every change from position `since` on is there. The log has taken in all below `logged`, and
    every transaction below `xmin` has ended.
    """

    since: int
    logged: int
    xmin: int


class Passed(NamedTuple):
    """The changes of one transaction: its id, and when the last of them was accepted."""

    xid: int
    at: datetime


_KEPT = """
SELECT n.changes_since, s.cursor_xid, pg_snapshot_xmin(pg_current_snapshot())
FROM node AS n, log_state AS s WHERE n.id = 1 AND s.id = 1 FOR UPDATE OF n
"""
# The key begins with (xid, id), so each of these is one range of its index.
_OLDEST = """
SELECT c.xid, max(c.at) FROM (
    SELECT c.xid, c.at FROM changes AS c
    WHERE c.xid >= $1::xid8 AND c.xid < $2::xid8
    ORDER BY c.xid FETCH FIRST $3 ROWS WITH TIES
) AS c GROUP BY c.xid ORDER BY c.xid
"""
_FORGET = """
DELETE FROM changes AS c USING (
    SELECT o.unit, o.xid, o.id FROM changes AS o
    WHERE o.xid >= $1::xid8 AND o.xid < $2::xid8
) AS o WHERE c.unit = o.unit AND c.xid = o.xid AND c.id = o.id
"""


async def kept_since(driver: asyncpg.Connection[Any]) -> int:
    """Return the position from which on every change is there."""
    return await driver.fetchval("SELECT n.changes_since FROM node AS n WHERE n.id = 1") or 0


async def kept(driver: asyncpg.Connection[Any]) -> Kept | None:
    """Return what is kept, and lock it; None where no log was founded that reads the changes."""
    row = await driver.fetchrow(_KEPT)
    return None if row is None else Kept(*row)


async def oldest(driver: asyncpg.Connection[Any], since: int, end: int, limit: int) -> list[Passed]:
    """Return the first transactions from `since` on and below `end`: those of `limit` changes."""
    return [Passed(*row) for row in await driver.fetch(_OLDEST, since, end, limit)]


async def keep_since(driver: asyncpg.Connection[Any], since: int) -> None:
    """Say that of the changes below a position some may be gone."""
    await driver.execute("UPDATE node SET changes_since = $1::xid8 WHERE id = 1", since)


async def forget(driver: asyncpg.Connection[Any], since: int, end: int) -> int:
    """Delete the changes from `since` on and below `end`; return how many."""
    done: str = await driver.execute(_FORGET, since, end)
    return int(done.rpartition(" ")[2])
