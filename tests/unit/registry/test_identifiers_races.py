"""Two at once: one wins, the other is told what stands now, and nobody gets a 500."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest
from sqlalchemy import func, select

from registry import identifiers
from registry.accounts import Caller
from registry.offers import read_offer
from registry.store.tables import changes, identifier_history
from schemas.change import Op
from schemas.identifier import Prefix
from tests.holders import TARGET, hold

PREFIX = "88.118.8"
ITEM = f"{PREFIX}/A-1"
PATH = f"/v1/identifiers/{ITEM}"


@pytest.fixture
async def hosted(registry):
    return await registry.allocate(PREFIX)


def no_salt(content):
    raise AssertionError(content)


def draft(identifier=ITEM, kind="item", **members):
    return {"identifier": identifier, "kind": kind} | members


async def count(registry, table, *conditions):
    async with registry.store.read() as tx:
        query = select(func.count()).select_from(table).where(*conditions)
        return (await tx.connection.execute(query)).scalar_one()


async def told(registry):
    return await count(registry, changes, changes.c.op != Op.PREFIX)


def statuses(answers):
    return sorted(answer.status_code for answer in answers)


@pytest.mark.parametrize(
    ("contents", "expected"),
    [([{}] * 4, [200, 200, 200, 201]), ([{"n": n} for n in range(4)], [201, 409, 409, 409])],
    ids=["the same content", "other content"],
)
async def test_registering_one_identifier(registry, hosted, contents, expected):
    bodies = [draft(attributes=attributes) for attributes in contents]
    answers = await asyncio.gather(
        *(registry.post("/v1/identifiers", body, key=hosted.api_key) for body in bodies)
    )
    assert statuses(answers) == expected
    assert await told(registry) == 1


async def test_updating_one_version(registry, hosted):
    await registry.post("/v1/identifiers", draft(), key=hosted.api_key)
    answers = await asyncio.gather(
        *(
            registry.put(PATH, draft(attributes={"a": n}), key=hosted.api_key, If_Match='"1"')
            for n in range(4)
        )
    )
    assert statuses(answers) == [200, 412, 412, 412]
    assert await told(registry) == 2
    assert await count(registry, identifier_history) == 1


async def test_the_same_envelope_twice(registry):
    holder = await hold(registry, "88.118.9")
    record = holder.record("A-1")
    token = holder.sign(record)
    await registry.post("/v1/identifiers", {"envelope": token}, key=holder.api_key)
    body = {"envelope": holder.sign(holder.after(record, token, targets=(TARGET,)))}
    path = "/v1/identifiers/88.118.9/A-1"
    answers = await asyncio.gather(
        *(registry.put(path, body, key=holder.api_key) for _ in range(4))
    )
    assert statuses(answers) == [200] * 4
    assert await told(registry) == 2


async def test_updating_and_retiring(registry, hosted):
    await registry.post("/v1/identifiers", draft(), key=hosted.api_key)
    answers = await asyncio.gather(
        registry.put(PATH, draft(attributes={"a": 1}), key=hosted.api_key, If_Match='"1"'),
        registry.delete(PATH, key=hosted.api_key, If_Match='"1"'),
    )
    assert statuses(answers) in ([200, 410], [200, 412])


# What follows decides who is first by hand: a transaction is held open while another waits for it.


@asynccontextmanager
async def held(registry, hosted, body):
    """A registration that is done and not committed."""
    caller = Caller("test", Prefix.parse(hosted.prefix))
    async with registry.store.write() as tx:
        offer = read_offer(body, registry.clock(), no_salt)
        await identifiers.register(tx, registry.keyring, caller, offer, registry.clock())
        yield


async def waiting(registry):
    """Wait until somebody waits for a lock."""
    async with registry.store.read() as tx:
        while True:
            query = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            if (await (await tx.driver()).fetchval(query)) > 0:
                return
            await asyncio.sleep(0.01)


async def test_a_parent_is_not_retired_under_a_child_that_comes(registry, hosted):
    above = f"{PREFIX}/C"
    await registry.post("/v1/identifiers", draft(above, "class"), key=hosted.api_key)
    async with held(registry, hosted, draft(parent=above)):
        retiring = asyncio.create_task(
            registry.delete(f"/v1/identifiers/{above}", key=hosted.api_key)
        )
        await waiting(registry)
    answer = await retiring
    assert (answer.status_code, answer.json()["code"]) == (409, "has_children")


async def test_a_child_does_not_come_under_a_parent_that_is_retired(registry, hosted):
    above = f"{PREFIX}/C"
    await registry.post("/v1/identifiers", draft(above, "class"), key=hosted.api_key)
    caller, now = Caller("test", Prefix.parse(PREFIX)), registry.clock()
    identifier = read_offer(draft(above, "class"), now, no_salt).record.identifier
    async with registry.store.write() as tx:
        await identifiers.retire(
            tx, registry.keyring, caller, identifier, offer=None, match=None, now=now
        )
        registering = asyncio.create_task(
            registry.post("/v1/identifiers", draft(parent=above), key=hosted.api_key)
        )
        await waiting(registry)
    answer = await registering
    assert (answer.status_code, answer.json()["code"]) == (409, "parent_unfit")


async def test_two_moves_close_no_circle(registry, hosted):
    for name in ("C1", "C2"):
        body = draft(f"{PREFIX}/{name}", "class")
        await registry.post("/v1/identifiers", body, key=hosted.api_key)

    def move(name, parent):
        body = draft(f"{PREFIX}/{name}", "class", parent=f"{PREFIX}/{parent}")
        path = f"/v1/identifiers/{PREFIX}/{name}"
        return registry.put(path, body, key=hosted.api_key, If_Match='"1"')

    answers = await asyncio.gather(move("C1", "C2"), move("C2", "C1"))
    assert statuses(answers) == [200, 409]


async def test_who_waits_for_a_registration_is_told_its_outcome(registry, hosted):
    async with held(registry, hosted, draft(attributes={"first": True})):
        second = asyncio.create_task(registry.post("/v1/identifiers", draft(), key=hosted.api_key))
        await waiting(registry)
    assert (await second).status_code == 409


async def test_who_waits_for_a_registration_that_fails_registers(registry, hosted):
    with suppress(RuntimeError):
        async with held(registry, hosted, draft(attributes={"first": True})):
            second = asyncio.create_task(
                registry.post("/v1/identifiers", draft(), key=hosted.api_key)
            )
            await waiting(registry)
            raise RuntimeError
    assert (await second).status_code == 201


@pytest.mark.parametrize(
    ("first", "status", "code"), [("update", 412, "version_stale"), ("retire", 410, "retired")]
)
async def test_who_is_overtaken_is_told_what_stands(registry, hosted, first, status, code):
    await registry.post("/v1/identifiers", draft(), key=hosted.api_key)
    caller, now = Caller("test", Prefix.parse(PREFIX)), registry.clock()
    offer = read_offer(draft(attributes={"a": 1}), now, no_salt)
    about = offer.record.identifier
    async with registry.store.write() as tx:
        if first == "update":
            await identifiers.update(
                tx, registry.keyring, caller, about, offer=offer, match=1, now=now
            )
        else:
            await identifiers.retire(
                tx, registry.keyring, caller, about, offer=None, match=1, now=now
            )
        body = draft(attributes={"b": 1})
        second = asyncio.create_task(registry.put(PATH, body, key=hosted.api_key, If_Match='"1"'))
        await waiting(registry)
    answer = await second
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert await told(registry) == 2
