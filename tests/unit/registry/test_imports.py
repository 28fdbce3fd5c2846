"""Imports: what is taken for granted of a chunk, and that nothing is lost where it is wrong."""

import json

import pytest
from sqlalchemy import func, select

from registry import batch
from registry.store import identifier_batches
from registry.store.tables import changes, identifiers
from tests.holders import hold

PREFIX = "88.118.9"
COUNT = 5 * batch.PROBES


@pytest.fixture
async def holder(registry):
    return await hold(registry, PREFIX)


@pytest.fixture
def looked_up(monkeypatch):
    """How many identifiers each look at what stands asks for."""
    found = []
    ask = identifier_batches.current_many

    async def counting(tx, unit, wanted):
        found.append(len(set(wanted)))
        return await ask(tx, unit, wanted)

    monkeypatch.setattr(identifier_batches, "current_many", counting)
    return found


def name(number):
    return f"A-{number:03d}"


def bodies(holder, **members):
    return [holder.body(name(number), **members) for number in range(COUNT)]


async def one(registry, holder, body):
    answer = await registry.post("/v1/identifiers", body, key=holder.api_key)
    assert answer.status_code in (200, 201), answer.text


async def send(registry, holder, sent):
    answer = await registry.client.post(
        "/v1/identifiers/batch",
        content=b"".join(json.dumps(body).encode() + b"\n" for body in sent),
        headers={"authorization": f"Bearer {holder.api_key}"},
    )
    assert answer.status_code == 200, answer.text
    results = [json.loads(line) for line in answer.text.splitlines()]
    assert [result["line"] for result in results] == list(range(1, len(sent) + 1))
    return results


def outcomes(results):
    return [result.get("code", result["status"]) for result in results]


async def rows(registry):
    async with registry.store.read() as tx:
        counts = [
            (await tx.connection.execute(select(func.count()).select_from(table))).scalar_one()
            for table in (identifiers, changes)
        ]
    return tuple(counts)


async def test_new_ones_are_probed_and_not_looked_up(registry, holder, looked_up):
    assert outcomes(await send(registry, holder, bodies(holder))) == [201] * COUNT
    assert len(looked_up) == 1
    assert batch.PROBES <= looked_up[0] < 2 * batch.PROBES


async def test_few_lines_are_looked_up(registry, holder, looked_up):
    await send(registry, holder, bodies(holder)[: batch.PROBES])
    assert looked_up == [batch.PROBES]


async def test_the_same_import_again_changes_nothing(registry, holder, looked_up):
    sent = bodies(holder)
    await send(registry, holder, sent)
    before = await rows(registry)
    looked_up.clear()
    assert outcomes(await send(registry, holder, sent)) == [200] * COUNT
    assert await rows(registry) == before
    assert looked_up[1:] == [COUNT]  # behind the probe


async def test_one_that_no_probe_finds(registry, holder, looked_up):
    """Of two that stand already, one says the same and one does not: each is told so."""
    sent = bodies(holder)
    await one(registry, holder, sent[1])
    await one(registry, holder, holder.body(name(2), attributes={"other": "content"}))
    before, expected = await rows(registry), [201] * COUNT
    expected[1:3] = [200, "already_registered"]
    looked_up.clear()
    assert outcomes(await send(registry, holder, sent)) == expected
    added = COUNT - 2
    assert await rows(registry) == (before[0] + added, before[1] + added)
    assert looked_up[0] < COUNT  # overtaken by the key of the table …
    assert looked_up[1:] == [COUNT]  # … and looked up then


async def test_what_is_refused_as_new_is_looked_up_first(registry, holder, looked_up):
    """A parent retired since refuses a new record, and has no say where the record stands."""
    await one(registry, holder, holder.body("TOP", "class"))
    sent = bodies(holder)
    sent[1] = holder.body(name(1), parent="TOP")
    await one(registry, holder, sent[1])
    moved = holder.record(name(1), parent="TOP")
    free = holder.after(moved, holder.sign(moved), parent=None)
    await one(registry, holder, {"envelope": holder.sign(free)})
    top = holder.record("TOP", "class")
    gone = top.tombstone(batch.Standing(*_row(holder, top)).digest, holder.now)
    await one(registry, holder, {"envelope": holder.sign(gone)})
    looked_up.clear()
    found = outcomes(await send(registry, holder, sent))
    assert found == [201, "already_registered", *[201] * (COUNT - 2)]
    assert looked_up[1:] == [COUNT]


def _row(holder, record):
    envelope, read = batch.parse_record(holder.sign(record))
    return batch.signed_row(read, envelope)


@pytest.mark.parametrize("at", [1, COUNT - 1])
async def test_a_first_version_that_is_a_tombstone(registry, holder, at):
    sent = bodies(holder)
    sent[at] = holder.body(name(at), status="retired")
    expected = [201] * COUNT
    expected[at] = "record_invalid"
    assert outcomes(await send(registry, holder, sent)) == expected
    # where something stands, that is what it is refused for
    assert outcomes(await send(registry, holder, [*sent[:at], *sent[at + 1 :]])) == [200] * (
        COUNT - 1
    )


async def test_twice_in_one_import(registry, holder):
    sent = [*bodies(holder), *bodies(holder), holder.body(name(3), attributes={"n": 1})]
    expected = [*[201] * COUNT, *[200] * COUNT, "already_registered"]
    assert outcomes(await send(registry, holder, sent)) == expected
