"""How many SQL statements each use case costs, exactly, from the API key to the change."""

import pytest

from tests.holders import TARGET, hold

PREFIX = "88.118.8"
RULE = {
    "pattern": "A-{n:digits:6}",
    "targets": [{"rel": "gs1:pip", "template": "https://a.example/{n}"}],
}


@pytest.fixture
async def hosted(registry):
    return await registry.allocate(PREFIX)


@pytest.fixture
async def counted(registry, sql_recorder):
    """Do something, and return its status and the number of its statements."""

    async def count(doing):
        async with sql_recorder(registry.store.engine) as statements:
            answer = await doing
        assert answer.status_code < 300, answer.text
        return len(statements), statements

    return count


def draft(suffix="A-1", kind="item", **members):
    if "parent" in members:
        members["parent"] = f"{PREFIX}/{members['parent']}"
    return {"identifier": f"{PREFIX}/{suffix}", "kind": kind} | members


async def first_of_a_key(registry, holder):
    """What a key and its chain are is remembered from the first call on."""
    answer = await registry.post("/v1/identifiers", holder.body("0"), key=holder.api_key)
    assert answer.status_code == 201, answer.text


async def test_an_envelope_takes_one(registry, counted):
    holder = await hold(registry, "88.118.9")
    await first_of_a_key(registry, holder)
    number, statements = await counted(
        registry.post("/v1/identifiers", holder.body("A-1", targets=(TARGET,)), key=holder.api_key)
    )
    assert number == 1, statements


async def test_the_first_envelope_of_a_key_takes_three(registry, counted):
    # API key, chain, the one
    holder = await hold(registry, "88.118.9")
    number, statements = await counted(
        registry.post("/v1/identifiers", holder.body("A-1", targets=(TARGET,)), key=holder.api_key)
    )
    assert number == 3, statements


async def test_an_envelope_with_a_parent_takes_two(registry, counted):
    # the one, lineage
    holder = await hold(registry, "88.118.9")
    await registry.post("/v1/identifiers", holder.body("C", "class"), key=holder.api_key)
    body = holder.body("A-1", parent="C")
    number, statements = await counted(registry.post("/v1/identifiers", body, key=holder.api_key))
    assert number == 2, statements


async def test_an_envelope_with_a_key_for_once_takes_six(registry, counted):
    # API key, claim, chain, insert, change, kept answer
    holder = await hold(registry, "88.118.9")
    await first_of_a_key(registry, holder)
    number, statements = await counted(
        registry.post(
            "/v1/identifiers", holder.body("A-1"), key=holder.api_key, Idempotency_Key="once"
        )
    )
    assert number == 6, statements


async def test_a_draft_takes_five(registry, hosted, counted):
    # API key, chain, hosted key, insert, change
    number, statements = await counted(
        registry.post("/v1/identifiers", draft(), key=hosted.api_key)
    )
    assert number == 5, statements


async def test_a_rule_takes_one_more(registry, hosted, counted):
    number, statements = await counted(
        registry.post("/v1/identifiers", draft("C", "class", rule=RULE), key=hosted.api_key)
    )
    assert number == 6, statements


async def test_the_same_again_takes_five(registry, hosted, counted):
    # API key, chain, hosted key, insert, what stands
    await registry.post("/v1/identifiers", draft(), key=hosted.api_key)
    number, statements = await counted(
        registry.post("/v1/identifiers", draft(), key=hosted.api_key)
    )
    assert number == 5, statements


async def test_an_update_by_envelope_takes_five(registry, counted):
    # API key, chain, what stands, replace, change
    holder = await hold(registry, "88.118.9")
    record = holder.record("A-1")
    token = holder.sign(record)
    await registry.post("/v1/identifiers", {"envelope": token}, key=holder.api_key)
    body = {"envelope": holder.sign(holder.after(record, token, targets=(TARGET,)))}
    number, statements = await counted(
        registry.put("/v1/identifiers/88.118.9/A-1", body, key=holder.api_key)
    )
    assert number == 5, statements


async def test_an_update_by_draft_takes_six(registry, hosted, counted):
    # API key, chain, what stands, hosted key, replace, change
    await registry.post("/v1/identifiers", draft(), key=hosted.api_key)
    path, body = f"/v1/identifiers/{PREFIX}/A-1", draft(status="suspended")
    number, statements = await counted(registry.put(path, body, key=hosted.api_key, If_Match='"1"'))
    assert number == 6, statements


async def test_a_move_takes_nine(registry, hosted, counted):
    # API key, chain, what stands, hosted key, family lock, replace, lineage, descendants, change
    for name in ("C1", "C2"):
        await registry.post("/v1/identifiers", draft(name, "class"), key=hosted.api_key)
    path, body = f"/v1/identifiers/{PREFIX}/C1", draft("C1", "class", parent="C2")
    number, statements = await counted(registry.put(path, body, key=hosted.api_key, If_Match='"1"'))
    assert number == 9, statements


async def test_a_retirement_takes_eight(registry, hosted, counted):
    # API key, chain, what stands, hosted key, family lock, replace, children, change
    await registry.post("/v1/identifiers", draft(), key=hosted.api_key)
    number, statements = await counted(
        registry.delete(f"/v1/identifiers/{PREFIX}/A-1", key=hosted.api_key)
    )
    assert number == 8, statements


@pytest.mark.parametrize(("tail", "expected"), [("", 2), ("/versions", 2)])
async def test_reading_takes_two(registry, hosted, counted, tail, expected):
    # chain, rows
    await registry.post("/v1/identifiers", draft(), key=hosted.api_key)
    path = f"/v1/identifiers/{PREFIX}/A-1{tail}"
    number, statements = await counted(registry.get(path))
    assert number == expected, statements


async def test_a_page_takes_two(registry, hosted, counted):
    # API key, rows
    for number in range(5):
        await registry.post("/v1/identifiers", draft(f"A-{number}"), key=hosted.api_key)
    path = f"/v1/identifiers?prefix={PREFIX}"
    number, statements = await counted(registry.get(path, key=hosted.api_key))
    assert number == 2, statements
