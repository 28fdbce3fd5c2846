"""How stale answers really are: the canary of the registry, and when this process has passed it.

Once a second the registry writes one row, its canary, in a transaction of its own. A poll tells the
newest canary that its snapshot shows: the position of its transaction, and how long before the
snapshot it was written, by the clock of the database. From the moment at which the watermark here
passes that position, nothing is served that does not know the canary:

    staleness ≤ its age at the snapshot + what the poll took from its asking to its applying

Both terms are differences of one clock each, so no clocks are compared; only on a standby is the
age the difference of two machines' clocks, and as true as they agree. A canary that the snapshot
shows and the watermark has not passed waits for an older transaction that is still open.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from schemas.change import Canary

from .metrics import Metrics

BOUNDS = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.5, 5.0, 10.0)
_WAITING = 64  # canaries behind one open transaction that are kept in mind


class Canaries:
    """Measures one follower of changes; owned by its event loop."""

    def __init__(self, clock: Callable[[], float], metrics: Metrics) -> None:
        self._clock = clock
        self._newest = -1  # the last position that was told
        self._waiting: deque[tuple[int, float]] = deque(maxlen=_WAITING)  # position, written at
        self._staleness = metrics.histogram(
            "tierlink_staleness_seconds",
            "Between the write of a canary and its being applied here, at most.",
            BOUNDS,
        )
        metrics.gauge(
            "tierlink_open_write_seconds",
            "How long an open transaction has held the watermark back, as canaries tell.",
            lambda: self._clock() - self._waiting[0][1] if self._waiting else 0,
        )

    def begin(self, told: Canary | None) -> None:
        """Begin with a history: what was written before says nothing of how we follow."""
        self._waiting.clear()
        self._newest = -1 if told is None else told.position

    def take(self, told: Canary | None, asked_at: float, watermark: int) -> None:
        """Take what a poll told that was sent at `asked_at` and is applied up to `watermark`."""
        if told is not None and told.position > self._newest:
            self._newest = told.position
            self._waiting.append((told.position, asked_at - told.age))
        while self._waiting and self._waiting[0][0] < watermark:
            _, written = self._waiting.popleft()
            self._staleness.observe(self._clock() - written)
