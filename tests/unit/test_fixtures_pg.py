"""The databases that tests get are real, empty of other tests' rows, and gone afterwards."""

import asyncpg
import pytest


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_has_a_database_of_its_own(fresh_database, database_url, turn):
    assert fresh_database != database_url
    connection = await asyncpg.connect(fresh_database.replace("+asyncpg", "", 1))
    assert await connection.fetchval("SELECT to_regclass('mine')") is None
    await connection.execute(f"CREATE TABLE mine AS SELECT {turn} AS turn")
    await connection.close()
