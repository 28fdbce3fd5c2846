"""API keys: made, shown once, listed, revoked, expired; and who may do what with them."""

import pytest
from sqlalchemy import text

from registry import accounts
from registry.accounts import Caller
from schemas.errors import Forbidden, Unauthenticated
from schemas.identifier import Prefix

PATH = "/v1/prefixes/88.118/api-keys"


def prefix(name):
    return Prefix.parse(name)


@pytest.mark.parametrize(
    ("asked", "holds", "governs", "reaches"),
    [
        ("88.118", True, False, True),
        ("88.118.8", False, True, True),
        ("88.118.8.1", False, True, True),
        ("88.1180", False, False, False),
        ("88", False, False, False),
        (".", False, False, False),
    ],
)
def test_what_a_caller_may(asked, holds, governs, reaches):
    caller = Caller("00000000", prefix("88.118"))
    for method, allowed in (
        (caller.must_hold, holds),
        (caller.must_govern, governs),
        (caller.must_reach, reaches),
    ):
        if allowed:
            method(prefix(asked))
        else:
            with pytest.raises(Forbidden, match=r"the API key is for 88\.118"):
                method(prefix(asked))


async def test_a_new_key_authenticates(registry):
    async with registry.store.write() as tx:
        made = await accounts.create_key(tx, prefix("88.118"), registry.clock(), label="x")
        for scheme in ("Bearer", "bearer", "BEARER  "):
            caller = await accounts.authenticate(tx, f"{scheme} {made.text}", registry.clock())
            assert caller == Caller(made.row.key_id, prefix("88.118"))


async def test_the_secret_is_not_in_the_database(registry):
    secret = registry.operator.rpartition("_")[2]
    async with registry.store.read() as tx:
        row = (
            await tx.connection.execute(text("SELECT api_keys::text FROM api_keys"))
        ).scalar_one()
    assert secret not in row
    assert secret.encode().hex() not in row


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Basic dXNlcjpwYXNz",
        "Bearer tierlink_live_short_key",
        "Bearer tierlink_live_00000000_" + "0" * 32,
        "Bearer tierlink_live_00000000_" + "é" * 32,
        "Bearer tierlink_live_0000000\x00_" + "0" * 32,
    ],
)
async def test_no_key_of_ours(registry, header):
    async with registry.store.read() as tx:
        with pytest.raises(Unauthenticated) as caught:
            await accounts.authenticate(tx, header, registry.clock())
    assert "0" * 32 not in str(caught.value.problem())  # a mistyped secret is not repeated


async def test_the_id_with_another_secret(registry):
    changed = registry.operator[:-1] + ("a" if registry.operator[-1] != "a" else "b")
    async with registry.store.read() as tx:
        with pytest.raises(Unauthenticated, match="not known"):
            await accounts.authenticate(tx, f"Bearer {changed}", registry.clock())


async def test_create_list_revoke(registry):
    first = (await registry.allocate("88.118")).api_key
    registry.clock.now += 1
    body = {"label": "line 3", "expires_at": "2030-01-01T00:00:00+08:00"}
    answer = await registry.post(PATH, body, key=first)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert made == {
        "id": made["id"],
        "prefix": "88.118",
        "label": "line 3",
        "expires_at": "2029-12-31T16:00:00Z",
        "api_key": made["api_key"],
    }
    listed = (await registry.get(PATH, key=made["api_key"])).json()["api_keys"]
    assert [item["label"] for item in listed] == ["first key", "line 3"]
    assert "secret" not in str(listed)
    assert made["api_key"] not in str(listed)
    answer = await registry.delete(f"{PATH}/{made['id']}", key=first)
    assert (answer.status_code, answer.content) == (204, b"")
    answer = await registry.get(PATH, key=made["api_key"])
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "revoked" in answer.json()["detail"]


async def test_revoking_again_changes_nothing(registry):
    first = (await registry.allocate("88.118")).api_key
    registry.clock.now += 1
    made = (await registry.post(PATH, {}, key=first)).json()
    moments = []
    for _ in range(2):
        answer = await registry.delete(f"{PATH}/{made['id']}", key=first)
        assert answer.status_code == 204
        listed = (await registry.get(PATH, key=first)).json()["api_keys"]
        moments.append(listed[1]["revoked_at"])
        registry.clock.now += 5
    assert moments[0] == moments[1]


async def test_a_key_ends_at_its_moment(registry):
    first = (await registry.allocate("88.118")).api_key
    answer = await registry.post(PATH, {"expires_at": "2026-11-19T00:00:00Z"}, key=first)
    made = answer.json()
    registry.clock.now = 1_795_046_399  # a second before
    assert (await registry.get(PATH, key=made["api_key"])).status_code == 200
    registry.clock.now += 1
    answer = await registry.get(PATH, key=made["api_key"])
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert "expired" in answer.json()["detail"]


async def test_not_in_the_past_nor_without_a_zone(registry):
    first = (await registry.allocate("88.118")).api_key
    for moment in ("2020-01-01T00:00:00Z", "2030-01-01T00:00:00", "tomorrow"):
        answer = await registry.post(PATH, {"expires_at": moment}, key=first)
        assert (answer.status_code, answer.json()["code"]) == (400, "input_invalid"), moment


async def test_only_for_the_holder(registry):
    first = (await registry.allocate("88.118")).api_key
    for key in (registry.operator, (await registry.allocate("88.119")).api_key):
        assert (await registry.post(PATH, {}, key=key)).status_code == 403
        assert (await registry.get(PATH, key=key)).status_code == 403
        assert (await registry.delete(f"{PATH}/{first[14:22]}", key=key)).status_code == 403
    assert (await registry.get(PATH)).status_code == 401


async def test_anothers_key_is_not_found(registry):
    first = (await registry.allocate("88.118")).api_key
    answer = await registry.delete(f"{PATH}/{registry.operator[14:22]}", key=first)
    assert answer.status_code == 404


async def test_a_suspended_holder_gets_no_key_but_may_revoke(registry):
    first = (await registry.allocate("88.118")).api_key
    await registry.post("/v1/prefixes/88.118/suspend", key=registry.operator)
    assert (await registry.post(PATH, {}, key=first)).json()["code"] == "prefix_suspended"
    assert (await registry.delete(f"{PATH}/{first[14:22]}", key=first)).status_code == 204


async def test_the_operators_keys_by_the_name_of_the_root(registry):
    answer = await registry.post("/v1/prefixes/root/api-keys", {}, key=registry.operator)
    assert (answer.status_code, answer.json()["prefix"]) == (201, ".")
