"""The housekeeping of a node, wired; and /metrics of a registry that has no resolver beside it."""

from __future__ import annotations

import time
from functools import partial

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from registry.config import Settings
from registry.housekeeping import Housekeeper
from registry.store.engine import Store
from resolver.metrics import CONTENT_TYPE, Metrics


def housekeeper(store: Store, settings: Settings, metrics: Metrics) -> Housekeeper:
    """Return who keeps house on a database, counted in these metrics."""
    made = Housekeeper(store, time.time, changes_kept=settings.changes_kept)
    for table in made.swept:
        metrics.count(
            "tierlink_swept_total",
            "Rows deleted because their time was over.",
            partial(made.swept.__getitem__, table),
            table=table,
        )
    metrics.count(
        "tierlink_housekeeping_rounds_total", "Rounds of housekeeping.", lambda: made.rounds
    )
    metrics.count(
        "tierlink_housekeeping_failures_total",
        "Rounds of housekeeping that could not be finished.",
        lambda: made.failures,
    )
    return made


class Measured:
    """An ASGI application, and /metrics beside it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer GET and HEAD of /metrics, and pass on the rest."""
        if scope.get("path") == "/metrics" and scope.get("method") in ("GET", "HEAD"):
            page = Response(self._metrics.text(), headers={"content-type": CONTENT_TYPE.decode()})
            await page(scope, receive, send)
        else:
            await self._app(scope, receive, send)
