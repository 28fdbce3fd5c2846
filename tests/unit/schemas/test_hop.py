"""Hop tokens and seals: every step of their check refuses what it is there to refuse."""

from dataclasses import replace

import pytest

from schemas.hop import (
    Hop,
    Seal,
    asked,
    check_hop,
    check_seal,
    digest_of,
    parse_hop,
    parse_seal,
)
from schemas.keys import b64encode, sha256
from tests.parties import DELEGATIONS, GEAR, GEAR_SAYS, ISSUED, STEEL, prefix, refusal, trust

HERE = "https://steel.example"
TRACE = "t" * 22
REQUEST = {
    "token": "…",
    "entries": [{"identifier": "88.101/STEEL-0091"}],
    "types": ["CONTAINED_IN"],
}
HOP = Hop(
    TRACE,
    prefix("88.100"),
    HERE,
    asked(REQUEST),
    "upstream",
    3,
    100,
    ISSUED,
    1000 * ISSUED + 2000,
    prefix("88.100"),
    "recall",
)
OPENINGS = tuple(sorted(b64encode(sha256(b"%d" % n)) for n in range(8)))
OPEN = replace(HOP, openings=OPENINGS, until=1000 * ISSUED + 2000)
PART = {"trace": TRACE, "nodes": [], "edges": []}
SEAL = Seal(TRACE, prefix("88.101"), HERE, ISSUED, digest_of(PART))


def chain_of(text):
    return trust(*DELEGATIONS).chain(prefix(text))


def verdict(hop=HOP, signer=GEAR, chain="88.100", request=REQUEST, here=HERE, now=ISSUED + 0.5):
    return refusal(
        check_hop, *parse_hop(hop.sign(signer)), chain_of(chain), request, here=here, now=now
    )


@pytest.mark.parametrize("hop", [HOP, replace(HOP, subject=None, purpose=""), OPEN])
def test_a_token_survives_its_envelope_and_holds(hop):
    assert parse_hop(hop.sign(GEAR))[1] == hop
    assert verdict(hop) is None


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"here": "https://other.example"}, "E_HOP"),
        ({"signer": STEEL}, "E_CHAIN"),
        ({"chain": "88.101"}, "E_SCOPE"),
        ({"request": REQUEST | {"types": ["SAME_AS"]}}, "E_HOP"),
        ({"request": REQUEST | {"more": 1}}, "E_HOP"),
        ({"now": ISSUED + 61}, "E_TIME"),
        ({"now": ISSUED - 61}, "E_TIME"),
        ({"now": ISSUED + 2}, "E_TIME"),
        ({"hop": replace(HOP, depth=0)}, "E_HOP"),
        ({"hop": replace(HOP, nodes=0)}, "E_HOP"),
        ({"hop": replace(OPEN, until=OPEN.deadline - 1)}, "E_TIME"),
        ({"hop": replace(OPEN, until=1000 * (ISSUED + 181))}, "E_TIME"),
        ({"hop": OPEN, "now": ISSUED + 2}, "E_TIME"),
    ],
)
def test_a_token_is_refused(change, code):
    assert verdict(**change) == code


@pytest.mark.parametrize(
    "hop",
    [
        replace(HOP, subject=prefix("88.101")),
        replace(HOP, trace="short"),
        replace(HOP, depth=101),
        replace(HOP, direction="up"),
        replace(HOP, purpose="NO"),
        replace(OPEN, until=None),
        replace(OPEN, until=-1),
        replace(HOP, until=1000 * ISSUED + 2000),
        replace(OPEN, openings=OPENINGS[::-1]),
        replace(OPEN, openings=(*OPENINGS, OPENINGS[-1])),
        replace(OPEN, openings=("short",)),
        replace(OPEN, openings=("A" * 42 + "B",)),
        replace(OPEN, openings=tuple(sorted(b64encode(sha256(b"%d" % n)) for n in range(513)))),
    ],
)
def test_what_is_no_token_is_malformed(hop):
    assert refusal(parse_hop, hop.sign(GEAR)) == "E_FORMAT"


def test_a_token_alone_changes_nothing_of_what_is_asked():
    assert asked(REQUEST) == asked(REQUEST | {"token": "another"})


def test_as_many_openings_as_may_be_are_one_token():
    openings = tuple(sorted(b64encode(sha256(b"%d" % n)) for n in range(512)))
    hop = replace(OPEN, openings=openings, audience="https://" + "a" * 500)
    assert parse_hop(hop.sign(GEAR))[1] == hop


def test_types_are_not_taken_for_each_other():
    assert refusal(parse_hop, GEAR_SAYS.sign(GEAR)) == "E_TYP"
    assert refusal(parse_hop, SEAL.sign(STEEL)) == "E_TYP"
    assert refusal(parse_seal, HOP.sign(GEAR)) == "E_TYP"


@pytest.mark.parametrize(
    ("seal", "signer", "part", "code"),
    [
        (SEAL, STEEL, PART, None),
        (SEAL, GEAR, PART, "E_CHAIN"),
        (SEAL, STEEL, PART | {"edges": [1]}, "E_PART"),
        (replace(SEAL, trace="u" * 22), STEEL, PART, "E_PART"),
        (replace(SEAL, issuer=prefix("88.100")), STEEL, PART, "E_SCOPE"),
    ],
)
def test_a_part_is_what_its_node_sealed(seal, signer, part, code):
    assert refusal(check_seal, *parse_seal(seal.sign(signer)), chain_of("88.101"), part, TRACE) == (
        code
    )
