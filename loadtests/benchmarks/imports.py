"""Imports beside what bounds them: checking the same signatures, and copying the same bytes.

One node (`tierlink up`, embedded PostgreSQL, no sample) on every core, for an import uses them all:
its neighbours have them too. In turns, in one run:

    a signature each    against `registry.verifying.verify` of the very lines, a process for each
                        core, nothing sent and nothing stored
    one signature       against COPY of the very rows into a table with the same keys, on the same
                        server, with as many commits, each as durable

The log goes on beside an import, as it does beside everything: what was imported in one turn is in
it before the next one begins.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from collections.abc import Sequence
from dataclasses import astuple
from multiprocessing.connection import Connection
from pathlib import Path

import asyncpg
import httpx

from registry import verifying
from registry.lines import CHUNK_LINES
from registry.store.tables import unit_of
from registry.succession import standing
from schemas.batched import build
from schemas.chain import Chain, validate
from schemas.delegation import parse_root
from schemas.envelope import RECORD
from schemas.record import parse_record
from tierlink.embedded.cluster import DATABASE, ROLE

from . import harness
from .harness import Contestant, Result, Row, Sample, Settings, Target
from .parts import PREFIX, Holder, line_of, node

EACH = 10_000  # records with a signature each, of a turn
TOGETHER = 40_000  # under one
REST_SECONDS = 60.0  # within which the log takes in what a turn has brought


def measure(settings: Settings) -> list[Result]:
    """Import, verify and copy, in turns."""
    with node(settings, core=None) as (contestant, data_dir):
        holder = Holder(contestant.url, data_dir)
        holder.register(f"W-{number}" for number in range(1_000))  # begins the processes
        server = _Server(data_dir)
        return [
            _each(contestant, holder, server, settings),
            _together(contestant, holder, server, settings),
        ]


class _Server:
    """The node's PostgreSQL: the folder of its socket, and its first process."""

    def __init__(self, data_dir: Path) -> None:
        lines = (data_dir / "pg" / "postmaster.pid").read_text().splitlines()
        self.process, self.socket = int(lines[0]), lines[4]


def _each(contestant: Contestant, holder: Holder, server: _Server, settings: Settings) -> Result:
    imported = Row(f"import of {EACH:,}, a signature each", unit="records/s")
    verified = Row("verifying the same lines, every core", unit="records/s")
    chain = _chain(contestant.url)
    for turn in range(settings.runs):
        lines = [holder.line(f"A{turn}-{number:06d}") for number in range(EACH)]
        _rest(contestant.url)
        imported.samples.append(timed(contestant, holder, lines, also=[server.process]))
        verified.samples.append(_verify(chain, lines))
    ratio = harness.ratio(imported, verified)
    return Result(
        "Import, a signature each",
        [imported, verified],
        [Target("import / verifying alone", ratio, 0.6)],
        [_by_cpu("verifying alone", imported, verified)],
    )


def _together(
    contestant: Contestant, holder: Holder, server: _Server, settings: Settings
) -> Result:
    imported = Row(f"import of {TOGETHER:,}, one signature", unit="records/s")
    copied = Row("COPY of the same rows", unit="records/s")
    length = 0.0
    for turn in range(settings.runs):
        now = int(time.time())
        names = (f"T{turn}-{number:06d}" for number in range(TOGETHER))
        claims = [holder.record(name, now).claims() for name in names]
        tokens = list(build(claims, RECORD, holder.signer, issued_at=now, prefix=PREFIX)[1])
        lines = [line_of(token) for token in tokens]
        _rest(contestant.url)
        imported.samples.append(timed(contestant, holder, lines, also=[server.process]))
        _rest(contestant.url)
        copied.samples.append(asyncio.run(_copy(server, tokens)))
        length = sum(map(len, tokens)) / len(tokens)
    return Result(
        "Import, one signature for all",
        [imported, copied],
        [Target("import / COPY", harness.ratio(imported, copied), 0.25)],
        [
            f"a record under a statement of {TOGETHER:,} has {length:,.0f} bytes",
            _by_cpu("COPY", imported, copied),
        ],
    )


