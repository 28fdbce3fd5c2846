"""The migrations give exactly the tables that the code knows, and go back to nothing."""

import importlib
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from registry.store.tables import Xid8, metadata

MIGRATIONS = Path(__file__).parents[3] / "migrations"


@pytest.fixture
def configured():
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


@pytest.fixture
async def connection(fresh_database, monkeypatch):
    monkeypatch.setitem(ischema_names, "xid8", Xid8)
    engine = create_async_engine(fresh_database, poolclass=NullPool)
    async with engine.connect() as opened:
        yield opened
    await engine.dispose()


async def test_no_drift_between_the_migrations_and_the_tables(connection):
    def drift(sync):
        context = MigrationContext.configure(
            sync, opts={"compare_type": True, "compare_server_default": True}
        )
        return compare_metadata(context, metadata)

    assert await connection.run_sync(drift) == []


async def test_constraints_and_collations_are_those_of_the_tables(fresh_database, connection):
    """What a comparison by alembic does not look at: the whole of the catalogue."""
    migrated = await catalogue(connection)
    await connection.execute(text("DROP SCHEMA public CASCADE"))
    await connection.execute(text("CREATE SCHEMA public"))
    await connection.run_sync(metadata.create_all)
    assert migrated ^ await catalogue(connection) == set()


async def catalogue(connection):
    columns = await connection.execute(
        text(
            "SELECT table_name, column_name, ordinal_position, column_default, is_nullable,"
            " udt_name, collation_name, identity_generation FROM information_schema.columns"
            " WHERE table_schema = 'public' AND table_name <> 'alembic_version'"
        )
    )
    constraints = await connection.execute(
        text(
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)"
            " FROM pg_constraint WHERE connamespace = 'public'::regnamespace"
            " AND conrelid::regclass::text <> 'alembic_version'"
        )
    )
    indexes = await connection.execute(
        text(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
            " AND tablename <> 'alembic_version'"
        )
    )
    return {tuple(row) for rows in (columns, constraints, indexes) for row in rows}


async def test_down_and_up_again(connection, configured):
    """Also: a connection that the caller holds is used."""

    def run(sync, move, target):
        configured.attributes["connection"] = sync
        move(configured, target)

    await connection.run_sync(run, command.downgrade, "base")
    assert await connection.run_sync(tables) == {"alembic_version"}
    await connection.run_sync(run, command.upgrade, "head")
    assert await connection.run_sync(tables) == {*metadata.tables, "alembic_version"}


def tables(sync):
    return set(inspect(sync).get_table_names())


def test_every_migration_sets_a_lock_timeout():
    for path in (MIGRATIONS / "versions").glob("*.py"):
        assert path.read_text().count("SET LOCAL lock_timeout") == 2, path.name
    assert "SET LOCAL lock_timeout" in (MIGRATIONS / "script.py.mako").read_text()


def test_migrations_import_nothing_but_the_tables():
    for path in MIGRATIONS.rglob("*.py"):
        lines = path.read_text().splitlines()
        ours = [line for line in lines if line.startswith(("from registry", "import registry"))]
        assert all(line.startswith("from registry.store.tables import ") for line in ours)


def test_offline_sql_for_a_dba(configured, capsys):
    configured.set_main_option("sqlalchemy.url", "postgresql+asyncpg://")
    importlib.import_module("asyncpg")
    command.upgrade(configured, "head", sql=True)
    sql = capsys.readouterr().out
    assert "CREATE TABLE prefixes" in sql
    assert "lock_timeout" in sql
