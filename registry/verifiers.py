"""The processes that verify large imports, one for each core: begun when the first one comes.

A process takes one job at a time. One that dies loses its job, which is refused as Unavailable,
and is replaced when there is the next one. They end with whoever holds them, at the latest when
their pipes close.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from typing import Self

from registry import verifying
from registry.verifying import LENGTH, Job, Verdict
from schemas.errors import Unavailable

_FRAME = 16 * 1024 * 1024  # bytes that a pipe may be ahead of us
_OURS = "TIERLINK_"  # what a variable with a secret begins with


def cores() -> int:
    """Return on how many cores this process may run."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Verifiers:
    """A bounded number of processes, in one event loop."""

    def __init__(self, most: int | None = None) -> None:
        """Begin none yet; `most` is how many there may be, one for each core where not given."""
        self.most = most or cores()
        self._idle: list[asyncio.subprocess.Process] = []
        self._all: set[asyncio.subprocess.Process] = set()
        self._turn = asyncio.Semaphore(self.most)
        self._closed = False

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """End them all."""
        await self.close()

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that run."""
        return tuple(process.pid for process in self._all if process.returncode is None)

    async def close(self) -> None:
        """End every process; those that work are not waited for."""
        self._closed = True
        for process in list(self._all):
            _kill(process)
        for process in list(self._all):
            await process.wait()
        self._all.clear()
        self._idle.clear()

    async def verify(self, job: Job) -> list[Verdict]:
        """Have a job done; raise Unavailable where its process died."""
        async with self._lent() as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(verifying.pack(job))
                await process.stdin.drain()
                head = await process.stdout.readexactly(LENGTH)
                answer = await process.stdout.readexactly(int.from_bytes(head, "big"))
            except (OSError, asyncio.IncompleteReadError) as err:
                raise Unavailable("a process that verifies lines has died") from err
            return verifying.unpack(answer, job.lines)

    @contextlib.asynccontextmanager
    async def _lent(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """Lend a process; one whose job did not end well is not used again."""
        async with self._turn:
            if self._closed:
                raise Unavailable("the server is being stopped")
            process = await self._ready()
            try:
                yield process
            except BaseException:
                _kill(process)
                self._all.discard(process)
                await asyncio.shield(process.wait())
                raise
            self._idle.append(process)

    async def _ready(self) -> asyncio.subprocess.Process:
        while self._idle:
            process = self._idle.pop()
            if process.returncode is None:
                return process
            self._all.discard(process)
        process = await _begin()
        self._all.add(process)
        return process


async def _begin() -> asyncio.subprocess.Process:
    environment = {name: text for name, text in os.environ.items() if not name.startswith(_OURS)}
    environment["PYTHONPATH"] = os.pathsep.join(path or "." for path in sys.path)
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            verifying.__name__,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment,
            limit=_FRAME,
        )
    except OSError as err:
        raise Unavailable(f"no process can be begun: {err.strerror}") from err


def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
