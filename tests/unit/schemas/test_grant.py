"""Grants: what survives an envelope, and every member that may not be there or not so."""

from dataclasses import replace

import pytest

from schemas.envelope import digest
from schemas.errors import BadGrant, BadIdentifier
from schemas.grant import (
    BLINDED,
    FULL,
    REVOKED,
    Grant,
    check_grant,
    parse_grant,
    read_draft_grant,
    read_grant,
)
from tests.parties import (
    DELEGATIONS,
    GEAR,
    GEAR_SAYS,
    ISSUED,
    STEEL,
    identifier,
    prefix,
    refusal,
    trust,
)

DRAFT = {"iss": "88.100", "id": "to-the-steel-makers", "to": "88.101", "depth": 2}
CLAIMS = DRAFT | {"v": 1, "ver": 1, "iat": ISSUED, "state": "granted"}


def chain_of(text):
    return trust(*DELEGATIONS).chain(prefix(text))


FULLEST = Grant(
    prefix("88.100"),
    "g.1",
    ISSUED,
    prefix("88.101"),
    identifier("88.100/GEAR"),
    "upstream",
    3,
    frozenset({"CONTAINED_IN", "asBuilt"}),
    "recall",
    ISSUED,
    ISSUED + 10,
    BLINDED,
    2,
    "A" * 43,
    REVOKED,
)


@pytest.mark.parametrize("grant", [FULLEST, Grant(prefix("88.100"), "all", ISSUED)])
def test_a_grant_survives_its_envelope(grant):
    envelope, read = parse_grant(grant.sign(GEAR))
    assert read == grant
    check_grant(envelope, read, chain_of("88.100"))


def test_only_the_grantor_grants():
    envelope, read = parse_grant(FULLEST.sign(STEEL))
    assert refusal(check_grant, envelope, read, chain_of("88.100")) == "E_CHAIN"
    assert refusal(check_grant, envelope, read, chain_of("88.101")) == "E_SCOPE"


def test_a_draft_is_the_first_version_with_everything_open():
    assert read_draft_grant(DRAFT, ISSUED) == Grant(
        prefix("88.100"), "to-the-steel-makers", ISSUED, prefix("88.101"), depth=2
    )
    assert read_draft_grant(DRAFT | {"to": "*"}, ISSUED).to is None
    assert read_draft_grant(DRAFT, ISSUED).show == FULL


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"id": "a b"}, "other characters"),
        ({"id": "x" * 65}, "the limit is 64"),
        ({"to": ""}, "not a prefix|empty"),
        ({"depth": 0}, "from 1 to 100"),
        ({"depth": 101}, "from 1 to 100"),
        ({"direction": "up"}, "direction is not one of"),
        ({"root": "88.101/STEEL"}, "root is not under 88.100"),
        ({"aspects": ["quantity"]}, r"aspects\[0\] is neither"),
        ({"purpose": "Recall now"}, "not one word"),
        ({"nbf": 5, "exp": 5}, "exp is not after nbf"),
        ({"show": "none"}, "show is not one of"),
        ({"state": "asserted"}, "state is not one of"),
        ({"ver": 2}, "prev belongs to"),
        ({"prev": "A" * 43}, "prev belongs to"),
        ({"more": 1}, "unknown members: more"),
        ({"direction": None}, "direction is null"),
    ],
)
def test_what_is_no_grant_is_refused(change, why):
    with pytest.raises((BadGrant, BadIdentifier), match=why):
        read_grant(CLAIMS | change)


@pytest.mark.parametrize("name", ["iss", "id", "to", "depth", "iat", "ver", "state"])
def test_what_is_missing_is_named(name):
    with pytest.raises(BadGrant, match=f"{name} is"):
        read_grant({key: value for key, value in CLAIMS.items() if key != name})


def test_a_grant_stands_in_its_time_and_until_it_is_taken_back():
    grant = replace(FULLEST, version=1, prev=None, state="granted")
    assert [grant.stands(at) for at in (ISSUED - 1, ISSUED, ISSUED + 9, ISSUED + 10)] == [
        False, True, True, False,
    ]  # fmt: skip
    taken_back = grant.revocation(digest(grant.sign(GEAR)), ISSUED + 1)
    assert (taken_back.version, taken_back.stands(ISSUED + 2)) == (2, False)
    assert parse_grant(taken_back.sign(GEAR))[1] == taken_back


def test_another_type_of_statement_is_no_grant():
    assert refusal(parse_grant, GEAR_SAYS.sign(GEAR)) == "E_TYP"
