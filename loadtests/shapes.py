"""The course of a load over time: pure functions of (seconds run, peak users, seconds in all).

Each returns (users, users started per second), or None when the run is over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Shape: TypeAlias = "Callable[[float, int, float], tuple[int, float] | None]"

STEPS = 8


def ramp(at: float, users: int, seconds: float) -> tuple[int, float] | None:
    """Rise steadily over the first half, hold for the second."""
    if at >= seconds:
        return None
    return max(1, min(users, round(users * at / (seconds / 2)))), users


def step(at: float, users: int, seconds: float) -> tuple[int, float] | None:
    """Go up in eight equal steps: the one at which budgets break is the capacity."""
    if at >= seconds:
        return None
    return max(1, users * (int(at / seconds * STEPS) + 1) // STEPS), users


def spike(at: float, users: int, seconds: float) -> tuple[int, float] | None:
    """Send a tenth of the users, all of them for the middle fifth, then a tenth again."""
    if at >= seconds:
        return None
    high = 0.4 <= at / seconds < 0.6  # noqa: PLR2004  (the middle fifth)
    return max(1, users if high else users // 10), users


def soak(at: float, users: int, seconds: float) -> tuple[int, float] | None:
    """Hold one load for the whole time, reached gently."""
    return None if at >= seconds else (users, max(1.0, users / 30))


SHAPES: dict[str, Shape] = {"ramp": ramp, "step": step, "spike": spike, "soak": soak}
