"""What key a prefix may be given (trust.md §4): the same refusals at first and when given anew."""

import pytest

from schemas.delegation import sign_possession
from schemas.identifier import Prefix
from schemas.keys import ES256, PrivateKey, b64encode, sha256
from tests.forgeries import CHIP
from tests.weak_keys import LOW_ORDER, NON_CANONICAL, OFF_CURVE, okp

USES = ["delegate", "record"]
STEEL = PrivateKey.from_seed(sha256(b"steel"))
MINE = "88.118"

# Not on the curve, and not one of the encodings that give themselves away.
OFF_ED25519 = okp(b"\x02" + bytes(31))
SM2_KEY = {
    "kty": "EC",
    "crv": "SM2",
    "x": str(b64encode(bytes.fromhex(
        "09f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020"))),
    "y": str(b64encode(bytes.fromhex(
        "ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13"))),
}  # fmt: skip

REFUSED = {
    **{f"low-order-{number}": okp(bytes.fromhex(raw)) for number, raw in enumerate(LOW_ORDER)},
    **{f"odd-{number}": okp(bytes.fromhex(raw)) for number, raw in enumerate(NON_CANONICAL)},
    "p256-off-the-curve": OFF_CURVE,
    "p256-at-infinity": OFF_CURVE | {"x": "A" * 43, "y": "A" * 43},
    "ed25519-off-the-curve": OFF_ED25519,
    "with-its-private-part": dict(STEEL.public.jwk) | {"d": str(b64encode(bytes(32)))},
    "p384": dict(CHIP.public.jwk) | {"crv": "P-384"},
    "rsa": {"kty": "RSA", "n": "AA", "e": "AQAB"},
    "secret": {"kty": "oct", "k": "AA"},
}


@pytest.fixture(params=["allocate", "delegate-anew"])
async def register(request, registry):
    """Offer keys for a prefix: one that is new, and one that is held already."""
    if request.param == "delegate-anew":
        await registry.allocate(MINE)

    async def offered(*keys, key=None):
        if request.param == "allocate":
            body = {"prefix": MINE, "organisation": {"name": "试验"}, "keys": list(keys)}
            return await registry.post("/v1/prefixes", body, key=key or registry.operator)
        return await registry.put(
            f"/v1/prefixes/{MINE}/delegation", {"keys": list(keys)}, key=key or registry.operator
        )

    return offered


async def nonce(registry, kid, prefix=MINE):
    body = {"prefix": prefix, "kid": kid}
    answer = await registry.post("/v1/challenges", body, key=registry.operator)
    assert answer.status_code == 201, answer.text
    return answer.json()["nonce"]


async def proof(registry, signer, *, kid=None, asked=MINE, said=MINE):
    challenge = await nonce(registry, kid or signer.public.kid, asked)
    return sign_possession(signer, Prefix.parse(said), challenge, registry.clock())


def refusal(answer):
    assert answer.status_code == 400, answer.text
    return answer.json()["code"]


async def test_a_proved_key_is_registered(registry, register):
    for signer in (STEEL, PrivateKey.generate(ES256)):
        key = {"jwk": dict(signer.public.jwk), "use": USES}
        answer = await register(key | {"possession": await proof(registry, signer)})
        if answer.status_code == 409:  # taken by the first of the two
            continue
        assert answer.status_code in {200, 201}, answer.text
        assert signer.public.kid in {item["kid"] for item in answer.json()["keys"]}


async def test_no_weak_key_is_registered_with_or_without_a_proof(registry, register):
    """One test for all: each refused offer costs a request and no database of its own."""
    possession = await proof(registry, STEEL)
    found = {}
    for name, jwk in REFUSED.items():
        key = {"jwk": jwk, "use": USES}
        for offer in (key, key | {"possession": possession}):
            answer = await register(offer)
            found.setdefault(name, set()).add((answer.status_code, answer.json()["code"]))
    assert found == {name: {(400, "E_KEY")} for name in REFUSED}


async def test_the_identity_key_signs_every_message_and_is_refused_all_the_same(registry, register):
    """With it R = identity, S = 0 verifies: a proof of possession alone would not stop it."""
    identity = okp(bytes.fromhex(LOW_ORDER[0]))

    class Anybody:
        public = STEEL.public

        @staticmethod
        def sign(_):
            return bytes([1]) + bytes(63)

    possession = await proof(registry, Anybody())
    key = {"jwk": identity, "use": USES, "possession": possession}
    assert refusal(await register(key)) == "E_KEY"


async def test_a_proof_is_of_this_key_for_this_prefix_and_this_challenge(registry, register):
    other = PrivateKey.from_seed(sha256(b"other"))
    key = {"jwk": dict(STEEL.public.jwk), "use": USES}
    offers = {
        "none": key,
        "of-another-key": key | {"possession": await proof(registry, other)},
        "by-another-key": key | {"possession": await proof(registry, other, kid=STEEL.public.kid)},
        "for-another-prefix": key
        | {"possession": await proof(registry, STEEL, asked="88.119", said="88.119")},
        "challenged-for-another-prefix": key
        | {"possession": await proof(registry, STEEL, asked="88.119")},
        "for-no-challenge": key
        | {"possession": sign_possession(STEEL, Prefix.parse(MINE), "x", registry.clock())},
    }
    found = {name: refusal(await register(offer)) for name, offer in offers.items()}
    assert found == dict.fromkeys(offers, "E_KEY")


async def test_a_proof_goes_out_of_date(registry, register):
    key = {"jwk": dict(STEEL.public.jwk), "use": USES}
    key["possession"] = await proof(registry, STEEL)
    registry.clock.now += 601
    assert refusal(await register(key)) == "E_KEY"


async def test_one_good_key_does_not_carry_a_bad_one_in(registry, register):
    good = {"jwk": dict(STEEL.public.jwk), "use": USES, "possession": await proof(registry, STEEL)}
    bad = {"jwk": okp(bytes.fromhex(LOW_ORDER[9])), "use": USES}
    assert refusal(await register(good, bad)) == "E_KEY"
    unproved = {"jwk": dict(CHIP.public.jwk), "use": USES}
    assert refusal(await register(good, unproved)) == "E_KEY"


async def test_sm2_is_refused_while_off_and_the_setting_named(registry, register, sm2_off):
    answer = await register({"jwk": SM2_KEY, "use": USES})
    assert refusal(answer) == "E_KEY"
    assert answer.json()["fix"] == "set TIERLINK_SM2=1"


async def test_sm2_is_registered_where_it_is_on(registry, register, sm2_on):
    signer = PrivateKey.generate("SM2")
    key = {"jwk": dict(signer.public.jwk), "use": USES}
    off_curve = key | {"jwk": SM2_KEY | {"y": SM2_KEY["x"]}}
    assert refusal(await register(off_curve)) == "E_KEY"
    assert refusal(await register(key)) == "E_KEY"
    answer = await register(key | {"possession": await proof(registry, signer)})
    assert answer.status_code in {200, 201}, answer.text
    assert signer.public.kid in {item["kid"] for item in answer.json()["keys"]}
