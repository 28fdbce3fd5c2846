"""Asking a source for its changes, again and again: steps F1, F2 and F6 of `freshness`.

What is done with a batch is for a subclass: `Freshness` applies it to the answers of its process,
and the poller that the workers of one host share hands it on to them.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable

from schemas.change import REPLAYED, Batch, Watermark
from schemas.errors import TierlinkError

from .metrics import Metrics
from .sources import Source

MIN_PAUSE = 0.01  # between two polls, however many hints come


class Poller(ABC):
    """Owns the watermark up to which a source was followed; one task of one event loop."""

    def __init__(
        self,
        source: Source,
        clock: Callable[[], float],
        *,
        lease: float,
        period: float,
        metrics: Metrics,
    ) -> None:
        self._source = source
        self._clock = clock
        self._lease = lease
        self._period = period
        self._hinted = asyncio.Event()
        self._begun = ""  # the history whose last changes were asked for
        self.watermark: Watermark | None = None
        self.failure = ""  # why the last poll that failed did
        self._polls = metrics.counter("tierlink_polls_total", "Polls of the changes.")
        self._failures = metrics.counter("tierlink_poll_failures_total", "Polls that failed.")

    @abstractmethod
    def apply(self, batch: Batch, asked_at: float, *, floor: int | None = None) -> None:
        """Take what a poll sent at `asked_at` returned, and move the watermark.

        `floor`, where a history begins, or where the source told that it does not keep all changes
        since our watermark: the batch has every change from this position on, and nothing that was
        read below it may be trusted.
        """

    def missed(self, err: Exception) -> None:
        """F6: take note that a poll failed; it moves nothing."""
        self._failures.add()
        hint = f" ({err.fix})" if isinstance(err, TierlinkError) and err.fix else ""
        self.failure = f"{str(err) or type(err).__name__}{hint}"

    def hint(self) -> None:
        """Poll soon: something is said to have changed."""
        self._hinted.set()

    async def hinted(self) -> None:
        """Wait for the next hint, where somebody else polls."""
        await self._hinted.wait()
        self._hinted.clear()

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            began = self._clock()
            await self.poll()
            await self._pause(self._period - (self._clock() - began))

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(MIN_PAUSE)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hinted.wait(), max(0.0, seconds - MIN_PAUSE))
        self._hinted.clear()

    async def poll(self) -> bool:
        """Follow the changes once; tell whether that renewed the lease."""
        # F1
        asked_at = self._clock()
        self._polls.add()
        # F2: a hung source ends this poll, not the following of changes
        try:
            async with asyncio.timeout(self._lease / 2):
                batch = await self._source.changes(self.watermark)
                batch, floor = await self._replayed(batch)
        except Exception as err:  # noqa: BLE001  (whatever a driver raises, the loop goes on)
            self.missed(err)
            return False
        self.apply(batch, asked_at, floor=floor)
        return not batch.more

    async def _replayed(self, batch: Batch) -> tuple[Batch, int | None]:
        """Where a history begins, ask for its last changes too; tell from where on all are there.

        With them, what others read before we came can be told from what changed since: a second
        cache is of use from the start. Tried once for each history, so that changes which take
        too long to list cost one poll, and not the following.
        """
        now, known = batch.watermark, self.watermark
        if now.epoch == self._begun or (known is not None and known.epoch == now.epoch):
            return batch, batch.floor
        self._begun = now.epoch
        since = Watermark(now.epoch, max(0, now.position - REPLAYED))
        replay = await self._source.changes(since)
        if replay.more or replay.watermark.epoch != now.epoch:
            return batch, None
        return replay, since.position if replay.floor is None else replay.floor
