"""Traces that are kept: over a real store, what is told twice is what would be walked anew."""

import asyncio

import httpx
import pytest

from registry.reader import Reader
from resolver.app import Resolver, create_app
from resolver.config import ResolverSettings
from resolver.render import Form
from resolver.trace import Tracer
from resolver.trust import Verifier
from tierlink.resolving import routes, trust

CAR, PACK, CELL, LOT, KIND = "88.1/CAR", "88.2/PACK", "88.3/CELL", "88.3/LOT-17", "88.3/LOT"
URL = f"/v1/trace/{CAR}"
GRANT = {"id": "all", "to": "*", "depth": 100}
OTHERS = {
    "links": "",
    "without proof": "?proof=none",
    "some": "?types=CONTAINED_IN&depth=2",
    "amounts": "?rollup=1",
}


@pytest.fixture
async def chain(registry):
    """CAR - PACK - CELL - LOT-17, which a class covers; whoever is 88.4 sees nothing yet."""
    above = (await registry.allocate("88")).api_key
    keys = {
        prefix: (await registry.allocate(prefix, key=above, opened=False)).api_key
        for prefix in ("88.1", "88.2", "88.3", "88.4")
    }

    async def send(path, body, *, by):
        answer = await registry.post(path, body, key=keys[by])
        assert answer.status_code in (200, 201), answer.text

    registry.keys, registry.say = keys, send
    for prefix in keys:
        await send("/v1/grants", GRANT | {"iss": prefix}, by=prefix)
    for text in (CAR, PACK, CELL):
        await send("/v1/identifiers", {"identifier": text, "kind": "item"}, by=text[:4])
    rule = {"pattern": "LOT-{n:digits:1-6}", "targets": []}
    body = {"identifier": KIND, "kind": "class", "rule": rule}
    await send("/v1/identifiers", body, by="88.3")
    for up, down in ((PACK, CAR), (CELL, PACK), (LOT, CELL)):
        await registry.say("/v1/links", link(up, down), by=down[:4])
    return registry


def link(up, down, side="downstream", **members):
    body = {"type": "CONTAINED_IN", "upstream": up, "downstream": down, "side": side}
    return body | {"quantity": {"value": "2", "unit": "H87"}} | members


class Resolved:
    """A resolver over the store, beside one that keeps no trace."""

    def __init__(self, reading, anew, kept):
        self.reading, self._anew, self._kept = reading, anew, kept

    async def ask(self, url, **headers):
        return await self._kept.get(url, headers=headers)

    async def follows(self, url):
        """Wait until what is told is what a walk finds; a stale answer would stay for a minute."""
        async with asyncio.timeout(10):
            while True:
                told, found = await self._kept.get(url), await self._anew.get(url)
                if (told.status_code, told.content) == (found.status_code, found.content):
                    return found
                await asyncio.sleep(0.02)

    def kept(self, url):
        return self.reading.answers.get(url.encode(), Form.JSON) is not None


@pytest.fixture
async def resolved(chain):
    source, verifier = Reader(chain.store, chain.clock), Verifier(await trust(chain.store))
    settings = ResolverSettings(lease=60, poll_period=0.02)
    reading = Resolver(source, verifier, settings)
    plain = Tracer(source, verifier, outlining=source)
    apps = [
        create_app(reading, routes=chosen) for chosen in (routes(reading, plain), routes(reading))
    ]
    await reading.start()
    async with (
        httpx.AsyncClient(transport=httpx.ASGITransport(apps[0]), base_url="http://a") as anew,
        httpx.AsyncClient(transport=httpx.ASGITransport(apps[1]), base_url="http://b") as kept,
    ):
        yield Resolved(reading, anew, kept)
    await reading.stop()


@pytest.mark.parametrize("query", OTHERS.values(), ids=OTHERS)
async def test_asked_again_it_costs_nothing(chain, resolved, sql_recorder, query):
    first = await resolved.ask(URL + query)
    for _ in range(3):  # without proof: until the sweep knows whom it meets
        await resolved.follows(URL + query)
    async with sql_recorder(chain.store.engine) as statements:
        again = await resolved.ask(URL + query)
    assert [text for text in statements if "edges" in text or "identifiers" in text] == []
    assert (again.content, again.headers) == (first.content, first.headers)


