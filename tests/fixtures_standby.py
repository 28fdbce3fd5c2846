"""A PostgreSQL primary and a streaming standby of it: two real servers, by Debian's binaries.

    replication              a Replication, founded by nobody, migrated; ended after the test
    with replicated() as r:  the same, for other scopes; `synchronous=True` makes COMMIT wait for
                             the standby

    r.primary.url, r.standby.url       for Store.open and TIERLINK_DATABASE_URL
    r.caught_up()                      wait until the standby has replayed all of now
    r.standby.promote()                the standby becomes a primary, on a new timeline
    server.stop() · kill() · pause() · resume() · start()     of either, the whole tree of processes
    server.execute("SELECT …", …)      one statement, synchronously

Lag is made by `standby.execute("SELECT pg_wal_replay_pause()")`, and a standby that follows through
a proxy by `r.add_standby(upstream=port)`. Both listen on loopback alone, with a password.
"""

import asyncio
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic import command
from alembic.config import Config

from tests.fixtures_pg import MIGRATIONS, _in_thread, short_folder
from tests.servers import free_port
from tierlink.embedded.account import Account, choose
from tierlink.embedded.cluster import environment

ROLE = DATABASE = "tierlink"
DEBIAN = Path("/usr/lib/postgresql")
SECONDS = 60  # for anything that a busy machine may be slow at

_SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
wal_level = replica
max_wal_senders = 8
max_connections = 60
shared_buffers = 32MB
hot_standby = on
hot_standby_feedback = off
wal_receiver_status_interval = 100ms
wal_retrieve_retry_interval = 100ms
wal_receiver_timeout = 5s
wal_sender_timeout = 5s
wal_keep_size = 256MB
fsync = on
timezone = 'UTC'
log_line_prefix = '%m [%p] '
"""


def binaries() -> Path:
    """Return the folder of Debian's newest PostgreSQL; skip the test where there is none."""
    found = [path for path in DEBIAN.glob("*/bin") if (path / "pg_basebackup").exists()]
    if not found:
        pytest.skip("Debian's PostgreSQL is not installed (apt install postgresql)")
    return max(found, key=lambda path: int(path.parent.name))


