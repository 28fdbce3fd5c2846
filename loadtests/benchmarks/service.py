"""The whole service over its database: hot and cold resolve, registration in batches.

One node (`tierlink up`, embedded PostgreSQL, no sample) on core 0; the load on core 1. Records are
signed by the client, as enterprises do. The plain FastAPI route returns the very bytes of one of
the node's answers.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import asyncpg
import httpx

from registry.lines import CHUNK_LINES
from registry.store.tables import unit_of
from registry.succession import standing
from schemas.batched import build
from schemas.envelope import RECORD, parse
from schemas.record import parse_record
from tierlink.embedded.cluster import DATABASE, ROLE

from . import harness
from .harness import Contestant, Result, Row, Sample, Settings, Target
from .parts import PREFIX, Holder, line_of, node

SMALL, LARGE = 10_000, 100_000
HOT = 2_000
TURNS = 2


def measure(settings: Settings) -> list[Result]:
    """Register in batches, then resolve what was registered, cold and hot."""
    with node(settings) as (contestant, data_dir):
        holder = Holder(contestant.url, data_dir)
        batches = _batches(contestant, holder)
        statements = _statements(contestant, holder, data_dir)
        return [batches, statements, *_resolving(contestant, settings)]


def _batches(contestant: Contestant, holder: Holder) -> Result:
    rows, peaks = [], []
    for name, count in (("S", SMALL), ("L", LARGE)):
        lines = [holder.line(f"{name}-{number:06d}") for number in range(count)]
        rows.append(_import(contestant, holder, f"batch of {count:,}, a signature each", lines))
        peaks.append(_peak(contestant.process))
    growth = peaks[1] / peaks[0]
    return Result(
        "Batch registration",
        rows,
        [Target("peak memory, 100,000 / 10,000", growth, 1.25, at_most=True)],
        [f"peak memory of the node: {peaks[0]:.0f} MiB, then {peaks[1]:.0f} MiB"],
    )


def _import(contestant: Contestant, holder: Holder, name: str, lines: Sequence[bytes]) -> Row:
    """Register lines in one request."""
    before, began = harness.cpu_seconds(contestant.process), time.monotonic()
    accepted = holder.send(lines)
    seconds = time.monotonic() - began
    spent = harness.cpu_seconds(contestant.process) - before
    count = len(lines)
    row = Row(name, unit="records/s")
    row.samples.append(
        Sample(accepted / seconds, 0, 0, spent * 1e6 / count, failed=count - accepted)
    )
    return row


def _statements(contestant: Contestant, holder: Holder, data_dir: Path) -> Result:
    """Register under batch statements, and beside it what bounds either way of signing.

    In turns: a copy of the same rows into a bare table, and checking as many signatures.
    """
    together = Row(f"batch of {LARGE:,}, one signature", unit="records/s")
    copied = Row("bare COPY of the same rows", unit="records/s")
    alone = Row(f"batch of {SMALL:,}, a signature each", unit="records/s")
    verified = Row("checking a signature each, one core", unit="records/s")
    for turn in range(TURNS):
        tokens = _signed_together(holder, f"T{turn}", LARGE)
        lines = [line_of(token) for token in tokens]
        together.samples += _import(contestant, holder, "", lines).samples
        copied.samples.append(asyncio.run(_copy(data_dir, tokens)))
        lines = [holder.line(f"A{turn}-{number:06d}") for number in range(SMALL)]
        alone.samples += _import(contestant, holder, "", lines).samples
        verified.samples.append(_verify(holder, lines))
    length = sum(map(len, tokens)) / len(tokens)
    ratio = harness.ratio(alone, verified)
    return Result(
        "Batch statements",
        [together, copied, alone, verified],
        [Target("one signature / bare COPY", harness.ratio(together, copied), 0.25)],
        [
            f"a record under a statement of {LARGE:,} has {length:,.0f} bytes",
            f"a signature each / checking alone: {ratio:.2f}",
        ],
    )


def _signed_together(holder: Holder, name: str, count: int) -> list[str]:
    now = int(time.time())
    claims = [holder.record(f"{name}-{number:06d}", now).claims() for number in range(count)]
    return list(build(claims, RECORD, holder.signer, issued_at=now, prefix=PREFIX)[1])


async def _copy(data_dir: Path, tokens: Sequence[str]) -> Sample:
    """Copy rows as the registry stores them into a table without keys, committing as often."""
    unit = unit_of(PREFIX)
    rows = [
        (unit, *astuple(standing(record, envelope)))
        for envelope, record in map(parse_record, tokens)
    ]
    folder = (data_dir / "pg" / "postmaster.pid").read_text().splitlines()[4]
    connection = await asyncpg.connect(user=ROLE, database=DATABASE, host=folder)
    try:
        await connection.execute("CREATE TABLE bench_copy (LIKE identifiers)")
        began = time.monotonic()
        for at in range(0, len(rows), CHUNK_LINES):
            await connection.copy_records_to_table(
                "bench_copy", records=rows[at : at + CHUNK_LINES]
            )
        seconds = time.monotonic() - began
        await connection.execute("DROP TABLE bench_copy")
    finally:
        await connection.close()
    return Sample(len(rows) / seconds, 0, 0, 0)


def _verify(holder: Holder, lines: Sequence[bytes]) -> Sample:
    """Check signatures and nothing else."""
    key = holder.signer.public
    envelopes = [parse(json.loads(line)["envelope"], RECORD) for line in lines]
    work = [(envelope.signature, envelope.message) for envelope in envelopes]
    began = time.monotonic()
    failed = sum(not key.verifies(signature, message) for signature, message in work)
    return Sample(len(work) / (time.monotonic() - began), 0, 0, 0, failed=failed)


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
