"""The root: from one version to the next by the thresholds of both (chain step C1)."""

from dataclasses import replace

import pytest

from schemas import canonical
from schemas.chain import Chain, Trust, advance, anchor, trust_document, validate
from schemas.delegation import Revocation, parse_root
from schemas.envelope import digest
from schemas.root import MAX_ROOTS
from tests.forgeries import CHIP
from tests.parties import (
    GEAR_TOKEN,
    INDUSTRY,
    INDUSTRY_TOKEN,
    ISSUED,
    NOW,
    ROOT,
    ROOT_TOKEN,
    STEEL,
    STRANGER,
    delegation,
    held,
    key,
    prefix,
    refusal,
    root,
)

FRESH, COLD = key("fresh root"), key("cold root")


def version(token, *keys, **members):
    """The root version after one, with these keys."""
    last = parse_root(token)[1]
    following = {
        "sequence": last.sequence + 1,
        "prev": digest(token),
        "issued_at": last.issued_at + 10,
        "keys": keys or last.keys,
    }
    return replace(last, **following | members)


ENDED = held(ROOT, "delegate", valid_until=ISSUED + 10)  # what it delegated before stays
SECOND = version(ROOT_TOKEN, held(FRESH, "rotate", "delegate"), ENDED).sign(ROOT, FRESH)
THIRD = version(SECOND, held(COLD, "rotate", "delegate"), ENDED).sign(FRESH, COLD)


def walk(*roots, **options):
    return anchor(roots, **options)


def test_versions_are_followed_to_the_last():
    assert walk(ROOT_TOKEN).sequence == 1
    assert walk(ROOT_TOKEN, SECOND).sequence == 2
    assert walk(ROOT_TOKEN, SECOND, THIRD).keys[0].key == COLD.public
    assert walk(SECOND, THIRD).sequence == 3  # the first is trusted because it is given


def test_a_bundle_that_begins_later_still_signs_itself():
    first, further = SECOND.split("~")
    spoiled = f"{first}~{further[:-9]}{'A' if further[-9] != 'A' else 'B'}{further[-8:]}"
    assert refusal(walk, spoiled) == "E_ROOT"
    assert refusal(walk, first) == "E_ROOT"


NOT_FOLLOWED = {
    "skipped": (ROOT_TOKEN, THIRD),
    "backwards": (SECOND, ROOT_TOKEN),
    "same-again": (ROOT_TOKEN, ROOT_TOKEN),
    "self-issued-second": (ROOT_TOKEN, root(keys=(held(STRANGER),)).sign(STRANGER)),
    "by-the-new-alone": (
        ROOT_TOKEN,
        version(ROOT_TOKEN, held(FRESH, "rotate")).sign(FRESH),
    ),
    "by-the-old-alone": (
        ROOT_TOKEN,
        version(ROOT_TOKEN, held(FRESH, "rotate")).sign(ROOT),
    ),
    "and-by-a-stranger": (
        ROOT_TOKEN,
        version(ROOT_TOKEN, held(FRESH, "rotate")).sign(ROOT, FRESH, STRANGER),
    ),
    "by-a-delegate-key": (
        ROOT_TOKEN,
        version(ROOT_TOKEN, held(FRESH, "delegate"), held(STEEL, "rotate")).sign(ROOT, FRESH),
    ),
    "sequence-two-more": (
        ROOT_TOKEN,
        version(ROOT_TOKEN, sequence=3).sign(ROOT),
    ),
    "prev-of-another": (ROOT_TOKEN, version(ROOT_TOKEN, prev=digest(SECOND)).sign(ROOT)),
    "issued-before": (ROOT_TOKEN, version(ROOT_TOKEN, issued_at=ISSUED - 1).sign(ROOT)),
    "third-by-the-first": (
        ROOT_TOKEN,
        SECOND,
        version(SECOND, held(ROOT, "rotate")).sign(ROOT),
    ),
}


@pytest.mark.parametrize("roots", NOT_FOLLOWED.values(), ids=NOT_FOLLOWED)
def test_anything_else_does_not_follow(roots):
    assert refusal(walk, *roots) == "E_ROOT"


