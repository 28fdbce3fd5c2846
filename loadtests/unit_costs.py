"""What one identifier, one link, one version and one leaf cost: bytes on disk, rows a second.

    python loadtests/unit_costs.py                      100,000 of each, about two minutes
    python loadtests/unit_costs.py --records 20000 --epoch 1000

In one process over a PostgreSQL of its own (the embedded one, in a folder that goes afterwards):
a holder with a key of its own imports records and links through the registry's app, in batches;
after each the log takes them in and commits an epoch. Sizes are what PostgreSQL says of its
files (`pg_table_size`, `pg_indexes_size`), before and after; no vacuum, no compression of ours.
The tables are printed as Markdown: docs/operations.md holds those of one run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import os
import platform
import sys
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx
from benchmarks.database import database

from registry.api.transaction import Deps
from registry.app import create_app
from registry.bootstrap import found
from registry.keyring import Keyring
from registry.log import founding
from registry.log.copy import Copy
from registry.log.maps import Maps
from registry.log.publishing import Publisher
from registry.log.sequencer import Sequencer
from registry.store.engine import Store
from schemas.batched import build
from schemas.delegation import sign_possession
from schemas.envelope import RECORD, digest
from schemas.identifier import Identifier, Prefix
from schemas.keys import PrivateKey
from schemas.link import DOWNSTREAM, Assertion, Link
from schemas.policy import LogPolicy
from schemas.record import ITEM, Record
from schemas.target import Target

PREFIX, FAR = "88.118.8", "88.118.9"
LEAST_RECORDS, MOST_RECORDS = 1_000, 1_000_000
LEAST_EPOCH = 100

_SIZES = """
SELECT c.relname AS name, pg_table_size(c.oid) AS heap, pg_indexes_size(c.oid) AS indexes
FROM pg_class AS c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
"""


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """Read the command line; end with code 2 where it asks for too much."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--records", type=int, default=100_000, help="of each kind")
    parser.add_argument("--epoch", type=int, default=10_000, help="leaves from epoch to epoch")
    found_ = parser.parse_args(given)
    if not LEAST_RECORDS <= found_.records <= MOST_RECORDS:
        parser.error(f"--records is from {LEAST_RECORDS:,} to {MOST_RECORDS:,}")
    if not LEAST_EPOCH <= found_.epoch <= found_.records:
        parser.error(f"--epoch is from {LEAST_EPOCH} to the number of records")
    return found_


def main(given: Sequence[str]) -> int:
    """Measure and print."""
    asked = arguments(given)
    with database() as (url, folder):
        asyncio.run(_measure(asked, url, folder))
    return 0


@dataclass
class Phase:
    """What some writes did to the disk, and how long they and the log took."""

    name: str
    rows: int = 0
    seconds: float = 0.0
    log_seconds: float = 0.0
    wal: int = 0
    grown: dict[str, tuple[int, int]] = field(default_factory=dict)  # (heap, indexes) by table


@dataclass
class Bench:
    """A founded node with its log, and a holder whose key is its own."""

    store: Store
    client: httpx.AsyncClient
    sequencer: Sequencer
    key: PrivateKey
    api_key: str
    epoch: int
    now: int
    phases: list[Phase] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def phase(self, name: str) -> AsyncIterator[Phase]:
        """Compare the disk before and after."""
        phase = Phase(name)
        before, began = await self._sizes()
        yield phase
        after, ended = await self._sizes()
        phase.wal = ended - began
        for table, (heap, indexes) in after.items():
            was = before.get(table, (0, 0))
            phase.grown[table] = (heap - was[0], indexes - was[1])
        self.phases.append(phase)

    async def write(self, phase: Phase, path: str, tokens: Sequence[str]) -> None:
        """Send envelopes in batches, each behind it taken in by the log."""
        for at in range(0, len(tokens), self.epoch):
            part = tokens[at : at + self.epoch]
            body = "".join(json.dumps({"envelope": token}) + "\n" for token in part)
            began = time.perf_counter()
            answer = await self.client.post(
                path, content=body, headers={"authorization": f"Bearer {self.api_key}"}
            )
            phase.seconds += time.perf_counter() - began
            accepted = sum(json.loads(line)["status"] in (200, 201) for line in answer.iter_lines())
            if accepted != len(part):
                raise RuntimeError(f"{accepted} of {len(part)} accepted: {answer.text[:300]}")
            phase.rows += accepted
            began = time.perf_counter()
            await self.take_in()
            phase.log_seconds += time.perf_counter() - began

    async def take_in(self) -> None:
        """Let the log take in all there is, as one epoch, and publish it."""
        while await self.sequencer.integrate():
            pass
        await self.sequencer.commit_epoch(idle=True)
        await self.sequencer.publish()

    async def _sizes(self) -> tuple[dict[str, tuple[int, int]], int]:
        async with self.store.statement() as driver:
            rows = await driver.fetch(_SIZES)
            position = await driver.fetchval("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")
        return {row["name"]: (row["heap"], row["indexes"]) for row in rows}, int(position)


