"""The parent: begins the workers, replaces those that die, renews them, ends them.

    S1  the parent bound the sockets; every worker listens on the same ones. What the kernel has
        accepted waits there for whoever takes it next, so that no connection is lost with a worker
        but those which it had taken itself
    S2  a worker that dies is replaced: at once, and later and later where they die in a row
    S3  renewed (SIGHUP), one after another: the next one serves before the one before it closes
    S4  told to end: all of them are told, and told again whenever the parent is; who has not ended
        in time is killed
    S5  workers that cannot begin at the start of the node end it; later it is tried again

A worker whose parent is gone ends by itself: it sees the channel end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from resolver.metrics import Metrics
from schemas.errors import TierlinkError
from tierlink.ending import Ending, Step

from .backoff import Backoff
from .channel import FORMAT, Kind, Message, pack
from .herald import BEHIND, Herald
from .process import Worker, spawn
from .scraping import merged

START_SECONDS = 60.0  # for a new worker to serve, when workers are renewed
SLACK = 3.0  # seconds beyond its grace in which a worker ends
REPORT_SECONDS = 0.5  # for a worker to tell its metrics
REAP_SECONDS = 0.05  # between two looks who has ended
PARENT = "parent"  # what the parent's own metrics are labelled

_log = logging.getLogger("tierlink.workers")


class NoWorkers(TierlinkError):
    """The workers could not begin; each has said why on standard error."""

    code = "no_workers"
    title = "The workers did not start"


class Supervisor:
    """Keeps so many workers; owned by the event loop of the parent."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        start: Mapping[str, object],
        metrics: Metrics,
        *,
        count: int,
        ending: Ending,
        lasting: float,
    ) -> None:
        """`start` is what a worker is told first; `lasting` the seconds that an ending may take."""
        self._herald: Herald | None = None
        self._sockets = sockets
        self._start = start
        self._metrics = metrics
        self._ending = ending
        self._lasting = lasting + SLACK
        self._numbers = range(1, count + 1)
        self._places: dict[int, Worker] = {}  # by number, whoever serves there or is to
        self._locks = {number: asyncio.Lock() for number in self._numbers}
        self._all: set[Worker] = set()  # those who are leaving, too
        self._renewing = asyncio.Event()
        self._scrapes = 0
        self._scraping: set[asyncio.Task[None]] = set()
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count()

    def _count(self) -> None:
        self._replaced = self._metrics.counter(
            "tierlink_workers_replaced_total", "Workers that died and were replaced."
        )
        self._renewed = self._metrics.counter(
            "tierlink_workers_renewed_total", "Workers that were renewed, one after another."
        )
        for number in self._numbers:
            self._metrics.gauge(
                "tierlink_worker_up",
                "Whether a worker serves in each place.",
                partial(self._up, number),
                place=str(number),
            )

    def _up(self, number: int) -> float:
        return float(number in self._places and self._places[number].serves)

    async def begin(self) -> None:
        """Begin the workers: they load what they need, and wait for `run`."""
        for number in self._numbers:
            self._places[number] = await self._begin(number)

    async def run(self, herald: Herald, greet: Callable[[], None]) -> None:
        """Keep the workers until told to end; `greet` is called when all of them serve."""
        self._herald = herald
        for worker in self._all:
            if worker.joined:
                herald.join(worker.channel)
        self._ending.heard = self._spread
        beside = [self._do(self._reap()), self._do(herald.run())]
        keeping: list[asyncio.Task[None]] = []
        with self._signals():
            try:
                await self._all_serve()
                if not self._over.done():
                    greet()
                    keeping.append(self._do(self._renew()))
                    keeping.extend(self._do(self._keep(number)) for number in self._numbers)
                await self._over
            finally:
                await _cancelled(keeping)
                await self._end()
                await _cancelled([*beside, *self._scraping])

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._ending.tell)
        loop.add_signal_handler(signal.SIGINT, self._ending.tell)
        loop.add_signal_handler(signal.SIGHUP, self._renewing.set)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)

    def _do(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Begin a task that lasts as long as the node."""
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (err := task.exception()) is not None and not self._over.done():
            self._over.set_exception(err)  # nobody would be followed, replaced or renewed any more

    # S1, S5

    async def _begin(self, number: int) -> Worker:
        start = {**self._start, "format": FORMAT, "worker": number}
        worker = await spawn(number, self._sockets, start, self._hear)
        self._all.add(worker)
        if self._ending.step is not Step.SERVING:
            worker.stop(self._ending.step)  # it came too late to be told with the others
        return worker

    async def _all_serve(self) -> None:
        serving = asyncio.gather(*(worker.becomes_ready() for worker in self._places.values()))
        either: list[asyncio.Future[Any]] = [serving, self._over]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not self._over.done() and not all(serving.result()):
            raise NoWorkers("a worker ended before it served")
        serving.cancel()

    # S2

    async def _keep(self, number: int) -> None:
        patience = Backoff()
        while True:
            worker = self._places[number]
            await asyncio.wait([worker.ended])
            lived = worker.lived
            while self._places[number] is worker:  # else it was renewed, or replaced
                pause, code = patience.after(lived), worker.ended.result()
                _log.warning("%r ended with %d, the next begins in %.1f s", worker, code, pause)
                await asyncio.sleep(pause)
                await self._replace(worker)
                lived = 0.0

    async def _replace(self, worker: Worker) -> None:
        async with self._locks[worker.number]:
            if self._places[worker.number] is not worker:
                return
            try:
                self._places[worker.number] = await self._begin(worker.number)
            except OSError as err:  # no room for one more process: it is tried again
                _log.error("worker %d cannot begin: %s", worker.number, err)
            else:
                self._replaced.add()

    async def _reap(self) -> None:
        while True:
            for worker in [worker for worker in self._all if worker.reap()]:
                self._all.discard(worker)
                if self._herald is not None:
                    self._herald.leave(worker.channel)
            if self._ending.step >= Step.CLOSING:
                for bound in self._sockets:
                    bound.close()  # who comes now is refused at once, and goes elsewhere
            await asyncio.sleep(REAP_SECONDS)

    # S3

    async def _renew(self) -> None:
        while True:
            await self._renewing.wait()
            self._renewing.clear()
            _log.info("the workers are renewed, one after another")
            for number in self._numbers:
                if not await self._renew_one(number):
                    break

    async def _renew_one(self, number: int) -> bool:
        async with self._locks[number]:
            try:
                fresh = await self._begin(number)
            except OSError as err:
                _log.error("worker %d is not renewed: %s", number, err)
                return False
            if not await fresh.becomes_ready(START_SECONDS):
                _log.error("%r does not serve, the workers stay as they are", fresh)
                fresh.signal(signal.SIGKILL)
                return False
            old, self._places[number] = self._places[number], fresh
        old.stop(Step.CLOSING)
        await self._see_off({old})
        self._renewed.add()
        return True

    # S4

    def _spread(self) -> None:
        step = self._ending.step
        for worker in self._all:
            worker.stop(step)
        if not self._over.done():
            self._over.set_result(None)

    async def _end(self) -> None:
        if self._ending.step is Step.SERVING:
            self._ending.reach(Step.CLOSING)
        await self._see_off(self._all)

    async def _see_off(self, leaving: set[Worker]) -> None:
        """Wait for the end of workers that were told, and kill those who take too long."""
        ends = {worker.ended: worker for worker in leaving}
        if not ends:
            return
        _, late = await asyncio.wait(ends, timeout=self._lasting)
        for end in late:
            _log.error("%r did not end in %.0f s and is killed", ends[end], self._lasting)
            ends[end].signal(signal.SIGKILL)
        if late:
            await asyncio.wait(late, timeout=SLACK)

    # What workers say

    def _hear(self, worker: Worker, message: Message) -> None:
        match message.kind:
            case Kind.JOIN:
                worker.joined = True
                if self._herald is not None:
                    self._herald.join(worker.channel)
            case Kind.READY:
                worker.ready.set()
            case Kind.HINT:
                if self._herald is not None:
                    self._herald.hint()
            case Kind.SCRAPE:
                assert isinstance(message.body, int)
                scraping = asyncio.ensure_future(self._scrape(worker, message.body))
                self._scraping.add(scraping)
                scraping.add_done_callback(self._scraping.discard)
            case Kind.REPORTED:
                assert isinstance(message.body, list)
                worker.report(*message.body)
            case _:
                _log.error("%r says what only the parent says: %s", worker, message.kind.name)

    async def _scrape(self, asking: Worker, number: int) -> None:
        """Gather the metrics of all who tell them in time, and give them to the one who asked."""
        self._scrapes += 1
        mark = self._scrapes
        reports: dict[str, asyncio.Future[str]] = {}
        asked = [each for each in self._places.values() if each.serves]
        for worker in asked:
            if worker.channel.pending <= BEHIND:
                report = asyncio.get_running_loop().create_future()
                reports[str(worker.number)] = worker.reports[mark] = report
                worker.channel.send(pack(Kind.REPORT, mark))
        if reports:
            await asyncio.wait(reports.values(), timeout=REPORT_SECONDS)
        for worker in asked:
            worker.reports.pop(mark, None)
        told = {name: report.result() for name, report in reports.items() if report.done()}
        text = merged({PARENT: self._metrics.text().decode(), **told})
        asking.channel.send(pack(Kind.SCRAPED, (number, text)))


async def _cancelled(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks, and wait until they are done with."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
