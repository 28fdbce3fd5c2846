"""When requests are due, whatever the server does: an arrival process, and the run of one.

    O1  the times at which requests are due come from the rate alone, by a Poisson process or evenly
    O2  a request that is due leaves on an idle connection; where there is none it waits its turn
    O3  its latency counts from the time it was due: what it waited for a connection is the server's
    O4  one that fails or is never answered counts with the time it took, and as a failure
    O5  the generator measures itself too: how late it looked at what was due

A closed loop (each user waits for the answer to the last request) asks less while the server is
slow, and so leaves out the very requests that would have waited: coordinated omission.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from loadtests.histogram import Histogram
from loadtests.http1 import Connection, header

SPIN: Final = (
    0.0015  # seconds before a request is due from which on nobody sleeps: timers are coarse
)
SWEEP: Final = 0.05  # seconds between two looks for what takes too long
AGAIN: Final = 0.05  # seconds before a lost connection is opened again
MOST_WAITING: Final = 1_000_000
MOST_SAMPLES: Final = 2_000

clock: Callable[[], float] = time.perf_counter


@dataclass(frozen=True)
class Plan:
    """One run: how fast, for how long, over how many connections."""

    host: str
    port: int
    rate: float  # requests per second
    seconds: float
    connections: int = 64
    warm_up: float = 0.0  # seconds at the same rate before anything counts
    poisson: bool = True
    timeout: float = 10.0
    seed: int = 1


@dataclass(frozen=True)
class Asked:
    """A request and the status that answers it."""

    name: str
    head: bytes  # up to the empty line, which is missing
    status: bytes = b"200"
    conditional: bool = False  # send If-None-Match where an entity tag is known


@dataclass
class Sample:
    """A response that is looked at when the run is over."""

    name: str
    response: bytes


@dataclass
class Figures:
    """What a run showed; durations in microseconds."""

    seconds: float
    latency: Histogram = field(default_factory=Histogram)  # O3
    service: Histogram = field(default_factory=Histogram)  # from sending: hides what waited
    lag: Histogram = field(default_factory=Histogram)  # O5
    statuses: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    offered: int = 0
    in_time: int = 0  # answered as they should be before the run was over

    @property
    def achieved(self) -> float:
        """Good answers per second, while requests came."""
        return self.in_time / self.seconds

    @property
    def failed(self) -> int:
        """Requests that were not answered as they should be."""
        return self.failures.total()


def intervals(rate: float, *, poisson: bool, chance: random.Random) -> Iterator[float]:
    """O1: yield the seconds between one request and the next."""
    while True:
        yield chance.expovariate(rate) if poisson else 1 / rate


class Load:
    """One run against one server; owned by one event loop."""

    def __init__(self, plan: Plan, requests: Iterator[Asked]) -> None:
        """Take a plan, and what to ask for: as long as is needed, it never ends."""
        self._plan = plan
        self._requests = requests
        chance = random.Random(plan.seed)
        self._gaps = intervals(plan.rate, poisson=plan.poisson, chance=chance)
        self._figures = Figures(plan.seconds)
        self._idle: deque[Connection] = deque()
        self._all: set[Connection] = set()
        self._waiting: deque[float] = deque()  # when they were due
        self._tags: dict[str, bytes] = {}
        self._under_way = 0
        self._quiet = asyncio.Event()  # everything is sent, and over
        self._answers = 0
        self._every = max(1, int(plan.rate * plan.seconds / MOST_SAMPLES))
        self._next_due = self._counts_from = self._ends = 0.0
        self._opening: set[asyncio.Task[None]] = set()
        self._sent = self._over = False

    async def run(self) -> Figures:
        """Send everything that becomes due, wait for the answers, and tell."""
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(self._open() for _ in range(self._plan.connections)))
        sweeping = loop.create_task(self._sweep())
        gc.collect()
        gc.disable()  # nothing here makes cycles; a pause would be measured as the server's
        try:
            began = clock() + 0.01
            self._counts_from = began + self._plan.warm_up
            self._ends = self._counts_from + self._plan.seconds
            self._next_due = began + next(self._gaps)
            loop.call_soon(self._turn, loop)
            # Whatever happens, every request is over by its time-out.
            async with asyncio.timeout(self._ends - clock() + 2 * self._plan.timeout + 1):
                await self._quiet.wait()
        finally:
            gc.enable()
            self._over = True
            sweeping.cancel()
            for connection in tuple(self._all):
                connection.close()
            for task in tuple(self._opening):
                task.cancel()
        return self._figures

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send what is due, and come again when the next one is."""
        now = clock()
        while self._next_due <= now:
            due = self._next_due
            if due >= self._ends:
                self._sent = True
                self._settle()
                return
            self._next_due = due + next(self._gaps)
            if due >= self._counts_from:
                self._figures.offered += 1
                self._figures.lag.record((now - due) * 1e6)
            self._under_way += 1
            self._leave(due)
        left = min(self._next_due, self._ends) - clock()
        if left > SPIN:
            loop.call_later(left - SPIN, self._turn, loop)
        else:
            loop.call_soon(self._turn, loop)

    def _leave(self, due: float) -> None:
        # O2
        if self._idle:
            self._send(self._idle.popleft(), due)
        elif len(self._waiting) < MOST_WAITING:
            self._waiting.append(due)
        else:
            self._finish(due, 0.0, "too many waiting")

    def _send(self, connection: Connection, due: float) -> None:
        asked = next(self._requests)
        request = asked.head + b"\r\n"
        if asked.conditional and (tag := self._tags.get(asked.name)):
            request = b"%sIf-None-Match: %s\r\n\r\n" % (asked.head, tag)
        connection.ask(request, asked, due, clock())

    def _answered(self, connection: Connection, response: bytes) -> None:
        asked, status = connection.asked, response[9:12]
        assert isinstance(asked, Asked)
        right = status == asked.status or (status == b"304" and asked.conditional)
        self._finish(
            connection.due, connection.sent, "" if right else f"status {status.decode('latin-1')}"
        )
        if connection.due >= self._counts_from:
            self._figures.statuses[status.decode("latin-1")] += 1
            self._answers += 1
            if self._answers % self._every == 0:
                self._figures.samples.append(Sample(asked.name, response))
        if asked.conditional and status == b"200":
            tag = header(response, b"etag")
            if tag is not None:
                self._tags[asked.name] = tag
        if connection.closing:
            connection.close()
        else:
            self._next(connection)

    def _next(self, connection: Connection) -> None:
        """Give an idle connection what waits longest."""
        if self._waiting:
            self._send(connection, self._waiting.popleft())
        else:
            self._idle.append(connection)

    def _finish(self, due: float, sent: float, complaint: str) -> None:
        # O3, O4
        self._under_way -= 1
        self._settle()
        if due < self._counts_from:
            return
        now, figures = clock(), self._figures
        figures.latency.record((now - due) * 1e6)
        if sent:
            figures.service.record((now - sent) * 1e6)
        if complaint:
            figures.failures[complaint] += 1
        elif now <= self._ends:
            figures.in_time += 1

    def _settle(self) -> None:
        if self._sent and not self._under_way:
            self._quiet.set()

    def _lost(self, connection: Connection, why: str) -> None:
        self._all.discard(connection)
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)
        if connection.busy:
            self._finish(connection.due, connection.sent, why)
        if not self._over:
            task = asyncio.get_running_loop().create_task(self._open_again())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self) -> None:
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(self._answered, self._lost), self._plan.host, self._plan.port
        )
        self._all.add(connection)
        self._next(connection)

    async def _open_again(self) -> None:
        while not self._over:
            try:
                await self._open()
            except OSError:
                await asyncio.sleep(AGAIN)
            else:
                return

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            self._give_up()

    def _give_up(self) -> None:
        # O4
        late = clock() - self._plan.timeout
        while self._waiting and self._waiting[0] < late:
            self._finish(self._waiting.popleft(), 0.0, "timed out before it was sent")
        for connection in tuple(self._all):
            if connection.busy and connection.due < late:
                connection.abort("timed out")
