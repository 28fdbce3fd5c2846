"""Delegations: read strictly, and what is written comes back."""

from dataclasses import replace

import pytest

from schemas.delegation import Delegation, Revocation, parse_delegation, parse_root
from schemas.envelope import DELEGATION, ROOT, sign
from schemas.errors import VerifyError
from tests.parties import (
    GEAR,
    INDUSTRY,
    ISSUED,
    ROOT as ROOT_KEY,
    STEEL,
    STRANGER,
    delegation,
    held,
    prefix,
    refusal,
    root,
)

FULL = delegation(
    "88.100",
    "88",
    GEAR,
    sequence=2,
    prev="A" * 43,
    keys=(held(GEAR, "record", valid_from=1, valid_until=2), held(STEEL)),
    valid_from=ISSUED,
    valid_until=ISSUED + 1,
    resources=(prefix("88.100.1"), prefix("88.100.2")),
    exceptions=(prefix("88.100.2.7"),),
    depth=2,
    kinds=frozenset({"item", "batch"}),
    organisation={"name": "Gear 齿轮", "uscc": "91310000MA1K35UX0R", "lei": "529900T8BM49AURSDO55"},
    node="https://gear.example:8443/resolve",
    thresholds={"record": 2, "rotate": 1, "delegate": 1},
    next_keys=(STRANGER.public.kid, INDUSTRY.public.kid),
    require=(("Ed25519", "ML-DSA-44"), ("SM2",), ("ES256",)),
    revoked=(
        Revocation(STEEL.public.kid, "superseded", 0),
        Revocation(STRANGER.public.kid, "compromised", 2**53 - 1),
        Revocation("A" * 43, "unspecified", 7),
    ),
    reset=True,
)


def test_a_delegation_survives_its_envelope():
    for item in (FULL, delegation("88", ".", INDUSTRY)):
        envelope, found = parse_delegation(item.sign(INDUSTRY))
        assert found == item
        assert found.claims() == envelope.claims
        assert found.envelope is envelope


def test_what_is_written_from_another_comes_from_no_envelope():
    found = parse_delegation(FULL.sign(INDUSTRY))[1]
    assert replace(found, sequence=3).envelope is None


def test_several_may_sign():
    envelope, found = parse_delegation(FULL.sign(INDUSTRY, GEAR, STEEL))
    assert found == FULL
    assert envelope.kids == tuple(item.public.kid for item in (INDUSTRY, GEAR, STEEL))


def test_thresholds_and_revocations_are_looked_up():
    assert [FULL.threshold(use) for use in ("record", "rotate", "delegate")] == [2, 1, 1]
    assert delegation("88", ".", INDUSTRY).threshold("record") == 1
    assert FULL.revocation("A" * 43).since == 7
    assert FULL.revocation(GEAR.public.kid) is None


def test_a_root_survives_its_envelope():
    full = root(
        sequence=2,
        prev="A" * 43,
        keys=(held(ROOT_KEY), held(GEAR)),
        resources=(prefix("86"), prefix("88")),
        thresholds={"rotate": 2, "delegate": 1},
        next_keys=(STRANGER.public.kid,),
        revoked=(Revocation("A" * 43, "unspecified", 7),),
    )
    for item in (full, root()):
        envelope, found = parse_root(item.sign(ROOT_KEY))
        assert found == item
        assert found.claims() == envelope.claims


def test_keys_have_uses_and_times():
    assert FULL.keys_for("record", 1).keys() == {GEAR.public.kid, STEEL.public.kid}
    assert FULL.keys_for("record", 0).keys() == {STEEL.public.kid}
    assert FULL.keys_for("record", 2).keys() == {STEEL.public.kid}
    assert FULL.keys_for("delegate", 1).keys() == {STEEL.public.kid}
    assert FULL.keys_for("status", 1) == {}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("88.100", False),
        ("88.100.1", True),
        ("88.100.1.5", True),
        ("88.100.2", True),
        ("88.100.2.7", False),
        ("88.100.2.7.1", False),
        ("88.100.2.70", True),
        ("88.100.3", False),
        ("88.101", False),
    ],
)
def test_what_is_held(text, holds):
    assert FULL.holds(prefix(text)) is holds


def test_without_resources_the_prefix_itself_is_held():
    plain: Delegation = delegation("88.100", "88", GEAR)
    assert plain.holds(prefix("88.100"))
    assert plain.holds(prefix("88.100.1"))
    assert not plain.holds(prefix("88.1001"))
    assert not plain.holds(prefix("88"))


