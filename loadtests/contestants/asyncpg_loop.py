"""Bare asyncpg: `asyncpg_loop.py SOCKET SECONDS CONNECTIONS NAMES whole|point`.

The look-ups of a resolver's misses, prepared, one identifier each, on so many connections at once;
`whole` is the very statement of the resolver's source with its very arguments, taken down where it
would send them; `point` reads the one row by its key. Rows are fetched and thrown away: nothing is
verified, rendered or kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import asyncpg
import uvloop

from registry.reader import Reader
from registry.store.engine import Store
from registry.store.tables import unit_of
from schemas.identifier import Identifier
from tierlink.embedded.cluster import DATABASE, ROLE

SOCKET, SECONDS, CONNECTIONS = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
NAMES = [Identifier.parse(line) for line in Path(sys.argv[4]).read_text().splitlines()]
WHOLE = sys.argv[5] == "whole"

POINT = """SELECT unit, identifier, status, parent, envelope FROM identifiers
WHERE unit = $1 AND identifier = $2"""


class _Sent(Exception):
    """A statement and its arguments, instead of being sent."""


class _Driver:
    """In place of a store and of its driver."""

    @contextlib.asynccontextmanager
    async def statement(self) -> AsyncIterator[_Driver]:
        yield self

    async def fetch(self, statement: str, *arguments: object) -> None:
        raise _Sent(statement, arguments)


async def _look_ups() -> tuple[str, list[tuple[object, ...]]]:
    """Return the statement, and its arguments for each name."""
    if not WHOLE:
        return POINT, [(unit_of(item.prefix), item.text) for item in NAMES]
    reader, statement, asked = Reader(cast("Store", _Driver())), "", []
    for item in NAMES:
        try:
            await reader.fetch([item])
        except _Sent as sent:
            statement, arguments = sent.args
            asked.append(arguments)
    return statement, asked


async def main() -> None:
    """Ask for the given time and print one line as draws.lua does."""
    pool = await asyncpg.create_pool(
        user=ROLE,
        database=DATABASE,
        host=SOCKET,
        min_size=CONNECTIONS,
        max_size=CONNECTIONS,
        server_settings={"jit": "off", "plan_cache_mode": "force_generic_plan"},
    )
    statement, asked = await _look_ups()
    turn, times = itertools.cycle(asked), []

    async def ask(until: float) -> None:
        async with pool.acquire() as connection:
            prepared = await connection.prepare(statement)
            while (began := time.perf_counter()) < until:
                rows = await prepared.fetch(*next(turn))
                assert rows
                times.append(time.perf_counter() - began)

    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(ask(began + SECONDS) for _ in range(CONNECTIONS)))
    spent, took = time.process_time() - cpu, time.perf_counter() - began
    await pool.close()
    times.sort()
    print(
        f"RESULT requests={len(times)} duration={took * 1e6:.0f}"
        f" p50={times[len(times) // 2] * 1e6:.0f} p99={times[len(times) * 99 // 100] * 1e6:.0f}"
        f" cpu={spent * 1e6:.0f}"
    )


uvloop.run(main())
