"""The resolver as an ASGI application: the routes in one list, the error edge around them.

`Resolver` owns what lives as long as the process: the cache, the task that follows the changes,
the counters. Nothing of a request passes through a framework.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from urllib.parse import unquote

from schemas.change import Change
from schemas.errors import MethodNotAllowed, NotFound, TierlinkError

from . import operations
from .answers import Answers, Message, boottime
from .asgi import App, Receive, Route, Scope, Send
from .batch import Batch
from .config import ResolverSettings
from .edge import Ask, Told
from .federated import Federated
from .freshness import Freshness
from .iterative import Iterative
from .kept import Kept
from .lookup import Lookup
from .metrics import Metrics
from .native import Native, Request, negotiate
from .operations import Check
from .page import Pages, qr_maker
from .prover import Prover
from .render import Renderer
from .shared import Memory, Shared
from .sources import Source
from .trust import Verifier
from .welcome import Welcome

_log = logging.getLogger(__name__)


class Resolver:
    """One resolver in one event loop."""

    def __init__(
        self,
        source: Source,
        verifier: Verifier,
        settings: ResolverSettings,
        *,
        clock: Callable[[], float] = boottime,
        wall: Callable[[], float] = time.time,
        memory: tuple[Memory, bytes] | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """`memory` is the second cache and the secret under which its entries are sealed."""
        self.source = source
        self.verifier = verifier
        self.metrics = metrics or Metrics()
        self.answers = Answers(settings.cache_bytes, clock, wall)
        self.kept = Kept(self.answers, negotiate, settings.lease)
        self.freshness = Freshness(
            source,
            self.answers,
            clock,
            lease=settings.lease,
            period=settings.poll_period,
            metrics=self.metrics,
        )
        federated = source if isinstance(source, Federated) else None
        self.lookup = Lookup(
            source if federated is None else federated.local,
            verifier,
            self.answers,
            lease=settings.lease,
            timeout=settings.fetch_timeout,
            clock=clock,
            metrics=self.metrics,
            federated=federated,
        )
        self.referrals = (
            None
            if federated is None
            else Lookup(
                federated.local,
                verifier,
                self.answers,
                lease=settings.lease,
                timeout=settings.fetch_timeout,
                clock=clock,
                guard=self.lookup.guard,
                iterative=Iterative(federated.place, clock, wall),
            )
        )
        self.prover = Prover(source, settings.fetch_timeout)
        self.renderer = Renderer(
            Pages(settings.public_url, qr_maker()),
            public_url=settings.public_url,
            stale_for=settings.stale_if_error,
            clock=clock,
            wall=wall,
        )
        self.shared = (
            None
            if memory is None
            else Shared(
                *memory,
                self.answers,
                timeout=settings.redis_timeout,
                clock=clock,
                wall=wall,
                metrics=self.metrics,
            )
        )
        self.ask: Ask = _nobody
        operations.export(self.metrics, self.answers, verifier, version("tierlink"))
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Poll once, then follow the changes; a source that is away is asked again and again."""
        await self.freshness.poll()
        self._task = asyncio.create_task(self.freshness.run(), name="follow the changes")

    async def stop(self) -> None:
        """Cease to follow the changes."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        if self.shared is not None:
            await self.shared.close()

    def never_followed(self) -> str:
        """Say what keeps this resolver from being ready."""
        if self.freshness.ready:
            return ""
        why = f": {self.freshness.failure}" if self.freshness.failure else ""
        return f"freshness: the changes were never followed yet{why}"

    def not_followed(self) -> str:
        """Say what makes it read through, or serve stale answers marked as such."""
        if self.freshness.current or not self.freshness.ready:
            return ""
        return f"freshness: the changes have not been followed for {self.freshness.age:.1f} s"


def create_app(
    resolver: Resolver,
    *,
    routes: Sequence[Route] = (),
    checks: Sequence[Check] = (),
    degraded: Sequence[Check] = (),
) -> App:
    """Return the application.

    `routes` are further front ends, asked first; each of `checks` says what else is not ready,
    and nothing when it is; each of `degraded` what else is amiss without being in the way.
    `resolver.ask` is for the edge from then on.
    """
    native = Native(
        resolver.lookup,
        resolver.answers,
        resolver.renderer,
        lambda: resolver.freshness.age,
        resolver.metrics,
        prover=resolver.prover,
        shared=resolver.shared,
        referrals=resolver.referrals,
    )

    def heard(changes: Sequence[Change]) -> None:
        for change in changes:
            resolver.lookup.guard.know(change.about)
        native.prefetch.heard(changes)

    resolver.freshness.heard = heard
    everything = (
        *routes,
        Route("/v1/resolve", Batch(resolver.lookup, resolver.answers, resolver.renderer)),
        *operations.routes(
            resolver.metrics, [resolver.never_followed, *checks], [resolver.not_followed, *degraded]
        ),
        Route("/v1/", _nothing_here),
        Route("/", Welcome(resolver.renderer)),
    )

    # What the edge asks for begins with a digit (`Blocks.question`).
    beside = [route for route in everything if route.path[1:2].isdigit()]

    def ask(target: bytes, variant: int, told: Told) -> bool:
        path = unquote(target)
        return not any(route.fits(path) for route in beside) and native.ask(target, variant, told)

    resolver.ask = ask if beside else native.ask

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        app = next((route.app for route in everything if route.fits(path)), native)
        await app(scope, receive, send)

    return error_edge(dispatch, resolver.renderer)


def _nobody(_target: bytes, _variant: int, _told: Told) -> bool:
    return False


async def _nothing_here(scope: Scope, _receive: Receive, _send: Send) -> None:
    raise NotFound("there is no such call", value=scope["path"], fix="the calls are at /docs")


def error_edge(app: App, renderer: Renderer) -> App:
    """Translate what an application raises, once: a problem document, or a page for people.

    An error in the middle of a response can only end it.
    """

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await app(scope, receive, sending)
        except TierlinkError as err:
            if begun:
                raise
            await _refuse(renderer, scope, send, err)
        except Exception:
            # Nobody outside learns more than the number under which the log has it.
            incident = secrets.token_hex(4)
            _log.exception("incident %s: %s %s", incident, scope["method"], scope["path"])
            if begun:
                raise
            await _refuse(renderer, scope, send, TierlinkError(f"incident {incident}"))

    return guarded


async def _refuse(renderer: Renderer, scope: Scope, send: Send, error: TierlinkError) -> None:
    request = Request.read(scope)
    fields: list[tuple[bytes, bytes]] = []
    if isinstance(error, MethodNotAllowed):
        fields.append((b"allow", str(error.value).encode()))  # what is allowed is what it names
    for message in renderer.problem(error, request.problem_form(), fields).asgi(request.method):
        await send(message)
