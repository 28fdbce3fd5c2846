"""The founding of the log: once, under a name that stays, with a key of its own."""

import asyncio

import pytest

from registry.bootstrap import found as found_node
from registry.keyring import Keyring
from registry.log import founding
from registry.store import keys, log as log_store
from schemas.checkpoint import SIGNED_NOTE, Checkpoint, sign_note, verify_note
from schemas.errors import TierlinkError
from schemas.identifier import Prefix
from schemas.merkle import EMPTY_ROOT
from tests.fixtures_registry import KEK, NOW

ROOT = Prefix(())


@pytest.fixture
async def founded(store):
    async with store.write() as tx:
        return await found_node(tx, Keyring(KEK), NOW)


async def found(opened, origin=None):
    async with opened.write() as tx:
        return await founding.found(tx, Keyring(KEK), origin)


async def test_is_named_after_the_database_where_nobody_names_it(store, founded):
    first = await found(store)
    assert first.origin == f"tierlink.local/{founded.incarnation}"
    again = await found(store)
    assert (again.origin, again.key) == (first.origin, first.key)


async def test_begins_empty_and_its_key_signs_checkpoints(store, founded):
    identity = await found(store, "registry.example/log")
    assert identity.key.kind == SIGNED_NOTE
    head = Checkpoint(identity.origin, 0, EMPTY_ROOT)
    note = sign_note(head, identity.origin, identity.signer)
    assert verify_note(note, identity.key)[0] == head


async def test_keeps_its_name(store, founded):
    await found(store, "registry.example/log")
    assert (await found(store)).origin == "registry.example/log"
    with pytest.raises(TierlinkError, match="a log keeps its name") as refused:
        await found(store, "registry.example/other")
    assert "TIERLINK_LOG_ORIGIN" in refused.value.fix


async def test_of_two_at_once_one_founds(store, founded):
    first, second = await asyncio.gather(found(store), found(store))
    assert first.key == second.key
    async with store.read() as tx:
        assert await keys.find_hosted(tx, ROOT, keys.LOG_USE) is not None
        count = "SELECT count(*) FROM hosted_keys WHERE uses = ARRAY['log']"
        assert await (await tx.driver()).fetchval(count) == 1


async def test_an_unfounded_one_has_no_state(store_reads):
    assert await store_reads(log_store.state) is None


@pytest.fixture
def store_reads(store):
    async def read(function):
        async with store.statement() as driver:
            return await function(driver)

    return read
