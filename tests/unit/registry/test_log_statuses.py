"""Suspensions and resumptions in the log: what they say, in which order, and those of before."""

from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from registry.store import prefixes
from schemas.envelope import digest
from schemas.errors import Unavailable
from schemas.identifier import Prefix
from schemas.leaf import status_digest
from tests.fixtures_log import GEAR

MIGRATIONS = Path(__file__).parents[3] / "migrations"


async def test_a_suspension_and_a_resumption(registry):
    gear = await registry.allocate("88.118")
    for action in ("suspend", "suspend", "resume", "suspend"):
        answer = await registry.post(f"/v1/prefixes/88.118/{action}", key=registry.operator)
        assert answer.status_code == 200
    async with registry.store.statement() as driver:
        query = "SELECT what, version, digest FROM changes WHERE about = '88.118' ORDER BY xid, id"
        rows = [tuple(row) for row in await driver.fetch(query)]
    said = digest(gear.body["delegation"])
    suspended = status_digest(said, suspended=True)
    assert rows == [
        ("delegation", 1, said),
        ("status", 1, suspended),
        ("status", 1, said),
        ("status", 1, suspended),
    ]


async def test_who_began_before_the_last_change_begins_again(log):
    """The log orders by transaction id: what stands must be what comes last."""
    async with log.store.write() as older:
        await older.connection.execute(text("SELECT pg_current_xact_id()"))
        async with log.store.write() as younger:
            assert await prefixes.lock(younger, GEAR)
            assert await prefixes.set_status(younger, GEAR, prefixes.SUSPENDED)
        with pytest.raises(Unavailable, match="was changed by somebody else"):
            await prefixes.lock(older, GEAR)
    async with log.store.write() as later:
        assert await prefixes.lock(later, GEAR)
        await later.connection.execute(text("SELECT pg_current_xact_id()"))
        assert await prefixes.set_status(later, GEAR, prefixes.ACTIVE)
        assert await prefixes.lock(later, GEAR)  # its own change is no reason
        assert not await prefixes.lock(later, Prefix.parse("88.999"))


BEFORE = (
    "INSERT INTO organisations (name) VALUES ('Gear')",
    (
        "INSERT INTO prefixes (prefix, parent, organisation_id, status, sequence, delegation)"
        " SELECT '88.100', '.', id, 'active', 2, 'second' FROM organisations"
    ),
    "INSERT INTO delegation_history (prefix, sequence, delegation) VALUES ('88.100', 1, 'first')",
    "INSERT INTO changes (unit, op, about, version, digest) VALUES (1, 1, '88.100/A', 1, 'r')",
    *(
        f"INSERT INTO changes (unit, op, about, version, digest) VALUES (1, 4, '88.100', {v}, {d})"
        for v, d in ((1, "'d1'"), (1, "NULL"), (1, "NULL"), (1, "NULL"), (2, "'d2'"), (2, "NULL"))
    ),
)


async def test_what_was_accepted_before_there_was_a_log(fresh_database):
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = create_async_engine(fresh_database, poolclass=NullPool)

    def run(sync, move, target):
        config.attributes["connection"] = sync
        move(config, target)

    async with engine.connect() as connection:
        await connection.run_sync(run, command.downgrade, "0001")
        for statement in BEFORE:
            await connection.execute(text(statement))
        await connection.commit()
        await connection.run_sync(run, command.upgrade, "head")
        rows = await connection.execute(text("SELECT what, digest FROM changes ORDER BY id"))
        found = [tuple(row) for row in rows]
    await engine.dispose()
    first, second = digest("first"), digest("second")
    assert found == [
        ("record", "r"),
        ("delegation", "d1"),
        ("status", status_digest(first, suspended=True)),
        ("status", first),
        ("status", status_digest(first, suspended=True)),
        ("delegation", "d2"),
        ("status", second),
    ]