def test_a_spoiled_signature_does_not_follow():
    first, further = version(ROOT_TOKEN, held(FRESH, "rotate")).sign(ROOT, FRESH).split("~")
    head, _, signature = further.split(".")
    spoiled = signature[:10] + ("A" if signature[10] != "A" else "B") + signature[11:]
    assert refusal(walk, ROOT_TOKEN, f"{first}~{head}..{spoiled}") == "E_ROOT"


TRIO = root(
    keys=tuple(held(item, "rotate") for item in (ROOT, STEEL, CHIP)), thresholds={"rotate": 2}
)


def test_a_root_of_several_keys_signs_itself_with_as_many_as_it_asks_for():
    assert refusal(walk, TRIO.sign(ROOT)) == "E_ROOT"
    assert refusal(walk, TRIO.sign(ROOT, STRANGER)) == "E_ROOT"
    assert refusal(walk, TRIO.sign(CHIP, STEEL)) is None


PAIR = (held(FRESH, "rotate"), held(COLD, "rotate"))
SIGNERS = {  # who signs what follows two of three with two of two
    "two-and-two": ((ROOT, CHIP, FRESH, COLD), None),
    "all": ((ROOT, STEEL, CHIP, FRESH, COLD), None),
    "one-and-two": ((ROOT, FRESH, COLD), "E_ROOT"),
    "two-and-one": ((ROOT, CHIP, FRESH), "E_ROOT"),
    "two-and-none": ((ROOT, CHIP), "E_ROOT"),
    "none-and-two": ((FRESH, COLD), "E_ROOT"),
}


@pytest.mark.parametrize(("signers", "code"), SIGNERS.values(), ids=SIGNERS)
def test_both_thresholds_count(signers, code):
    before = TRIO.sign(ROOT, STEEL)
    after = version(before, *PAIR, thresholds={"rotate": 2})
    assert refusal(walk, before, after.sign(*signers)) == code


def test_one_key_may_count_for_both():
    assert walk(ROOT_TOKEN, version(ROOT_TOKEN, resources=(prefix("88"),)).sign(ROOT)).resources


def test_a_root_binds_itself_to_keys_nobody_has_seen():
    before = root(next_keys=(COLD.public.kid,)).sign(ROOT)
    assert (
        refusal(walk, before, version(before, held(FRESH, "rotate")).sign(ROOT, FRESH)) == "E_ROOT"
    )
    other = version(before, next_keys=(FRESH.public.kid,))
    assert refusal(walk, before, other.sign(ROOT)) == "E_ROOT"
    shown = version(before, held(ROOT, "rotate"), held(COLD, "rotate"), next_keys=())
    assert refusal(walk, before, shown.sign(ROOT)) == "E_ROOT"
    assert refusal(walk, before, shown.sign(ROOT, COLD)) is None


def test_a_revoked_key_counts_for_nothing_and_stays_revoked():
    revoked = (Revocation(ROOT.public.kid, "compromised", 9),)
    both = (held(ROOT, "rotate"), held(FRESH, "rotate"))
    before = version(ROOT_TOKEN, *both, revoked=revoked).sign(ROOT, FRESH)
    assert walk(ROOT_TOKEN, before).sequence == 2
    alone = version(ROOT_TOKEN, *both, revoked=revoked).sign(ROOT)
    assert refusal(walk, ROOT_TOKEN, alone) == "E_ROOT"
    assert refusal(walk, ROOT_TOKEN, before, version(before).sign(ROOT)) == "E_ROOT"
    assert refusal(walk, ROOT_TOKEN, before, version(before, revoked=()).sign(FRESH)) == "E_ROOT"
    assert refusal(walk, ROOT_TOKEN, before, version(before).sign(FRESH)) is None
    assert refusal(walk, root(revoked=revoked).sign(ROOT)) == "E_ROOT"


