"""The usual registration in one statement: it notices whatever changed since it remembered."""

import json
from dataclasses import replace

import pytest
from sqlalchemy import text

from registry.api.transaction import MAX_BODY
from registry.store import express as store
from schemas.errors import Unavailable
from tests.holders import TARGET, hold

PREFIX = "88.118.9"


@pytest.fixture
async def holder(registry):
    """A holder whose key and chain are remembered."""
    made = await hold(registry, PREFIX)
    assert (await register(registry, made, "FIRST")).status_code == 201
    return made


async def register(registry, holder, suffix, key=None, **members):
    body = holder.body(suffix, **members)
    return await registry.post("/v1/identifiers", body, key=key or holder.api_key)


async def rows(registry, table):
    async with registry.store.read() as tx:
        return (await tx.connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()


async def statements(registry, sql_recorder, doing):
    async with sql_recorder(registry.store.engine) as sent:
        answer = await doing
    return answer, len(sent)


async def test_its_answer_is_that_of_the_route(registry, holder):
    ours = await register(registry, holder, "A-1", targets=(TARGET,))
    body = holder.body("A-2", targets=(TARGET,))
    theirs = await registry.post(
        "/v1/identifiers", body, key=holder.api_key, Idempotency_Key="other"
    )
    names = set(ours.headers) | set(theirs.headers)
    differ = {name for name in names if ours.headers.get(name) != theirs.headers.get(name)}
    assert differ <= {"location"}
    assert (ours.headers["location"], theirs.headers["location"]) == (
        f"/{PREFIX}/A-1",
        f"/{PREFIX}/A-2",
    )
    assert list(ours.json()) == list(theirs.json())
    assert (ours.status_code, ours.headers["etag"]) == (theirs.status_code, '"1"')
    shown = await registry.get(f"/v1/identifiers/{PREFIX}/A-1")
    assert shown.content == ours.content


async def test_it_tells_what_the_usual_way_tells(registry, holder):
    await register(registry, holder, "A-1")
    await registry.post(
        "/v1/identifiers", holder.body("A-2"), key=holder.api_key, Idempotency_Key="k"
    )
    query = "SELECT unit, op, also, version, what, subject, length(digest) FROM changes WHERE about"
    async with registry.store.read() as tx:
        one, two = [
            (await tx.connection.execute(text(f"{query} = '{PREFIX}/{name}'"))).one()
            for name in ("A-1", "A-2")
        ]
    assert one == two


async def test_a_key_that_was_revoked(registry, holder):
    path = f"/v1/prefixes/{PREFIX}/api-keys"
    other = (await registry.post(path, {}, key=holder.api_key)).json()
    assert (await register(registry, holder, "A-1", other["api_key"])).status_code == 201
    await registry.delete(f"{path}/{other['id']}", key=holder.api_key)
    assert (await register(registry, holder, "A-2", other["api_key"])).status_code == 401
    assert (await register(registry, holder, "A-3")).status_code == 201


async def test_a_key_that_expires(registry, holder):
    path = f"/v1/prefixes/{PREFIX}/api-keys"
    body = {"expires_at": registry.clock.now + 60}
    made = await registry.post(path, body, key=holder.api_key)
    other = made.json()["api_key"]
    assert (await register(registry, holder, "A-1", other)).status_code == 201
    registry.clock.now += 60
    assert (await register(registry, holder, "A-2", other)).status_code == 401


async def test_a_wrong_secret_of_a_key_that_is_remembered(registry, holder):
    wrong = holder.api_key[:-1] + ("a" if holder.api_key[-1] != "a" else "b")
    before = await rows(registry, "identifiers")
    assert (await register(registry, holder, "A-1", wrong)).status_code == 401
    assert await rows(registry, "identifiers") == before


async def test_a_prefix_that_is_suspended_and_resumed(registry, holder, sql_recorder):
    for status, expected in (("suspend", 403), ("resume", 201)):
        answer = await registry.post(f"/v1/prefixes/{PREFIX}/{status}", key=registry.operator)
        assert answer.status_code == 200, answer.text
        assert (await register(registry, holder, f"A-{status}")).status_code == expected
    _, sent = await statements(registry, sql_recorder, register(registry, holder, "A-1"))
    assert sent == 1


async def test_a_row_of_the_chain_that_is_another(registry, holder, sql_recorder):
    async with registry.store.write() as tx:  # no rotation, but what one does to the row
        change = "UPDATE prefixes SET run = ARRAY[delegation] WHERE prefix = '88.118.9'"
        await tx.connection.execute(text(change))
    answer = await register(registry, holder, "A-1")
    assert answer.status_code >= 400, answer.text
    assert await rows(registry, "identifiers") == 1


@pytest.mark.parametrize(
    ("again", "status"), [({}, 200), ({"attributes": {"n": 1}}, 409)], ids=["same", "other"]
)
async def test_what_is_taken(registry, holder, sql_recorder, again, status):
    await register(registry, holder, "A-1")
    told = await rows(registry, "changes")
    assert (await register(registry, holder, "A-1", **again)).status_code == status
    assert await rows(registry, "changes") == told
    _, sent = await statements(registry, sql_recorder, register(registry, holder, "A-2"))
    assert sent == 1  # what it rests on is still remembered


async def test_an_unfit_parent_leaves_nothing(registry, holder):
    before = await rows(registry, "changes")
    answer = await register(registry, holder, "A-1", parent="NOBODY")
    assert (answer.status_code, answer.json()["code"]) == (409, "parent_unfit")
    assert await rows(registry, "changes") == before
    assert await rows(registry, "identifiers") == 1


async def test_a_bad_signature(registry, holder):
    token = holder.body("A-1")["envelope"]
    body = {"envelope": token[:-6] + "AAAAAA"}
    answer = await registry.post("/v1/identifiers", body, key=holder.api_key)
    assert (answer.status_code, answer.json()["code"]) == (400, "E_SIG")


async def test_another_prefix(registry, holder):
    other = await hold(registry, "88.118.7")
    answer = await register(registry, replace(other, api_key=holder.api_key), "A-1")
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"x" * (MAX_BODY + 1), {"content-type": "application/json"}, 413),
        (b"{", {"content-type": "application/json"}, 400),
        (b"", {"content-type": "application/json"}, 400),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"{}", {}, 415),
    ],
)
async def test_what_it_does_not_read_is_refused_as_ever(registry, holder, content, headers, status):
    answer = await registry.client.post(
        "/v1/identifiers",
        content=content,
        headers={"authorization": f"Bearer {holder.api_key}", **headers},
    )
    assert answer.status_code == status, answer.text


