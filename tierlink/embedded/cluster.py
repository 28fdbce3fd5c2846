"""The files of the database: made once, configured at every start.

`postgresql.conf`, `pg_hba.conf` and `pg_ident.conf` are ours and written anew each time; an
operator's own settings belong into `postgresql.auto.conf` (ALTER SYSTEM), which has the last word.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tierlink.embedded.account import Account
from tierlink.embedded.failure import EmbeddedFailed
from tierlink.embedded.wheel import MAJOR

ROLE = DATABASE = "tierlink"

_SETTINGS = """\
# Written by tierlink at every start. Settings of your own: ALTER SYSTEM.
listen_addresses = ''
unix_socket_permissions = 0700
max_connections = 100
shared_buffers = 128MB
fsync = on
full_page_writes = on
synchronous_commit = on
idle_in_transaction_session_timeout = 30s
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] '
log_checkpoints = off
cluster_name = 'tierlink'
"""
_INITDB = (
    "--encoding=UTF8",
    "--locale=C",
    "--data-checksums",
    "--auth-local=peer",
    "--auth-host=reject",
    "--no-instructions",
)
_LOG_KEPT = 16 * 1024 * 1024  # bytes; a larger log is set aside at start


@dataclass(frozen=True, slots=True)
class Cluster:
    """One database folder, who runs it, with which binaries, and where progress is told."""

    data_dir: Path
    account: Account
    bin_dir: Path
    log: Callable[[str], None]

    @property
    def path(self) -> Path:
        """The folder that PostgreSQL calls its data directory."""
        return self.data_dir / "pg"

    @property
    def log_file(self) -> Path:
        """Where the server's output goes."""
        return self.data_dir / "pg.log"

    def initialise(self) -> None:
        """Make the cluster if there is none: by a rename, so that half of one never appears.

        Raise `EmbeddedFailed` when there is one of another major version.
        """
        if self.path.exists():
            self._check_version()
            return
        self.log("creating the database")
        unfinished = self.data_dir / "pg.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        self.account.own(unfinished)
        made = subprocess.run(
            [self.bin_dir / "initdb", "-D", unfinished, "-U", ROLE, *_INITDB],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            cwd="/",
            env=environment(),
            umask=0o077,
            **self.account.popen(),
        )
        if made.returncode:
            raise EmbeddedFailed(f"initdb failed: {made.stdout.decode(errors='replace').strip()}")
        unfinished.rename(self.path)

    def configure(self) -> None:
        """Write the settings, and that nobody but the user who started us may connect."""
        for name, text in (
            ("postgresql.conf", _SETTINGS),
            ("pg_hba.conf", f"local all all peer map={ROLE}\n"),
            ("pg_ident.conf", f'{ROLE} "{self.account.client}" {ROLE}\n'),
        ):
            self._replace(self.path / name, text)

    def ensure_database(self, socket_dir: Path) -> None:
        """Create the database `tierlink` where it is missing; the server must be ready."""
        if DATABASE not in self._psql(socket_dir, "SELECT datname FROM pg_database").split():
            self._psql(socket_dir, f"CREATE DATABASE {DATABASE}")

    def open_log(self) -> int:
        """Return a descriptor that appends to the log, after setting aside one grown too large."""
        if self.log_file.exists() and self.log_file.stat().st_size > _LOG_KEPT:
            self.log_file.rename(self.log_file.with_suffix(".log.1"))
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        return os.open(self.log_file, flags, 0o600)

    def last_words(self, lines: int) -> str:
        """Return the end of the log, on one line; nothing where somebody removed it."""
        if not self.log_file.exists():
            return ""
        with self.log_file.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
            said = log.read().decode(errors="replace").splitlines()
        return " / ".join(said[-lines:])

    def _check_version(self) -> None:
        version = (self.path / "PG_VERSION").read_text().strip()
        if version != str(MAJOR):
            raise EmbeddedFailed(
                f"{self.path} was made by PostgreSQL {version}, and this is PostgreSQL {MAJOR}",
                fix=f"Run a PostgreSQL {version} on it and set TIERLINK_DATABASE_URL, "
                "or choose another TIERLINK_DATA_DIR",
            )

    def _replace(self, path: Path, text: str) -> None:
        """Write a file whole or not at all, and never through a link laid by the folder's owner."""
        unfinished = path.with_name(f"{path.name}.new")
        unfinished.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(unfinished, flags, 0o600), "w", encoding="utf-8") as file:
            if self.account.dropped:
                os.fchown(file.fileno(), self.account.uid, self.account.gid)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)

    def _psql(self, socket_dir: Path, sql: str) -> str:
        """Run a statement as ourselves, which also proves that we are let in."""
        result = subprocess.run(
            [self.bin_dir / "psql", "-h", socket_dir, "-U", ROLE, "-d", "postgres", "-XAtqc", sql],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            cwd="/",
            env=environment(),
        )
        said = result.stdout.decode(errors="replace").strip()
        if result.returncode:
            raise EmbeddedFailed(f"PostgreSQL does not answer: {said}")
        return said


def environment() -> dict[str, str]:
    """Return an environment in which no PG… variable or locale of the caller has a say."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
