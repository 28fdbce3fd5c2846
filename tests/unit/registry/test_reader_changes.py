"""Following the outbox: nothing lost however commits are ordered, no watermark ahead of writers.

A writer anywhere in the server, be it autovacuum, may hold a watermark back for a moment: what must
be told in the end is waited for.
"""

import asyncio
import random
from contextlib import suppress

import pytest
from sqlalchemy import text

from registry import changes, reader
from registry.reader import Reader
from registry.store import reads
from schemas.change import Batch, Change, Op, Watermark
from schemas.errors import BadInput, BadQuery, Unavailable
from schemas.identifier import Prefix
from schemas.viewer import Near
from tests.parties import identifier
from tests.parts_store import Stock

GEAR = Prefix.parse("88.100")


@pytest.fixture
async def source(store):
    await Stock.of(store)
    return Reader(store)


async def write(tx, *suffixes):
    for suffix in suffixes:
        await changes.record(tx, Op.RECORD, GEAR, f"88.100/{suffix}", 1, digest=None)


async def commit(store, *suffixes):
    async with store.write() as tx:
        await write(tx, *suffixes)


def told(batch):
    return [change.about.partition("/")[2] for change in batch.changes]


async def caught_up(source, after, wanted, **options):
    """Poll from one watermark until it gives what is wanted."""
    for _ in range(100):
        batch = await source.changes(after, **options)
        if told(batch) == wanted:
            break
        await asyncio.sleep(0.05)
    assert told(batch) == wanted
    return batch


class TestPolls:
    async def test_the_first_gives_the_watermark_of_now(self, store, source):
        await commit(store, "before")
        first = await source.changes(None)
        assert first.changes == ()
        await commit(store, "after")
        await caught_up(source, first.watermark, ["after"])

    async def test_nothing_new(self, source):
        watermark = (await source.changes(None)).watermark
        batch = await source.changes(watermark)
        assert (batch.changes, batch.more) == ((), False)
        assert batch.watermark.epoch == watermark.epoch
        assert batch.watermark.position >= watermark.position

    async def test_all_that_a_change_says(self, store, source):
        watermark = (await source.changes(None)).watermark
        async with store.write() as tx:
            at = await changes.record(
                tx, Op.LINK, GEAR, "88.100/A", 7, also="88.101/B", digest="x" * 43
            )
        batch = await caught_up(source, watermark, ["A"])
        assert batch.changes == (Change(at, Op.LINK, "88.100/A", 7, "88.101/B"),)
        assert watermark.position <= at < batch.watermark.position

    async def test_one_statement(self, source, sql_recorder, store):
        watermark = (await source.changes(None)).watermark
        async with sql_recorder(store.engine) as statements:
            await source.changes(watermark)
        assert statements == [reads.CHANGES]


class TestOutOfOrder:
    async def test_a_late_commit_is_not_lost(self, store, source):
        """Who goes on behind the highest id seen would never see the early writer."""
        watermark = (await source.changes(None)).watermark
        async with store.write() as early:
            at = await changes.record(early, Op.RECORD, GEAR, "88.100/early", 1, digest=None)
            await commit(store, "late")
            during = await source.changes(watermark)
            # The late one is committed, and is told of only once the early one cannot come before.
            assert told(during) == []
            assert during.watermark.position <= at
        await caught_up(source, during.watermark, ["early", "late"])

    async def test_no_watermark_runs_ahead_of_an_open_writer(self, store, source):
        async with store.write() as early:
            at = await changes.record(early, Op.RECORD, GEAR, "88.100/X", 1, digest=None)
            for n in range(3):
                await commit(store, f"late{n}")
            assert (await source.changes(None)).watermark.position <= at
            for whole in (True, False):
                fetched = await source.fetch([identifier("88.100/X")], whole=whole)
                assert fetched.watermark.position <= at
            edges = await source.edges([Near.at(identifier("88.100/X"))], "upstream", 10)
            assert edges.watermark.position <= at
        await caught_up(
            source, Watermark(edges.watermark.epoch, at), ["X", "late0", "late1", "late2"]
        )

    async def test_what_is_rolled_back_is_never_told(self, store, source):
        watermark = (await source.changes(None)).watermark
        with suppress(ZeroDivisionError):
            async with store.write() as tx:
                await write(tx, "undone")
                raise ZeroDivisionError
        await commit(store, "done")
        await caught_up(source, watermark, ["done"])

    async def test_many_writers_and_a_poller(self, store, source):
        start = (await source.changes(None)).watermark
        chance = random.Random(7)
        written, seen = set(), []

        async def writer(name):
            for n in range(15):
                async with store.write() as tx:
                    await write(tx, f"{name}.{n}")
                    await asyncio.sleep(chance.random() / 100)
                written.add(f"{name}.{n}")

        async def poller(watermark):
            while True:
                batch = await source.changes(watermark)
                seen.extend(told(batch))
                if done.is_set() and len(seen) >= len(written):
                    return
                watermark = batch.watermark

        done = asyncio.Event()
        polling = asyncio.create_task(poller(start))
        await asyncio.gather(*(writer(name) for name in "abcde"))
        done.set()
        await asyncio.wait_for(polling, 10)
        assert sorted(seen) == sorted(written)  # each once


class TestPages:
    async def test_in_parts_that_together_are_all(self, store, source):
        watermark = (await source.changes(None)).watermark
        for n in range(7):
            await commit(store, str(n))
        seen = []
        while len(seen) < 7:
            batch = await source.changes(watermark, limit=3)
            assert len(batch.changes) <= 3
            seen, watermark = seen + told(batch), batch.watermark
        assert seen == list("0123456")

    async def test_those_of_one_transaction_stay_together(self, store, source):
        watermark = (await source.changes(None)).watermark
        await commit(store, "a")
        await commit(store, "b", "c", "d")
        await commit(store, "e")
        await caught_up(source, watermark, list("abcde"))
        batch = await source.changes(watermark, limit=2)
        assert (told(batch), batch.more) == (list("abcd"), True)
        await caught_up(source, batch.watermark, ["e"], limit=2)


