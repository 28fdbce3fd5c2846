"""Recursive resolution over nodes in memory: who is asked, how often, and who suffers for whom."""

import asyncio
from dataclasses import replace

import pytest

from resolver.nothing import ALWAYS, Nothing
from resolver.referral import MAX_HOPS, Place
from schemas.delegation import parse_delegation
from schemas.errors import NoLog, Unauthenticated
from schemas.identifier import Identifier, Prefix
from schemas.keys import PrivateKey
from schemas.source import Fetched, Found, State
from schemas.viewer import Near
from tests.clock import Clock
from tests.federation import NOW, ROOT, Federation, altered, recursive

A, B, C, D = (f"https://{name}.example" for name in "abcd")
PART, LOT, ORE, HOME = "88.1.5/PART", "88.1/LOT", "77/ORE", "99/HOME"


def ident(text):
    return Identifier.parse(text)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def world():
    """. and 99 at ROOT; 88 at A; 88.1 at B; 88.1.5 at C; 77 at D."""
    made = Federation()
    made.add("88", node=A)
    made.add("88.1", node=B)
    made.add("88.1.5", node=C)
    made.add("77", node=D)
    made.add("99")
    for text in (PART, LOT, ORE, HOME, "88/TOP"):
        made.register(text)
    for side in ("upstream", "downstream"):
        made.link(LOT, PART, side)
    return made


@pytest.fixture
def net(world):
    return world.net()


@pytest.fixture
def source(world, net, clock):
    return recursive(world, net, clock)


async def one(source, text):
    return (await source.fetch([ident(text)])).found[ident(text)]


async def failure(source, text):
    found = await one(source, text)
    assert found.state is State.UNREACHABLE, found
    error = found.elsewhere.failure
    return error.value, getattr(error, "reason", ""), error.code


# R2, R3


async def test_a_walk_makes_one_request_for_each_hop_and_then_goes_straight(world, net, source):
    found = await one(source, PART)
    assert found.state is State.FOUND
    assert found.elsewhere.origin == C
    assert net.asked == [(origin, [PART]) for origin in (ROOT, A, B, C)]
    net.asked.clear()
    assert (await one(source, PART)).state is State.FOUND
    assert net.asked == [(C, [PART])]
    net.asked.clear()
    assert (await one(source, LOT)).state is State.FOUND
    assert net.asked == [(B, [LOT])]


async def test_a_batch_goes_in_one_request_to_each_node(world, net, source):
    fetched = await source.fetch([ident(text) for text in (PART, LOT, ORE, HOME, "88.1.5/NOT")])
    states = [found.state for found in fetched.found.values()]
    assert states == [State.FOUND] * 4 + [State.MISSING]
    assert net.asked[0] == (ROOT, [PART, LOT, ORE, HOME, "88.1.5/NOT"])
    assert sorted(net.origins) == sorted([ROOT, A, B, C, D])
    assert dict(net.asked)[C] == [PART, "88.1.5/NOT"]


async def test_what_is_here_is_asked_of_nobody(world, net, clock):
    class Local(Nothing):
        async def fetch(self, identifiers, *, whole=True, viewer=None):
            mine = net.nodes[B].fetch(identifiers)
            return replace(mine, watermark=ALWAYS)

    source = recursive(world, net, clock, local=Local(), place=Place(ROOT, B))
    assert (await one(source, LOT)).elsewhere is None
    assert (await one(source, "88.1.9/X")).state is State.NOWHERE
    assert net.asked == []
    # What it delegated it refers to directly, and what is elsewhere by way of the root.
    assert (await one(source, PART)).elsewhere.origin == C
    assert net.origins == [C]
    assert (await one(source, ORE)).elsewhere.origin == D
    assert net.origins == [C, ROOT, D]
    assert (await one(source, "88/TOP")).elsewhere.origin == A
    assert net.origins == [C, ROOT, D, A]


async def test_without_a_root_to_ask_nothing_is_asked(world, net, clock):
    for place in (Place("", C), Place(C, C)):
        source = recursive(world, net, clock, place=place)
        assert (await one(source, PART)).state is State.FOREIGN
    assert net.asked == []


@pytest.mark.parametrize(
    ("text", "state", "origins"),
    [
        pytest.param("88.1.5/NOT", State.MISSING, [ROOT, A, B, C], id="nobody registered it"),
        pytest.param("66/X", State.NOWHERE, [ROOT], id="no such prefix below the root"),
        pytest.param("88.2/X", State.NOWHERE, [ROOT, A], id="no such prefix below another's"),
        pytest.param("88.1.5.3/X", State.NOWHERE, [ROOT, A, B, C], id="below one that is served"),
        pytest.param(HOME, State.FOUND, [ROOT], id="served by the node of the root"),
    ],
)
async def test_what_there_is_not_is_an_answer_too(net, source, text, state, origins):
    found = await one(source, text)
    assert (found.state, found.elsewhere.origin) == (state, origins[-1])
    assert net.origins == origins


