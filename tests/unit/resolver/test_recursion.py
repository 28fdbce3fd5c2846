"""A resolver that asks other nodes: what it serves, for how long, and what others suffer by it."""

import asyncio
import json
from dataclasses import replace

import httpx
import pytest

from resolver.answers import Answers
from resolver.app import Resolver, create_app
from resolver.config import ResolverSettings
from resolver.lookup import ALOFT, Lookup
from resolver.nothing import Nothing
from resolver.peers import Peers
from resolver.referral import Place
from resolver.render import Form, Wanted
from resolver.shared import Entry, Seal
from resolver.tags import of_reading
from schemas.delegation import parse_delegation
from schemas.errors import PeerFailed, PeerUnreachable, Unavailable
from schemas.identifier import Identifier, Prefix
from schemas.keys import PrivateKey
from schemas.record import parse_record
from schemas.source import State
from tests.clock import Clock
from tests.federation import NOW, ROOT, Federation, altered, recursive
from tests.nodes_http import Wicked, floods, honest, http, reply, stalls

A, B, C = (f"https://{name}.example" for name in "abc")
PART, OTHER, ORE = "88.1/PART", "88.1/OTHER", "77/ORE"


def ident(text):
    return Identifier.parse(text)


@pytest.fixture
def world():
    made = Federation()
    made.add("88", node=A)
    made.add("88.1", node=B)
    made.add("77", node=C)
    for text in (PART, OTHER, ORE):
        made.register(text)
    for side in ("upstream", "downstream"):
        made.link(ORE, PART, side)
    return made


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def net(world):
    return world.net()


def resolver_of(source, world, clock):
    return Resolver(
        source,
        world.verifier(),
        ResolverSettings(stale_if_error=60),
        clock=clock,
        wall=lambda: NOW + clock() - 1_000,
    )


@pytest.fixture
async def resolver(world, net, clock):
    made = resolver_of(recursive(world, net, clock), world, clock)
    await made.freshness.poll()
    return made


@pytest.fixture
async def client(resolver):
    transport = httpx.ASGITransport(create_app(resolver))
    async with httpx.AsyncClient(transport=transport, base_url="http://here.example") as client:
        yield client


# One request for each hop, then none


async def test_an_answer_of_another_node_is_served_as_any_and_kept_for_its_ttl(
    world, net, clock, resolver, client
):
    net.nodes[B].ttl = 10
    first = await client.get(f"/{PART}")
    assert first.status_code == 200
    assert net.asked == [(origin, [PART]) for origin in (ROOT, A, B)]
    body = first.json()
    chain = [world.delegations[Prefix.parse(text)] for text in ("88", "88.1", "77")]
    assert body["proof"]["chain"] == chain
    assert [link["identifier"] for link in body["links"]["upstream"]] == [ORE]

    clock.move(9)
    await resolver.freshness.poll()
    assert (await client.get(f"/{PART}")).content == first.content
    assert await client.get(f"/{PART}", headers={"if-none-match": first.headers["etag"]})
    assert len(net.asked) == 3
    clock.move(1)
    await resolver.freshness.poll()
    assert (await client.get(f"/{PART}")).content == first.content
    assert net.asked[3:] == [(B, [PART])]


@pytest.mark.parametrize(
    ("text", "status", "code", "last"),
    [("88.1/NOBODY", 404, "identifier_not_found", B), ("88.9/X", 404, "prefix_not_found", A)],
)
async def test_that_there_is_nothing_is_kept_for_thirty_seconds(
    net, clock, resolver, client, text, status, code, last
):
    net.nodes[last].ttl = 500
    for _ in range(2):
        answer = await client.get(f"/{text}")
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    asked = len(net.asked)
    assert net.origins[-1] == last
    clock.move(30)
    await resolver.freshness.poll()
    await client.get(f"/{text}")
    assert len(net.asked) > asked


async def test_what_nobody_may_keep_is_asked_for_each_time(net, resolver, client):
    net.nodes[B].ttl = 0
    for number in range(3):
        assert (await client.get(f"/{PART}")).status_code == 200
        assert net.origins.count(B) == number + 1
    assert len(resolver.answers) == 1  # and is never fresh


