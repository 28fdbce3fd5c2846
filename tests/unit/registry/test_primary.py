"""Reading on a standby by way of its primary: real servers, a real lag, a real promotion."""

import asyncio
from contextlib import asynccontextmanager

import asyncpg
import pytest
from sqlalchemy import text

from registry.primary import Primary
from registry.reader import Reader
from registry.store.engine import Store
from resolver.answers import Answer, Answers, Head
from resolver.freshness import Freshness
from schemas.errors import Unavailable
from schemas.identifier import Identifier
from schemas.source import State
from tests.fixtures_standby import replicated

HEAD = Head(200, [(b"content-type", b"text/plain")])
NOBODY = Identifier.parse("88.118.8/X")


@pytest.fixture
def pair(replication):
    replication.primary.execute("INSERT INTO node (id, incarnation) VALUES (1, 'here')")
    replication.caught_up()
    return replication


@asynccontextmanager
async def reading(pair, *, patience=0.2, standby=None):
    stores = Store.open((standby or pair.standby).url), Store.open(pair.primary.url)
    try:
        primary = Primary(stores[1], patience=patience)
        yield Reader(stores[0], primary=primary), stores
    finally:
        for store in stores:
            await store.close()


def change(pair, about):
    pair.primary.execute(
        "INSERT INTO changes (unit, op, about, also, version) VALUES (1, 1, $1, '', 1)", about
    )


async def test_what_was_accepted_before_the_call_is_in_the_reply(pair):
    async with reading(pair, patience=10) as (reader, _):
        watermark = (await reader.changes(None)).watermark
        for number in range(50):
            await asyncio.to_thread(change, pair, f"88.1/{number}")
            batch = await reader.changes(watermark)
            assert [item.about for item in batch.changes] == [f"88.1/{number}"]
            watermark = batch.watermark
        assert reader.replay_lag < 1


async def test_a_standby_that_is_behind_says_nothing(pair):
    async with reading(pair, patience=0.1) as (reader, _):
        before = await reader.changes(None)
        await asyncio.to_thread(pair.standby.execute, "SELECT pg_wal_replay_pause()")
        await asyncio.to_thread(change, pair, "88.1/LATE")
        for call in (reader.changes(before.watermark), reader.fetch([NOBODY]), reader.caller("x")):
            with pytest.raises(Unavailable, match="behind its primary"):
                await call
        assert reader.replay_lag > 0.1
        await asyncio.to_thread(pair.standby.execute, "SELECT pg_wal_replay_resume()")
        await asyncio.to_thread(pair.caught_up)
        batch = await reader.changes(before.watermark)
        assert [item.about for item in batch.changes] == ["88.1/LATE"]
        assert reader.replay_lag < 1


async def test_it_waits_for_a_standby_that_gets_there(pair):
    async with reading(pair, patience=20) as (reader, _):
        await asyncio.to_thread(pair.standby.execute, "SELECT pg_wal_replay_pause()")
        await asyncio.to_thread(change, pair, "88.1/LATE")
        waiting = asyncio.create_task(reader.fetch([NOBODY]))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        await asyncio.to_thread(pair.standby.execute, "SELECT pg_wal_replay_resume()")
        assert (await waiting).found[NOBODY].state is State.NOWHERE
        assert 0.2 < reader.replay_lag < 20


async def test_without_its_primary_nobody_knows_how_old_it_is(pair):
    async with reading(pair) as (reader, _):
        await reader.changes(None)
        await asyncio.to_thread(pair.primary.kill)
        with pytest.raises(Unavailable):
            await reader.changes(None)


async def test_a_standby_alone_is_no_source(pair):
    store = Store.open(pair.standby.url)
    with pytest.raises(Unavailable, match="cannot know") as caught:
        await Reader(store).changes(None)
    assert "TIERLINK_PRIMARY_URL" in caught.value.fix
    await store.close()


async def test_a_primary_that_is_a_standby_is_told_of(pair):
    store = Store.open(pair.standby.url)
    with pytest.raises(Unavailable, match="names a standby"):
        await Reader(store, primary=Primary(store)).changes(None)
    await store.close()


async def test_both_nodes_name_one_history_and_one_position(pair):
    async with reading(pair, patience=10) as (reader, stores):
        ours = (await reader.changes(None)).watermark
        theirs = (await Reader(stores[1]).changes(None)).watermark
        assert ours == theirs


async def test_promotion_begins_another_history_in_which_nothing_read_before_is_good(pair):
    """Also where the old primary is gone and cannot be asked."""
    async with reading(pair, patience=10) as (reader, _):
        answers = Answers(1_000_000)
        freshness = Freshness(reader, answers, lease=20)
        assert await freshness.poll()
        old = freshness.watermark
        answer = Answer(HEAD, b"body", tags=[b"i88.1/A"], filled=old.position)
        assert answers.put(b"/88.1/A", 1, answer, old.epoch)
        assert answers.get(b"/88.1/A", 1)
        await asyncio.to_thread(pair.primary.kill)
        assert not await freshness.poll()
        await asyncio.to_thread(pair.standby.promote)
        for _ in range(100):
            if await freshness.poll():
                break
            await asyncio.sleep(0.1)
        assert freshness.watermark.epoch != old.epoch
        assert len(answers) == 0
        # What another resolver wrote to the second cache before the promotion is refused as well.
        assert not answers.put(b"/88.1/A", 1, answer, old.epoch)


async def test_a_crash_that_takes_back_ids_begins_another_history(pair):
    """Ids of transactions that flushed nothing are given out again: positions would be passed."""
    server = pair.primary

    async def vain():
        """Give out ids for nothing, see them ended, and kill the server before it flushes any."""
        store = Store.open(server.url)
        reader = Reader(store)
        await reader.changes(None)
        connection = await asyncpg.connect(server.url_of("postgresql", "tierlink"))
        for _ in range(20):
            transaction = connection.transaction()
            await transaction.start()
            await connection.fetchval("SELECT pg_current_xact_id()")
            await transaction.rollback()
        told = (await reader.changes(None)).watermark
        server.kill()
        connection.terminate()
        await store.close()
        return told

    for _ in range(8):
        told = await vain()
        await asyncio.to_thread(server.start)
        [row] = await asyncio.to_thread(server.execute, "SELECT pg_current_xact_id() AS xid")
        if row["xid"] < told.position:
            break
    assert row["xid"] < told.position, "this server did not take back the ids"
    store = Store.open(server.url)
    now = (await Reader(store).changes(told)).watermark
    assert now.epoch != told.epoch
    await store.close()
    # An orderly restart keeps the history.
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)
    store = Store.open(server.url)
    assert (await Reader(store).changes(now)).watermark.epoch == now.epoch
    await store.close()


async def test_synchronous_replication(tmp_path):
    """What the standby shows before the primary does costs nothing: the next reading has it too."""
    with replicated(synchronous=True) as pair:
        await asyncio.to_thread(
            pair.primary.execute, "INSERT INTO node (id, incarnation) VALUES (1, 'here')"
        )
        async with reading(pair, patience=10) as (reader, stores):
            watermark = (await reader.changes(None)).watermark
            async with stores[1].write() as tx:
                await tx.connection.execute(
                    text(
                        "INSERT INTO changes (unit, op, about, also, version)"
                        " VALUES (1, 1, '88.1/A', '', 1)"
                    )
                )
            assert [item.about for item in (await reader.changes(watermark)).changes] == ["88.1/A"]
