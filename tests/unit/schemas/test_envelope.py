"""Envelopes: the closed profile accepts its own and refuses everything else, by verdict code."""

import json
import socket

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey

from schemas import canonical
from schemas.envelope import LINK, MAX_TOKEN, RECORD, Envelope, digest, sign, verify
from schemas.errors import VerifyError
from schemas.keys import PublicKey, b64decode, b64encode, sha256
from tests.forgeries import CHIP, CLAIMS, GOOD, GOOD_ES256, KEYS, P256_ORDER, ROWS, with_payload
from tests.parties import GEAR, refusal
from tests.third_party import third_party_json


@pytest.mark.parametrize(
    ("token", "signer"), [(GOOD, GEAR), (GOOD_ES256, CHIP)], ids=["Ed25519", "ES256"]
)
def test_a_good_envelope(token, signer):
    found = verify(token, RECORD, KEYS)
    assert isinstance(found, Envelope)
    assert (found.claims, found.kid, found.alg) == (CLAIMS, signer.public.kid, signer.public.alg)
    assert found.digest == digest(token) == b64encode(sha256(token.encode()))
    assert token == sign(RECORD, dict(reversed(CLAIMS.items())), signer)


@pytest.mark.parametrize(("token", "code"), ROWS.values(), ids=ROWS)
def test_forgeries(token, code):
    assert refusal(verify, token, RECORD, KEYS) == code


@pytest.mark.parametrize("token", [row[0] for row in ROWS.values()], ids=ROWS)
def test_no_refusal_says_what_cannot_be_sent(token):
    with pytest.raises(VerifyError) as caught:
        verify(token, RECORD, KEYS)
    json.dumps(caught.value.problem(), ensure_ascii=False).encode()


@pytest.mark.parametrize("token", [None, 7, b"a.b.c", ["a.b.c"], {"a": 1}])
def test_an_envelope_is_a_string(token):
    assert refusal(verify, token, RECORD, KEYS) == "E_FORMAT"


def test_one_type_never_passes_for_another():
    assert refusal(verify, GOOD, LINK, KEYS) == "E_TYP"


def test_without_keys_nothing_verifies():
    assert refusal(verify, GOOD, RECORD, {}) == "E_CHAIN"


def test_no_socket_is_opened(monkeypatch):
    def opened(*_arguments, **_options):
        pytest.fail("verification opened a socket")

    monkeypatch.setattr(socket, "socket", opened)
    monkeypatch.setattr(socket, "getaddrinfo", opened)
    for name in ("header-jku", "header-x5u", "header-jwk", "header-x5c"):
        assert refusal(verify, ROWS[name][0], RECORD, KEYS) == "E_HEADER"


def test_limits_are_the_same_for_signing_and_for_reading():
    room = canonical.MAX_BYTES - len(canonical.encode(CLAIMS | {"a": ""}))
    largest = sign(RECORD, CLAIMS | {"a": "x" * room}, CHIP)
    assert len(largest) <= MAX_TOKEN
    assert verify(largest, RECORD, KEYS).claims["a"] == "x" * room
    too_large = CLAIMS | {"a": "x" * (room + 1)}
    assert refusal(sign, RECORD, too_large, CHIP) == "E_LIMIT"
    assert refusal(verify, with_payload(canonical.encode(too_large)), RECORD, KEYS) == "E_LIMIT"
    assert refusal(verify, "A" * 1_000_000 + ".A.A", RECORD, KEYS) == "E_LIMIT"


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"v": 1.0}, "E_CANON"),
        ({"v": 1, "a": "e\u0301"}, "E_CANON"),
        ({"v": "\ud800"}, "E_ENCODING"),
    ],
)
def test_what_has_no_canonical_form_is_not_signed(claims, code):
    assert refusal(sign, RECORD, claims, GEAR) == code


def flipped(token):
    """Every token that differs in one bit and is text still."""
    raw = token.encode()
    for at in range(len(raw) * 8):
        mutant = bytearray(raw)
        mutant[at >> 3] ^= 1 << (at & 7)
        yield mutant.decode("latin-1")


@pytest.mark.parametrize("token", [GOOD, GOOD_ES256], ids=["Ed25519", "ES256"])
def test_every_single_bit_counts(token):
    mutants = list(flipped(token))
    assert len(mutants) == 8 * len(token)
    assert None not in {refusal(verify, mutant, RECORD, KEYS) for mutant in mutants}


@pytest.mark.parametrize(
    ("token", "key_type", "signer"),
    [(GOOD, OKPKey, GEAR), (GOOD_ES256, ECKey, CHIP)],
    ids=["Ed25519", "ES256"],
)
def test_another_implementation_verifies_ours(token, key_type, signer):
    key = key_type.import_key(dict(signer.public.jwk))
    found = jws.deserialize_compact(token, key, algorithms=[signer.public.alg])
    assert json.loads(found.payload) == CLAIMS
    assert key.thumbprint() == signer.public.kid


def wycheproof():
    document = third_party_json("jose", "json_web_signature_test.json")
    for group in document["testGroups"]:
        yield from ((group, case) for case in group["tests"])


def group_keys(group):
    """The keys of a group that may be registered at all, under every kid that a token may name."""
    jwk = group.get("public", group.get("private"))
    bare = {name: jwk[name] for name in ("kty", "crv", "x", "y") if name in jwk}
    try:
        key = PublicKey.from_jwk(bare)
    except VerifyError:
        return {}
    return {key.kid: key, jwk.get("kid"): key}


def test_wycheproof_tokens_are_refused_and_nothing_else_is_raised():
    """Valid ones too: their headers have no `typ`, and the profile is closed."""
    seen = {"valid": 0, "invalid": 0}
    for group, case in wycheproof():
        seen[case["result"]] += 1
        assert refusal(verify, case["jws"], RECORD, group_keys(group)) is not None, case["tcId"]
    assert seen == {"valid": 46, "invalid": 355}


TOO_LONG = {379, 385}  # zero-padded and DER, which some verifiers take


def test_wycheproof_es256_signatures_are_judged_right():
    """With the header's form set aside: key, signed bytes and signature of every ES256 token."""
    verdicts = {}
    for group, case in wycheproof():
        keys = list(group_keys(group).values())
        message, _, part = case["jws"].rpartition(".")
        if keys and case["result"] == "valid":
            signature = b64decode(part)
            low = int.from_bytes(signature[32:]) <= P256_ORDER // 2
            verdicts[case["tcId"]] = keys[0].verifies(signature, message.encode()) is low
        elif keys and case["tcId"] in TOO_LONG:
            verdicts[case["tcId"]] = not keys[0].verifies(b64decode(part), message.encode())
    assert verdicts.keys() > TOO_LONG
    assert all(verdicts.values())
