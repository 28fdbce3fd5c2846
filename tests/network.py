"""A network of links in memory, as a source that counts its calls and keeps its order.

net = Network()                        one company, 88.100; names are suffixes under it
net.grow("ab", "bc")                   a is part of b, b of c: registered, stated by both ends
"""

import asyncio

from resolver.trust import Verifier
from schemas.envelope import digest
from schemas.identifier import Identifier
from schemas.link import DOWNSTREAM, UPSTREAM
from schemas.source import Edges
from schemas.viewer import ANYBODY
from schemas.when import NOW
from tests.authority import Authority

BOTH = (UPSTREAM, DOWNSTREAM)


def name(suffix):
    return suffix if "/" in suffix else f"88.100/{suffix}"


def node(suffix):
    return Identifier.parse(name(suffix))


class Network(Authority):
    """`calls` lists what was asked: ("fetch", n) or ("edges", n), n identifiers at once."""

    def __init__(self):
        super().__init__()
        self.calls = []
        self.delay = 0.0
        self.away_after = None  # so many calls
        self.allocate("88")
        self.allocate("88.100")

    @property
    def verifier(self):
        return Verifier(self.trust)

    def add(self, *suffixes):
        for suffix in suffixes:
            if node(suffix) not in self.records:
                self.register(name(suffix))

    def tie(self, upstream, downstream, sides=BOTH, **content):
        for side in sides:
            self.link(name(upstream), name(downstream), side, **content)

    def grow(self, *pairs, sides=BOTH, **content):
        for upstream, downstream in pairs:
            self.add(upstream, downstream)
            self.tie(upstream, downstream, sides, **content)

    def replace(self, upstream, downstream, side, token):
        """Put another envelope in the place of one side's."""
        for (link, stated), (assertion, _) in self.links.items():
            if (link.upstream, link.downstream, stated) == (node(upstream), node(downstream), side):
                self.links[link, stated] = (assertion, token)

    def token(self, upstream, downstream, side):
        return next(
            token
            for (link, stated), (_, token) in self.links.items()
            if (link.upstream, link.downstream, stated) == (node(upstream), node(downstream), side)
        )

    def withdrawal(self, upstream, downstream, side):
        """The envelope by which one side takes back what it says."""
        link = next(
            link
            for link, stated in self.links
            if (link.upstream, link.downstream, stated) == (node(upstream), node(downstream), side)
        )
        assertion, token = self.links[link, side]
        gone = assertion.withdrawal(digest(token), assertion.issued_at)
        return gone.sign(self.keys[assertion.asserter.prefix])

    def count(self, kind):
        return sum(1 for called, _ in self.calls if called == kind)

    async def fetch(self, identifiers, *, whole=True, viewer=ANYBODY):
        await self._called("fetch", identifiers)
        return await super().fetch(identifiers, whole=whole)

    async def edges(self, level, direction, limit, viewer=ANYBODY, when=NOW):
        await self._called("edges", level)
        read = await super().edges(level, direction, len(self.links))
        near, far = ("downstream", "upstream") if direction == UPSTREAM else BOTH
        ordered = sorted(
            read.edges,
            key=lambda edge: (
                edge.link.end(near).text,
                edge.link.end(far).text,
                edge.link.type,
                edge.link.lifecycle,
                edge.link.occurrence,
            ),
        )
        return Edges(tuple(ordered[:limit]), read.delegations, read.watermark, len(ordered) > limit)

    async def _called(self, kind, identifiers):
        self.calls.append((kind, len(identifiers)))
        if self.away_after is not None:
            self.away = len(self.calls) > self.away_after
        if self.delay:
            await asyncio.sleep(self.delay)
