"""The walk over links, decided level by level: pure, without I/O and without a clock.

    W1  visited = {root}, frontier = (root,); each node knows by what identifier the walk came into
        the holdings of its prefix, and how many links ago
    W2  select: of the links read for the frontier keep those asked for, each once, in order
    W3  advance: a far end not yet visited is a new node while there is room, and the next
        frontier is the new nodes, sorted; a link to a visited node is kept and not followed
    W4  where there is no room (depth reached, node budget spent) the link is left out, and its
        near end is named as cut short
    W5  what was not read or not verified in time is cut short likewise, and the walk ends

A node that is cut short (`budget`, `timeout`, `unavailable`) is one some of whose links are not
shown: a trace that begins there shows them, so that nothing is lost, only deferred. Every choice
follows the order of the identifiers: the same data and budget give the same walk.

No paths are ever kept. A 25-layer ladder has 2^25 paths and 51 nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from schemas.answer import edge_view
from schemas.canonical import JsonObject
from schemas.identifier import Identifier
from schemas.link import UPSTREAM, Assertion, Link
from schemas.source import Blinded, Edge
from schemas.viewer import ANYBODY, Near, Viewer
from schemas.when import NOW, When

BUDGET, TIMEOUT, UNAVAILABLE = "budget", "timeout", "unavailable"
CUT_SHORT = frozenset({BUDGET, TIMEOUT, UNAVAILABLE})

MAX_DEPTH, MAX_NODES, MAX_EDGES = 100, 100_000, 100_000
MAX_SECONDS = 60.0
EDGES_PER_NODE = 10  # read at most; real bills of material have one to three


@dataclass(frozen=True, slots=True)
class Budget:
    """How far one walk may go; `edges` counts what is read, also where it is not shown."""

    depth: int = 8
    nodes: int = 1_000
    edges: int = 1_000 * EDGES_PER_NODE
    seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class Only:
    """Which links to follow, and of what time; an empty set means every one."""

    types: frozenset[str] = frozenset()
    lifecycles: frozenset[str] = frozenset()
    when: When = NOW

    def wants(self, link: Link) -> bool:
        """Tell whether a link is of what is asked for."""
        return self.fits(link)

    def fits(self, link: Link | Blinded) -> bool:
        """Tell the same of a link whose far end has a pseudonym."""
        return (not self.types or link.type in self.types) and (
            not self.lifecycles or link.lifecycle in self.lifecycles
        )


EVERYTHING = Only()


@dataclass(frozen=True, slots=True)
class Stated:
    """A link and what its ends say of it, one or both, verified: envelopes, and their chains."""

    link: Link
    said: tuple[Assertion, ...]
    envelopes: tuple[str, ...] = ()
    chain: tuple[str, ...] = ()

    def view(self, *, proof: bool = True) -> JsonObject:
        """Return the members on the wire."""
        view = edge_view(self.link, self.said)
        if proof:
            view["assertions"] = list(self.envelopes)
        return view


@dataclass(frozen=True, slots=True)
class Broken:
    """What a walk could not show: where, and why, as an error code or a verdict code.

    `node` is the node that was asked for it, empty where that is this one.
    """

    identifier: Identifier
    code: str
    node: str = ""

    def view(self) -> JsonObject:
        """Return the members on the wire."""
        view: JsonObject = {"identifier": self.identifier.text, "code": self.code}
        return {**view, "node": self.node} if self.node else view


@dataclass(frozen=True, slots=True)
class Read:
    """The verified links of a frontier, and where the reading ended before its time.

    The links of `rest` and of every later node of the frontier are not, or not all, among
    `edges`; `why` is one of CUT_SHORT.
    """

    edges: tuple[Stated, ...] = ()
    broken: tuple[Broken, ...] = ()
    rest: Identifier | None = None
    why: str = ""
    blinded: tuple[Blinded, ...] = ()

    def and_then(self, more: Read) -> Read:
        """Return what was read of two parts of a frontier, in order."""
        return Read(
            self.edges + more.edges,
            self.broken + more.broken,
            more.rest,
            more.why,
            self.blinded + more.blinded,
        )


@dataclass(frozen=True, slots=True)
class Level:
    """One step of a walk: the nodes first reached at this depth and the links that were read."""

    depth: int
    nodes: tuple[Identifier, ...]
    edges: tuple[Stated, ...] = ()
    broken: tuple[Broken, ...] = ()
    blinded: tuple[Blinded, ...] = ()  # links to where nobody is told


class Walk:
    """The state of one walk, owned by one task."""

    def __init__(
        self,
        root: Identifier,
        direction: str,
        budget: Budget,
        only: Only = EVERYTHING,
        viewer: Viewer = ANYBODY,
        *,
        beside: Sequence[Identifier] = (),
    ) -> None:
        """`beside` are further roots: a walk that another node began comes in by several."""
        # W1
        self.viewer = viewer
        self.only = only
        self.direction = direction
        self.depth = 0
        self.frontier: tuple[Identifier, ...] = in_order((root, *beside))
        self.edges_left = budget.edges
        self._budget = budget
        self._visited = {node: Near.at(node) for node in self.frontier}
        self._seen: set[Link] = set()

    def start(self) -> Level:
        """Return level 0, the root alone, or the roots."""
        return Level(0, self.frontier)

    @property
    def depth_left(self) -> int:
        """How many links away from here the walk may go."""
        return max(0, self._budget.depth - self.depth)

    @property
    def nodes_left(self) -> int:
        """How many more nodes the walk may find."""
        return max(0, self._budget.nodes - len(self._visited))

    def leave(self, nodes: Iterable[Identifier]) -> None:
        """Take nodes out of the frontier: they are walked elsewhere."""
        gone = set(nodes)
        self.frontier = tuple(node for node in self.frontier if node not in gone)

    def near(self, nodes: Iterable[Identifier]) -> list[Near]:
        """Return nodes that were reached, each with how the walk came to it."""
        return [self._visited[node] for node in nodes]

    def ends(self, link: Link) -> tuple[Identifier, Identifier]:
        """Return the near end of a link, which was walked from, and the far end."""
        if self.direction == UPSTREAM:
            return link.downstream, link.upstream
        return link.upstream, link.downstream

    def unseen(self, blinded: Sequence[Blinded]) -> tuple[Blinded, ...]:
        """W2 for links whose far ends have pseudonyms: nothing follows from them."""
        self.edges_left -= len(blinded)
        frontier = set(self.frontier)
        return tuple(item for item in blinded if item.near in frontier and self.only.fits(item))

    def select(self, edges: Sequence[Edge]) -> list[Edge]:
        """W2: keep the links of the frontier that are asked for, each once, in order.

        A source is not trusted to keep to the question. What it sends counts as read, kept or not.
        """
        self.edges_left -= len(edges)
        frontier = set(self.frontier)
        chosen: list[Edge] = []
        for edge in edges:
            link = edge.link
            if self.ends(link)[0] in frontier and link not in self._seen and self.only.wants(link):
                self._seen.add(link)
                chosen.append(edge)
        chosen.sort(key=lambda edge: self._order(edge.link))
        return chosen

    def _order(self, link: Link) -> tuple[str, str, str, str, str]:
        near, far = self.ends(link)
        return near.text, far.text, link.type, link.lifecycle, link.occurrence

    def advance(self, read: Read) -> Level:
        """Take what was read of the frontier and move on to the next."""
        # W3
        found: dict[Identifier, Near] = {}
        short: dict[Identifier, str] = {}
        kept: list[Stated] = []
        room = self._room()
        for stated in read.edges:
            near, far = self.ends(stated.link)
            if far not in self._visited and far not in found:
                if len(found) >= room:
                    short[near] = BUDGET  # W4
                    continue
                found[far] = self._visited[near].next(far)
            kept.append(stated)
        nodes = in_order(found)
        # W5
        if read.rest is not None:
            at = read.rest.text
            short.update((node, read.why) for node in self.frontier if node.text >= at)
            short.update((node, read.why) for node in nodes)
        self._visited |= found
        self.frontier = () if read.rest is not None else nodes
        self.depth += 1
        cut = tuple(Broken(node, short[node]) for node in in_order(short))
        return Level(self.depth, nodes, tuple(kept), read.broken + cut, read.blinded)

    def _room(self) -> int:
        # Past the last level allowed one more is read, with no room: it tells the leaves from
        # what is cut short, and finds the links that lead back.
        if self.depth >= self._budget.depth:
            return 0
        return self._budget.nodes - len(self._visited)


def in_order(nodes: Iterable[Identifier]) -> tuple[Identifier, ...]:
    """Sort as identifiers sort in every list: by code point, which is the order of their bytes."""
    return tuple(sorted(nodes, key=lambda node: node.text))
