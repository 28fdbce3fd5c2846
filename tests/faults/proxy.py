"""A TCP proxy that breaks connections in the ways in which networks do.

    with Proxy(port) as proxy: …        listens on proxy.port, forwards to 127.0.0.1:port
    proxy.breaks(Stall())               from now on, until the next call; heal() ends it

    Slow(seconds)      each piece comes so much later, each way
    Stall()            nothing is passed on, nothing is closed: what is sent waits
    Refuse()           connections are reset, new ones refused
    HalfClose()        clients are told that the server ends, and may still send
    Cut(after)         each connection is reset once the server has sent so many bytes more
    Lose(wanted)       a connection is reset in place of a piece from its client that is `wanted`

`proxy.upstream` may be changed: connections from then on go there, those before are reset. The
proxy runs in a thread of its own, so that a busy test does not slow down what it measures.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

PIECE = 65_536  # bytes passed on at once
SECONDS = 10  # for the proxy to do what it is told


@dataclass(frozen=True)
class Slow:
    seconds: float


@dataclass(frozen=True)
class Stall:
    pass


@dataclass(frozen=True)
class Refuse:
    pass


@dataclass(frozen=True)
class HalfClose:
    pass


@dataclass(frozen=True)
class Cut:
    after: int


@dataclass(frozen=True)
class Lose:
    wanted: Callable[[Link, bytes], bool]


Fault = Slow | Stall | Refuse | HalfClose | Cut | Lose | None


class Link:
    """One connection of a client, and ours to the server; `noted` is for whoever looks on."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.sent = 0  # bytes of the server since the last fault began
        self.noted: set[bytes] = set()

    def reset(self) -> None:
        for writer in (self.client, self.server):
            _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST: what was not read is lost, as where a machine or a firewall goes away."""
    found = writer.get_extra_info("socket")
    if found is not None and found.fileno() >= 0:
        with suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


class Proxy:
    """Stands before one server on loopback."""

    def __init__(self, upstream: int) -> None:
        self.port = 0
        self.links: set[Link] = set()
        self._upstream = upstream
        self._fault: Fault = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._moves = asyncio.Event()
        self._moves.set()
        self._do(self._listen)
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()

    @property
    def upstream(self) -> int:
        """The port of the server."""
        return self._upstream

    @upstream.setter
    def upstream(self, port: int) -> None:
        async def turn() -> None:
            self._upstream = port
            self._reset_all()

        self._do(turn)

    def breaks(self, fault: Fault) -> None:
        """Begin to break connections in this way, and in no other."""
        self._do(lambda: self._begin(fault))

    def heal(self) -> None:
        """Pass everything on again; what waited goes on."""
        self.breaks(None)

    def _do(self, work) -> None:
        asyncio.run_coroutine_threadsafe(work(), self._loop).result(SECONDS)

    async def _begin(self, fault: Fault) -> None:
        self._fault = fault
        for link in self.links:
            link.sent = 0
        if isinstance(fault, Stall):
            self._moves.clear()
        else:
            self._moves.set()
        if isinstance(fault, Refuse):
            await self._close()
            self._reset_all()
        elif self._server is None:
            await self._listen()
        if isinstance(fault, HalfClose):
            for link in self.links:
                _half_close(link)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _end(self) -> None:
        self._moves.set()
        await self._close()
        self._reset_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports that were aborted close in the next turn

    def _reset_all(self) -> None:
        for link in self.links:
            link.reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.CancelledError):  # the last at the end, of its own
                await self._moves.wait()
                await self._join(reader, writer)
        finally:
            _reset(writer)
            self._tasks.discard(task)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", self._upstream)
        link = Link(writer, forth)
        self.links.add(link)
        try:
            if isinstance(self._fault, HalfClose):
                _half_close(link)
            await asyncio.gather(
                self._pass_on(reader, forth, link, up=True),
                self._pass_on(back, writer, link, up=False),
            )
        finally:
            self.links.discard(link)
            link.reset()

    async def _pass_on(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, link: Link, *, up: bool
    ) -> None:
        with suppress(OSError):
            while piece := await source.read(PIECE):
                fault = self._fault
                if isinstance(fault, Slow):
                    await asyncio.sleep(fault.seconds)
                await self._moves.wait()
                if self._breaks_off(link, piece, up=up):
                    link.reset()
                    return
                if not sink.is_closing():
                    with suppress(RuntimeError):  # told its end already: the rest goes nowhere
                        sink.write(piece)
                        await sink.drain()
            await self._moves.wait()
            if sink.can_write_eof() and not sink.is_closing():
                sink.write_eof()

    def _breaks_off(self, link: Link, piece: bytes, *, up: bool) -> bool:
        fault = self._fault
        if isinstance(fault, Lose):
            return up and fault.wanted(link, piece)
        if isinstance(fault, Cut) and not up:
            link.sent += len(piece)
            if link.sent > fault.after:
                link.client.write(piece[: len(piece) - (link.sent - fault.after)])
                return True
        return False


def _half_close(link: Link) -> None:
    if link.client.can_write_eof() and not link.client.is_closing():
        link.client.write_eof()
