"""Referrals at random: every walk ends, and nobody is asked whom no verified delegation named."""

import asyncio
import random
from functools import cache

from hypothesis import given, settings, strategies as st

from resolver.federated import Federated
from resolver.nothing import Nothing
from resolver.referral import MAX_HOPS, Place
from resolver.trust import Verifier
from schemas.change import Watermark
from schemas.delegation import DelegatedKey, Delegation
from schemas.identifier import Identifier, Prefix
from schemas.keys import PrivateKey
from schemas.source import Fetched, Found, State
from tests.authority import ALL_USES, ISSUED, Authority
from tests.clock import Clock
from tests.federation import NOW, ROOT

HERE = "https://here.example"
ORIGINS = ["", ROOT, HERE, *(f"https://{name}.example" for name in "abcd")]
DEPTH = 7
LINE = [Prefix.parse(".".join("1" * depth)) for depth in range(1, DEPTH + 1)]
KEYS = {prefix: PrivateKey.generate() for prefix in LINE}
WORLD = Authority()
VERIFIER = Verifier(WORLD.trust)  # one for all: what it remembers is what is signed
ASKED = [Identifier.parse(f"{prefix}/X") for prefix in LINE]


@cache
def delegated(depth, node, sequence, forged):
    """A delegation of the prefix at a depth to a node, by its parent or by a stranger."""
    prefix = LINE[depth]
    signer = WORLD.keys[Prefix(())] if depth == 0 else KEYS[LINE[depth - 1]]
    return Delegation(
        prefix,
        prefix.parent,
        sequence,
        ISSUED,
        (DelegatedKey(KEYS[prefix].public, ALL_USES),),
        prev=None if sequence == 1 else "A" * 43,
        node=node.replace("https://", "https://evil-") if forged and node else node,
    ).sign(PrivateKey.generate() if forged else signer)


def replies(chance):
    """What each origin says in turn: a few delegations, and a state.

    For each prefix there is nothing, or a delegation to anybody. Few are forged, else nearly every
    reply is refused.
    """

    def sent():
        return [
            (chance.choice(ORIGINS), chance.choice([1, 1, 1, 2]), chance.random() < 0.05)
            for _ in range(chance.randint(0, DEPTH))
        ]

    def state():
        return chance.choice([State.FOREIGN] * 5 + [State.MISSING, State.NOWHERE, State.FOUND])

    return {
        origin: [(sent(), state(), chance.choice([0, 30])) for _ in range(chance.randint(1, 3))]
        for origin in ORIGINS
    }


class Net:
    """Every origin has its own few replies, which it gives in turn."""

    def __init__(self, replies):
        self.replies = replies
        self.allowed = {ROOT}
        self.asked = []

    async def ask(self, origin, identifiers, *, whole=True):
        assert origin in self.allowed, origin
        self.asked.append((origin, tuple(identifiers)))
        mine = self.replies[origin]
        sent, state, ttl = mine[len(self.asked) % len(mine)]
        await asyncio.sleep(0)
        tokens = []
        for depth, (node, sequence, forged) in enumerate(sent):
            tokens.append(delegated(depth, node, sequence, forged))
            self.allowed |= set() if forged else {node}
        found = {item: Found(item, state) for item in identifiers}
        return Fetched(found, tuple(tokens), Watermark("e", 1), ttl)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**64))
def test_every_walk_ends_and_asks_nobody_who_was_not_named(seed):
    asyncio.run(walk(Net(replies(random.Random(seed)))))


async def walk(net):
    clock = Clock()
    source = Federated(Nothing(), VERIFIER, net, Place(ROOT, HERE), clock=clock, wall=lambda: NOW)
    for identifier in (ASKED[-1], ASKED[-1]):  # the second time some is remembered
        net.asked.clear()
        fetched = await source.fetch([identifier])
        assert set(fetched.found) == {identifier}
        assert fetched.found[identifier].state is not State.FOREIGN
        # One walk, or one from what is remembered and one from the beginning.
        origins = [origin for origin, _ in net.asked]
        assert len(origins) <= 2 * MAX_HOPS
        assert max(map(origins.count, origins)) <= 2
        assert HERE not in origins
    net.asked.clear()
    fetched = await source.fetch(ASKED)
    assert set(fetched.found) == set(ASKED)
    for identifier in ASKED:
        assert sum(identifier in asked for _, asked in net.asked) <= 2 * MAX_HOPS


async def test_the_longest_of_such_walks_is_long():
    """Of what chance writes some leads far: the test above is of loops, and not of refusals."""
    longest = 0
    for seed in range(60):
        net = Net(replies(random.Random(seed)))
        await walk(net)
        longest = max(longest, *(sum(item in asked for _, asked in net.asked) for item in ASKED))
    assert longest >= 3
