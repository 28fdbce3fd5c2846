"""Recursive resolution: one's own source first, then the nodes that serve what is elsewhere.

    R1  the local source is asked first, always; what it does not call FOREIGN is its answer
    R2  what is FOREIGN begins at the nearest referral: the one that came with it, or a deeper one
        that is remembered, or the node of the root
    R3  one request for each node and batch, all nodes at the same time; what a node says is judged
        (`resolver.referral`), and is an answer, or the referral to the next node
    R4  a referral is remembered for as long as the node allows that gave it, so that the next walk
        goes straight to the node it names; where that leads astray it is forgotten, and the walk
        begins anew, once
    R5  whoever fails, fails for what he was asked alone: each identifier ends in an outcome, by
        the deadline at the latest (State.UNREACHABLE, with the node and the reason)

An answer may be kept for the authority's `ttl`, one that there is nothing for 30 seconds of it at
most, and none longer than the delegations that it rests on are valid.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from math import inf

from schemas.answer import MAX_LINKS
from schemas.change import Batch, Watermark
from schemas.disclosure import Marked
from schemas.errors import PeerFailed, PeerUnreachable, TierlinkError, Unavailable, VerifyError
from schemas.identifier import Identifier, Prefix
from schemas.link import SIDES
from schemas.source import Edges, Elsewhere, Fetched, Found, Proved, State
from schemas.viewer import ANYBODY, Near, Viewer
from schemas.when import NOW, When

from .answers import boottime
from .metrics import Counter, Metrics
from .peers import BATCH, Peers
from .referral import E_HOME, E_STALE, LAME, Homes, Misled, Place, Referral, Walk, nearest
from .sources import Source
from .trust import Offered, Verifier

SECONDS = 3.5  # for a whole walk: two slow nodes, and some
NEGATIVE = 30  # seconds that there is nothing may be kept at most
SLICE = 16  # outcomes that are judged between two pauses: verifying takes the processor
MOST_ASSERTIONS = MAX_LINKS * len(SIDES)  # of one identifier: what an honest node sends

_POSITIVE = frozenset({State.FOUND, State.COVERED, State.RETIRED})
_ASTRAY = frozenset({E_HOME, E_STALE, LAME})  # what an outdated referral leads to

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Told:
    """What came of one request: identifiers that are done, and walks that go on."""

    done: tuple[Found, ...]
    further: tuple[Walk, ...] = ()


class Federated:
    """A source that asks other nodes for what its own source has not; for one event loop."""

    def __init__(
        self,
        local: Source,
        verifier: Verifier,
        peers: Peers,
        place: Place,
        *,
        seconds: float = SECONDS,
        clock: Callable[[], float] = boottime,
        wall: Callable[[], float] = time.time,
        metrics: Metrics | None = None,
    ) -> None:
        """`clock` is that of the answers, `wall` tells Unix seconds."""
        self.local = local
        self._verifier = verifier
        self._peers = peers
        self.place = place
        self._seconds = seconds
        self._clock = clock
        self._wall = wall
        self._homes = Homes()
        metrics = metrics or Metrics()
        self._hops = metrics.counter(
            "tierlink_referrals_total", "Identifiers that one node referred to another."
        )
        name, explained = "tierlink_recursions_total", "Identifiers of other nodes, by outcome."
        self._outcomes: dict[bool, Counter] = {
            True: metrics.counter(name, explained, outcome="answered"),
            False: metrics.counter(name, explained, outcome="failed"),
        }
        metrics.gauge(
            "tierlink_homes_known", "Referrals that are remembered.", lambda: len(self._homes)
        )

    # The seam: what only the local source can say

    async def edges(
        self,
        level: Sequence[Near],
        direction: str,
        limit: int,
        viewer: Viewer = ANYBODY,
        *,
        when: When = NOW,
    ) -> Edges:
        """Return the links that this node itself has."""
        return await self.local.edges(level, direction, limit, viewer, when=when)

    async def disclosures(self, versions: Sequence[tuple[Identifier, int]]) -> tuple[Marked, ...]:
        """Return what records hide that live here; other nodes show theirs to whoever asks them."""
        return await self.local.disclosures(versions)

    async def caller(self, authorization: str) -> Prefix:
        """Return the prefix that an API key of this node speaks for."""
        return await self.local.caller(authorization)

    async def prove(self, identifier: Identifier, at: int | None = None) -> Proved:
        """Return what the log of this node proves."""
        return await self.local.prove(identifier, at)

    async def changes(self, after: Watermark | None) -> Batch:
        """Return the changes of this node."""
        return await self.local.changes(after)

    async def fetch(
        self, identifiers: Sequence[Identifier], *, whole: bool = True, viewer: Viewer = ANYBODY
    ) -> Fetched:
        """Return what this node or the nodes that serve them know of identifiers.

        What came from another node says so (`Found.elsewhere`); verified delegations of the
        prefixes that it is under are added to those of the local source.
        """
        # R1
        fetched = await self.local.fetch(identifiers, whole=whole, viewer=viewer)
        found = dict(fetched.found)
        tokens = dict.fromkeys(fetched.delegations)
        came: dict[int, Offered] = {}  # by reply: each has one tuple of delegations
        async with aclosing(self.abroad(fetched, whole=whole)) as parts:
            async for part in parts:
                for item in part:
                    found[item.identifier] = item
                    if item.elsewhere is not None and item.state in _POSITIVE:
                        sent = item.elsewhere.delegations
                        offered = came.get(id(sent)) or self._verifier.offered(sent)
                        came[id(sent)] = offered
                        tokens.update(dict.fromkeys(offered.known(item.identifier.prefix).tokens))
        return replace(fetched, found=found, delegations=tuple(tokens))

    # The walk

    async def abroad(
        self, fetched: Fetched, *, whole: bool = True
    ) -> AsyncGenerator[Sequence[Found], None]:
        """Yield what other nodes say of all that a local reading calls FOREIGN, as it comes.

        Each of these identifiers comes once, unless there is nobody else to ask; each part is of
        one reply, or of failures.
        """
        walks, settled = self._begin(fetched)
        if settled:
            yield settled
        pending: dict[asyncio.Task[_Told], Sequence[Walk]] = {}
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._seconds
        try:
            self._send(walks, pending, whole=whole)
            while pending:
                done, _ = await asyncio.wait(
                    pending,
                    timeout=max(0.0, deadline - loop.time()),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not done:
                    yield [found for walks in pending.values() for found in map(self._late, walks)]
                    return
                for task in done:
                    del pending[task]
                    told = task.result()
                    self._send(told.further, pending, whole=whole)
                    if told.done:
                        yield told.done
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    # R2

    def _begin(self, fetched: Fetched) -> tuple[list[Walk], list[Found]]:
        walks: list[Walk] = []
        settled: list[Found] = []
        offered: Offered | None = None
        for identifier, found in fetched.found.items():
            if found.state is State.FOREIGN:
                offered = offered or self._verifier.offered(fetched.delegations)
                try:
                    first = nearest(identifier, offered, self.place, self._wall())
                except VerifyError as err:
                    _log.error("the referral of %s does not verify: %s", identifier, err)
                    settled.append(_failed(identifier, "", _unverified(err)))
                    continue
                if first is not None:
                    walks.append(self._walk(identifier, first))
        return walks, settled

    def _walk(self, identifier: Identifier, first: Referral) -> Walk:
        known = self._homes.nearest(identifier.prefix, self._clock())
        if known is not None and len(known.prefix.labels) > len(first.prefix.labels):
            return Walk(identifier, known, begun=first)
        return Walk(identifier, first)

    # R3

    def _send(
        self,
        walks: Iterable[Walk],
        pending: dict[asyncio.Task[_Told], Sequence[Walk]],
        *,
        whole: bool,
    ) -> None:
        by_origin: dict[str, list[Walk]] = {}
        for walk in walks:
            by_origin.setdefault(walk.at.origin, []).append(walk)
        for origin, several in by_origin.items():
            for part in _slices(several, BATCH):
                task = asyncio.create_task(self._ask(origin, part, whole=whole))
                pending[task] = part

    async def _ask(self, origin: str, walks: Sequence[Walk], *, whole: bool) -> _Told:
        asked_at = self._clock()
        try:
            fetched = await self._peers.ask(
                origin, [walk.identifier for walk in walks], whole=whole
            )
        except PeerFailed as err:
            # What led there is kept: nobody above is to be asked more because one below fails.
            return _Told(tuple(self._lost(walk, err) for walk in walks))
        except Exception:  # noqa: BLE001  (whatever it is, others in the batch are not to suffer)
            _log.exception("asking %s failed", origin)
            error = PeerFailed(origin, "asking it failed", reason="internal")
            return _Told(tuple(self._lost(walk, error) for walk in walks))
        offered = self._verifier.offered(fetched.delegations)
        done: list[Found] = []
        further: list[Walk] = []
        for number, walk in enumerate(walks):
            if number % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            outcome = self._judge(walk, fetched, offered, asked_at)
            if isinstance(outcome, Walk):
                further.append(outcome)
            else:
                done.append(outcome)
        return _Told(tuple(done), tuple(further))

    def _judge(
        self, walk: Walk, fetched: Fetched, offered: Offered, asked_at: float
    ) -> Found | Walk:
        try:
            found = _said(walk.identifier, fetched)
            told = walk.heard(found, offered, self.place, self._wall())
        except Misled as err:
            return self._misled(walk, err)
        if isinstance(told, Walk):
            # R4
            self._hops.add()
            until = self._until(fetched.ttl, told.at, asked_at)
            if until > self._clock():
                self._homes.learn(told.at, until)
            return told
        self._outcomes[True].add()
        ttl = fetched.ttl if found.state in _POSITIVE else min(fetched.ttl, NEGATIVE)
        # Who waits for it may have it, also where nobody may keep it.
        until = max(self._until(ttl, told, asked_at), self._clock())
        came = Elsewhere(walk.at.origin, fetched.delegations, until)
        return replace(found, elsewhere=came)

    def _until(self, ttl: int, referral: Referral, asked_at: float) -> float:
        """Return until when something may be kept, on our clock."""
        left = inf if referral.until == inf else referral.until - self._wall()
        return min(asked_at + ttl, self._clock() + left)

    def _misled(self, walk: Walk, error: Misled) -> Found | Walk:
        self._homes.forget(walk.at)
        if walk.begun is not None and error.reason in _ASTRAY:
            return Walk(walk.identifier, walk.begun)
        return self._lost(
            walk,
            PeerFailed(
                walk.at.origin, f"{walk.identifier}: {error.detail}"[:400], reason=error.reason
            ),
        )

    # R5

    def _lost(self, walk: Walk, error: PeerFailed) -> Found:
        self._outcomes[False].add()
        _log.warning("%s did not help with %s: %s", walk.at.origin, walk.identifier, error)
        return _failed(walk.identifier, walk.at.origin, error)

    def _late(self, walk: Walk) -> Found:
        return self._lost(
            walk, PeerUnreachable(walk.at.origin, "the walk took too long", reason="timeout")
        )


def part_of(fetched: Fetched, part: Sequence[Found]) -> Fetched:
    """Return one part of what `abroad` yields as a reading of its own.

    It is as old as the local reading, and is verified by nothing but what came with it.
    """
    came = part[0].elsewhere
    delegations = () if came is None else came.delegations
    found = {item.identifier: item for item in part}
    return replace(fetched, found=found, delegations=delegations)


def _said(identifier: Identifier, fetched: Fetched) -> Found:
    """Return what a reply has of one identifier; raise Misled."""
    found = fetched.found.get(identifier)
    if found is None:
        raise Misled("passed_over", "it passed over the identifier")
    if len(found.assertions) > MOST_ASSERTIONS:
        raise Misled("too_large", f"it sends over {MOST_ASSERTIONS} statements of links")
    return found


def _failed(identifier: Identifier, origin: str, error: TierlinkError) -> Found:
    return Found(identifier, State.UNREACHABLE, elsewhere=Elsewhere(origin, (), 0.0, error))


def _unverified(error: VerifyError) -> Unavailable:
    return Unavailable(
        f"the referral to the node of this prefix does not verify ({error.code})", retry_after=5
    )


def _slices(walks: Sequence[Walk], size: int) -> Iterator[Sequence[Walk]]:
    for at in range(0, len(walks), size):
        yield walks[at : at + size]
