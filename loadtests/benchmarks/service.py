"""The whole service over its database: hot and cold resolve, single and batch registration.

One node (`tierlink up`, embedded PostgreSQL, no sample) on core 0; the load on core 1. Records are
signed by the client, as enterprises do. The plain FastAPI route returns the very bytes of one of
the node's answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path

import asyncpg
import httpx

from registry.lines import CHUNK_LINES
from registry.store.tables import unit_of
from registry.succession import standing
from schemas.batched import build
from schemas.delegation import sign_possession
from schemas.envelope import RECORD, parse
from schemas.identifier import Identifier, Prefix
from schemas.keys import PrivateKey
from schemas.record import ITEM, Record, parse_record
from schemas.target import Target as Pointer
from tierlink.embedded.cluster import DATABASE, ROLE

from . import harness
from .harness import Contestant, Result, Row, Sample, Settings, Target

PREFIX = Prefix.parse("88.77")
SMALL, LARGE = 10_000, 100_000
SINGLES = 300
HOT = 2_000
TURNS = 2


def measure(settings: Settings) -> list[Result]:
    """Register in batches and singly, then resolve what was registered, cold and hot."""
    with _node(settings) as (contestant, data_dir):
        holder = _Holder(contestant.url, data_dir)
        batches = _batches(contestant, holder)
        statements = _statements(contestant, holder, data_dir)
        singles = _singles(contestant, holder)
        return [batches, statements, singles, *_resolving(contestant, settings)]


@contextlib.contextmanager
def _node(settings: Settings) -> Iterator[tuple[Contestant, Path]]:
    # Not below the scratch folder: the database's account has to reach it, on a short path.
    data_dir = Path(tempfile.mkdtemp(prefix="tl-bench-"))
    data_dir.chmod(0o711)
    port = harness.free_port()
    env = {
        "TIERLINK_PORT": str(port),
        "TIERLINK_DATA_DIR": str(data_dir / "node"),
        "TIERLINK_SAMPLE": "none",
    }
    log = settings.scratch / "node.log"
    command = [*harness.python(Path("-m")), "tierlink", "up"]
    try:
        with harness.server(command, port, log=log, env=env) as process:
            url = f"http://127.0.0.1:{port}"
            while "tierlink ready" not in log.read_text(encoding="utf-8"):
                time.sleep(0.1)
            yield Contestant(Row("tierlink"), url, process.pid), data_dir / "node"
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


class _Holder:
    """An enterprise with a key of its own."""

    def __init__(self, url: str, data_dir: Path) -> None:
        self.signer = PrivateKey.from_seed(bytes(32))
        operator = json.loads((data_dir / "operator.json").read_text())["api_key"]
        with httpx.Client(base_url=url, headers=_bearer(operator), timeout=30) as client:
            challenge = {"prefix": str(PREFIX), "kid": self.signer.public.kid}
            nonce = client.post("/v1/challenges", json=challenge).raise_for_status().json()["nonce"]
            key = {
                "jwk": dict(self.signer.public.jwk),
                "use": ["record"],
                "possession": sign_possession(self.signer, PREFIX, nonce, int(time.time())),
            }
            body = {"prefix": str(PREFIX), "organisation": {"name": "Bench"}, "keys": [key]}
            made = client.post("/v1/prefixes", json=body).raise_for_status().json()
        self.headers = _bearer(made["api_key"])

    def record(self, name: str, issued_at: int) -> Record:
        """Return one record, unsigned."""
        return Record(
            Identifier(PREFIX, name),
            ITEM,
            issued_at,
            targets=(Pointer("gs1:pip", f"https://example.com/{name}", "text/html", "Product"),),
            attributes={"serial": name, "plant": "2"},
        )

    def line(self, name: str) -> bytes:
        """Return one signed record as a line or body."""
        return _line(self.record(name, int(time.time())).sign(self.signer))


def _line(token: str) -> bytes:
    return json.dumps({"envelope": token}).encode() + b"\n"


def _bearer(api_key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {api_key}"}


def _batches(contestant: Contestant, holder: _Holder) -> Result:
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


def _import(contestant: Contestant, holder: _Holder, name: str, lines: Sequence[bytes]) -> Row:
    """Register lines in one request."""
    before, began = harness.cpu_seconds(contestant.process), time.monotonic()
    accepted = 0
    with (
        httpx.Client(base_url=contestant.url, headers=holder.headers, timeout=600) as client,
        client.stream("POST", "/v1/identifiers/batch", content=iter(lines)) as reply,
    ):
        for line in reply.iter_lines():
            accepted += '"status":201' in line
    seconds = time.monotonic() - began
    spent = harness.cpu_seconds(contestant.process) - before
    count = len(lines)
    row = Row(name, unit="records/s")
    row.samples.append(
        Sample(accepted / seconds, 0, 0, spent * 1e6 / count, failed=count - accepted)
    )
    return row


def _statements(contestant: Contestant, holder: _Holder, data_dir: Path) -> Result:
    """Register under batch statements, and beside it what bounds either way of signing.

    In turns: a copy of the same rows into a bare table, and checking as many signatures.
    """
    together = Row(f"batch of {LARGE:,}, one signature", unit="records/s")
    copied = Row("bare COPY of the same rows", unit="records/s")
    alone = Row(f"batch of {SMALL:,}, a signature each", unit="records/s")
    verified = Row("checking a signature each, one core", unit="records/s")
    for turn in range(TURNS):
        tokens = _signed_together(holder, f"T{turn}", LARGE)
        lines = [_line(token) for token in tokens]
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


def _signed_together(holder: _Holder, name: str, count: int) -> list[str]:
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


def _verify(holder: _Holder, lines: Sequence[bytes]) -> Sample:
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


def _singles(contestant: Contestant, holder: _Holder) -> Result:
    row = Row("register one, client-signed, one client", unit="records/s")
    bodies = [holder.line(f"O-{number:06d}") for number in range(SINGLES)]
    times = []
    headers = {**holder.headers, "content-type": "application/json"}
    before = harness.cpu_seconds(contestant.process)
    with httpx.Client(base_url=contestant.url, headers=headers) as client:
        for body in bodies:
            began = time.monotonic()
            client.post("/v1/identifiers", content=body).raise_for_status()
            times.append(time.monotonic() - began)
    spent = harness.cpu_seconds(contestant.process) - before
    times.sort()
    row.samples.append(
        Sample(
            len(times) / sum(times),
            times[len(times) // 2] * 1000,
            times[len(times) * 99 // 100] * 1000,
            spent * 1e6 / SINGLES,
        )
    )
    return Result("Single registration", [row])


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