@dataclass
class Server:
    """One PostgreSQL server in a folder of its own."""

    folder: Path
    bin_dir: Path
    account: Account
    password: str
    port: int = field(default_factory=free_port)
    process: subprocess.Popen | None = None

    @property
    def data(self) -> Path:
        return self.folder / "pg"

    @property
    def url(self) -> str:
        return self.url_of("postgresql+asyncpg", DATABASE)

    def url_of(self, scheme: str, database: str, port: int | None = None) -> str:
        """Spell the URL of a database, through another port where a proxy stands before it."""
        return f"{scheme}://{ROLE}:{self.password}@127.0.0.1:{port or self.port}/{database}"

    def run(self, program: str, *arguments: object, **popen: Any) -> None:
        """Run one of the server's programs, as its account; its output is in the failure."""
        done = subprocess.run(
            [self.bin_dir / program, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            cwd="/",
            env=environment() | {"PGPASSWORD": self.password},
            timeout=SECONDS,
            **self.account.popen(),
            **popen,
        )
        assert done.returncode == 0, f"{program}: {done.stdout.decode(errors='replace')}"

    def start(self) -> None:
        """Start, and wait until connections are taken."""
        assert self.process is None
        with (self.folder / "pg.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.bin_dir / "postgres", "-D", self.data, "-p", str(self.port)],
                stdout=log,
                stderr=log,
                cwd="/",
                env=environment(),
                **self.account.popen(),
            )
        self.wait(self._answers, "takes connections")

    def stop(self) -> None:
        """Shut down at once and in order; transactions are rolled back."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill every process of the server: nothing is flushed, nobody is told."""
        self._signal(signal.SIGKILL)
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Stop every process where it is: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let every process go on."""
        self._signal(signal.SIGCONT)

    def promote(self) -> None:
        """Make a standby a primary, and wait until it is one."""
        self.run("pg_ctl", "promote", "-D", self.data, "-w", "-t", SECONDS)

    def execute(self, sql: str, *values: object, database: str = DATABASE) -> list[asyncpg.Record]:
        """Run one statement on a connection of its own and return its rows."""
        rows: list[asyncpg.Record] = []

        async def run() -> None:
            connection = await asyncpg.connect(self.url_of("postgresql", database), timeout=5)
            try:
                rows.extend(await connection.fetch(sql, *values))
            finally:
                await connection.close()

        _in_thread(lambda: asyncio.run(run()))
        return rows

    def wait(self, ready: Callable[[], object], what: str) -> None:
        """Poll until `ready`; a server that ended meanwhile, or takes too long, fails the test."""
        deadline = time.monotonic() + SECONDS
        while not ready():
            alive = self.process is not None and self.process.poll() is None
            assert alive, f"{self.folder.name} ended: {self.said()}"
            assert time.monotonic() < deadline, f"{self.folder.name}: not «{what}»: {self.said()}"
            time.sleep(0.02)

    def said(self) -> str:
        """Return the end of the server's log."""
        return (self.folder / "pg.log").read_text(errors="replace")[-2000:]

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1", database="postgres")
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        # Its children lead sessions of their own, so that no signal to a group reaches them.
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        for pid in (self.process.pid, *map(int, children.read_text().split())):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _end(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            with suppress(OSError):
                self.resume()  # who is stopped hears no SIGINT
            self.process.send_signal(number)
            try:
                self.process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                self.process.wait()
        self.process = None


@dataclass
class Replication:
    """A primary, its first standby, and those that a test adds."""

    primary: Server
    standbys: list[Server]
    stack: ExitStack
    folder: Path

    @property
    def standby(self) -> Server:
        return self.standbys[0]

    def add_standby(self, upstream: int | None = None) -> Server:
        """Make a copy of the primary that follows it, or follows port `upstream` in its place."""
        name = f"standby{len(self.standbys)}"
        server = _prepared(self.folder / name, self.primary.account, self.primary.password)
        source = self.primary.url_of("postgresql", "postgres")
        # -R writes where the copy was taken from; what comes later in the file counts.
        server.run("pg_basebackup", "-d", source, "-D", server.data, "-X", "stream",
                   "-c", "fast", "-R")  # fmt: skip
        conninfo = (
            f"host=127.0.0.1 port={upstream or self.primary.port} user={ROLE} "
            f"password={self.primary.password} application_name={name} connect_timeout=2"
        )
        with (server.data / "postgresql.auto.conf").open("a") as file:
            file.write(f"primary_conninfo = '{conninfo}'\n")
            file.write("synchronous_standby_names = ''\n")  # once promoted, it stands alone
        self.stack.callback(server.stop)
        server.start()
        self.standbys.append(server)
        return server

    def caught_up(self, standby: Server | None = None) -> None:
        """Wait until a standby has replayed all that the primary has written up to now."""
        follower = standby or self.standby
        [row] = self.primary.execute("SELECT pg_current_wal_lsn()::text AS lsn")
        follower.wait(
            lambda: follower.execute(
                "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn AS there", row["lsn"]
            )[0]["there"],
            f"replayed {row['lsn']}",
        )

    def streaming(self, standby: Server | None = None) -> None:
        """Wait until a standby receives from the primary."""
        follower = standby or self.standby
        sql = "SELECT status FROM pg_stat_wal_receiver"
        follower.wait(
            lambda: [row["status"] for row in follower.execute(sql)] == ["streaming"], "streams"
        )


@contextmanager
def replicated(*, synchronous: bool = False) -> Iterator[Replication]:
    """Run a migrated primary with one standby; end all servers, whatever a test did to them."""
    binaries()
    with ExitStack() as stack:
        folder = stack.enter_context(short_folder())
        account, password = choose(folder / "none"), secrets.token_hex(16)
        primary = _prepared(folder / "primary", account, password)
        _found(primary)
        stack.callback(primary.stop)
        primary.start()
        primary.execute(f"CREATE DATABASE {DATABASE}", database="postgres")
        _migrate(primary.url)
        pair = Replication(primary, [], stack, folder)
        pair.add_standby()
        pair.streaming()
        if synchronous:
            primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            primary.execute("SELECT pg_reload_conf()")
        pair.caught_up()
        yield pair


@pytest.fixture
def replication():
    with replicated() as pair:
        yield pair


def _prepared(folder: Path, account: Account, password: str) -> Server:
    folder.mkdir(mode=0o711)
    data = folder / "pg"
    data.mkdir(mode=0o700)
    account.own(data)
    return Server(folder, binaries(), account, password)


def _found(server: Server) -> None:
    given = server.folder / "password"
    given.write_text(server.password)
    given.chmod(0o600)
    server.account.own(given)
    server.run("initdb", "-D", server.data, "-U", ROLE, "--encoding=UTF8", "--locale=C",
               "--auth=scram-sha-256", f"--pwfile={given}", "--no-sync")  # fmt: skip
    with (server.data / "postgresql.conf").open("a") as file:
        file.write(_SETTINGS)


def _migrate(url: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("sqlalchemy.url", url)
    _in_thread(lambda: command.upgrade(config, "head"))
