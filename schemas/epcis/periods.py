"""What one side of a link states after an event: pure, one move at a time.

A side states periods: assertions of one link that differ in their occurrence, "" for the first,
then "2", "3", … each valid from when it was opened until it was closed, in whole seconds, with the
events it rests on as evidence.

    OPEN    inside a period: a further event of it, its amounts added; else a new period
    CLOSE   the open period that the time lies in ends; without one nothing is said
    SEE     evidence of the period that the time lies in; without one nothing is said
    MAKE    the one period of a consumption, from the earliest of its events on, never closed

An event that is declared wrong is taken out of the evidence. A period that an event opened is then
made again of those that are left, and withdrawn where none of them opens it; one that was stated
otherwise loses the evidence and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from schemas.errors import BadEvent
from schemas.link import MAX_EVIDENCE, WITHDRAWN, Assertion, Evidence

from .moves import Act, Move, added

EPCIS = "epcis"  # the type of evidence


@dataclass(frozen=True, slots=True)
class Seen:
    """An event as the ground of a statement: its hash, its time in milliseconds, its place."""

    hash: str
    time: int
    index: int = 0

    @property
    def evidence(self) -> Evidence:
        """The member of an assertion."""
        return Evidence(EPCIS, self.hash)

    @property
    def opens_at(self) -> int:
        """The second in which it lies."""
        return self.time // 1000

    @property
    def closes_at(self) -> int:
        """The first second that does not lie before it."""
        return -(-self.time // 1000)


def after(
    standing: Sequence[Assertion], side: str, move: Move, seen: Seen, now: int
) -> Assertion | None:
    """Return the assertion that a move changes or adds, None where it says nothing new."""
    match move.act:
        case Act.OPEN:
            found = _around(standing, seen.opens_at)
            return (
                _opened(standing, side, move, seen, now)
                if found is None
                else _more(found, move, seen)
            )
        case Act.MAKE:
            first = next((item for item in standing if not item.link.occurrence), None)
            if first is None:
                return _opened(standing, side, move, seen, now)
            return _earlier(_more(first, move, seen), seen)
        case Act.CLOSE:
            return _closed(standing, seen)
        case Act.SEE:
            found = _around(standing, seen.opens_at)
            return None if found is None else _witnessed(found, seen)


def without(assertion: Assertion, gone: Seen, left: Mapping[str, tuple[Move, Seen]]) -> Assertion:
    """Return what an assertion becomes without an event it rests on.

    `left` are its other events, by their hashes, with what they say of this very link.
    """
    evidence = tuple(item for item in assertion.evidence if item != gone.evidence)
    events = sorted(
        (left[item.id] for item in evidence if item.id in left),
        key=lambda pair: (pair[1].time, pair[1].hash),
    )
    opened = {seen.opens_at for _, seen in events} | {gone.opens_at}
    others = [item for item in evidence if item.id not in left]
    if assertion.valid_from not in opened or others:
        return replace(assertion, evidence=evidence)
    again: list[Assertion] = []
    for move, seen in events:
        changed = after(again, assertion.side, move, seen, assertion.issued_at)
        if changed is not None:
            again = [changed]
    if not again:
        return replace(assertion, state=WITHDRAWN)
    return replace(again[0], link=assertion.link)


def rests_on(assertion: Assertion, seen: Seen) -> bool:
    """Tell whether an event is among the evidence of an assertion."""
    return seen.evidence in assertion.evidence


def _around(standing: Iterable[Assertion], second: int) -> Assertion | None:
    """Return the latest period that a second lies in."""
    found = [
        item
        for item in standing
        if (item.valid_from is None or item.valid_from <= second)
        and (item.valid_until is None or second < item.valid_until)
    ]
    return max(found, key=lambda item: item.valid_from or 0, default=None)


def _opened(
    standing: Sequence[Assertion], side: str, move: Move, seen: Seen, now: int
) -> Assertion:
    taken = {item.link.occurrence for item in standing}
    free = (
        ""
        if "" not in taken
        else next(str(number) for number in range(2, len(taken) + 3) if str(number) not in taken)
    )
    return Assertion(
        replace(move.link, occurrence=free),
        side,
        now,
        quantity=move.quantity,
        valid_from=seen.opens_at,
        evidence=(seen.evidence,),
    )


def _more(found: Assertion, move: Move, seen: Seen) -> Assertion:
    if rests_on(found, seen):
        return found
    # What was stated without an event is the same amount told again.
    told = all(item.kind != EPCIS for item in found.evidence)
    quantity = (
        found.quantity or move.quantity
        if told
        else added(found.quantity, move.quantity, seen.index)
    )
    return _witnessed(replace(found, quantity=quantity), seen)


def _earlier(found: Assertion, seen: Seen) -> Assertion:
    if found.valid_from is None or found.valid_from <= seen.opens_at:
        return found
    return replace(found, valid_from=seen.opens_at)


def _closed(standing: Sequence[Assertion], seen: Seen) -> Assertion | None:
    at = seen.closes_at
    same = next((item for item in standing if item.valid_until == at), None)
    if same is not None:
        return _witnessed(same, seen)
    opened = [
        item
        for item in standing
        if item.valid_until is None and (item.valid_from is None or item.valid_from <= at)
    ]
    found = max(opened, key=lambda item: item.valid_from or 0, default=None)
    if found is None:
        return None
    if found.valid_from == at:
        raise BadEvent(
            f"event {seen.index}: {found.link.upstream} would leave {found.link.downstream} in the"
            " second in which it came",
            event=seen.index,
            member="eventTime",
            value=at,
            fix="state the time at which it left",
        )
    return _witnessed(replace(found, valid_until=at), seen)


def _witnessed(found: Assertion, seen: Seen) -> Assertion:
    """Add an event to the evidence; of too many the first stays, and the latest."""
    if rests_on(found, seen):
        return found
    evidence = (*found.evidence, seen.evidence)
    if len(evidence) > MAX_EVIDENCE:
        evidence = (evidence[0], *evidence[2:])
    return replace(found, evidence=evidence)
