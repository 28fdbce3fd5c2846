"""What lies behind the first cache: Redis, and the database, against bare loops over the same.

A real resolver with its second cache. Its first one is as small as the settings allow (1 MiB, some
550 answers) and asked in a circle of many more, so that it hits next to nothing; what came from
where is read from /metrics. The resolver, or the bare loop, shares core 0 with Redis and
PostgreSQL; the load is on core 1.
"""

from __future__ import annotations

import contextlib
import http.client
import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

from resolver.lookup import ALOFT

from . import harness
from .harness import Contestant, Result, Row, Settings, Target
from .parts import CACHE_KEY, PREFIX, Data, Holder, counters, database, redis_server, role

CONTESTANTS = harness.HERE.parent / "contestants"
WARM = 6_000  # answers that are in Redis
COLD = 20_000  # identifiers of a turn; the resolver must not come round to them again
SHARED, READ = 0.5, 0.4  # targets
SOURCES = {
    "L1": 'tierlink_resolve_requests_total{source="l1"}',
    "L2": "tierlink_shared_hits_total",
    "database": 'tierlink_resolve_requests_total{source="db"}',
}


def measure(settings: Settings) -> list[Result]:
    """Measure what misses both caches, then what only the second one has."""
    turns = max(2, settings.runs)
    warm = _names("W", WARM)
    cold = [_names(f"C{turn}", COLD) for turn in range(turns)]
    with contextlib.ExitStack() as stack:
        data = stack.enter_context(database())
        with role("registry", data, settings) as registry:
            holder = Holder(registry.url, data.folder)
            for names in (warm, *cold):
                holder.register(name.partition("/")[2] for name in names)
        redis = stack.enter_context(redis_server(settings))
        env = {
            "TIERLINK_REDIS_URL": f"redis://127.0.0.1:{redis}/0",
            "TIERLINK_CACHE_KEY": CACHE_KEY,
            "TIERLINK_CACHE_BYTES": str(1 << 20),
        }
        resolver = stack.enter_context(role("resolver", data, settings, env))
        shared = _shared(resolver, redis, warm, settings)
        return [shared, _read(resolver, data, cold, settings)]


def _names(letter: str, count: int) -> list[str]:
    return [f"{PREFIX}/{letter}-{number:06d}" for number in range(count)]


def _write(names: Sequence[str], path: Path) -> Path:
    path.write_text("".join(f"/{name}\t\n" for name in names))
    return path


# L1 misses, L2 hits


def _shared(resolver: Contestant, redis: int, names: list[str], settings: Settings) -> Result:
    ours = resolver.row = Row("resolver, L1 miss, L2 hit")
    bare = Row("bare redis-py, one GET each", unit="GETs/s")
    draws = _write(names, settings.scratch / "warm.txt")
    _ask(resolver.url, names)
    command = harness.python(
        CONTESTANTS / "redis_loop.py", redis, settings.seconds, settings.connections
    )
    shares = []
    for _ in range(settings.runs):
        before = counters(resolver.url)
        ours.samples.append(harness.wrk(resolver, draws, settings))
        shares.append(_shares(before, counters(resolver.url)))
        bare.samples.append(harness.loop(command))
    return Result(
        "L1 miss, L2 hit",
        [ours, bare],
        [Target("L1 miss, L2 hit / bare redis-py", harness.ratio(ours, bare), SHARED)],
        [f"{WARM:,} answers in a circle; they came from: {shares[-1]}"],
    )


def _ask(url: str, names: Sequence[str]) -> None:
    """Ask for each name once, so that all are written to the second cache."""

    def some(part: Sequence[str]) -> None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc)
        for name in part:
            connection.request("GET", f"/{name}", headers={"accept": "application/json"})
            reply = connection.getresponse()
            reply.read()
            if reply.status != http.client.OK:
                raise RuntimeError(f"{name}: {reply.status}")
        connection.close()

    parts = 8
    with ThreadPoolExecutor(parts) as pool:
        list(pool.map(some, [names[at::parts] for at in range(parts)]))


def _shares(before: dict[str, float], after: dict[str, float]) -> str:
    """Say which share of the answers came from where."""
    moved = {tier: after.get(name, 0) - before.get(name, 0) for tier, name in SOURCES.items()}
    total = sum(moved.values()) or 1
    return ", ".join(f"{tier} {count / total:.1%}" for tier, count in moved.items())


# Neither has it


def _read(
    resolver: Contestant, data: Data, cold: Sequence[list[str]], settings: Settings
) -> Result:
    ours = resolver.row = Row("resolver, L1 and L2 miss, verified")
    bare = Row("bare asyncpg, the same look-up", unit="look-ups/s")
    point = Row("bare asyncpg, one row by its key", unit="look-ups/s")
    shares, times = [], []
    for number, names in enumerate(cold):
        draws = _write(names, settings.scratch / f"cold{number}.txt")
        before = counters(resolver.url)
        marks = [_database_seconds(data)]
        ours.samples.append(harness.wrk(resolver, draws, settings))
        marks.append(_database_seconds(data))
        shares.append(_shares(before, counters(resolver.url)))
        listed = settings.scratch / f"cold{number}.names"
        listed.write_text("".join(f"{name}\n" for name in names))
        for row, kind in ((bare, "whole"), (point, "point")):
            command = harness.python(
                CONTESTANTS / "asyncpg_loop.py", data.socket, settings.seconds, ALOFT, listed, kind
            )
            row.samples.append(harness.loop(command))
            marks.append(_database_seconds(data))
        times.append(
            [
                _each(row, spent, settings)
                for row, spent in zip((ours, bare), _steps(marks), strict=True)
            ]
        )
    whole, alone = (statistics.median(column) for column in zip(*times, strict=True))
    return Result(
        "L1 and L2 miss",
        [ours, bare, point],
        [Target("L1 and L2 miss, verified / bare asyncpg", harness.ratio(ours, bare), READ)],
        [
            (
                f"each identifier was never asked for before; answers came from: {shares[-1]}; the"
                f" bare loops use {ALOFT} connections, as many as a resolver reads over at a time"
            ),
            f"against one row by its key: {harness.ratio(ours, point):.2f}",
            (
                "processor time of one look-up, the database's with it, which depends little on"
                f" who else wants the core: {whole:.0f} µs and {alone:.0f} µs,"
                f" ratio {alone / whole:.2f}"
            ),
        ],
    )


def _database_seconds(data: Data) -> float:
    """Return the processor time of the database so far, with its connections that are closed."""
    process = int(next(data.folder.rglob("postmaster.pid")).read_text().split()[0])
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    ended = (int(fields[13]) + int(fields[14])) / harness.TICKS
    return harness.cpu_seconds(process) + ended


def _steps(marks: Sequence[float]) -> list[float]:
    return [after - before for before, after in pairwise(marks)][:2]


def _each(row: Row, database: float, settings: Settings) -> float:
    """Return µs of one look-up of the last turn: of whoever asked, and of the database."""
    sample = row.samples[-1]
    return sample.cpu_ms + database / (sample.per_second * settings.seconds) * 1e6
