"""Ends waits that last too long, many at a time: one timer for all that began together.

A timer for each wait costs more than the wait itself, where nearly all of them end in time.
"""

from __future__ import annotations

import asyncio
from typing import Any, Generic, TypeVar

T = TypeVar("T")

GROUPS = 10  # that a span is cut into: a wait may last a tenth longer

Group = set["asyncio.Future[T | None]"]


class Patience(Generic[T]):
    """For one event loop: nobody waits longer than `seconds` and a tenth of it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._group: Group[T] = set()
        self._until = -1.0  # until then whoever comes joins this group

    def group(self) -> Group[T]:
        """Return those who begin to wait now: for the waits of one request, one after another."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now >= self._until:
            self._group, self._until = set(), now + self._seconds / GROUPS
            loop.call_at(self._until + self._seconds, _end, self._group)
        return self._group


async def wait(flight: asyncio.Future[T], group: Group[T]) -> T | None:
    """Return the result of a flight that others wait for too; None where it took too long.

    Whoever is cancelled leaves the flight to the others.
    """
    waiter: asyncio.Future[T | None] = asyncio.get_running_loop().create_future()

    def landed(flight: asyncio.Future[T]) -> None:
        if not waiter.done():
            waiter.set_result(flight.result())

    flight.add_done_callback(landed)
    group.add(waiter)
    try:
        return await waiter
    finally:
        group.discard(waiter)


def _end(group: set[asyncio.Future[Any]]) -> None:
    for waiter in group:
        if not waiter.done():
            waiter.set_result(None)
