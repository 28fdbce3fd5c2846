"""Links in bulk: a result per line in order, a refused line loses no other, few statements."""

import asyncio
import json

import pytest
from sqlalchemy import select

from registry.accounts import Caller
from registry.lines import Line
from registry.link_batch import LinkBatch
from registry.store.tables import assertions, changes, edges
from schemas.identifier import Prefix
from schemas.link import parse_assertion


@pytest.fixture
async def maker(registry):
    """A maker of modules with a hosted key, a class rule for every serial, and one module."""
    maker = await registry.allocate("88.118.9")
    rule = {"pattern": "M-{n:digits:1-9}", "targets": []}
    for body in (
        {"identifier": "88.118.9/M", "kind": "class", "rule": rule},
        {"identifier": "88.118.9/MODULE", "kind": "item"},
    ):
        answer = await registry.post("/v1/identifiers", body, key=maker.api_key)
        assert answer.status_code == 201, answer.text
    return maker


def draft(n, **members):
    return {
        "side": "downstream",
        "type": "CONTAINED_IN",
        "upstream": f"88.118.8/CELL-{n}",
        "downstream": f"88.118.9/M-{n}",
    } | members


async def send(registry, maker, *lines):
    body = b"".join(
        (line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines
    )
    answer = await registry.client.post(
        "/v1/links/batch", content=body, headers={"authorization": f"Bearer {maker.api_key}"}
    )
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


async def count(registry, table):
    async with registry.store.read() as tx:
        return len((await tx.connection.execute(select(table.c.unit))).all())


async def test_a_result_for_each_line(registry, maker):
    results = await send(
        registry,
        maker,
        draft(1),
        draft(2, downstream="88.118.9/NONE"),
        b"{broken",
        draft(3, downstream="88.118.7/M-3"),
        draft(1),
        draft(1, quantity={"value": "2", "unit": "H87"}),
        draft(1, state="withdrawn"),
        draft(4, state="withdrawn"),
        draft(5, type="EATEN_BY"),
        draft(6),
    )
    assert [result["line"] for result in results] == list(range(1, 11))
    told = [(r["status"], r.get("code"), r.get("version"), r.get("link_state")) for r in results]
    assert told == [
        (201, None, 1, "proposed"),
        (404, "identifier_not_found", None, None),
        (400, "E_FORMAT", None, None),
        (403, "forbidden", None, None),
        (200, None, 1, "proposed"),
        (200, None, 2, "proposed"),
        (200, None, 3, "withdrawn"),
        (404, "not_found", None, None),
        (400, "link_invalid", None, None),
        (201, None, 1, "proposed"),
    ]
    assert results[0]["link_key"] == results[6]["link_key"]
    assert all(r["side"] == "downstream" for r in results if r.get("version"))
    assert await count(registry, assertions) == 2
    async with registry.store.read() as tx:
        rows = await tx.connection.execute(select(edges.c.sides))
        assert sorted(rows.scalars().all()) == [0, 0, 2, 2]  # the first link has no side left


async def test_both_sides_of_one_holder_in_one_batch(registry, maker):
    inner = {"upstream": "88.118.9/M-1", "downstream": "88.118.9/MODULE"}
    results = await send(
        registry,
        maker,
        *(draft(0, side=side, **inner) for side in ("upstream", "downstream")),
    )
    assert [result["link_state"] for result in results] == ["mutual", "mutual"]
    async with registry.store.read() as tx:
        rows = await tx.connection.execute(select(edges.c.sides))
        assert rows.scalars().all() == [3, 3]


async def test_envelopes_and_drafts_mixed(registry, maker):
    (first,) = await send(registry, maker, draft(1))
    async with registry.store.read() as tx:
        token = (await tx.connection.execute(select(assertions.c.envelope))).scalar_one()
    forged = token[:-8] + ("AAAAAAAA" if token[-8:] != "AAAAAAAA" else "BBBBBBBA")
    results = await send(registry, maker, {"envelope": token}, {"envelope": forged}, draft(2))
    assert [result["status"] for result in results] == [200, 400, 201]
    assert results[0]["link_key"] == first["link_key"]


async def test_a_suspended_holder(registry, maker):
    await registry.post("/v1/prefixes/88.118.9/suspend", key=registry.operator)
    results = await send(registry, maker, draft(1), draft(2))
    assert [result["code"] for result in results] == ["prefix_suspended"] * 2


async def test_the_statements_do_not_grow_with_the_lines(registry, maker, sql_recorder):
    await send(registry, maker, draft(0))
    counts = []
    for lines in (range(1, 3), range(100, 900)):
        async with sql_recorder(registry.store.engine) as statements:
            results = await send(registry, maker, *(draft(n) for n in lines))
        assert all(result["status"] == 201 for result in results)
        counts.append([s for s in statements if s != "SELECT 1"])
    # reading: caller, chain, key; writing: chain, near ends, newest, insert, edges, changes, others
    assert list(map(len, counts)) == [11, 11], counts
    assert await count(registry, changes) >= 803


async def test_the_chain_changes_between_reading_and_writing(registry, maker):
    work = LinkBatch(
        registry.store, registry.keyring, Caller("test", Prefix.parse("88.118.9")), registry.clock
    )
    prepared = await work.prepare([Line(1, json.dumps(draft(1)).encode())])
    before = prepared.speaker.voice.signer.public.kid
    answer = await registry.put(
        "/v1/prefixes/88.118.9/delegation", {"keys": []}, key=registry.operator
    )
    assert answer.status_code == 200, answer.text
    (result,) = await work.write(prepared)
    assert result.outcome["status"] == 201
    async with registry.store.read() as tx:
        token = (await tx.connection.execute(select(assertions.c.envelope))).scalar_one()
    assert parse_assertion(token)[0].kid != before


async def test_two_ends_in_bulk_at_the_same_moment(registry, maker):
    cells = await registry.allocate("88.118.8")
    rule = {"pattern": "CELL-{n:digits:1-9}", "targets": []}
    body = {"identifier": "88.118.8/C", "kind": "class", "rule": rule}
    assert (await registry.post("/v1/identifiers", body, key=cells.api_key)).status_code == 201
    down = [draft(n) for n in range(300)]
    up = [line | {"side": "upstream"} for line in reversed(down)]
    results = await asyncio.gather(send(registry, maker, *down), send(registry, cells, *up))
    assert {r["status"] for side in results for r in side} == {201}
    async with registry.store.read() as tx:
        rows = await tx.connection.execute(select(edges.c.sides))
        assert rows.scalars().all() == [3] * 600
