"""One of several resolver processes of a host: `python -m tierlink.worker <channel> <sockets>`.

Begun by `tierlink.workers.supervisor` alone. It differs from a resolver on its own in this:

    it is told of the changes, and does not poll them (`tierlink.workers.following`)
    it ends when its parent says so, or is gone; what a terminal sends to all is not for it
    /metrics answers for all workers of the host
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import AsyncIterator
from itertools import count
from typing import cast

import uvloop

from resolver.app import Resolver
from resolver.asgi import Route
from resolver.metrics import CONTENT_TYPE
from resolver.operations import page
from schemas.errors import TierlinkError
from tierlink import server
from tierlink.ending import Step
from tierlink.node import Node
from tierlink.resolving import Manner, serve
from tierlink.workers.accepting import Accepting
from tierlink.workers.channel import FORMAT, Channel, Handed, Kind, Message, pack
from tierlink.workers.following import Following
from tierlink.workers.process import arguments
from tierlink.workers.scraping import merged

SCRAPE_SECONDS = 1.0  # for the parent to tell of all; then the own metrics have to do
WATCH_SECONDS = 0.1  # between two looks at the lease


class Work:
    """One worker; owned by its event loop."""

    def __init__(self, node: Node, channel: Channel, sockets: list[socket.socket]) -> None:
        self._node = node
        self._channel = channel
        self._sockets = sockets
        self._ending = node.ending()
        self._started: asyncio.Future[dict[str, object]] = (
            asyncio.get_running_loop().create_future()
        )
        self._number = ""
        self._reading: Resolver | None = None
        self._follows: Following | None = None
        self._told = asyncio.Event()  # of the changes
        self._scrapes: dict[int, asyncio.Future[str]] = {}
        self._numbers = count(1)
        channel.heard = self._hear
        channel.ended = self._orphaned

    async def run(self) -> None:
        """Serve until told to end."""
        start = await self._started
        if start["format"] != FORMAT:
            raise TierlinkError(
                "this worker is of another release than its parent",
                fix="restart the node as a whole",
            )
        self._number = str(start["worker"])
        manner = Manner(
            self._following,
            self._announce,
            self._routes,
            signals=(signal.SIGTERM,),
            accepting=cast("server.Accepting", Accepting),
        )
        await serve(self._node, str(start["database_url"]), self._sockets, self._ending, manner)

    def _hear(self, message: Message) -> None:
        match message.kind, message.body:
            case Kind.START, dict() as start:
                self._started.set_result(start)
            case Kind.CHANGES, body:
                if self._follows is not None:
                    self._follows.take(Handed.read(body))
                    self._told.set()
            case Kind.STOP, int(step):
                self._ending.reach(Step(step))
            case Kind.REPORT, int(number):
                self._channel.send(pack(Kind.REPORTED, (number, self._metrics())))
            case Kind.SCRAPED, [int(number), str(text)]:
                scrape = self._scrapes.get(number)
                if scrape is not None and not scrape.done():
                    scrape.set_result(text)
            case _:
                raise ValueError(f"a worker is not told {message.kind.name}")

    def _orphaned(self) -> None:
        if not self._started.done():
            self._started.set_exception(TierlinkError("the parent of this worker is gone"))
        self._ending.reach(Step.CLOSING)

    # Freshness

    @contextlib.asynccontextmanager
    async def _following(self, reading: Resolver) -> AsyncIterator[None]:
        self._reading = reading
        self._follows = Following(reading.freshness)
        self._channel.send(pack(Kind.JOIN))
        tasks = [
            asyncio.create_task(self._watch(self._follows)),
            asyncio.create_task(self._pass_hints_on(reading)),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await reading.stop()

    async def _watch(self, follows: Following) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            follows.watch()

    async def _pass_hints_on(self, reading: Resolver) -> None:
        while True:
            await reading.freshness.hinted()
            self._channel.send(pack(Kind.HINT))

    async def _announce(self) -> None:
        await self._told.wait()
        self._channel.send(pack(Kind.READY))

    # Metrics

    def _routes(self, reading: Resolver) -> tuple[Route, ...]:
        del reading
        return (Route("/metrics", page(self._everybodys_metrics)),)

    def _metrics(self) -> str:
        return "" if self._reading is None else self._reading.metrics.text().decode()

    async def _everybodys_metrics(self) -> tuple[int, bytes, bytes]:
        number = next(self._numbers)
        scrape = self._scrapes[number] = asyncio.get_running_loop().create_future()
        self._channel.send(pack(Kind.SCRAPE, number))
        try:
            async with asyncio.timeout(SCRAPE_SECONDS):
                text = await scrape
        except TimeoutError:
            text = merged({self._number: self._metrics()})
        finally:
            del self._scrapes[number]
        return 200, CONTENT_TYPE, text.encode()


async def _work(node: Node, end: socket.socket, sockets: list[socket.socket]) -> None:
    channel = Channel()
    work = Work(node, channel, sockets)
    await channel.open(end)
    await work.run()


def main(given: list[str]) -> int:
    """Run a worker; return its exit code."""
    # A terminal interrupts, or hangs up on, parent and workers alike: what follows from it, the
    # parent decides.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    server.log_plainly()
    end, sockets = arguments(given)
    try:
        uvloop.run(_work(Node.read(), end, sockets))
    except TierlinkError as err:
        from tierlink.cli.failing import line  # noqa: PLC0415  (the command line, to say one line)

        print(line(err), file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
