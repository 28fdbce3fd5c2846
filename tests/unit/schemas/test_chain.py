"""Chain validation: one test a step, each with its verdict code."""

import json

import pytest

from schemas import canonical
from schemas.chain import MAX_CHAIN, Chain, Trust, anchor, index, trust_document, validate
from schemas.delegation import parse_root
from schemas.envelope import LINK, RECORD, cosign, digest, parse, sign
from schemas.errors import VerifyError
from schemas.keys import PrivateKey, b64encode
from tests.forgeries import CHIP
from tests.parties import (
    DELEGATIONS,
    GEAR,
    GEAR_ITEM,
    GEAR_TOKEN,
    INDUSTRY,
    INDUSTRY_TOKEN,
    ISSUED,
    ROOT,
    ROOT_TOKEN,
    STEEL,
    STEEL_TOKEN,
    STRANGER,
    delegation,
    held,
    prefix,
    record,
    refusal,
    root,
    trust,
)

LEAF = prefix("88.100")


def chain_of(*tokens, until="88.100", roots=(ROOT_TOKEN,)):
    return validate(Chain((anchor(roots),)), tokens, prefix(until))


def chain_refusal(*tokens, **options):
    return refusal(chain_of, *tokens, **options)


def industry(**members):
    return delegation("88", ".", INDUSTRY, **members).sign(ROOT)


def gear(subject="88.100", parent="88", signer=INDUSTRY, **members):
    return delegation(subject, parent, GEAR, **members).sign(signer)


def test_a_good_chain():
    found = chain_of(INDUSTRY_TOKEN, GEAR_TOKEN)
    assert [str(item.subject) for item in found.delegations] == [".", "88", "88.100"]
    assert found.holder.organisation == {"name": "Gear"}
    found.check_speaker(parse(GEAR_ITEM.sign(GEAR), RECORD), LEAF, ISSUED, "item")


# C1 the root


@pytest.mark.parametrize(
    "roots",
    [
        (),
        (ROOT_TOKEN, ROOT_TOKEN),
        (root().sign(STRANGER),),
        (root(keys=(held(ROOT, "delegate"),)).sign(ROOT),),
        (root(keys=(held(ROOT, "rotate", valid_until=ISSUED),)).sign(ROOT),),
        (root(keys=(held(ROOT), held(GEAR)), thresholds={"rotate": 2}).sign(ROOT),),
        (ROOT_TOKEN[:-10] + "A" * 10,),
    ],
    ids=["none", "two", "stranger", "no-rotate-key", "rotate-key-expired", "threshold", "spoiled"],
)
def test_c1_the_root_signs_itself(roots):
    assert refusal(anchor, roots) in {"E_ROOT", "E_ENCODING"}


def test_c1_a_delegation_is_no_root():
    assert refusal(anchor, [INDUSTRY_TOKEN]) == "E_TYP"
    assert refusal(anchor, [None]) == "E_FORMAT"


# C2 the chain

C2 = {
    "empty": ((), "E_CHAIN"),
    "middle-missing": ((GEAR_TOKEN,), "E_CHAIN"),
    "end-missing": ((INDUSTRY_TOKEN,), "E_CHAIN"),
    "swapped": ((GEAR_TOKEN, INDUSTRY_TOKEN), "E_CHAIN"),
    "twice": ((INDUSTRY_TOKEN, INDUSTRY_TOKEN, GEAR_TOKEN), "E_CHAIN"),
    "loop": ((INDUSTRY_TOKEN, GEAR_TOKEN, INDUSTRY_TOKEN, GEAR_TOKEN), "E_CHAIN"),
    "another-end": ((INDUSTRY_TOKEN, STEEL_TOKEN), "E_CHAIN"),
    "other-issuer": ((INDUSTRY_TOKEN, gear(parent="87")), "E_CHAIN"),
    "second-root": ((ROOT_TOKEN, INDUSTRY_TOKEN, GEAR_TOKEN), "E_TYP"),
    "too-long": ((INDUSTRY_TOKEN,) * (MAX_CHAIN + 1), "E_LIMIT"),
    "endless": ((INDUSTRY_TOKEN,) * 100_000, "E_LIMIT"),
    "not-a-token": ((INDUSTRY_TOKEN, "x"), "E_FORMAT"),
}


