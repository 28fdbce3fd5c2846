"""The parent's side of freshness: one poll of the changes for all workers of a host.

H1  poll as a process of its own would (`resolver.polling`), and apply nothing
H2  hand each batch on with the time at which it was asked for, and with the watermark of the
batch before it, so that a worker notices a gap
H3  who joins is given the watermark of now, as an empty batch: what he read before he knew it
is worth nothing
H4  a poll that fails is not told of; leases run out by themselves
H5  who does not take what he is given is passed over until he does: he finds the gap then,
and nobody waits for him
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from resolver.answers import boottime
from resolver.metrics import Metrics
from resolver.polling import Poller
from resolver.sources import Source
from schemas.change import Batch, Change, Watermark

from .channel import Handed

BEHIND = 1024 * 1024  # bytes that a worker has not taken, after which it is passed over
RECENT = 10_000  # changes that a worker is told when it joins


class Hearer(Protocol):
    """Where a batch goes to: the channel of a worker."""

    @property
    def pending(self) -> int:
        """Bytes sent and not taken."""
        ...

    def send(self, message: bytes) -> None:
        """Send without waiting."""
        ...


class Herald(Poller):
    """Follows a source for others; owned by the event loop of the parent."""

    def __init__(
        self,
        source: Source,
        clock: Callable[[], float] = boottime,
        *,
        lease: float = 0.6,
        period: float = 0.15,
        metrics: Metrics | None = None,
    ) -> None:
        metrics = metrics or Metrics()
        super().__init__(source, clock, lease=lease, period=period, metrics=metrics)
        self._hearers: set[Hearer] = set()
        self._standing: Handed | None = None  # for who joins, but for the changes …
        self._recent: deque[Change] = deque()  # … which are all those …
        self._floor = 0  # … from this position on
        self._passed_over = metrics.counter(
            "tierlink_workers_passed_over_total",
            "Batches of changes that a worker was not given, because it did not take the last.",
        )

    def join(self, hearer: Hearer) -> None:
        """H3: hand everything to a worker from now on, what it begins with first."""
        self._hearers.add(hearer)
        standing = self._standing
        if standing is not None:
            batch = replace(standing.batch, changes=tuple(self._recent))
            hearer.send(replace(standing, batch=batch, floor=self._floor).pack())

    def leave(self, hearer: Hearer) -> None:
        """Hand nothing more to a worker."""
        self._hearers.discard(hearer)

    def apply(self, batch: Batch, asked_at: float, *, floor: int | None = None) -> None:
        """H2: hand a batch on."""
        found, known = batch.watermark, self.watermark
        if known is None or known.epoch != found.epoch or batch.floor is not None:
            known = None  # nobody has what this batch follows
            self._recent.clear()
            self._floor = found.position if floor is None else floor
        else:  # a node that is behind the last one takes nothing back
            found = Watermark(found.epoch, max(known.position, found.position))
        self.watermark = found
        self._remember(batch.changes)
        handed = Handed(known, replace(batch, watermark=found), asked_at, floor)
        self._standing = replace(handed, after=None)
        message = handed.pack()
        for hearer in self._hearers:
            if hearer.pending > BEHIND:  # H5
                self._passed_over.add()
            else:
                hearer.send(message)
        if batch.more:
            self.hint()

    def _remember(self, changes: Sequence[Change]) -> None:
        """Keep the last changes; where one of a position goes, nobody is told of the others."""
        self._recent.extend(changes)
        while len(self._recent) > RECENT:
            self._floor = self._recent[0].position + 1
            while self._recent and self._recent[0].position < self._floor:
                self._recent.popleft()
