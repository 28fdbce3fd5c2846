"""One worker as its parent sees it: a process, a channel, and whether it serves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tierlink.ending import Step

from .channel import Channel, Kind, Message, pack

MODULE = "tierlink.worker"


class Worker:
    """A worker process and our end of its channel; owned by the event loop of the parent."""

    def __init__(self, number: int, process: subprocess.Popen[bytes]) -> None:
        """Take charge of a process; `number` is its place among the workers, the first has 1."""
        self.number = number
        self.process = process
        self.channel = Channel()
        self.joined = False  # it follows the changes
        self.ready = asyncio.Event()  # set when it serves
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.reports: dict[int, asyncio.Future[str]] = {}  # its metrics, while they are awaited
        self._began = time.monotonic()

    def __repr__(self) -> str:
        return f"worker {self.number} (process {self.process.pid})"

    @property
    def lived(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    @property
    def serves(self) -> bool:
        """Tell whether it serves."""
        return self.ready.is_set() and not self.ended.done()

    def reap(self) -> bool:
        """Notice the end of the process; tell whether it has ended."""
        code = self.process.poll()
        if code is None:
            return False
        if not self.ended.done():
            self.ended.set_result(code)
            self.channel.close()
        return True

    def stop(self, step: Step) -> None:
        """Tell it how far to end; one that does not serve yet has nothing to finish."""
        if self.ready.is_set():
            self.channel.send(pack(Kind.STOP, step))
        else:
            self.signal(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def report(self, number: int, text: str) -> None:
        """Take its metrics, where they are still awaited."""
        report = self.reports.get(number)
        if report is not None and not report.done():
            report.set_result(text)

    async def becomes_ready(self, seconds: float | None = None) -> bool:
        """Wait until it serves; False where it ends before, or takes longer."""
        ready = asyncio.ensure_future(self.ready.wait())
        either: list[asyncio.Future[Any]] = [ready, self.ended]
        try:
            await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        return self.serves


async def spawn(
    number: int,
    sockets: Sequence[socket.socket],
    start: object,
    heard: Callable[[Worker, Message], None],
) -> Worker:
    """Begin a worker that listens on these sockets, and tell it `start`.

    A new interpreter, never a fork: what runs in this one would be there half.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        listening = [bound.fileno() for bound in sockets]
        try:
            process = subprocess.Popen(  # noqa: ASYNC220  (some milliseconds; nobody waits for it)
                command(theirs.fileno(), listening),
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), *listening),
            )
        except OSError:
            ours.close()
            raise
    worker = Worker(number, process)
    worker.channel.heard = partial(heard, worker)
    try:
        await worker.channel.open(ours)
    except BaseException:
        process.kill()
        ours.close()
        raise
    worker.channel.send(pack(Kind.START, start))
    return worker


def command(channel: int, listening: Sequence[int]) -> list[str]:
    """Return the command line of a worker; it finds its modules where this process found them."""
    # With -m, the working folder is searched first: only where it was for this process, too.
    here = sys.path[0] in {"", os.getcwd()}  # noqa: PTH109  (as the interpreter writes it)
    path = [] if here else ["-P"]
    return [sys.executable, *path, "-m", MODULE, str(channel), ",".join(map(str, listening))]


def arguments(given: Sequence[str]) -> tuple[socket.socket, list[socket.socket]]:
    """Read the arguments of a worker: the socket of its channel, and those it listens on."""
    channel, listening = given
    return socket.socket(fileno=int(channel)), [
        socket.socket(fileno=int(number)) for number in listening.split(",")
    ]
