"""The resolver role: what one of its processes is made of, alone or as one of several workers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import cast

from starlette.types import ASGIApp

from registry import prefixes
from registry.store.engine import Store
from resolver.answers import boottime
from resolver.app import Resolver, create_app
from resolver.asgi import Route
from resolver.config import ResolverSettings
from resolver.edge import make_protocol
from resolver.federated import Federated
from resolver.metrics import Metrics
from resolver.native import negotiate
from resolver.outline import Outlining
from resolver.proof import ROUTE as PROOF_ROUTE, ProofRoute
from resolver.shared import Memory
from resolver.trace import Tracer
from resolver.trust import Verifier
from schemas.chain import Trust, trust_document
from schemas.policy import LogPolicy
from tierlink import collecting, server
from tierlink.anchor import follow_root
from tierlink.database import sourced
from tierlink.ending import Ending
from tierlink.neighbourhood import neighbourhood
from tierlink.node import Node, say

REPLAY_LAG = (
    "tierlink_replay_lag_seconds",
    "Seconds that the standby read from was behind its primary; 0 on a primary.",
)


@dataclass(frozen=True, slots=True)
class Manner:
    """In what a process alone differs from one of several workers."""

    follow: Callable[[Resolver], AbstractAsyncContextManager[None]]
    announce: Callable[[], Awaitable[None]]  # once it serves
    routes: Callable[[Resolver], Sequence[Route]] = lambda _: ()
    signals: Sequence[signal.Signals] = server.STOPPING
    accepting: server.Accepting | None = None


async def alone(node: Node, url: str, sockets: list[socket.socket]) -> None:
    """Run a resolver in this process until told to stop."""
    manner = Manner(following, greeting(node, sockets))
    await serve(node, url, sockets, node.ending(), manner)


async def serve(
    node: Node, url: str, sockets: list[socket.socket], ending: Ending, manner: Manner
) -> None:
    """Answer on these sockets, from this database, until the end."""
    async with contextlib.AsyncExitStack() as stack:
        store, source = await stack.enter_async_context(sourced(node, url))
        verifier, metrics = Verifier(await trust(store)), Metrics()
        around = await stack.enter_async_context(neighbourhood(node, source, verifier, metrics))
        reading = Resolver(
            around.source,
            verifier,
            node.resolver,
            memory=memory(node.resolver),
            metrics=metrics,
        )
        reading.metrics.gauge(*REPLAY_LAG, lambda: source.replay_lag)
        app = create_app(
            reading,
            routes=(*manner.routes(reading), *routes(reading)),
            checks=(ending.unready,),
        )
        async with manner.follow(reading):
            door = make_protocol(reading.answers, negotiate, ask=reading.ask)
            beside = partial(
                together, manner.announce, partial(follow_root, store, reading.verifier)
            )
            collecting.settle()
            await server.serve(
                cast("ASGIApp", app),
                door,
                sockets,
                beside,
                ending=ending,
                signals=manner.signals,
                accepting=manner.accepting,
            )


async def together(*works: Callable[[], Awaitable[None]]) -> None:
    """Do works beside each other until all are done, or one fails and ends the others."""
    tasks = [asyncio.ensure_future(work()) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def following(reading: Resolver) -> AsyncIterator[None]:
    """Let a resolver poll the changes by itself."""
    await reading.start()
    try:
        yield
    finally:
        await reading.stop()


def routes(reading: Resolver, tracer: Tracer | None = None) -> tuple[Route, ...]:
    """Return the front ends of a resolver beside the native one.

    Without a `tracer` that speaks to other nodes, traces end at what they serve.
    """
    local = reading.source.local if isinstance(reading.source, Federated) else reading.source
    outlining = local if isinstance(local, Outlining) else None
    tracer = tracer or Tracer(
        reading.source, reading.verifier, boottime, outlining=outlining, kept=reading.kept
    )
    return (
        Route("/v1/trace/", tracer.handle),
        Route(PROOF_ROUTE, ProofRoute(reading.prover)),
    )


def memory(settings: ResolverSettings) -> tuple[Memory, bytes] | None:
    """Return the second cache and the secret of its seals, None where there is none."""
    if settings.redis_url is None or settings.cache_key is None:
        return None
    from resolver.redis_memory import open_memory  # noqa: PLC0415  (an extra)

    secret = settings.cache_key.get_secret_value().encode()
    return open_memory(settings.redis_url.get_secret_value()), secret


async def trust(store: Store) -> Trust:
    """Return the trust in the root of this database."""
    async with store.read() as tx:
        return Trust.parse(bundle(await prefixes.roots(tx), ()))


def bundle(
    roots: Sequence[str], delegations: Iterable[str], policy: LogPolicy | None = None
) -> bytes:
    """Return the trust bundle, as trust.json holds it."""
    return json.dumps(trust_document(roots, delegations, policy), indent=1).encode()


def greeting(node: Node, sockets: list[socket.socket]) -> Callable[[], Awaitable[None]]:
    """Return what prints the line that scripts wait for."""

    async def greet() -> None:
        say(f"tierlink ready {server.url_of(sockets[0], node.node.host)}")

    return greet
