"""The connection to PostgreSQL: one pool, two kinds of transaction, the only commit.

`Store.read()` gives a `ReadTx`, one consistent snapshot (REPEATABLE READ, READ ONLY);
`Store.write()` gives a `WriteTx`, which is committed when the block ends well and rolled back when
it does not. `Store.statement()` lends a connection for one hot read.
A database that is away becomes `Unavailable`; whoever wrote nothing has lost nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, DisconnectionError, TimeoutError as PoolExhausted
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.util import greenlet_spawn

from schemas.errors import Unavailable

POOL = 20
CONNECT_SECONDS = 2
STATEMENT_MS = 10_000
LOCK_MS = 5_000
IDLE_MS = 10_000  # of an open transaction: it holds back the watermark of every resolver

# SQLSTATE classes and codes of a database that is away or will not, not of a mistake of ours:
# connection, authorisation, no such database, resources, operator intervention; serialisation,
# deadlock, lock and idle timeouts, read-only (a demoted primary)
_AWAY = ("08", "28", "3D", "53", "57", "40001", "40P01", "55P03", "25P03", "25006")
# The server gives up what a vanished machine held after 20 seconds, not after two hours.
_KEEPALIVE = (
    "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
)
_NO_TABLES = ("42P01", "42703", "3F000")


@dataclass(frozen=True, slots=True)
class ReadTx:
    """A transaction that only reads, in one snapshot."""

    connection: AsyncConnection

    async def driver(self) -> asyncpg.Connection[Any]:
        """Return asyncpg's own connection, for COPY and bulk work; it shares the transaction."""
        found = await _driver(self.connection)
        if not found.is_in_transaction():
            # SQLAlchemy sends BEGIN with its first statement; without one the driver would commit
            # every statement for itself.
            await self.connection.exec_driver_sql("SELECT 1")
        return found


@dataclass(frozen=True, slots=True)
class WriteTx(ReadTx):
    """A transaction that may write; it can be passed wherever reading is asked for."""


class Store:
    """Owns the pool; made by the composition root, closed by it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    @classmethod
    def open(cls, url: str, *, pool: int = POOL) -> Store:
        """Prepare a pool for `postgresql+asyncpg://…`; connects on first use."""
        engine = create_async_engine(
            url,
            pool_size=pool,
            max_overflow=0,
            pool_timeout=CONNECT_SECONDS,
            pool_pre_ping=False,
            connect_args={
                "timeout": CONNECT_SECONDS,
                "server_settings": {
                    "application_name": "tierlink",
                    "statement_timeout": str(STATEMENT_MS),
                    "lock_timeout": str(LOCK_MS),
                    "idle_in_transaction_session_timeout": str(IDLE_MS),
                    "jit": "off",
                    # Look-ups by key: no plan depends on the values, and planning the larger
                    # statements costs more than running them.
                    "plan_cache_mode": "force_generic_plan",
                },
            },
        )
        event.listen(engine.sync_engine, "checkout", _refuse_closed)
        return cls(engine)

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[ReadTx]:
        """Open a read-only snapshot; raise Unavailable where the database is away."""
        with _translated():
            async with self.engine.connect() as connection:
                connection = await connection.execution_options(  # noqa: PLW2901
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
                async with connection.begin():
                    yield ReadTx(connection)

    @asynccontextmanager
    async def statement(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        """Lend a connection for one statement, which is its own snapshot and transaction.

        For what is hot: no BEGIN and no COMMIT, so one statement is one round trip. Raise
        Unavailable where the database is away; what was to be written may stand then.
        """
        with _translated():
            # Of the pool itself: the layers between cost more than a statement does.
            lent = await greenlet_spawn(self.engine.sync_engine.pool.connect)
            try:
                driver = lent.driver_connection
                assert isinstance(driver, asyncpg.Connection)
                yield driver
            finally:
                lent.close()  # nothing of the adapter's is under way: it waits for nothing

    @asynccontextmanager
    async def driving(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        """Open a transaction of the driver's own and commit it at the end, as `write` does.

        For hot writes: nothing stands between the statements and the connection.
        """
        async with self.statement() as driver:
            transaction = driver.transaction()
            await transaction.start()
            try:
                yield driver
            except BaseException:
                if not driver.is_closed():
                    await transaction.rollback()
                raise
            await _undisturbed(transaction.commit())

    @asynccontextmanager
    async def dedicated(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        """Give a connection outside of the pool, closed at the end: for locks of a session.

        Raise Unavailable where the database is away, or goes away meanwhile.
        """
        with _translated():
            async with self.engine.connect() as connection:
                driver = await _driver(connection)
                await connection.run_sync(lambda sync: sync.detach())
                await driver.execute(_KEEPALIVE)
                yield driver

    @asynccontextmanager
    async def write(self) -> AsyncIterator[WriteTx]:
        """Open a transaction and commit it at the end; raise Unavailable where it cannot be.

        A commit that was begun is waited for, whoever cancels meanwhile: the connection is not
        given back under it, and the caller learns of the cancellation after it. Where the
        connection is lost during the commit, nobody knows: Unavailable, and the write may stand.
        """
        with _translated():
            async with self.engine.connect() as connection:
                transaction = await connection.begin()
                yield WriteTx(connection)  # an exception here rolls back, as the connection closes
                await _undisturbed(transaction.commit())


async def _driver(connection: AsyncConnection) -> asyncpg.Connection[Any]:
    raw = await connection.get_raw_connection()
    found = raw.driver_connection
    assert isinstance(found, asyncpg.Connection)
    return found


def _refuse_closed(connection: DBAPIConnection, _record: object, _proxy: object) -> None:
    """Pass over a pooled connection that the server has closed meanwhile; costs no round trip."""
    driver = getattr(connection, "driver_connection", None)
    if driver is not None and driver.is_closed():
        raise DisconnectionError


async def _undisturbed(work: Coroutine[Any, Any, None]) -> None:
    """Finish the work even when the task that waits for it is cancelled; then be cancelled."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as err:
            cancelled = err
    if cancelled is not None:
        task.exception()  # seen: the cancellation says more
        raise cancelled
    task.result()


class _translated:  # noqa: N801  (reads as the statement it is)
    """Turn what a lost or unwilling database raises into Unavailable."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, err: BaseException | None, __: object) -> None:
        found = _unavailable(err)
        if found is not None:
            raise found from err


def _unavailable(err: BaseException | None) -> Unavailable | None:
    if err is None or isinstance(err, Unavailable):
        return None
    if isinstance(err, PoolExhausted):
        return Unavailable("every connection to the database is busy")
    cause = _cause(err)
    state = str(getattr(cause, "sqlstate", None) or "")
    if state.startswith(_NO_TABLES):
        return Unavailable(
            "the tables of the database are missing or old", retry_after=10, fix="tierlink migrate"
        )
    if state.startswith(_AWAY) or _lost(cause):
        return Unavailable("the database does not answer")
    return None


def _cause(err: BaseException) -> BaseException:
    """Return what the driver raised, below SQLAlchemy's two layers."""
    if isinstance(err, DBAPIError) and err.orig is not None:
        return err.orig.__cause__ or err.orig
    return err


def _lost(cause: BaseException) -> bool:
    if isinstance(cause, asyncpg.InterfaceError):  # also the class of plain misuse
        return "closed" in str(cause)
    # The last: the driver is told of a killed backend in the middle of something else.
    return isinstance(cause, OSError | TimeoutError | asyncpg.InternalClientError)
