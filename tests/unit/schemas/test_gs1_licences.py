"""GS1's digital licences: real JWS of another profile, in whose signatures ours must agree.

Fifteen credentials and three status lists, ES256, the keys in DID documents beside them.
"""

import json

import pytest
from joserfc import jws
from joserfc.jwk import ECKey

from schemas.envelope import RECORD, verify
from schemas.keys import PublicKey, b64decode
from tests.forgeries import P256_ORDER
from tests.parties import refusal
from tests.third_party import third_party

FOLDER = "gs1-licences"
STRAY = "mc_"  # before one status list, in the source itself


def keys():
    """The public keys of the three issuers by the kid that tokens name."""
    found = {}
    for path in sorted(third_party(FOLDER, "dids").glob("*/did.json")):
        for method in json.loads(path.read_text(encoding="utf-8"))["verificationMethod"]:
            jwk = method["publicKeyJwk"]
            found[method["id"]] = {name: jwk[name] for name in ("kty", "crv", "x", "y")}
    return found


def tokens():
    found = {
        path.name: path.read_text(encoding="utf-8").strip()
        for folder in ("samples", "status")
        for path in sorted(third_party(FOLDER, folder).glob("*.jwt"))
    }
    assert len(found) == 18
    return found


def spread(token):
    """The header, the bytes that are signed, and the signature."""
    head, payload, signature = token.removeprefix(STRAY).split(".")
    return json.loads(b64decode(head)), f"{head}.{payload}".encode(), b64decode(signature)


def test_the_issuers_keys_may_be_registered():
    public = {kid: PublicKey.from_jwk(jwk) for kid, jwk in keys().items()}
    assert len(public) >= 3
    for kid, key in public.items():
        assert kid.partition("#")[2] == key.kid  # the same thumbprint, RFC 7638


def test_their_signatures_verify_where_s_is_low():
    """High s is refused by rule; its twin, which anybody can make, is the one that counts."""
    public = {kid: PublicKey.from_jwk(jwk) for kid, jwk in keys().items()}
    low = 0
    for name, token in tokens().items():
        header, message, signature = spread(token)
        key = public[header["kid"]]
        jws.deserialize_compact(
            token.removeprefix(STRAY), ECKey.import_key(dict(key.jwk)), algorithms=["ES256"]
        )
        s = int.from_bytes(signature[32:], "big")
        assert key.verifies(signature, message) is (s <= P256_ORDER // 2), name
        low += s <= P256_ORDER // 2
        lowered = signature[:32] + min(s, P256_ORDER - s).to_bytes(32, "big")
        assert key.verifies(lowered, message), name
        assert not key.verifies(lowered, message + b"x"), name
    assert 0 < low < 18


@pytest.mark.parametrize("typ", [RECORD, "JWT"])
def test_none_of_them_is_an_envelope(typ):
    """Their headers have no `typ`: the profile is closed, whoever signed."""
    known = {kid: PublicKey.from_jwk(jwk) for kid, jwk in keys().items()}
    codes = {name: refusal(verify, token, typ, known) for name, token in tokens().items()}
    assert set(codes.values()) <= {"E_HEADER", "E_ENCODING", "E_FORMAT", "E_LIMIT"}
    assert codes["mc_status_list.jwt"] in {"E_ENCODING", "E_FORMAT"}
    assert codes["gcp-sample.jwt"] == "E_HEADER"
