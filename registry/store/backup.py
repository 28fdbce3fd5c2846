"""SQL of backup and restore: what a database holds, in one snapshot, and how its history begins.

Left out of a backup is what belongs to one history of one server: its name, the canary, and the
changes, whose positions are transaction ids of that server. Of these only what the log had not
taken in is kept, in order, without positions. First answers and challenges of the moment are left
out too: they may hold secrets, and nobody asks for them any more.
"""
# ruff: noqa: S608  the statements are put together of names in `tables`, never of input

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import asyncpg

from .tables import canary, challenges, changes, idempotency, log_state, metadata, node

LEFT_OUT = frozenset(table.name for table in (canary, challenges, changes, idempotency, node))
SUMMED = sorted(set(metadata.tables) - LEFT_OUT - {log_state.name})  # its cursor is a position

_COLUMNS = ("unit", "at", "op", "about", "also", "version", "digest", "what", "subject")
_WAITING = f"""
SELECT {", ".join(f"c.{name}" for name in _COLUMNS)} FROM changes AS c, log_state AS s
WHERE s.id = 1 AND (c.xid, c.id) > (s.cursor_xid, s.cursor_id) AND c.what IS NOT NULL
ORDER BY c.xid, c.id
"""
# In one form, whatever the server and the session are set to.
_FORM = """
SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'; SET LOCAL bytea_output = 'hex';
SET LOCAL extra_float_digits = 1; SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0
"""


class Facts(NamedTuple):
    """What a database is: its server's version, its schema and its history."""

    server: str
    schema: str
    incarnation: str


class Sum(NamedTuple):
    """How many rows a table has, and the sum of 64 bits of the SHA-256 of each."""

    rows: int
    sum: str


async def patient(driver: asyncpg.Connection[Any]) -> None:
    """Let this transaction take as long as it takes, and show values in one form."""
    await driver.execute(_FORM)


async def export(driver: asyncpg.Connection[Any]) -> str:
    """Return the name under which others may read in this transaction's snapshot."""
    return str(await driver.fetchval("SELECT pg_export_snapshot()"))


async def facts(driver: asyncpg.Connection[Any]) -> Facts | None:
    """Return what a founded database is."""
    row = await driver.fetchrow(
        "SELECT current_setting('server_version'), (SELECT version_num FROM alembic_version),"
        " n.incarnation FROM node AS n WHERE n.id = 1"
    )
    return None if row is None else Facts(*row)


async def is_empty(driver: asyncpg.Connection[Any]) -> bool:
    """Tell whether there is no table at all."""
    query = "SELECT NOT EXISTS (SELECT FROM pg_tables WHERE schemaname = 'public')"
    return bool(await driver.fetchval(query))


async def sums(driver: asyncpg.Connection[Any]) -> dict[str, Sum]:
    """Return the sums of all tables that a backup has whole; the order of rows is none of it."""
    found = {}
    for table in SUMMED:
        row = await driver.fetchrow(
            "SELECT count(*), coalesce(sum(('x' || encode(substr(sha256(convert_to(t::text,"
            " 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint::numeric), 0)::text"
            f" FROM {table} AS t"
        )
        assert row is not None
        found[table] = Sum(*row)
    return found


async def copy_waiting(driver: asyncpg.Connection[Any], path: Path) -> int:
    """Write the changes that the log has not taken in to a file, by COPY; return how many."""
    done: str = await driver.copy_from_query(_WAITING, output=path)
    return int(done.rpartition(" ")[2])


async def begin(driver: asyncpg.Connection[Any], incarnation: str, waiting: Path) -> int:
    """Begin a history in a database that was loaded: its name, its changes, the log's place.

    Return how many changes wait for the log. Their position is that of this transaction, and no
    change before it is kept.
    """
    await driver.execute(
        "INSERT INTO node (id, incarnation, changes_since) VALUES (1, $1, pg_current_xact_id())",
        incarnation,
    )
    await driver.execute("UPDATE log_state SET cursor_xid = '0', cursor_id = 0 WHERE id = 1")
    done: str = await driver.copy_to_table(changes.name, source=waiting, columns=list(_COLUMNS))
    return int(done.rpartition(" ")[2])


async def analyze(driver: asyncpg.Connection[Any]) -> None:
    """Let the planner know what was loaded."""
    await driver.execute("ANALYZE", timeout=None)
