"""A trace across nodes: what lives elsewhere is walked there, and comes back as sealed parts.

    J1  of the nodes a level found, those that another node serves leave the walk: nothing that is
        here says what they are made of. One request for each node that serves some of them. What
        the walk begins with is asked for there and walked here; what is met where no depth or no
        room is left is asked for nowhere, and named as cut short (`budget`)
    J2  in whose name: the caller's, where his key is hosted here, else nobody's in particular. What
        the other node then shows is decided by the grants of its own holders
    J3  depth, nodes and deadline that are left go along, less a reserve for the way back; and the
        openings of what the caller was granted elsewhere, so that who granted it knows him
    J4  what comes back is read as `resolver.parts` says; what cannot be had is named as broken:
        denied, timeout, unreachable, or the verdict
    J5  meanwhile this walk goes on with what is here. So a trace over three nodes takes three
        requests one behind the other, however many levels it has

Received, a request is checked (`schemas.hop`, H1 to H4), then:

    J6  an entry that this trace was here for already is not walked again: `cycle`
    J7  the walk of the entries goes on from here in the same way, for who asks, within what is
        left; what came along to open further tiers goes along again, unchanged
    J8  who shows by an opening that a holder of what was found granted him something has the walk
        of the entries a second time, as he is shown it, in a box that he alone opens. Nobody is
        asked twice for the same, and nobody else is asked in his name
    J9  the part is sealed by a prefix that this node holds
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Protocol

from schemas.canonical import JsonObject
from schemas.claims import Members
from schemas.errors import (
    BadQuery,
    PeerFailed,
    PeerUnreachable,
    TierlinkError,
    Unavailable,
    VerifyError,
)
from schemas.hop import (
    MAX_HOP_DEPTH,
    MAX_HOP_NODES,
    Hop,
    Seal,
    asked,
    check_hop,
    digest_of,
    parse_hop,
)
from schemas.identifier import Identifier, Prefix
from schemas.keys import Signer
from schemas.link import LIFECYCLES, SIDES, TYPES
from schemas.source import State
from schemas.viewer import Viewer
from schemas.when import When, read_moment

from .answers import boottime
from .openings import NOTHING, Carried, Door, Granting, Purse, passed_on
from .parts import Asking, Part, Reader
from .peers import SECONDS
from .referral import Place, nearest
from .sources import Source
from .statements import Statements
from .trust import Verifier
from .walk import BUDGET, MAX_SECONDS, TIMEOUT, Broken, Budget, Only, Walk

PATH = "/v1/traces/hop"
DENIED, UNREACHABLE, CYCLE = "denied", "unreachable", "cycle"

MAX_ENTRIES = 1_000  # of one request
# What is kept back of the seconds that are left, for the way back and for reading what came.
RESERVE, SHARE = 0.1, 0.1  # seconds at least, and of what is left
HOME_SECONDS = 30.0  # for which it is remembered which node serves a prefix
HOME_RENEWED = 300.0  # after these still, while it is found out anew for those who come next
HOMES = 16_384  # prefixes of which it is
SEEN = 65_536  # entries of traces that are remembered against loops
SEEN_SECONDS = 120.0
_MILLISECONDS = 1_000


class Post(Protocol):
    """Speaks to another node (`resolver.peers`); raises PeerFailed."""

    def __call__(
        self, origin: str, path: str, body: JsonObject, *, seconds: float | None = None
    ) -> Awaitable[JsonObject]:
        """Return the reply to a body posted to a path of a node, which has so many seconds."""


@dataclass(frozen=True, slots=True)
class Voice:
    """Who speaks to other nodes: a prefix that is held here, its key, and the chain to it.

    `subject` is on whose behalf, None where that is nobody in particular. `received` are the grants
    of holders elsewhere that the caller has, and that fit the question.
    """

    issuer: Prefix
    signer: Signer
    chain: tuple[str, ...]
    subject: Prefix | None = None
    received: tuple[str, ...] = ()


def kept_back(left: float) -> float:
    """Return what may be used of the seconds that are left."""
    return left - max(RESERVE, left * SHARE)


class Speak(Protocol):
    """Finds who speaks to other nodes."""

    def __call__(
        self, caller: Prefix | None, direction: str = "", purpose: str = ""
    ) -> Awaitable[Voice]:
        """Return who speaks for a caller, None for nobody, in a trace; raise KeyNotHosted."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """What one request brought: parts, and at which depth of our walk its entries are."""

    depth: int
    parts: tuple[Part, ...]
    reply: JsonObject


@dataclass(frozen=True, slots=True)
class Continuation:
    """Where a walk may go on: at which node, from what, and how far."""

    identifier: Identifier
    node: str
    depth: int

    def view(self) -> JsonObject:
        """Return the members on the wire."""
        return {"identifier": self.identifier.text, "node": self.node, "depth": self.depth}


@dataclass(frozen=True, slots=True)
class Luggage:
    """What a walk carries to further nodes: openings that came along, or such of its own.

    Not `named`, it goes on in nobody's name, whoever it is walked for.
    """

    carried: Carried = NOTHING
    purse: Purse | None = None
    named: bool = True

    def open(self, voice: Voice, walk: Walk) -> Carried:
        """J3: return what goes along with a request."""
        if self.purse is None or not voice.received:
            return self.carried
        viewer = walk.viewer
        return self.purse.open(voice.received, viewer.trace, walk.direction, viewer.purpose)


class Hops:
    """Speaks to other nodes about traces; for one event loop."""

    def __init__(
        self,
        place: Place,
        post: Post,
        speak: Speak,
        *,
        local: Source,
        everywhere: Source,
        verifier: Verifier,
        statements: Statements,
        granting: Granting | None = None,
        clock: Callable[[], float] = boottime,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`local` is what this node has itself, `everywhere` what it finds out by asking others.

        `granting` knows what holders here granted, None where there are none.
        """
        self.door = Door(granting)
        self.place = place
        self._post = post
        self._speak = speak
        self._local = local
        self._everywhere = everywhere
        self._verifier = verifier
        self._reader = Reader(verifier, statements, place)
        self.clock = clock
        self.wall = wall
        self._homes: dict[Prefix, tuple[str, float]] = {}
        self._renewing: set[asyncio.Task[None]] = set()
        self._seen: dict[tuple[str, str], float] = {}

    # J1

    async def split(self, nodes: Iterable[Identifier]) -> dict[str, list[Identifier]]:
        """Sort nodes by the base URL of the node that serves them; empty is this one."""
        waiting = list(nodes)
        await self._learn({item.prefix: item for item in waiting})
        found: dict[str, list[Identifier]] = {}
        for item in waiting:
            home, _ = self._homes.get(item.prefix, ("", 0.0))
            found.setdefault(home, []).append(item)
        return found

    async def _learn(self, samples: dict[Prefix, Identifier]) -> None:
        now = self.clock()
        unknown, known = [], []
        for prefix, item in samples.items():
            home, until = self._homes.get(prefix, ("", -inf))
            if until + HOME_RENEWED < now:
                unknown.append(item)
            elif until < now:
                known.append(item)
                self._homes[prefix] = (home, now + HOME_SECONDS)  # nobody else finds it out
        if known:
            task = asyncio.get_running_loop().create_task(self._renew(known, now))
            self._renewing.add(task)
            task.add_done_callback(self._renewing.discard)
        if unknown:
            await self._find_out(unknown, now)

    async def _renew(self, known: Sequence[Identifier], now: float) -> None:
        # What cannot be found out is asked again by who meets it when it is over.
        with contextlib.suppress(TierlinkError):
            await self._find_out(known, now)

    async def _find_out(self, unknown: Sequence[Identifier], now: float) -> None:
        if len(self._homes) >= HOMES:
            self._homes.clear()
        fetched = await self._local.fetch(unknown, whole=False)
        offered = self._verifier.offered(fetched.delegations)
        far: list[Identifier] = []
        for item in unknown:
            if fetched.found[item].state is not State.FOREIGN:
                self._homes[item.prefix] = ("", now + HOME_SECONDS)
                continue
            told = nearest(item, offered, self.place, self.wall())
            if told is None or told.prefix != item.prefix:
                far.append(item)  # who serves it, only others know
            else:
                self._homes[item.prefix] = (told.origin, now + HOME_SECONDS)
        if far:
            await self._ask_around(far, now)

    async def _ask_around(self, far: Sequence[Identifier], now: float) -> None:
        fetched = await self._everywhere.fetch(far, whole=False)
        for item in far:
            elsewhere = fetched.found[item].elsewhere
            origin = "" if elsewhere is None or elsewhere.failure is not None else elsewhere.origin
            self._homes[item.prefix] = (origin, now + HOME_SECONDS)

    # J2, J3, J4

    async def ask(
        self,
        origin: str,
        entries: Sequence[Identifier],
        walk: Walk,
        deadline: float,
        luggage: Luggage,
    ) -> tuple[tuple[Part, ...], JsonObject]:
        """Let another node walk on; raise PeerFailed, VerifyError, KeyNotHosted or Unavailable."""
        viewer = walk.viewer
        caller = viewer.prefix if luggage.named else None
        voice = await self._speak(caller, walk.direction, viewer.purpose)
        carried = luggage.open(voice, walk)
        left = kept_back(deadline - self.clock())
        if left <= 0:
            raise PeerUnreachable(origin, "no time is left to ask it", reason=TIMEOUT)
        request: JsonObject = {
            "entries": [item.text for item in entries],
            "delegations": list(voice.chain),
        }
        if walk.only.types:
            request["types"] = [*sorted(walk.only.types)]
        if walk.only.lifecycles:
            request["lifecycle"] = [*sorted(walk.only.lifecycles)]
        request |= _moments(walk.only.when)
        now = self.wall()
        request["token"] = Hop(
            viewer.trace,
            voice.issuer,
            origin,
            asked(request),
            walk.direction,
            walk.depth_left,
            walk.nodes_left,
            int(now),
            int((now + left) * _MILLISECONDS),
            voice.subject,
            viewer.purpose,
            carried.openings,
            carried.until,
        ).sign(voice.signer)
        try:
            # The node goes on itself, and is back before `left` is over: so long it is waited for.
            # One that had less than a node has otherwise is not held to have failed by that.
            async with asyncio.timeout(left):
                reply = await self._post(
                    origin, PATH, request, seconds=max(SECONDS, left - RESERVE / 2)
                )
        except TimeoutError as err:
            raise PeerUnreachable(origin, "it did not answer in time", reason=TIMEOUT) from err
        question = Asking(origin, viewer.trace, walk.direction, carried.keys)
        parts = self._reader.read(reply, question)
        return tuple(_only(part, walk.only) for part in parts), reply

    # J6

    def first(self, trace: str, entry: Identifier) -> bool:
        """Tell whether a trace comes here by an entry for the first time; remember that it did."""
        now, key = self.clock(), (trace, entry.text)
        if self._seen.get(key, 0.0) > now:
            return False
        if len(self._seen) >= SEEN:
            self._seen = {item: until for item, until in self._seen.items() if until > now}
            if len(self._seen) >= SEEN:
                self._seen.clear()
        self._seen[key] = now + SEEN_SECONDS
        return True

    # J9

    async def seal(self, trace: str, part: JsonObject) -> tuple[str, tuple[str, ...]]:
        """Return the seal of a part, and the chain to who sealed it."""
        voice = await self._speak(None)
        seal = Seal(trace, voice.issuer, self.place.here, int(self.wall()), digest_of(part))
        return seal.sign(voice.signer), voice.chain


