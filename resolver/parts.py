"""Parts of a trace that other nodes walked: their form, and what of it is believed.

    B1  the seal is of this trace, and by a prefix that the node holds: its standing delegation
        names the node which was asked, or which a further part says it is from            E_PART
    B2  the part is what was sealed                                                        E_PART
    B3  each link in it verifies by what its ends signed, under the delegations sent along; one
        that does not is left out and named. Whose word kind and status are is who sealed them
    B4  the parts of further nodes are read in the same way, each for itself; what such a part
        begins with is what the part around it came to                                     E_PART

Everything here is pure. What is amiss raises VerifyError, which costs the whole part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from schemas.canonical import Json, JsonObject
from schemas.claims import Members
from schemas.errors import BadInput, VerifyError
from schemas.hop import Seal, check_seal, parse_seal
from schemas.identifier import Identifier
from schemas.source import Blinded, Edge

from .referral import Place
from .statements import Statements
from .traced import UNKNOWN, Described, Node
from .trust import Verifier
from .walk import Broken, Level, Stated

MAX_PARTS = 64  # of one trace, however they are nested
MAX_OF_PART = 200_000  # nodes or links of one

Ends = tuple[Identifier, Identifier]


@dataclass(frozen=True, slots=True)
class Part:
    """What one node found of a trace, verified; depths count from the entries it was asked for.

    `below` is how deep those are under the entries of the request that brought it.
    """

    node: str
    sealed: Seal
    seal: str
    nodes: tuple[Node, ...]
    edges: tuple[Stated, ...]
    blinded: tuple[tuple[int, Blinded], ...]
    broken: tuple[Broken, ...]
    below: int = 0


def encode_part(
    trace: str, node: str, levels: Sequence[Level], described: Mapping[Identifier, Described]
) -> JsonObject:
    """Return what a walk of ours found as a part, before it is sealed."""
    nodes: list[Json] = []
    edges: list[Json] = []
    blinded: list[Json] = []
    broken: list[Json] = []
    for level in levels:
        for item in level.nodes:
            nodes.append(_without_null(Node(item, level.depth, described[item]).view()))
            if described[item].code:
                broken.append(Broken(item, described[item].code).view())
        edges += [Edge(stated.link, stated.envelopes).to_json() for stated in level.edges]
        blinded += [{**item.to_json(), "depth": level.depth} for item in level.blinded]
        broken += [item.view() for item in level.broken]
    part: JsonObject = {
        "trace": trace,
        "node": node,
        "nodes": nodes,
        "edges": edges,
        "broken": broken,
    }
    if blinded:
        part["blinded"] = blinded
    return part


def _without_null(view: JsonObject) -> JsonObject:
    return {name: value for name, value in view.items() if value is not None}


def delegations_of(levels: Sequence[Level]) -> tuple[str, ...]:
    """Return the delegations that the links of a walk need to be verified."""
    tokens = (token for level in levels for stated in level.edges for token in stated.chain)
    return tuple(dict.fromkeys(tokens))


class Reader:
    """Reads replies to hops; owns nothing but what it is given."""

    def __init__(self, verifier: Verifier, statements: Statements, place: Place) -> None:
        self._verifier = verifier
        self._statements = statements
        self._place = place

    def read(self, reply: JsonObject, origin: str, trace: str, direction: str) -> list[Part]:
        """Return the parts of a reply, that of the node asked first; raise VerifyError."""
        found: list[Part] = []
        waiting: list[tuple[JsonObject, Part | None]] = [(reply, None)]
        while waiting:
            if len(found) >= MAX_PARTS:
                raise VerifyError("E_LIMIT", f"a trace has at most {MAX_PARTS} parts")
            item, around = waiting.pop(0)
            expected = origin if around is None else None
            try:
                part = self._part(item, expected, trace, direction)
            except BadInput as err:
                if isinstance(err, VerifyError):
                    raise
                raise VerifyError("E_FORMAT", err.detail, value=err.value) from None
            if around is not None:
                part = replace(part, below=_below(part, around))
            found.append(part)
            waiting += [(inner, part) for inner in _inner(item)]
        return found

    def _part(self, reply: JsonObject, origin: str | None, trace: str, direction: str) -> Part:
        outer = Members(reply, BadInput, "reply.")
        part = outer.inner(outer.take("part"), "part.")
        node = part.text("node", 512)
        offered = self._verifier.offered(outer.array("delegations", MAX_OF_PART, _text))
        token = outer.take("seal")
        # B1
        envelope, seal = parse_seal(token)
        known = offered.known(seal.issuer)
        if seal.node != node or self._place.home(known.chain) != node:
            raise VerifyError("E_PART", f"{seal.issuer} is not served by {node}", value=node)
        if origin is not None and node != origin:
            raise VerifyError("E_PART", f"{origin} sent a part of {node} as its own", value=node)
        # B2
        source = reply["part"]
        assert isinstance(source, dict)
        check_seal(envelope, seal, known.chain, source, trace)
        if part.text("trace", 22) != trace:
            raise VerifyError("E_PART", "the part is of another trace", value=trace)
        # B3
        near = "downstream" if direction == "upstream" else "upstream"
        broken = list(part.array("broken", MAX_OF_PART, _broken))
        edges: list[Stated] = []
        for edge in part.array("edges", MAX_OF_PART, Edge.from_json):
            stated, failed = self._statements.stated(edge, edge.link.end(near), offered)
            broken += failed
            if stated is not None:
                edges.append(stated)
        return Part(
            node,
            seal,
            str(token),
            part.array("nodes", MAX_OF_PART, _node),
            tuple(edges),
            part.array("blinded", MAX_OF_PART, _blinded),
            tuple(broken),
        )


def _inner(reply: JsonObject) -> list[JsonObject]:
    """B4: return what a reply has of further nodes."""
    found = reply.get("parts", [])
    if not isinstance(found, list):
        raise VerifyError("E_FORMAT", "parts is not an array of objects")
    inner = [item for item in found if isinstance(item, dict)]
    if len(inner) != len(found):
        raise VerifyError("E_FORMAT", "parts is not an array of objects")
    return inner


def _below(part: Part, around: Part) -> int:
    """B4: return how deep a further part begins, by the one which says that it came there."""
    entries = {node.identifier for node in part.nodes if node.depth == 0}
    met = {node.identifier: node.depth for node in around.nodes if node.identifier in entries}
    if len(met) != len(entries):
        raise VerifyError(
            "E_PART", f"{part.node} walked what {around.node} did not come to", value=part.node
        )
    return around.below + min(met.values(), default=0)


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise BadInput(f"{where.rstrip('.')} is not a string", value=value)
    return value


def _node(value: object, where: str) -> Node:
    members = Members({}, BadInput).inner(value, where)
    return Node(
        members.identifier("identifier"),
        members.integer("depth", 0, 100),
        Described(members.maybe_text("kind", 32), members.maybe_text("status", 32) or UNKNOWN),
    )


def _blinded(value: object, where: str) -> tuple[int, Blinded]:
    depth = Members({}, BadInput).inner(value, where).integer("depth", 0, 100)
    return depth, Blinded.from_json(value, where)


def _broken(value: object, where: str) -> Broken:
    members = Members({}, BadInput).inner(value, where)
    return Broken(
        members.identifier("identifier"),
        members.text("code", 64),
        members.maybe_text("node", 512) or "",
    )
