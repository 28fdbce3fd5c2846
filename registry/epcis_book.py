"""The links that a capture speaks of: read once, changed event by event, written once.

Of each link the sides that the capturer holds are kept with all their periods (`schemas.epcis.
periods`). An event changes all of its links or, where one of them cannot be, none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from registry import reader
from registry.store import epcis as store, links as link_store
from registry.store.engine import WriteTx
from registry.store.epcis import Wanted
from schemas.epcis.moves import Act, Everything, Move, Plan
from schemas.epcis.naming import Naming
from schemas.epcis.periods import EPCIS, Seen, after, rests_on, without
from schemas.errors import BadEvent, IdentifierNotFound, Retired, TierlinkError, TooLarge
from schemas.identifier import Identifier
from schemas.link import ASSERTED, DOWNSTREAM, UPSTREAM, Assertion, Link, parse_assertion
from schemas.source import State

# Links and beginnings that one document may speak of. A capture is one transaction, and while it
# is open no resolver sees what is written after it began.
MAX_LINKS: Final = 1_500
MAX_MOVES: Final = 20_000  # that its events may make of them, one by one
PACE: Final = 50  # links looked at between two turns of the event loop

Place: TypeAlias = "tuple[Link, str]"  # a link of the first occurrence, and a side of it

_OTHER: Final = {UPSTREAM: DOWNSTREAM, DOWNSTREAM: UPSTREAM}


@dataclass(frozen=True, slots=True)
class Known:
    """An event that is taken for true: what it comes to, and the ground that it is."""

    plan: Plan
    seen: Seen
    event_id: str | None = None


class Book:
    """What the capturer states of some links. Owned by one transaction."""

    def __init__(self, naming: Naming, now: int) -> None:
        self._naming = naming
        self._now = now
        self._standing: dict[Place, list[Assertion]] = {}
        self._inside: dict[Everything, dict[Link, None]] = {}
        self._moves_left = MAX_MOVES
        self._states: dict[Identifier, State] = {}
        self._stored: set[Place] = set()  # what stands in the database, by the very occurrence
        self._changed: dict[Place, Assertion] = {}
        self._known: dict[str, Known] = {}  # by hash

    # reading

    async def read(self, tx: WriteTx, plans: Sequence[Plan]) -> None:
        """Read what stands of the links that plans speak of, and what their ends are here.

        Raise TooLarge beyond MAX_LINKS.
        """
        links = dict.fromkeys(move.link for plan in plans for move in plan.moves)
        for everything in dict.fromkeys(plan.everything for plan in plans):
            if everything is not None:
                links |= dict.fromkeys(await self._children(tx, everything))
        births = dict.fromkeys(named.identifier for plan in plans for named in plan.births)
        if max(len(links), len(births)) > MAX_LINKS:
            raise TooLarge(
                f"the document speaks of {len(links)} links and {len(births)} beginnings, the limit"
                f" is {MAX_LINKS} each",
                value=max(len(links), len(births)),
                fix="send it in parts",
            )
        ours = [end for link in links for end in self._ours(link).values()]
        wanted = [end for end in dict.fromkeys((*ours, *births)) if end not in self._states]
        if wanted:
            self._states |= await reader.states(tx, wanted)
        await self._read_periods(tx, list(links))

    async def _children(self, tx: WriteTx, everything: Everything) -> list[Link]:
        prefix = self._naming.prefix
        parent = everything.parent
        found = await store.children(
            tx,
            parent,
            everything.type,
            only=None if self._naming.holds(parent) else prefix,
            limit=MAX_LINKS + 1,
        )
        if len(found) > MAX_LINKS:
            raise TooLarge(
                f"{parent} has over {MAX_LINKS} children",
                value=parent.text,
                fix="name those that were taken out, in several documents",
            )
        return [Link(everything.type, child, parent) for child in found]

    async def _read_periods(self, tx: WriteTx, links: Sequence[Link]) -> None:
        fresh = [
            (link, side)
            for link in links
            for side in self._ours(link)
            if (link, side) not in self._standing
        ]
        self._standing |= {place: [] for place in fresh}
        for link, _ in fresh:
            self._inside.setdefault(Everything(link.downstream, link.type), {})[link] = None
        once = list(dict.fromkeys(link for link, _ in fresh))
        if not once:
            return
        rows = await store.occurrences(tx, self._naming.prefix, [self._wanted(li) for li in once])
        asked = [
            (self._naming.prefix, row.link_key, side)
            for row in rows
            for side in self._ours(once[row.place])
        ]
        newest = await link_store.newest(tx, asked)
        for count, row in enumerate(rows):
            await _pause(count)
            link = once[row.place]
            for side in self._ours(link):
                said = newest.get((row.link_key, side))
                if said is not None and said.state == ASSERTED:
                    found = parse_assertion(said.envelope)[1]
                    self._standing[link, side].append(found)
                    self._stored.add((found.link, side))

    def _wanted(self, link: Link) -> Wanted:
        side = next(iter(self._ours(link)))
        far = _OTHER[side]
        return Wanted(link.end(side), far, link.end(far), link.type)

    def _ours(self, link: Link) -> dict[str, Identifier]:
        """Return the ends of a link that the capturer holds, by side."""
        return {
            side: link.end(side)
            for side in (UPSTREAM, DOWNSTREAM)
            if self._naming.holds(link.end(side))
        }

    def evidence_of(self, plans: Iterable[Plan]) -> set[str]:
        """Return the hashes of the events that what stands of these links rests on."""
        return {
            item.id
            for plan in plans
            for link in self._links(plan)
            for side in self._ours(link)
            for said in self._standing.get((link, side), ())
            for item in said.evidence
            if item.kind == EPCIS
        }

    def recall(self, events: Iterable[Known]) -> None:
        """Take events for true that were told before."""
        self._known |= {one.seen.hash: one for one in events}

    # births

    def unborn(self, plan: Plan) -> list[Identifier]:
        """Return what begins by an event and is not there yet; raise Retired."""
        for named in plan.births:
            if self._states[named.identifier] == State.RETIRED:
                raise Retired(
                    f"{named.identifier} was retired and begins no more",
                    value=named.identifier.text,
                )
        return [
            named.identifier
            for named in plan.births
            if self._states[named.identifier] == State.MISSING
        ]

    def born(self, identifiers: Iterable[Identifier]) -> None:
        """Take these for registered: they are, before any link is written."""
        self._states |= dict.fromkeys(identifiers, State.FOUND)

    # changing

    async def take(self, event: Known) -> int:
        """Let an event say what it says; return of how many links. Raise what refuses it."""
        born = [named.identifier for named in event.plan.births]
        changes: list[tuple[Place, Assertion]] = []
        moves = self._moves(event)
        self._moves_left -= len(moves)
        if self._moves_left < 0:
            raise TooLarge(
                f"the events of the document make over {MAX_MOVES} changes to links",
                value=event.seen.index,
                fix="send it in parts",
            )
        for count, move in enumerate(moves):
            await _pause(count)
            for side, near in self._ours(move.link).items():
                standing = self._standing[move.link, side]
                said = after(standing, side, move, event.seen, self._now)
                if said is not None:
                    if near not in born:
                        self._check_near(near, event.seen.index)
                    changes.append(((move.link, side), said))
        self._known[event.seen.hash] = event
        for place, said in changes:
            self._put(place, said)
        return len({said.link for _, said in changes})

    def meant(self, event: Known) -> list[Known]:
        """Return the events that a declared error is about: of its hash, or of its eventID."""
        return [
            one
            for hash_, one in self._known.items()
            if hash_ == event.seen.hash
            or (event.event_id is not None and one.event_id == event.event_id)
        ]

    async def take_back(self, event: Known) -> int:
        """Let an event be wrong: take it out of whatever rests on it; return of how many links."""
        self._known.pop(event.seen.hash, None)
        changes: list[tuple[Place, Assertion]] = []
        told = await self._told(self._links(event.plan))
        for count, (link, left) in enumerate(told.items()):
            await _pause(count)
            for side in self._ours(link):
                changes += [
                    ((link, side), without(said, event.seen, left))
                    for said in self._standing[link, side]
                    if rests_on(said, event.seen)
                ]
        for place, said in changes:
            self._put(place, said)
        return len({said.link for _, said in changes})

    async def _told(self, links: Iterable[Link]) -> dict[Link, dict[str, tuple[Move, Seen]]]:
        """Return what the events that are taken for true say of each of some links, by hash."""
        told: dict[Link, dict[str, tuple[Move, Seen]]] = {link: {} for link in links}
        for hash_, one in self._known.items():
            moves = one.plan.moves
            if one.plan.everything is not None:
                moves = tuple(Move(Act.CLOSE, link) for link in self._links(one.plan))
            await asyncio.sleep(0)
            for move in moves:
                if move.link in told:
                    told[move.link][hash_] = (move, one.seen)
        return told

    def _moves(self, event: Known) -> Sequence[Move]:
        everything = event.plan.everything
        if everything is None:
            return event.plan.moves
        links = list(self._links(event.plan))
        if not links and not self._naming.holds(everything.parent):
            raise BadEvent(
                f"event {event.seen.index}: nothing that {everything.parent} holds, nor itself, is"
                f" under {self._naming.prefix}",
                event=event.seen.index,
                member="parentID",
                value=everything.parent.text,
                fix="capture what you hold an end of; others capture theirs",
            )
        return [Move(Act.CLOSE, link) for link in links]

    def _links(self, plan: Plan) -> Iterable[Link]:
        """Return the links that a plan speaks of, those of its document so far among them."""
        everything = plan.everything
        if everything is None:
            return [move.link for move in plan.moves]
        return self._inside.get(everything, {})

    def _check_near(self, near: Identifier, index: int) -> None:
        state = self._states[near]
        if state == State.RETIRED:
            raise Retired(
                f"event {index}: {near} was retired and can be linked no more", value=near.text
            )
        if state == State.MISSING:
            raise IdentifierNotFound(
                f"event {index}: {near} is not registered and no class rule covers it",
                value=near.text,
                fix="capture the ObjectEvent (ADD) with which it begins, or register it",
            )

    def _put(self, place: Place, said: Assertion) -> None:
        others = [item for item in self._standing[place] if item.link != said.link]
        self._standing[place] = [*others, said] if said.state == ASSERTED else others
        self._changed[said.link, said.side] = said

    def drafts(self) -> list[Assertion]:
        """Return what is to be stated now, as first versions: the rules make them follow."""
        return [
            replace(said, version=1, prev=None, issued_at=self._now)
            for place, said in self._changed.items()
            if said.state == ASSERTED or place in self._stored
        ]


async def _pause(count: int) -> None:
    """Give the event loop a turn now and then."""
    if count % PACE == PACE - 1:
        await asyncio.sleep(0)


def located(err: TierlinkError, index: int) -> TierlinkError:
    """Name the event in an error of something that it speaks of."""
    if not err.detail.startswith("event "):
        err.detail = f"event {index}: {err.detail}"
    return err
