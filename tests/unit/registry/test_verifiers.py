"""The processes that verify large imports: the same verdicts, and what happens when one dies."""

import asyncio
import contextlib
import json
import os
import signal

import httpx
import pytest
from hypothesis import given, settings, strategies as st

from registry import batch, prefixes
from registry.accounts import Caller
from registry.api.deps import Deps
from registry.app import create_app
from registry.batch import LARGE, RecordBatch
from registry.lines import Line
from registry.verifiers import Verifiers
from registry.verifying import Job, Refused
from schemas.batched import build
from schemas.envelope import RECORD
from schemas.errors import TierlinkError, Unavailable
from schemas.identifier import Identifier, Prefix
from schemas.record import Record
from tests.fixtures_registry import Registry
from tests.holders import TARGET, hold

PREFIX = "88.118.9"
COUNT = 3 * LARGE


@pytest.fixture
async def verifiers():
    async with Verifiers(2) as made:
        yield made


@pytest.fixture
async def large(registry, verifiers):
    """The registry with processes beside it, and a holder."""
    deps = Deps(registry.store, registry.keyring, registry.clock, verifiers=verifiers)
    transport = httpx.ASGITransport(create_app(deps))
    async with httpx.AsyncClient(transport=transport, base_url="http://registry") as client:
        yield Registry(deps, registry.operator, client, registry.clock)


def lines_of(bodies):
    return b"".join(json.dumps(body).encode() + b"\n" for body in bodies)


async def send(registry, holder, bodies):
    answer = await registry.client.post(
        "/v1/identifiers/batch",
        content=lines_of(bodies),
        headers={"authorization": f"Bearer {holder.api_key}"},
    )
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_small_batches_begin_no_process(large, verifiers):
    holder = await hold(large, PREFIX)
    results = await send(large, holder, [holder.body(f"A-{n}") for n in range(5)])
    assert {result["status"] for result in results} == {201}
    assert verifiers.pids == ()


async def test_large_ones_begin_no_more_than_there_may_be(large, verifiers):
    holder = await hold(large, PREFIX)
    results = await send(large, holder, [holder.body(f"A-{n}") for n in range(COUNT)])
    assert [result["line"] for result in results] == list(range(1, COUNT + 1))
    assert {result["status"] for result in results} == {201}
    assert 1 <= len(verifiers.pids) <= 2


async def test_they_end_with_whoever_holds_them(large, verifiers):
    holder = await hold(large, PREFIX)
    await send(large, holder, [holder.body(f"A-{n}") for n in range(COUNT)])
    pids = verifiers.pids
    await verifiers.close()
    assert pids
    assert verifiers.pids == ()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    results = await send(large, holder, [holder.body(f"B-{n}") for n in range(LARGE)])
    assert {result["status"] for result in results} == {503}


async def test_one_that_is_killed_in_the_middle_costs_its_chunk_alone(large, verifiers):
    holder = await hold(large, PREFIX)
    bodies = [holder.body(f"A-{n}") for n in range(COUNT)]
    await send(large, holder, bodies[:LARGE])  # they run
    before = set(verifiers.pids)
    victim = next(iter(before))
    os.kill(victim, signal.SIGSTOP)  # it has its lines, and does not answer
    sending = asyncio.create_task(send(large, holder, bodies))
    await asyncio.sleep(0.3)
    os.kill(victim, signal.SIGKILL)
    results = await sending
    assert {result["status"] for result in results} == {503}
    assert {result["code"] for result in results} == {"unavailable"}
    # whoever sends it again finds another process, and what stood stands
    results = await send(large, holder, bodies)
    assert [result["status"] for result in results] == [200] * LARGE + [201] * (COUNT - LARGE)
    assert victim not in verifiers.pids


async def test_one_that_died_idle_is_replaced_unnoticed(large, verifiers):
    holder = await hold(large, PREFIX)
    bodies = [holder.body(f"A-{n}") for n in range(LARGE)]
    await send(large, holder, bodies)
    for pid in verifiers.pids:
        os.kill(pid, signal.SIGKILL)
    await asyncio.sleep(0.3)
    assert verifiers.pids == ()
    assert {result["status"] for result in await send(large, holder, bodies)} == {200}


async def test_who_asks_a_stopped_pool_is_told(verifiers):
    await verifiers.close()
    with pytest.raises(Unavailable):
        await verifiers.verify(Job(PREFIX, "", (), (), 0, ()))


# Equality: whatever the lines, both ways say and write the same.

KINDS_OF_LINE = (
    *("good", "attributes", "class", "child", "orphan", "twice", "other", "another", "future"),
    *("draft", "nameless", "more", "signature", "number", "list", "retired", "second", "together"),
    *("compact", "escaped", "wide", "broken", "doubled"),
)