@pytest.mark.parametrize(("tokens", "code"), C2.values(), ids=C2)
def test_c2_each_issuer_is_the_subject_before(tokens, code):
    assert chain_refusal(*tokens) == code


def deep(levels):
    """A chain 88, 88.1, 88.1.1, …"""
    tokens, signer, parent, subject = [], ROOT, ".", "88"
    for _ in range(levels):
        tokens.append(delegation(subject, parent, INDUSTRY).sign(signer))
        signer, parent, subject = INDUSTRY, subject, subject + ".1"
    return tokens, parent


def test_c2_eight_delegations_are_enough():
    tokens, leaf = deep(MAX_CHAIN)
    assert len(chain_of(*tokens, until=leaf).delegations) == MAX_CHAIN + 1
    tokens, leaf = deep(MAX_CHAIN + 1)
    assert chain_refusal(*tokens, until=leaf) == "E_LIMIT"


# C3 scope


def scoped(subject="88.100", parent_members=None, **members):
    """The verdict on a child, below an industry with some members of its own."""
    parent = industry(**(parent_members or {}))
    resources = tuple(map(prefix, members.pop("resources", ())))
    child = delegation(subject, "88", GEAR, resources=resources, **members).sign(INDUSTRY)
    return chain_refusal(parent, child, until=subject)


EXCEPT = {"exceptions": (prefix("88.100.5"),)}
HALF = {"resources": (prefix("88.100"),)}
C3 = {  # subject, members of the parent, members of the child, verdict code
    "below": ("88.100", {}, {}, None),
    "far-below": ("88.100.1.2", {}, {}, None),
    "itself": ("88", {}, {}, "E_SCOPE"),
    "longer-number": ("881", {}, {}, "E_SCOPE"),
    "sibling": ("87.1", {}, {}, "E_SCOPE"),
    "root": (".", {}, {}, "E_SCOPE"),
    "inside-what-is-held": ("88.100", HALF, {}, None),
    "outside-what-is-held": ("88.101", HALF, {}, "E_SCOPE"),
    "text-begins-alike": ("88.1001", HALF, {}, "E_SCOPE"),
    "excepted": ("88.100.5", EXCEPT, {}, "E_SCOPE"),
    "below-the-excepted": ("88.100.5.1", EXCEPT, {}, "E_SCOPE"),
    "above-the-excepted": ("88.100", EXCEPT, {}, "E_SCOPE"),
    "beside-the-excepted": ("88.100.50", EXCEPT, {}, None),
    "resources-inside": ("88.100", {}, {"resources": ["88.100.1"]}, None),
    "resources-of-a-sibling": ("88.100", {}, {"resources": ["88.101"]}, "E_SCOPE"),
    "resources-of-the-parent": ("88.100", {}, {"resources": ["88"]}, "E_SCOPE"),
    "resources-of-all": ("88.100", {}, {"resources": ["."]}, "E_SCOPE"),
    "resources-one-too-many": ("88.100", {}, {"resources": ["88.100", "88.101"]}, "E_SCOPE"),
    "resources-over-an-exception": ("88.100", EXCEPT, {"resources": ["88.100"]}, "E_SCOPE"),
    "depth-zero": ("88.100", {"depth": 0}, {}, "E_SCOPE"),
    "depth-one": ("88.100", {"depth": 1}, {}, None),
    "depth-exceeded": ("88.100.1", {"depth": 1}, {}, "E_SCOPE"),
    "leading-zero-is-another": ("88.0100", HALF, {}, "E_SCOPE"),
}


@pytest.mark.parametrize(("subject", "parent", "child", "code"), C3.values(), ids=C3)
def test_c3_a_child_lies_inside_its_parent(subject, parent, child, code):
    assert scoped(subject, parent, **child) == code


