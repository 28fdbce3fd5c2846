"""The connection to PostgreSQL: one pool, two kinds of transaction, the only commit.

`Store.read()` gives a `ReadTx`, one consistent snapshot (REPEATABLE READ, READ ONLY); `Store.write()`
gives a `WriteTx`, which is committed when the block ends well and rolled back when it does not.
A database that is away becomes `Unavailable`; whoever wrote nothing has lost nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from schemas.errors import Unavailable

POOL = 20
CONNECT_SECONDS = 2
STATEMENT_MS = 10_000
LOCK_MS = 5_000

# SQLSTATE classes: connection, resources, operator intervention, serialisation and deadlock
_AWAY = ("08", "53", "57", "40001", "40P01", "55P03", "25006")


@dataclass(frozen=True, slots=True)
class ReadTx:
    """A transaction that only reads, in one snapshot."""

    connection: AsyncConnection

    async def driver(self) -> asyncpg.Connection[Any]:
        """Return asyncpg's own connection, for COPY and hot reads; it shares the transaction."""
        raw = await self.connection.get_raw_connection()
        found = raw.driver_connection
        assert isinstance(found, asyncpg.Connection)
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
                    "jit": "off",
                },
            },
        )
        return cls(engine)

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[ReadTx]:
        """Open a read-only snapshot; raise Unavailable where the database is away."""
        with _translated():
            async with self.engine.connect() as connection:
                await connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
                async with connection.begin():
                    yield ReadTx(connection)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[WriteTx]:
        """Open a transaction and commit it at the end; raise Unavailable where it cannot be.

        The commit is shielded: a caller who goes away cannot leave one half answered.
        """
        with _translated():
            async with self.engine.connect() as connection:
                transaction = await connection.begin()
                try:
                    yield WriteTx(connection)
                except BaseException:
                    await transaction.rollback()
                    raise
                await asyncio.shield(transaction.commit())


class _translated:  # noqa: N801  (reads as the statement it is)
    """Turn what a lost or unwilling database raises into Unavailable."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, err: BaseException | None, __: object) -> None:
        if err is not None and _away(err):
            raise Unavailable("the database does not answer", retry_after=1) from err


def _away(err: BaseException) -> bool:
    if isinstance(err, InterfaceError | asyncpg.InterfaceError | OSError | TimeoutError):
        return True
    if isinstance(err, DBAPIError):
        if err.connection_invalidated:
            return True
        original = err.orig.__cause__ if err.orig is not None else None
        return _away(original) if original is not None else False
    if isinstance(err, asyncpg.PostgresError):
        return str(err.sqlstate or "").startswith(_AWAY)
    return type(err).__name__ == "TimeoutError"