async def test_a_body_in_pieces(registry, holder):
    raw = json.dumps(holder.body("A-1")).encode()

    async def pieces():
        for at in range(0, len(raw), 100):
            yield raw[at : at + 100]

    answer = await registry.client.post(
        "/v1/identifiers",
        content=pieces(),
        headers={
            "authorization": f"Bearer {holder.api_key}",
            "content-type": "application/json; charset=utf-8",
        },
    )
    assert answer.status_code == 201


async def test_each_is_one_commit_and_one_flush_of_the_wal(registry, holder):
    name = (await _query(registry, "SELECT current_database()"))[0]
    await _query(registry, f'ALTER DATABASE "{name}" SET synchronous_commit = on')
    await registry.store.engine.dispose()  # which connections that are made from now on obey
    await register(registry, holder, "A-0")
    before = await _written(registry)
    for number in range(1, 9):
        assert (await register(registry, holder, f"A-{number}")).status_code == 201
    xids, writes = (now - then for now, then in zip(await _written(registry), before, strict=True))
    assert xids == 8
    # One more where the ring of WAL buffers began anew. Older servers tell it not by connection.
    assert writes in (8, 9) or await _version(registry) < 180_000


async def _query(registry, sql):
    async with registry.store.statement() as driver:
        return await driver.fetchrow(sql)


async def _version(registry):
    return int((await _query(registry, "SHOW server_version_num"))[0])


async def _written(registry):
    """The next transaction id, and how often this one connection wrote the WAL."""
    assert registry.store.engine.pool.checkedin() == 1
    await _query(registry, "SELECT pg_stat_force_next_flush()")
    next_xid = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
    if await _version(registry) < 180_000:
        return (*await _query(registry, next_xid), 0)
    writes = "SELECT sum(writes)::bigint FROM pg_stat_get_backend_io(pg_backend_pid())"
    return (
        *await _query(registry, next_xid),
        *await _query(registry, f"{writes} WHERE object = 'wal'"),
    )


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(Unavailable("away"), 503, "unavailable"), (LookupError("secret"), 500, "internal")],
)
async def test_what_is_raised_is_told_as_by_a_route(
    registry, holder, monkeypatch, error, status, code
):
    async def fail(*_, **__):
        raise error

    monkeypatch.setattr(store, "write_first", fail)
    answer = await register(registry, holder, "A-1")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "secret" not in answer.text