def test_c3_depth_binds_everything_below():
    """The industry may delegate two deep; its child cannot grant itself more."""
    third = delegation("88.100.1.1", "88.100", STEEL).sign(GEAR)
    first, second = industry(depth=2), gear(depth=9)
    assert chain_refusal(first, second) is None
    assert chain_refusal(first, second, third, until="88.100.1.1") == "E_SCOPE"


def test_c3_a_root_may_hold_less_than_everything():
    roots = (root(resources=(prefix("86"),)).sign(ROOT),)
    assert chain_refusal(INDUSTRY_TOKEN, GEAR_TOKEN, roots=roots) == "E_SCOPE"
    roots = (root(resources=(prefix("86"), prefix("88"))).sign(ROOT),)
    assert chain_refusal(INDUSTRY_TOKEN, GEAR_TOKEN, roots=roots) is None


# C4 signature


def spoiled(token):
    head, payload, signature = token.split(".")
    return f"{head}.{payload}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


C4 = {
    "stranger": ((INDUSTRY_TOKEN, gear(signer=STRANGER)), "E_CHAIN"),
    "the-child-itself": ((INDUSTRY_TOKEN, gear(signer=GEAR)), "E_CHAIN"),
    "the-grandparent": ((INDUSTRY_TOKEN, gear(signer=ROOT)), "E_CHAIN"),
    "a-record-key": ((industry(keys=(held(INDUSTRY, "record"),)), GEAR_TOKEN), "E_CHAIN"),
    "a-rotate-key": ((industry(keys=(held(INDUSTRY, "rotate"),)), GEAR_TOKEN), "E_CHAIN"),
    "key-not-yet": (
        (industry(keys=(held(INDUSTRY, "delegate", valid_from=ISSUED + 1),)), GEAR_TOKEN),
        "E_CHAIN",
    ),
    "key-no-longer": (
        (industry(keys=(held(INDUSTRY, "delegate", valid_until=ISSUED),)), GEAR_TOKEN),
        "E_CHAIN",
    ),
    "spoiled": ((INDUSTRY_TOKEN, spoiled(GEAR_TOKEN)), "E_SIG"),
    "spoiled-above": ((spoiled(INDUSTRY_TOKEN), GEAR_TOKEN), "E_SIG"),
    "another-typ": (
        (INDUSTRY_TOKEN, sign(RECORD, delegation("88.100", "88", GEAR).claims(), INDUSTRY)),
        "E_TYP",
    ),
}


@pytest.mark.parametrize(("tokens", "code"), C4.values(), ids=C4)
def test_c4_a_delegate_key_of_the_parent_signs(tokens, code):
    assert chain_refusal(*tokens) == code


# C5 thresholds


TWO = industry(keys=(held(INDUSTRY), held(STEEL)), thresholds={"delegate": 2})
MEMBER = delegation("88.100", "88", GEAR)
C5 = {  # who signs the child of a parent that asks for two of its keys, verdict code
    "both": ((INDUSTRY, STEEL), None),
    "both-the-other-way-round": ((STEEL, INDUSTRY), None),
    "one": ((INDUSTRY,), "E_CHAIN"),
    "the-other": ((STEEL,), "E_CHAIN"),
    "one-and-the-child": ((INDUSTRY, GEAR), "E_CHAIN"),
    "one-and-the-grandparent": ((INDUSTRY, ROOT), "E_CHAIN"),
    "both-and-a-stranger": ((INDUSTRY, STEEL, STRANGER), "E_CHAIN"),
}


@pytest.mark.parametrize(("by", "code"), C5.values(), ids=C5)
def test_c5_as_many_distinct_keys_as_the_parent_asks_for(by, code):
    assert chain_refusal(TWO, MEMBER.sign(*by)) == code


