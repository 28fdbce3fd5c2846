"""What several nodes walked of one trace, put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from schemas.canonical import Json, JsonObject
from schemas.identifier import Identifier
from schemas.link import UPSTREAM, Link

from .hops import CYCLE, Journey
from .parts import Part
from .traced import Node, Trace, blinded_view, cycles
from .walk import Broken


def joined(trace: Trace, journey: Journey) -> Trace:
    """Put what other nodes walked to what was walked here, each node and each link once.

    What its own node says of a node counts: whoever has its record, and not who merely met it. A
    node is as deep as the shortest way to it. That a node was asked for twice is no lack where one
    of the two brought it.
    """
    arrived = journey.arrived
    nodes = {node.identifier: node for node in trace.nodes}
    edges = {stated.link: stated for stated in trace.edges}
    blinded = list(trace.blinded)
    lacks = [*trace.broken, *journey.broken]
    for came in arrived:
        for part in came.parts:
            below = came.depth + part.below
            for node in part.nodes:
                _meet(nodes, node, below, part.node)
            for stated in part.edges:
                edges.setdefault(stated.link, stated)
            if not part.opened:  # what was in its box tells of them again, perhaps in full
                blinded += [(depth + below, item) for depth, item in part.blinded]
            lacks += [replace(item, node=item.node or part.node) for item in part.broken]
    lacks = [item for item in lacks if item.code != CYCLE or not _told(nodes, item)]
    kept = [
        stated
        for link, stated in edges.items()
        if link.upstream in nodes and link.downstream in nodes
    ]
    depths = {node.identifier: node.depth for node in nodes.values()}
    return replace(
        trace,
        nodes=tuple(sorted(nodes.values(), key=lambda node: (node.depth, node.identifier.text))),
        edges=tuple(kept),
        broken=tuple(dict.fromkeys(lacks)),
        cycles=cycles((_ends(stated.link, trace.direction) for stated in kept), depths),
        blinded=tuple(blinded),
        continuations=tuple(item.view() for item in journey.continuations),
        hops=tuple(
            {"node": part.node, "by": str(part.sealed.issuer), "seal": part.seal}
            for came in arrived
            for part in came.parts
        ),
    )


def _meet(nodes: dict[Identifier, Node], met: Node, below: int, home: str) -> None:
    """Take in a node of a part whose entries are `below` links away from our root."""
    depth, described = met.depth + below, met.described
    known = nodes.get(met.identifier)
    if known is not None:
        depth = min(depth, known.depth)
        told = known.described.kind is not None
        if told and (described.kind is None or not known.home):  # of ours, nobody else tells
            described, home = known.described, known.home
    nodes[met.identifier] = Node(met.identifier, depth, described, home if described.kind else "")


def _told(nodes: Mapping[Identifier, Node], lack: Broken) -> bool:
    found = nodes.get(lack.identifier)
    return found is not None and found.described.kind is not None


def part_view(part: Part, depth: int, *, proof: bool = True) -> JsonObject:
    """Return what another node walked as a line of a stream, depths counted from our root."""
    depth += part.below
    nodes: list[Json] = [
        Node(node.identifier, node.depth + depth, node.described).view() for node in part.nodes
    ]
    edges: list[Json] = [stated.view(proof=proof) for stated in part.edges]
    view: JsonObject = {
        "node": part.node,
        "by": str(part.sealed.issuer),
        "nodes": nodes,
        "edges": edges,
        "broken": [replace(item, node=item.node or part.node).view() for item in part.broken],
    }
    if part.blinded and not part.opened:
        view["blinded"] = [blinded_view(item, at + depth) for at, item in part.blinded]
    return view


def _ends(link: Link, direction: str) -> tuple[Identifier, Identifier]:
    """Return the near and the far end of a link."""
    ends = (link.downstream, link.upstream)
    return ends if direction == UPSTREAM else ends[::-1]
