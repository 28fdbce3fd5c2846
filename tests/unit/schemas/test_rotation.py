"""Rotation: a holder exchanges his own keys, and nothing else (chain step C10)."""

from dataclasses import replace

import pytest

from schemas.chain import MAX_CHAIN, assemble, index
from schemas.delegation import Revocation, parse_delegation
from schemas.envelope import RECORD, digest, parse
from schemas.rotation import follow_rotation, keeps_revocations
from tests.forgeries import CHIP
from tests.parties import (
    GEAR,
    INDUSTRY,
    INDUSTRY_TOKEN,
    ISSUED,
    NOW,
    STEEL,
    STRANGER,
    delegation,
    held,
    key,
    prefix,
    record,
    refusal,
    trust,
)

LEAF = prefix("88.100")
COLD, COLDER, SPARE = key("cold"), key("colder"), key("spare")
ROTATE = held(GEAR, "rotate")
BASE = delegation(
    "88.100",
    "88",
    GEAR,
    keys=(ROTATE, held(STEEL, "record", "delegate")),
    next_keys=(COLD.public.kid, COLDER.public.kid),
    organisation={"name": "Gear"},
    node="https://gear.example",
    valid_from=ISSUED,
    valid_until=NOW + 1_000_000,
    resources=(prefix("88.100.1"), prefix("88.100.2")),
    exceptions=(prefix("88.100.2.7"),),
    depth=2,
    kinds=frozenset({"item"}),
    revoked=(Revocation(STRANGER.public.kid, "compromised", 40),),
)
BASE_TOKEN = BASE.sign(INDUSTRY)
REVEALED = (ROTATE, held(COLD, "rotate"), held(STEEL, "record", "delegate"))


def following(token=BASE_TOKEN, **members):
    """The next delegation of the holder, as he writes it; nothing changed but what is given."""
    last = parse_delegation(token)[1]
    following = {
        "sequence": last.sequence + 1,
        "prev": digest(token),
        "issued_at": last.issued_at + 1,
    }
    return replace(last, **following | members)


def verdict(child, *signers, after=BASE_TOKEN):
    envelope, found = parse_delegation(child.sign(*signers))
    return refusal(follow_rotation, parse_delegation(after)[1], envelope, found)


NEW_RECORD_KEY = (ROTATE, held(SPARE, "record"))
GOOD = {  # what is written, who signs
    "nothing-new": ({}, (GEAR,)),
    "another-record-key": ({"keys": NEW_RECORD_KEY}, (GEAR,)),
    "a-key-ended": (
        {"keys": (ROTATE, held(STEEL, "record", valid_until=NOW), held(SPARE, "record"))},
        (GEAR,),
    ),
    "a-committed-key-comes-forward": (
        {"keys": REVEALED, "next_keys": (COLDER.public.kid,)},
        (GEAR, COLD),
    ),
    "the-committed-keys-take-over": (
        {"keys": (held(COLD), held(COLDER)), "next_keys": (SPARE.public.kid,)},
        (GEAR, COLD, COLDER),
    ),
    "and-signs-first": ({"keys": REVEALED, "next_keys": (COLDER.public.kid,)}, (COLD, GEAR)),
    "commitment-in-another-order": ({"next_keys": BASE.next_keys[::-1]}, (GEAR,)),
    "threshold": (
        {"keys": (*NEW_RECORD_KEY, held(STEEL, "record")), "thresholds": {"record": 2}},
        (GEAR,),
    ),
    "algorithms": ({"require": (("Ed25519", "SM2"),)}, (GEAR,)),
    "node": ({"node": "https://new.example"}, (GEAR,)),
    "no-node": ({"node": ""}, (GEAR,)),
    "ends-earlier": ({"valid_until": NOW}, (GEAR,)),
    "begins-later": ({"valid_from": ISSUED + 1}, (GEAR,)),
    "issued-at-once": ({"issued_at": ISSUED}, (GEAR,)),
    "one-revoked-more": (
        {"revoked": (*BASE.revoked, Revocation(STEEL.public.kid, "superseded", 50))},
        (GEAR,),
    ),
    "revokes-who-signs": (
        {"revoked": (*BASE.revoked, Revocation(GEAR.public.kid, "compromised", 0))},
        (GEAR,),
    ),
    "revoked-earlier-than-thought": (
        {"revoked": (Revocation(STRANGER.public.kid, "unspecified", 39),)},
        (GEAR,),
    ),
}


@pytest.mark.parametrize(("members", "signers"), GOOD.values(), ids=GOOD)
def test_what_a_holder_may_change(members, signers):
    assert verdict(following(**members), *signers) is None


