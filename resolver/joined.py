"""What several nodes walked of one trace, put together."""

from __future__ import annotations

from dataclasses import replace

from schemas.canonical import Json, JsonObject
from schemas.identifier import Identifier
from schemas.link import UPSTREAM, Link

from .hops import Journey
from .parts import Part
from .traced import Node, Trace, blinded_view, cycles


def joined(trace: Trace, journey: Journey) -> Trace:
    """Put what other nodes walked to what was walked here, each node and each link once.

    What its own node says of a node counts. A node is as deep as the shortest way to it.
    """
    arrived = journey.arrived
    nodes = {node.identifier: node for node in trace.nodes}
    edges = {stated.link: stated for stated in trace.edges}
    blinded = list(trace.blinded)
    lacks = [*trace.broken, *journey.broken]
    for came in arrived:
        for part in came.parts:
            for node in part.nodes:
                depth = node.depth + came.depth
                known = nodes.get(node.identifier)
                if known is not None:
                    depth = min(depth, known.depth)
                nodes[node.identifier] = Node(node.identifier, depth, node.described)
            for stated in part.edges:
                edges.setdefault(stated.link, stated)
            blinded += [(depth + came.depth, item) for depth, item in part.blinded]
            lacks += [replace(item, node=item.node or part.node) for item in part.broken]
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


def part_view(part: Part, depth: int, *, proof: bool = True) -> JsonObject:
    """Return what another node walked as a line of a stream, depths counted from our root."""
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
    if part.blinded:
        view["blinded"] = [blinded_view(item, at + depth) for at, item in part.blinded]
    return view


def _ends(link: Link, direction: str) -> tuple[Identifier, Identifier]:
    """Return the near and the far end of a link."""
    ends = (link.downstream, link.upstream)
    return ends if direction == UPSTREAM else ends[::-1]
