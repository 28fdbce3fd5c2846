"""The client's side of keys: what it writes and signs is what the registry accepts."""

import httpx
import pytest

from registry.app import create_app
from registry.config import RECOVERY_SECONDS
from schemas.delegation import DELEGATE_USE, RECORD_USE, ROTATE_USE, parse_delegation
from schemas.errors import BadInput, Conflict, NotFound, VerifyError
from tests.custodians import kid, private
from tierlink.client import AsyncClient, Client, Exchange, NewKey

RECORDS = frozenset({RECORD_USE, DELEGATE_USE})
ROTATE = frozenset({ROTATE_USE})


def key(name, uses=None):
    return NewKey(private(name), uses or RECORDS | ROTATE)


@pytest.fixture
async def speak(registry):
    """A function that opens the client of an API key."""
    opened = []

    def client(api_key):
        transport = httpx.ASGITransport(create_app(registry.deps))
        made = AsyncClient(
            "http://registry", api_key=api_key, transport=transport, now=registry.clock
        )
        opened.append(made)
        return made

    yield client
    for made in opened:
        await made.close()


@pytest.fixture
def operator(speak, registry):
    return speak(registry.operator)


@pytest.fixture
async def held(operator):
    """A prefix of one key for everything that commits to the next one."""
    return await operator.allocate("88.118", "Acme", keys=[key("r1")], next_keys=[kid("r2")])


async def test_one_key_for_everything_is_exchanged(held, speak):
    client = speak(held.api_key)
    exchange = Exchange([key("r2")], [kid("r3")])
    view = await client.rotate("88.118", exchange, signer=private("r1"))
    standing = parse_delegation(view.delegation)[1]
    assert view.sequence == 2
    assert standing.next_keys == (kid("r3"),)
    assert [item.key.kid for item in standing.keys] == [kid("r2"), kid("r1")]
    assert standing.keys[1].valid_until is not None
    with pytest.raises(VerifyError, match="E_CHAIN"):
        await client.rotate("88.118", Exchange([key("x1")]), signer=private("r2"))


async def test_a_record_key_alone_leaves_rotate_keys_and_commitment(operator, speak):
    keys = [key("r1", ROTATE), key("w1", RECORDS)]
    made = await operator.allocate("88.118", "Acme", keys=keys, next_keys=[kid("r2")])
    client = speak(made.api_key)
    view = await client.rotate("88.118", Exchange([key("w2", RECORDS)]), signer=private("r1"))
    standing = parse_delegation(view.delegation)[1]
    ends = {item.key.kid: item.valid_until is not None for item in standing.keys}
    assert ends == {kid("w2"): False, kid("r1"): False, kid("w1"): True}
    assert standing.next_keys == (kid("r2"),)
    lone = await operator.allocate("88.119", "B", keys=[key("r1")], next_keys=[kid("r2")])
    exchange = Exchange([key("r2", ROTATE)])
    with pytest.raises(BadInput, match="no key with use record"):
        await speak(lone.api_key).rotate("88.119", exchange, signer=private("r1"))


async def test_a_parent_of_two_keys(operator, speak):
    keys = [key("r1", ROTATE), key("d1", RECORDS), key("d2", RECORDS)]
    made = await operator.allocate("88.118", "Acme", keys=keys, thresholds={"delegate": 2})
    client = speak(made.api_key)
    both = [private("d1"), private("d2")]
    with pytest.raises(VerifyError, match="needs 2"):
        await client.allocate("88.118.1", "Child", keys=[key("w1")], issuer=both[0])
    child = await client.allocate(
        "88.118.1", "Child", keys=[key("w1")], issuer=both, next_keys=[kid("w2")]
    )
    assert len(parse_delegation(child.delegation)[0].kids) == 2
    anew = await client.delegate(
        "88.118.1", [key("w1"), key("w3", RECORDS)], issuer=both, next_keys=[kid("w2")]
    )
    assert anew.sequence == 2
    assert parse_delegation(anew.delegation)[1].organisation == {"name": "Child"}
    with pytest.raises(Conflict) as refused:
        await client.delegate("88.118.1", [key("x1")], issuer=both, next_keys=[kid("x2")])
    assert refused.value.code == "recovery_needed"


async def test_revoke_with_and_without_a_signer(held, operator, speak):
    client = speak(held.api_key)
    await client.rotate("88.118", Exchange([key("r2")], [kid("r3")]), signer=private("r1"))
    view = await client.revoke(
        "88.118", kid("r1"), reason="compromised", since=0, signer=private("r2")
    )
    assert parse_delegation(view.delegation)[1].revocation(kid("r1")).since == 0
    assert parse_delegation(view.delegation)[1].next_keys == (kid("r3"),)
    again = await operator.revoke("88.118", kid("r1"), reason="compromised")
    assert again.sequence == view.sequence + 1


async def test_recover_and_object(held, operator, speak, registry):
    holder = speak(held.api_key)
    exchange = Exchange([key("x1")], [kid("x2")])
    view = await operator.recover("88.118", exchange)
    assert parse_delegation(view.recovery)[1].reset
    assert view.recovered_at == "2026-11-25T11:06:40Z"
    with pytest.raises(Conflict):
        await operator.complete_recovery("88.118")
    view = await holder.cancel_recovery("88.118", signer=private("r1"))
    assert view.recovery is None
    with pytest.raises(NotFound):
        await holder.cancel_recovery("88.118", signer=private("r1"))
    await operator.recover("88.118", exchange)
    registry.clock.now += RECOVERY_SECONDS
    view = await operator.complete_recovery("88.118")
    assert view.kids[0] == kid("x1")


async def test_a_recovery_signed_by_the_parent_keeps_old_keys_until_its_time(
    operator, speak, registry
):
    parent = await operator.allocate("88.118", "Acme", keys=[key("d1")])
    client = speak(parent.api_key)
    await client.allocate(
        "88.118.1", "Child", keys=[key("r1")], next_keys=[kid("r2")], issuer=private("d1")
    )
    view = await client.recover(
        "88.118.1", Exchange([key("x1")], [kid("x2")]), issuer=private("d1"), wait=RECOVERY_SECONDS
    )
    waiting = parse_delegation(view.recovery)[1]
    assert waiting.keys[1].valid_until == registry.clock() + RECOVERY_SECONDS + 300
    registry.clock.now += RECOVERY_SECONDS
    assert (await client.complete_recovery("88.118.1")).sequence == 2


async def test_hosted_keys_and_the_hosted_root(operator, speak, registry):
    made = await operator.allocate("88.118", "Acme")
    client = speak(made.api_key)
    assert (await client.rotate("88.118")).sequence == 2
    assert (await operator.rotate_root()).sequence == 2
    assert len(await operator.roots()) == 2
    with pytest.raises(VerifyError):
        await operator.rotate_root("nonsense")


def test_both_clients_have_the_same_methods():
    for name in vars(AsyncClient):
        if not name.startswith("_"):
            assert hasattr(Client, name), name