class Journey:
    """The requests of one walk to other nodes; owned by its task."""

    def __init__(
        self,
        hops: Hops,
        deadline: float,
        *,
        onward: bool = True,
        luggage: Luggage | None = None,
        elsewhere: Collection[Identifier] = (),
    ) -> None:
        """Not `onward`, nobody is asked: where to go on is noted, for the caller to do it.

        Without `luggage` the walk begins here. What is `elsewhere` is being asked for by another.
        """
        self._onward = onward
        self._elsewhere = frozenset(elsewhere)
        self._luggage = luggage
        self.continuations: list[Continuation] = []
        self._hops = hops
        self._deadline = deadline
        self._under_way: dict[asyncio.Task[tuple[tuple[Part, ...], JsonObject]], _Asked] = {}
        self.left: set[Identifier] = set()
        self.asked: set[Identifier] = set()
        self.broken: list[Broken] = []
        self.arrived: list[Arrived] = []

    async def depart(self, walk: Walk, *, stay: bool = False) -> None:
        """J1: let those of the frontier leave that other nodes serve.

        What a walk begins with may `stay` besides: who asks here is perhaps an end of its links,
        and the other node knows nothing of him.
        """
        if not walk.frontier:
            return
        for origin, nodes in (await self._hops.split(walk.frontier)).items():
            if not origin:
                continue
            if walk.depth_left < 1 or walk.nodes_left < 1:
                self.broken += [Broken(node, BUDGET, origin) for node in nodes]
                continue
            if not stay:
                walk.leave(nodes)
                self.left.update(nodes)
            nodes = [node for node in nodes if node not in self._elsewhere]  # noqa: PLW2901
            if not self._onward:
                self.continuations += [
                    Continuation(node, origin, walk.depth_left) for node in nodes
                ]
                continue
            for at in range(0, len(nodes), MAX_ENTRIES):
                entries = nodes[at : at + MAX_ENTRIES]
                work = self._hops.ask(origin, entries, walk, self._deadline, self._packed())
                self.asked.update(entries)
                task = asyncio.get_running_loop().create_task(work)
                self._under_way[task] = _Asked(origin, tuple(entries), walk.depth)

    def _packed(self) -> Luggage:
        """J3: return what goes along; of a walk that begins here openings of its own."""
        if self._luggage is None:
            until = self._hops.wall() + self._deadline - self._hops.clock()
            self._luggage = Luggage(purse=Purse(until))
        return self._luggage

    @property
    def stayed(self) -> bool:
        """Tell whether nothing ever left for another node, or was to be asked for there."""
        gone = self._under_way or self.arrived or self.broken or self.left
        return not (gone or self.continuations)

    @property
    def away(self) -> bool:
        """Tell whether something is still to come."""
        return bool(self._under_way)

    async def next(self) -> list[Arrived]:
        """Wait until something comes, and return it; what failed is added to `broken`."""
        done, _ = await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
        found: list[Arrived] = []
        for task in done:
            asked_for = self._under_way.pop(task)
            try:
                parts, reply = task.result()
            except TierlinkError as err:
                code = reason(err)
                self.broken += [Broken(item, code, asked_for.origin) for item in asked_for.entries]
            else:
                found.append(Arrived(asked_for.depth, parts, reply))
        self.arrived += found
        return found

    async def finish(self) -> None:
        """Wait for everything that is still to come."""
        while self._under_way:
            await self.next()

    def cancel(self) -> None:
        """Give up what is still to come."""
        for task in self._under_way:
            task.cancel()


