"""The change feed: who is told of which links and grants; whoever is told less moves on."""

import pytest
from sqlalchemy import text

from registry import reader as reader_module
from registry.reader import Reader
from schemas.change import Op, Watermark
from schemas.identifier import Prefix
from schemas.viewer import ANYBODY, Viewer

PACK, CELL, ORE = "88.2/PACK", "88.3/CELL", "88.4/ORE"
ROOT = Viewer(Prefix(()))


def named(prefix):
    return Viewer(Prefix.parse(prefix))


class Feed:
    """Three holders whose links nobody else is shown, and what is told of what they do."""

    def __init__(self, registry, keys, since):
        self.registry = registry
        self.keys = keys
        self.since = Watermark.parse(since)
        self.reader = Reader(registry.store, registry.clock)

    async def post(self, path, body, prefix):
        answer = await self.registry.post(path, body, key=self.keys[prefix])
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    async def link(self, down, up, **members):
        body = {"side": "downstream", "type": "CONTAINED_IN", "upstream": up, "downstream": down}
        return await self.post("/v1/links", body | members, down.partition("/")[0])

    async def grant(self, iss, to, **members):
        return await self.post(
            "/v1/grants", {"iss": iss, "id": "g", "to": to, "depth": 1} | members, iss
        )

    async def settled(self):
        async with self.registry.store.read() as tx:
            last = await tx.connection.execute(text("SELECT max(xid::text::bigint) FROM changes"))
            position = last.scalar_one()
        while (await self.reader.changes(None)).watermark.position <= position:
            pass

    async def told(self, viewer, limit=100):
        """All that somebody is told, read on to the end; each batch moves on."""
        await self.settled()
        after, found, more = self.since, [], True
        while more:
            batch = await self.reader.changes_for(viewer, after, limit)
            assert batch.watermark.position > after.position or not batch.more
            found += batch.changes
            after, more = batch.watermark, batch.more
        assert after.position >= (await self.reader.changes(None)).watermark.position - 1
        return [(change.op, change.about, change.also) for change in found]


@pytest.fixture
async def feed(registry):
    keys = {
        prefix: (await registry.allocate(prefix, opened=False)).api_key
        for prefix in ("88.2", "88.3", "88.9")
    }
    for item in (PACK, CELL):
        body = {"identifier": item, "kind": "item"}
        await registry.post("/v1/identifiers", body, key=keys[item.partition("/")[0]])
    since = (await registry.get("/v1/changes")).json()["watermark"]
    return Feed(registry, keys, since)


async def test_a_link_is_told_to_its_ends_and_to_whom_it_is_open(feed):
    await feed.link(PACK, CELL)
    await feed.link(CELL, ORE)
    first, second = (Op.LINK, PACK, CELL), (Op.LINK, CELL, ORE)
    for limit in (1, 100):
        assert await feed.told(ROOT, limit) == [first, second]
        assert await feed.told(named("88.2"), limit) == [first]
        assert await feed.told(named("88.3"), limit) == [first, second]
        assert await feed.told(named("88.4"), limit) == [second]
        assert await feed.told(named("88.9"), limit) == await feed.told(ANYBODY, limit) == []
    await feed.grant("88.3", "88.9", direction="downstream")
    assert [first, (Op.PREFIX, "88.3", "")] == await feed.told(named("88.9"))
    await feed.grant("88.3", "88.9", show="blinded")
    assert first not in await feed.told(named("88.9"))
    assert await feed.told(ANYBODY) == []


async def test_what_is_taken_back_is_told_to_who_saw_it(feed):
    await feed.link(PACK, CELL)
    await feed.grant("88.2", "*")
    await feed.link(PACK, CELL, state="withdrawn")
    link = (Op.LINK, PACK, CELL)
    assert await feed.told(ANYBODY) == [link, (Op.PREFIX, "88.2", ""), link]


async def test_a_grant_is_told_to_whom_it_was_before_and_to_nobody_else(feed):
    change = (Op.PREFIX, "88.2", "")
    await feed.grant("88.2", "88.9")
    assert await feed.told(named("88.9")) == [change]
    assert await feed.told(named("88.3")) == []
    await feed.grant("88.2", "88.3")
    assert await feed.told(named("88.9")) == [change]  # the second: the first is another's by now
    assert await feed.told(named("88.3")) == [change, change]
    await feed.grant("88.2", "*")
    assert await feed.told(ANYBODY) == [change, change, change]
    await feed.registry.post("/v1/grants/88.2/g/revoke", key=feed.keys["88.2"])
    assert await feed.told(ROOT) == await feed.told(named("88.2")) == [change] * 4


async def test_who_is_told_nothing_of_a_long_stretch_moves_on(feed, monkeypatch):
    for number in range(7):
        await feed.link(PACK, f"88.3/C-{number}")
    body = {"identifier": "88.9/OPEN", "kind": "item"}
    await feed.post("/v1/identifiers", body, "88.9")
    monkeypatch.setattr(reader_module, "MAX_CHANGES", 3)
    assert await feed.told(ANYBODY) == [(Op.RECORD, "88.9/OPEN", "")]
    assert len(await feed.told(named("88.3"), limit=2)) == 8


async def test_over_http_by_the_api_key(feed):
    await feed.link(PACK, CELL)
    await feed.settled()
    path = f"/v1/changes?after={feed.since}"
    for key, count in ((None, 0), ("88.9", 0), ("88.2", 1), ("88.3", 1)):
        told = (await feed.registry.get(path, key=feed.keys.get(key))).json()
        assert (len(told["changes"]), told["more"]) == (count, False)
    assert len((await feed.registry.get(path, key=feed.registry.operator)).json()["changes"]) == 1
    answer = await feed.registry.get(path, key="tierlink_live_00000000_" + "0" * 32)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