def _by_cpu(what: str, ours: Row, theirs: Row) -> str:
    """Compare what either takes of the processors: a busy machine does not change that."""
    ours_ms, theirs_ms = ours.median("cpu_ms"), theirs.median("cpu_ms")
    return (
        f"processor time of a record: {ours_ms:.0f} µs, {what} {theirs_ms:.0f} µs"
        f" ({theirs_ms / ours_ms:.2f})"
    )


def timed(
    contestant: Contestant, holder: Holder, lines: Sequence[bytes], *, also: Sequence[int] = ()
) -> Sample:
    """Register lines in one request; of the node, and `also` these, is the processor time."""
    processes = (contestant.process, *also)
    before, began = sum(map(harness.cpu_seconds, processes)), time.monotonic()
    accepted = holder.send(lines)
    seconds = time.monotonic() - began
    spent = sum(map(harness.cpu_seconds, processes)) - before
    count = len(lines)
    return Sample(accepted / seconds, 0, 0, spent * 1e6 / count, failed=count - accepted)


def _rest(url: str) -> None:
    """Wait until the log has nothing left to do."""
    deadline, size = time.monotonic() + REST_SECONDS, -1
    while time.monotonic() < deadline:
        time.sleep(1.5)  # longer than an epoch
        found = int(httpx.get(f"{url}/v1/log/checkpoint", timeout=10).text.splitlines()[1])
        if found == size:
            return
        size = found
    raise RuntimeError("the log does not come to rest")


def _chain(url: str) -> Chain:
    document = httpx.get(f"{url}/v1/trust", timeout=10).json()
    root = Chain((parse_root(document["roots"][-1])[1],))
    return validate(root, tuple(document["delegations"]), PREFIX)


def _verify(chain: Chain, lines: Sequence[bytes]) -> Sample:
    """Verify lines in a process for each core, begun and warm before the clock is."""
    cores = len(os.sched_getaffinity(0))
    context = multiprocessing.get_context("spawn")
    ends, workers = [], []
    for core in range(cores):
        ours, theirs = context.Pipe()
        worker = context.Process(target=_verify_share, args=(theirs,))
        worker.start()
        job = verifying.Job.of(
            PREFIX, chain, int(time.time()), [x.strip() for x in lines[core::cores]]
        )
        assert job is not None
        ours.send(tuple(job))
        ends.append(ours)
        workers.append(worker)
    for end in ends:
        end.recv()  # it is ready
    began = time.monotonic()
    for end in ends:
        end.send(None)
    found = [end.recv() for end in ends]
    seconds = time.monotonic() - began
    for worker in workers:
        worker.join()
    good, spent = sum(item[0] for item in found), sum(item[1] for item in found)
    count = len(lines)
    return Sample(good / seconds, 0, 0, spent * 1e6 / count, failed=count - good)


def _verify_share(end: Connection) -> None:
    """Take a job, say that all is ready, and on a word do it; say how many lines are good."""
    job = verifying.Job(*end.recv())
    verifying.verify(job._replace(lines=job.lines[:100]))
    end.send(None)
    end.recv()
    began = time.process_time()
    verdicts = verifying.verify(job)
    spent = time.process_time() - began
    end.send((sum(isinstance(verdict, verifying.Signed) for verdict in verdicts), spent))


async def _copy(server: _Server, tokens: Sequence[str]) -> Sample:
    """Copy rows as the registry stores them into a table like its own, committing as often."""
    unit = unit_of(PREFIX)
    rows = [
        (unit, *astuple(standing(record, envelope)))
        for envelope, record in map(parse_record, tokens)
    ]
    connection = await asyncpg.connect(user=ROLE, database=DATABASE, host=server.socket)
    backend = connection.get_server_pid()
    try:
        await connection.execute("CREATE TABLE bench_copy (LIKE identifiers INCLUDING ALL)")
        before, began = harness.cpu_seconds(backend) + time.process_time(), time.monotonic()
        for at in range(0, len(rows), CHUNK_LINES):
            await connection.copy_records_to_table(
                "bench_copy", records=rows[at : at + CHUNK_LINES]
            )
        seconds = time.monotonic() - began
        spent = harness.cpu_seconds(backend) + time.process_time() - before
        await connection.execute("DROP TABLE bench_copy")
    finally:
        await connection.close()
    return Sample(len(rows) / seconds, 0, 0, spent * 1e6 / len(rows))
