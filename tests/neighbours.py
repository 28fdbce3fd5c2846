"""Two nodes under one root, each a registry over a database of its own, in one process.

registry   the node of the root (tests.fixtures_registry), at http://registry
child      a node founded with the same root and another key-encryption key, at http://child
parent     the registry as the child talks to it, an AsyncClient with the operator's API key
"""

from contextlib import asynccontextmanager

import httpx
import pytest

from registry import prefixes
from registry.api.deps import Deps
from registry.app import create_app
from registry.bootstrap import Offline, found
from registry.here import Here
from registry.keyring import Keyring
from registry.store.engine import Store
from schemas.keys import sha256
from tests.fixtures_registry import KEK, Clock, Registry
from tierlink.client import AsyncClient

PARENT, CHILD = "http://registry", "http://child"
HERE = Here(CHILD, PARENT)


@pytest.fixture
async def child(second_database, registry):
    async with neighbour(second_database, registry, HERE) as found:
        yield found


@asynccontextmanager
async def neighbour(database, registry, here):
    """A node with the root of another registry, over a database of its own."""
    store = Store.open(database, pool=4)
    clock = Clock()
    deps = Deps(store, Keyring(sha256(KEK + here.url.encode())), clock, here=here)
    async with registry.store.read() as tx:
        versions = tuple(await prefixes.roots(tx))
    async with store.write() as tx:
        founded = await found(tx, deps.keyring, clock(), Offline(versions))
    transport = httpx.ASGITransport(create_app(deps))
    async with httpx.AsyncClient(transport=transport, base_url=here.url) as client:
        yield Registry(deps, founded.operator_key, client, clock)
    await store.close()


@pytest.fixture
async def parent(registry):
    transport = httpx.ASGITransport(create_app(registry.deps))
    async with AsyncClient(
        PARENT, api_key=registry.operator, now=registry.clock, transport=transport
    ) as client:
        yield client