BAD = {  # what is written, who signs, verdict code
    # R1
    "another-prefix": ({"subject": prefix("88.101")}, (GEAR,), "E_CHAIN"),
    "another-parent": ({"parent": prefix(".")}, (GEAR,), "E_CHAIN"),
    "same-sequence": ({"sequence": 1, "prev": None}, (GEAR,), "E_CHAIN"),
    "sequence-skipped": ({"sequence": 3}, (GEAR,), "E_CHAIN"),
    "prev-of-another": ({"prev": digest(INDUSTRY_TOKEN)}, (GEAR,), "E_CHAIN"),
    "issued-before": ({"issued_at": ISSUED - 1}, (GEAR,), "E_TIME"),
    # R2
    "more-resources": (
        {"resources": (*BASE.resources, prefix("88.100.3"))},
        (GEAR,),
        "E_SCOPE",
    ),
    "all-resources": ({"resources": ()}, (GEAR,), "E_SCOPE"),
    "no-exceptions": ({"exceptions": ()}, (GEAR,), "E_SCOPE"),
    "deeper": ({"depth": 3}, (GEAR,), "E_SCOPE"),
    "any-depth": ({"depth": None}, (GEAR,), "E_SCOPE"),
    "more-kinds": ({"kinds": frozenset({"item", "class"})}, (GEAR,), "E_SCOPE"),
    "any-kind": ({"kinds": frozenset()}, (GEAR,), "E_SCOPE"),
    "another-organisation": ({"organisation": {"name": "Gears"}}, (GEAR,), "E_SCOPE"),
    "ends-later": ({"valid_until": NOW + 1_000_001}, (GEAR,), "E_SCOPE"),
    "ends-never": ({"valid_until": None}, (GEAR,), "E_SCOPE"),
    "begins-earlier": ({"valid_from": ISSUED - 1}, (GEAR,), "E_SCOPE"),
    "begins-always": ({"valid_from": None}, (GEAR,), "E_SCOPE"),
    "reset": ({"reset": True}, (GEAR,), "E_SCOPE"),
    # R3
    "unrevoked": ({"revoked": ()}, (GEAR,), "E_REVOKED"),
    "revoked-later": (
        {"revoked": (Revocation(STRANGER.public.kid, "compromised", 41),)},
        (GEAR,),
        "E_REVOKED",
    ),
    # R4
    "rotate-key-of-nowhere": (
        {"keys": (ROTATE, held(SPARE, "rotate"))},
        (GEAR, SPARE),
        "E_CHAIN",
    ),
    "record-key-promoted": ({"keys": (ROTATE, held(STEEL))}, (GEAR, STEEL), "E_CHAIN"),
    "another-commitment": ({"next_keys": (SPARE.public.kid,)}, (GEAR,), "E_CHAIN"),
    "commitment-grows": ({"next_keys": (*BASE.next_keys, SPARE.public.kid)}, (GEAR,), "E_CHAIN"),
    "commitment-shrinks": ({"next_keys": BASE.next_keys[:1]}, (GEAR,), "E_CHAIN"),
    "no-commitment": ({"next_keys": ()}, (GEAR,), "E_CHAIN"),
    "comes-forward-unsigned": (
        {"keys": REVEALED, "next_keys": (COLDER.public.kid,)},
        (GEAR,),
        "E_CHAIN",
    ),
    # R5
    "by-the-committed-key-alone": (
        {"keys": REVEALED, "next_keys": (COLDER.public.kid,)},
        (COLD,),
        "E_CHAIN",
    ),
    "by-a-record-key": ({"keys": NEW_RECORD_KEY}, (STEEL,), "E_CHAIN"),
    "by-the-new-record-key": ({"keys": NEW_RECORD_KEY}, (SPARE,), "E_CHAIN"),
    "by-the-parent": ({"keys": NEW_RECORD_KEY}, (INDUSTRY,), "E_CHAIN"),
    "by-a-stranger": ({"keys": NEW_RECORD_KEY}, (STRANGER,), "E_REVOKED"),
    "by-one-who-may-not-too": ({"keys": NEW_RECORD_KEY}, (GEAR, SPARE), "E_CHAIN"),
    "by-one-who-is-revoked-too": ({"keys": NEW_RECORD_KEY}, (GEAR, STRANGER), "E_REVOKED"),
}


@pytest.mark.parametrize(("members", "signers", "code"), BAD.values(), ids=BAD)
def test_what_a_holder_may_not_change(members, signers, code):
    assert verdict(following(**members), *signers) == code


def test_a_spoiled_signature_counts_for_nothing():
    token = following().sign(GEAR)
    head, payload, _ = token.split(".")
    other = following(keys=NEW_RECORD_KEY).sign(GEAR).split(".")
    for spoiled in (f"{head}.{other[1]}.{token.split('.')[2]}", f"{head}.{payload}.{other[2]}"):
        envelope, found = parse_delegation(spoiled)
        assert refusal(follow_rotation, parse_delegation(BASE_TOKEN)[1], envelope, found) == "E_SIG"


