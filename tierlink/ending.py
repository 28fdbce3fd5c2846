"""How a node comes to its end: step by step, so that nobody's request is lost.

    SERVING    until it is told
    LAME_DUCK  for a while /readyz answers 503 and all else is answered as before: whoever spreads
               the requests has time to send them elsewhere
    CLOSING    no more connections; the last response of each one says so; what is under way is
               finished within the grace
    AT_ONCE    nobody is waited for

Each time it is told again, the rest of the present step is skipped. Only ever forward.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from math import inf


class Step(enum.IntEnum):
    """Where a node stands between serving and its end."""

    SERVING = 0
    LAME_DUCK = 1
    CLOSING = 2
    AT_ONCE = 3


class Ending:
    """The step that a node is in. Told by signal handlers and by the event loop of one thread."""

    def __init__(self, lame_duck: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        """`lame_duck` is in seconds; 0 goes from serving to closing."""
        self._seconds = lame_duck
        self._clock = clock
        self._until = inf
        self._step = Step.SERVING
        self.heard: Callable[[], None] = lambda: None  # called whenever a step was taken

    @property
    def step(self) -> Step:
        """The step of now: a lame duck ends by itself."""
        if self._step is Step.LAME_DUCK and self._clock() >= self._until:
            self._step = Step.CLOSING
        return self._step

    def tell(self) -> None:
        """Take the next step."""
        self.reach(Step(min(self.step + 1, Step.AT_ONCE)))

    def reach(self, step: Step) -> None:
        """Take every step up to this one, and none back."""
        if step > self.step:
            self._step = step
            self._until = self._clock() + self._seconds
            self.heard()

    def unready(self) -> str:
        """Say, to whoever asks whether requests may come, that they had better not."""
        return "" if self.step is Step.SERVING else "node: it is coming to its end"