def by(prefix, method, path, body=None):
    async def change(registry):
        headers = {"if_match": '"1"'} if method == "put" else {}
        answer = await getattr(registry, method)(path, body, key=registry.keys[prefix], **headers)
        assert answer.status_code < 300, answer.text

    return change


def states(prefix, body):
    return by(prefix, "post", "/v1/links", body)


def registers(name, **members):
    return by(name[:4], "post", "/v1/identifiers", {"identifier": name, "kind": "item"} | members)


def suspends(prefix):
    async def change(registry):
        answer = await registry.post(f"/v1/prefixes/{prefix}/suspend", key=registry.operator)
        assert answer.status_code < 300, answer.text

    return change


MORE = {"quantity": {"value": "3", "unit": "H87"}}
SUSPENDED = {"identifier": CELL, "kind": "item", "status": "suspended"}
CHANGES = {
    "somebody else's": registers("88.4/X"),
    "a first link of a part": states("88.3", link("88.3/NEW", CELL)),
    "the other side": states("88.3", link(CELL, PACK, "upstream")),
    "another quantity": states("88.2", link(CELL, PACK, **MORE)),
    "a link that is withdrawn": states("88.2", link(CELL, PACK, state="withdrawn")),
    "a part that is suspended": by("88.3", "put", f"/v1/identifiers/{CELL}", SUSPENDED),
    "the root that is retired": by("88.1", "delete", f"/v1/identifiers/{CAR}"),
    "a class that is retired": by("88.3", "delete", f"/v1/identifiers/{KIND}"),
    "what was covered is registered": registers(LOT, kind="batch"),
    "a prefix that is suspended": suspends("88.2"),
    "the prefix above": suspends("88"),
    "a grant that is taken back": by("88.2", "post", "/v1/grants/88.2/all/revoke"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_it_follows_every_change(chain, resolved, change):
    urls = [URL + query for query in OTHERS.values()]
    for url in urls * 3:
        await resolved.ask(url)
    assert [url for url in urls if not resolved.kept(url)] == []
    await change(chain)
    for url in urls:
        await resolved.follows(url)


async def test_who_gives_his_name_is_told_his_own(chain, resolved):
    public = (await resolved.ask(URL)).json()
    await chain.post("/v1/grants/88.2/all/revoke", key=chain.keys["88.2"])
    await resolved.follows(URL)
    assert resolved.kept(URL)
    for prefix, nodes in (("88.2", 4), ("88.1", 2)):
        own = await resolved.ask(URL, authorization=f"Bearer {chain.keys[prefix]}")
        assert (len(own.json()["nodes"]), len(public["nodes"])) == (nodes, 4)
    assert len((await resolved.ask(URL)).json()["nodes"]) == 2


@pytest.mark.parametrize(
    ("url", "accept"),
    [
        (URL, "application/x-ndjson"),
        (URL, "application/ld+json"),
        (URL.replace("CAR", "C%41R"), "application/json"),
        ("/v1/trace/88.1/NOBODY", "application/json"),
    ],
)
async def test_what_is_not_kept(chain, resolved, url, accept):
    before = resolved.reading.answers.held
    for _ in range(2):
        await resolved.ask(url, accept=accept)
    assert resolved.reading.answers.held == before


async def test_pseudonyms_are_of_one_trace(chain, resolved):
    await chain.say("/v1/grants", GRANT | {"iss": "88.2", "show": "blinded"}, by="88.2")
    first, again = [(await resolved.ask(URL)).json() for _ in range(2)]
    assert first["blinded"][0]["far"] != again["blinded"][0]["far"]
    assert not resolved.kept(URL)


async def test_many_who_ask_at_once_make_one_walk(chain, resolved, sql_recorder):
    async with sql_recorder(chain.store.engine) as statements:
        told = await asyncio.gather(*(resolved.ask(URL) for _ in range(50)))
    assert len({answer.content for answer in told}) == 1
    walked = [text for text in statements if "moment AS" in text and "edges" in text]
    assert len(walked) == 4


async def test_accept_is_looked_at_as_the_trace_does(resolved):
    await resolved.ask(URL)
    lines = await resolved.ask(URL, accept="application/x-ndjson, application/json;q=0.9")
    assert lines.headers["content-type"] == "application/x-ndjson"
