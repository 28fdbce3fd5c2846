"""The founding of a database happens once, whoever tries and however often."""

import asyncio

import pytest

from registry.bootstrap import found
from registry.keyring import Keyring
from registry.prefixes import ROOT
from schemas.chain import anchor
from schemas.delegation import DELEGATE_USE, RECORD_USE
from schemas.errors import KeyNotHosted, TierlinkError

KEYRING = Keyring(bytes(32))
NOW = 1_795_000_000


async def test_makes_a_root_that_signs_itself(store):
    async with store.write() as tx:
        founded = await found(tx, KEYRING, NOW)
        signer = await KEYRING.signer(tx, ROOT, DELEGATE_USE)
        with pytest.raises(KeyNotHosted):
            await KEYRING.signer(tx, ROOT, RECORD_USE)
    root = anchor([founded.root])
    assert root.keys_for(DELEGATE_USE, NOW) == {signer.public.kid: signer.public}
    assert founded.operator_key.startswith("tierlink_live_")
    assert len(founded.incarnation) == 16


async def test_a_second_founding_finds_the_first(store):
    async with store.write() as tx:
        first = await found(tx, KEYRING, NOW)
    async with store.write() as tx:
        second = await found(tx, KEYRING, NOW + 9)
    assert (second.incarnation, second.root) == (first.incarnation, first.root)
    assert second.operator_key is None


async def test_of_two_at_once_one_founds(store):
    async def one():
        async with store.write() as tx:
            return await found(tx, KEYRING, NOW)

    both = await asyncio.gather(one(), one())
    assert len({founded.root for founded in both}) == 1
    assert sorted(founded.operator_key is None for founded in both) == [False, True]


async def test_another_kek_is_noticed_at_the_start(store):
    async with store.write() as tx:
        await found(tx, KEYRING, NOW)
    async with store.write() as tx:
        with pytest.raises(TierlinkError, match="another key-encryption key"):
            await found(tx, Keyring(bytes(range(32))), NOW)