def test_as_many_rotate_keys_as_the_one_before_asks_for():
    before = delegation(
        "88.100",
        "88",
        GEAR,
        keys=tuple(held(item, "rotate") for item in (GEAR, STEEL, CHIP)),
        thresholds={"rotate": 2},
        next_keys=(COLD.public.kid,),
    ).sign(INDUSTRY)
    laxer = following(before, thresholds={"rotate": 1})
    assert verdict(laxer, GEAR, after=before) == "E_CHAIN"
    assert verdict(laxer, GEAR, CHIP, after=before) is None
    assert verdict(laxer, STEEL, CHIP, GEAR, after=before) is None
    # a key that comes forward does not stand in for one that was there
    forward = following(
        before, keys=tuple(held(item, "rotate") for item in (GEAR, COLD)), next_keys=()
    )
    assert verdict(forward, GEAR, COLD, after=before) == "E_CHAIN"
    assert verdict(forward, GEAR, STEEL, COLD, after=before) is None


def test_a_rotate_key_that_has_ended_signs_nothing():
    before = delegation(
        "88.100",
        "88",
        GEAR,
        keys=(held(GEAR, "rotate", valid_until=ISSUED + 5), held(STEEL, "rotate")),
    ).sign(INDUSTRY)
    assert verdict(following(before, issued_at=ISSUED + 4), GEAR, after=before) is None
    assert verdict(following(before, issued_at=ISSUED + 5), GEAR, after=before) == "E_CHAIN"


def test_without_a_commitment_no_rotate_key_is_exchanged_and_one_may_be_made():
    before = delegation("88.100", "88", GEAR, keys=(held(GEAR),)).sign(INDUSTRY)
    other = following(before, keys=(held(GEAR), held(COLD, "rotate")))
    assert verdict(other, GEAR, COLD, after=before) == "E_CHAIN"
    assert verdict(following(before, next_keys=(COLD.public.kid,)), GEAR, after=before) is None


def test_who_stole_the_rotate_keys_does_not_have_the_last_word():
    """The thief rotates first; the holder comes forward with the keys nobody has seen."""
    robbed = following(keys=(ROTATE, held(STRANGER, "record"))).sign(GEAR)
    rescue = following(
        robbed,
        keys=(held(COLD, "rotate"), held(STEEL, "record")),
        next_keys=(COLDER.public.kid,),
        revoked=(
            Revocation(STRANGER.public.kid, "compromised", 0),
            Revocation(GEAR.public.kid, "compromised", 7),
        ),
    )
    assert verdict(rescue, GEAR, COLD, after=robbed) is None
    rescued = rescue.sign(GEAR, COLD)
    assert verdict(following(rescued), GEAR, after=rescued) == "E_REVOKED"
    assert verdict(following(rescued), COLD, after=rescued) is None


def test_revocations_stay_in_what_a_parent_writes_too():
    assert refusal(keeps_revocations, BASE, BASE) is None
    assert refusal(keeps_revocations, BASE, replace(BASE, revoked=())) == "E_REVOKED"


# Runs inside chains

SECOND = following(keys=NEW_RECORD_KEY).sign(GEAR)
THIRD = following(SECOND, keys=(*NEW_RECORD_KEY, held(CHIP, "record"))).sign(GEAR)
RUN = (BASE_TOKEN, SECOND, THIRD)


def chain_of(*tokens, until=LEAF):
    return trust().chain(until, index(tokens))


def test_a_run_ends_with_who_holds():
    found = chain_of(INDUSTRY_TOKEN, *RUN)
    assert found.holder == parse_delegation(THIRD)[1]
    assert [item.sequence for item in found.delegations] == [1, 1, 1, 2, 3]
    assert [str(item.subject) for item in found.standing] == [".", "88", "88.100"]
    assert found.standing[-1].sequence == 3
    assert found.tokens == (INDUSTRY_TOKEN, *RUN)


def test_the_keys_of_the_last_one_speak():
    found = chain_of(INDUSTRY_TOKEN, *RUN)
    item = record("88.100.1/A")
    below = delegation("88.100.1", "88.100", SPARE)
    assert parse(item.sign(SPARE), RECORD)
    assert refusal(chain_of, INDUSTRY_TOKEN, *RUN, below.sign(STEEL), until=below.subject)
    old = chain_of(INDUSTRY_TOKEN, BASE_TOKEN, below.sign(STEEL), until=below.subject)
    assert old.holder.keys[0].key == SPARE.public
    assert found.holder.keys_for("record", NOW).keys() == {SPARE.public.kid, CHIP.public.kid}


