"""Walks over 2,000,000 links against the bare recursive SQL over the same tables.

The shape is that of the largest set of real parts (levels 1-32-14-64, 10 companies, depth 5):

    vehicle <- 32 assemblies <- 14 subassemblies <- 64 parts <- shared batches <- raw lots

Each batch went into 33 parts of some 16 vehicles, each lot into some 800 batches: the recall of a
lot passes 60,000 identifiers. One vehicle is registered and linked over HTTP, so that all of it is
signed, by both ends; the rest are rows of `edges` alone, which is all that a walk without proof
reads. The bare statement has the same rows to find and nothing else to do: no need to know, no
budget, no JSON, no HTTP.

A public trace is kept while nothing that it shows has changed. So each walk here is asked for in
other words, by its deadline, and the same question again stands in a row of its own.
"""
# ruff: noqa: S608  the statements are put together of constants of this page

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx

from registry.store.tables import unit_of
from schemas.identifier import Identifier, Prefix
from tierlink.embedded.cluster import DATABASE, ROLE

from . import harness, parts
from .harness import Contestant, Result, Row, Sample, Settings, Target
from .parts import Data

VEHICLES = 11_500
ASSEMBLIES, SUBASSEMBLIES, PARTS = 32, 14, 64
PARENTS = 33  # parts that one batch went into
PAIRS = PARTS // 2  # two neighbouring parts are of one batch
BATCHES = VEHICLES * PARTS // PARENTS
LOTS = 28
STRIDE = 7_919  # which batch a pair of parts is of: prime, so that neighbours are far apart
COMPANIES = tuple(Prefix.parse(f"88.{number}") for number in range(70, 80))
SIGNED = 0  # the vehicle that is signed
LIMIT = 100_000

EXPLODED = 40  # walks of a turn
RECALLED = 2
TURNS = 3
_END = b"\r\n0\r\n\r\n"
BOUNDS = {"explode": 3.0, "recall": 2.5}

_VEHICLE = "'88.70/V-' || v"
_ASSEMBLY = "'88.' || 71 + i % 3 || '/A-' || v || '-' || i"
_SUBASSEMBLY = "'88.' || 74 + i % 2 || '/S-' || v || '-' || i"
_PART = "'88.' || 76 + j % 2 || '/P-' || v || '-' || j"
_PARENT = f"'88.' || 74 + (j * {SUBASSEMBLIES} / {PARTS}) % 2 || '/S-' || v || '-' || "
_PARENT += f"j * {SUBASSEMBLIES} / {PARTS}"
_BATCH = f"'88.78/B-' || ((v * {PAIRS} + j / 2)::bigint * {STRIDE} % {BATCHES})"

# upstream and downstream of every link, each once
LINKS = f"""
SELECT {_ASSEMBLY} AS up, {_VEHICLE} AS down FROM vehicle, generate_series(0, {ASSEMBLIES - 1}) AS i
UNION ALL
SELECT {_SUBASSEMBLY}, {_ASSEMBLY} FROM vehicle, generate_series(0, {SUBASSEMBLIES - 1}) AS i
UNION ALL
SELECT {_PART}, {_PARENT} FROM vehicle, generate_series(0, {PARTS - 1}) AS j
UNION ALL
SELECT {_BATCH}, {_PART} FROM vehicle, generate_series(0, {PARTS - 1}) AS j
"""
_LOTS = f"""
SELECT '88.79/L-' || b % {LOTS} AS up, '88.78/B-' || b AS down
FROM generate_series(0, {BATCHES - 1}) AS b
"""
_EVERY = f"""
WITH vehicle AS (SELECT v FROM generate_series(0, {VEHICLES - 1}) AS v)
SELECT l.up, l.down FROM ({LINKS} UNION ALL {_LOTS}) AS l
"""
_OF_ONE = f"""
WITH vehicle AS (SELECT {SIGNED} AS v), own AS ({LINKS})
SELECT o.up, o.down FROM own AS o
UNION ALL SELECT l.up, l.down FROM ({_LOTS}) AS l WHERE l.down IN (SELECT o.up FROM own AS o)
"""
_FILL = """
INSERT INTO edges
    (unit, near, direction, far, type, lifecycle, occurrence, far_unit, link_key, sides)
SELECT n.unit, e.near, e.direction, e.far, 'CONTAINED_IN', 'asBuilt', '', f.unit,
    left(translate(encode(sha256((e.up || e.down)::bytea), 'base64'), '+/', '-_'), 43), 3
FROM (
    SELECT l.down AS near, 'upstream' AS direction, l.up AS far, l.up, l.down FROM link AS l
    UNION ALL
    SELECT l.up, 'downstream', l.down, l.up, l.down FROM link AS l
) AS e
JOIN company AS n ON n.prefix = split_part(e.near, '/', 1)
JOIN company AS f ON f.prefix = split_part(e.far, '/', 1)
"""
_KEY = "ALTER TABLE edges ADD CONSTRAINT pk_edges PRIMARY KEY"
_KEY += " (unit, near, direction, far, type, lifecycle, occurrence)"

