"""Traces without proof over a real store: what they say, what they cost, what is not shown."""

import json

import httpx
import pytest

from registry.reader import Reader
from registry.store import prefixes
from resolver.app import error_edge
from resolver.page import Pages
from resolver.render import Renderer
from resolver.trace import Tracer
from resolver.trust import Verifier
from schemas.identifier import Identifier, Prefix
from schemas.outline import Asked, Level
from tierlink.resolving import trust

CAR, PACK, CELL, LOT = "88.1/CAR", "88.2/PACK", "88.3/CELL", '88.3/LOT "7"'


@pytest.fixture
async def chain(registry):
    """CAR - PACK - CELL - LOT, the first link mutual, the others proposed by the downstream end."""
    keys = {
        prefix: (await registry.allocate(prefix)).api_key for prefix in ("88.1", "88.2", "88.3")
    }

    async def send(path, body, prefix):
        answer = await registry.post(path, body, key=keys[prefix])
        assert answer.status_code in (200, 201), answer.text

    for text in (CAR, PACK, CELL, LOT):
        await send("/v1/identifiers", {"identifier": text, "kind": "item"}, text[:4])
    for up, down, side, occurrence in (
        (PACK, CAR, "downstream", ""), (PACK, CAR, "upstream", ""),
        (CELL, PACK, "downstream", 'row "1"'), (LOT, CELL, "downstream", ""),
    ):  # fmt: skip
        body = {"type": "CONTAINED_IN", "upstream": up, "downstream": down, "side": side}
        end = down if side == "downstream" else up
        await send("/v1/links", body | ({"occurrence": occurrence} if occurrence else {}), end[:4])
    registry.send_as = send
    return registry


@pytest.fixture
async def client(chain):
    reader = Reader(chain.store, chain.clock)
    tracer = Tracer(reader, Verifier(await trust(chain.store)), outlining=reader)
    transport = httpx.ASGITransport(error_edge(tracer.handle, Renderer(Pages())))
    async with httpx.AsyncClient(transport=transport, base_url="http://node.example") as client:
        client.reader = reader
        yield client


def plain(document):
    """What a trace with proof says too."""
    names = ("upstream", "downstream", "type", "lifecycle", "occurrence", "state", "asserted_by")
    nodes = [(node["identifier"], node["depth"]) for node in document["nodes"]]
    return nodes, [{n: e[n] for n in names if n in e} for e in document["edges"]]


async def test_the_same_as_with_proof(chain, client):
    url = f"/v1/trace/{CAR}"
    whole = (await client.get(url)).json()
    for _ in range(4):  # level by level, until it is known whom a sweep meets
        bare = (await client.get(f"{url}?proof=none")).json()
        assert plain(bare) == plain(whole)
        assert (bare["verified"], bare["broken"], bare["cycles"]) == (False, [], [])
        assert bare["edges"][0]["link"] == json.loads(json.dumps(bare["edges"][0]))["link"]
    lines = await client.get(f"{url}?proof=none", headers={"accept": "application/x-ndjson"})
    levels = [json.loads(line) for line in lines.text.splitlines()]
    assert [len(level["nodes"]) for level in levels[:-1]] == [1, 1, 1, 1, 0]
    assert levels[-1]["verified"] is False
    some = (await client.get(f"{url}?proof=none&types=SAME_AS")).json()
    assert some["edges"] == []
    cut = (await client.get(f"{url}?proof=none&limit=2")).json()
    assert cut["broken"] == [{"identifier": PACK, "code": "budget"}]
    down = (await client.get("/v1/trace/88.3/CELL?direction=downstream&proof=none")).json()
    assert [node["identifier"] for node in down["nodes"]] == [CELL, PACK, CAR]


async def test_statements_of_a_trace(chain, client, sql_recorder):
    counts = []
    for query in ("?proof=none", "?proof=none", "?proof=none", ""):
        async with sql_recorder(chain.store.engine) as statements:
            await client.get(f"/v1/trace/{CAR}{query}")
        # Not those by which a new connection finds out about types.
        counts.append(len([s for s in statements if "moment AS" in s]))
    # First a sweep that meets strangers and four levels, at last one sweep, which knows them all;
    # with proof four levels, the root and all nodes together.
    assert (counts[0], counts[2], counts[3]) == (1 + 4, 1, 4 + 2)


async def test_who_is_suspended_is_not_heard(chain, client):
    for _ in range(3):
        await client.get(f"/v1/trace/{CAR}?proof=none")
    await chain.post("/v1/prefixes/88.1/suspend", key=chain.operator)
    down = (await client.get("/v1/trace/88.2/PACK?direction=downstream&proof=none")).json()
    assert [edge["asserted_by"] for edge in down["edges"]] == [["upstream"]]
    assert down["edges"][0]["state"] == "proposed"
    gone = await client.get(f"/v1/trace/{CAR}?proof=none")
    assert gone.json()["code"] == "prefix_suspended"
    # Of a link that only the suspended end stands behind nothing is shown.
    await chain.post("/v1/prefixes/88.2/suspend", key=chain.operator)
    up = (await client.get("/v1/trace/88.3/CELL?direction=downstream&proof=none")).json()
    assert (up["edges"], len(up["nodes"])) == ([], 1)


async def test_what_another_node_serves_is_not_walked_through(chain, client):
    far = "https://far.example"
    async with chain.store.write() as tx:
        assert await prefixes.set_home(tx, Prefix.parse("88.3"), far)
    for _ in range(3):
        found = (await client.get(f"/v1/trace/{CAR}?proof=none")).json()
        assert [node["identifier"] for node in found["nodes"]] == [CAR, PACK, CELL]
        assert found["continuations"] == [{"identifier": CELL, "node": far, "depth": 6}]


async def test_nothing_of_what_was_withdrawn(chain, client):
    body = {"type": "CONTAINED_IN", "upstream": LOT, "downstream": CELL, "side": "downstream"}
    await chain.send_as("/v1/links", body | {"state": "withdrawn"}, "88.3")
    for _ in range(3):
        found = (await client.get(f"/v1/trace/{CAR}?proof=none")).json()
        assert [node["identifier"] for node in found["nodes"]] == [CAR, PACK, CELL]
    level = Level([CELL], [CELL], [0])
    assert (await client.reader.survey(level, Asked("upstream"), 9)).far == ()


async def test_unknown_roots_and_a_limit(chain, client):
    for text, code in (("88.1/NONE", "identifier_not_found"), ("99/X", "prefix_not_found")):
        answer = await client.get(f"/v1/trace/{text}?proof=none")
        assert (answer.status_code, answer.json()["code"]) == (404, code)
    level = Level([PACK, CELL], [PACK, CELL], [0, 0])
    found = await client.reader.survey(level, Asked("upstream"), 1)
    assert found.rest == 1
    assert (await client.reader.survey(level, Asked("upstream"), 2)).rest is None
    head = await client.head(f"/v1/trace/{CAR}?proof=none")
    assert (head.status_code, head.content) == (200, b"")
    assert Identifier.parse(CAR).text == CAR