CLAIMS = delegation("88.100", "88", GEAR).claims()
KEY = CLAIMS["keys"][0]
REVOKED = {"kid": "A" * 43, "reason": "unspecified", "since": 1}
BAD_CLAIMS = {  # members changed (None: left out), verdict code
    "no-subject": ({"sub": None}, "E_FORMAT"),
    "no-issuer": ({"iss": None}, "E_FORMAT"),
    "subject-a-number": ({"sub": 88}, "E_FORMAT"),
    "subject-empty": ({"sub": ""}, "E_ID"),
    "subject-full-width": ({"sub": "88.\uff11"}, "E_ID"),
    "subject-last-dot": ({"sub": "88.100."}, "E_ID"),
    "subject-capital": ({"sub": "88.A"}, "E_ID"),
    "subject-control": ({"sub": "88.1\x00"}, "E_ID"),
    "resource-capital": ({"res": ["88.A"]}, "E_ID"),
    "resource-a-number": ({"res": [88]}, "E_FORMAT"),
    "resources-many": ({"res": ["88.100"] * 65}, "E_FORMAT"),
    "no-sequence": ({"seq": None}, "E_FORMAT"),
    "sequence-zero": ({"seq": 0}, "E_FORMAT"),
    "prev-at-first": ({"prev": "A" * 43}, "E_FORMAT"),
    "prev-missing": ({"seq": 2}, "E_FORMAT"),
    "no-time": ({"iat": None}, "E_FORMAT"),
    "no-keys": ({"keys": None}, "E_FORMAT"),
    "keys-empty": ({"keys": []}, "E_FORMAT"),
    "keys-many": ({"keys": [KEY] * 17}, "E_FORMAT"),
    "key-twice": ({"keys": [KEY, KEY]}, "E_FORMAT"),
    "key-a-text": ({"keys": ["x"]}, "E_FORMAT"),
    "key-without-jwk": ({"keys": [{"use": ["record"]}]}, "E_FORMAT"),
    "key-without-use": ({"keys": [{"jwk": KEY["jwk"]}]}, "E_FORMAT"),
    "key-use-unknown": ({"keys": [KEY | {"use": ["record", "sign"]}]}, "E_FORMAT"),
    "key-use-empty": ({"keys": [KEY | {"use": []}]}, "E_FORMAT"),
    "key-use-a-list": ({"keys": [KEY | {"use": [["record"]]}]}, "E_FORMAT"),
    "key-unknown-member": ({"keys": [KEY | {"alg": "EdDSA"}]}, "E_FORMAT"),
    "key-of-another-kid": ({"keys": [KEY | {"kid": STEEL.public.kid}]}, "E_KEY"),
    "key-of-small-order": (
        {"keys": [{"jwk": KEY["jwk"] | {"x": "A" * 43}, "use": ["record"]}]},
        "E_KEY",
    ),
    "depth-negative": ({"limits": {"depth": -1}}, "E_FORMAT"),
    "depth-text": ({"limits": {"depth": "1"}}, "E_FORMAT"),
    "kinds-a-text": ({"limits": {"kinds": "item"}}, "E_FORMAT"),
    "limit-unknown": ({"limits": {"max_ttl": 1}}, "E_FORMAT"),
    "organisation-unknown-member": ({"org": {"name": "x", "vat": "y"}}, "E_FORMAT"),
    "organisation-control": ({"org": {"name": "x\x00"}}, "E_FORMAT"),
    "node-of-no-http": ({"node": "ftp://a.example"}, "E_FORMAT"),
    "node-with-user": ({"node": "https://user@a.example"}, "E_FORMAT"),
    "node-with-query": ({"node": "https://a.example/?x"}, "E_FORMAT"),
    "node-with-fragment": ({"node": "https://a.example/#x"}, "E_FORMAT"),
    "node-with-backslash": ({"node": "https://a.example\\@b.example"}, "E_FORMAT"),
    "node-without-host": ({"node": "https:///x"}, "E_FORMAT"),
    "thresholds-a-list": ({"thr": []}, "E_FORMAT"),
    "threshold-zero": ({"thr": {"delegate": 0}}, "E_FORMAT"),
    "threshold-negative": ({"thr": {"record": -1}}, "E_FORMAT"),
    "threshold-above-the-keys": ({"thr": {"rotate": 2}}, "E_FORMAT"),
    "threshold-of-keys-that-may-not": (
        {"keys": [KEY, {"jwk": dict(STEEL.public.jwk), "use": ["status"]}], "thr": {"record": 2}},
        "E_FORMAT",
    ),
    "threshold-without-keys": (
        {"keys": [KEY | {"use": ["record"]}], "thr": {"rotate": 1}},
        "E_FORMAT",
    ),
    "threshold-true": ({"thr": {"delegate": True}}, "E_FORMAT"),
    "threshold-text": ({"thr": {"delegate": "1"}}, "E_FORMAT"),
    "threshold-a-list": ({"thr": {"delegate": [1]}}, "E_FORMAT"),
    "threshold-of-status": ({"thr": {"status": 1}}, "E_FORMAT"),
    "threshold-unknown": ({"thr": {"sign": 1}}, "E_FORMAT"),
    "next-a-text": ({"next": STRANGER.public.kid}, "E_FORMAT"),
    "next-short": ({"next": [STRANGER.public.kid[:-1]]}, "E_FORMAT"),
    "next-long": ({"next": [STRANGER.public.kid + "A"]}, "E_FORMAT"),
    "next-newline": ({"next": ["A" * 42 + "\n"]}, "E_FORMAT"),
    "next-padded": ({"next": ["A" * 42 + "="]}, "E_FORMAT"),
    "next-twice": ({"next": [STRANGER.public.kid] * 2}, "E_FORMAT"),
    "next-many": ({"next": ["A" * 41 + f"{n:02}" for n in range(17)]}, "E_FORMAT"),
    "next-shown-already": ({"next": [GEAR.public.kid]}, "E_FORMAT"),
    "require-empty-set": ({"require": [[]]}, "E_FORMAT"),
    "require-unknown": ({"require": [["Ed25519"], ["RS256"]]}, "E_FORMAT"),
    "require-none": ({"require": [["none"]]}, "E_FORMAT"),
    "require-twice-the-same": ({"require": [["Ed25519", "Ed25519"]]}, "E_FORMAT"),
    "require-numbers": ({"require": [[1]]}, "E_FORMAT"),
    "require-many": ({"require": [["Ed25519"]] * 9}, "E_FORMAT"),
    "revoked-an-object": ({"revoked": {}}, "E_FORMAT"),
    "revoked-a-kid": ({"revoked": [GEAR.public.kid]}, "E_FORMAT"),
    "revoked-without-kid": ({"revoked": [{"reason": "unspecified", "since": 1}]}, "E_FORMAT"),
    "revoked-without-reason": ({"revoked": [{"kid": "A" * 43, "since": 1}]}, "E_FORMAT"),
    "revoked-without-since": ({"revoked": [REVOKED | {"since": None}]}, "E_FORMAT"),
    "revoked-since-before": ({"revoked": [REVOKED | {"since": -1}]}, "E_FORMAT"),
    "revoked-since-true": ({"revoked": [REVOKED | {"since": True}]}, "E_FORMAT"),
    "revoked-since-text": ({"revoked": [REVOKED | {"since": "1"}]}, "E_FORMAT"),
    "revoked-for-another-reason": ({"revoked": [REVOKED | {"reason": "lost"}]}, "E_FORMAT"),
    "revoked-unknown-member": ({"revoked": [REVOKED | {"at": 1}]}, "E_FORMAT"),
    "revoked-twice": ({"revoked": [REVOKED, REVOKED | {"since": 2}]}, "E_FORMAT"),
    "revoked-many": (
        {"revoked": [REVOKED | {"kid": "A" * 41 + f"{n:02}"} for n in range(65)]},
        "E_FORMAT",
    ),
    "reset-at-first": ({"reset": True}, "E_FORMAT"),
    "reset-false": ({"seq": 2, "prev": "A" * 43, "reset": False}, "E_FORMAT"),
    "reset-one": ({"seq": 2, "prev": "A" * 43, "reset": 1}, "E_FORMAT"),
    "require-a-text": ({"require": "Ed25519"}, "E_FORMAT"),
    "require-of-texts": ({"require": ["Ed25519"]}, "E_FORMAT"),
    "v-2": ({"v": 2}, "E_FORMAT"),
}


