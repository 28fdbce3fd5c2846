"""What an event says of links, and of things that begin to exist.

    Aggregation, Association   child -> parent, CONTAINED_IN or ATTACHED_TO: ADD opens, DELETE
                               closes, OBSERVE sees; a DELETE that names no child means all of them
    Transformation             input -> transformation -> output, CONSUMED_INTO, from that time on
    Object ADD                 things begin; Object OBSERVE, DELETE and Transaction say nothing here

A transformation is a thing of its own, so that n inputs and m outputs are n + m links: its
identifier is its `transformationID` where that is one of this network, else it is made under the
prefix of who captures: of the `transformationID`, which several events may share, or of the event
hash. An output that is the transformation itself is no link: so a plain link of consumption can be
written as an event, and read again.

Of each link who captures holds an end, else the event is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from hashlib import sha256

from schemas.errors import BadEvent
from schemas.identifier import Identifier
from schemas.link import Link, Quantity as Amount
from schemas.record import BATCH, DOCUMENT

from . import eventhash, gs1
from .event import (
    ADD,
    DELETE,
    AssociationEvent,
    Event,
    Held,
    ObjectEvent,
    Quantity,
    TransformationEvent,
)
from .naming import Named, Naming, native

CONTAINED, ATTACHED, CONSUMED = "CONTAINED_IN", "ATTACHED_TO", "CONSUMED_INTO"
PIECE = "H87"  # of UNECE Rec 20: an amount without a unit counts pieces
TRANSFORMATION = "transformation/"  # before the hash in the suffix of one that is made

_AMOUNT = re.compile(r"(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,9})?")


class Act(Enum):
    """What an event does to a link."""

    OPEN = "open"
    CLOSE = "close"
    SEE = "see"
    MAKE = "make"


@dataclass(frozen=True, slots=True)
class Move:
    """One thing that an event says of one link."""

    act: Act
    link: Link
    quantity: Amount | None = None


@dataclass(frozen=True, slots=True)
class Everything:
    """That whatever is in a parent was taken out."""

    parent: Identifier
    type: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What one event comes to."""

    moves: tuple[Move, ...] = ()
    births: tuple[Named, ...] = ()
    everything: Everything | None = None


def plan(event: Event, naming: Naming) -> Plan:
    """Return what an event comes to; raise BadEvent where that cannot be."""
    match event:
        case Held():
            return _held(event, naming)
        case TransformationEvent():
            return _transformation(event, naming)
        case ObjectEvent(action=action) if action == ADD:
            return Plan(births=tuple(_births(event, naming)))
        case _:
            return Plan()


def _births(event: ObjectEvent, naming: Naming) -> Iterator[Named]:
    for at, uri in enumerate(event.epcs):
        yield _own(naming, event, naming.name(uri, event=event.index, member=f"epcList[{at}]"))
    for at, item in enumerate(event.quantities):
        member = f"quantityList[{at}].epcClass"
        named = naming.name(item.epc_class, event=event.index, member=member, kind=BATCH)
        yield _own(naming, event, named)


def _own(naming: Naming, event: Event, named: Named) -> Named:
    if not naming.holds(named.identifier):
        raise BadEvent(
            f"event {event.index}: {named.identifier} begins under the prefix of somebody else",
            event=event.index,
            value=named.identifier.text,
            fix=f"its holder captures that; the API key is for {naming.prefix}",
        )
    return named


# Aggregation and association


def _held(event: Held, naming: Naming) -> Plan:
    if event.parent is None:
        return Plan()  # seen together, and in nothing
    parent = naming.name(event.parent, event=event.index, member="parentID").identifier
    kind = ATTACHED if isinstance(event, AssociationEvent) else CONTAINED
    if event.action == DELETE and event.names_no_child:
        return Plan(everything=Everything(parent, kind))
    act = Act.OPEN if event.action == ADD else Act.CLOSE if event.action == DELETE else Act.SEE
    children = _things(
        event, naming, (("childEPCs", event.children),), (("childQuantityList", event.quantities),)
    )
    return Plan(
        tuple(
            _move(naming, event, act, Link(kind, child, parent), quantity)
            for child, quantity in children.items()
        )
    )


# Transformation


