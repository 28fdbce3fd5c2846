"""Counts the SQL statements of a use case, exactly, whoever sends them.

    async def test_…(store, sql_recorder):
        async with sql_recorder(store.engine) as statements:
            …
        assert len(statements) == 3, statements

SQLAlchemy's statements are seen by its cursor event, asyncpg's own (`fetch`, `execute`,
`executemany`) by a query logger, COPY by its two entrances. Not counted: BEGIN, COMMIT, ROLLBACK.
"""

import asyncio
from contextlib import asynccontextmanager

import asyncpg
import pytest
from sqlalchemy import event

_TRANSACTION = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", ";")


@pytest.fixture
def sql_recorder(monkeypatch):
    """A context manager over an engine that gives the list of the statements sent, in order."""
    lists = []
    for name in ("copy_to_table", "copy_records_to_table"):
        monkeypatch.setattr(asyncpg.Connection, name, _copying(name, lists))

    @asynccontextmanager
    async def recording(engine):
        recorder = _Recorder()
        lists.append(recorder.statements)
        listeners = {"checkout": recorder.checkout, "before_cursor_execute": recorder.execute}
        for name, listener in listeners.items():
            event.listen(engine.sync_engine, name, listener)
        try:
            yield recorder.statements
        finally:
            await asyncio.sleep(0)  # asyncpg calls its loggers a turn of the loop later
            for name, listener in listeners.items():
                event.remove(engine.sync_engine, name, listener)
            recorder.stop()
            lists.remove(recorder.statements)

    return recording


class _Recorder:
    def __init__(self):
        self.statements = []
        self.connections = set()

    def log(self, query):
        if not query.query.startswith(_TRANSACTION):
            self.statements.append(query.query)

    def execute(self, _connection, _cursor, statement, *_):
        self.statements.append(statement)

    def checkout(self, connection, _record, _proxy):
        driver = connection.driver_connection
        if driver not in self.connections:
            self.connections.add(driver)
            driver.add_query_logger(self.log)

    def stop(self):
        for driver in self.connections:
            driver.remove_query_logger(self.log)


def _copying(name, lists):
    original = getattr(asyncpg.Connection, name)

    async def copy(self, table, **options):
        columns = ", ".join(options.get("columns") or ())
        for statements in lists:
            statements.append(f"COPY {table} ({columns})")
        return await original(self, table, **options)

    return copy
