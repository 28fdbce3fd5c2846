"""Delivering: statements of links go to the nodes of their far ends, grants to their grantees'.

One loop for each process that serves the registry (`registry.deliveries`, `registry.handovers`);
two that deliver the same do no harm. Which node somebody lives at is found as any identifier is
resolved: by referral, each step verified.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from registry import deliveries, handovers
from registry.deliveries import Bundle
from registry.handovers import Parcel
from registry.store.engine import Store
from resolver.hops import Post
from resolver.sources import Source
from schemas.canonical import JsonObject
from schemas.errors import PrefixNotFound, TierlinkError, Unavailable, VersionStale
from schemas.identifier import Identifier
from schemas.source import State
from tierlink.client import problem

PERIOD = 1.0  # seconds between two looks at the queue
MAX_BYTES = 64 * 1024  # of the statements of one request

SECONDS = 30.0  # for one request: nobody waits for it, and a hundred statements take their time

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Load:
    """One request: to the node of which identifier, and what becomes of its outcomes."""

    to: Identifier
    path: str
    body: JsonObject
    count: int
    settle: Callable[[Sequence[TierlinkError | None], float], Awaitable[int]]


class Deliverer:
    """Carries what is due; owned by one event loop."""

    def __init__(
        self, store: Store, source: Source, post: Post, clock: Callable[[], float] = time.time
    ) -> None:
        """`source` finds the node of an identifier, `post` speaks to it (`resolver.peers`)."""
        self._store = store
        self._source = source
        self._post = post
        self._clock = clock
        self.delivered = 0
        self.failed = 0

    async def run(self) -> None:
        """Deliver for as long as the node runs."""
        while True:
            try:
                while await self.once():
                    pass
            except TierlinkError as err:
                _log.info("deliveries wait: %s", err)
            await asyncio.sleep(PERIOD)

    async def once(self) -> int:
        """Deliver what is due now; return how many statements and grants were accepted."""
        now = self._clock()
        loads = [
            self._statements(part)
            for bundle in await deliveries.due(self._store, now)
            for part in _parts(bundle)
        ]
        loads += [self._grants(parcel) for parcel in await handovers.due(self._store, now)]
        accepted = await asyncio.gather(*(self._carry(load) for load in loads))
        return sum(accepted)

    def _statements(self, bundle: Bundle) -> _Load:
        body: JsonObject = {
            "assertions": list(bundle.assertions),
            "delegations": list(bundle.delegations),
        }
        to = Identifier.parse(bundle.queued[0].far)
        settle = partial(deliveries.settle, self._store, bundle)
        return _Load(to, "/v1/proposals", body, len(bundle.queued), settle)

    def _grants(self, parcel: Parcel) -> _Load:
        body: JsonObject = {
            "grants": list(parcel.grants),
            "delegations": list(parcel.delegations),
        }
        to = Identifier.parse(f"{parcel.grantee}/-")  # some identifier: it is its node that counts
        settle = partial(handovers.settle, self._store, parcel)
        return _Load(to, "/v1/grants/received", body, len(parcel.queued), settle)

    async def _carry(self, load: _Load) -> int:
        try:
            outcomes = await self._send(load)
        except TierlinkError as err:
            # Of the way there: whatever its status, another attempt may find it open.
            away = err if isinstance(err, Unavailable) else Unavailable(err.detail)
            outcomes = [away] * load.count
        done = await load.settle(outcomes, self._clock())
        self.delivered += done
        self.failed += len(outcomes) - done
        return done

    async def _send(self, load: _Load) -> Sequence[TierlinkError | None]:
        origin = await self._home(load.to)
        reply = await self._post(origin, load.path, load.body, seconds=SECONDS)
        results = reply.get("results")
        if not isinstance(results, list) or len(results) != load.count:
            raise Unavailable(f"{origin} gives no result for each of what it was sent")
        return [_outcome(item) for item in results]

    async def _home(self, far: Identifier) -> str:
        fetched = await self._source.fetch([far], whole=False)
        found = fetched.found.get(far)
        if found is None or found.state in (State.NOWHERE, State.FOREIGN):
            raise PrefixNotFound(f"nobody knows the node of {far.prefix}", value=str(far.prefix))
        if found.elsewhere is None:
            raise Unavailable(f"{far.prefix} is served here by now")
        if found.elsewhere.failure is not None:
            raise found.elsewhere.failure
        return found.elsewhere.origin


def _parts(bundle: Bundle) -> Iterator[Bundle]:
    """Cut a bundle into requests of a size that every node accepts."""
    begin = size = 0
    for at, text in enumerate(bundle.assertions):
        if at > begin and size + len(text) > MAX_BYTES:
            yield _cut(bundle, begin, at)
            begin, size = at, 0
        size += len(text)
    yield _cut(bundle, begin, len(bundle.assertions))


def _cut(bundle: Bundle, begin: int, end: int) -> Bundle:
    return replace(bundle, queued=bundle.queued[begin:end], assertions=bundle.assertions[begin:end])


def _outcome(result: object) -> TierlinkError | None:
    if not isinstance(result, dict):
        return Unavailable("the result is no object")
    status = result.get("status")
    if "state" in result or result.get("code") == VersionStale.code:
        return None  # it has this version, or a newer one
    return problem.error(result, status if type(status) is int else Unavailable.status)
