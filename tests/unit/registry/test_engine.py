"""The store: commit and rollback, snapshots, and a database that is away in every way."""

import asyncio
import contextlib
import gc
import time

import asyncpg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from registry.store import engine as engine_module
from registry.store.engine import Store
from schemas.errors import TierlinkError, Unavailable
from tests.servers import free_port

INSERT = "INSERT INTO organisations (name) VALUES ('x')"
COUNT = "SELECT count(*) FROM organisations"


async def count(store):
    async with store.read() as tx:
        return (await tx.connection.execute(text(COUNT))).scalar_one()


async def backend(tx):
    return (await tx.connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()


# A connection that was killed, or never came about, leaves its socket to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def swept():
    """Collect here what a test leaves behind, so that no other test is blamed for it."""
    yield
    gc.collect()


@pytest.fixture
async def outside(fresh_database):
    """Another connection, to do things to the store's."""
    connection = await asyncpg.connect(fresh_database.replace("+asyncpg", "", 1))
    yield connection
    await connection.close()


class TestTransactions:
    async def test_a_block_that_ends_well_is_committed(self, store):
        async with store.write() as tx:
            await tx.connection.execute(text(INSERT))
        assert await count(store) == 1

    @pytest.mark.parametrize("error", [LookupError, asyncio.CancelledError, TierlinkError("x")])
    async def test_one_that_does_not_is_rolled_back(self, store, error):
        async def fail():
            async with store.write() as tx:
                await tx.connection.execute(text(INSERT))
                raise error

        with pytest.raises(error if isinstance(error, type) else type(error)):
            await fail()
        assert await count(store) == 0

    async def test_a_read_is_one_snapshot(self, store):
        async with store.read() as tx:
            before = (await tx.connection.execute(text(COUNT))).scalar_one()
            async with store.write() as other:
                await other.connection.execute(text(INSERT))
            assert (await tx.connection.execute(text(COUNT))).scalar_one() == before

    async def test_a_read_cannot_write(self, store):
        with pytest.raises(Unavailable) as caught:
            async with store.read() as tx:
                await tx.connection.execute(text(INSERT))
        assert caught.value.__cause__.orig.sqlstate == "25006"

    async def test_a_connection_that_read_may_write_again(self, fresh_database):
        store = Store.open(fresh_database, pool=1)
        for _ in range(2):
            await count(store)
            async with store.write() as tx:
                await tx.connection.execute(text(INSERT))
                level = await tx.connection.execute(text("SHOW transaction_isolation"))
                assert level.scalar_one() == "read committed"
        assert await count(store) == 2
        await store.close()

    async def test_the_driver_shares_the_transaction_even_when_it_comes_first(self, store):
        async def fail():
            async with store.write() as tx:
                driver = await tx.driver()
                await driver.execute(INSERT)
                assert (await tx.connection.execute(text(COUNT))).scalar_one() == 1
                raise LookupError

        with pytest.raises(LookupError):
            await fail()
        assert await count(store) == 0

    async def test_settings_of_every_connection(self, store):
        async with store.write() as tx:
            for name, value in {
                "statement_timeout": "10s",
                "lock_timeout": "5s",
                "idle_in_transaction_session_timeout": "10s",
                "application_name": "tierlink",
            }.items():
                shown = await tx.connection.execute(text(f"SHOW {name}"))
                assert shown.scalar_one() == value

    async def test_a_mistake_of_ours_is_not_an_absence(self, store):
        for sql, error in (("SELEKT", ProgrammingError), ("INSERT INTO node", ProgrammingError)):
            with pytest.raises(error):
                async with store.write() as tx:
                    await tx.connection.execute(text(sql))
        with pytest.raises(IntegrityError):
            async with store.write() as tx:
                await tx.connection.execute(text("INSERT INTO node (id) VALUES (2)"))
        with pytest.raises(asyncpg.DataError):
            async with store.write() as tx:
                await (await tx.driver()).fetch("SELECT $1::int", "no number")


class TestCommit:
    async def test_a_cancelled_commit_is_finished_and_then_cancelled(self, store, monkeypatch):
        began = asyncio.Event()
        undisturbed = engine_module._undisturbed

        async def slow(work):
            async def first_sleep():
                began.set()
                await asyncio.sleep(0.1)
                await work

            await undisturbed(first_sleep())

        monkeypatch.setattr(engine_module, "_undisturbed", slow)

        async def write():
            async with store.write() as tx:
                await tx.connection.execute(text(INSERT))

        task = asyncio.create_task(write())
        await began.wait()
        for _ in range(3):  # however often it is said
            task.cancel()
            await asyncio.sleep(0.01)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await count(store) == 1

    async def test_a_commit_that_fails_is_a_failure(self, store):
        """A deferred constraint speaks at the commit."""
        async with store.write() as tx:
            await tx.connection.execute(
                text("CREATE TABLE late (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
            )
        with pytest.raises(IntegrityError):
            async with store.write() as tx:
                await tx.connection.execute(text("INSERT INTO late VALUES (1), (1)"))

    async def test_lost_during_the_commit(self, store, outside):
        async def write():
            async with store.write() as tx:
                await tx.connection.execute(text(INSERT))
                await kill(outside, await backend(tx))

        with pytest.raises(Unavailable):
            await write()
        assert await count(store) == 0


async def kill(outside, pid):
    """End a backend, and wait at most ten seconds until it is gone."""
    assert await outside.fetchval("SELECT pg_terminate_backend($1, 10000)", pid)


class TestAway:
    async def test_nobody_listens(self):
        store = Store.open(f"postgresql+asyncpg://tierlink@127.0.0.1:{free_port()}/tierlink")
        for block in (store.read, store.write, store.statement):
            with pytest.raises(Unavailable, match="does not answer") as caught:
                async with block():
                    pass
            assert caught.value.retry_after == 1
        await store.close()

    async def test_the_socket_is_gone(self, data_dir):
        store = Store.open(f"postgresql+asyncpg://tierlink@/tierlink?host={data_dir}")
        with pytest.raises(Unavailable):
            async with store.read():
                pass
        await store.close()

    async def test_a_host_that_hangs_costs_two_seconds(self):
        gone = asyncio.Event()

        async def hang(reader, writer):
            await reader.read()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            gone.set()

        server = await asyncio.start_server(hang, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        store = Store.open(f"postgresql+asyncpg://tierlink@127.0.0.1:{port}/tierlink")
        began = time.monotonic()
        with pytest.raises(Unavailable):
            async with store.read():
                pass
        assert time.monotonic() - began < 4
        await store.close()
        await gone.wait()
        server.close()
        await server.wait_closed()

    async def test_no_such_database(self, fresh_database):
        url = make_url(fresh_database).set(database="nowhere")
        store = Store.open(url.render_as_string(hide_password=False))
        with pytest.raises(Unavailable):
            async with store.read():
                pass
        await store.close()

    async def test_tables_are_missing(self, store):
        with pytest.raises(Unavailable, match="missing or old") as caught:
            async with store.read() as tx:
                await tx.connection.execute(text("SELECT * FROM not_migrated_yet"))
        assert caught.value.fix == "tierlink migrate"

    @pytest.mark.parametrize("kind", ["read", "write"])
    async def test_a_backend_killed_in_a_transaction(self, store, outside, kind):
        async def use():
            async with getattr(store, kind)() as tx:
                await kill(outside, await backend(tx))
                await tx.connection.execute(text("SELECT 1"))

        with pytest.raises(Unavailable):
            await use()
        assert await count(store) == 0

    async def test_a_backend_killed_under_the_driver(self, store, outside):
        async def copy():
            async with store.write() as tx:
                driver = await tx.driver()
                await kill(outside, await backend(tx))
                await driver.copy_records_to_table(
                    "organisations", records=[("x",)], columns=["name"]
                )

        with pytest.raises(Unavailable):
            await copy()
        assert await count(store) == 0

    async def test_connections_that_died_in_the_pool_are_passed_over(self, store, outside):
        async with store.read() as one, store.read() as two:
            pids = [await backend(one), await backend(two)]
        for pid in pids:
            await kill(outside, pid)
        await asyncio.sleep(0.05)
        for _ in range(3):
            assert await count(store) == 0

    async def test_a_lock_that_is_not_given(self, store):
        async def wait():
            async with store.write() as waiter:
                await waiter.connection.execute(text("SET LOCAL lock_timeout = '50ms'"))
                await waiter.connection.execute(text("LOCK TABLE node"))

        async with store.write() as holder:
            await holder.connection.execute(text("LOCK TABLE node"))
            with pytest.raises(Unavailable):
                await wait()

    async def test_every_connection_is_busy(self, fresh_database, monkeypatch):
        monkeypatch.setattr(engine_module, "CONNECT_SECONDS", 0.1)
        store = Store.open(fresh_database, pool=1)
        async with store.read():
            with pytest.raises(Unavailable, match="busy"):
                async with store.read():
                    pass
        await store.close()
