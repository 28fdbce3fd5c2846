"""A trace as an EPCISQueryDocument: each link as the event that would have made it. Pure.

    CONTAINED_IN, ATTACHED_TO   AggregationEvent, AssociationEvent: ADD when it began (`nbf`, else
                                when it was stated), DELETE when it ended (`exp`)
    CONSUMED_INTO               TransformationEvent; its transformationID is the transformation
                                that is a node of the trace, else the output itself

Links that went together (same parent or transformation, time, occurrence and state) are one event.
What is no event (other types, other lifecycles than asBuilt) stands whole under
`tierlink:otherLinks`, and what the trace lacks under `tierlink:broken`, `tierlink:blinded` and
`tierlink:truncated`. An EPC is an identifier as the path of a URI: whoever captures the document
gets the same identifiers and the same links (`schemas.epcis.naming`, `schemas.epcis.moves`).

Who stands behind a link is under `tierlink:assertedBy`; what each end signed is in the same trace
as application/json, and not here: a signature says nothing of an event made up of several links.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from schemas.answer import rfc3339
from schemas.epcis.document import QUERY_DOCUMENT
from schemas.epcis.jsonld import CONTEXTS, encode
from schemas.epcis.moves import ATTACHED, CONSUMED, CONTAINED, TRANSFORMATION
from schemas.identifier import Identifier
from schemas.link import ASSERTED, DOWNSTREAM, UPSTREAM, Assertion, Link

from .traced import Trace, blinded_view
from .walk import Stated

LD_JSON: Final = b"application/ld+json"
VOCABULARY: Final = "https://tierlink.example/voc/"
QUERY_NAME: Final = "tierlink-trace"
BUILT: Final = "asBuilt"
STEP = 500  # links that are read at a time
PIECE = 100  # events that are written at a time

_HELD: Final = {CONTAINED: "AggregationEvent", ATTACHED: "AssociationEvent"}
_ADD, _DELETE = "ADD", "DELETE"
_HOST = re.compile(r"[A-Za-z0-9.\-]{1,253}(?::[0-9]{1,5})?")
_LATEST: Final = 253_402_300_799  # the last second that RFC 3339 can write


@dataclass(frozen=True, slots=True)
class _Key:
    """What links of one event have in common; `about` is the parent or the transformation."""

    time: int
    type: str
    about: str
    action: str
    occurrence: str
    state: str
    asserted_by: tuple[str, ...]


@dataclass(slots=True)
class _Things:
    """The things of one event, on one side: with an amount, and without."""

    epcs: list[str] = field(default_factory=list)
    quantities: list[dict[str, object]] = field(default_factory=list)

    def add(self, uri: str, quantity: object) -> None:
        """Add a thing."""
        if isinstance(quantity, Mapping) and len(str(quantity["unit"])) > 1:
            amount = Decimal(str(quantity["value"]))
            self.quantities.append({"epcClass": uri, "quantity": amount, "uom": quantity["unit"]})
        else:
            self.epcs.append(uri)

    def members(self, epcs: str, quantities: str) -> dict[str, object]:
        """Return the members of the event, those with something in them."""
        found = {epcs: self.epcs, quantities: self.quantities}
        return {name: items for name, items in found.items() if items}


@dataclass(slots=True)
class _Event:
    """An event in the making."""

    inputs: _Things = field(default_factory=_Things)
    outputs: _Things = field(default_factory=_Things)


def base_of(host: bytes) -> str:
    """Return the base of EPCs for a Host header: any host does, for an EPC is its path."""
    text = host.decode("latin-1")
    return f"https://{text if _HOST.fullmatch(text) else 'localhost'}"


def pieces(trace: Trace, base: str) -> Iterator[bytes]:
    """Yield the document in pieces; `base` is the address before the path of an identifier."""
    yield _head().encode()
    made: dict[_Key, _Event] = {}
    for count, stated in enumerate(trace.edges, 1):
        _add(made, stated, base)
        if count % STEP == 0:
            yield b"\n"  # so that no single step of a long one is long
    batch: list[str] = []
    first = True
    for event in _written_in_order(made):
        batch.append(encode(event))
        if len(batch) == PIECE:
            yield _joined(batch, first=first)
            batch, first = [], False
    if batch:
        yield _joined(batch, first=first)
    yield f"]}},{encode(_tail(trace))[1:]}}}}}".encode()


def _joined(batch: Iterable[str], *, first: bool) -> bytes:
    return ("" if first else ",").encode() + ",".join(batch).encode()


def _head() -> str:
    head = {
        "@context": [CONTEXTS[1], {"tierlink": VOCABULARY}],
        "type": QUERY_DOCUMENT,
        "schemaVersion": "2.0",
    }
    opened = f'"queryName":"{QUERY_NAME}","resultsBody":{{"eventList":['
    return f'{encode(head)[:-1]},"epcisBody":{{"queryResults":{{{opened}'


def _tail(trace: Trace) -> dict[str, object]:
    others = [stated.view(proof=False) for stated in trace.edges if not _told(stated.link)]
    return {
        "tierlink:root": trace.root.text,
        "tierlink:direction": trace.direction,
        "tierlink:otherLinks": others,
        "tierlink:blinded": [blinded_view(item, depth) for depth, item in trace.blinded],
        "tierlink:broken": [item.view() for item in trace.broken],
        "tierlink:truncated": trace.truncated,
    }


def _told(link: Link) -> bool:
    return link.lifecycle == BUILT and (link.type in _HELD or link.type == CONSUMED)


def _written_in_order(made: Mapping[_Key, _Event]) -> Iterator[dict[str, object]]:
    ordered = sorted(
        made.items(), key=lambda item: (item[0].time, item[0].about, item[0].occurrence)
    )
    for key, event in ordered:
        yield _written(key, event)


def _add(made: dict[_Key, _Event], stated: Stated, base: str) -> None:
    if not _told(stated.link):
        return
    link, view = stated.link, stated.view(proof=False)
    upstream, downstream = (_uri(end, base) for end in (link.upstream, link.downstream))
    asserted = view["asserted_by"]
    assert isinstance(asserted, list)
    by = tuple(map(str, asserted))
    began, ended = _period(stated)

    def event(time: int, about: str, action: str = "") -> _Event:
        key = _Key(time, link.type, about, action, link.occurrence, str(view["state"]), by)
        return made.setdefault(key, _Event())

    if link.type in _HELD:
        event(began, downstream, _ADD).inputs.add(upstream, view["quantity"])
        if ended is not None:
            event(ended, downstream, _DELETE).inputs.add(upstream, None)
    elif _made(link.upstream) and not _made(link.downstream):
        event(began, upstream).outputs.add(downstream, view["quantity"])
    else:
        found = event(began, downstream)
        found.inputs.add(upstream, view["quantity"])
        if not _made(link.downstream) and not found.outputs.epcs:
            found.outputs.add(downstream, None)


def _made(identifier: Identifier) -> bool:
    """Tell whether an identifier is that of a transformation."""
    return identifier.suffix.startswith(TRANSFORMATION)


def _period(stated: Stated) -> tuple[int, int | None]:
    """Return from when until when a link holds, by the end whose amount is shown as well."""
    said = {item.side: item for item in stated.said if item.state == ASSERTED}
    one: Assertion = said.get(DOWNSTREAM) or said[UPSTREAM]
    if one.valid_from is not None:
        return one.valid_from, one.valid_until
    began = one.issued_at if one.valid_until is None else min(one.issued_at, one.valid_until - 1)
    return began, one.valid_until


def _written(key: _Key, event: _Event) -> dict[str, object]:
    kind = _HELD.get(key.type, "TransformationEvent")
    head: dict[str, object] = {
        "type": kind,
        "eventTime": rfc3339(min(key.time, _LATEST)),
        "eventTimeZoneOffset": "+00:00",
    }
    if kind == "TransformationEvent":
        head["transformationID"] = key.about
        head |= event.inputs.members("inputEPCList", "inputQuantityList")
        head |= event.outputs.members("outputEPCList", "outputQuantityList")
    else:
        head |= {"action": key.action, "parentID": key.about}
        head |= event.inputs.members("childEPCs", "childQuantityList")
    head |= {"tierlink:state": key.state, "tierlink:assertedBy": list(key.asserted_by)}
    if key.occurrence:
        head["tierlink:occurrence"] = key.occurrence
    return head


def _uri(identifier: Identifier, base: str) -> str:
    return f"{base}/{identifier.path}"
