"""Runs the migrations: `tierlink migrate`, `alembic upgrade head`, or `--sql` for a DBA to read.

The URL is `sqlalchemy.url` of the configuration (`postgresql+asyncpg://…`); a caller who holds a
connection already puts it into `config.attributes["connection"]`.
"""

from __future__ import annotations

import asyncio

from alembic import context
from sqlalchemy import Connection, pool
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.ext.asyncio import create_async_engine

from registry.store.tables import Xid8, metadata

LOCK_TIMEOUT = "5s"  # a migration that waits for a lock blocks everybody behind it: give up instead

ischema_names.setdefault("xid8", Xid8)  # so that a comparison with the database knows the type


def configure(**source: object) -> None:
    context.configure(
        target_metadata=metadata,
        compare_type=True,
        compare_server_default=True,
        transaction_per_migration=True,
        **source,
    )


def offline() -> None:
    configure(
        url=context.config.get_main_option("sqlalchemy.url"),
        literal_binds=True,
        dialect_name="postgresql",
        dialect_opts={"paramstyle": "named"},
    )
    with context.begin_transaction():
        context.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        context.run_migrations()


def online(connection: Connection) -> None:
    connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
    connection.commit()
    configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()


async def connect() -> None:
    url = context.config.get_main_option("sqlalchemy.url")
    assert url is not None, "set sqlalchemy.url, or run `tierlink migrate`"
    engine = create_async_engine(url, poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(online)
    await engine.dispose()


if context.is_offline_mode():
    offline()
elif (given := context.config.attributes.get("connection")) is not None:
    online(given)
else:
    asyncio.run(connect())