def line_of(holder, name, n):
    """A line that says something good or bad, each in its own way."""
    a = f"A-{n}"
    said = {
        "good": holder.body(a, targets=(TARGET,)),
        "attributes": holder.body(a, attributes={"name": "值", "n": n}),
        "class": holder.body(f"C-{n}", "class"),
        "child": holder.body(a, parent="TOP"),
        "orphan": holder.body(a, parent="NOBODY"),
        "twice": holder.body("SAME"),
        "other": holder.body("SAME", attributes={"n": n}),
        "another": {"envelope": foreign(holder, n)},
        "future": holder.body(a, issued_at=holder.now + 10_000),
        "draft": {"identifier": f"{PREFIX}/D-{n}", "kind": "item"},
        "nameless": {"identifier": f"{PREFIX}/", "kind": "item"},
        "more": holder.body(a) | {"x": 1},
        "signature": {"envelope": holder.body(a)["envelope"][:-6] + "AAAAAA"},
        "number": {"envelope": n},
        "list": [n],
        "retired": holder.body(a, status="retired"),
        "second": {"envelope": second(holder, n)},
        "together": {"envelope": together(holder, n)},
    }
    if name in SPELLINGS | BROKEN:
        return spelled(name, holder.body(a)["envelope"])
    return json.dumps(said[name], ensure_ascii=False).encode()


SPELLINGS = {
    "compact": '{"envelope":"%s"}',
    "escaped": '{"envelope": "\\u0065%s"}',
    "wide": ' { "envelope" : "%s" }',
}
BROKEN = {"broken": '{"envelope": "%s\\"}', "doubled": '{"envelope": "%s", "envelope": "x"}'}


def spelled(name, token):
    """A line of one of these forms; an envelope begins with the letter that one escapes."""
    form = (SPELLINGS | BROKEN)[name]
    return (form % (token[1:] if name == "escaped" else token)).encode()


async def test_the_envelope_of_a_line_of_any_spelling_comes_back(registry, verifiers):
    holder = await hold(registry, PREFIX)
    prefix = Prefix.parse(PREFIX)
    async with registry.store.read() as tx:
        chain = await prefixes.chain(tx, prefix)
    token = holder.body("A-1")["envelope"]
    lines = [spelled(name, token) for name in (*SPELLINGS, *BROKEN)]
    found = await verifiers.verify(Job.of(prefix, chain, holder.now, lines))
    assert [item.envelope for item in found[: len(SPELLINGS)]] == [token] * len(SPELLINGS)
    assert all(isinstance(item, Refused) for item in found[len(SPELLINGS) :])


def foreign(holder, n):
    return holder.sign(Record(Identifier.parse(f"88.118.7/A-{n}"), "item", holder.now))


def second(holder, n):
    record = holder.record("SAME")
    return holder.sign(holder.after(record, holder.sign(record), attributes={"n": n}))


def together(holder, n):
    claims = [holder.record(f"T-{n}-{m}").claims() for m in range(3)]
    prefix = Prefix.parse(PREFIX)
    _, tokens = build(claims, RECORD, holder.private, issued_at=holder.now, prefix=prefix)
    return list(tokens)[n % 3]


async def outcomes(registry, holder, verifiers, raw):
    """Read and write lines in a transaction of which nothing stays; return what is answered."""
    work = RecordBatch(
        registry.store,
        registry.keyring,
        Caller("test", Prefix.parse(PREFIX)),
        registry.clock,
        verifiers,
    )
    lines = [Line(number, line) for number, line in enumerate(raw, 1)]
    prepared = await work.prepare(lines)
    found = []
    with contextlib.suppress(LookupError):
        async with registry.store.write() as tx:
            for result in await batch._Writing(tx, work._caller).results(prepared.items):
                said = result.outcome
                members = said.problem() if isinstance(said, TierlinkError) else said
                found.append((result.line, dict(result.about), members))
            raise LookupError  # nothing of it stays
    return found


async def test_both_ways_say_the_same_of_any_lines(registry, verifiers, monkeypatch):
    monkeypatch.setattr(batch, "LARGE", 1)
    monkeypatch.setattr(batch, "SHARE", 7)
    holder = await hold(registry, PREFIX)
    await registry.post("/v1/identifiers", holder.body("TOP", "class"), key=holder.api_key)
    loop = asyncio.get_running_loop()
    known = {(name, n): line_of(holder, name, n) for name in KINDS_OF_LINE for n in range(6)}
    raw = st.sampled_from(sorted(known)).map(known.__getitem__)
    garbage = st.binary(max_size=30).filter(lambda text: b"\n" not in text)

    @settings(max_examples=40, deadline=None, database=None)
    @given(st.lists(raw | garbage, min_size=1, max_size=25))
    def compare(lines):
        async def both():
            here = await outcomes(registry, holder, None, lines)
            there = await outcomes(registry, holder, verifiers, lines)
            assert here == there

        asyncio.run_coroutine_threadsafe(both(), loop).result(60)

    await asyncio.to_thread(compare)
    assert verifiers.pids
