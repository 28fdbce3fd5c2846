"""SQL of the read index: how far a primary has come, and how far a standby has followed it."""
# ruff: noqa: S608  the statement is put together of constants

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import asyncpg

from .reads import RECOVERED


@dataclass(frozen=True, slots=True)
class Place:
    """How far the log of a primary is flushed, in which history of which server."""

    system: str
    timeline: str
    recovered: str
    lsn: str


# What is flushed is all that a commit, which waits for that, has let anybody see.
PLACE = f"""
SELECT (SELECT s.system_identifier::text FROM pg_control_system() AS s),
    left(pg_walfile_name(pg_current_wal_lsn()), 8), {RECOVERED},
    pg_current_wal_flush_lsn()::text
WHERE NOT pg_is_in_recovery()
"""
REPLAYED = """
SELECT pg_is_in_recovery(), coalesce(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, false)
"""


async def place(driver: asyncpg.Connection[Any]) -> Place | None:
    """Read how far this server's log is flushed; None on a standby, which writes none."""
    row = await driver.fetchrow(PLACE)
    return None if row is None else Place(*row)


async def replayed(driver: asyncpg.Connection[Any], lsn: str) -> tuple[bool, bool]:
    """Tell whether this server is a standby, and whether it has replayed a place."""
    row = await driver.fetchrow(REPLAYED, lsn)
    assert row is not None
    return row[0], row[1]
