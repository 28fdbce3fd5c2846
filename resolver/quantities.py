"""Quantities rolled up along a walk: how much of each part is in the root, or of the root in each.

A link states how much of its upstream end is in one of its downstream end. Along a path amounts
multiply, over paths they add up:

    upstream     of one root: the last link of a path gives the unit, all before it are counts
    downstream   of the root: the first link of a path gives the unit, all behind it are counts

So what is passed through has to be counted in pieces: of what is measured otherwise (2 kg of a
batch) nobody knows what part of the whole it is, and how much of its parts goes along.

    Q1  one amount for each link: of the ends that stand, the downstream one's first; where they
        disagree, or say nothing, it is unknown
    Q2  links within a cycle are left out, and named; how much of what is in one is unknown
    Q3  in topological order each link is looked at once: linear in links, however many paths
    Q4  what rests on anything unknown is unknown, and says why; nothing is guessed

Exact decimals. An amount is that of the links that the walk showed: `partial` where it was cut
short. Everything here is pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from typing import Final

from schemas.canonical import Json, JsonObject
from schemas.identifier import Identifier
from schemas.link import ASSERTED, UPSTREAM, Assertion, Quantity

from .traced import Trace

COUNTS: Final = frozenset({"C62", "EA", "H87"})  # Rec 20: one, each, piece

MISSING, CONFLICT, UNITS = "missing", "conflict", "units"
LIFECYCLES, SIZE, CYCLE = "lifecycles", "size", "cycle"
BEYOND = "beyond"  # what is unknown lies between here and the root

_EXACT = Context(prec=400, traps=[Inexact, Overflow, InvalidOperation])


@dataclass(frozen=True, slots=True)
class Flow:
    """A link as a walk passes it: `amount` is None where nobody knows it, for `why`."""

    near: Identifier
    far: Identifier
    lifecycle: str
    amount: Quantity | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Amount:
    """How much: an exact number of a unit."""

    value: Decimal
    unit: str


@dataclass(frozen=True, slots=True)
class Rolled:
    """What is known of each node but the root, in order; `excluded` are links within cycles."""

    amounts: Mapping[Identifier, Amount]
    unknown: Mapping[Identifier, str]
    excluded: tuple[Flow, ...] = ()


def stated(said: Iterable[Assertion]) -> tuple[Quantity | None, str]:
    """Q1: return the amount of a link, or why it is unknown."""
    found = {item.side: item.quantity for item in said if item.state == ASSERTED and item.quantity}
    # "downstream" comes before "upstream": who contains knows best how much.
    amounts = [found[side] for side in sorted(found)]
    if not amounts:
        return None, MISSING
    if not all(amounts[0].agrees(other) for other in amounts[1:]):
        return None, CONFLICT
    return amounts[0], ""


def roll_up(
    root: Identifier,
    direction: str,
    flows: Sequence[Flow],
    cycles: Iterable[Sequence[Identifier]] = (),
) -> Rolled:
    """Take steps Q2 to Q4 over the links of a walk from a root."""
    # Q2
    part_of = {node: number for number, part in enumerate(cycles) for node in part}
    excluded = [flow for flow in flows if _within(flow, part_of)]
    kept: dict[Identifier, list[Flow]] = {}
    for flow in flows:
        if not _within(flow, part_of):
            kept.setdefault(flow.near, []).append(flow)
    # Q3
    waiting = Counter(flow.far for ends in kept.values() for flow in ends)
    sums = {node: _Sum(CYCLE if node in part_of else "") for node in [*waiting, *part_of]}
    alone = [node for node in part_of if node not in waiting and node != root]
    found: dict[Identifier, Amount | str] = {}
    ready = [root, *alone]
    for node in ready:
        if node != root:
            found[node] = sums[node].amount()
        for flow in kept.get(node, ()):
            sums[flow.far].add(flow, _carried(flow, direction, found.get(node)))
            waiting[flow.far] -= 1
            if waiting[flow.far] == 0:
                ready.append(flow.far)
    # What waits for ever hangs on nodes that the walk did not come to from the root.
    unknown = {node: BEYOND for node in sums if node not in found and node != root}
    unknown |= {node: item for node, item in found.items() if isinstance(item, str)}
    amounts = {node: item for node, item in found.items() if isinstance(item, Amount)}
    return Rolled(amounts, unknown, tuple(excluded))


def _within(flow: Flow, part_of: Mapping[Identifier, int]) -> bool:
    part = part_of.get(flow.near)
    return flow.near == flow.far or (part is not None and part == part_of.get(flow.far))


def _carried(flow: Flow, direction: str, amount: Amount | str | None) -> Amount | str:
    """Q4: return what one link contributes to its far end, or why that is unknown.

    `amount` is that of the near end, None for the root.
    """
    if flow.amount is None:
        return flow.why
    stated_value = Decimal(flow.amount.value)
    if amount is None:
        return Amount(stated_value, flow.amount.unit)
    if isinstance(amount, str):
        return BEYOND
    passed, unit = (
        (amount.unit, flow.amount.unit)
        if direction == UPSTREAM
        else (flow.amount.unit, amount.unit)
    )
    if passed not in COUNTS:
        return UNITS
    try:
        return Amount(_EXACT.multiply(amount.value, stated_value), unit)
    except (Inexact, Overflow):
        return SIZE


class _Sum:
    """What comes together at one node."""

    def __init__(self, why: str) -> None:
        self._total: Amount | None = None
        self._why = why
        self._lifecycle = ""

    def add(self, flow: Flow, carried: Amount | str) -> None:
        if self._lifecycle not in {"", flow.lifecycle}:
            # What is planned and what was built are two statements of one thing, not two things.
            self._why = self._why or LIFECYCLES
        self._lifecycle = flow.lifecycle
        if isinstance(carried, str):
            self._why = self._why or carried
        elif self._total is None:
            self._total = carried
        elif self._total.unit != carried.unit:
            self._why = self._why or UNITS
        else:
            try:
                value = _EXACT.add(self._total.value, carried.value)
            except Inexact:
                self._why = self._why or SIZE
            else:
                self._total = Amount(value, carried.unit)

    def amount(self) -> Amount | str:
        if self._why or self._total is None:
            return self._why or MISSING
        return self._total


def rolled_view(trace: Trace) -> JsonObject:
    """Return the member `rollup` of a trace."""
    flows = []
    for edge in trace.edges:
        up, down = edge.link.upstream, edge.link.downstream
        near, far = (down, up) if trace.direction == UPSTREAM else (up, down)
        amount, why = stated(edge.said)
        flows.append(Flow(near, far, edge.link.lifecycle, amount, why))
    rolled = roll_up(trace.root, trace.direction, flows, trace.cycles)
    order = [node.identifier for node in trace.nodes]
    amounts: list[Json] = [
        {"identifier": node.text, **_written(rolled.amounts[node])}
        for node in order
        if node in rolled.amounts
    ]
    unknown: list[Json] = [
        {"identifier": node.text, "why": rolled.unknown[node]}
        for node in order
        if node in rolled.unknown
    ]
    excluded: list[Json] = [
        {"near": flow.near.text, "far": flow.far.text} for flow in rolled.excluded
    ]
    partial = trace.truncated or bool(trace.blinded)
    return {"amounts": amounts, "unknown": unknown, "excluded": excluded, "partial": partial}


def _written(amount: Amount) -> JsonObject:
    text = format(amount.value, "f")
    return {
        "value": text.rstrip("0").rstrip(".") if "." in text else text,
        "unit": amount.unit,
    }