def test_c5_one_key_counts_once():
    """Its own signature appended again, and another signature of the same key (they differ)."""
    once = MEMBER.sign(INDUSTRY)
    head, _, signature = once.split(".")
    assert chain_refusal(TWO, f"{once}~{head}..{signature}") == "E_CHAIN"
    chip = industry(keys=(held(CHIP), held(STEEL)), thresholds={"delegate": 2})
    head, payload, signature = MEMBER.sign(CHIP).split(".")
    other = b64encode(PrivateKey.from_handle(CHIP._handle).sign(f"{head}.{payload}".encode()))
    assert chain_refusal(chip, f"{head}.{payload}.{signature}~{head}..{other}") == "E_CHAIN"


def test_c5_where_nothing_is_asked_one_is_enough():
    assert chain_refusal(industry(thresholds={"delegate": 1}), GEAR_TOKEN) is None
    two = industry(keys=(held(INDUSTRY), held(STEEL)))
    assert chain_refusal(two, MEMBER.sign(STEEL)) is None
    assert chain_refusal(two, MEMBER.sign(STEEL, INDUSTRY)) is None


def test_c5_a_key_without_the_use_counts_for_nothing():
    mixed = industry(
        keys=(held(INDUSTRY), held(STEEL), held(STRANGER, "record", "rotate")),
        thresholds={"delegate": 2},
    )
    assert chain_refusal(mixed, MEMBER.sign(INDUSTRY, STRANGER)) == "E_CHAIN"
    ended = industry(
        keys=(held(INDUSTRY), held(STEEL, valid_until=ISSUED)), thresholds={"delegate": 2}
    )
    assert chain_refusal(ended, MEMBER.sign(INDUSTRY, STEEL)) == "E_CHAIN"


def test_c5_the_threshold_of_records_too():
    pair = chain_of(INDUSTRY_TOKEN, gear(keys=(held(GEAR), held(STEEL)), thresholds={"record": 2}))
    assert speaker_refusal(pair) == "E_CHAIN"
    assert speaker_refusal(pair, signer=(GEAR, STEEL)) is None
    assert speaker_refusal(pair, signer=(STEEL, GEAR)) is None
    assert speaker_refusal(pair, signer=(GEAR, STRANGER)) == "E_CHAIN"


# C6 time


@pytest.mark.parametrize(
    ("window", "at", "code"),
    [
        ({}, 0, None),
        ({"valid_from": ISSUED}, ISSUED, None),
        ({"valid_from": ISSUED}, ISSUED - 1, "E_TIME"),
        ({"valid_until": ISSUED}, ISSUED - 1, None),
        ({"valid_until": ISSUED}, ISSUED, "E_TIME"),
    ],
)
@pytest.mark.parametrize("level", ["root", "industry", "gear"])
def test_c6_every_certificate_is_valid_at_the_time(level, window, at, code):
    members = {name: window if name == level else {} for name in ("root", "industry", "gear")}
    found = chain_of(
        industry(**members["industry"]),
        gear(**members["gear"]),
        roots=(root(**members["root"]).sign(ROOT),),
    )
    assert refusal(found.check_time, at) == code


# C7 the speaker


def item_by(*signers):
    """The golden item, signed by each."""
    token = GEAR_ITEM.sign(signers[0])
    for signer in signers[1:]:
        token = cosign(token, signer)
    return token


def speaker_refusal(found, signer=GEAR, prefix_=LEAF, kind="item", at=ISSUED):
    by = signer if isinstance(signer, tuple) else (signer,)
    return refusal(found.check_speaker, parse(item_by(*by), RECORD), prefix_, at, kind)


