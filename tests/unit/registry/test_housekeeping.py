"""Housekeeping: what goes and when, in pieces, in one process, and nobody reads over a gap."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

import asyncpg
import pytest

from registry import changes as outbox, housekeeping
from registry.housekeeping import Housekeeper
from registry.log.broken import LogBroken
from registry.reader import Reader
from registry.store import changes as store
from registry.store.engine import Store
from resolver.answers import Answers
from resolver.freshness import Freshness
from schemas.change import Watermark
from tests.fixtures_registry import NOW

DAY = 24 * 3600


def at(seconds):
    return datetime.fromtimestamp(seconds, UTC)


async def count(opened, table):
    async with opened.statement() as driver:
        return await driver.fetchval(f"SELECT count(*) FROM {table}")


class TestRequests:
    """Idempotency keys and challenges."""

    async def fill(self, opened, keys=25, nonces=12):
        async with opened.write() as tx:
            driver = await tx.driver()
            await driver.execute(
                "INSERT INTO idempotency (api_key_id, key, fingerprint, created_at)"
                " SELECT 'k', n::text, '', $1::timestamptz + make_interval(secs => n)"
                " FROM generate_series(0, $2 - 1) AS n",
                at(NOW), keys,
            )  # fmt: skip
            await driver.execute(
                "INSERT INTO challenges (nonce, prefix, kid, created_at)"
                " SELECT n::text, '88', 'k', $1::timestamptz + make_interval(secs => n)"
                " FROM generate_series(0, $2 - 1) AS n",
                at(NOW), nonces,
            )  # fmt: skip

    async def test_each_goes_at_its_time(self, registry):
        await self.fill(registry.store)
        keeper = Housekeeper(registry.store, registry.clock, changes_kept=DAY)
        for now, keys, nonces in (
            (NOW + 600, 25, 12),
            (NOW + 601, 25, 11),
            (NOW + 2 * DAY, 25, 0),
            (NOW + 2 * DAY + 10, 15, 0),
            (NOW + 3 * DAY, 0, 0),
        ):
            registry.clock.now = now
            await keeper.tidy()
            assert await count(registry.store, "idempotency") == keys
            assert await count(registry.store, "challenges") == nonces
        assert keeper.swept == {"idempotency": 25, "challenges": 12, "changes": 0}
        assert (keeper.rounds, keeper.failures) == (5, 0)

    async def test_in_pieces_oldest_first(self, registry, monkeypatch):
        monkeypatch.setattr(housekeeping, "REST", 0)
        await self.fill(registry.store)
        registry.clock.now += 2 * DAY + 20  # 20 of 25 keys are old
        keeper = Housekeeper(registry.store, registry.clock, changes_kept=DAY, piece=7)
        chore = keeper._chores["idempotency"]
        assert await keeper._piece_of("idempotency", chore) == 7
        async with registry.store.statement() as driver:
            assert await driver.fetchval("SELECT min(key::int) FROM idempotency") == 7
        await keeper.tidy()
        assert await count(registry.store, "idempotency") == 5
        assert keeper.swept["idempotency"] == 20

    async def test_an_index_finds_them(self, registry):
        async with registry.store.write() as tx:
            driver = await tx.driver()
            await driver.execute("SET LOCAL enable_seqscan = off")
            for table in ("idempotency", "challenges"):
                plan = await driver.fetch(
                    f"EXPLAIN SELECT FROM {table} WHERE created_at < now()"
                    " ORDER BY created_at LIMIT 10"
                )
                assert f"ix_{table}_created_at" in "".join(row[0] for row in plan)


@pytest.fixture
def few(monkeypatch):
    """Resolvers that ask for the changes of three transactions when they begin."""
    monkeypatch.setattr(outbox, "REPLAYED", 3)


@pytest.fixture
async def written(log, few):
    """Ten transactions of two records each, all in the log; nine of them four days old."""
    sequencer = await log.opened()
    for _ in range(10):
        await log.write(2)
    while await sequencer.integrate():
        pass
    await log.sql("UPDATE changes SET at = to_timestamp(0)")
    await age(log, NOW - 4 * DAY)
    await log.sql(
        f"UPDATE changes SET at = to_timestamp({NOW}) WHERE xid = (SELECT xid FROM changes"
        " ORDER BY xid DESC LIMIT 1)"
    )
    return sequencer


async def age(log, seconds):
    await log.sql(f"UPDATE changes SET at = to_timestamp({seconds})")


async def xids(log):
    async with log.store.statement() as driver:
        rows = await driver.fetch("SELECT DISTINCT xid FROM changes ORDER BY xid")
    return [row[0] for row in rows]


async def since(log):
    return await log.read(store.kept_since)


class TestChanges:
    """Of the outbox goes what both of its readers have passed, when it is old."""

    async def test_old_ones_go_and_young_ones_stay(self, log, written):
        before = await xids(log)
        for now, gone in ((NOW - DAY, 0), (NOW - 1, 0), (NOW, len(before) - 1)):
            log.clock.now = now
            await Housekeeper(log.store, log.clock, changes_kept=4 * DAY).tidy()
            assert await xids(log) == before[gone:]
        assert await since(log) == before[-2] + 1

    async def test_not_what_the_log_has_not_taken_in(self, log, written):
        await log.write(2)
        await log.write(2)
        await age(log, NOW - 30 * DAY)
        everything = await xids(log)
        await Housekeeper(log.store, log.clock, changes_kept=DAY).tidy()
        left = await xids(log)
        assert left == everything[-3:]  # the cursor stands at the first of them
        assert left[0] == (await log.state()).cursor_xid
        while await written.integrate():
            pass
        assert (await log.state()).size == 2 + 24  # with what the log was founded on
        await log.checked()

    async def test_not_what_resolvers_begin_with(self, log, written, monkeypatch):
        await age(log, NOW - 30 * DAY)
        before = await xids(log)
        monkeypatch.setattr(outbox, "REPLAYED", await log.read(_xmin) - before[4])
        await Housekeeper(log.store, log.clock, changes_kept=DAY).tidy()
        left, begin = await xids(log), await log.read(_xmin) - outbox.REPLAYED
        assert before[0] < left[0]
        assert left == [xid for xid in before if xid >= left[0]]
        assert {xid for xid in before if xid >= begin} <= set(left)
        assert left != before[-1:]

    async def test_in_pieces_of_whole_transactions(self, log, written):
        await age(log, NOW - 30 * DAY)
        before, done = await xids(log), []
        while True:
            async with log.store.write() as tx:
                gone = await outbox.forget(tx, DAY, NOW, 3)
            if not gone:
                break
            done.append(gone)
            left = await xids(log)
            # Nothing below the position that is told is left, and nothing above it is gone.
            assert left == [xid for xid in before if xid >= await since(log)]
        assert max(done) == 4
        assert len(done) > 3

    async def test_nothing_goes_before_there_is_a_log(self, registry, few):
        await registry.allocate("88.118")
        rows = await count(registry.store, "changes")
        registry.clock.now += 365 * DAY
        async with registry.store.write() as tx:
            assert await outbox.forget(tx, DAY, registry.clock(), 100) == 0
        assert await count(registry.store, "changes") == rows

    async def test_the_check_of_the_log_knows_and_still_finds(self, log, written):
        await log.checked()
        log.clock.now += 4 * DAY
        await Housekeeper(log.store, log.clock, changes_kept=5 * DAY).tidy()
        await log.checked()
        await log.sql("UPDATE changes SET version = 9")
        with pytest.raises(LogBroken, match="I11"):
            await log.checked()

    async def test_what_is_said_again_of_a_forgotten_change_passes_the_check(self, log, written):
        [[name, digest]] = await log.read(_first_record)
        await Housekeeper(log.store, log.clock, changes_kept=DAY).tidy()
        await log.sql(
            "INSERT INTO changes (unit, op, about, version, digest, what)"
            f" VALUES (0, 1, '{name}', 1, '{digest}', 'record')"
        )
        size = (await log.state()).size
        await written.integrate()
        assert (await log.state()).size == size  # I7
        await log.checked()

    async def test_what_is_read_is_found_by_the_key(self, log):
        async with log.store.write() as tx:
            driver = await tx.driver()
            await driver.execute("SET LOCAL enable_seqscan = off")
            await driver.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            for statement, values in ((store._OLDEST, "'3', '9', 5"), (store._FORGET, "'3', '9'")):
                await driver.execute(f"PREPARE one AS {statement}")
                plan = await driver.fetch(f"EXPLAIN EXECUTE one ({values})")
                await driver.execute("DEALLOCATE one")
                said = "\n".join(row[0] for row in plan)
                assert "Index Cond: ((xid >= $1) AND (xid < $2))" in said
                assert "Seq Scan" not in said


async def _xmin(driver):
    return await driver.fetchval("SELECT pg_snapshot_xmin(pg_current_snapshot())")


async def _first_record(driver):
    return await driver.fetch(
        "SELECT about, digest FROM changes WHERE what = 'record' ORDER BY xid, id LIMIT 1"
    )


class TestWhoFollows:
    """Who comes back from further behind than what is kept is told so, and begins anew."""

    async def test_is_told_from_where_on_all_is_kept(self, log, written):
        reader = Reader(log.store)
        now = (await reader.changes(None)).watermark
        first, *_, last = await xids(log)
        await Housekeeper(log.store, log.clock, changes_kept=DAY).tidy()
        kept = await since(log)
        assert first < kept <= last
        behind = await reader.changes(Watermark(now.epoch, kept - 1))
        assert behind.floor == kept
        assert [change.position for change in behind.changes] == [last, last]
        assert behind.to_json()["floor"] == kept
        just = await reader.changes(Watermark(now.epoch, kept))
        assert just.floor is None
        assert just.changes == behind.changes
        assert "floor" not in just.to_json()
        short = await reader.changes(Watermark(now.epoch, first), 1)
        assert (short.floor, short.watermark.position) == (kept, last + 1)

    async def test_begins_anew_above_that(self, log, written, monkeypatch):
        """What it kept, and what it will find in a second cache, is as old as its absence."""
        reader, answers = Reader(log.store), Answers(1_000_000)
        freshness = Freshness(reader, answers)
        epoch = (await reader.changes(None)).watermark.epoch
        first = (await xids(log))[0]
        freshness.watermark = Watermark(epoch, first)
        freshness._begun = epoch
        answers.restart(epoch, first)
        assert await freshness.poll()
        assert answers.floor == first  # all is there, nothing is void
        await Housekeeper(log.store, log.clock, changes_kept=DAY).tidy()
        freshness.watermark = Watermark(epoch, first)
        restarts = freshness._restarts.value
        assert await freshness.poll()
        assert answers.floor == await since(log)
        assert freshness._restarts.value == restarts + 1
        assert freshness.current
        assert await freshness.poll()
        assert freshness._restarts.value == restarts + 1

    async def test_begins_with_what_is_kept(self, log, written, monkeypatch):
        monkeypatch.setattr("resolver.polling.REPLAYED", 10_000)
        await Housekeeper(log.store, log.clock, changes_kept=DAY).tidy()
        answers = Answers(1_000_000)
        freshness = Freshness(Reader(log.store), answers)
        assert await freshness.poll()
        assert answers.floor == await since(log)


class TestRunning:
    @pytest.fixture(autouse=True)
    def impatient(self, monkeypatch):
        monkeypatch.setattr(housekeeping, "RETRY", 0.05)

    async def test_one_leads_and_another_takes_over(self, registry, fresh_database):
        other = Store.open(fresh_database, pool=2)
        keepers = [
            Housekeeper(opened, registry.clock, changes_kept=DAY)
            for opened in (registry.store, other)
        ]
        tasks = [asyncio.create_task(keeper.run(0.02)) for keeper in keepers]
        await until(lambda: sum(keeper.rounds for keeper in keepers) > 3)
        first = 0 if keepers[0].rounds else 1
        assert keepers[1 - first].rounds == 0
        tasks[first].cancel()
        await until(lambda: keepers[1 - first].rounds > 0)
        tasks[1 - first].cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        await other.close()

    async def test_a_lost_connection_is_a_failure_and_not_the_end(self, registry):
        keeper = Housekeeper(registry.store, registry.clock, changes_kept=DAY)
        task = asyncio.create_task(keeper.run(0.02))
        await until(lambda: keeper.rounds > 0)
        async with registry.store.statement() as driver:
            with suppress(asyncpg.PostgresError):
                await driver.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
                    " AND database = (SELECT oid FROM pg_database"
                    " WHERE datname = current_database())"
                )
        await until(lambda: keeper.failures > 0)
        rounds = keeper.rounds
        await until(lambda: keeper.rounds > rounds)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  (of another task's plain numbers)
            await asyncio.sleep(0.01)
