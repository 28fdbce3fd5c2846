"""Nodes of several companies in memory, which hold what they hold and refer to each other.

world = Federation()                       the root is served at ROOT
world.add("88", node="https://a.example")  allocated by the root, served there
world.add("88.1")                          served where the prefix above is
net = world.net()                          asks its nodes as `resolver.peers.Peers` does, and counts
"""

import asyncio
from dataclasses import replace

from resolver.federated import Federated
from resolver.nothing import ALWAYS, Nothing
from resolver.referral import Place
from resolver.trust import Verifier
from schemas.errors import PeerUnreachable
from schemas.identifier import Identifier, Prefix
from schemas.link import parse_assertion
from schemas.source import Fetched, Found, State
from tests.authority import ISSUED, Authority

ROOT = "https://root.example"
NOW = ISSUED + 1_000


class Federation(Authority):
    """All that is signed, by whoever holds it; `nodes` serve parts of it."""

    def __init__(self) -> None:
        super().__init__()
        self.homes = {Prefix(()): ROOT}

    def add(self, text: str, **more) -> Prefix:
        prefix = self.allocate(text, **more)
        above = next(item for item in prefix.ancestors() if item in self.homes)
        self.homes[prefix] = more.get("node") or self.homes[above]
        return prefix

    def net(self, **more) -> "Net":
        return Net({origin: Node(self, origin) for origin in set(self.homes.values())}, **more)

    def verifier(self) -> Verifier:
        return Verifier(self.trust)


class Node:
    """One node: it serves what is at home with it, and knows what is above and right below."""

    def __init__(self, world: Federation, origin: str, ttl: int = 30) -> None:
        self.world = world
        self.origin = origin
        self.ttl = ttl
        self.older: dict[Prefix, str] = {}  # delegations that it never exchanged
        self.suspended: set[Prefix] = set()

    def knows(self, prefix: Prefix) -> bool:
        homes = self.world.homes
        mine = [item for item, home in homes.items() if home == self.origin]
        if prefix not in homes:
            return False
        above = next((item for item in prefix.ancestors() if item in homes), None)
        return above in mine or any(prefix.covers(item) for item in mine)

    def fetch(self, identifiers) -> Fetched:
        tokens: dict[str, None] = {}
        found: dict[Identifier, Found] = {}
        for identifier in identifiers:
            line = [item for item in Authority._lineage(identifier.prefix) if self.knows(item)]
            found[identifier] = self.find(identifier, line)
            # It has the chains of those who state links that end here.
            said = [parse_assertion(token)[1] for token in found[identifier].assertions]
            lines = [line, *(Authority._lineage(item.asserter.prefix) for item in said)]
            for item in (item for line in lines for item in reversed(line)):
                if not item.is_root:
                    tokens[self.older.get(item) or self.world.delegations[item]] = None
        return Fetched(found, tuple(tokens), self.world.watermark, self.ttl)

    def find(self, identifier, line) -> Found:
        if any(item in self.suspended for item in line):
            return Found(identifier, State.PREFIX_SUSPENDED)
        if not line:
            return Found(identifier, State.NOWHERE)
        if self.world.homes[line[0]] != self.origin:
            return Found(identifier, State.FOREIGN)
        if line[0] != identifier.prefix:
            return Found(identifier, State.NOWHERE)
        return self.world._find(identifier, whole=True)


class Net:
    """Stands where Peers stands: `asked` lists (origin, identifiers) in order."""

    def __init__(self, nodes: dict[str, Node]) -> None:
        self.nodes = nodes
        self.asked: list[tuple[str, list[str]]] = []
        self.stalls: dict[str, asyncio.Event] = {}
        self.lies: dict[str, object] = {}  # origin -> Fetched -> Fetched

    @property
    def origins(self) -> list[str]:
        return [origin for origin, _ in self.asked]

    async def ask(self, origin, identifiers, *, whole=True) -> Fetched:
        self.asked.append((origin, [item.text for item in identifiers]))
        await asyncio.sleep(0)
        if origin in self.stalls:
            await self.stalls[origin].wait()
        if origin not in self.nodes:
            raise PeerUnreachable(origin, "nobody is there")
        fetched = Fetched.from_json(self.nodes[origin].fetch(identifiers).to_json())
        lie = self.lies.get(origin)
        return lie(fetched) if lie else fetched


def recursive(world, net, clock, *, local=None, place=None, **more) -> Federated:
    """A recursive node which trusts the root of a world and asks its nodes."""
    return Federated(
        local or Nothing(),
        world.verifier(),
        net,
        place or Place(ROOT, "https://here.example"),
        clock=clock,
        wall=lambda: NOW + clock() - 1_000,
        **more,
    )


def altered(identifier, **members):
    """A lie: one answer is another than the node's."""

    def lie(fetched: Fetched) -> Fetched:
        item = Identifier.parse(identifier)
        found = replace(fetched.found[item], **members)
        return replace(fetched, found={**fetched.found, item: found})

    return lie


__all__ = ["ALWAYS", "NOW", "ROOT", "Federation", "Net", "Node", "altered", "recursive"]
