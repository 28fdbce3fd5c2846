"""The HTTP server: sockets of our own, so that a taken port is an error before anything starts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from types import FrameType
from typing import TypeAlias, cast

import uvicorn
from starlette.types import ASGIApp

from schemas.errors import TierlinkError
from tierlink.ending import Ending, Step

BACKLOG = 4096
GRACE_SECONDS = 10  # for requests under way when the node is told to stop
STOPPING = (signal.SIGTERM, signal.SIGINT)

# What makes a server of sockets and what answers on their connections.
Accepting: TypeAlias = Callable[
    [list[socket.socket], Callable[[], asyncio.Protocol]], asyncio.base_events.Server
]

_ACCEPTED = 0.01  # seconds in which what was accepted last becomes a connection that can be told


class CannotListen(TierlinkError):
    """The address is taken, or not ours to listen on."""

    code = "cannot_listen"
    title = "Cannot listen"


def listen(host: str, port: int) -> list[socket.socket]:
    """Bind every address of a host name, IPv4 and IPv6; raise CannotListen."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as err:
        raise CannotListen(
            f"{host} is no address of this machine: {err.strerror}",
            value=host,
            fix="set TIERLINK_HOST",
        ) from err
    sockets: list[socket.socket] = []
    for family, kind, protocol, _, address in dict.fromkeys(found):
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound.bind(address)
            bound.listen(BACKLOG)
        except OSError as err:
            for other in (*sockets, bound):
                other.close()
            raise CannotListen(
                f"cannot listen on {host} port {port}: {err.strerror}",
                value=port,
                fix="stop what listens there, or set TIERLINK_PORT",
            ) from err
        bound.setblocking(False)  # noqa: FBT003  (its only form)
        sockets.append(bound)
    return sockets


def url_of(bound: socket.socket, host: str) -> str:
    """Return the URL of a bound socket, under the name that was asked for."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{bound.getsockname()[1]}"


class Server(uvicorn.Server):
    """Stops when its end is told, by a signal or otherwise, and then returns.

    uvicorn raises the signal again when it is done, which would end the process before the
    database is stopped.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        ending: Ending | None = None,
        signals: Sequence[signal.Signals] = STOPPING,
        accepting: Accepting | None = None,
    ) -> None:
        """Each of `signals` tells the end; a second one hurries it (`tierlink.ending`).

        `accepting` makes what accepts connections, in place of the event loop's own servers.
        """
        super().__init__(config)
        self._accepting = accepting
        self.ending = ending or Ending()
        self.ending.heard = self._look
        self._signals = signals

    def _look(self) -> None:
        self.should_exit = self.should_exit or self.ending.step >= Step.CLOSING
        self.force_exit = self.force_exit or self.ending.step is Step.AT_ONCE

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept."""
        if self._accepting is None:
            await super().startup(sockets)
            return
        loop = asyncio.get_running_loop()
        assert sockets is not None

        def connection() -> asyncio.Protocol:
            kind = cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class)
            state = self.server_state
            return kind(config=self.config, server_state=state, app_state={}, _loop=loop)

        self.servers = [self._accepting(sockets, connection)]
        self.started = True

    async def on_tick(self, counter: int) -> bool:
        """Notice, ten times a second, that a lame duck has waited long enough."""
        self._look()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, then let each connection end with its last response."""
        for listening in self.servers:
            listening.close()
        # uvicorn tells only the connections it knows of: first let those become known.
        await asyncio.sleep(_ACCEPTED)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Turn signals into a request to stop, for as long as the server runs."""

        def stop(number: int, frame: FrameType | None) -> None:
            self.ending.tell()
            del number, frame

        if threading.current_thread() is not threading.main_thread():
            yield  # signals are the main thread's; whoever runs a server elsewhere stops it himself
            return
        before = {number: signal.signal(number, stop) for number in self._signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def configured(app: ASGIApp, http: type[asyncio.Protocol]) -> uvicorn.Config:
    """Return the one configuration: our protocol, no header that the answer does not bring."""
    return uvicorn.Config(
        app,
        http=http,
        loop="uvloop",
        lifespan="off",
        ws="none",
        access_log=False,
        date_header=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


async def serve(
    app: ASGIApp,
    http: type[asyncio.Protocol],
    sockets: list[socket.socket],
    then: Callable[[], Awaitable[None]] | None = None,
    *,
    ending: Ending | None = None,
    signals: Sequence[signal.Signals] = STOPPING,
    accepting: Accepting | None = None,
) -> None:
    """Serve until told to stop; `then` runs beside it once connections are accepted.

    What `then` raises ends the server and is raised here.
    """
    server = Server(configured(app, http), ending, signals, accepting)
    serving = asyncio.create_task(server.serve(sockets))
    beside = asyncio.create_task(_beside(server, then))
    await asyncio.wait({serving, beside}, return_when=asyncio.FIRST_COMPLETED)
    if beside.done() and beside.exception() is not None:
        server.should_exit = True
    await serving
    beside.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await beside


async def _beside(server: uvicorn.Server, then: Callable[[], Awaitable[None]] | None) -> None:
    while not server.started:  # noqa: ASYNC110  (uvicorn tells it by an attribute only)
        await asyncio.sleep(0.005)
    if then is not None:
        await then()


def log_plainly() -> None:
    """Log to standard error, warnings and worse of others, information of ours."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("tierlink").setLevel(logging.INFO)
