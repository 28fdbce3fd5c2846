"""The log over HTTP, read as any client of C2SP tlog-tiles reads it."""

import base64

import httpx
import pytest

from registry.api.deps import Deps
from registry.app import create_app
from registry.keyring import Keyring
from schemas.chain import Trust
from schemas.checkpoint import NoteKey, verify_note
from schemas.leaf import Epoch, Leaf
from schemas.merkle import consistency_proof, leaf_hash, root_of, tile_path, verify_consistency
from schemas.policy import LogPolicy
from tests.fixtures_registry import KEK
from tests.trees import Leaves

OCTETS = "application/octet-stream"


@pytest.fixture
async def client(log):
    deps = Deps(log.store, Keyring(KEK), log.clock, policy=log.policy)
    transport = httpx.ASGITransport(create_app(deps))
    async with httpx.AsyncClient(transport=transport, base_url="http://registry") as opened:
        yield opened


@pytest.fixture
async def sequencer(log):
    return await log.opened()


class Follower:
    """A client that knows the log's key and nothing else of us; tiles are all it asks for."""

    def __init__(self, client, vkey):
        self.client = client
        self.key = NoteKey.parse(vkey)

    async def head(self):
        answer = await self.client.get("/v1/log/checkpoint")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["cache-control"] == "public, max-age=1"
        return verify_note(answer.text, self.key)[0]

    async def get(self, path):
        answer = await self.client.get(f"/v1/log/{path}")
        assert answer.status_code == 200, path
        assert answer.headers["content-type"] == OCTETS
        assert "immutable" in answer.headers["cache-control"]
        return answer.content

    async def entries(self, size):
        found = []
        for n in range(-(-size // 256)):
            width = min(256, size - 256 * n)
            raw = await self.get(tile_path(0, n, width).replace("tile/0/", "tile/entries/"))
            while raw:
                length = int.from_bytes(raw[:2], "big")
                found.append(raw[2 : 2 + length])
                raw = raw[2 + length :]
        return found

    async def hashes(self, size, level):
        """The hashes of a level, from its tiles."""
        count = size >> 8 * level
        raw = b""
        for n in range(-(-count // 256)):
            raw += await self.get(tile_path(level, n, min(256, count - 256 * n)))
        return [raw[at : at + 32] for at in range(0, len(raw), 32)]


async def grow(log, sequencer, records):
    await log.write(records)
    while await sequencer.integrate():
        pass
    await sequencer.commit_epoch()
    await sequencer.publish()


async def follower(client):
    trust = Trust.parse((await client.get("/v1/trust")).content)
    return Follower(client, trust.policy.log.vkey)


async def test_followed_by_its_tiles_alone(log, client, sequencer):
    await grow(log, sequencer, 20)
    one = await follower(client)
    old = await one.head()
    await grow(log, sequencer, 700)
    new = await one.head()
    assert (old.size, new.size) == (23, 724)
    assert new.origin == log.identity.origin
    # the entries give the root, and the tiles are theirs
    entries = await one.entries(new.size)
    tree = Leaves(entries=entries)
    assert root_of(new.size, tree) == new.root
    assert await one.hashes(new.size, 0) == tree.hashes
    assert await one.hashes(new.size, 1) == [tree(8, n) for n in range(2)]
    # and the new head extends the old one
    proof = consistency_proof(old.size, new.size, tree)
    verify_consistency(old.size, new.size, proof, old.root, new.root)
    # what it says can be read
    Leaf.parse(entries[0])
    assert Epoch.parse(entries[-1]).size == new.size - 1
    await log.checked()


async def test_every_width_up_to_what_is_published(log, client, sequencer):
    await grow(log, sequencer, 30)
    one = await follower(client)
    size = (await one.head()).size
    whole = await one.get(f"tile/0/000.p/{size}")
    for width in range(1, size):
        assert await one.get(f"tile/0/000.p/{width}") == whole[: 32 * width]
    assert whole[:32] == leaf_hash((await one.entries(1))[0])


async def test_what_was_served_stays_served_at_its_width(log, client, sequencer):
    await grow(log, sequencer, 250)
    one = await follower(client)
    before = await one.get("tile/0/000.p/200"), await one.get("tile/entries/000.p/200")
    await grow(log, sequencer, 300)
    assert before == (await one.get("tile/0/000.p/200"), await one.get("tile/entries/000.p/200"))


class TestI8NothingBeyondThePublished:
    async def test_committed_is_not_enough(self, log, client, sequencer):
        await grow(log, sequencer, 10)
        size = (await (await follower(client)).head()).size
        await log.write(500)
        await sequencer.integrate()
        await sequencer.commit_epoch()
        beyond = ("tile/0/000", f"tile/0/000.p/{size + 1}", f"tile/entries/000.p/{size + 1}")
        for path in (*beyond, "tile/entries/000", "tile/1/000.p/1", "tile/0/001.p/1"):
            answer = await client.get(f"/v1/log/{path}")
            assert answer.status_code == 404, path
            assert answer.json()["code"] == "not_found"
        await sequencer.publish()
        assert (await client.get("/v1/log/tile/0/000")).status_code == 200
        assert (await client.get("/v1/log/tile/1/000.p/1")).status_code == 200

    async def test_before_the_first_checkpoint(self, log, client, sequencer):
        await sequencer.integrate()
        answer = await client.get("/v1/log/checkpoint")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert (await client.get("/v1/log/tile/0/000.p/1")).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/0",
        "tile/0/x000/000.p/1",
        "tile/0/x001/000.p/1",
        "tile/0/001",
        "tile/00/000.p/1",
        "tile/8/000.p/1",
        "tile/-1/000.p/1",
        "tile/0/000.p/1/",
        "tile/0/%EF%BC%90%EF%BC%90%EF%BC%90.p/1",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
        "tile/entries/x000/000.p/1",
        "tile/entries/-01",
        "tile/0/",
        "tile/data/000.p/1",
    ],
)
async def test_paths_that_name_no_tile(log, client, sequencer, path):
    await grow(log, sequencer, 3)
    answer = await client.get(f"/v1/log/{path}")
    assert answer.status_code == 404, answer.text
    assert answer.json()["code"] == "not_found"


async def test_readiness_tells_how_the_log_does(log, client, sequencer):
    await grow(log, sequencer, 3)
    view = (await client.get("/readyz")).json()["log"]
    assert view == {
        "origin": log.identity.origin,
        "size": 6,
        "epoch": 1,
        "published": 6,
        "time": log.clock.now,
    }


async def test_trust_carries_the_policy(log, client):
    document = (await client.get("/v1/trust")).json()
    raw = base64.b64decode(document["log"]["vkey"].split("+", 2)[2])
    assert raw[:1] == b"\x01"
    trust = Trust.parse((await client.get("/v1/trust")).content)
    assert trust.policy == LogPolicy(log.identity.key)
