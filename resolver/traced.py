"""What a trace found: nodes, links, cycles and what is missing, and its form on the wire.

    {"root", "direction", "at"?, "as_of"?,
     "nodes": [{"identifier", "depth", "kind", "status", "node"?}],
     "edges": [{"upstream", "downstream", "type", "state", "quantity", "lifecycle",
                "asserted_by", "occurrence"?, "assertions": [envelope, …], "cycle"?}],
     "blinded"?: [{"near", "far", "type", "lifecycle", "depth"}],
     "broken": [{"identifier", "code", "node"?}], "cycles": [[identifier, …]], "truncated",
     "rollup"?: {"amounts": [{"identifier", "value", "unit"}], "unknown": [{"identifier", "why"}],
                 "excluded": [{"near", "far"}], "partial"},
     "continuations"?: [{"identifier", "node", "depth"}], "hops"?: [{"node", "by", "seal"}],
     "proof": {"chain": [delegation, …]}}

Of a link in whatever state the newest statement of each end that spoke is among `assertions`, and
the delegations that they verify by are in `chain`: a client need not believe the resolver. Without
proof both are left out.

A link whose far end is not for this caller is among `blinded`, `far` being a pseudonym that stands
for one identifier throughout this trace and in no other. Nothing is signed of it.

What other nodes walked is in it as if it were from here; `node` is the base URL of the one that
told of an identifier or was asked for what is missing, and `hops` has their seals.

Everything here is pure.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from schemas.canonical import Json, JsonObject
from schemas.change import Watermark
from schemas.identifier import Identifier
from schemas.source import Blinded
from schemas.when import NOW, When

from .walk import CUT_SHORT, Broken, Level, Stated, Walk

N = TypeVar("N", bound=Hashable)

UNKNOWN = "unknown"
PIECE = 250  # nodes or links that are written at a time


@dataclass(frozen=True, slots=True)
class Described:
    """What a node's own record says of it; `code` tells why there is nothing to tell.

    `away`: another node was asked; `cover`: the class whose record it is, where there is no own.
    """

    kind: str | None = None
    status: str = UNKNOWN
    code: str = ""
    away: bool = False
    cover: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """An identifier in a trace, and how many links it is away from the root at least.

    `home` is the base URL of the node that told of it, empty for this one.
    """

    identifier: Identifier
    depth: int
    described: Described
    home: str = ""

    def view(self) -> JsonObject:
        """Return the members on the wire."""
        view: JsonObject = {
            "identifier": self.identifier.text,
            "depth": self.depth,
            "kind": self.described.kind,
            "status": self.described.status,
        }
        return {**view, "node": self.home} if self.home else view


@dataclass(frozen=True, slots=True)
class Trace:
    """A whole trace; `broken` names what it lacks, `cycles` are sorted sets of identifiers."""

    root: Identifier
    direction: str
    nodes: tuple[Node, ...]
    edges: tuple[Stated, ...]
    broken: tuple[Broken, ...]
    cycles: tuple[tuple[Identifier, ...], ...]
    blinded: tuple[tuple[int, Blinded], ...] = ()  # and at which depth
    continuations: tuple[JsonObject, ...] = ()  # where other nodes walk on
    hops: tuple[JsonObject, ...] = ()  # what was walked by other nodes, and their seals
    when: When = NOW
    rollup: JsonObject | None = None  # `quantities`, where it is asked for
    read: Watermark | None = None  # of the first reading, where all of them were of this node

    @property
    def truncated(self) -> bool:
        """Tell whether a budget or a time-out kept something out that a longer walk would show."""
        return any(item.code in CUT_SHORT for item in self.broken)

    def view(self, *, proof: bool = True) -> JsonObject:
        """Return the members on the wire."""
        return {
            **self.head(),
            "nodes": [node.view() for node in self.nodes],
            "edges": list(self._edges(proof=proof)),
            **self.tail(proof=proof),
        }

    def pieces(self, *, proof: bool = True) -> Iterator[bytes]:
        """Yield the JSON of `view` in pieces, so that no single step of a long one is long."""
        yield _opened(self.head()) + b',"nodes":['
        yield from _listed(node.view() for node in self.nodes)
        yield b'],"edges":['
        yield from _listed(self._edges(proof=proof))
        yield b"]," + encode(self.tail(proof=proof))[1:]

    def head(self) -> JsonObject:
        """Return the members that come first."""
        return {"root": self.root.text, "direction": self.direction, **self.when.view()}

    def tail(self, *, proof: bool = True) -> JsonObject:
        """Return the members that come last."""
        tail: JsonObject = {}
        if self.blinded:
            tail["blinded"] = [blinded_view(item, depth) for depth, item in self.blinded]
        tail |= {
            "broken": [item.view() for item in self.broken],
            "cycles": [[node.text for node in part] for part in self.cycles],
            "truncated": self.truncated,
        }
        if self.continuations:
            tail["continuations"] = list(self.continuations)
        if self.hops:
            tail["hops"] = list(self.hops)
        if self.rollup is not None:
            tail["rollup"] = self.rollup
        if proof:
            chain = dict.fromkeys(token for edge in self.edges for token in edge.chain)
            tail["proof"] = {"chain": list(chain)}
        return tail

    def _edges(self, *, proof: bool) -> Iterator[JsonObject]:
        part_of = {node: number for number, part in enumerate(self.cycles) for node in part}
        for stated in self.edges:
            view = stated.view(proof=proof)
            part = part_of.get(stated.link.upstream)
            if part is not None and part == part_of.get(stated.link.downstream):
                view["cycle"] = True
            yield view


def blinded_view(item: Blinded, depth: int) -> JsonObject:
    """Return a link with a pseudonym as it is shown."""
    return {**item.to_json(), "depth": depth}


def encode(view: JsonObject) -> bytes:
    """Return compact JSON, UTF-8."""
    return json.dumps(view, ensure_ascii=False, separators=(",", ":")).encode()


def _opened(view: JsonObject) -> bytes:
    return encode(view)[:-1]


def _listed(views: Iterable[JsonObject]) -> Iterator[bytes]:
    batch: list[bytes] = []
    first = True
    for view in views:
        batch.append(encode(view))
        if len(batch) == PIECE:
            yield (b"" if first else b",") + b",".join(batch)
            batch, first = [], False
    if batch:
        yield (b"" if first else b",") + b",".join(batch)


def level_view(
    level: Level, described: Mapping[Identifier, Described], *, proof: bool = True
) -> JsonObject:
    """Return one level as a line of a stream; its links are those that led to it."""
    nodes: list[Json] = [Node(node, level.depth, described[node]).view() for node in level.nodes]
    edges: list[Json] = [stated.view(proof=proof) for stated in level.edges]
    broken: list[Json] = [item.view() for item in _broken([level], described)]
    view: JsonObject = {"depth": level.depth, "nodes": nodes, "edges": edges, "broken": broken}
    if level.blinded:
        view["blinded"] = [blinded_view(item, level.depth) for item in level.blinded]
    return view


def summary(trace: Trace, *, proof: bool = True) -> JsonObject:
    """Return the last line of a stream: what only the whole can tell."""
    tail = trace.tail(proof=proof)
    del tail["broken"]  # told level by level
    tail.pop("blinded", None)
    return {**trace.head(), **tail}


def _broken(
    levels: Sequence[Level], described: Mapping[Identifier, Described]
) -> tuple[Broken, ...]:
    """Gather what a walk could not show, each once, in the order it was met."""
    walked = [item for level in levels for item in level.broken]
    untold = [
        Broken(node, described[node].code)
        for level in levels
        for node in level.nodes
        if described[node].code
    ]
    return tuple(dict.fromkeys(walked + untold))


def assemble(
    walk: Walk, levels: Sequence[Level], described: Mapping[Identifier, Described]
) -> Trace:
    """Put the levels of a finished walk together."""
    return Trace(
        root=levels[0].nodes[0],
        direction=walk.direction,
        nodes=tuple(
            Node(node, level.depth, described[node]) for level in levels for node in level.nodes
        ),
        edges=tuple(stated for level in levels for stated in level.edges),
        broken=_broken(levels, described),
        cycles=_cycles(walk, levels),
        blinded=tuple((level.depth, item) for level in levels for item in level.blinded),
        when=walk.only.when,
    )


def _cycles(walk: Walk, levels: Sequence[Level]) -> tuple[tuple[Identifier, ...], ...]:
    depths = {node: level.depth for level in levels for node in level.nodes}
    return cycles((walk.ends(stated.link) for level in levels for stated in level.edges), depths)


def cycles(pairs: Iterable[tuple[N, N]], depths: Mapping[N, int]) -> tuple[tuple[N, ...], ...]:
    """Find the cycles among (near, far) pairs: the strongly connected sets of two or more nodes.

    A link from a level to the next closes no cycle by itself. One that leads to the same or an
    earlier level may, and in a graph with short cuts it may as well not: only components tell.
    """
    graph: dict[N, list[N]] = {}
    suspect = False
    for near, far in pairs:
        graph.setdefault(near, []).append(far)
        suspect = suspect or depths[far] <= depths[near]
    if not suspect:
        return ()
    found = [tuple(sorted(part, key=str)) for part in _Components(graph) if len(part) > 1]
    return tuple(sorted(found, key=lambda part: str(part[0])))


class _Components(Generic[N]):
    """The strongly connected components of a graph (Tarjan 1972), with a stack of our own.

    `low` of a node is the earliest node of an open component that it reaches; a node that reaches
    none earlier than itself closes its component.
    """

    def __init__(self, graph: Mapping[N, Sequence[N]]) -> None:
        self._graph = graph
        self._index: dict[N, int] = {}
        self._low: dict[N, int] = {}
        self._open: dict[N, None] = {}  # a stack: insertion order, and quick to ask

    def __iter__(self) -> Iterator[tuple[N, ...]]:
        for start in self._graph:
            if start not in self._index:
                yield from self._explore(start)

    def _explore(self, start: N) -> Iterator[tuple[N, ...]]:
        path = [(start, self._enter(start))]
        while path:
            node, ahead = path[-1]
            target = self._next(node, ahead)
            if target is not None:
                path.append((target, self._enter(target)))
                continue
            path.pop()
            if path:
                above = path[-1][0]
                self._low[above] = min(self._low[above], self._low[node])
            if self._low[node] == self._index[node]:
                yield self._close(node)

    def _enter(self, node: N) -> Iterator[N]:
        self._index[node] = self._low[node] = len(self._index)
        self._open[node] = None
        return iter(self._graph.get(node, ()))

    def _next(self, node: N, ahead: Iterator[N]) -> N | None:
        for target in ahead:
            if target not in self._index:
                return target
            if target in self._open:
                self._low[node] = min(self._low[node], self._index[target])
        return None

    def _close(self, node: N) -> tuple[N, ...]:
        part: list[N] = []
        while not part or part[-1] != node:
            part.append(self._open.popitem()[0])
        return tuple(part)
