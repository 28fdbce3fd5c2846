"""Which node to ask next and whose word counts, step by step."""

from dataclasses import replace
from math import inf

import pytest

from resolver.referral import Homes, Misled, Place, Referral, Walk, nearest, normal, refer
from resolver.trust import Verifier
from schemas.chain import Trust
from schemas.delegation import DelegatedKey, Revocation, parse_delegation
from schemas.envelope import digest
from schemas.errors import VerifyError
from schemas.identifier import Identifier, Prefix
from schemas.source import Found, State
from tests.authority import ALL_USES
from tests.federation import NOW, ROOT, Federation

A, B = "https://a.example", "https://b.example/tier"
PLACE = Place(ROOT, "https://here.example")
ITEM = Identifier.parse("88.1/X")


def prefix(text):
    return Prefix.parse(text)


@pytest.fixture
def world():
    made = Federation()
    made.add("88", node=f"{A}/")
    made.add("88.1", node="https://B.example:443/tier/")
    made.add("88.2")
    return made


def offered(world, *names):
    return world.verifier().offered([world.delegations[prefix(name)] for name in names])


def walk(at_prefix="88", origin=A, **more):
    return Walk(ITEM, Referral(prefix(at_prefix), origin, {prefix("88"): 1}, chain=("x",)), **more)


# Spelling


@pytest.mark.parametrize(
    ("origin", "written"),
    [
        ("https://a.example", "https://a.example"),
        ("HTTPS://A.Example:443/", "https://a.example"),
        ("http://a.example:80/b/", "http://a.example/b"),
        ("http://a.example:443", "http://a.example:443"),
        ("http://[2001:DB8::1]:8088", "http://[2001:db8::1]:8088"),
        ("http://[2001:db8::1", ""),
        ("", ""),
        ("a.example", ""),
        ("ftp://a.example", ""),
        ("https://", ""),
        ("https://a@a.example", ""),
        ("https://:b@a.example", ""),
        ("https://@a.example", ""),
        ("https://a.example?", ""),
        ("https://a.example#", ""),
        ("https://a.example:65536", ""),
        ("https://a.example:x", ""),
    ],
)
def test_an_origin_has_one_spelling(origin, written):
    assert normal(origin) == written


# Homes


@pytest.mark.parametrize(
    ("name", "names", "origin"),
    [
        ("88", ["88"], A),
        ("88.1", ["88", "88.1"], B),
        ("88.2", ["88", "88.2"], A),
    ],
)
def test_the_home_is_named_by_the_delegation_or_by_the_one_above(world, name, names, origin):
    found = refer(prefix(name), offered(world, *names), PLACE, NOW)
    assert (found.prefix, found.origin, found.until) == (prefix(name), origin, inf)
    assert found.sequences == {prefix(item): 1 for item in (".", *names)}
    assert found.chain == tuple(world.delegations[prefix(item)] for item in names)


def test_where_nobody_is_named_the_node_of_the_root_serves():
    world = Federation()
    world.add("77")
    assert refer(prefix("77"), offered(world, "77"), PLACE, NOW).origin == ROOT
    assert refer(prefix("77"), offered(world, "77"), Place(), NOW).origin == ""


@pytest.mark.parametrize(
    ("names", "place", "origin"),
    [
        pytest.param(["88", "88.1"], PLACE, B, id="what came with it"),
        pytest.param(["88"], PLACE, A, id="the nearest above"),
        pytest.param([], PLACE, ROOT, id="else the root's"),
        pytest.param([], Place("", "https://here.example"), None, id="which nobody named"),
        pytest.param([], Place(ROOT, f"{ROOT}:443/"), None, id="or which we are"),
        pytest.param(["88"], Place(ROOT, A), None, id="it leads here"),
    ],
)
def test_where_a_walk_begins(world, names, place, origin):
    found = nearest(ITEM, offered(world, *names), place, NOW)
    assert (found.origin if found else None) == origin


# F1


def _expired(world):
    world.add("88.1", node=B, sequence=2, valid_until=NOW)


def _not_yet(world):
    world.add("88.1", node=B, sequence=2, valid_from=NOW + 1)


def _above_expired(world):
    world.add("88", node=A, sequence=2, valid_until=NOW)


def _forged(world):
    delegation = parse_delegation(world.delegations[prefix("88.1")])[1]
    world.delegations[prefix("88.1")] = delegation.sign(world.keys[prefix("88.1")])


def _revoked(world):
    """88 exchanged the key that signed the delegation of 88.1, and revoked it."""
    old = parse_delegation(world.delegations[prefix("88")])[1]
    stolen = world.keys[prefix("88")]
    key = world.keys[prefix("88.2")]
    renewed = replace(
        old,
        sequence=2,
        prev=digest(world.delegations[prefix("88")]),
        keys=(DelegatedKey(key.public, ALL_USES), DelegatedKey(stolen.public, ALL_USES)),
        revoked=(Revocation(stolen.public.kid, "compromised", 5),),
    )
    world.delegations[prefix("88")] = renewed.sign(world.keys[prefix(".")])


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (_expired, "E_TIME"),
        (_not_yet, "E_TIME"),
        (_above_expired, "E_TIME"),
        (_forged, "E_CHAIN"),
        (_revoked, "E_REVOKED"),
    ],
)
def test_f1_a_delegation_is_believed_once_it_is_verified(world, spoil, code):
    spoil(world)
    with pytest.raises(VerifyError) as caught:
        refer(prefix("88.1"), offered(world, "88", "88.1"), PLACE, NOW)
    assert caught.value.code == code
    heard = Found(ITEM, State.FOREIGN)
    with pytest.raises(Misled) as misled:
        walk().heard(heard, offered(world, "88", "88.1"), PLACE, NOW)
    assert misled.value.reason == code


