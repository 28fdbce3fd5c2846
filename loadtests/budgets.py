"""What a load test may cost, and the exit code that says whether it did not.

    0  within every budget, and every answer was right
    1  a budget exceeded, or a wrong answer
    2  usage
    3  void: the load generator could not keep up, so the figures are its own

A wrong answer counts whatever the budget for errors is: no load excuses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

WITHIN, EXCEEDED, USAGE, VOID = 0, 1, 2, 3
WRONG = "wrong: "  # begins the complaint about an answer that nobody may give, loaded or not


@dataclass(frozen=True)
class Seen:
    """What a run, or a part of one, showed."""

    requests: int
    failures: int
    p95_ms: float
    p99_ms: float

    @property
    def errors(self) -> float:
        """The share of requests that failed."""
        return self.failures / self.requests if self.requests else 0.0


@dataclass(frozen=True)
class Budget:
    """The limits; None is no limit."""

    p95_ms: float | None = None
    p99_ms: float | None = None
    errors: float = 0.0  # share

    def exceeded(self, seen: Seen) -> list[str]:
        """Return a complaint for each limit that was exceeded; a run of nothing exceeds all."""
        if seen.requests == 0:
            return ["nothing was asked"]
        limits = (
            ("p95 ms", seen.p95_ms, self.p95_ms),
            ("p99 ms", seen.p99_ms, self.p99_ms),
            ("errors", seen.errors, self.errors),
        )
        return [
            f"{name} {is_:g} > {may:g}"
            for name, is_, may in limits
            if may is not None and is_ > may
        ]


def percentile(counts: Mapping[int, int], share: float) -> float:
    """Return a percentile of milliseconds counted by their (rounded) value; 0 where there are none.

    The value that `share` of all lie at or below.
    """
    wanted, seen = share * sum(counts.values()), 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= wanted and seen:
            return float(value)
    return 0.0
