"""Proof of possession: the key itself, for this prefix, for a challenge of ours, now."""

import pytest

from schemas import canonical
from schemas.delegation import check_possession, sign_possession
from schemas.envelope import POSSESSION, RECORD, cosign, sign
from schemas.keys import PrivateKey, PublicKey, b64encode
from tests.parties import GEAR, NOW, STRANGER, prefix, refusal

MINE = prefix("88.100")
CLAIMS = {"v": 1, "kid": GEAR.public.kid, "prefix": "88.100", "nonce": "n1", "iat": NOW}


@pytest.mark.parametrize("signer", [GEAR, PrivateKey.generate("ES256")], ids=["Ed25519", "ES256"])
def test_a_proof_counts(signer):
    token = sign_possession(signer, MINE, "n1", NOW)
    check_possession(token, signer.public, MINE, ["n0", "n1"], NOW + 600)
    check_possession(token, signer.public, MINE, {"n1": 1}, NOW - 600)


def signed(signer=GEAR, typ=POSSESSION, **members):
    claims = {name: value for name, value in (CLAIMS | members).items() if value is not None}
    return sign(typ, claims, signer)


REFUSED = {
    "another-key": signed(STRANGER),
    "another-key-that-says-so": signed(STRANGER, kid=STRANGER.public.kid),
    "another-kid": signed(kid=STRANGER.public.kid),
    "another-prefix": signed(prefix="88.101"),
    "the-parent": signed(prefix="88"),
    "another-challenge": signed(nonce="n2"),
    "no-challenge": signed(nonce=None),
    "challenge-a-list": signed(nonce=["n1"]),
    "challenge-an-object": signed(nonce={"n1": 1}),
    "challenge-a-number": signed(nonce=1),
    "too-old": signed(iat=NOW - 601),
    "of-the-future": signed(iat=NOW + 601),
    "no-time": signed(iat=None),
    "time-as-text": signed(iat=str(NOW)),
    "time-true": signed(iat=True),
    "one-member-more": signed(note="x"),
    "another-typ": signed(typ=RECORD),
    "no-envelope": "",
    "nothing": None,
    "cut-off": signed()[:-1],
    "with-another's-signature": cosign(signed(), STRANGER),
    "another's-with-this-key's": cosign(signed(STRANGER), GEAR),
}


@pytest.mark.parametrize("token", REFUSED.values(), ids=REFUSED)
def test_anything_else_does_not(token):
    assert refusal(check_possession, token, GEAR.public, MINE, ["n1"], NOW) == "E_KEY"


def test_without_a_challenge_nothing_counts():
    assert refusal(check_possession, signed(), GEAR.public, MINE, [], NOW) == "E_KEY"
    assert refusal(check_possession, signed(nonce=[]), GEAR.public, MINE, (), NOW) == "E_KEY"


def test_a_point_off_the_curve_has_no_proof():
    """It may be registered as far as its bytes go: nobody can sign with it."""
    key = PublicKey.from_jwk({"kty": "OKP", "crv": "Ed25519", "x": b64encode(b"\x02" + bytes(31))})
    head = b64encode(canonical.encode({"alg": "Ed25519", "kid": key.kid, "typ": POSSESSION}))
    body = b64encode(canonical.encode(CLAIMS | {"kid": key.kid}))
    for signature in (b"\x01" + bytes(63), bytes(64), GEAR.sign(f"{head}.{body}".encode())):
        token = f"{head}.{body}.{b64encode(signature)}"
        assert refusal(check_possession, token, key, MINE, ["n1"], NOW) == "E_KEY"
