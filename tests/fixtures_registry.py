"""A founded registry over a database of the test's own, and what tests do with it all the time.

store      the pool on `fresh_database`
registry   the app, an HTTP client on it, the operator's API key, a clock that stands still

parent = await registry.allocate("88.118")                      its first API key, hosted
answer = await registry.post("/v1/…", {…}, key=parent.api_key)
"""

from dataclasses import dataclass, field

import httpx
import pytest

from registry.api.deps import Deps
from registry.app import create_app
from registry.bootstrap import found
from registry.keyring import Keyring
from registry.store.engine import Store
from tests.opened import open_links

NOW = 1_795_000_000
KEK = bytes(range(32))


@dataclass
class Clock:
    """Unix seconds that move when a test says so."""

    now: int = NOW

    def __call__(self):
        return self.now


@dataclass(frozen=True)
class Allocated:
    prefix: str
    api_key: str
    body: dict


@dataclass
class Registry:
    deps: Deps
    operator: str  # API key of the root
    client: httpx.AsyncClient
    clock: Clock = field(default_factory=Clock)

    @property
    def store(self):
        return self.deps.store

    @property
    def keyring(self):
        return self.deps.keyring

    async def send(self, method, path, body=None, *, key=None, **headers):
        """Send JSON with an API key; `If_Match="…"` gives the header If-Match."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["authorization"] = f"Bearer {key}"
        return await self.client.request(method, path, json=body, headers=sent)

    async def get(self, path, **options):
        return await self.send("GET", path, **options)

    async def post(self, path, body=None, **options):
        return await self.send("POST", path, body, **options)

    async def put(self, path, body=None, **options):
        return await self.send("PUT", path, body, **options)

    async def delete(self, path, body=None, **options):
        return await self.send("DELETE", path, body, **options)

    async def allocate(self, prefix, *, key=None, name="Test 有限公司", opened=True, **members):
        """Allocate a prefix under the root, or under the holder of `key`; links are `opened`."""
        body = {"prefix": prefix, "organisation": {"name": name}} | members
        answer = await self.post("/v1/prefixes", body, key=key or self.operator)
        assert answer.status_code == 201, answer.text
        if opened:
            await open_links(self.store, prefix)
        return Allocated(prefix, answer.json()["api_key"], answer.json())


@pytest.fixture
async def store(fresh_database):
    opened = Store.open(fresh_database, pool=8)
    yield opened
    await opened.close()


@pytest.fixture
async def registry(store):
    clock = Clock()
    deps = Deps(store, Keyring(KEK), clock)
    async with store.write() as tx:
        founded = await found(tx, deps.keyring, clock())
    transport = httpx.ASGITransport(create_app(deps))
    async with httpx.AsyncClient(transport=transport, base_url="http://registry") as client:
        yield Registry(deps, founded.operator_key, client, clock)
