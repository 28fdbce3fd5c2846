"""Housekeeping: what was kept for a time goes when its time is over, in one process of a node.

    idempotency   first answers, two days after their request
    challenges    nonces that no key can answer any more, after minutes
    changes       what the log and the resolvers have passed, after days (`registry.changes.forget`)

The canary is one row, written over and over: of it nothing is left to sweep. Each chore is done in
pieces of `PIECE` rows, each a transaction of its own, so that no watermark waits for it. One
process leads, by an advisory lock on a connection of its own; the lock is for peace: what two did
at once would be right as well.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial

from registry import changes, idempotency
from registry.store import housekeeping as store, keys as key_store
from registry.store.engine import Store, WriteTx
from schemas.delegation import POSSESSION_SECONDS
from schemas.errors import Unavailable

PIECE = 1_000  # rows of one transaction
PERIOD = 60.0  # seconds between two rounds
RETRY = 5.0  # seconds until a rival, or a node without its database, tries again
REST = 0.02  # seconds between two pieces: whoever registers goes first

_log = logging.getLogger(__name__)


class Housekeeper:
    """Does every chore, again and again; one task of one event loop.

    `swept` counts the rows that are gone, by table; `rounds` those that were finished, `failures`
    those that were not.
    """

    def __init__(
        self, opened: Store, clock: Callable[[], float], *, changes_kept: float, piece: int = PIECE
    ) -> None:
        """Read Unix seconds from `clock`; keep changes for `changes_kept` seconds at least."""
        self._store = opened
        self._clock = clock
        self._piece = piece
        self._chores: Mapping[str, Callable[[WriteTx, float, int], Awaitable[int]]] = {
            "idempotency": idempotency.sweep,
            "challenges": _sweep_challenges,
            "changes": partial(_forget_changes, changes_kept),
        }
        self.swept = dict.fromkeys(self._chores, 0)
        self.rounds = 0
        self.failures = 0

    async def tidy(self) -> None:
        """Do every chore until nothing of it is left; raise Unavailable."""
        for name, chore in self._chores.items():
            while await self._piece_of(name, chore) >= self._piece:  # noqa: ASYNC110  (it polls nothing)
                await asyncio.sleep(REST)
        self.rounds += 1

    async def _piece_of(
        self, name: str, chore: Callable[[WriteTx, float, int], Awaitable[int]]
    ) -> int:
        async with self._store.write() as tx:
            done = await chore(tx, self._clock(), self._piece)
        self.swept[name] += done
        return done

    async def run(self, period: float = PERIOD) -> None:
        """Keep house whenever nobody else does, until cancelled."""
        while True:
            try:
                async with self._store.dedicated() as driver:
                    if await store.lead(driver):
                        await self._lead(driver, period)
            except Unavailable as err:
                self.failures += 1
                _log.info("housekeeping waits: %s", err.detail)
            except Exception:  # noqa: BLE001  (said with its traceback; it must not end the node)
                self.failures += 1
                _log.exception("housekeeping waits")
            await asyncio.sleep(RETRY)

    async def _lead(self, driver: store.Driver, period: float) -> None:
        """Do a round each period, until the connection that holds the lead is lost."""
        while True:
            await self.tidy()
            await asyncio.sleep(period)
            await store.check(driver)


async def _sweep_challenges(tx: WriteTx, now: float, limit: int) -> int:
    before = datetime.fromtimestamp(now - POSSESSION_SECONDS, UTC)
    return await key_store.sweep_challenges(tx, before, limit)


async def _forget_changes(seconds: float, tx: WriteTx, now: float, limit: int) -> int:
    return await changes.forget(tx, seconds, now, limit)
