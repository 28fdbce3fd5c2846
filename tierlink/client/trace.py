"""Traces: what a resolver found by walking links, read strictly.

What is verified here: that the reply is of the root and direction asked for, that every
identifier in it is one, and that every edge joins two of its nodes. A client with a trust bundle
also verified what the ends of each link signed (`schemas.edges`), and that the link is in the
state which that makes it: `Trace.verified`. Kind and status of the nodes are the resolver's word.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from schemas.canonical import JsonObject
from schemas.claims import Members
from schemas.envelope import MAX_TOKEN
from schemas.errors import BadInput, VerifyError
from schemas.identifier import Identifier
from schemas.link import DOWNSTREAM, UPSTREAM, Quantity
from schemas.viewer import BLINDED

from .answer import quantity

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Node:
    """One identifier of a trace; kind and status are None where nobody could tell.

    `node` is the base URL of the node that told of it, empty for the one that answers.
    """

    identifier: str
    depth: int
    kind: str | None
    status: str | None
    node: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    """One link of a trace."""

    upstream: str
    downstream: str
    link_type: str
    state: str
    quantity: Quantity | None
    lifecycle: str

    def ends(self, direction: str) -> tuple[str, str]:
        """Return (near, far) as a walk in that direction meets them."""
        if direction == UPSTREAM:
            return self.downstream, self.upstream
        return self.upstream, self.downstream


@dataclass(frozen=True, slots=True)
class Broken:
    """Where a walk had to stop, and why; `node` was asked, empty for the one that answers."""

    identifier: str
    code: str
    node: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """What another node walked: its base URL, and the prefix in whose name it sealed that.

    `seal` is its signature, for whoever keeps the trace as evidence.
    """

    node: str
    by: str
    seal: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Blinded:
    """A link whose far end is not for this caller: in this trace a pseudonym stands for it."""

    near: str
    far: str
    link_type: str
    lifecycle: str


@dataclass(frozen=True, slots=True)
class Continuation:
    """Where a walk goes on that was not to go across nodes: at which one, and how far it may."""

    identifier: str
    node: str
    depth: int


@dataclass(frozen=True, slots=True)
class Trace:
    """The walk over the links of `root`; a partial one names what it lacks in `broken`.

    `verified`: every link was checked against the statements of its ends.
    """

    root: str
    direction: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    broken: tuple[Broken, ...]
    cycles: tuple[tuple[str, ...], ...]
    truncated: bool
    raw: bytes = field(repr=False)
    verified: bool = False
    blinded: tuple[Blinded, ...] = ()
    parts: tuple[Part, ...] = ()
    continuations: tuple[Continuation, ...] = ()


class _BadTrace(BadInput):
    """A reply that is no trace; reported as verdict E_FORMAT."""

    code = "E_FORMAT"
    title = "Invalid trace"


def read_trace(
    document: JsonObject, root: Identifier, direction: str, raw: bytes, *, verified: bool = False
) -> Trace:
    """Read a trace; raise VerifyError where it is not what was asked for, or none at all."""
    if document.get("root") != root.text or document.get("direction") != direction:
        raise VerifyError("E_ID", f"the trace is not that of {root} {direction}")
    try:
        nodes = _objects(document, "nodes", _node)
        edges = _objects(document, "edges", _edge)
        broken = _objects(document, "broken", _broken)
        blinded = _objects(document, "blinded", _blinded)
        cycles = tuple(_cycle(item) for item in _array(document, "cycles"))
        parts = _objects(document, "hops", _part)
        onward = _objects(document, "continuations", _continuation)
    except BadInput as err:
        raise VerifyError("E_FORMAT", f"not a trace: {err.detail}", value=err.value) from err
    known = {node.identifier for node in nodes}
    for edge in edges:
        for end in (edge.upstream, edge.downstream):
            if end not in known:
                raise VerifyError("E_LINK", "an edge leads to no node of the trace", value=end)
    truncated = document.get("truncated") is True
    return Trace(
        root.text,
        direction,
        nodes,
        edges,
        broken,
        cycles,
        truncated,
        raw,
        verified,
        blinded,
        parts,
        onward,
    )


def _array(document: JsonObject, name: str) -> list[object]:
    found = document.get(name, [])
    if not isinstance(found, list):
        raise _BadTrace(f"{name} is not an array")
    return list(found)


def _objects(document: JsonObject, name: str, read: Callable[[Members], T]) -> tuple[T, ...]:
    outer = Members({}, _BadTrace)
    return tuple(
        read(outer.inner(item, f"{name}[{index}]."))
        for index, item in enumerate(_array(document, name))
    )


def _node(members: Members) -> Node:
    return Node(
        _identifier(members, "identifier"),
        members.integer("depth"),
        _maybe(members, "kind"),
        _maybe(members, "status"),
        members.maybe_text("node", 512) or "",
    )


def _edge(members: Members) -> Edge:
    return Edge(
        _identifier(members, UPSTREAM),
        _identifier(members, DOWNSTREAM),
        members.text("type", 64),
        members.text("state", 32),
        quantity(members.source.get("quantity")),
        members.maybe_text("lifecycle", 32) or "",
    )


def _blinded(members: Members) -> Blinded:
    far = members.text("far", 32)
    if not BLINDED.fullmatch(far):
        raise members.fail("far", "is no pseudonym", far)
    return Blinded(
        _identifier(members, "near"), far, members.text("type", 64), members.text("lifecycle", 32)
    )


def _broken(members: Members) -> Broken:
    return Broken(
        _identifier(members, "identifier"),
        members.text("code", 64),
        members.maybe_text("node", 512) or "",
    )


def _continuation(members: Members) -> Continuation:
    return Continuation(
        _identifier(members, "identifier"), members.text("node", 512), members.integer("depth")
    )


def _part(members: Members) -> Part:
    return Part(
        members.text("node", 512), str(members.prefix("by")), members.text("seal", MAX_TOKEN)
    )


def _cycle(item: object) -> tuple[str, ...]:
    if not isinstance(item, list):
        raise _BadTrace("a cycle is not an array", value=item)
    return tuple(Identifier.parse(str(member)).text for member in item)


def _identifier(members: Members, name: str) -> str:
    return Identifier.parse(members.text(name, 1024)).text


def _maybe(members: Members, name: str) -> str | None:
    return None if members.source.get(name) is None else members.text(name, 64)
