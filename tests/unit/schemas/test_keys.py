"""Keys: what may be registered, thumbprints, signatures of both algorithms."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from schemas.errors import VerifyError
from schemas.keys import (
    ALGORITHMS,
    ES256,
    PrivateKey,
    PublicKey,
    b64decode,
    b64encode,
    thumbprint,
)
from tests.forgeries import CHIP, P256_ORDER
from tests.parties import GEAR, refusal
from tests.third_party import third_party_json
from tests.weak_keys import LOW_ORDER, NON_CANONICAL, OFF_CURVE, okp


def registrable(jwk):
    return refusal(PublicKey.from_jwk, jwk) is None


@pytest.mark.parametrize("raw", LOW_ORDER + NON_CANONICAL)
def test_a_point_of_small_order_or_odd_encoding_is_not_registrable(raw):
    assert refusal(PublicKey.from_jwk, okp(bytes.fromhex(raw))) == "E_KEY"


ED = dict(GEAR.public.jwk)
EC = dict(CHIP.public.jwk)

REFUSED_KEYS = {
    "empty": {},
    "unknown-type": {"kty": "RSA", "n": "AA", "e": "AQAB"},
    "secret": {"kty": "oct", "k": "AA"},
    "other-curve": ED | {"crv": "X25519"},
    "ed448": ED | {"crv": "Ed448"},
    "p-384": EC | {"crv": "P-384"},
    "curve-of-the-other-type": ED | {"crv": "P-256"},
    "private-part": ED | {"d": ED["x"]},
    "with-alg": ED | {"alg": "Ed25519"},
    "with-kid": ED | {"kid": "a"},
    "with-use": EC | {"use": "sig"},
    "y-of-an-ed25519-key": ED | {"y": ED["x"]},
    "no-x": {"kty": "OKP", "crv": "Ed25519"},
    "no-y": {name: EC[name] for name in ("kty", "crv", "x")},
    "x-a-number": ED | {"x": 1},
    "x-null": ED | {"x": None},
    "x-padded": ED | {"x": ED["x"] + "="},
    "x-short": okp(bytes(range(31))),
    "x-long": okp(bytes(range(33))),
    "x-empty": ED | {"x": ""},
    "x-not-base64url": ED | {"x": "+" + ED["x"][1:]},
    "x-trailing-bits": ED | {"x": ED["x"][:-1] + chr(ord(ED["x"][-1]) + 1)},
    "x-not-ascii": ED | {"x": "é" + ED["x"][1:]},
    "off-curve": OFF_CURVE,
    "at-infinity": EC | {"x": str(b64encode(bytes(32))), "y": str(b64encode(bytes(32)))},
    "beyond-the-field": EC | {"x": str(b64encode(b"\xff" * 32))},
}


@pytest.mark.parametrize("jwk", REFUSED_KEYS.values(), ids=REFUSED_KEYS)
def test_what_is_not_registrable(jwk):
    assert refusal(PublicKey.from_jwk, jwk) == "E_KEY"


def test_the_thumbprint_of_rfc_8037():
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert thumbprint(jwk) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    seed = b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
    assert PrivateKey.from_seed(seed).public.kid == thumbprint(jwk)


@pytest.mark.parametrize("alg", sorted(ALGORITHMS))
def test_a_new_key_signs(alg):
    signer = PrivateKey.generate(alg)
    assert signer.public.alg == alg
    assert registrable(signer.public.jwk)
    signature = signer.sign(b"message")
    assert signer.public.verifies(signature, b"message")
    assert not signer.public.verifies(signature, b"massage")
    assert not signer.public.verifies(signature + b"\x00", b"message")
    assert not GEAR.public.verifies(signature, b"message")
    assert PrivateKey.from_handle(signer.handle).public == signer.public
    assert "PrivateKey" not in repr(signer.handle) or repr(signer.handle) not in repr(signer)


@pytest.mark.parametrize("alg", ["EdDSA", "ES384", "RS256", ""])
def test_no_key_is_made_for_another_algorithm(alg):
    assert refusal(PrivateKey.generate, alg) == "E_ALG"


@pytest.mark.parametrize(
    "handle",
    [
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate().public_key(),
        None,
    ],
    ids=["P-384", "RSA", "public", "none"],
)
def test_another_handle_is_refused(handle):
    assert refusal(PrivateKey.from_handle, handle) == "E_KEY"


def test_es256_signatures_have_low_s():
    signer = PrivateKey.generate(ES256)
    signatures = [signer.sign(bytes([n])) for n in range(32)]
    assert all(int.from_bytes(item[32:]) <= P256_ORDER // 2 for item in signatures)
    twin = signatures[0][:32] + (P256_ORDER - int.from_bytes(signatures[0][32:])).to_bytes(32)
    assert not signer.public.verifies(twin, b"\x00")


@pytest.mark.parametrize(
    ("text", "raw"),
    [("", b""), ("AA", b"\x00"), ("_-8", b"\xff\xef"), ("AAAA", bytes(3))],
)
def test_base64url(text, raw):
    assert b64decode(text) == raw
    assert b64encode(raw) == text


@pytest.mark.parametrize("text", ["A", "AB", "AA=", "AA==", "A A", "AA\n", "+/", "é", "AAAAA", "="])
def test_base64url_has_one_spelling(text):
    assert refusal(b64decode, text) == "E_ENCODING"


def test_keys_that_cctv_calls_odd_are_not_registrable():
    odd, plain = set(), set()
    for case in third_party_json("ed25519", "ed25519vectors.json"):
        flags = set(case["flags"] or ())
        (odd if flags & {"low_order_A", "non_canonical_A"} else plain).add(case["key"])
    assert odd
    assert not any(registrable(okp(bytes.fromhex(raw))) for raw in odd)
    assert all(registrable(okp(bytes.fromhex(raw))) for raw in plain)


def cases(name):
    for group in third_party_json("jose", name)["testGroups"]:
        public = group["publicKey"]
        if "pk" in public:
            jwk = okp(bytes.fromhex(public["pk"]))
        else:
            point = bytes.fromhex(public["uncompressed"])
            x, y = str(b64encode(point[1:33])), str(b64encode(point[33:]))
            jwk = {"kty": "EC", "crv": "P-256", "x": x, "y": y}
        yield from ((jwk, case) for case in group["tests"])


def test_wycheproof_ed25519():
    wrong = []
    for jwk, case in cases("ed25519_test.json"):
        signature, message = bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"])
        if PublicKey.from_jwk(jwk).verifies(signature, message) != (case["result"] == "valid"):
            wrong.append(case["tcId"])
    assert wrong == []


def test_wycheproof_p1363_with_low_s_alone():
    wrong, refused = [], 0
    for jwk, case in cases("ecdsa_secp256r1_sha256_p1363_test.json"):
        signature, message = bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"])
        expected = case["result"] == "valid"
        if expected and int.from_bytes(signature[32:]) > P256_ORDER // 2:
            expected, refused = False, refused + 1
        try:
            found = PublicKey.from_jwk(jwk).verifies(signature, message)
        except VerifyError:
            found = False
        if found != expected:
            wrong.append((case["tcId"], case["comment"]))
    assert wrong == []
    assert refused
