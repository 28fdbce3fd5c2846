"""Revocation: what a key signed before `since` stays, and nothing after (chain step C9)."""

import pytest

from schemas.chain import validate
from schemas.delegation import Revocation
from schemas.envelope import RECORD, cosign, digest, parse
from tests.parties import (
    GEAR,
    GEAR_ITEM,
    INDUSTRY,
    INDUSTRY_TOKEN,
    ISSUED,
    NOW,
    ROOT,
    STEEL,
    delegation,
    held,
    prefix,
    refusal,
    trust,
)

LEAF, ABOVE = prefix("88.100"), prefix("88")
ITEM = parse(GEAR_ITEM.sign(GEAR), RECORD)


def revoked(signer, since=100, reason="compromised"):
    return Revocation(signer.public.kid, reason, since)


def chain_of(*tokens, until=LEAF):
    return validate(trust().root, tokens, until)


def holder(*entries, **members):
    token = delegation("88.100", "88", GEAR, revoked=entries, **members).sign(INDUSTRY)
    return chain_of(INDUSTRY_TOKEN, token)


def speaks(chain, index, envelope=ITEM):
    return refusal(chain.check_speaker, envelope, LEAF, ISSUED, "item", index=index)


@pytest.mark.parametrize("reason", ["unspecified", "compromised", "superseded"])
@pytest.mark.parametrize(
    ("since", "index", "code"),
    [
        (100, 0, None),
        (100, 99, None),
        (100, 100, "E_REVOKED"),
        (100, 101, "E_REVOKED"),
        (0, 0, "E_REVOKED"),
        (100, None, "E_REVOKED"),
    ],
)
def test_a_revoked_key_speaks_before_and_not_after(since, index, code, reason):
    assert speaks(holder(revoked(GEAR, since, reason)), index) == code


def test_another_key_is_not_touched():
    chain = holder(revoked(STEEL))
    for index in (None, 0, 1000):
        assert speaks(chain, index) is None
    assert not chain.needs_index(ITEM)


def test_every_key_that_signs_counts():
    keys = (held(GEAR), held(STEEL))
    both = parse(cosign(GEAR_ITEM.sign(GEAR), STEEL), RECORD)
    chain = holder(revoked(STEEL), keys=keys)
    assert chain.needs_index(both)
    assert not chain.needs_index(ITEM)
    for index, code in ((None, "E_REVOKED"), (100, "E_REVOKED"), (99, None)):
        assert speaks(chain, index, both) == code


def test_a_key_that_is_revoked_and_listed_no_more_is_revoked_first():
    chain = holder(revoked(GEAR), keys=(held(STEEL),))
    assert speaks(chain, 100) == "E_REVOKED"
    assert speaks(chain, 99) == "E_CHAIN"


def test_no_index_makes_a_wrong_signature_right():
    head, payload, signature = ITEM.token.split(".")
    other = parse(f"{head}.{payload}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}", RECORD)
    assert speaks(holder(revoked(GEAR)), 99, other) == "E_SIG"


# Delegations by a key that their parent has revoked since


def below(*entries, **members):
    """88 with revoked keys, and 88.100 by its first key."""
    parent = delegation("88", ".", INDUSTRY, revoked=entries, **members).sign(ROOT)
    return chain_of(parent, delegation("88.100", "88", GEAR).sign(INDUSTRY))


@pytest.mark.parametrize(
    ("indices", "code"),
    [
        ({}, "E_REVOKED"),
        ({ABOVE: 5}, "E_REVOKED"),
        ({LEAF: 99}, None),
        ({LEAF: 100}, "E_REVOKED"),
        ({LEAF: 99, ABOVE: 150}, None),
    ],
)
def test_a_delegation_by_a_revoked_key_stands_where_it_was_logged_before(indices, code):
    chain = below(revoked(INDUSTRY)).logged(indices)
    assert refusal(chain.check_delegations) == code
    for index in (None, 7, 7000):  # whatever is proved of the statement
        assert speaks(chain, index) == code
    assert chain.needs_index(ITEM)


def test_a_key_of_the_parent_that_signed_nothing_here_is_not_touched():
    chain = below(revoked(STEEL))
    assert refusal(chain.check_delegations) is None
    assert speaks(chain, None) is None


def test_further_down_too():
    first = delegation("88", ".", INDUSTRY, revoked=(revoked(INDUSTRY),)).sign(ROOT)
    second = delegation("88.100", "88", GEAR).sign(INDUSTRY)
    third = delegation("88.100.1", "88.100", STEEL).sign(GEAR)
    chain = chain_of(first, second, third, until=prefix("88.100.1"))
    assert refusal(chain.check_delegations) == "E_REVOKED"
    assert refusal(chain.logged({prefix("88.100.1"): 3}).check_delegations) == "E_REVOKED"
    assert refusal(chain.logged({LEAF: 3}).check_delegations) is None


def test_the_root_revokes_too():
    from tests.parties import root  # noqa: PLC0415

    keys = (held(ROOT, "rotate", "delegate"), held(STEEL, "rotate", "delegate"))
    token = root(keys=keys, revoked=(revoked(ROOT),)).sign(STEEL)
    chain = trust(INDUSTRY_TOKEN, roots=(token,)).chain(ABOVE)
    assert refusal(chain.check_delegations) == "E_REVOKED"
    assert refusal(chain.logged({ABOVE: 3}).check_delegations) is None


def test_a_rotation_is_judged_by_what_stood_before_it():
    """The key that signed it is revoked by it; what the parent signed is not in question."""
    first = delegation("88.100", "88", GEAR).sign(INDUSTRY)
    second = delegation(
        "88.100",
        "88",
        GEAR,
        sequence=2,
        prev=digest(first),
        keys=(held(GEAR), held(STEEL, "record")),
        revoked=(revoked(GEAR),),
    ).sign(GEAR)
    chain = chain_of(INDUSTRY_TOKEN, first, second)
    assert refusal(chain.check_delegations) is None
    assert speaks(chain, 99) is None
    assert speaks(chain, None) == "E_REVOKED"
    assert speaks(chain, None, parse(GEAR_ITEM.sign(STEEL), RECORD)) is None


# What holds still


def test_what_is_current_and_what_was_valid_at_issue_are_two_verdicts():
    chain = holder(valid_from=ISSUED, valid_until=NOW)
    assert speaks(chain, None) is None
    assert chain.current(NOW - 1) == ()
    assert chain.current(NOW) == ("E_TIME",)
    assert chain.current(ISSUED - 1) == ("E_TIME",)
    later = holder(valid_from=ISSUED + 1)
    assert later.current(NOW) == ()
    assert speaks(later, None) == "E_TIME"