async def test_whoever_is_above_may_say_that_a_prefix_is_suspended(net, source):
    net.nodes[A].suspended.add(Prefix.parse("88.1"))
    assert (await one(source, PART)).state is State.PREFIX_SUSPENDED
    assert net.origins == [ROOT, A]


# How long it may be kept


async def test_an_answer_is_kept_for_the_ttl_and_a_negative_one_shortly(net, clock, source):
    net.nodes[C].ttl = 500
    kept = [(await one(source, text)).elsewhere.expires_at for text in (PART, "88.1.5/NOT")]
    assert kept == [clock() + 500, clock() + 30]
    net.nodes[C].ttl = 0
    # Nobody may keep it, and who waits for it may have it.
    assert (await one(source, PART)).elsewhere.expires_at == clock()


async def test_nothing_is_kept_beyond_a_delegation(world, net, clock, source):
    world.add("88.1.6", node=C, valid_until=NOW + 10)
    world.register("88.1.6/X", within=None)
    net.nodes[C].ttl = net.nodes[B].ttl = 500
    assert (await one(source, "88.1.6/X")).elsewhere.expires_at == clock() + 10
    clock.move(11)
    net.asked.clear()
    assert await failure(source, "88.1.6/X") == (B, "E_TIME", "peer_failed")
    assert C not in net.origins


async def test_a_referral_is_remembered_for_its_ttl_alone(net, clock, source):
    for node in net.nodes.values():
        node.ttl = 20
    await one(source, PART)
    clock.move(19)
    net.asked.clear()
    await one(source, PART)
    assert net.origins == [C]
    clock.move(2)
    net.asked.clear()
    await one(source, PART)
    assert net.origins == [ROOT, A, B, C]


# R4: a prefix that moves


async def test_a_prefix_that_moved_is_found_again(world, net, source):
    await one(source, PART)
    world.add("88.1.5", node=D, sequence=2)
    net.asked.clear()
    # C knows that it serves it no more, and says so.
    assert (await one(source, PART)).elsewhere.origin == D
    assert net.origins == [C, ROOT, A, B, D]
    net.asked.clear()
    assert (await one(source, PART)).elsewhere.origin == D
    assert net.origins == [D]


async def test_an_old_delegation_is_refused_by_whoever_was_referred_by_a_newer(world, net, source):
    older = world.delegations[Prefix.parse("88.1.5")]
    world.add("88.1.5", node=C, sequence=2)
    net.nodes[C].older[Prefix.parse("88.1.5")] = older
    assert await failure(source, PART) == (C, "E_STALE", "peer_failed")


# R5: who suffers for whom


async def test_a_node_that_is_away_costs_its_own_identifiers_alone(net, source):
    del net.nodes[C]
    fetched = await source.fetch([ident(text) for text in (PART, LOT, ORE)])
    assert [found.state for found in fetched.found.values()] == [
        State.UNREACHABLE,
        State.FOUND,
        State.FOUND,
    ]
    assert fetched.found[ident(PART)].elsewhere.failure.code == "peer_unreachable"
    # It is not the node above that is asked more for it.
    net.asked.clear()
    await one(source, PART)
    assert net.origins == [C]


async def test_who_does_not_wait_for_a_slow_node_has_his_answer_at_once(world, net, clock):
    net.stalls[C] = asyncio.Event()
    source = recursive(world, net, clock, seconds=0.05)
    fetched = await source.local.fetch([ident(text) for text in (PART, LOT, ORE)])
    came = [[item.identifier.text for item in part] async for part in source.abroad(fetched)]
    assert came[-1] == [PART]
    assert sorted(text for part in came[:-1] for text in part) == sorted([LOT, ORE])
    assert await failure(source, PART) == (C, "timeout", "peer_unreachable")


@pytest.mark.parametrize("kind", ["forged", "foreign"])
async def test_nobody_spoils_the_chain_of_another(world, net, source, kind):
    """A delegation of the other's prefix, of a high version, comes with the lie."""
    prefix = Prefix.parse("77")
    key = PrivateKey.generate()
    forged = replace(world_delegation(world, prefix), sequence=99, prev="A" * 43, node=B).sign(
        key if kind == "forged" else world.keys[Prefix.parse("88.1")]
    )
    net.lies[B] = lambda fetched: replace(fetched, delegations=(*fetched.delegations, forged))
    fetched = await source.fetch([ident(text) for text in (ORE, LOT)])
    assert [found.state for found in fetched.found.values()] == [State.FOUND, State.FOUND]
    assert forged not in fetched.delegations
    offered = world.verifier().offered(fetched.found[ident(ORE)].elsewhere.delegations)
    assert offered.known(prefix).chain.holder.node == D