def test_f1_an_expired_root_carries_nothing(world):
    root = world.trust.root.holder
    trust = Trust(replace(world.trust.root, delegations=(replace(root, valid_until=NOW),)))
    tokens = [world.delegations[prefix("88")]]
    with pytest.raises(VerifyError) as caught:
        refer(prefix("88"), Verifier(trust).offered(tokens), PLACE, NOW)
    assert caught.value.code == "E_ROOT"


def test_f1_the_first_to_expire_ends_it(world):
    world.add("88", node=A, sequence=2, valid_until=NOW + 50)
    world.add("88.1", node=B, sequence=2, valid_until=NOW + 70)
    assert refer(prefix("88.1"), offered(world, "88", "88.1"), PLACE, NOW).until == NOW + 50


# F2 to F6


REFUSED = {
    "F2 stale": (State.MISSING, ["88", "88.1"], walk(origin=B), "E_STALE"),
    "F2 stale referral": (State.FOREIGN, ["88", "88.1"], walk(), "E_STALE"),
    "F3 not its home": (State.MISSING, ["88", "88.1"], walk(), "E_HOME"),
    "F3 its parent's": (State.FOUND, ["88", "88.1"], walk(), "E_HOME"),
    "F3 no chain": (State.COVERED, [], walk(origin=B), "E_CHAIN"),
    "F3 ends above": (State.RETIRED, ["88"], walk(), "E_CHAIN"),
    "F4 delegated after all": (State.NOWHERE, ["88", "88.1"], walk(origin=B), "lame"),
    "F4 does not know its own": (State.NOWHERE, [], walk(), "lame"),
    "F4 not suspended by a stranger": (State.PREFIX_SUSPENDED, [], walk("88.1", B), "lame"),
    "F4 another would know": (State.NOWHERE, ["88"], walk(origin=B), "E_HOME"),
    "F5 no delegation": (State.FOREIGN, [], walk(), "lame"),
    "F5 no deeper": (State.FOREIGN, ["88"], walk(), "lame"),
    "F5 back": (State.FOREIGN, ["88"], walk("88.1", B), "lame"),
    "F5 to itself": (State.FOREIGN, ["88", "88.1"], walk(origin=B), "lame"),
    "F5 to who was asked": (State.FOREIGN, ["88", "88.1"], walk(asked=(B,)), "lame"),
    "F6 one too many": (
        State.FOREIGN,
        ["88", "88.1"],
        walk(asked=tuple(f"https://{number}.example" for number in range(7))),
        "lame",
    ),
}


@pytest.mark.parametrize(("state", "names", "at", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_believed(world, state, names, at, reason):
    if reason == "E_STALE":
        at = replace(at, at=replace(at.at, sequences={prefix("88"): 2}))
    with pytest.raises(Misled) as caught:
        at.heard(Found(ITEM, state), offered(world, *names), PLACE, NOW)
    assert caught.value.reason == reason


def test_f5_nobody_leads_us_to_ourselves(world):
    with pytest.raises(Misled) as caught:
        walk().heard(Found(ITEM, State.FOREIGN), offered(world, "88", "88.1"), Place(ROOT, B), NOW)
    assert caught.value.reason == "lame"


@pytest.mark.parametrize(
    ("state", "names", "at", "rests_on"),
    [
        (State.FOUND, ["88", "88.1"], walk(origin=B), "88.1"),
        (State.MISSING, ["88", "88.1"], walk("88.1", B), "88.1"),
        (State.NOWHERE, ["88"], walk(), "88"),
        (State.NOWHERE, [], Walk(ITEM, Referral(prefix("."), ROOT)), "."),
        (State.PREFIX_SUSPENDED, ["88", "88.1"], walk(), "88.1"),
        (State.PREFIX_SUSPENDED, ["88"], walk(), "88"),
    ],
)
def test_what_is_believed(world, state, names, at, rests_on):
    told = at.heard(Found(ITEM, state), offered(world, *names), PLACE, NOW)
    assert isinstance(told, Referral)
    assert told.prefix == prefix(rests_on)


def test_a_referral_leads_on(world):
    told = walk().heard(Found(ITEM, State.FOREIGN), offered(world, "88", "88.1"), PLACE, NOW)
    assert isinstance(told, Walk)
    assert (told.at.origin, told.at.prefix, told.asked) == (B, prefix("88.1"), (A,))


# What is remembered


def test_referrals_are_remembered_until_their_time_and_the_longest_counts():
    homes = Homes(limit=3)
    short, long = Referral(prefix("88"), A), Referral(prefix("88.1"), B)
    homes.learn(short, 10)
    homes.learn(long, 5)
    assert homes.nearest(prefix("88.1.7"), 0) == long
    assert homes.nearest(prefix("88.11"), 0) == short
    assert homes.nearest(prefix("77"), 0) is None
    assert homes.nearest(prefix("88.1"), 5) == short
    assert len(homes) == 1
    homes.forget(long)  # not the one that is known
    homes.forget(replace(short, origin=B))
    assert homes.nearest(prefix("88"), 0) == short
    homes.forget(short)
    assert homes.nearest(prefix("88"), 0) is None
    for number in range(5):
        homes.learn(Referral(prefix(str(number)), A), 10)
    assert len(homes) == 3
    assert homes.nearest(prefix("1"), 0) is None


def test_delegations_of_the_bundle_are_known_as_well(world):
    """A verifier that was given a delegation needs no reply to bring it."""
    tokens = (world.delegations[prefix("88")],)
    verifier = Verifier(replace(world.trust, delegations={prefix("88"): tokens}))
    assert nearest(ITEM, verifier.offered([]), PLACE, NOW).origin == A