@pytest.mark.parametrize(("changes", "code"), BAD_CLAIMS.values(), ids=BAD_CLAIMS)
def test_refused_claims(changes, code):
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    assert refusal(parse_delegation, sign(DELEGATION, claims, INDUSTRY)) == code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"keys": []}, "E_FORMAT"),
        ({"ver": 0}, "E_FORMAT"),
        ({"sub": "88"}, "E_FORMAT"),
        ({"except": ["88"]}, "E_FORMAT"),
        ({"reset": True}, "E_FORMAT"),
        ({"require": [["Ed25519"]]}, "E_FORMAT"),
        ({"thr": {"rotate": 2}}, "E_FORMAT"),
        ({"next": ["x"]}, "E_FORMAT"),
        ({"revoked": [REVOKED, REVOKED]}, "E_FORMAT"),
        ({"res": ["8a"]}, "E_ID"),
    ],
)
def test_refused_roots(changes, code):
    assert refusal(parse_root, sign(ROOT, root().claims() | changes, ROOT_KEY)) == code


def test_a_root_is_no_delegation():
    assert refusal(parse_delegation, root().sign(ROOT_KEY)) == "E_TYP"
    assert refusal(parse_root, FULL.sign(INDUSTRY)) == "E_TYP"


@pytest.mark.parametrize(
    "node", ["http://registry:8000", "https://a.example", "https://[::1]:8443/", "https://a.b/c/d"]
)
def test_nodes(node):
    assert parse_delegation(delegation("88", ".", GEAR, node=node).sign(GEAR))[1].node == node


def test_a_verdict_is_the_only_error():
    with pytest.raises(VerifyError, match="E_FORMAT: keys is empty"):
        parse_delegation(sign(DELEGATION, CLAIMS | {"keys": []}, INDUSTRY))