def world_delegation(world, prefix):
    return parse_delegation(world.delegations[prefix])[1]


async def test_what_breaks_in_asking_is_contained(net, source, caplog):
    def broken(_fetched):
        raise RuntimeError("a bug")

    net.lies[C] = broken
    fetched = await source.fetch([ident(text) for text in (PART, LOT)])
    assert fetched.found[ident(LOT)].state is State.FOUND
    assert fetched.found[ident(PART)].elsewhere.failure.reason == "internal"


LIES = {
    "passes it over": (lambda f: replace(f, found={}), "passed_over"),
    "says foreign of what is its own": (altered(PART, state=State.FOREIGN, records=()), "lame"),
    "says nowhere of what it serves": (altered(PART, state=State.NOWHERE, records=()), "lame"),
    "brings no chain": (lambda f: replace(f, delegations=()), "E_CHAIN"),
    "brings half a chain": (lambda f: replace(f, delegations=f.delegations[:2]), "E_CHAIN"),
    "too many statements": (altered(PART, assertions=("x",) * 201), "too_large"),
}


@pytest.mark.parametrize(("lie", "reason"), LIES.values(), ids=LIES)
async def test_a_lie_is_refused_by_name(net, source, lie, reason):
    net.lies[C] = lie
    assert await failure(source, PART) == (C, reason, "peer_failed")


async def test_a_node_does_not_answer_for_what_it_delegated(world, net, source):
    """B holds records of 88.1.5 as if it still served it, with the chain that says otherwise."""
    net.lies[B] = lambda fetched: replace(
        fetched, found={item: world._find(item, whole=True) for item in fetched.found}
    )
    assert await failure(source, PART) == (B, "E_HOME", "peer_failed")
    assert C not in net.origins


async def test_a_referral_leads_to_no_one_twice_and_never_here(world, net, source):
    for number, node in enumerate((A, "https://here.example"), 1):
        world.add(f"88.1.7{number}", node=node)
        text = f"88.1.7{number}/X"
        net.nodes[A].knows = lambda prefix: str(prefix) in {"88", "88.1"}
        assert await failure(source, text) == (B, "lame", "peer_failed")
    assert "https://here.example" not in net.origins


async def test_a_walk_ends_after_eight_nodes(clock):
    world = Federation()
    text = "1"
    for number in range(MAX_HOPS):
        world.add(text, node=f"https://n{number}.example")
        text = f"{text}.1"
    net = world.net()
    source = recursive(world, net, clock)
    deepest = f"{text.removesuffix('.1')}/X"
    assert (await failure(source, deepest))[1:] == ("lame", "peer_failed")
    assert len(net.asked) == MAX_HOPS


async def test_the_local_source_is_not_believed_either(world, net, clock):
    class Local(Nothing):
        async def fetch(self, identifiers, *, whole=True, viewer=None):
            forged = replace(
                world_delegation(world, Prefix.parse("88")), node="https://evil.example"
            ).sign(PrivateKey.generate())
            found = {item: Found(item, State.FOREIGN) for item in identifiers}
            return Fetched(found, (forged,), ALWAYS)

    source = recursive(world, net, clock, local=Local())
    assert (await failure(source, PART))[2] == "unavailable"
    assert net.asked == []


# The rest of the seam


async def test_a_node_that_holds_nothing_says_so(world, net, source):
    nothing = Nothing()
    fetched = await nothing.fetch([ident(PART)])
    assert fetched.found[ident(PART)].state is State.FOREIGN
    assert (await source.changes(ALWAYS)) == (await nothing.changes(None))
    assert (await source.edges([Near.at(ident(PART))], "upstream", 5)).edges == ()
    assert await source.disclosures([(ident(PART), 1)]) == ()
    with pytest.raises(Unauthenticated):
        await source.caller("Bearer x")
    with pytest.raises(NoLog):
        await source.prove(ident(PART))


async def test_what_came_from_elsewhere_is_verified_with_what_is_returned(world, source):
    """Who reads `fetch` alone, as a trace does, has the chains of the prefixes as well."""
    fetched = await source.fetch([ident(PART), ident(ORE)])
    offered = world.verifier().offered(fetched.delegations)
    for text in (PART, ORE):
        assert offered.known(ident(text).prefix).chain.holder.subject == ident(text).prefix