@dataclass(frozen=True, slots=True)
class _Asked:
    origin: str
    entries: tuple[Identifier, ...]
    depth: int


def reason(error: TierlinkError) -> str:
    """J4: return the word for why another node's part is missing."""
    if isinstance(error, VerifyError):
        return error.code
    if isinstance(error, PeerFailed):
        return error.reason if error.reason in (TIMEOUT, DENIED) else UNREACHABLE
    return UNREACHABLE if isinstance(error, Unavailable) else error.code


@dataclass(frozen=True, slots=True)
class Received:
    """A request of another node, checked as far as it can be without its chain."""

    hop: Hop
    entries: tuple[Identifier, ...]
    only: Only
    raw: JsonObject = field(repr=False)

    @property
    def luggage(self) -> Luggage:
        """J7: what came along."""
        return Luggage(passed_on(self.hop))

    def walk(self, entries: Sequence[Identifier], grantee: Prefix | None = None) -> Walk:
        """Return the walk that goes on from some of its entries, for whom it is or a grantee."""
        hop = self.hop
        nodes = min(hop.nodes, MAX_HOP_NODES)
        budget = Budget(min(hop.depth, MAX_HOP_DEPTH), nodes)
        viewer = Viewer(grantee or hop.subject, hop.purpose, hop.trace)
        return Walk(entries[0], hop.direction, budget, self.only, viewer, beside=entries[1:])

    def seconds(self, now: float) -> float:
        """Return how long the walk may take, by the Unix time of now."""
        left = kept_back(self.hop.deadline / _MILLISECONDS - now)
        return max(0.0, min(left, MAX_SECONDS))