class TestEpochs:
    async def test_another_history_voids_everything(self, store, source):
        old = (await source.changes(None)).watermark
        await commit(store, "lost")
        async with store.write() as tx:
            await tx.connection.execute(text("UPDATE node SET incarnation = 'restored'"))
        batch = await source.changes(old)
        assert batch.changes == ()
        assert batch.watermark.epoch != old.epoch
        assert (await source.fetch([])).watermark.epoch == batch.watermark.epoch

    async def test_a_position_beyond_now_does_not_go_back(self, source):
        now = (await source.changes(None)).watermark
        ahead = Watermark(now.epoch, now.position + 1000)
        assert (await source.changes(ahead)).watermark == ahead

    @pytest.mark.parametrize(
        "other",
        [
            reads.Moment("2", "00000001", "a", 5),
            reads.Moment("1", "00000002", "a", 5),
            reads.Moment("1", "00000001", "b", 5),
        ],
    )
    def test_server_timeline_and_incarnation_name_a_history(self, other):
        mine = reader._watermark(reads.Moment("1", "00000001", "a", 5))
        assert mine.epoch != reader._watermark(other).epoch
        assert Watermark.parse(str(mine)) == mine

    async def test_a_database_that_nobody_founded(self, store):
        with pytest.raises(Unavailable, match="never founded"):
            await Reader(store).changes(None)

    def test_a_standby_that_receives_nothing(self):
        with pytest.raises(Unavailable, match="cut off"):
            reader._watermark(reads.Moment("1", None, "a", 5))


class TestHttp:
    async def test_changes(self, registry):
        first = (await registry.get("/v1/changes")).json()
        assert first["changes"] == []
        await registry.allocate("88.100")
        after = Watermark.parse(first["watermark"])
        batch = await caught_up(Reader(registry.store), after, [""])
        answer = await registry.get(f"/v1/changes?after={after}")
        same = Batch.from_json(answer.json())
        assert [(change.op, change.about) for change in same.changes] == [(Op.PREFIX, "88.100")]
        assert same.changes == batch.changes

    @pytest.mark.parametrize("query", ["after=x", "after=e.-1", "limit=0", "since=1"])
    async def test_bad_queries(self, registry, query):
        answer = await registry.get(f"/v1/changes?{query}")
        assert (answer.status_code, answer.json()["code"]) == (400, "query_invalid")

    async def test_source(self, registry):
        maker = await registry.allocate("88.118.8")
        body = {"identifier": "88.118.8/A", "kind": "item"}
        await registry.post("/v1/identifiers", body, key=maker.api_key)
        link = {"side": "upstream", "type": "SAME_AS", "upstream": "88.118.8/A"}
        await registry.post("/v1/links", link | {"downstream": "1.2/B"}, key=maker.api_key)
        asked = {"identifiers": ["88.118.8/A", "88.118.8/X", "1.2/B"]}
        answer = (await registry.post("/v1/source", asked)).json()
        assert [(item["identifier"], item["state"]) for item in answer["found"]] == [
            ("88.118.8/A", "found"),
            ("88.118.8/X", "missing"),
            ("1.2/B", "nowhere"),
        ]
        assert len(answer["found"][0]["assertions"]) == 1
        thin = (await registry.post("/v1/source", asked | {"whole": False})).json()
        assert "assertions" not in thin["found"][0]
        level = {"identifiers": ["88.118.8/A"], "direction": "downstream", "limit": 5}
        edges = (await registry.post("/v1/source/edges", level)).json()
        assert [edge["downstream"] for edge in edges["edges"]] == ["1.2/B"]
        assert (
            Watermark.parse(edges["watermark"]).epoch == Watermark.parse(answer["watermark"]).epoch
        )

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/v1/source", {"identifiers": "88.1/A"}),
            ("/v1/source", {"identifiers": [1]}),
            ("/v1/source", {"identifiers": ["88..1/A"]}),
            ("/v1/source", {"identifiers": [], "whole": "yes"}),
            ("/v1/source", {"identifiers": [], "what": 1}),
            ("/v1/source/edges", {"identifiers": [], "direction": "up", "limit": 1}),
            ("/v1/source/edges", {"identifiers": [], "direction": "upstream"}),
        ],
    )
    async def test_bad_bodies(self, registry, path, body):
        assert (await registry.post(path, body)).status_code == 400


class TestJson:
    def test_a_batch_is_the_same_again(self):
        batch = Batch(
            (Change(4, Op.LINK, "1.2/A", 3, "1.3/B"), Change(5, Op.PREFIX, "1.2", 1)),
            Watermark("abc", 6),
            more=True,
        )
        assert Batch.from_json(batch.to_json()) == batch

    @pytest.mark.parametrize(
        "value",
        [
            [],
            {},
            {"changes": [], "watermark": 5},
            {"changes": [{}], "watermark": "a.1"},
            {"changes": [{"position": 1, "op": "ate", "about": "x", "version": 1}],
             "watermark": "a.1"},
        ],
    )  # fmt: skip
    def test_nonsense_is_refused(self, value):
        with pytest.raises(BadInput):
            Batch.from_json(value)

    def test_a_later_release_may_say_more(self):
        value = Batch((), Watermark("a", 1)).to_json() | {"lag": 3}
        assert Batch.from_json(value) == Batch((), Watermark("a", 1))
        with pytest.raises(BadQuery):
            Batch.from_json(value | {"watermark": "nothing"})