GOOD = chain_of(INDUSTRY_TOKEN, GEAR_TOKEN)
HYBRID = chain_of(
    INDUSTRY_TOKEN,
    gear(keys=(held(GEAR), held(CHIP), held(STEEL)), require=(("Ed25519", "ES256"),)),
)
C7 = {
    "holder": (GOOD, {}, None),
    "kind-none-for-links": (GOOD, {"kind": None}, None),
    "another-prefix": (GOOD, {"prefix_": prefix("88.101")}, "E_SCOPE"),
    "the-parent": (GOOD, {"prefix_": prefix("88")}, "E_SCOPE"),
    "a-child": (GOOD, {"prefix_": prefix("88.100.1")}, "E_SCOPE"),
    "text-begins-alike": (GOOD, {"prefix_": prefix("88.1001")}, "E_SCOPE"),
    "another-key": (GOOD, {"signer": STEEL}, "E_CHAIN"),
    "the-parent's-key": (GOOD, {"signer": INDUSTRY}, "E_CHAIN"),
    "not-for-records": (
        chain_of(INDUSTRY_TOKEN, gear(keys=(held(GEAR, "delegate"),))),
        {},
        "E_CHAIN",
    ),
    "key-no-longer": (
        chain_of(INDUSTRY_TOKEN, gear(keys=(held(GEAR, "record", valid_until=ISSUED),))),
        {},
        "E_CHAIN",
    ),
    "holds-only-below": (
        chain_of(INDUSTRY_TOKEN, gear(resources=(prefix("88.100.1"),))),
        {},
        "E_SCOPE",
    ),
    "gave-all-away": (
        chain_of(INDUSTRY_TOKEN, gear(exceptions=(LEAF,))),
        {},
        "E_SCOPE",
    ),
    "kind-allowed": (
        chain_of(INDUSTRY_TOKEN, gear(kinds=frozenset({"item"}))),
        {},
        None,
    ),
    "kind-not-allowed": (
        chain_of(INDUSTRY_TOKEN, gear(kinds=frozenset({"class"}))),
        {},
        "E_SCOPE",
    ),
    "kind-not-allowed-above": (
        chain_of(industry(kinds=frozenset({"class"})), gear(kinds=frozenset({"item"}))),
        {},
        "E_SCOPE",
    ),
    "expired": (
        chain_of(INDUSTRY_TOKEN, gear(valid_until=ISSUED)),
        {},
        "E_TIME",
    ),
    "algorithm-required": (
        chain_of(INDUSTRY_TOKEN, gear(require=(("SM2",), ("Ed25519",)))),
        {},
        None,
    ),
    "two-algorithms-required": (
        chain_of(INDUSTRY_TOKEN, gear(require=(("Ed25519", "ML-DSA-44"),))),
        {},
        "E_DOWNGRADE",
    ),
    "another-algorithm-required": (
        chain_of(INDUSTRY_TOKEN, gear(require=(("SM2",),))),
        {},
        "E_DOWNGRADE",
    ),
    "hybrid": (HYBRID, {"signer": (GEAR, CHIP)}, None),
    "hybrid-the-other-way-round": (HYBRID, {"signer": (CHIP, GEAR)}, None),
    "hybrid-stripped-to-one": (HYBRID, {"signer": GEAR}, "E_DOWNGRADE"),
    "hybrid-stripped-to-the-other": (HYBRID, {"signer": CHIP}, "E_DOWNGRADE"),
    "hybrid-of-one-algorithm": (HYBRID, {"signer": (GEAR, STEEL)}, "E_DOWNGRADE"),
    "hybrid-and-more": (HYBRID, {"signer": (GEAR, CHIP, STEEL)}, None),
    "hybrid-with-a-stranger's": (
        chain_of(INDUSTRY_TOKEN, gear(require=(("Ed25519", "ES256"),))),
        {"signer": (GEAR, CHIP)},
        "E_CHAIN",
    ),
    "two-keys-where-one-would-do": (
        chain_of(INDUSTRY_TOKEN, gear(keys=(held(GEAR), held(STEEL)))),
        {"signer": (GEAR, STEEL)},
        None,
    ),
}


@pytest.mark.parametrize(("found", "options", "code"), C7.values(), ids=C7)
def test_c7_the_holder_speaks(found, options, code):
    assert speaker_refusal(found, **options) == code


def test_c7_the_signature_counts():
    token = spoiled(record("88.100/A").sign(GEAR))
    assert refusal(GOOD.check_speaker, parse(token, RECORD), LEAF, ISSUED, "item") == "E_SIG"


# what a verifier holds