def receive(request: JsonObject, verifier: Verifier, place: Place, now: float) -> Received:
    """Take steps H1 to H4 for a request; raise BadQuery or VerifyError."""
    members = Members(request, BadQuery)
    entries = members.array("entries", MAX_ENTRIES, _identifier)
    if not entries or len(set(entries)) != len(entries):
        raise members.fail("entries", "names nothing, or something twice")
    only = Only(
        frozenset(members.array("types", len(TYPES), _word(TYPES))),
        frozenset(members.array("lifecycle", len(LIFECYCLES), _word(LIFECYCLES))),
        _when(members),
    )
    delegations = members.array("delegations", 64, _text)
    envelope, hop = parse_hop(members.take("token"))
    members.done()
    known = verifier.offered(delegations).known(hop.issuer)
    check_hop(envelope, hop, known.chain, request, here=place.here, now=now)
    if hop.direction not in SIDES:
        raise members.fail("token", "has no direction", hop.direction)
    return Received(hop, entries, only, request)


def _moments(when: When) -> JsonObject:
    """Return the times that are asked about: RFC 3339, or Unix seconds beyond what that writes."""
    return {name: str(value).removeprefix("@") for name, value in when.view().items()}


def _when(members: Members) -> When:
    at, as_of = (
        None if text is None else read_moment(name, text)
        for name in ("at", "as_of")
        for text in [members.maybe_text(name, 40)]
    )
    return When(None if at is None else int(at), as_of)


def _only(part: Part, only: Only) -> Part:
    """Keep of a part what was asked for: its node is not trusted to have done so."""
    kept = tuple(e for e in part.edges if only.wants(e.link) and only.when.counts(e.said))
    return replace(part, edges=kept)


def _identifier(value: object, where: str) -> Identifier:
    return Identifier.parse(_text(value, where))


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise BadQuery(f"{where.rstrip('.')} is not a string", value=value)
    return value


def _word(known: frozenset[str]) -> Callable[[object, str], str]:
    def read(value: object, where: str) -> str:
        if not isinstance(value, str) or value not in known:
            raise BadQuery(
                f"{where.rstrip('.')} is none of {', '.join(sorted(known))}", value=value
            )
        return value

    return read
