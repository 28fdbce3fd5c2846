"""A real PostgreSQL for the tests: the embedded one, or the server of TIERLINK_TEST_DATABASE_URL.

    database_server   URL of the server                                        session
    database_url      a migrated database that the session shares              session
    fresh_database    a migrated database of the test's own, dropped after it  function
    empty_database    a database without any table, likewise                   function
    second_database   another one, for what needs two nodes                    function
    data_dir          an empty folder that the embedded server's account can enter

All URLs are spelled `postgresql+asyncpg://`. The migrations run once; each database is a copy.
"""

import asyncio
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import asyncpg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import make_url

from tierlink import embedded

MIGRATIONS = Path(__file__).parent.parent / "migrations"

_numbers = count(1)


@contextmanager
def short_folder(parent: str = "") -> Iterator[Path]:
    """A folder with a short path for sockets, which other accounts may enter (unlike tmp_path)."""
    folder = Path(tempfile.mkdtemp(prefix="tl-", dir=parent or _memory()))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _memory() -> str:
    """A folder in memory where there is a large one: a copy of a database is hundreds of files."""
    try:
        free = shutil.disk_usage("/dev/shm").free
    except OSError:
        return "/tmp"
    return "/dev/shm" if free > 2 * 1024**3 and os.access("/dev/shm", os.W_OK) else "/tmp"


@pytest.fixture
def data_dir():
    with short_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def database_server():
    given = os.environ.get("TIERLINK_TEST_DATABASE_URL")
    if given:
        yield given
        return
    with short_folder() as folder:
        server = embedded.start(folder)
        # Nothing here outlives the tests, and waiting for the disk is most of what they would do.
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            _execute(server.url, f"ALTER SYSTEM SET {setting} = off")
        _execute(server.url, "SELECT pg_reload_conf()")
        yield server.url
        embedded.stop(server)


@pytest.fixture(scope="session")
def migrated_template(database_server):
    """The database of which all others are copies; nobody connects to it after the migrations."""
    with _database(database_server, template="template0") as url:
        if (MIGRATIONS / "env.py").exists():
            config = Config()
            config.set_main_option("script_location", str(MIGRATIONS))
            config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
            _in_thread(lambda: command.upgrade(config, "head"))
        yield make_url(url).database


@pytest.fixture(scope="session")
def database_url(database_server, migrated_template):
    with _database(database_server, migrated_template) as url:
        yield url


@pytest.fixture
def fresh_database(database_server, migrated_template):
    with _database(database_server, migrated_template) as url:
        yield url


@pytest.fixture
def second_database(database_server, migrated_template):
    with _database(database_server, migrated_template) as url:
        yield url


@pytest.fixture
def third_database(database_server, migrated_template):
    with _database(database_server, migrated_template) as url:
        yield url


@pytest.fixture
def empty_database(database_server):
    with _database(database_server, "template0") as url:
        yield url


@contextmanager
def _database(server: str, template: str) -> Iterator[str]:
    name = f"tierlink_test_{os.getpid()}_{next(_numbers)}"
    _execute(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    yield make_url(server).set(database=name).render_as_string(hide_password=False)
    _execute(server, f'DROP DATABASE "{name}" WITH (FORCE)')


def _execute(server: str, sql: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(server.replace("+asyncpg", "", 1))
        await connection.execute(sql)
        await connection.close()

    _in_thread(lambda: asyncio.run(run()))


def _in_thread(work) -> None:
    """Do blocking work which runs an event loop of its own, apart from the loop of the tests."""
    failure: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as err:  # noqa: BLE001  raised again below, in the caller's thread
            failure.append(err)

    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
