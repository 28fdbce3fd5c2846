"""The course of a load over time: functions of (seconds run, peak users, seconds in all).

Each returns (users, users started per second), or None when the run is over. All are pure but
`StepToBreak`, which also looks at what the load has shown so far and so finds the capacity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from loadtests.budgets import Budget, Seen, percentile

Course: TypeAlias = "tuple[int, float] | None"
Shape: TypeAlias = "Callable[[float, int, float], Course]"

STEPS = 8
LOW = 10  # a spike begins and ends with so many times fewer users; so does a day
SETTLING = 0.4  # of a step: users are still being started, connections opened


def ramp(at: float, users: int, seconds: float) -> Course:
    """Rise steadily over the first half, hold for the second."""
    if at >= seconds:
        return None
    return max(1, min(users, round(users * at / (seconds / 2)))), users


def spike(at: float, users: int, seconds: float) -> Course:
    """Send a tenth of the users, all of them for the middle fifth, then a tenth again."""
    if at >= seconds:
        return None
    high = 0.4 <= at / seconds < 0.6  # noqa: PLR2004  (the middle fifth)
    return max(1, users if high else users // LOW), users


def soak(at: float, users: int, seconds: float) -> Course:
    """Hold one load for the whole time, reached gently."""
    return None if at >= seconds else (users, max(1.0, users / 30))


def diurnal(at: float, users: int, seconds: float) -> Course:
    """Go through a day in the given time: from a tenth at night to all at noon and back."""
    if at >= seconds:
        return None
    high = (1 - math.cos(2 * math.pi * at / seconds)) / 2
    return max(1, round(users / LOW + users * (1 - 1 / LOW) * high)), users


def step(at: float, users: int, seconds: float) -> Course:
    """Go up in eight equal steps; `StepToBreak` ends it where a budget breaks."""
    if at >= seconds:
        return None
    return max(1, users * (_number(at, seconds) + 1) // STEPS), users


def _number(at: float, seconds: float) -> int:
    return int(at / seconds * STEPS)


SHAPES: dict[str, Shape] = {
    "ramp": ramp,
    "step": step,
    "spike": spike,
    "soak": soak,
    "diurnal": diurnal,
}


@dataclass(frozen=True)
class Totals:
    """Everything counted since a run began; `times` are requests by rounded milliseconds."""

    requests: int = 0
    failures: int = 0
    times: Mapping[int, int] = field(default_factory=dict)

    def since(self, before: Totals) -> Seen:
        """Return what came after an earlier count."""
        times = {
            value: count - before.times.get(value, 0)
            for value, count in self.times.items()
            if count > before.times.get(value, 0)
        }
        return Seen(
            self.requests - before.requests,
            self.failures - before.failures,
            percentile(times, 0.95),
            percentile(times, 0.99),
        )


@dataclass
class StepToBreak:
    """Goes up step by step until one breaks the budget: the step before it is the capacity.

    A step is judged by its own requests alone, without those of its settling.
    """

    users: int
    seconds: float
    budget: Budget
    held: int = 0  # users of the last step within the budget
    held_rate: float = 0.0  # requests per second there
    broke: int = 0  # users of the step that was not; 0: none did
    why: tuple[str, ...] = ()
    _step: int = 0
    _from: tuple[float, Totals] | None = None

    def tick(self, at: float, totals: Totals) -> Course:
        """Return the course at a time, given what was counted until then."""
        length = self.seconds / STEPS
        if at >= (self._step + 1) * length:
            if self._from is not None:
                self._judge(at, totals)
            if self.broke:
                return None
            self._step, self._from = _number(at, self.seconds), None
        if self._from is None and at >= (self._step + SETTLING) * length:
            self._from = (at, totals)
        return step(at, self.users, self.seconds)

    def _judge(self, at: float, totals: Totals) -> None:
        assert self._from is not None
        began, before = self._from
        seen, users = totals.since(before), max(1, self.users * (self._step + 1) // STEPS)
        why = self.budget.exceeded(seen)
        if why:
            self.broke, self.why = users, tuple(why)
        else:
            self.held, self.held_rate = users, seen.requests / (at - began)

    @property
    def verdict(self) -> str:
        """One line for people."""
        held = (
            f"held {self.held} users at {self.held_rate:,.0f} requests/s"
            if self.held
            else "did not hold the first step"
        )
        if not self.broke:
            return f"{held}; no step broke: go higher with --users"
        return f"{held}; broke at {self.broke} users: {', '.join(self.why)}"
