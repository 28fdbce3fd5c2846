"""The whole service over its database: hot and cold resolve, registration in batches.

One node (`tierlink up`, embedded PostgreSQL, no sample) on core 0; the load on core 1. Records are
signed by the client, as enterprises do. The plain FastAPI route returns the very bytes of one of
the node's answers.
"""

from __future__ import annotations

import re
from pathlib import Path

import httpx

from . import harness
from .harness import Contestant, Result, Row, Settings, Target
from .imports import timed
from .parts import PREFIX, Holder, node

SMALL, LARGE = 10_000, 100_000
HOT = 2_000


def measure(settings: Settings) -> list[Result]:
    """Register in batches, then resolve what was registered, cold and hot."""
    with node(settings) as (contestant, data_dir):
        holder = Holder(contestant.url, data_dir)
        batches = _batches(contestant, holder)
        return [batches, *_resolving(contestant, settings)]


def _batches(contestant: Contestant, holder: Holder) -> Result:
    rows: list[Row] = []
    peaks = []
    for name, count in (("S", SMALL), ("L", LARGE)):
        lines = [holder.line(f"{name}-{number:06d}") for number in range(count)]
        rows.append(Row(f"batch of {count:,}, a signature each", unit="records/s"))
        rows[-1].samples.append(timed(contestant, holder, lines))
        peaks.append(_peak(contestant.process))
    growth = peaks[1] / peaks[0]
    return Result(
        "Batch registration",
        rows,
        [Target("peak memory, 100,000 / 10,000", growth, 1.25, at_most=True)],
        [f"peak memory of the node: {peaks[0]:.0f} MiB, then {peaks[1]:.0f} MiB"],
    )


def _peak(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+)", status)
    assert found
    return int(found[1]) / 1024


def _resolving(contestant: Contestant, settings: Settings) -> list[Result]:
    cold = _cold(contestant, settings)
    draws = settings.scratch / "service-hot.txt"
    draws.write_text("".join(f"/{PREFIX}/S-{number:06d}\t\n" for number in range(HOT)))
    body = settings.scratch / "answer.json"
    body.write_bytes(httpx.get(f"{contestant.url}/{PREFIX}/S-000000").content)
    port = harness.free_port()
    command = harness.python(harness.HERE.parent / "contestants" / "fastapi_same.py", port, body)
    with harness.server(command, port, log=settings.scratch / "same.log") as process:
        plain = Contestant(Row("FastAPI, the same bytes"), f"http://127.0.0.1:{port}", process.pid)
        contestant.row = Row("tierlink, hot")
        harness.wrk(contestant, draws, settings)  # fills the cache
        both = [contestant, plain]
        harness.in_turns(both, lambda one: harness.wrk(one, draws, settings), settings)
    hot = harness.ratio(contestant.row, plain.row)
    rows = [contestant.row, plain.row, cold]
    return [
        Result(
            "Resolve through HTTP, the real node",
            rows,
            [Target("hot / FastAPI, same bytes", hot, 8)],
            [
                (
                    f"an answer has {body.stat().st_size:,} bytes; cold / FastAPI: "
                    f"{cold.median('per_second') / plain.row.median('per_second'):.2f}"
                )
            ],
        )
    ]


def _cold(contestant: Contestant, settings: Settings) -> Row:
    """Ask for identifiers nobody asked for before: look up, verify, render, each time."""
    draws = settings.scratch / "service-cold.txt"
    draws.write_text("".join(f"/{PREFIX}/L-{number:06d}\t\n" for number in range(LARGE)))
    contestant.row = Row("tierlink, cold")
    contestant.row.samples.append(harness.wrk(contestant, draws, settings))
    return contestant.row
