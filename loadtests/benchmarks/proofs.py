"""Proofs: how fast one is assembled and verified, and how many bytes one has in a large log.

In one process over the embedded PostgreSQL: records are registered through the registry's app,
taken into the log, cosigned by two witnesses. Assembly is `Proofs.bundle` to the bytes that travel,
of random identifiers, with tiles, buckets and tops in memory; it still reads, in one statement,
what stands at this moment. Verification begins with nothing remembered, each time. The size is
that of the format at 10^8 leaves: real signatures, and paths of random hashes as long as there.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvloop

from benchmarks.database import database
from registry.api.transaction import Deps
from registry.app import create_app
from registry.bootstrap import found as found_node
from registry.keyring import Keyring
from registry.log import founding
from registry.log.copy import Copy
from registry.log.maps import Maps
from registry.log.proofs import Proofs
from registry.log.publishing import Publisher
from registry.log.sequencer import Sequencer
from registry.store.engine import Store
from schemas import canonical
from schemas.chain import Trust, trust_document
from schemas.checkpoint import (
    COSIGNATURE,
    Checkpoint,
    NoteKey,
    cosign,
    sign_note,
    split_note,
)
from schemas.delegation import DELEGATE_USE, RECORD_USE, ROTATE_USE, DelegatedKey, Delegation
from schemas.evidence import EntryProof, EpochProof, LogProof, PrefixProof
from schemas.identifier import Identifier, Prefix
from schemas.keys import PrivateKey
from schemas.leaf import Epoch
from schemas.merkle import inclusion_proof
from schemas.policy import LogPolicy
from schemas.proof import verify
from schemas.record import ITEM, Record
from schemas.source import Proved
from schemas.target import Target as Pointer
from schemas.verdict import VALID
from schemas.verifiable_map import MapProof

from .harness import Result, Row, Sample, Settings, Target

INDUSTRY, PREFIX = "88", "88.77"
RECORDS = 20_000
PROOFS = 2_000  # of a turn
VERDICTS = 300  # of a turn
LEAVES = 100_000_000
PREFIXES = 10_000  # in the log that the size is computed for
ASSEMBLED, VERIFIED, SIZE = 1.0, 2.0, 8_192  # targets: ms, ms, bytes

_WITNESSES = {f"w{n}.example": PrivateKey.from_seed(bytes([n]) * 32) for n in (1, 2)}
_KEYS = tuple(NoteKey(name, COSIGNATURE, key.public) for name, key in _WITNESSES.items())


def measure(settings: Settings) -> list[Result]:
    """Assemble, verify and weigh proofs."""
    with database() as (url, folder):
        return [uvloop.run(_measure(settings, url, folder)), _weighed()]


async def _measure(settings: Settings, url: str, folder: Path) -> Result:
    async with _bench(url, folder) as bench:
        assembled, verified = (
            Row("assemble, from cache", unit="proofs/s"),
            Row("verify, nothing remembered", unit="proofs/s"),
        )
        names = [Identifier.parse(f"{PREFIX}/S-{n:06d}") for n in range(RECORDS)]
        draw = random.Random(1)
        for name in names:  # fills the caches
            await bench.proofs.bundle(name)
        for _ in range(settings.runs):
            drawn = draw.choices(names, k=PROOFS)
            assembled.samples.append(await _timed_assembly(bench.proofs, drawn))
            raw = [_spelled(await bench.proofs.bundle(name)) for name in drawn[:VERDICTS]]
            verified.samples.append(_timed_verification(raw, bench.trust))
    return Result(
        "Proofs of the log",
        [assembled, verified],
        [
            Target("assembly, median ms", assembled.median("p50_ms"), ASSEMBLED, at_most=True),
            Target("verification, median ms", verified.median("p50_ms"), VERIFIED, at_most=True),
        ],
        [f"{RECORDS:,} records under {PREFIX}; a bundle there has {len(raw[0]):,} bytes"],
    )


async def _timed_assembly(proofs: Proofs, names: Sequence[Identifier]) -> Sample:
    times = []
    spent = time.process_time()
    for name in names:
        began = time.perf_counter()
        _spelled(await proofs.bundle(name))
        times.append(time.perf_counter() - began)
    return _sample(times, time.process_time() - spent)


def _timed_verification(bundles: Sequence[bytes], trust: Trust) -> Sample:
    times, failed = [], 0
    now = int(time.time())
    spent = time.process_time()
    caches = _caches()
    gc.collect()
    for raw in bundles:
        for cache in caches:
            cache()
        began = time.perf_counter()
        verdict = verify(canonical.decode_object(raw), trust, now)
        times.append(time.perf_counter() - began)
        failed += verdict.state != VALID
    return _sample(times, time.process_time() - spent, failed)


def _sample(times: list[float], spent: float, failed: int = 0) -> Sample:
    times.sort()
    middle, late = times[len(times) // 2] * 1000, times[len(times) * 99 // 100] * 1000
    return Sample(len(times) / sum(times), middle, late, spent * 1e6 / len(times), failed)


def _caches() -> list[Callable[[], None]]:
    """Return what makes the verifier forget: every memory of a function in its modules."""
    modules = [module for name, module in sys.modules.items() if name.startswith("schemas.")]
    return [
        item.cache_clear
        for module in modules
        for item in vars(module).values()
        if isinstance(item, functools._lru_cache_wrapper)  # noqa: SLF001  (there is no other name)
    ]


def _spelled(proved: Proved) -> bytes:
    return json.dumps(proved.to_json(), ensure_ascii=False, separators=(",", ":")).encode()


# The node that is measured


@dataclass
class _Bench:
    proofs: Proofs
    trust: Trust


@contextlib.asynccontextmanager
async def _bench(url: str, folder: Path) -> AsyncIterator[_Bench]:
    store, keyring = Store.open(url, pool=8), Keyring(bytes(32))
    deps = Deps(store, keyring, lambda: int(time.time()))
    async with store.write() as tx:
        founded = await found_node(tx, keyring, deps.clock())
        identity = await founding.found(tx, keyring, None)
    policy = LogPolicy(identity.key, _KEYS, quorum=2)
    await _registered(deps, str(founded.operator_key))
    copy = Copy(folder / "published.note", identity.key)
    publisher = Publisher(store, identity.signer, policy, copy, deps.clock, witness=_cosigned)
    sequencer = Sequencer(store, Maps(), publisher)
    await sequencer.open()
    while await sequencer.integrate():
        pass
    await sequencer.commit_epoch()
    await sequencer.publish()
    trust = Trust.parse(canonical.encode(trust_document([founded.root], (), policy)))
    yield _Bench(Proofs(store), trust)
    await store.close()


async def _cosigned(note: str, _old: int, _proof: tuple[bytes, ...]) -> list[str]:
    body, _ = split_note(note)
    return [cosign(body, name, key, int(time.time())) for name, key in _WITNESSES.items()]


async def _registered(deps: Deps, operator: str) -> None:
    """Allocate 88 and 88.77 below it, and register its records, signed by hosted keys."""
    transport = httpx.ASGITransport(create_app(deps))
    async with httpx.AsyncClient(transport=transport, base_url="http://bench") as client:
        key = operator
        for prefix in (INDUSTRY, PREFIX):
            body = {"prefix": prefix, "organisation": {"name": "Bench"}}
            made = await client.post("/v1/prefixes", json=body, headers=_bearer(key))
            key = made.raise_for_status().json()["api_key"]
        lines = b"".join(_draft(number) for number in range(RECORDS))
        done = await client.post(
            "/v1/identifiers/batch",
            content=lines,
            headers={**_bearer(key), "content-type": "application/x-ndjson"},
            timeout=600,
        )
        accepted = done.text.count('"status":201')
    if accepted != RECORDS:
        raise RuntimeError(f"{accepted} of {RECORDS} records were accepted: {done.text[:300]}")


def _draft(number: int) -> bytes:
    name = f"S-{number:06d}"
    target = {"rel": "gs1:pip", "href": f"https://example.com/{name}", "type": "text/html"}
    draft = {
        "identifier": f"{PREFIX}/{name}",
        "kind": ITEM,
        "targets": [target],
        "attributes": {"serial": name, "plant": "2"},
    }
    return json.dumps(draft).encode() + b"\n"


def _bearer(api_key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {api_key}"}


# What a proof weighs in a large log


def _weighed() -> Result:
    sizes = {links: len(_spelled(_large(links))) for links in (2, 3)}
    row = Row("a bundle at 10^8 leaves", unit="bytes")
    row.samples.append(Sample(sizes[2], 0, 0, 0))
    return Result(
        "Size of a proof",
        [row],
        [Target("chain of two delegations, bytes", sizes[2], SIZE, at_most=True)],
        [
            (
                f"with a chain of three: {sizes[3]:,} bytes; one record, one key in each"
                f" delegation, two cosignatures, {PREFIXES:,} prefixes"
            )
        ],
    )


def _large(links: int) -> Proved:
    """Return a bundle as a log of `LEAVES` gives it: real signatures, random hashes."""
    draw = random.Random(links)
    signers = [PrivateKey.from_seed(bytes([n]) * 32) for n in range(10, 11 + links)]
    labels = [INDUSTRY, "118", "108"][:links]
    prefixes = [Prefix.parse(".".join(labels[: n + 1])) for n in range(links)]
    now = 1_795_000_000
    uses = frozenset({RECORD_USE, DELEGATE_USE, ROTATE_USE})
    chain = [
        Delegation(
            prefix,
            above,
            1,
            now,
            (DelegatedKey(signer.public, uses),),
            organisation={"name": "瀚屿动力系统有限公司 Hanyu Power Systems Co., Ltd."},
        ).sign(parent)
        for prefix, above, signer, parent in zip(
            prefixes, [Prefix(()), *prefixes], signers[1:], signers, strict=False
        )
    ]
    identifier = Identifier(prefixes[-1], "PK205-2026-000101")
    pointer = Pointer("gs1:dpp", "https://passport.example/PK205-2026-000101", "text/html", "DPP")
    record = Record(
        identifier, ITEM, now, targets=(pointer,), attributes={"serial": "000101", "plant": "2"}
    ).sign(signers[-1])
    log = LogProof(
        _note(draw),
        EpochProof(
            Epoch(9_000_000, LEAVES - 1, draw.randbytes(32), draw.randbytes(32)),
            LEAVES - 1,
            _path(draw, LEAVES - 1),
        ),
        (EntryProof(LEAVES // 3, _path(draw, LEAVES // 3), _in_map(draw, LEAVES)),),
        tuple(
            PrefixProof(LEAVES // 2 + n, _in_map(draw, PREFIXES), draw.randbytes(32) if n else None)
            for n in range(links)
        ),
        draw.randbytes(32),
    )
    return Proved(identifier, record, (), tuple(chain), log)


def _note(draw: random.Random) -> str:
    checkpoint = Checkpoint("registry.example/tierlink", LEAVES, draw.randbytes(32))
    note = sign_note(checkpoint, checkpoint.origin, PrivateKey.from_seed(bytes(32)))
    lines = (cosign(checkpoint.body, name, key, 1_795_000_001) for name, key in _WITNESSES.items())
    return note + "".join(lines)


def _path(draw: random.Random, index: int) -> tuple[bytes, ...]:
    return inclusion_proof(index, LEAVES, lambda _level, _index: draw.randbytes(32))


def _in_map(draw: random.Random, entries: int) -> MapProof:
    """Return a path as long as the mean one of a map with so many entries.

    A leaf is about log2(n) + 1.3 deep, and the siblings that are not empty are log2(n) + 0.3 of it.
    """
    depth = round(entries.bit_length() + 0.8)
    empty = depth - 2
    siblings = tuple(draw.randbytes(32) for _ in range(depth - 1))
    bitmap = (1 << depth) - 1 - (1 << empty)
    return MapProof(depth, bitmap, siblings, (draw.randbytes(32), draw.randbytes(40)))