BARE = """
WITH RECURSIVE walk AS (
    SELECT $1::bigint AS unit, $2::text COLLATE "C" AS key
    UNION
    SELECT e.far_unit, e.far FROM walk AS w CROSS JOIN LATERAL (
        SELECT e.far_unit, e.far FROM edges AS e
        WHERE e.unit = w.unit AND e.near = w.key AND e.direction = $3 AND e.sides <> 0
    ) AS e
)
SELECT w.key FROM walk AS w
"""


def measure(settings: Settings) -> list[Result]:
    """Fill, then walk in turns with the bare statement."""
    with parts.database() as data:
        filled = _fill(data, settings)
        with parts.role("resolver", data, settings) as resolver:
            return [*asyncio.run(_compare(data, resolver, filled))]


def _fill(data: Data, settings: Settings) -> str:
    """Register and link one vehicle over HTTP, then copy the rest; return what that took."""
    began = time.perf_counter()
    with parts.role("registry", data, settings) as registry:
        keys = _companies(registry.url, data)
        links = asyncio.run(_query(data, _OF_ONE))
        _state(registry.url, keys, links)
    rows, size = asyncio.run(_copy(data))
    took = time.perf_counter() - began
    return (
        f"{rows // 2:,} links, {rows:,} rows of `edges`, {size / 1e6:,.0f} MB with the key,"
        f" filled in {took:.0f} s"
    )


def _companies(url: str, data: Data) -> dict[str, str]:
    """Allocate the ten prefixes with hosted keys; everybody is shown their links."""
    operator = json.loads((data.folder / "operator.json").read_text())["api_key"]
    keys: dict[str, str] = {}
    with httpx.Client(base_url=url, timeout=60) as client:
        for prefix in map(str, COMPANIES):
            body = {"prefix": prefix, "organisation": {"name": prefix}}
            made = client.post("/v1/prefixes", json=body, headers=_bearer(operator))
            keys[prefix] = made.raise_for_status().json()["api_key"]
            grant = {"iss": prefix, "id": "all", "to": "*", "depth": 100}
            client.post("/v1/grants", json=grant, headers=_bearer(keys[prefix])).raise_for_status()
    return keys


def _state(url: str, keys: dict[str, str], links: list[tuple[str, str]]) -> None:
    """Register both ends of every link, and let both state it."""
    records: dict[str, dict[str, dict[str, object]]] = {prefix: {} for prefix in keys}
    said: dict[str, list[dict[str, object]]] = {prefix: [] for prefix in keys}
    for up, down in links:
        for side, end in (("upstream", up), ("downstream", down)):
            prefix = end.partition("/")[0]
            kind = "batch" if prefix >= "88.78" else "item"
            records[prefix][end] = {"identifier": end, "kind": kind}
            link = {"type": "CONTAINED_IN", "upstream": up, "downstream": down, "side": side}
            said[prefix].append(link | {"quantity": {"value": "2", "unit": "H87"}})
    with httpx.Client(base_url=url, timeout=60) as client:
        for prefix, key in keys.items():
            _send(client, "/v1/identifiers/batch", list(records[prefix].values()), key)
        for prefix, key in keys.items():
            _send(client, "/v1/links/batch", said[prefix], key)


def _send(client: httpx.Client, path: str, lines: list[dict[str, object]], key: str) -> None:
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    reply = client.post(path, content=body, headers=_bearer(key)).raise_for_status()
    if reply.content.count(b'"status":201') != len(lines):
        raise RuntimeError(f"{path}: {reply.text[:600]}")


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@contextlib.asynccontextmanager
async def _connection(data: Data) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(user=ROLE, database=DATABASE, host=data.socket)
    try:
        yield connection
    finally:
        await connection.close()


async def _query(data: Data, statement: str) -> list[tuple[str, str]]:
    async with _connection(data) as connection:
        return [tuple(row) for row in await connection.fetch(statement)]


async def _copy(data: Data) -> tuple[int, int]:
    """Write the rows of all other links; return how many there are, and the table's bytes."""
    async with _connection(data) as connection:
        await connection.execute("SET maintenance_work_mem = '1GB'")
        await connection.execute("SET work_mem = '256MB'")
        await connection.execute("CREATE TEMPORARY TABLE company (prefix text, unit bigint)")
        await connection.copy_records_to_table(
            "company", records=[(str(prefix), unit_of(prefix)) for prefix in COMPANIES]
        )
        await connection.execute(
            f"CREATE TEMPORARY TABLE link AS SELECT up, down FROM ({_EVERY}) AS every"
            f" EXCEPT ALL SELECT up, down FROM ({_OF_ONE}) AS one"
        )
        await connection.execute("ALTER TABLE edges DROP CONSTRAINT pk_edges")
        await connection.execute(_FILL)
        await connection.execute(_KEY)
        await connection.execute("VACUUM (ANALYZE, FREEZE) edges")
        await connection.execute("CHECKPOINT")
        count = await connection.fetchval("SELECT count(*) FROM edges")
        size = await connection.fetchval("SELECT pg_total_relation_size('edges')")
    return count, size


