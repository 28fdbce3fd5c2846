"""Bare redis-py: `redis_loop.py PORT SECONDS CONNECTIONS`.

GETs of every key that is there, one after another on each of so many connections at once. No
answer is looked at.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time

import uvloop
from redis.asyncio import Redis

PORT, SECONDS, CONNECTIONS = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])


async def main() -> None:
    """Ask for the given time and print one line as draws.lua does."""
    client = Redis(port=PORT, protocol=3, max_connections=CONNECTIONS)
    keys = [key async for key in client.scan_iter(match="*", count=1000)]
    turn, times = itertools.cycle(keys), []

    async def ask(until: float) -> None:
        while (began := time.perf_counter()) < until:
            found = await client.get(next(turn))
            assert found is not None
            times.append(time.perf_counter() - began)

    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(ask(began + SECONDS) for _ in range(CONNECTIONS)))
    spent, took = time.process_time() - cpu, time.perf_counter() - began
    await client.aclose()
    times.sort()
    print(
        f"RESULT requests={len(times)} duration={took * 1e6:.0f}"
        f" p50={times[len(times) // 2] * 1e6:.0f} p99={times[len(times) * 99 // 100] * 1e6:.0f}"
        f" cpu={spent * 1e6:.0f}"
    )


uvloop.run(main())
