"""Bare asyncpg: `asyncpg_loop.py SOCKET SECONDS CONNECTIONS NAMES whole|point`.

The look-ups of a resolver's misses, prepared, one identifier each, on so many connections at once;
`whole` is the very statement of the resolver, `point` reads the one row by its key. Rows are
fetched and thrown away: nothing is verified, rendered or kept.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from pathlib import Path

import asyncpg
import uvloop

from registry.store.reads import FETCH_WHOLE
from registry.store.tables import unit_of
from schemas.answer import MAX_LINKS
from schemas.identifier import Identifier
from tierlink.embedded.cluster import DATABASE, ROLE

SOCKET, SECONDS, CONNECTIONS = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
NAMES = [Identifier.parse(line) for line in Path(sys.argv[4]).read_text().splitlines()]
WHOLE = sys.argv[5] == "whole"

POINT = """SELECT unit, identifier, status, parent, envelope FROM identifiers
WHERE unit = $1 AND identifier = $2"""


def _arguments(item: Identifier) -> tuple[object, ...]:
    unit = unit_of(item.prefix)
    if not WHOLE:
        return unit, item.text
    above = sorted({str(held) for held in (item.prefix, *item.prefix.ancestors())})
    return [unit], [item.text], [item.suffix], above, MAX_LINKS + 1


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
    turn, times = itertools.cycle([_arguments(item) for item in NAMES]), []

    async def ask(until: float) -> None:
        async with pool.acquire() as connection:
            prepared = await connection.prepare(FETCH_WHOLE if WHOLE else POINT)
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
