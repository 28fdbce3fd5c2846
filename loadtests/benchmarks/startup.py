"""How long a resolver takes from its start to /readyz."""

from __future__ import annotations

import time

from . import harness
from .harness import Result, Row, Sample, Settings, Target
from .parts import database, role

TURNS = 5
BOUND = 2.0  # seconds


def measure(settings: Settings) -> list[Result]:
    """Start a resolver of one process several times."""
    row, workers = harness.each(["resolver, one process", "resolver, two workers"])
    with database() as data:
        with role("registry", data, settings):
            pass  # founded
        for _ in range(TURNS):
            for each, env in ((row, {}), (workers, {"TIERLINK_WORKERS": "2"})):
                began = time.monotonic()
                with role("resolver", data, settings, env):
                    seconds = time.monotonic() - began
                each.unit = "starts/s"
                each.samples.append(Sample(1 / seconds, seconds * 1000, seconds * 1000, 0))
    return [
        Result(
            "Start",
            [row, workers],
            [_target(row, "resolver start to ready, s")],
            [f"on one core; with two workers: {workers.median('p50_ms') / 1000:.2f} s"],
        )
    ]


def _target(row: Row, what: str) -> Target:
    return Target(what, row.median("p50_ms") / 1000, BOUND, at_most=True)
