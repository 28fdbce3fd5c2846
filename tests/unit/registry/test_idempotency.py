"""Idempotency-Key: once done, the same answer for the same request, and a refusal for another."""

import asyncio

import pytest
from sqlalchemy import text

BODY = {"prefix": "88.118", "organisation": {"name": "试验"}}


async def allocate(registry, body=BODY, *, idempotency_key="k-1", key=None):
    return await registry.post(
        "/v1/prefixes", body, key=key or registry.operator, Idempotency_Key=idempotency_key
    )


async def number(registry, table):
    async with registry.store.read() as tx:
        return (await tx.connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()


async def test_the_same_request_gives_the_same_answer_and_is_done_once(registry):
    first = await allocate(registry)
    registry.clock.now += 3600
    again = await allocate(registry)
    assert first.status_code == again.status_code == 201
    assert first.content == again.content  # the API key too
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["content-type"] == first.headers["content-type"]
    assert await number(registry, "prefixes") == 2


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"body": BODY | {"prefix": "88.119"}}, id="body"),
        pytest.param({"path": "/v1/challenges"}, id="path"),
        pytest.param({"path": "/v1/prefixes?x=1"}, id="query"),
        pytest.param({"method": "DELETE", "path": "/v1/prefixes/root/api-keys/x"}, id="method"),
    ],
)
async def test_another_request_is_refused(registry, change):
    await allocate(registry)
    body = change.get("body", BODY)
    path = change.get("path", "/v1/prefixes")
    if path == "/v1/challenges":
        body = {"prefix": "88", "kid": "x" * 43}
    answer = await registry.send(
        change.get("method", "POST"), path, body, key=registry.operator, Idempotency_Key="k-1"
    )
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_conflict")


async def test_a_key_belongs_to_who_used_it(registry):
    holder = await registry.allocate("88.120")
    await allocate(registry)
    answer = await allocate(registry, BODY | {"prefix": "88.120.1"}, key=holder.api_key)
    assert answer.status_code == 201


async def test_a_refused_request_may_be_tried_again(registry):
    refused = await allocate(registry, BODY | {"prefix": "88.A"})
    assert refused.status_code == 400
    assert await number(registry, "idempotency") == 0
    assert (await allocate(registry)).status_code == 201


async def test_two_at_once_are_one(registry):
    answers = await asyncio.gather(*(allocate(registry) for _ in range(3)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    replayed = [answer.headers.get("idempotency-replayed") for answer in answers]
    assert sorted(map(str, replayed)) == ["None", "true", "true"]
    assert await number(registry, "prefixes") == 2


async def test_an_answer_without_a_body(registry):
    made = (await registry.post("/v1/prefixes/root/api-keys", {}, key=registry.operator)).json()
    path = f"/v1/prefixes/root/api-keys/{made['id']}"
    for replayed in (None, "true"):
        answer = await registry.delete(path, key=registry.operator, Idempotency_Key="d")
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers.get("idempotency-replayed") == replayed


async def test_no_api_key_is_readable_in_the_kept_answer(registry):
    made = (await allocate(registry)).json()["api_key"].encode()
    async with registry.store.read() as tx:
        body = (await tx.connection.execute(text("SELECT body FROM idempotency"))).scalar_one()
    assert made not in body


async def test_it_is_for_writes(registry):
    answer = await registry.get(
        "/v1/prefixes/root/api-keys", key=registry.operator, Idempotency_Key="k-1"
    )
    assert answer.status_code == 200
    assert await number(registry, "idempotency") == 0


@pytest.mark.parametrize("text", ["", " ", "a b", "é", "x" * 256])
async def test_keys_are_visible_ascii(registry, text):
    answer = await registry.client.post(
        "/v1/prefixes",
        json=BODY,
        headers=[
            (b"authorization", f"Bearer {registry.operator}".encode()),
            (b"idempotency-key", text.encode("latin-1")),
        ],
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "input_invalid")


async def test_the_longest_key(registry):
    assert (await allocate(registry, idempotency_key="x" * 255)).status_code == 201
