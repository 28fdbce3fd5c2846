"""Starts and stops the PostgreSQL that comes in a wheel.

One cluster per data folder, for the one user who starts it:

    <data_dir>/pg        the cluster
    <data_dir>/run       0700, holds the socket (where that path is too long: see pg.socket)
    <data_dir>/pg.log    what the server says
    <data_dir>/pg.lock   flock of the process that uses the cluster

There is no TCP port, and the socket admits one user of the operating system: whoever started it.
The server is a session of its own: Ctrl-C reaches only its user, and a user who is killed leaves it
running for the next `start`, which attaches to it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO
from urllib.parse import quote

from tierlink.embedded import postmaster, socket_folder
from tierlink.embedded.account import choose
from tierlink.embedded.cluster import DATABASE, ROLE, Cluster
from tierlink.embedded.failure import EmbeddedFailed, InUse
from tierlink.embedded.postmaster import Postmaster
from tierlink.embedded.wheel import binaries

__all__ = ["EmbeddedFailed", "EmbeddedPostgres", "guest", "start", "stop"]


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """A running server, ours until `stop`.

    `url` is for SQLAlchemy with asyncpg, over the Unix socket, as the owner of the database.
    """

    data_dir: Path
    url: str
    _cluster: Cluster = field(repr=False, compare=False)
    _server: Postmaster = field(repr=False, compare=False)
    _lock: TextIO = field(repr=False, compare=False)


def start(data_dir: Path, *, log: Callable[[str], None] = lambda _: None) -> EmbeddedPostgres:
    """Start the server of `data_dir`, or attach to the one that a killed process left running.

    A new folder gets a new cluster with the database `tierlink`. Waits as long as crash recovery
    takes, telling `log`. Raise `EmbeddedFailed` when another live process uses the folder, or when
    it cannot be used. Blocks: call it before the event loop, or from a thread.
    """
    data_dir = _prepared(data_dir)
    lock = _locked(data_dir)
    try:
        cluster = _cluster(data_dir, log)
        cluster.initialise()
        server, socket_dir = _serving(cluster)
    except OSError as err:
        lock.close()
        raise EmbeddedFailed(f"cannot use {data_dir} for the database: {err}") from err
    except BaseException:
        lock.close()
        raise
    return EmbeddedPostgres(data_dir, _url(socket_dir), cluster, server, lock)


def guest(data_dir: Path) -> str | None:
    """Return the URL of the server that another process runs in a folder, None where none does.

    For whoever comes for a moment, as the same user: it ends when its owner ends. Raise
    `EmbeddedFailed` where it is not ready.
    """
    try:
        _locked(data_dir).close()
    except InUse as err:
        socket_dir = postmaster.listening(data_dir / "pg")
        if socket_dir is None:
            raise EmbeddedFailed(
                f"the database in {data_dir} is starting or stopping", fix="Try again in a moment"
            ) from err
        return _url(socket_dir)
    return None


def stop(server: EmbeddedPostgres) -> None:
    """Shut down (open transactions are rolled back) and wait until the server is gone.

    A server that is gone already, or was stopped before, is fine.
    """
    if server._lock.closed:  # noqa: SLF001  our own: stop is its method in all but syntax
        return
    try:
        server._server.stop()  # noqa: SLF001
        socket_folder.discard(server._cluster)  # noqa: SLF001
    finally:
        server._lock.close()  # noqa: SLF001


def _url(socket_dir: Path) -> str:
    return f"postgresql+asyncpg://{ROLE}@/{DATABASE}?host={quote(str(socket_dir), safe='/')}"


def _prepared(data_dir: Path) -> Path:
    """Make the folder where it is missing; root's can be entered, for the server is not root."""
    data_dir = data_dir.resolve()
    if any(char < " " for char in str(data_dir)):
        raise EmbeddedFailed(
            f"the path {str(data_dir)!r} holds a control character", fix="Choose another folder"
        )
    try:
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        data_dir.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, exist_ok=True)
    except OSError as err:
        raise EmbeddedFailed(f"cannot make the folder {data_dir}: {err.strerror}") from err
    return data_dir


def _locked(data_dir: Path) -> TextIO:
    """Take the lock that the kernel drops with our process, however it ends."""
    path = data_dir / "pg.lock"
    try:
        lock = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+")
    except OSError as err:
        raise EmbeddedFailed(f"cannot write {path}: {err.strerror}") from err
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as err:
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise InUse(
            f"another process (pid {holder}) is using the database in {data_dir}",
            fix="Stop it first, or choose another TIERLINK_DATA_DIR",
        ) from err
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def _cluster(data_dir: Path, log: Callable[[str], None]) -> Cluster:
    """Find who runs the server and with which binaries; refuse a folder out of that one's reach."""
    account = choose(data_dir / "pg")
    blocked = account.blocked_at(data_dir)
    if blocked is not None:
        raise EmbeddedFailed(
            f"the database runs as the user {account.name}, who cannot enter {blocked}",
            value=str(blocked),
            fix=f"Choose a TIERLINK_DATA_DIR outside of it, open it (chmod o+x '{blocked}'), "
            "or start tierlink as a normal user",
        )
    return Cluster(data_dir, account, binaries(account, data_dir), log)


def _serving(cluster: Cluster) -> tuple[Postmaster, Path]:
    cluster.configure()
    server = postmaster.attach(cluster) or postmaster.launch(cluster)
    try:
        socket_dir = server.socket_dir(cluster)
        cluster.ensure_database(socket_dir)
    except BaseException:
        server.stop()
        raise
    return server, socket_dir
