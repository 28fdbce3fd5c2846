"""A holder signs where his key is, in a file or a token; the registry sees what was signed."""

from contextlib import asynccontextmanager

import httpx
import pytest

from registry.app import create_app
from schemas.identifier import Prefix
from schemas.keys import ED25519, ES256, SM2
from tierlink.client import AsyncClient, NewKey
from tierlink.custody import make_key, open_signer

PREFIX = "88.200"


@asynccontextmanager
async def client(registry, **options):
    transport = httpx.ASGITransport(create_app(registry.deps))
    async with AsyncClient(
        "http://registry", transport=transport, now=registry.clock, trust="fetch", **options
    ) as opened:
        yield opened


@pytest.fixture
def file_key(tmp_path):
    def made(alg, name="key.pem"):
        environ = {"TIERLINK_KEY_PASSPHRASE": "correct horse"}
        make_key(tmp_path / name, environ, alg)
        return open_signer(tmp_path / name, environ)

    return made


@pytest.fixture
def token_key(softhsm, request):
    def made(alg, name="key"):
        uri = f"pkcs11:token=acme;object={name}-{alg}-{abs(hash(request.node.nodeid))}"
        make_key(uri, softhsm.environ, alg)
        return open_signer(uri, softhsm.environ)

    return made


async def registered(registry, signer):
    """Allocate with a key, register and update with it, and read with verification."""
    async with client(registry, api_key=registry.operator) as operator:
        view = await operator.allocate(PREFIX, "Acme", keys=[NewKey(signer)])
    assert view.kids == (signer.public.kid,)
    assert not view.hosted
    async with client(registry, api_key=view.api_key, signer=signer) as holder:
        await holder.register({"identifier": f"{PREFIX}/GEAR-1", "kind": "item"})
        version = await holder.record(f"{PREFIX}/GEAR-1")
        assert version.record.identifier.text == f"{PREFIX}/GEAR-1"
    return view


@pytest.mark.parametrize("alg", [ED25519, ES256])
async def test_with_a_key_in_a_file(registry, file_key, alg):
    await registered(registry, file_key(alg))


@pytest.mark.parametrize("alg", [ED25519, ES256])
async def test_with_a_key_in_a_token(registry, token_key, alg):
    await registered(registry, token_key(alg))


async def test_with_an_sm2_key(registry, file_key, sm2_on):
    await registered(registry, file_key(SM2))


async def test_a_parent_delegates_with_a_key_in_a_token(registry, token_key, file_key):
    parent = token_key(ES256)
    view = await registered(registry, parent)
    async with client(registry, api_key=view.api_key) as holder:
        child = file_key(ED25519)
        made = await holder.allocate(f"{PREFIX}.1", "Plant", keys=[NewKey(child)], issuer=parent)
    assert made.kids == (child.public.kid,)


async def test_the_registry_hosts_sm2_keys_too(registry, sm2_on):
    prefix = Prefix.parse((await registry.allocate("88.201")).prefix)
    async with registry.store.write() as tx:
        made = await registry.keyring.create(tx, prefix, {"status"}, SM2)
        signer = await registry.keyring.signer(tx, prefix, "status")
    assert signer.public == made
    assert made.verifies(signer.sign(b"message"), b"message")
