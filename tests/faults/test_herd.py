"""Five thousand clients on one hot identifier cost the database one statement.

A resolver in this process over the registry's reader and a real PostgreSQL; the statements are
counted as they are sent. How such a herd is served from one flight, rendered once, is in
tests/unit/resolver/test_prefetch.py.
"""

import asyncio

from registry.reader import Reader
from resolver.app import Resolver, create_app
from resolver.config import ResolverSettings
from resolver.trust import Verifier
from schemas.chain import Trust
from tests.clock import Clock

CLIENTS = 5_000
TEXT = "88.118/HOT"


async def ask(app, text=TEXT):
    sent = []

    async def send(message):
        sent.append(message)

    path = f"/{text}"
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
    }
    await app(scope, None, send)
    return sent[0]["status"], sent[1]["body"]


async def herd(app):
    return set(await asyncio.gather(*(ask(app) for _ in range(CLIENTS))))


async def test_five_thousand_clients_on_one_expired_hot_key(registry, sql_recorder):
    holder = await registry.allocate("88.118")
    body = {"identifier": TEXT, "kind": "item"}
    made = await registry.post("/v1/identifiers", body, key=holder.api_key)
    assert made.status_code == 201, made.text
    trust = Trust.parse((await registry.get("/v1/trust")).content)
    clock = Clock()
    resolver = Resolver(
        Reader(registry.store),
        Verifier(trust),
        ResolverSettings(),
        clock=clock,
        wall=registry.clock,
    )
    app = create_app(resolver)
    await resolver.freshness.poll()
    await ask(app, "88.118/OTHER")  # the driver looks up the types of a statement once
    async with sql_recorder(registry.store.engine) as statements:
        [(status, first)] = await herd(app)
        assert (status, len(statements)) == (200, 1), statements  # cold
        statements.clear()
        assert await herd(app) == {(200, first)}
        assert statements == []  # hot
        clock.move(10)
        assert await herd(app) == {(200, first)}
        assert len(statements) == 1, statements  # the lease has run out
    written = await registry.put(
        f"/v1/identifiers/{TEXT}", body | {"attributes": {"n": "2"}},
        key=holder.api_key, If_Match='"1"',
    )  # fmt: skip
    assert written.status_code == 200, written.text
    resolver.freshness.heard = lambda _: None  # nothing is read ahead
    await resolver.freshness.poll()
    async with sql_recorder(registry.store.engine) as statements:
        [(status, second)] = await herd(app)
        assert (status, len(statements)) == (200, 1), statements  # a change has touched it
        assert b'"version":2' in second