async def test_many_who_ask_make_one_walk(net, client):
    answers = await asyncio.gather(*(client.get(f"/{PART}") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert net.origins == [ROOT, A, B]


async def test_the_second_cache_knows_when_it_ends(world, net, clock, resolver):
    reading = await resolver.lookup.resolve(ident(PART))
    rendered = resolver.renderer.answer(reading, Wanted(Form.JSON), of_reading(reading))
    assert rendered.answer.expires == clock() + 30
    seal = Seal(b"s" * 32, clock, lambda: 0.0)
    entry = Entry(rendered.answer, "nothing", of_reading(reading))
    assert seal.unpack(b"k", seal.pack(b"k", entry)).answer.expires == clock() + 30


async def test_a_reading_is_served_for_a_lease_after_its_end_and_no_longer(resolver, clock):
    reading = await resolver.lookup.resolve(ident(PART))
    ended = replace(reading, expires_at=clock())
    assert resolver.lookup.serves(ended)
    clock.move(0.6)
    await resolver.freshness.poll()
    assert resolver.lookup.serves(reading)
    assert not resolver.lookup.serves(ended)


async def test_a_batch_holds_them_all(net, client):
    answer = await client.post("/v1/resolve", json={"identifiers": [PART, ORE, "88.1/NO", PART]})
    statuses = [json.loads(line)["status"] for line in answer.text.splitlines()]
    assert statuses == [200, 200, 404, 200]
    assert net.asked[0] == (ROOT, [PART, ORE, "88.1/NO"])
    assert len(net.asked) == 4


# Who suffers for whom


async def test_a_slow_node_holds_up_nobody_else(world, net, clock):
    """Neither what lives here nor what another serves, of the same batch and of later ones."""
    net.stalls[B] = asyncio.Event()

    class Local(Nothing):
        async def fetch(self, identifiers, *, whole=True, viewer=None):
            return replace(net.nodes[C].fetch(identifiers), watermark=world.watermark)

    source = recursive(world, net, clock, local=Local(), place=Place(ROOT, C))
    lookup = Lookup(
        source.local, world.verifier(), Answers(1 << 20, clock), clock=clock, federated=source
    )
    slow = []
    async with asyncio.timeout(10):
        while net.origins.count(B) <= ALOFT:  # more than fetches of the local source at a time
            text = f"88.1/SLOW-{len(slow)}"
            slow.append(asyncio.create_task(lookup.resolve(ident(text))))
            await asyncio.sleep(0.001)
    world.add("78", node=ROOT)
    world.register("78/QUICK")
    for _ in range(3):
        here, there = await asyncio.wait_for(
            asyncio.gather(lookup.resolve(ident(ORE)), lookup.resolve(ident("78/QUICK"))), 5
        )
        assert (here.state, there.state) == (State.FOUND, State.FOUND)
        assert (here.expires_at, there.expires_at) == (float("inf"), clock() + 30)
    assert not any(task.done() for task in slow)
    net.stalls[B].set()
    assert {(await task).state for task in slow} == {State.MISSING}


async def test_a_failure_names_the_node_and_the_reason(net, resolver, client):
    del net.nodes[B]
    answer = await client.get(f"/{PART}")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert (body["code"], body["value"]) == ("peer_unreachable", B)
    assert len(resolver.answers) == 0
    net.lies[A] = lambda fetched: replace(fetched, delegations=())
    answer = await client.get("/88/X")
    assert (answer.status_code, answer.json()["reason"]) == (502, "E_CHAIN")
    with pytest.raises(PeerUnreachable) as one:
        await resolver.lookup.resolve(ident(PART))
    with pytest.raises(PeerUnreachable) as two:
        await resolver.lookup.resolve(ident(PART))
    assert one.value is not two.value


async def test_a_flood_of_strangers_of_another_node_is_held_back(resolver, net):
    """What another node does not have costs the budget of its prefix, as here; referrals do not."""
    guard = resolver.lookup.guard
    await resolver.referrals.resolve(ident("88.1/X"))
    await resolver.lookup.resolve(ident(PART))
    del net.nodes[C]
    with pytest.raises(PeerUnreachable):
        await resolver.lookup.resolve(ident(ORE))
    assert guard._left == {}
    await resolver.lookup.resolve(ident("88.1/NOBODY"))
    assert guard._left.keys() == {Prefix.parse("88.1")}
    await resolver.lookup.resolve(ident("66/X"))
    assert guard._left.keys() == {Prefix.parse("88.1"), None}


# Iterative


async def test_who_asks_iteratively_is_told_whom_to_ask(world, net, clock, resolver):
    class Local(Nothing):
        async def fetch(self, identifiers, *, whole=True, viewer=None):
            return replace(net.nodes[A].fetch(identifiers), watermark=world.watermark)

    world.register("88/TOP")
    resolver = resolver_of(
        recursive(world, net, clock, local=Local(), place=Place(ROOT, A)), world, clock
    )
    await resolver.freshness.poll()
    transport = httpx.ASGITransport(create_app(resolver))
    async with httpx.AsyncClient(transport=transport, base_url=A) as client:
        answer = await client.get(f"/{PART}?recursive=false", headers={"accept": "text/html"})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        assert answer.json() == {
            "identifier": PART,
            "referral": {"prefix": "88.1", "node": B},
            "proof": {"chain": [world.delegations[Prefix.parse(p)] for p in ("88", "88.1")]},
        }
        again = await client.get(
            f"/{PART}?recursive=false",
            headers={"accept": "text/html", "if-none-match": answer.headers["etag"]},
        )
        assert again.status_code == 304
        # To the node of the root it refers without a chain: that is configured, not delegated.
        answer = await client.get(f"/{ORE}?recursive=false")
        assert answer.json()["referral"] == {"prefix": ".", "node": ROOT}
        assert answer.json()["proof"] == {"chain": []}
        # For what is held here, and what is nowhere below it, it changes nothing.
        for text in ("88/TOP", "88/NO", "88.9/X"):
            one = await client.get(f"/{text}")
            two = await client.get(f"/{text}?recursive=false")
            assert (one.status_code, one.content) == (two.status_code, two.content)
        for query in ("recursive=no", "recursive=", "recursive=false&recursive=false"):
            assert (await client.get(f"/{PART}?{query}")).status_code == 400
        assert net.asked == []
        assert (await client.get(f"/{PART}?recursive=true")).json()["identifier"] == PART
        assert net.origins == [B]
        # The delegation changes: what was kept of it is not served.
        world.add("88.1", node=C, sequence=2)
        await resolver.freshness.poll()
        answer = await client.get(f"/{PART}?recursive=false", headers={"accept": "text/html"})
        assert answer.json()["referral"] == {"prefix": "88.1", "node": C}


async def test_a_referral_is_kept_no_longer_than_its_delegation_is_valid(world, net, clock):
    world.add("88.5", node=B, valid_until=NOW + 5)

    class Local(Nothing):
        async def fetch(self, identifiers, *, whole=True, viewer=None):
            return replace(net.nodes[A].fetch(identifiers), watermark=world.watermark)

    resolver = resolver_of(
        recursive(world, net, clock, local=Local(), place=Place(ROOT, A)), world, clock
    )
    await resolver.freshness.poll()
    assert (await resolver.referrals.resolve(ident("88.5/X"))).expires_at == clock() + 5
    clock.move(6)
    await resolver.freshness.poll()
    with pytest.raises(Unavailable):
        await resolver.referrals.resolve(ident("88.5/X"))


async def test_a_resolver_that_asks_nobody_answers_both_alike(world, clock):
    resolver = resolver_of(world, world, clock)
    await resolver.freshness.poll()
    transport = httpx.ASGITransport(create_app(resolver))
    async with httpx.AsyncClient(transport=transport, base_url=ROOT) as client:
        for text in (PART, "66/X"):
            one, two = await client.get(f"/{text}"), await client.get(f"/{text}?recursive=false")
            assert (one.status_code, one.content) == (two.status_code, two.content)


# Liars, over real sockets


def _forged(world):
    """A record of the holder's that somebody else signed."""
    record = parse_record(world.records[ident(PART)][1])[1]
    return altered(PART, records=(replace(record, kind="batch").sign(PrivateKey.generate()),))


def _tampered(world):
    """A record of the holder's whose signature is another."""
    head, payload, _ = world.records[ident(PART)][1].split(".")
    signature = world.records[ident(OTHER)][1].rsplit(".", 1)[1]
    return altered(PART, records=(f"{head}.{payload}.{signature}",))


def _another(world):
    return altered(PART, records=(world.records[ident(OTHER)][1],))


def _another_prefix(world):
    """The record of another holder, with a perfect signature and the chain to go with it."""

    def lie(fetched):
        token = world.records[ident(ORE)][1]
        changed = altered(PART, records=(token,))(fetched)
        more = (*fetched.delegations, world.delegations[Prefix.parse("77")])
        return replace(changed, delegations=more)

    return lie


def _stale_chain(world):
    older = world.delegations[Prefix.parse("88.1")]
    world.add("88.1", node=world.homes[Prefix.parse("88.1")], sequence=2)
    return lambda fetched: replace(
        fetched,
        delegations=tuple(
            older if parse_delegation(token)[1].subject == Prefix.parse("88.1") else token
            for token in fetched.delegations
        ),
    )


def _not_its_own(world):
    """A node says a prefix lives with it that is delegated to another."""
    world.add("88.1", node="http://127.0.0.1:9", sequence=2)
    return lambda fetched: replace(
        fetched, found={item: world._find(item, whole=True) for item in fetched.found}
    )


def _wrong_state(_world):
    return altered(PART, state=State.COVERED)


def _no_record(_world):
    return altered(PART, records=())


LIES = {
    "a forged signature": (_tampered, "E_SIG"),
    "a signature of nobody": (_forged, "E_CHAIN"),
    "another record": (_another, "E_ID"),
    "another holder's record": (_another_prefix, "E_ID"),
    "a stale chain": (_stale_chain, "E_STALE"),
    "a state that is not the record's": (_wrong_state, "E_FORMAT"),
    "no record": (_no_record, "E_FORMAT"),
}


@pytest.fixture
async def peers(clock):
    made = Peers(private=True, seconds=0.3, clock=clock)
    yield made
    await made.close()


async def served(world, peers, clock, root):
    """A recursive resolver that begins at a server, `root`."""
    place = Place(root.origin, "https://here.example")
    source = recursive(world, peers, clock, place=place, seconds=1.0)
    resolver = resolver_of(source, world, clock)
    await resolver.freshness.poll()
    return resolver


@pytest.fixture
async def two(clock):
    """Two real servers and a world in which they serve "." and 88, and 88.1."""
    async with Wicked() as root, Wicked() as node:
        world = Federation()
        world.homes = {Prefix(()): root.origin}
        world.add("88")
        world.add("88.1", node=node.origin)
        world.add("77")
        for text in (PART, OTHER, ORE, "88/TOP"):
            world.register(text)
        yield world, root, node


def manners(two, lie=None):
    world, root, node = two
    nodes = world.net().nodes
    root.manner = honest(nodes[root.origin])
    node.manner = honest(nodes[node.origin], lie)


async def test_over_real_sockets_there_is_one_request_for_each_hop(two, peers, clock):
    world, root, node = two
    manners(two)
    resolver = await served(world, peers, clock, root)
    assert (await resolver.lookup.resolve(ident(PART))).state is State.FOUND
    assert (await resolver.lookup.resolve(ident(OTHER))).state is State.FOUND
    asked = [body["identifiers"] for _, _, body in root.requests]
    assert (asked, len(node.requests)) == ([[PART]], 2)


@pytest.mark.parametrize(("lie", "reason"), LIES.values(), ids=LIES)
async def test_a_lie_is_refused_by_its_verdict(two, peers, clock, lie, reason):
    world, root, node = two
    made = lie(world)
    manners(two, made)
    resolver = await served(world, peers, clock, root)
    outcomes = await resolver.lookup.resolve_many([ident(PART), ident(ORE), ident("88/TOP")])
    assert isinstance(outcomes[0], PeerFailed)
    assert (outcomes[0].value, outcomes[0].reason) == (node.origin, reason)
    assert [outcome.state for outcome in outcomes[1:]] == [State.FOUND, State.FOUND]


async def test_who_answers_for_what_he_delegated_is_refused(two, peers, clock):
    world, root, _ = two
    lie = _not_its_own(world)
    world.homes[Prefix.parse("88.1")] = "http://127.0.0.1:9"
    nodes = world.net().nodes
    root.manner = honest(nodes[root.origin], lie)
    resolver = await served(world, peers, clock, root)
    with pytest.raises(PeerFailed) as caught:
        await resolver.lookup.resolve(ident(PART))
    assert (caught.value.value, caught.value.reason) == (root.origin, "E_HOME")


@pytest.mark.parametrize(
    ("manner", "code"),
    [
        (stalls, "peer_unreachable"),
        (floods, "peer_failed"),
        (reply(b"", close=True), "peer_failed"),
        (reply(http(b"", "302 Found", fields=["location: /"])), "peer_failed"),
        (reply(http(b"]")), "peer_failed"),
    ],
    ids=["stalls", "floods", "closes", "redirects", "garbage"],
)
async def test_a_node_that_misbehaves_costs_nobody_else_an_answer(two, peers, clock, manner, code):
    world, root, node = two
    manners(two)
    node.manner = manner
    resolver = await served(world, peers, clock, root)
    outcomes = await resolver.lookup.resolve_many([ident(PART), ident(ORE), ident("88/TOP")])
    assert outcomes[0].code == code
    assert [outcome.state for outcome in outcomes[1:]] == [State.FOUND, State.FOUND]


async def test_under_another_root_nothing_verifies(two, peers, clock):
    _, root, node = two
    manners(two)
    resolver = await served(Federation(), peers, clock, root)
    with pytest.raises(PeerFailed) as caught:
        await resolver.lookup.resolve(ident(PART))
    assert (caught.value.value, caught.value.reason) == (root.origin, "E_CHAIN")
    assert node.requests == []