@pytest.mark.parametrize(
    ("window", "now", "code"),
    [
        ({}, NOW, None),
        ({"valid_until": NOW + 1}, NOW, None),
        ({"valid_until": NOW}, NOW, "E_ROOT"),
        ({"valid_until": NOW}, None, None),
        ({"valid_from": NOW}, NOW, None),
        ({"valid_from": NOW + 1}, NOW, "E_ROOT"),
    ],
)
def test_an_expired_root_is_no_root(window, now, code):
    token = root(**window).sign(ROOT)
    assert refusal(walk, token, now=now) == code
    if now is not None:
        held_trust = Trust(Chain((anchor([token]),)))
        assert refusal(held_trust.check_root, now) == code
        raw = canonical.encode(trust_document([token], ()))
        assert refusal(Trust.parse, raw, now) == code
        assert held_trust.root.current(now) == (() if code is None else (code,))


def test_only_the_last_version_has_to_be_valid():
    short = root(valid_until=ISSUED + 20).sign(ROOT)
    renewed = version(short, valid_until=NOW + 1).sign(ROOT)
    assert walk(short, renewed, now=NOW).sequence == 2
    assert refusal(walk, short, now=NOW) == "E_ROOT"


def test_bounded():
    assert refusal(anchor, [ROOT_TOKEN] * 100_000) == "E_LIMIT"
    tokens = [ROOT_TOKEN]
    while len(tokens) < MAX_ROOTS:
        tokens.append(version(tokens[-1]).sign(ROOT))
    assert anchor(tokens).sequence == MAX_ROOTS
    tokens.append(version(tokens[-1]).sign(ROOT))
    assert refusal(anchor, tokens) == "E_LIMIT"
    assert advance(anchor(tokens[:1]), tokens).sequence == MAX_ROOTS + 1


def test_who_holds_a_root_walks_on_from_it():
    first, second = anchor([ROOT_TOKEN]), anchor([SECOND])
    assert advance(first, [ROOT_TOKEN, SECOND, THIRD]).sequence == 3
    assert advance(second, [ROOT_TOKEN, SECOND, THIRD]).sequence == 3
    assert advance(second, [ROOT_TOKEN]) is second
    assert advance(second, []) is second
    assert refusal(advance, first, [THIRD]) == "E_ROOT"
    forked = version(ROOT_TOKEN, held(STRANGER, "rotate")).sign(ROOT, STRANGER)
    assert refusal(advance, second, [forked]) == "E_ROOT"
    assert refusal(advance, first, [root(keys=(held(STRANGER),)).sign(STRANGER)]) == "E_ROOT"
    expiring = version(SECOND, valid_until=NOW).sign(FRESH)
    assert refusal(advance, second, [expiring], NOW) == "E_ROOT"


def test_what_an_older_version_delegated_stays():
    """The ended key is listed still; what it signs after its end is a thief's."""
    chain = Chain((anchor([ROOT_TOKEN, SECOND, THIRD]),))
    tokens = (INDUSTRY_TOKEN, GEAR_TOKEN)
    assert validate(chain, tokens, prefix("88.100")).holder.organisation == {"name": "Gear"}
    late = delegation("88", ".", INDUSTRY, issued_at=ISSUED + 10)
    assert refusal(validate, chain, (late.sign(ROOT),), prefix("88")) == "E_CHAIN"
    assert refusal(validate, chain, (late.sign(COLD),), prefix("88")) is None
    dropped = version(SECOND, held(COLD, "rotate", "delegate")).sign(FRESH, COLD)
    bare = Chain((anchor([ROOT_TOKEN, SECOND, dropped]),))
    assert refusal(validate, bare, tokens, prefix("88.100")) == "E_CHAIN"


def test_a_trust_bundle_names_all_versions():
    raw = canonical.encode(trust_document([ROOT_TOKEN, SECOND, THIRD], (INDUSTRY_TOKEN,)))
    assert Trust.parse(raw, NOW).root.holder.sequence == 3
    raw = canonical.encode(trust_document([ROOT_TOKEN, THIRD], ()))
    assert refusal(Trust.parse, raw) == "E_ROOT"
