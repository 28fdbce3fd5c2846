"""How long to wait before a dead worker is replaced: not at all, unless they die in a row."""

from __future__ import annotations

SHORT_LIFE = 5.0  # seconds; a worker that served longer did not die of how it begins
FIRST, LONGEST = 0.2, 10.0  # seconds of waiting


class Backoff:
    """Counts the short lives in a row of the workers in one place."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def after(self, lived: float) -> float:
        """Return how many seconds to wait after a worker that lived for so long."""
        if lived >= SHORT_LIFE:
            self._in_a_row = 0
            return 0.0
        self._in_a_row += 1
        return min(LONGEST, FIRST * 2.0 ** (self._in_a_row - 1))