async def _measure(asked: argparse.Namespace, url: str, folder: Path) -> None:
    async with _bench(url, folder, asked.epoch) as bench:
        records = [_record(bench, number) for number in range(asked.records)]
        tokens = [record.sign(bench.key) for record in records]
        async with bench.phase("register") as phase:
            await bench.write(phase, "/v1/identifiers/batch", tokens)
        copies = await _copied(bench.store)
        async with bench.phase("link") as phase:
            links = [_link(bench, record.identifier) for record in records]
            await bench.write(phase, "/v1/links/batch", [link.sign(bench.key) for link in links])
        several = asked.records // 10
        after = [
            record.next(digest(token), bench.now).sign(bench.key)
            for record, token in zip(records[:several], tokens, strict=False)
        ]
        async with bench.phase("next version") as phase:
            await bench.write(phase, "/v1/identifiers/batch", after)
        async with bench.phase("register, batch statement") as phase:
            await bench.write(phase, "/v1/identifiers/batch", _stated(bench, several))
        lengths = (_mean(tokens), _mean(link.sign(bench.key) for link in links[:1000]))
    _report(bench.phases, copies, lengths, asked)


def _record(bench: Bench, number: int, name: str = "BAT.2026") -> Record:
    return Record(
        Identifier.parse(f"{PREFIX}/{name}.{number:09d}"),
        ITEM,
        targets=(Target("gs1:pip", f"https://maker.example/p/{name}/{number:09d}"),),
        attributes={"model": "TB-60", "lot": f"L{number // 500:06d}", "mass_g": number % 1000},
        issued_at=bench.now,
    )


def _link(bench: Bench, near: Identifier) -> Assertion:
    far = Identifier.parse(f"{FAR}/CELL.2026.{near.suffix.rpartition('.')[2]}")
    return Assertion(Link("CONTAINED_IN", far, near, "asBuilt"), DOWNSTREAM, bench.now)


def _stated(bench: Bench, count: int) -> list[str]:
    """Return records under one batch statement for each batch that is sent."""
    found_: list[str] = []
    for at in range(0, count, bench.epoch):
        numbers = range(at, min(at + bench.epoch, count))
        claims = [_record(bench, number, "SER.2026").claims() for number in numbers]
        _, tokens = build(
            claims, RECORD, bench.key, issued_at=bench.now, prefix=Prefix.parse(PREFIX)
        )
        found_ += tokens
    return found_


async def _copied(store: Store) -> list[tuple[str, float, float]]:
    """COPY the rows that were imported, as they are, into an empty table; (what, rows/s, MB/s)."""
    measured = []
    async with store.dedicated() as driver:
        await driver.execute("SET statement_timeout = 0")
        for table in ("identifiers", "changes"):
            columns = "*" if table == "identifiers" else "unit, op, about, also, version, digest"
            taken = io.BytesIO()
            await driver.copy_from_query(
                f"SELECT {columns} FROM {table}",  # noqa: S608  (names of this page)
                output=taken,
                format="binary",
            )
            for what, including in (("with its keys", "ALL"), ("without any key", "DEFAULTS")):
                more = " INCLUDING IDENTITY" if including == "DEFAULTS" else ""
                await driver.execute(
                    f"CREATE TABLE copied (LIKE {table} INCLUDING {including}{more})"
                )
                taken.seek(0)
                given: dict[str, Any] = {"source": taken, "format": "binary"}
                if columns != "*":
                    given["columns"] = columns.split(", ")
                began = time.perf_counter()
                done = await driver.copy_to_table("copied", **given)
                took = time.perf_counter() - began
                rows = int(done.rpartition(" ")[2])
                measured.append((f"{table}, {what}", rows / took, taken.tell() / took / 1e6))
                await driver.execute("DROP TABLE copied")
    return measured