def test_a_trust_bundle_survives_its_bytes():
    document = trust_document([ROOT_TOKEN], DELEGATIONS)
    found = Trust.parse(json.dumps(document).encode())
    assert found.chain(LEAF) == GOOD
    assert found.delegations.keys() == {prefix("88"), LEAF, prefix("88.101")}
    assert found.root.holder == parse_root(ROOT_TOKEN)[1]


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ([], "E_FORMAT"),
        ({}, "E_FORMAT"),
        ({"v": 1}, "E_FORMAT"),
        ({"v": 2, "roots": [ROOT_TOKEN]}, "E_FORMAT"),
        ({"v": True, "roots": [ROOT_TOKEN]}, "E_FORMAT"),
        ({"v": 1, "roots": ROOT_TOKEN}, "E_FORMAT"),
        ({"v": 1, "roots": [ROOT_TOKEN], "delegations": "x"}, "E_FORMAT"),
        ({"v": 1, "roots": [ROOT_TOKEN], "delegations": [7]}, "E_FORMAT"),
        ({"v": 1, "roots": [ROOT_TOKEN], "delegations": [ROOT_TOKEN]}, "E_TYP"),
        ({"v": 1, "roots": [], "delegations": []}, "E_ROOT"),
        ({"v": 1, "roots": [INDUSTRY_TOKEN]}, "E_TYP"),
    ],
)
def test_another_document_is_no_trust_bundle(document, code):
    assert refusal(Trust.parse, canonical.encode(document)) == code


def test_delegations_may_come_with_the_answer_or_be_known():
    offered = index(DELEGATIONS)
    assert trust().chain(LEAF, offered) == GOOD
    assert trust(*DELEGATIONS).chain(LEAF) == GOOD
    assert trust(INDUSTRY_TOKEN).chain(LEAF, {LEAF: (GEAR_TOKEN,)}) == GOOD
    assert refusal(trust().chain, LEAF) == "E_CHAIN"
    assert refusal(trust(GEAR_TOKEN).chain, LEAF) == "E_CHAIN"
    assert trust().chain(prefix(".")).holder.subject.is_root


def test_what_is_offered_is_validated_like_all_else():
    forged = index([INDUSTRY_TOKEN, gear(signer=STRANGER)])
    assert refusal(trust().chain, LEAF, forged) == "E_CHAIN"


SECOND = gear(sequence=2, prev="A" * 43, keys=(held(STEEL),))


def test_the_highest_sequence_counts():
    assert index([SECOND, GEAR_TOKEN]) == index([GEAR_TOKEN, SECOND]) == {LEAF: (SECOND,)}
    assert trust(INDUSTRY_TOKEN, GEAR_TOKEN).chain(LEAF, index([SECOND])).holder.sequence == 2


def test_nobody_brings_back_an_older_delegation():
    """A key that was replaced speaks no more, though whoever answers offers its old delegation."""
    found = trust(INDUSTRY_TOKEN, SECOND).chain(LEAF, index([GEAR_TOKEN]))
    assert found.holder.sequence == 2
    assert speaker_refusal(found) == "E_CHAIN"


def test_nobody_brings_back_an_older_delegation_with_laxer_demands():
    """A record stripped of a signature, and the delegation from before two were required."""
    keys = (held(GEAR), held(CHIP))
    lax = gear(keys=keys)
    strict = gear(keys=keys, sequence=2, prev=digest(lax), require=(("Ed25519", "ES256"),))
    assert speaker_refusal(trust(INDUSTRY_TOKEN, lax).chain(LEAF)) is None
    found = trust(INDUSTRY_TOKEN, strict).chain(LEAF, index([lax]))
    assert speaker_refusal(found) == "E_DOWNGRADE"
    assert speaker_refusal(found, signer=(GEAR, CHIP)) is None


def test_a_link_does_not_speak_as_a_record():
    token = sign(LINK, GEAR_ITEM.claims(), GEAR)
    with pytest.raises(VerifyError, match="E_TYP"):
        parse(token, RECORD)
