"""Sends a canary ahead once a second: how stale resolvers are is measured by it.

A row of its own table and not of `changes`: the outbox keeps what it is given for ever, the log
would have to pass over it, and no answer depends on a canary. Each is a transaction like that of
any other write, so the watermark of a resolver passes it exactly as it passes a change.
"""

from __future__ import annotations

import asyncio
import logging

from registry.store import canary
from registry.store.engine import Store
from schemas.errors import Unavailable

PERIOD = 1.0  # seconds

_log = logging.getLogger(__name__)


async def sing(store: Store, period: float = PERIOD) -> None:
    """Write the canary until cancelled; of several registries on one database, one does."""
    silent = False
    while True:
        try:
            async with store.write() as tx:
                await canary.write(tx, period / 2)
            silent = False
        except Unavailable as err:
            if not silent:
                _log.warning("the canary is silent, staleness is not measured: %s", err)
            silent = True
        await asyncio.sleep(period)
