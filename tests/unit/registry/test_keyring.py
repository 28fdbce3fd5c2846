"""Hosted keys: sealed at rest, bound to their owner, used only through a signer."""

import base64

import pytest
from sqlalchemy import text

from registry.keyring import Keyring
from schemas.delegation import DELEGATE_USE, RECORD_USE, ROTATE_USE
from schemas.errors import KeyNotHosted, TierlinkError
from schemas.identifier import Prefix
from schemas.keys import ES256

STEEL, GEAR = Prefix.parse("88.101"), Prefix.parse("88.100")
USES = (RECORD_USE, ROTATE_USE)


@pytest.fixture
def keyring():
    return Keyring(bytes(range(32)))


def test_seals_and_opens(keyring):
    sealed = keyring.seal(b"plain", b"owner")
    assert b"plain" not in sealed
    assert keyring.open(sealed, b"owner") == b"plain"
    assert keyring.seal(b"plain", b"owner") != sealed


@pytest.mark.parametrize("position", [0, 1, 5, 21, -1])
def test_a_changed_byte_does_not_open(keyring, position):
    sealed = bytearray(keyring.seal(b"plain", b"owner"))
    sealed[position] ^= 1
    with pytest.raises(TierlinkError):
        keyring.open(bytes(sealed), b"owner")


@pytest.mark.parametrize("sealed", [b"", b"\x01", b"\x01" + bytes(40)])
def test_rubbish_does_not_open(keyring, sealed):
    with pytest.raises(TierlinkError):
        keyring.open(sealed, b"owner")


def test_what_is_anothers_does_not_open(keyring):
    with pytest.raises(TierlinkError, match="moved to another owner"):
        keyring.open(keyring.seal(b"plain", b"owner"), b"thief")


def test_another_kek_is_named_as_the_cause(keyring):
    with pytest.raises(TierlinkError, match="another key-encryption key") as caught:
        Keyring(bytes(32)).open(keyring.seal(b"plain", b"owner"), b"owner")
    assert "TIERLINK_KEYRING_KEY" in caught.value.fix


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_kek_has_32_bytes(length):
    with pytest.raises(ValueError, match=f"{length} bytes"):
        Keyring(bytes(length))


def test_its_repr_tells_no_secret(keyring):
    assert bytes(range(32)).hex()[:8] not in repr(keyring)


@pytest.mark.parametrize("alg", ["Ed25519", ES256])
async def test_signs_with_what_it_created(store, keyring, alg):
    async with store.write() as tx:
        public = await keyring.create(tx, STEEL, USES, alg)
        signer = await keyring.signer(tx, STEEL, RECORD_USE)
    assert signer.public == public
    assert public.verifies(signer.sign(b"message"), b"message")


async def test_the_newest_key_signs(store, keyring):
    async with store.write() as tx:
        await keyring.create(tx, STEEL, USES)
    async with store.write() as tx:
        newest = await keyring.create(tx, STEEL, USES)
        assert (await keyring.signer(tx, STEEL, RECORD_USE)).public == newest


async def test_no_key_of_that_use_or_prefix(store, keyring):
    async with store.write() as tx:
        await keyring.create(tx, STEEL, USES)
        for prefix, use in ((STEEL, DELEGATE_USE), (GEAR, RECORD_USE)):
            with pytest.raises(KeyNotHosted, match=str(prefix)):
                await keyring.signer(tx, prefix, use)


async def test_a_row_that_is_copied_to_another_holder_does_not_open(store, keyring):
    async with store.write() as tx:
        await keyring.create(tx, STEEL, USES)
        await tx.connection.execute(text(f"UPDATE hosted_keys SET prefix = '{GEAR}'"))
        with pytest.raises(TierlinkError, match="moved to another owner"):
            await keyring.signer(tx, GEAR, RECORD_USE)


async def test_no_private_key_is_readable_anywhere_in_the_database(registry):
    made = await registry.allocate("88.118")
    kid = made.body["keys"][0]["kid"]
    async with registry.store.read() as tx:
        signer = await registry.keyring.signer(tx, Prefix.parse("88.118"), RECORD_USE)
        assert signer.public.kid == kid
        secret = signer.handle.private_bytes_raw()
        spellings = (secret.hex(), base64.b64encode(secret).decode().rstrip("="))
        tables = await tx.connection.execute(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        )
        for table in tables.scalars().all():
            rows = await tx.connection.execute(text(f'SELECT t::text FROM "{table}" t'))
            for row in rows.scalars():
                assert not any(spelling in row for spelling in spellings), table
