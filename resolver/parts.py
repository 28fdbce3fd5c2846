"""Parts of a trace that other nodes walked: their form, and what of it is believed.

    B1  the seal is of this trace, and by a prefix that the node holds: its standing delegation
        names the node which was asked, or which a further part says it is from            E_PART
    B2  the part is what was sealed                                                        E_PART
    B3  each link in it verifies by what its ends signed, under the delegations sent along; one
        that does not is left out and named. Whose word kind and status are is who sealed them
    B4  the parts of further nodes are read in the same way, each for itself; what such a part
        begins with is what the part around it came to                                     E_PART
    B5  a box that one of the caller's own openings is for is the one that was sealed, and opens;
        what is in it is by the same node and begins with the same, and is read in the same
        way as a part that stands beside the one around the box                     E_BOX  E_PART

Everything here is pure. What is amiss raises VerifyError, which costs the whole part; what is
amiss with a box costs what is in it, and is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from schemas.canonical import Json, JsonObject, decode_object
from schemas.claims import Members
from schemas.errors import BadInput, VerifyError
from schemas.hop import MAX_CLOSED, Closed, Seal, check_seal, parse_seal, read_closed
from schemas.identifier import Identifier
from schemas.keys import B64
from schemas.opening import digest_of, taken
from schemas.source import Blinded, Edge

from .referral import Place
from .statements import Statements
from .traced import UNKNOWN, Described, Node
from .trust import Verifier
from .walk import Broken, Level, Stated

MAX_PARTS = 64  # of one trace, however they are nested, and as many again in boxes
MAX_OF_PART = 200_000  # nodes or links of one

Ends = tuple[Identifier, Identifier]


@dataclass(frozen=True, slots=True)
class Part:
    """What one node found of a trace, verified; depths count from the entries it was asked for.

    `below` is how deep those are under the entries of the request that brought it. Where a part is
    `opened`, what was in its box tells all of it again, and more.
    """

    node: str
    sealed: Seal
    seal: str
    nodes: tuple[Node, ...]
    edges: tuple[Stated, ...]
    blinded: tuple[tuple[int, Blinded], ...]
    broken: tuple[Broken, ...]
    below: int = 0
    opened: bool = False


@dataclass(frozen=True, slots=True)
class Asking:
    """What a reply answers: which node, in what trace; `keys` are of the caller's openings."""

    origin: str
    trace: str
    direction: str
    keys: Mapping[B64, bytes] = field(default_factory=dict, repr=False)


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


class _Count:
    """How many parts of one trace were read, and how many of boxes."""

    def __init__(self) -> None:
        self._read = {False: 0, True: 0}

    def one_more(self, *, boxed: bool) -> None:
        """Count one; raise VerifyError where there are too many."""
        self._read[boxed] += 1
        if self._read[boxed] > MAX_PARTS:
            raise VerifyError("E_LIMIT", f"a trace has at most {MAX_PARTS} parts")


class Reader:
    """Reads replies to hops; owns nothing but what it is given."""

    def __init__(self, verifier: Verifier, statements: Statements, place: Place) -> None:
        self._verifier = verifier
        self._statements = statements
        self._place = place

    def read(self, reply: JsonObject, asking: Asking) -> list[Part]:
        """Return the parts of a reply, that of the node asked first; raise VerifyError."""
        return self._read(reply, asking, _Count())

    def _read(
        self, reply: JsonObject, asking: Asking, count: _Count, beside: Part | None = None
    ) -> list[Part]:
        """Return the parts of a reply; `beside` is the part around the box that it was in."""
        found: list[Part] = []
        waiting: list[tuple[JsonObject, Part | None]] = [(reply, None)]
        while waiting:
            count.one_more(boxed=beside is not None)
            item, around = waiting.pop(0)
            expected = asking.origin if around is None else None
            try:
                part, named = self._part(item, expected, asking.trace, asking.direction)
                closed = _closed(item)
            except BadInput as err:
                if isinstance(err, VerifyError):
                    raise
                raise VerifyError("E_FORMAT", err.detail, value=err.value) from None
            if around is not None:
                part = replace(part, below=_below(part, around))
            elif beside is not None:
                part = replace(part, below=_same(part, beside))
            found += self._unlocked(part, named, closed, asking, count) if asking.keys else [part]
            waiting += [(inner, part) for inner in _inner(item)]
        return found

    # B5

    def _unlocked(
        self,
        part: Part,
        named: Sequence[str],
        closed: Sequence[Closed],
        asking: Asking,
        count: _Count,
    ) -> list[Part]:
        """Return a part and what is in its boxes, or that part and what is amiss with them."""
        inside: list[Part] = []
        try:
            _check_named(part, named, closed)
            for item in closed:
                key = asking.keys.get(item.opening)
                if key is not None:
                    content = taken(key, asking.trace, item.opening, item.box)
                    within = replace(asking, origin=part.node)
                    inside += self._read(decode_object(content), within, count, part)
        except VerifyError as err:
            entries = [node.identifier for node in part.nodes if node.depth == 0]
            lacks = tuple(Broken(entry, err.code, part.node) for entry in entries)
            return [replace(part, broken=part.broken + lacks)]
        return [replace(part, opened=bool(inside)), *inside]

    def _part(
        self, reply: JsonObject, origin: str | None, trace: str, direction: str
    ) -> tuple[Part, tuple[str, ...]]:
        """Take B1 to B3; return the part, and the digests of the boxes beside it."""
        outer = Members(reply, BadInput, "reply.")
        part = outer.inner(outer.take("part"), "part.")
        node = part.text("node", 512)
        offered = self._verifier.offered(outer.array("delegations", MAX_OF_PART, _text))
        token = outer.take("seal")
        # B1
        envelope, seal = parse_seal(token)
        known = offered.known(seal.issuer)
        # At the node of the root, what no delegation names a node for is here.
        home = self._place.home(known.chain) or self._place.here
        if seal.node != node or home != node:
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
        found = Part(
            node,
            seal,
            str(token),
            part.array("nodes", MAX_OF_PART, _node),
            tuple(edges),
            part.array("blinded", MAX_OF_PART, _blinded),
            tuple(broken),
        )
        return found, part.array("closed", MAX_CLOSED, _text)


def _closed(reply: JsonObject) -> tuple[Closed, ...]:
    return Members(reply, BadInput, "reply.").array("closed", MAX_CLOSED, read_closed)


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


def _check_named(part: Part, named: Sequence[str], closed: Sequence[Closed]) -> None:
    """B5: nobody on the way took a box away, or put another in its place."""
    if list(named) != [digest_of(item.box) for item in closed]:
        raise VerifyError("E_BOX", f"the boxes are not those that {part.node} sealed")


def _same(part: Part, beside: Part) -> int:
    """B5: return how deep what was in a box begins: where the part around the box does."""
    mine, theirs = (
        {node.identifier for node in item.nodes if node.depth == 0} for item in (part, beside)
    )
    if mine != theirs:
        raise VerifyError("E_PART", "what is in the box begins elsewhere", value=part.node)
    return beside.below


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
