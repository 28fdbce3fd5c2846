"""The server process: find a survivor, launch, wait until it is ready, stop."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tierlink.embedded import socket_folder
from tierlink.embedded.cluster import Cluster, environment
from tierlink.embedded.failure import EmbeddedFailed

_POLL = 0.02  # s
_PROGRESS = 5.0  # s between two lines about a long wait
_ORPHANS = 15.0  # s granted to the children of a killed server, which still hold its memory
_STILL_HELD = "pre-existing shared memory block"
_FAST_STOP = 60.0  # s; then an immediate stop, from which the next start recovers
_CLOCK_SLACK = 3  # s between what the server and the kernel call its start

_PID, _STARTED_AT, _SOCKET_DIR, _STATUS = 0, 2, 4, 7  # lines of postmaster.pid


@dataclass(frozen=True, slots=True)
class Postmaster:
    """A live server; `child` is set where we are its parent and have to collect it."""

    process: psutil.Process
    child: subprocess.Popen[bytes] | None = None

    def alive(self) -> bool:
        """Tell whether the process still runs."""
        if self.child is not None:
            return self.child.poll() is None
        try:
            return bool(self.process.is_running()) and self.process.status() != "zombie"
        except psutil.NoSuchProcess:
            return False

    def socket_dir(self, cluster: Cluster) -> Path:
        """Return the folder in which the server listens; it must be ready."""
        return Path(_pid_file(cluster)[_SOCKET_DIR])

    def await_ready(self, cluster: Cluster) -> bool:
        """Wait until connections are accepted, however long recovery takes; False if it ended."""
        began = told = time.monotonic()
        while self.alive():
            lines = _pid_file(cluster)
            if (
                len(lines) > _STATUS
                and lines[_PID] == str(self.process.pid)
                and lines[_STATUS].strip() == "ready"
            ):
                return True
            now = time.monotonic()
            if now - told >= _PROGRESS:
                told = now
                cluster.log(f"the database is starting ({now - began:.0f} s): {_said(cluster, 1)}")
            time.sleep(_POLL)
        return False

    def stop(self) -> None:
        """Ask for a fast shutdown, after a minute for an immediate one, and wait for the end."""
        for request in (signal.SIGINT, signal.SIGQUIT):
            with suppress(psutil.NoSuchProcess):
                self.process.send_signal(request)
            deadline = time.monotonic() + _FAST_STOP
            while time.monotonic() < deadline:
                if not self.alive():
                    return
                time.sleep(_POLL)
        raise EmbeddedFailed(f"PostgreSQL (pid {self.process.pid}) does not stop")


def listening(path: Path) -> Path | None:
    """Return where the server of a cluster folder listens, None where none is ready."""
    try:
        lines = (path / "postmaster.pid").read_text().split("\n")
    except FileNotFoundError:
        return None
    ready = len(lines) > _STATUS and lines[_STATUS].strip() == "ready"
    return Path(lines[_SOCKET_DIR]) if ready else None


def attach(cluster: Cluster) -> Postmaster | None:
    """Return the server that an earlier, killed user of the cluster left running."""
    process = _survivor(cluster)
    if process is None:
        return None
    cluster.log("attaching to the running database")
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGHUP)  # who may connect may have changed
    server = Postmaster(process)
    if server.await_ready(cluster):
        return server
    _forget(cluster)  # it was on its way out
    return None


def launch(cluster: Cluster) -> Postmaster:
    """Start a server and wait until it is ready. Raise `EmbeddedFailed` with its last words."""
    deadline = time.monotonic() + _ORPHANS
    while True:
        child = _spawn(cluster, socket_folder.fresh(cluster))
        server = Postmaster(psutil.Process(child.pid), child)
        try:
            if server.await_ready(cluster):
                return server
        except BaseException:
            server.stop()
            raise
        if _STILL_HELD not in _said(cluster, 4) or time.monotonic() > deadline:
            raise EmbeddedFailed(
                f"PostgreSQL did not start: {_said(cluster, 4)}", fix=f"See {cluster.log_file}"
            )
        time.sleep(0.2)


def _spawn(cluster: Cluster, socket_dir: Path) -> subprocess.Popen[bytes]:
    quoted = str(socket_dir).replace('"', '""')  # the setting is a list of quoted names
    setting = f'unix_socket_directories="{quoted}"'
    output = cluster.open_log()
    try:
        return subprocess.Popen(
            [cluster.bin_dir / "postgres", "-D", cluster.path, "-c", setting],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=environment(),
            umask=0o077,
            start_new_session=True,  # Ctrl-C in a terminal is for us, who then stop it in order
            **cluster.account.popen(),
        )
    finally:
        os.close(output)


def _survivor(cluster: Cluster) -> psutil.Process | None:
    """Return the live server of this cluster, if any; else see that no pid file bars a start.

    After a power loss the pid in the file may belong to anybody, and PostgreSQL, who only sees that
    somebody is alive, would refuse to start; so it would before an empty file, or where the parent
    of a dead server does not collect it. Without the file it still refuses while the cluster's
    shared memory is in use.
    """
    lines = _pid_file(cluster)
    try:
        process = psutil.Process(int(lines[_PID]))
        same_path = str(cluster.path) in process.cmdline()
        same_start = abs(process.create_time() - int(lines[_STARTED_AT])) < _CLOCK_SLACK
        if same_path or (same_start and process.name() == "postgres"):
            return process
    except (IndexError, ValueError, psutil.ZombieProcess):
        pass
    except psutil.Error:
        return None  # nobody, or out of our reach: PostgreSQL sees that itself
    _forget(cluster)
    return None


def _forget(cluster: Cluster) -> None:
    (cluster.path / "postmaster.pid").unlink(missing_ok=True)


def _pid_file(cluster: Cluster) -> list[str]:
    try:
        content = (cluster.path / "postmaster.pid").read_bytes()
    except FileNotFoundError:
        return []
    return os.fsdecode(content).split("\n")


def _said(cluster: Cluster, lines: int) -> str:
    return cluster.last_words(lines) or "nothing logged"