async def _compare(data: Data, resolver: Contestant, filled: str) -> list[Result]:
    """Walk in turns, over HTTP and by the bare statement."""
    lot = next(up for up, _ in await _query(data, _OF_ONE) if up.startswith("88.79/"))
    address = urlsplit(resolver.url)
    client = socket.create_connection((address.hostname, address.port))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    others = itertools.count(50_000)  # milliseconds: plenty, and never the same
    results = []
    async with _connection(data) as connection:
        await connection.execute("SET jit = off")
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        for name, root, direction, count, accept in (
            ("explode", f"88.70/V-{SIGNED}", "upstream", EXPLODED, "application/json"),
            ("recall", lot, "downstream", RECALLED, "application/x-ndjson"),
        ):
            bare = Row(f"{name}: bare recursive SQL", unit="walks/s")
            ours = Row(f"{name}: GET /v1/trace, proof=none, walked anew", unit="walks/s")
            again = Row(f"{name}: the same question again", unit="answers/s")
            whole = Row(f"{name}: with proof, walked anew", unit="walks/s")
            path = f"/v1/trace/{root}?direction={direction}&limit={LIMIT}"
            first = Identifier.parse(root)
            nodes = 0
            for _ in range(TURNS):
                times = []
                for _ in range(count):
                    began = time.perf_counter()
                    rows = await connection.fetch(BARE, unit_of(first.prefix), root, direction)
                    times.append(time.perf_counter() - began)
                nodes = len(rows)
                bare.samples.append(_sampled(times, 0.0))
                anew = [f"{path}&proof=none&deadline_ms={next(others)}" for _ in range(count)]
                ours.samples.append(_asked(client, resolver, anew, accept))
                if name == "explode":
                    same = [f"{path}&proof=none"] * count
                    again.samples.append(_asked(client, resolver, same, accept))
                    proven = [f"{path}&deadline_ms={next(others)}" for _ in range(count)]
                    whole.samples.append(_asked(client, resolver, proven, accept))
            targets = [
                _ratio(f"{name} over HTTP, walked anew / bare SQL", ours, bare, BOUNDS[name])
            ]
            if again.samples:
                what = f"{name} over HTTP, asked again / bare SQL"
                targets.append(_ratio(what, again, bare, BOUNDS[name]))
            results.append(
                Result(
                    f"Trace: {name}, {nodes:,} identifiers",
                    [row for row in (bare, ours, again, whole) if row.samples],
                    targets,
                    [filled] if name == "explode" else [],
                )
            )
    client.close()
    return results


def _ratio(what: str, ours: Row, bare: Row, bound: float) -> Target:
    return Target(what, harness.ratio(ours, bare, "p50_ms"), bound, at_most=True)


def _asked(
    client: socket.socket, resolver: Contestant, paths: Sequence[str], accept: str
) -> Sample:
    """Ask for each path, each answer read to its end and looked at."""
    host = urlsplit(resolver.url).netloc
    times = []
    before = harness.cpu_seconds(resolver.process)
    for path in paths:
        request = f"GET {path} HTTP/1.1\r\nhost: {host}\r\naccept: {accept}\r\n\r\n".encode()
        began = time.perf_counter()
        client.sendall(request)
        body = _answer(client)
        times.append(time.perf_counter() - began)
        if not body.startswith(b"HTTP/1.1 200 ") or b'"truncated":false' not in body[-4_000_000:]:
            raise RuntimeError(f"{path}: {body[:300]!r}")
    return _sampled(times, harness.cpu_seconds(resolver.process) - before)


def _answer(client: socket.socket) -> bytes:
    """Receive one response: of the length that it says, or in chunks up to the empty one."""
    pieces = [client.recv(1 << 20)]
    head, _, body = pieces[0].partition(b"\r\n\r\n")
    length = head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
    left = int(length) - len(body) if length else None
    while left != 0 if left is not None else not pieces[-1].endswith(_END):
        pieces.append(client.recv(1 << 20))
        if not pieces[-1]:
            raise RuntimeError("the server closed the connection")
        if left is not None:
            left -= len(pieces[-1])
        elif len(pieces[-1]) < len(_END):
            pieces[-2:] = [b"".join(pieces[-2:])]
    return b"".join(pieces)


def _sampled(times: list[float], spent: float) -> Sample:
    ordered = sorted(times)
    return Sample(
        len(times) / sum(times),
        ordered[len(times) // 2] * 1000,
        ordered[len(times) * 99 // 100] * 1000,
        spent * 1e6 / len(times),
    )
