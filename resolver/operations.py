"""What operators ask: is it alive, is it ready, how does it do.

/healthz  200 while the event loop turns
/readyz   200, or 503 with the list of what is not ready; what is degraded is named in either
/metrics  the Prometheus text format
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from schemas.errors import MethodNotAllowed

from .answers import Answers
from .asgi import JSON, App, Receive, Route, Scope, Send, finish, start
from .metrics import CONTENT_TYPE, Metrics
from .render import encode
from .trust import Verifier

Check = Callable[[], str]  # what is amiss, empty where nothing is

_HEADERS = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]


def routes(metrics: Metrics, unready: Sequence[Check], degraded: Sequence[Check]) -> list[Route]:
    """Return the three routes."""

    def ready() -> tuple[int, bytes, bytes]:
        missing = [text for check in unready if (text := check())]
        view = {"ready": not missing, "unready": missing, "degraded": _said(degraded)}
        return 503 if missing else 200, JSON, encode(view)

    return [
        Route("/healthz", _page(lambda: (200, JSON, b'{"alive":true}'))),
        Route("/readyz", _page(ready)),
        Route("/metrics", _page(lambda: (200, CONTENT_TYPE, metrics.text()))),
    ]


def _said(checks: Sequence[Check]) -> list[str]:
    return [text for check in checks if (text := check())]


def _page(make: Callable[[], tuple[int, bytes, bytes]]) -> App:
    async def made() -> tuple[int, bytes, bytes]:
        return make()

    return page(made)


def page(make: Callable[[], Awaitable[tuple[int, bytes, bytes]]]) -> App:
    """Return what answers with a status, a media type and a body, made anew for each request."""

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["method"] not in {"GET", "HEAD"}:
            raise MethodNotAllowed("this is only read", value="GET, HEAD", fix="use GET")
        status, media_type, body = await make()
        length = (b"content-length", b"%d" % len(body))
        await start(send, status, [(b"content-type", media_type), length, *_HEADERS])
        await finish(send, b"" if scope["method"] == "HEAD" else body)

    return app


def export(metrics: Metrics, answers: Answers, verifier: Verifier, version: str) -> None:
    """Export what the hot path and the verifier count as plain numbers."""
    requests = "tierlink_resolve_requests_total"
    explained = "Answers sent, by where they came from (db: read from the source)."
    metrics.count(requests, explained, lambda: answers.hits, source="l1")
    metrics.count(requests, explained, lambda: answers.served_stale, source="stale")
    passed = "tierlink_cache_passed_total"
    explained = "Kept answers that were not served, by reason."
    metrics.count(passed, explained, lambda: answers.outdated, reason="outdated")
    metrics.count(passed, explained, lambda: answers.expired, reason="expired")
    metrics.count(passed, explained, lambda: answers.lapsed, reason="lease")
    metrics.count(
        "tierlink_cache_misses_total", "Answers looked for in vain.", lambda: answers.misses
    )
    metrics.count(
        "tierlink_cache_evictions_total", "Answers dropped for room.", lambda: answers.evictions
    )
    metrics.gauge("tierlink_cache_entries", "Answers kept.", lambda: len(answers))
    metrics.gauge(
        "tierlink_cache_bytes",
        "Memory of the answers kept.",
        lambda: answers.held + answers.absent_held,
    )
    metrics.count(
        "tierlink_signature_verified_total", "Signatures checked.", lambda: verifier.verified
    )
    metrics.count(
        "tierlink_signature_failed_total",
        "Signatures or delegations refused.",
        lambda: verifier.failed,
    )
    metrics.gauge("tierlink_build_info", "The version that runs.", lambda: 1, version=version)
