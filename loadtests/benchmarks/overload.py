"""Three times what a resolver can do: what it still does of that, and how soon it says no.

Each request is for a serial that nobody asked for before and that a class record covers, so that
each is a read of the database, verified and rendered. The maximum is what a closed loop gets out
of the resolver, with so many connections that reads are gathered. Then requests come at a fixed
rate, three times that, however slow the answers are (an open loop, `loadtests.arrivals`). The
resolver shares core 0 with PostgreSQL, the load is on core 1; what of it the generator itself was
late is told, and a run in which that is much says little.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import uvloop

from loadtests.arrivals import Asked, Figures, Load, Plan, clock
from loadtests.histogram import Histogram
from loadtests.http1 import Connection
from schemas.identifier import Identifier
from schemas.record import CLASS, Record
from schemas.rule import Rule, TargetTemplate

from . import harness
from .harness import Contestant, Result, Row, Sample, Settings, Target
from .parts import PREFIX, Holder, database, line_of, on_core, role, wait_ready

TIMES = 3  # of the maximum
CLOSED, OPEN = 256, 2_048  # connections
DEADLINE = 2.0  # seconds after which nobody waits for an answer any more
DRAWN = 200_000  # serials of a closed loop
GOODPUT = 0.9  # of the maximum
SHED_MS = 5.0  # in which half of the refusals are there


def measure(settings: Settings) -> list[Result]:
    """Find the maximum and overload it, in turns."""
    serials = itertools.count()
    with database() as data:
        with role("registry", data, settings) as registry:
            _register_class(Holder(registry.url, data.folder))
        with role("resolver", data, settings) as resolver:
            most = Row("closed loop, 256 connections: the maximum")
            kept = Row("open loop at three times that, what is answered")
            told, late = Histogram(), 0.0
            for _ in range(settings.runs):
                resolver.row = most
                most.samples.append(_closed(resolver, serials, settings))
                before = harness.cpu_seconds(resolver.process)
                rate = TIMES * most.samples[-1].per_second
                figures, refused = _open(resolver, rate, serials, settings)
                spent = harness.cpu_seconds(resolver.process) - before
                kept.samples.append(_sample(figures, spent))
                told.add(refused)
                late = max(late, figures.lag.percentile(0.99) / 1000)
                wait_ready(resolver.url)  # what was asked for last is still being done
    half, most_of = (told.percentile(share) / 1000 for share in (0.5, 0.99))
    return [
        Result(
            "Overload: three times the maximum of misses",
            [most, kept],
            [
                Target("goodput / maximum", harness.ratio(kept, most), GOODPUT),
                Target("refused in, p50 ms", half, SHED_MS, at_most=True),
            ],
            [
                (
                    f"{told.total:,} refusals, p99 {most_of:.1f} ms; the generator was late by "
                    f"{late:.1f} ms (p99); an answer after {DEADLINE:g} s counts as failed"
                )
            ],
        )
    ]


def _register_class(holder: Holder) -> None:
    target = TargetTemplate("gs1:pip", "https://example.com/{n}", "text/html", "Product")
    record = Record(
        Identifier(PREFIX, "S"),
        CLASS,
        int(time.time()),
        attributes={"plant": "2"},
        rule=Rule("S{n:digits:1-12}", (target,)),
    )
    if holder.send([line_of(record.sign(holder.signer))]) != 1:
        raise RuntimeError("the class record was refused")


def _name(serial: int) -> str:
    return f"{PREFIX}/S{serial}"


def _closed(resolver: Contestant, serials: Iterator[int], settings: Settings) -> Sample:
    draws = settings.scratch / "serials.txt"
    names = (_name(serial) for serial in itertools.islice(serials, DRAWN))
    draws.write_text("".join(f"/{name}\t\n" for name in names))
    return harness.wrk(resolver, draws, replace(settings, connections=CLOSED))


class _Told(Load):
    """Keeps apart how long refusals take, from when their request was sent."""

    def __init__(self, plan: Plan, requests: Iterator[Asked]) -> None:
        super().__init__(plan, requests)
        self.refused = Histogram()

    def _answered(self, connection: Connection, response: bytes) -> None:
        if response[9:12] == b"503" and connection.due >= self._counts_from:
            self.refused.record((clock() - connection.sent) * 1e6)
        super()._answered(connection, response)


def _open(
    resolver: Contestant, rate: float, serials: Iterator[int], settings: Settings
) -> tuple[Figures, Histogram]:
    parts = urlsplit(resolver.url)
    plan = Plan(
        parts.hostname or "",
        parts.port or 80,
        rate,
        settings.seconds,
        OPEN,
        timeout=DEADLINE,
    )
    end = f" HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: application/json\r\n"
    asked = (Asked(name := _name(serial), f"GET /{name}{end}".encode()) for serial in serials)
    load = _Told(plan, asked)
    with on_core(1):
        figures = uvloop.run(load.run())
    return figures, load.refused


def _sample(figures: Figures, spent: float) -> Sample:
    """Return what was answered; the CPU is per 1,000 of all requests, refused ones too."""
    p50, p99 = (figures.latency.percentile(share) / 1000 for share in (0.5, 0.99))
    cpu = spent / max(1, figures.offered) * 1_000_000
    return Sample(figures.achieved, p50, p99, cpu)