def _transformation(event: TransformationEvent, naming: Naming) -> Plan:
    inputs = _things(
        event,
        naming,
        (("inputEPCList", event.inputs),),
        (("inputQuantityList", event.input_quantities),),
    )
    outputs = _things(
        event,
        naming,
        (("outputEPCList", event.outputs),),
        (("outputQuantityList", event.output_quantities),),
    )
    named = _named_node(event)
    # A node that is made here is no reason to speak of what is all of others.
    if not any(naming.holds(thing) for thing in (*inputs, *outputs, *([named] if named else ()))):
        raise _strangers(event, naming, next(iter((*inputs, *outputs))))
    node = named or _made_node(event, naming)
    moves = [
        _move(naming, event, Act.MAKE, Link(CONSUMED, thing, node), quantity)
        for thing, quantity in inputs.items()
    ]
    moves += [
        _move(naming, event, Act.MAKE, Link(CONSUMED, node, thing), quantity)
        for thing, quantity in outputs.items()
        if thing != node
    ]
    births = (Named(node, DOCUMENT),) if naming.holds(node) and node not in outputs else ()
    return Plan(tuple(moves), births)


def _named_node(event: TransformationEvent) -> Identifier | None:
    """Return the transformation where it is named by an identifier of this network."""
    try:
        return None if event.transformation_id is None else native(event.transformation_id)
    except BadEvent:
        return None  # any URI may name a transformation


def _made_node(event: TransformationEvent, naming: Naming) -> Identifier:
    named = event.transformation_id
    if named is None:
        return Identifier(naming.prefix, TRANSFORMATION + eventhash.digest(event))
    key = gs1.find(named)
    spelled = named if key is None else key.hashed
    return Identifier(naming.prefix, TRANSFORMATION + sha256(spelled.encode()).hexdigest())


# What lists name


def _things(
    event: Event,
    naming: Naming,
    epcs: Iterable[tuple[str, Sequence[str]]],
    quantities: Iterable[tuple[str, Sequence[Quantity]]],
) -> dict[Identifier, Amount | None]:
    """Return what is named, each once, with its amount."""
    found: dict[Identifier, Amount | None] = {}
    for name, uris in epcs:
        for at, uri in enumerate(uris):
            named = naming.name(uri, event=event.index, member=f"{name}[{at}]")
            found.setdefault(named.identifier)
    for name, items in quantities:
        for at, item in enumerate(items):
            member = f"{name}[{at}]"
            named = naming.name(
                item.epc_class, event=event.index, member=f"{member}.epcClass", kind=BATCH
            )
            amount = _amount(item, event, member)
            found[named.identifier] = added(
                found.get(named.identifier), amount, event.index, member
            )
    return found


def _amount(item: Quantity, event: Event, member: str) -> Amount | None:
    if item.amount is None:
        return None
    return Amount(_plain(item.amount, event.index, member), item.unit or PIECE)


def _plain(amount: Decimal, event: int, member: str) -> str:
    text = format(amount, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    if not _AMOUNT.fullmatch(text):
        raise BadEvent(
            f"event {event}: {member}.quantity is negative, or has over 18 digits or 9 decimals",
            event=event,
            member=f"{member}.quantity",
            value=text,
            fix="choose another unit",
        )
    return text


def added(
    one: Amount | None, other: Amount | None, event: int, member: str = "quantity"
) -> Amount | None:
    """Add amounts of one thing; raise BadEvent where their units differ."""
    if one is None or other is None:
        return one or other
    if one.unit != other.unit:
        raise BadEvent(
            f"event {event}: {member} is in {other.unit}, and before it was in {one.unit}",
            event=event,
            member=member,
            value=other.unit,
            fix="state all amounts of one thing in one unit",
        )
    total = Decimal(one.value) + Decimal(other.value)
    return Amount(_plain(total, event, member), one.unit)


def _move(naming: Naming, event: Event, act: Act, moved: Link, quantity: Amount | None) -> Move:
    if moved.upstream == moved.downstream:
        raise BadEvent(
            f"event {event.index}: {moved.upstream} would be linked to itself",
            event=event.index,
            value=moved.upstream.text,
            fix="name two things",
        )
    if not naming.holds(moved.upstream) and not naming.holds(moved.downstream):
        raise _strangers(event, naming, moved.upstream, moved.downstream)
    return Move(act, moved, quantity)


def _strangers(event: Event, naming: Naming, *ends: Identifier) -> BadEvent:
    shown = " and ".join(end.text for end in ends)
    return BadEvent(
        f"event {event.index}: {shown}: no end of the link is under {naming.prefix}",
        event=event.index,
        value=ends[0].text,
        fix="capture what you hold an end of; others capture theirs",
    )
