"""The transparency log: from the outbox to a signed root, and what it costs those who register.

Appending is measured end to end in one process: read the outbox, make the leaves, hash, write
entries, index, tiles and state, commit, sign. Beside it, in turns, a bare COPY of the same bytes
into a plain table without any index, a transaction for each batch, the same fsync.
Registration goes through the registry's app with and without a sequencer in the same process.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvloop

from benchmarks.database import database
from registry import changes
from registry.api.transaction import Deps
from registry.app import create_app
from registry.bootstrap import found as found_node
from registry.changes import Entry
from registry.keyring import Keyring
from registry.log import founding
from registry.log.copy import Copy
from registry.log.maps import Maps
from registry.log.publishing import Publisher
from registry.log.sequencer import Sequencer
from registry.store.engine import Store
from registry.store.log import (
    find_entries,
    find_hashes,
    newest_checkpoint,
    state as find_state,
)
from schemas.change import Op
from schemas.checkpoint import Checkpoint, sign_note
from schemas.delegation import sign_possession
from schemas.identifier import Identifier, Prefix
from schemas.keys import PrivateKey, b64encode, sha256
from schemas.policy import LogPolicy
from schemas.record import ITEM, Record
from schemas.target import Target as Pointer

from . import harness
from .harness import Result, Row, Sample, Settings, Target

PREFIX = Prefix.parse("88.77")
TURNS = {1: 400, 256: 60, 4096: 12}  # batch: batches of a turn
ENOUGH = 20_000  # leaves/s
DEARER = 1.4
RECORDS = 10_000  # of a registration turn
SIGNER = PrivateKey.from_seed(bytes(32))

_PLAIN = "CREATE TABLE plain (idx bigint NOT NULL, leaf_hash bytea NOT NULL, leaf bytea NOT NULL)"


def measure(settings: Settings) -> list[Result]:
    """Append at three batch sizes, then register with and without a log."""
    with database() as (url, folder):
        return uvloop.run(_measure(settings, url, folder))


async def _measure(settings: Settings, url: str, folder: Path) -> list[Result]:
    async with _bench(url, folder) as bench:
        return [await _appending(bench, settings), await _registering(bench, settings)]


@dataclass
class _Bench:
    """A founded node in this process, and the enterprise that registers."""

    store: Store
    client: httpx.AsyncClient
    identity: founding.Identity
    sequencer: Sequencer
    numbers: Iterator[int]
    holder: dict[str, str]  # the header with its API key

    async def fill(self, records: int) -> None:
        """Put records into the outbox, as registrations do."""
        names = [f"{PREFIX}/S-{next(self.numbers):08d}" for _ in range(records)]
        rows = [Entry(Op.RECORD, n, 1, digest=b64encode(sha256(n.encode()))) for n in names]
        async with self.store.write() as tx:
            await changes.record_many(tx, PREFIX, rows)


@contextlib.asynccontextmanager
async def _bench(url: str, folder: Path) -> AsyncIterator[_Bench]:
    store, keyring = Store.open(url, pool=8), Keyring(bytes(32))
    deps = Deps(store, keyring, lambda: int(time.time()))
    async with store.write() as tx:
        operator = (await found_node(tx, keyring, deps.clock())).operator_key
        identity = await founding.found(tx, keyring, None)
        driver = await tx.driver()
        await driver.execute(_PLAIN)
    assert operator is not None
    copy = Copy(folder / "published.note", identity.key)
    publisher = Publisher(store, identity.signer, LogPolicy(identity.key), copy, deps.clock)
    sequencer = Sequencer(store, Maps(), publisher)
    await sequencer.open()
    transport = httpx.ASGITransport(create_app(deps))
    async with httpx.AsyncClient(transport=transport, base_url="http://registry") as client:
        holder = await _allocated(client, operator)
        yield _Bench(store, client, identity, sequencer, itertools.count(), holder)
    await store.close()


async def _allocated(client: httpx.AsyncClient, operator: str) -> dict[str, str]:
    """Give the prefix to an enterprise with a key of its own; return its authorisation."""
    headers = {"authorization": f"Bearer {operator}"}
    asked = {"prefix": str(PREFIX), "kid": SIGNER.public.kid}
    answer = await client.post("/v1/challenges", json=asked, headers=headers)
    nonce = answer.raise_for_status().json()["nonce"]
    key = {
        "jwk": dict(SIGNER.public.jwk),
        "use": ["record"],
        "possession": sign_possession(SIGNER, PREFIX, nonce, int(time.time())),
    }
    body = {"prefix": str(PREFIX), "organisation": {"name": "Bench"}, "keys": [key]}
    made = await client.post("/v1/prefixes", json=body, headers=headers)
    return {"authorization": f"Bearer {made.raise_for_status().json()['api_key']}"}


# Appending


async def _appending(bench: _Bench, settings: Settings) -> Result:
    while await bench.sequencer.integrate(4096):
        pass
    rows: list[Row] = []
    shares: list[str] = []
    for batch, batches in TURNS.items():
        ours = Row(f"append in batches of {batch:,}, signed", unit="leaves/s")
        bare = Row(f"bare COPY in batches of {batch:,}", unit="rows/s")
        for _ in range(settings.runs):
            await bench.fill(batch * batches)
            first = bench.sequencer.size
            ours.samples.append(await _timed(batches, batch, lambda b=batch: _append(bench, b)))
            copies = await _contents(bench, first, batch)
            bare.samples.append(
                await _timed(batches, batch, lambda c=copies: _copy(bench, next(c)))
            )
        rows += [ours, bare]
        shares.append(f"{harness.ratio(ours, bare):.2f} in batches of {batch:,}")
    fast = Target("leaves/s in batches of 4,096", rows[-2].median("per_second"), ENOUGH)
    return Result("Transparency log", rows, [fast], [f"append / bare COPY: {', '.join(shares)}"])


async def _append(bench: _Bench, batch: int) -> None:
    taken = await bench.sequencer.integrate(batch)
    assert taken == batch, taken
    head = Checkpoint(bench.identity.origin, bench.sequencer.size, bench.sequencer.root)
    sign_note(head, head.origin, bench.identity.signer)


async def _contents(
    bench: _Bench, first: int, batch: int
) -> Iterator[list[tuple[int, bytes, bytes]]]:
    """Return the bytes of the batches that were appended from `first` on."""
    async with bench.store.statement() as driver:
        leaves = await find_entries(driver, first, bench.sequencer.size)
        hashes = await find_hashes(driver, first, bench.sequencer.size)
    rows = [(entry.idx, digest, entry.leaf) for entry, digest in zip(leaves, hashes, strict=True)]
    return iter([rows[at : at + batch] for at in range(0, len(rows), batch)])


async def _copy(bench: _Bench, rows: list[tuple[int, bytes, bytes]]) -> None:
    async with bench.store.write() as tx:
        driver = await tx.driver()
        columns = ("idx", "leaf_hash", "leaf")
        await driver.copy_records_to_table("plain", records=rows, columns=columns)


async def _timed(times: int, each: int, work: Callable[[], Awaitable[None]]) -> Sample:
    spans = []
    cpu = time.process_time()
    for _ in range(times):
        began = time.monotonic()
        await work()
        spans.append(time.monotonic() - began)
    spent = time.process_time() - cpu
    spans.sort()
    count = times * each
    p50, p99 = spans[times // 2] * 1000, spans[times * 99 // 100] * 1000
    return Sample(count / sum(spans), p50, p99, spent * 1e6 / count)


# Registering


async def _registering(bench: _Bench, settings: Settings) -> Result:
    alone, logged = (
        Row(f"register in a batch, {how}", unit="records/s") for how in ("no log", "logged")
    )
    for _ in range(max(3, settings.runs)):
        for row in (alone, logged):
            lines = [_line(next(bench.numbers)) for _ in range(RECORDS)]
            async with _sequencing(bench) if row is logged else contextlib.nullcontext():
                row.samples.append(
                    await _timed(1, RECORDS, lambda sent=lines: _register(bench, sent))
                )
            await _catch_up(bench)
    dearer = harness.ratio(alone, logged)
    return Result(
        "Registration with a log",
        [logged, alone],
        [Target("time with logging / without", dearer, DEARER, at_most=True)],
        [f"{RECORDS:,} client-signed records a batch; registry and sequencer in one process"],
    )


@contextlib.asynccontextmanager
async def _sequencing(bench: _Bench) -> AsyncIterator[None]:
    """Run the sequencer beside what is measured, as a node does; it leads before that begins."""
    await bench.fill(1)
    task = asyncio.create_task(bench.sequencer.run())
    try:
        while not await _is_published(bench):  # noqa: ASYNC110  (a fact of the database)
            await asyncio.sleep(0.05)
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _is_published(bench: _Bench) -> bool:
    async with bench.store.statement() as driver:
        state, last = await find_state(driver), await newest_checkpoint(driver)
    assert state is not None
    return last is not None and last.size == state.size and bench.sequencer.size == state.size


async def _catch_up(bench: _Bench) -> None:
    await bench.sequencer.open()
    while await bench.sequencer.integrate(4096):
        pass
    await bench.sequencer.commit_epoch()


async def _register(bench: _Bench, lines: list[bytes]) -> None:
    content = b"".join(lines)
    reply = await bench.client.post(
        "/v1/identifiers/batch", content=content, headers=bench.holder, timeout=600
    )
    accepted = reply.text.count('"status":201')
    assert accepted == len(lines), reply.text[:500]


def _line(number: int) -> bytes:
    name = f"L-{number:08d}"
    record = Record(
        Identifier(PREFIX, name),
        ITEM,
        int(time.time()),
        targets=(Pointer("gs1:pip", f"https://example.com/{name}", "text/html", "Product"),),
        attributes={"serial": name, "plant": "2"},
    )
    return json.dumps({"envelope": record.sign(SIGNER)}).encode() + b"\n"
