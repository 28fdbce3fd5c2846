"""A node among others: what it asks them, what it tells them, and in whose name.

Everything here is made for one process that serves the registry, the resolver, or both. A node
whose root is its own and that no delegation leads away from has it too, and never needs it.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from registry import prefixes, received
from registry.keyring import Keyring
from registry.store.engine import Store
from resolver.app import Resolver
from resolver.asgi import Route
from resolver.hopping import ROUTE as HOP_ROUTE, Hopping
from resolver.hops import Hops, Voice
from resolver.openings import Granting
from resolver.outline import Outlining
from resolver.statements import Statements
from resolver.trace import Tracer
from schemas.delegation import RECORD_USE
from schemas.errors import KeyNotHosted, PrefixNotFound, Unauthenticated
from schemas.identifier import Prefix
from tierlink.client import AsyncClient
from tierlink.delivering import Deliverer
from tierlink.joining import Follower, Wish, join
from tierlink.neighbourhood import Neighbourhood
from tierlink.node import Node, say


class Speaker:
    """Signs for a node towards others: for a caller whose key is hosted, else in its own name."""

    def __init__(self, store: Store, keyring: Keyring, own: Prefix | None) -> None:
        """`own` is the prefix that the node speaks by, None where any that it hosts will do."""
        self._store = store
        self._keyring = keyring
        self._own = own

    async def __call__(
        self, caller: Prefix | None, direction: str = "", purpose: str = ""
    ) -> Voice:
        """Return who speaks for a caller, None for nobody; raise KeyNotHosted.

        With him comes what he may go further by in a trace of this direction and purpose.
        """
        async with self._store.read() as tx:
            granted: tuple[str, ...] = ()
            if caller is not None:
                signer, granted = await received.speaking(
                    tx, self._keyring, caller, direction, purpose
                )
                if signer is not None:
                    with contextlib.suppress(PrefixNotFound):
                        chain = await prefixes.chain(tx, caller)
                        return Voice(caller, signer, chain.tokens, caller, granted)
            own = self._own or await self._keyring.somebody(tx, RECORD_USE)
            if own is None:
                raise KeyNotHosted(
                    "this node hosts no key to speak to other nodes with",
                    fix="set TIERLINK_PREFIX to a prefix whose key it hosts",
                )
            speaker = await self._keyring.signer(tx, own, RECORD_USE)
            chain = await prefixes.chain(tx, own)
            return Voice(own, speaker, chain.tokens, received=granted)


def going_on(
    around: Neighbourhood, reading: Resolver, clock: Callable[[], float], speak: Speaker
) -> tuple[Tracer, tuple[Route, ...]]:
    """Return the tracer of a node that goes on at others, and the route by which they come."""
    statements, verifier = Statements(), reading.verifier
    local = around.source.local
    hops = Hops(
        around.place,
        around.peers.post,
        speak,
        local=local,
        everywhere=around.source,
        verifier=verifier,
        statements=statements,
        granting=local if isinstance(local, Granting) else None,
        clock=clock,
    )
    outlining = local if isinstance(local, Outlining) else None
    tracer = Tracer(
        around.source,
        verifier,
        clock,
        statements=statements,
        hops=hops,
        outlining=outlining,
        kept=reading.kept,
    )
    return tracer, (Route(HOP_ROUTE, Hopping(tracer, hops, verifier)),)


@contextlib.asynccontextmanager
async def membership(
    node: Node, store: Store, keyring: Keyring, clock: Callable[[], int]
) -> AsyncIterator[Follower | None]:
    """Join the node of the prefix above, where that is to be and was not done; then follow it."""
    prefix = node.place.joins
    if prefix is None:
        yield None
        return
    here = node.here
    wish = Wish(prefix, node.place.organisation or str(prefix), here)
    async with contextlib.AsyncExitStack() as stack:
        parent = await stack.enter_async_context(
            AsyncClient(node.place.parent_url, api_key=node.place.given_key)
        )
        try:
            new = await join(store, keyring, parent, wish, data_dir=node.node.data_dir, now=clock())
        except Unauthenticated as err:
            raise Unauthenticated(
                f"{node.place.parent_url} does not let us join: {err.detail}",
                fix="set TIERLINK_PARENT_KEY to an API key of the prefix above; it is needed once",
            ) from err
        if new:
            say(f"joined {node.place.parent_url} as the node of {prefix}")
        yield Follower(store, parent, prefix, here, clock)


def deliverer(store: Store, around: Neighbourhood) -> Deliverer:
    """Return who carries statements of links, and grants, to the nodes that they concern."""
    return Deliverer(store, around.source, around.peers.post)


Work = Callable[[], Awaitable[None]]


def works(follower: Follower | None, delivery: Deliverer) -> tuple[Work, ...]:
    """Return what goes on beside serving, among other nodes."""
    return (delivery.run,) if follower is None else (delivery.run, follower.run)