# The node


@contextlib.asynccontextmanager
async def _bench(url: str, folder: Path, epoch: int) -> AsyncIterator[Bench]:
    store, keyring, now = Store.open(url, pool=8), Keyring(bytes(32)), int(time.time())
    deps = Deps(store, keyring, lambda: int(time.time()))
    async with store.write() as tx:
        founded = await found(tx, keyring, now)
        identity = await founding.found(tx, keyring, None)
    copy = Copy(folder / "published.note", identity.key)
    policy = LogPolicy(identity.key)
    publisher = Publisher(store, identity.signer, policy, copy, deps.clock)
    sequencer = Sequencer(store, Maps(), publisher)
    await sequencer.open()
    transport = httpx.ASGITransport(create_app(deps))
    options: dict[str, Any] = {"base_url": "http://bench", "timeout": 3600}
    async with httpx.AsyncClient(transport=transport, **options) as client:
        key = PrivateKey.from_seed(bytes(32))
        api_key = await _allocated(client, str(founded.operator_key), key, now)
        bench = Bench(store, client, sequencer, key, api_key, epoch, now)
        await bench.take_in()
        yield bench
    await store.close()


async def _allocated(client: httpx.AsyncClient, operator: str, key: PrivateKey, now: int) -> str:
    """Allocate the prefix to a holder who keeps its key; return its API key."""
    bearer = {"authorization": f"Bearer {operator}"}

    async def ask(path: str, body: dict[str, object]) -> dict[str, str]:
        answer = await client.post(path, json=body, headers=bearer)
        made: dict[str, str] = answer.raise_for_status().json()
        return made

    challenge = await ask("/v1/challenges", {"prefix": PREFIX, "kid": key.public.kid})
    proof = sign_possession(key, Prefix.parse(PREFIX), challenge["nonce"], now)
    offered = {"jwk": dict(key.public.jwk), "use": ["record", "delegate"], "possession": proof}
    holder = {"prefix": PREFIX, "organisation": {"name": "Bench"}, "keys": [offered]}
    return (await ask("/v1/prefixes", holder))["api_key"]


# The report


def _mean(tokens: Iterable[str]) -> float:
    lengths = [len(token) for token in tokens]
    return sum(lengths) / len(lengths)


def _report(
    phases: Sequence[Phase],
    copies: Sequence[tuple[str, float, float]],
    lengths: tuple[float, float],
    asked: argparse.Namespace,
) -> None:
    print(f"* {_machine()}")
    print(f"* `python loadtests/unit_costs.py --records {asked.records} --epoch {asked.epoch}`")
    print(f"* mean envelope: record {lengths[0]:.0f} B, link {lengths[1]:.0f} B\n")
    print("| write | table | heap B | index B | together |\n|---|---|---|---|---|")
    for phase in phases:
        rows = sorted(phase.grown.items(), key=lambda item: -sum(item[1]))
        for table, (heap, indexes) in rows:
            if heap + indexes >= phase.rows:  # a byte each: what does not grow with them is noise
                each = heap / phase.rows, indexes / phase.rows
                print(f"| {phase.name} | {table} | {each[0]:.0f} | {each[1]:.0f} |"
                      f" {sum(each):.0f} |")  # fmt: skip
        total = sum(sum(grown) for grown in phase.grown.values())
        print(f"| {phase.name} | **all** | | | **{total / phase.rows:.0f}** |")
    print("\n| write | rows | rows/s | log, leaves/s | WAL B |\n|---|---|---|---|---|")
    for phase in phases:
        speed, wal = phase.rows / phase.seconds, phase.wal / phase.rows
        leaves = phase.rows / phase.log_seconds
        print(f"| {phase.name} | {phase.rows:,} | {speed:,.0f} | {leaves:,.0f} | {wal:,.0f} |")
    print("\n| COPY of the same rows | rows/s | MB/s |\n|---|---|---|")
    for what, rows, megabytes in copies:
        print(f"| {what} | {rows:,.0f} | {megabytes:.0f} |")


def _machine() -> str:
    model = platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((x.partition(": ")[2] for x in lines if x.startswith("model name")), model)
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, PostgreSQL of the wheel, {time.strftime('%Y-%m-%d')}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
