"""Reading on a standby as if it were the primary: the read index.

A standby that replays late would tell what was, without knowing it. So before each reading

    P1  the primary is asked how far its log is flushed: every write that anybody was told of, or
        has seen there, lies before that place
    P2  the standby is asked until it has replayed that place, for a short while
    P3  only then it is read; what it says is of the history of the place, or it is not said

A reading is then as young as one of the primary that began at P1: whatever lag there is shows as
time, never as age, and no clocks are compared. Where the primary cannot be asked, or the standby
does not get there, nobody knows how old it is, and it says nothing (Unavailable).

A node that is no standby any more, because it was promoted, is asked for nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import asyncpg

from registry.store import replay
from registry.store.engine import Store
from registry.store.replay import Place
from schemas.errors import Unavailable

PATIENCE = 0.2  # seconds for the standby to get there
_FIRST, _LONGEST = 0.001, 0.02  # seconds between two looks


class Primary:
    """The primary of the standby that is read from; knows how far behind the standby was."""

    def __init__(
        self,
        store: Store,
        *,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._patience = patience
        self._clock = clock
        self._reached_at = clock()
        self._lag: float | None = 0.0  # None: it did not get there

    @property
    def lag(self) -> float:
        """Seconds that the standby took to reach the primary's place, or since it last did."""
        return self._clock() - self._reached_at if self._lag is None else self._lag

    async def place(self) -> Place | Unavailable:
        """P1: return the place to reach, or why it is not known."""
        try:
            async with self._store.statement() as driver:
                found = await replay.place(driver)
        except Unavailable as err:
            return Unavailable(f"the primary of this standby: {err.detail}")
        if found is None:
            return Unavailable(
                "TIERLINK_PRIMARY_URL names a standby, not the primary",
                retry_after=5,
                fix="name all nodes, with target_session_attrs=read-write",
            )
        return found

    async def reached(
        self, driver: asyncpg.Connection[Any], place: Place | Unavailable
    ) -> Place | None:
        """P2: wait until this connection's server has replayed a place; None on a primary."""
        began, pause = self._clock(), _FIRST
        target = "0/0" if isinstance(place, Unavailable) else place.lsn
        while True:
            standby, there = await replay.replayed(driver, target)
            now = self._clock()
            if not standby:
                self._lag, self._reached_at = 0.0, now
                return None
            if isinstance(place, Unavailable):
                self._lag = None
                raise place
            if there:
                self._lag, self._reached_at = now - began, now
                return place
            if now - began >= self._patience:
                self._lag = None
                raise Unavailable("this standby is behind its primary")
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST)
