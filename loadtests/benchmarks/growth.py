"""Whether a large registry is slower: the cold median at N identifiers against that at 10,000.

Two databases, a resolver over each, asked in turns over one connection for identifiers that it
was never asked for before: look up, verify, render. All that are asked for are signed records,
spread evenly over the keys and the pages of the table. Those between them are there for their
bytes: copies of one record under other names, which nobody reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, replace
from urllib.parse import urlsplit

import asyncpg

from registry.store.tables import unit_of
from registry.succession import standing
from schemas.record import parse_record
from tierlink.embedded.cluster import DATABASE, ROLE

from . import harness
from .harness import Contestant, Result, Row, Sample, Settings, Target
from .parts import PREFIX, Data, Holder, database, role

SMALL = 10_000
TURNS = 4
EACH = 500  # identifiers of a turn
BOUND = 1.3


def measure(settings: Settings) -> list[Result]:
    """Fill both, then ask in turns."""
    large = max(settings.growth, SMALL)
    rows = [Row(f"cold at {count:,} identifiers", unit="requests/s") for count in (large, SMALL)]
    filled = []
    with contextlib.ExitStack() as stack:
        resolvers = []
        for count in (large, SMALL):
            data = stack.enter_context(database())
            filled.append(_fill(data, count, settings))
            resolvers.append(stack.enter_context(role("resolver", data, settings)))
        for turn in range(TURNS):
            for row, resolver, count in zip(rows, resolvers, (large, SMALL), strict=True):
                numbers = range(turn, TURNS * EACH, TURNS)
                names = [_name(_place(number, count)) for number in numbers]
                row.samples.append(_cold(resolver, names))
    ratio = rows[0].median("p50_ms") / rows[1].median("p50_ms")
    return [
        Result(
            "Cold resolve in a large registry",
            rows,
            [Target(f"cold median at {large:,} / at {SMALL:,}", ratio, BOUND, at_most=True)],
            [
                (
                    f"one connection, {TURNS * EACH:,} identifiers each; the table of the large"
                    f" one has {filled[0] / 1e6:,.0f} MB with its keys"
                )
            ],
        )
    ]


def _place(number: int, count: int) -> int:
    """Return where the identifier asked for as the n-th lies among all."""
    return number * count // (TURNS * EACH)


def _name(place: int) -> str:
    return f"G-{place:09d}"


def _fill(data: Data, count: int, settings: Settings) -> int:
    """Copy `count` rows; return the bytes of the table and its indexes."""
    with role("registry", data, settings) as registry:
        holder = Holder(registry.url, data.folder)
    return asyncio.run(_copy(data, _rows(holder, count)))


def _rows(holder: Holder, count: int) -> Iterator[tuple[object, ...]]:
    asked = {_place(number, count) for number in range(TURNS * EACH)}
    unit, filler = unit_of(PREFIX), None
    for place in range(count):
        if place in asked or filler is None:
            envelope, record = parse_record(holder.token(_name(place)))
            filler = standing(record, envelope)
            yield (unit, *astuple(filler))
        else:
            yield (unit, *astuple(replace(filler, identifier=f"{PREFIX}/{_name(place)}")))


async def _copy(data: Data, rows: Iterator[tuple[object, ...]]) -> int:
    connection = await asyncpg.connect(user=ROLE, database=DATABASE, host=data.socket)
    try:
        await connection.copy_records_to_table("identifiers", records=rows)
        await connection.execute("VACUUM (ANALYZE, FREEZE) identifiers")
        await connection.execute("CHECKPOINT")
        return int(await connection.fetchval("SELECT pg_total_relation_size('identifiers')"))
    finally:
        await connection.close()


def _cold(resolver: Contestant, names: Sequence[str]) -> Sample:
    """Ask for each once over one connection."""
    connection = http.client.HTTPConnection(urlsplit(resolver.url).netloc)
    times = []
    before = harness.cpu_seconds(resolver.process)
    for name in names:
        began = time.perf_counter()
        connection.request("GET", f"/{PREFIX}/{name}", headers={"accept": "application/json"})
        reply = connection.getresponse()
        reply.read()
        times.append(time.perf_counter() - began)
        if reply.status != http.client.OK:
            raise RuntimeError(f"{name}: {reply.status}")
    spent = harness.cpu_seconds(resolver.process) - before
    connection.close()
    times.sort()
    return Sample(
        len(times) / sum(times),
        times[len(times) // 2] * 1000,
        times[len(times) * 99 // 100] * 1000,
        spent * 1e6 / len(times),
    )
