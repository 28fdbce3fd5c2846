"""Freshness: follows the changes of a source, so that nothing older than the bound is served.

    F1  take the time, before the source is asked
    F2  ask for the changes since our watermark; the reply carries the new one
    F3  another epoch, or none before: drop everything, and ask for the last changes of that history
        once; what was read below the first of them is never trusted, and where they are more than
        fit a batch, nothing that was read before now. Drop everything also where the source does
        not keep all changes since our watermark: only what was read above its floor is trusted
    F4  touch the buckets of every change
    F5  only then move the watermark, and renew the lease from the time of F1; a batch that was cut
        short moves the watermark alone, and the next poll comes at once
    F6  whatever fails moves neither; the lease runs out by itself

An answer is then at most lease + age of the oldest open write + replica lag old (operations.md
§3.5). A hint makes the next poll come earlier; nothing depends on it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from math import inf

from schemas.change import Batch, Change, Watermark

from . import tags
from .answers import Answers, boottime
from .canary import Canaries
from .metrics import Metrics
from .polling import Poller
from .sources import Source

_log = logging.getLogger(__name__)


class Freshness(Poller):
    """Owns the watermark and the lease of one Answers; one task, of the same event loop.

    `heard` is called with the changes of each whole batch, once they are applied.
    """

    def __init__(
        self,
        source: Source,
        answers: Answers,
        clock: Callable[[], float] = boottime,
        *,
        lease: float = 0.6,
        period: float = 0.15,
        metrics: Metrics | None = None,
    ) -> None:
        metrics = metrics or Metrics()
        super().__init__(source, clock, lease=lease, period=period, metrics=metrics)
        self._answers = answers
        self._asked_at = -inf  # of the last poll that succeeded
        self._lost = False
        self._canaries = Canaries(clock, metrics)
        self.heard: Callable[[Sequence[Change]], None] = lambda _: None
        self._count(metrics)

    def _count(self, metrics: Metrics) -> None:
        self._applied = metrics.counter("tierlink_changes_applied_total", "Changes applied.")
        self._lapses = metrics.counter(
            "tierlink_lease_expired_total", "Leases that ran out before they were renewed."
        )
        self._restarts = metrics.counter(
            "tierlink_epochs_total", "Histories begun: the first one, a restore, a fail-over."
        )
        metrics.gauge(
            "tierlink_watermark_lag_seconds",
            "Seconds since the changes were last followed.",
            lambda: self.age if self.ready else -1,
        )
        metrics.gauge("tierlink_lease_seconds", "Length of a lease.", lambda: self._lease)

    @property
    def ready(self) -> bool:
        """Tell whether a poll ever succeeded."""
        return self.watermark is not None

    @property
    def current(self) -> bool:
        """Tell whether the lease holds."""
        return self._clock() < self._answers.fresh_until

    @property
    def age(self) -> float:
        """Seconds for which the changes have not been followed."""
        return self._clock() - self._asked_at

    def missed(self, err: Exception) -> None:
        """F6: take note that a poll failed; the lease runs out by itself."""
        super().missed(err)
        self.lapse(f"{type(err).__name__}: {err}")

    def lapse(self, why: str) -> None:
        """Take note, once, of a lease that ran out."""
        if self.ready and not self.current and not self._lost:
            self._lost = True
            self._lapses.add()
            _log.warning("the lease ran out, reading through: %s", why)

    def apply(
        self, batch: Batch, asked_at: float, *, floor: int | None = None, anew: bool = False
    ) -> None:
        """Apply what a poll sent at `asked_at` returned; steps F3 to F5.

        `anew`: changes before it may have been missed, so nothing read below it is trusted, or
        nothing below `floor`, from where on the batch has them all.
        """
        found, known = batch.watermark, self.watermark
        # F3
        anew = anew or batch.floor is not None
        if anew or known is None or known.epoch != found.epoch:
            self._answers.restart(found.epoch, found.position if floor is None else floor)
            self.watermark = known = found
            self._canaries.begin(batch.canary)
            self._restarts.add()
        # F4
        for change in batch.changes:
            for tag in tags.of_change(change):
                self._answers.touch(tag, change.position)
        self._applied.add(len(batch.changes))
        # F5: a node that is behind the last one takes nothing back
        self.watermark = Watermark(found.epoch, max(known.position, found.position))
        lease = self._answers.fresh_until if batch.more else asked_at + self._lease
        self._answers.advance(self.watermark.position, lease, changed=bool(batch.changes))
        self._canaries.take(batch.canary, asked_at, self.watermark.position)
        if batch.more:
            self.hint()
            return
        self._asked_at = asked_at
        self.heard(batch.changes)
        if self._lost:
            self._lost = False
            _log.info("the changes are followed again")