def test_the_order_in_which_they_are_offered_is_nothing():
    for tokens in (RUN[::-1], (SECOND, THIRD, BASE_TOKEN)):
        assert index(tokens) == {LEAF: RUN}
        assert chain_of(*tokens, INDUSTRY_TOKEN).holder.sequence == 3


def test_a_run_without_its_beginning_or_middle_leads_nowhere():
    assert refusal(chain_of, INDUSTRY_TOKEN, SECOND, THIRD) == "E_CHAIN"
    assert refusal(chain_of, INDUSTRY_TOKEN, BASE_TOKEN, THIRD) == "E_CHAIN"


def test_what_is_known_and_what_is_offered_make_one_run():
    for known, offered in ((RUN[:1], RUN[1:]), (RUN[:2], RUN), (RUN, RUN[:1]), (RUN, RUN)):
        found = trust(INDUSTRY_TOKEN, *known).chain(LEAF, index(offered))
        assert found.holder.sequence == 3
    assert trust(INDUSTRY_TOKEN, *RUN).chain(LEAF).holder.sequence == 3
    assert trust(INDUSTRY_TOKEN, *RUN).tokens == (INDUSTRY_TOKEN, *RUN)


def test_the_parent_begins_a_new_run():
    """It recovers the prefix: what the holder rotated before is passed over."""
    fresh = delegation("88.100", "88", SPARE, sequence=4, prev=digest(THIRD), reset=True).sign(
        INDUSTRY
    )
    after = following(fresh, keys=(held(SPARE), held(COLD, "record")), reset=False).sign(SPARE)
    found = chain_of(INDUSTRY_TOKEN, *RUN, fresh, after)
    assert found.tokens == (INDUSTRY_TOKEN, fresh, after)
    assert found.delegations[2].reset
    assert not found.holder.reset
    assert chain_of(INDUSTRY_TOKEN, fresh).holder.sequence == 4
    assert trust(INDUSTRY_TOKEN, *RUN).chain(LEAF, index([fresh])).holder.sequence == 4


def test_a_parent_rotates_above_its_children():
    """What an ended key delegated stays; what it delegates after its end does not."""
    ended = held(INDUSTRY, "delegate", valid_until=ISSUED + 10)
    before = delegation("88", ".", INDUSTRY)
    first = before.sign(key("root"))
    second = following(first, keys=(held(INDUSTRY, "rotate"),), next_keys=(COLD.public.kid,))
    refused = second.sign(INDUSTRY)
    assert refusal(chain_of, first, refused, BASE_TOKEN) == "E_CHAIN"  # no delegate key is left
    third = replace(second, keys=(held(STEEL, "delegate"), ended), next_keys=()).sign(INDUSTRY)
    assert chain_of(first, third, BASE_TOKEN).holder.sequence == 1
    late = replace(BASE, issued_at=ISSUED + 10)
    assert refusal(chain_of, first, third, late.sign(INDUSTRY)) == "E_CHAIN"
    assert chain_of(first, third, late.sign(STEEL)).holder == late


def test_rotations_count_towards_the_longest_chain():
    tokens = [INDUSTRY_TOKEN, BASE_TOKEN]
    while len(tokens) < MAX_CHAIN:
        tokens.append(following(tokens[-1]).sign(GEAR))
    assert chain_of(*tokens).holder.sequence == MAX_CHAIN - 1
    tokens.append(following(tokens[-1]).sign(GEAR))
    assert refusal(chain_of, *tokens) == "E_LIMIT"
    fresh = replace(BASE, sequence=MAX_CHAIN + 1, prev=digest(tokens[-1]), issued_at=NOW).sign(
        INDUSTRY
    )
    assert chain_of(*tokens, fresh).tokens == (INDUSTRY_TOKEN, fresh)


def test_of_two_second_versions_the_offered_one_is_followed_by_its_own_third():
    other = following(keys=(ROTATE, held(CHIP, "record"))).sign(GEAR)
    assert index([other, *RUN]) == {LEAF: RUN}
    assert index([*RUN, following(other).sign(GEAR)])[LEAF] == RUN  # of two thirds, the first


def test_a_key_that_parent_and_child_share_signs_as_the_parent():
    """Its signature is good for both; as the parent's it may say more."""
    shared = delegation("88.100", "88", INDUSTRY)
    first = shared.sign(INDUSTRY)
    second = following(first, organisation={"name": "renamed"}).sign(INDUSTRY)
    found = chain_of(INDUSTRY_TOKEN, first, second)
    assert found.tokens == (INDUSTRY_TOKEN, second)


def test_nothing_is_assembled_out_of_nothing():
    assert assemble(trust().root, (), prefix(".")).delegations == trust().root.delegations
