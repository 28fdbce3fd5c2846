"""A worker's side of freshness: the parent asks, the worker applies.

    W1  a batch which follows the one applied last is applied as if this process had asked for it,
        at the time at which the parent did
    W2  any other (the first, and one after a gap) begins anew: nothing kept is served, nothing is
        trusted that was read below its watermark, or below the floor it tells
    W3  a time that has not come yet is no time of this host's clock: the lease counts from now
    W4  nothing else renews a lease. A silent parent, a dead one, a channel that is full, a worker
        that was stopped: the lease runs out by itself

So whatever is lost or late on the channel, an answer is as old at most as if this process polled.
"""

from __future__ import annotations

from collections.abc import Callable

from resolver.answers import boottime
from resolver.freshness import Freshness
from schemas.change import Watermark

from .channel import Handed


class Following:
    """Applies what the parent hands on to the answers of this process."""

    def __init__(self, freshness: Freshness, clock: Callable[[], float] = boottime) -> None:
        self._freshness = freshness
        self._clock = clock
        self._last: Watermark | None = None

    def take(self, handed: Handed) -> None:
        """Apply one batch; steps W1 to W3."""
        anew = handed.after is None or handed.after != self._last
        self._last = handed.batch.watermark
        asked_at = min(handed.asked_at, self._clock())
        self._freshness.apply(handed.batch, asked_at, floor=handed.floor, anew=anew)

    def watch(self) -> None:
        """Take note of a lease that ran out; to be called now and then."""
        self._freshness.lapse("the process that follows the changes is silent")
