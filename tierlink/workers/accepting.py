"""Accepting connections on sockets that other processes accept on, too.

Whoever wakes first would take a whole burst of connections while the others still wake up, and
clients that keep their connections would stay with it. So a process takes some at a time, and then
pauses, for as long as it takes the others to come: what waits is theirs, if they are there.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable

SHARE = 4  # connections at a time
PAUSE = 0.001  # seconds
NO_ROOM = 0.1  # seconds of pause where the process may open no more

_log = logging.getLogger("tierlink.workers")


class Accepting:
    """Accepts on sockets until closed; takes the place of the servers of an event loop."""

    def __init__(
        self, sockets: Iterable[socket.socket], factory: Callable[[], asyncio.Protocol]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._factory = factory
        self._sockets = list(sockets)
        self._made: set[asyncio.Task[object]] = set()
        self._closed = False
        for listening in self._sockets:
            self._resume(listening)

    def close(self) -> None:
        """Accept no more; what was accepted becomes a connection in this or the next turn."""
        self._closed = True
        for listening in self._sockets:
            self._loop.remove_reader(listening)
        self._sockets.clear()

    async def wait_closed(self) -> None:
        """Wait until what was accepted is a connection."""
        await asyncio.gather(*self._made, return_exceptions=True)

    def _resume(self, listening: socket.socket) -> None:
        if not self._closed:
            self._loop.add_reader(listening, self._accept, listening)

    def _pause(self, listening: socket.socket, seconds: float) -> None:
        self._loop.remove_reader(listening)
        self._loop.call_later(seconds, self._resume, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(SHARE):
            try:
                accepted, _ = listening.accept()
            except (BlockingIOError, InterruptedError):
                return  # another process was faster
            except ConnectionAbortedError:
                continue
            except OSError as err:
                _log.error("no connection can be accepted: %s", err)
                self._pause(listening, NO_ROOM)
                return
            self._make(accepted)
        self._pause(listening, PAUSE)

    def _make(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)  # noqa: FBT003  (its only form)
        if accepted.family != socket.AF_UNIX:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        making = self._loop.create_task(self._loop.connect_accepted_socket(self._factory, accepted))
        self._made.add(making)
        making.add_done_callback(self._done)

    def _done(self, making: asyncio.Task[object]) -> None:
        self._made.discard(making)
        if not making.cancelled() and making.exception() is not None:
            _log.warning("a connection was lost as it was accepted: %s", making.exception())
