"""The sequencer as it runs: one leads, a rival waits, a lost connection is not the end."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from registry.log import sequencer as sequencing
from registry.log.broken import LogBroken
from registry.store import log as store
from registry.store.engine import Store
from schemas.errors import Unavailable


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(sequencing, "RETRY", 0.05)
    monkeypatch.setattr(sequencing, "TURN", 0.02)


@asynccontextmanager
async def running(*sequencers):
    tasks = [asyncio.create_task(sequencer.run()) for sequencer in sequencers]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError, LogBroken):
                await task


async def until(condition):
    """Wait for something to become true, for ten seconds, whatever becomes of connections."""
    async with asyncio.timeout(10):
        while True:
            with suppress(Unavailable):
                if await condition():
                    return
            await asyncio.sleep(0.02)


def published(log, records):
    """Whether a checkpoint covers everything: the log's founding and so many records."""

    async def condition():
        row, state = await log.read(store.newest_checkpoint), await log.state()
        done = row is not None and row.size == state.size
        return done and row.size - row.epoch >= records + 2

    return condition


async def leaders(log):
    async with log.store.statement() as driver:
        rows = await driver.fetch(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
    return [row[0] for row in rows]


async def test_what_is_written_is_published(log):
    async with running(log.sequencer(epoch_seconds=0.05)):
        for turn in range(1, 4):
            await log.write(100)
            await until(published(log, turn * 100))
            await log.checked()


async def test_one_turn_is_one_transaction_for_what_waits(log, sql_recorder):
    sequencer = await log.opened()
    await log.write(5)
    async with sql_recorder(log.store.engine) as sent:
        await sequencer._drain()
    assert sum("FOR UPDATE" in statement for statement in sent) == 1
    assert (await log.state()).size == 5 + 2  # the log's founding


async def test_epochs_keep_their_distance_and_none_is_empty(log):
    sequencer = log.sequencer(epoch_seconds=0.5)
    async with running(sequencer):
        await until(published(log, 0))
        for _ in range(10):
            await log.write()
            await asyncio.sleep(0.1)
        await until(published(log, 10))
        epochs = (await log.state()).epoch
        assert 2 <= epochs <= 5
        await asyncio.sleep(0.6)
        assert (await log.state()).epoch == epochs
    await log.checked()


async def test_one_leads_and_the_rival_follows(log, fresh_database):
    other = Store.open(fresh_database, pool=4)
    first, second = (
        log.sequencer(opened=opened, epoch_seconds=0.05) for opened in (log.store, other)
    )
    async with running(first, second) as tasks:
        await until(published(log, 0))
        await log.write(50)
        await until(published(log, 50))
        assert len(await leaders(log)) == 1
        sizes = first.size, second.size
        tasks[sizes.index(max(sizes))].cancel()
        await log.write(50)
        await until(published(log, 100))
        assert len(await leaders(log)) == 1
        await log.checked()
    await other.close()


async def test_the_lead_is_given_up_with_its_connection(log):
    async with log.store.dedicated() as first:
        assert await store.lead(first)
        assert await store.lead(first)
        assert log.store.engine.pool.checkedout() == 0
        async with log.store.dedicated() as second:
            assert not await store.lead(second)
    assert first.is_closed()
    assert second.is_closed()
    await until(lambda: led_by_nobody(log))
    with pytest.raises(Unavailable):
        async with log.store.dedicated() as third:
            await third.execute("SELECT pg_terminate_backend(pg_backend_pid())")


async def led_by_nobody(log):
    return await leaders(log) == []


async def test_a_lost_leadership_is_won_again(log):
    async with running(log.sequencer(epoch_seconds=0.05)):
        await until(published(log, 0))
        (leader,) = await leaders(log)
        await log.sql(f"SELECT pg_terminate_backend({leader})")
        await log.write(10)
        await until(published(log, 10))
        assert await leaders(log) != [leader]
    await log.checked()


async def test_every_backend_killed_again_and_again(log):
    kill = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with running(log.sequencer(epoch_seconds=0.05)) as (task,):
        for turn in range(1, 6):
            await log.write(20)
            await asyncio.sleep(0.05)
            await log.sql(kill)
            await until(published(log, turn * 20))
            assert not task.done()
    await log.checked()


async def test_a_row_of_somebody_else_stops_the_log_and_not_the_node(log, caplog):
    sequencer = log.sequencer(epoch_seconds=0.05)
    async with running(sequencer) as (task,):
        await until(published(log, 0))
        async with log.store.write() as tx:
            await log.write_in(tx, 3)
            driver = await tx.driver()
            await driver.execute("UPDATE changes SET digest = NULL WHERE about LIKE '%/A-2'")

        async def waits():
            return bool(sequencer.amiss)

        await until(waits)
        assert not task.done()
        assert "has no digest" in caplog.text
        await log.sql("UPDATE changes SET digest = repeat('A', 43) WHERE about LIKE '%/A-2'")
        await until(published(log, 3))
        assert sequencer.amiss == ""
    await log.checked()


async def test_a_broken_log_ends_the_node(log):
    async with running(log.sequencer(epoch_seconds=0.05)) as (task,):
        await until(published(log, 0))
        await log.sql("UPDATE log_checkpoint SET size = 100, root = sha256('x')")
        await log.write()
        with pytest.raises(LogBroken, match="I1"):
            await asyncio.wait_for(task, 10)


async def test_a_heartbeat_keeps_an_idle_log_fresh(log):
    sequencer = log.sequencer(epoch_seconds=0.05, heartbeat=60)
    async with running(sequencer):
        await until(published(log, 0))
        log.clock.now += 59
        await asyncio.sleep(0.2)
        assert (await log.state()).epoch == 1
        log.clock.now += 1

        async def beat():
            return (await log.read(store.newest_checkpoint)).epoch == 2

        await until(beat)
        await asyncio.sleep(0.2)
        assert (await log.state()).epoch == 2
    await log.checked()
