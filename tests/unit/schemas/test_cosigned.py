"""Envelopes that several keys sign: all signatures hold, or the whole is refused."""

import json

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey

from schemas import canonical
from schemas.envelope import (
    LINK,
    MAX_SIGNATURES,
    MAX_TOKEN,
    RECORD,
    Signature,
    algorithms,
    check,
    cosign,
    parse,
    sign,
    signers,
    signers_among,
    type_of,
    verify,
)
from schemas.keys import b64decode, b64encode
from tests.forgeries import CHIP, CLAIMS, GOOD, GOOD_ES256, KEYS, ROWS, header
from tests.parties import GEAR, STEEL, STRANGER, key, refusal

BOTH = cosign(GOOD, CHIP)
FIRST, FURTHER = BOTH.split("~")
HEAD, PAYLOAD, SIGNATURE = GOOD.split(".")
CHIP_HEAD, CHIP_SIGNATURE = GOOD_ES256.split(".")[0], GOOD_ES256.split(".")[2]
TRIO = KEYS | {STEEL.public.kid: STEEL.public}


def further(head, payload=PAYLOAD, signer=CHIP):
    """The good envelope and a further signature under a header of these bytes."""
    part = b64encode(head)
    return f"{GOOD}~{part}..{b64encode(signer.sign(f'{part}.{payload}'.encode()))}"


def chip_header(**members):
    return header(**{"alg": "ES256", "kid": CHIP.public.kid} | members)


def test_two_keys_sign_one_payload():
    found = verify(BOTH, RECORD, KEYS)
    assert found.token == BOTH
    assert (found.alg, found.kid, found.claims) == ("Ed25519", GEAR.public.kid, CLAIMS)
    assert found.also == (
        Signature("ES256", CHIP.public.kid, CHIP_HEAD, b64decode(CHIP_SIGNATURE)),
    )
    assert found.kids == (GEAR.public.kid, CHIP.public.kid)
    assert algorithms(found) == {"Ed25519", "ES256"}
    assert signers(found, KEYS) == (GEAR.public, CHIP.public)
    assert check(found, KEYS) == GEAR.public
    assert found.message == parse(GOOD, RECORD).message
    assert found.digest != parse(GOOD, RECORD).digest


def test_one_signature_looks_as_it_always_did():
    found = parse(GOOD, RECORD)
    assert (found.also, found.kids, algorithms(found)) == ((), (GEAR.public.kid,), {"Ed25519"})
    assert signers(found, KEYS) == (GEAR.public,)


def test_the_order_of_signing_is_the_order_of_the_text():
    other = cosign(GOOD_ES256, GEAR)
    assert other == f"{GOOD_ES256}~{HEAD}..{SIGNATURE}"
    assert verify(other, RECORD, KEYS).kids == (CHIP.public.kid, GEAR.public.kid)


@pytest.mark.parametrize(("at", "kind"), [(0, OKPKey), (1, ECKey)])
def test_each_signature_is_a_jws_of_its_own(at, kind):
    """Another implementation verifies either, with the payload put back where it belongs."""
    signer = (GEAR, CHIP)[at]
    head, _, signature = BOTH.split("~")[at].split(".")
    found = jws.deserialize_compact(
        f"{head}.{PAYLOAD}.{signature}",
        kind.import_key(dict(signer.public.jwk)),
        algorithms=[signer.public.alg],
    )
    assert json.loads(found.payload) == CLAIMS


def test_eight_may_sign_and_no_ninth():
    token, keys = GOOD, dict(KEYS)
    for n in range(MAX_SIGNATURES - 1):
        signer = key(f"signer {n}")
        keys[signer.public.kid] = signer.public
        token = cosign(token, signer)
    assert len(signers(parse(token, RECORD), keys)) == MAX_SIGNATURES
    assert refusal(cosign, token, CHIP) == "E_LIMIT"
    ninth = f"{token}~{CHIP_HEAD}..{CHIP_SIGNATURE}"
    assert refusal(verify, ninth, RECORD, keys) == "E_LIMIT"


def test_the_largest_payload_leaves_room_for_all():
    room = canonical.MAX_BYTES - len(canonical.encode(CLAIMS | {"a": ""}))
    token = sign(RECORD, CLAIMS | {"a": "x" * room}, CHIP)
    for n in range(MAX_SIGNATURES - 1):
        token = cosign(token, key(f"signer {n}"))
    assert len(token) <= MAX_TOKEN
    assert len(parse(token, RECORD).kids) == MAX_SIGNATURES


FAULTS = {
    "further-empty": (f"{GOOD}~", "E_ENCODING"),  # with two dots it is read as one signature
    "further-of-one-dot": (f"{GOOD}~{CHIP_HEAD}.{CHIP_SIGNATURE}", "E_FORMAT"),
    "further-of-three-dots": (f"{BOTH}.", "E_FORMAT"),
    "further-repeats-the-payload": (
        f"{GOOD}~{CHIP_HEAD}.{PAYLOAD}.{CHIP_SIGNATURE}",
        "E_FORMAT",
    ),
    "further-without-header": (f"{GOOD}~..{CHIP_SIGNATURE}", "E_FORMAT"),
    "further-first": (f"{FURTHER}~{GOOD}", "E_FORMAT"),
    "tilde-first": (f"~{BOTH}", "E_FORMAT"),
    "two-tildes": (f"{GOOD}~~{FURTHER}", "E_FORMAT"),
    "space-after-tilde": (f"{GOOD}~ {FURTHER}", "E_ENCODING"),
    "newline-last": (f"{BOTH}\n", "E_ENCODING"),
    "not-ascii": (f"{GOOD}~\u00e9{FURTHER}", "E_FORMAT"),
    "further-padded": (f"{BOTH}==", "E_ENCODING"),
    "header-padded": (f"{GOOD}~{CHIP_HEAD}=..{CHIP_SIGNATURE}", "E_ENCODING"),
    "header-twice-a-name": (
        further(chip_header().replace(b'{"alg"', b'{"alg":"none","alg"')),
        "E_DUPKEY",
    ),
    "header-spaced": (further(chip_header().replace(b":", b": ")), "E_CANON"),
    "header-jwk": (further(chip_header(jwk=dict(CHIP.public.jwk))), "E_HEADER"),
    "header-jku": (further(chip_header(jku="https://evil.example/")), "E_HEADER"),
    "header-crit": (further(chip_header(crit=[])), "E_HEADER"),
    "header-b64": (further(chip_header(b64=False)), "E_HEADER"),
    "header-without-typ": (
        further(canonical.encode({"alg": "ES256", "kid": CHIP.public.kid})),
        "E_HEADER",
    ),
    "header-of-another-typ": (further(chip_header(typ=LINK)), "E_TYP"),
    "header-too-long": (further(chip_header(kid="a" * 300)), "E_LIMIT"),
    "alg-none": (further(chip_header(alg="none")), "E_ALG"),
    "alg-eddsa": (further(header(alg="EdDSA", kid=STEEL.public.kid), signer=STEEL), "E_ALG"),
    "alg-of-another-key": (further(chip_header(alg="Ed25519")), "E_ALG"),
    "kid-unknown": (further(header(kid=STRANGER.public.kid), signer=STRANGER), "E_CHAIN"),
    "kid-of-another-key": (further(header(kid=STEEL.public.kid), signer=CHIP), "E_SIG"),
    "one-key-twice": (f"{GOOD}~{HEAD}..{SIGNATURE}", "E_CHAIN"),
    "one-key-twice-further": (f"{BOTH}~{FURTHER}", "E_CHAIN"),
    "signature-empty": (f"{GOOD}~{CHIP_HEAD}..", "E_SIG"),
    "signature-63-bytes": (
        f"{GOOD}~{CHIP_HEAD}..{b64encode(b64decode(CHIP_SIGNATURE)[:63])}",
        "E_SIG",
    ),
    "signature-65-bytes": (
        f"{GOOD}~{CHIP_HEAD}..{b64encode(b64decode(CHIP_SIGNATURE) + bytes(1))}",
        "E_SIG",
    ),
    "signature-of-the-first": (f"{GOOD}~{CHIP_HEAD}..{SIGNATURE}", "E_SIG"),
    "signature-over-another-payload": (
        further(chip_header(), payload=b64encode(canonical.encode(CLAIMS | {"ver": 2}))),
        "E_SIG",
    ),
    "signature-over-the-whole-token": (
        f"{GOOD}~{CHIP_HEAD}..{b64encode(CHIP.sign(GOOD.encode()))}",
        "E_SIG",
    ),
    "first-signature-spoiled": (f"{HEAD}.{PAYLOAD}.{CHIP_SIGNATURE}~{FURTHER}", "E_SIG"),
    "signatures-exchanged": (
        f"{HEAD}.{PAYLOAD}.{CHIP_SIGNATURE}~{CHIP_HEAD}..{SIGNATURE}",
        "E_SIG",
    ),
    "twenty-thousand": (GOOD + "~.." * 20_000, "E_LIMIT"),
    "a-megabyte": (BOTH + "~" * 1_000_000, "E_LIMIT"),
    "batched-form": (f"{PAYLOAD}~0~~{GOOD}", "E_ENCODING"),
}


@pytest.mark.parametrize(("token", "code"), FAULTS.values(), ids=FAULTS)
def test_faults(token, code):
    assert refusal(verify, token, RECORD, TRIO) == code


@pytest.mark.parametrize(("token", "code"), ROWS.values(), ids=ROWS)
def test_a_further_signature_makes_no_forgery_good(token, code):
    """Whatever is wrong with the first part is refused, though the second key would vouch."""
    parts = token.split(".") if isinstance(token, str) else ()
    if len(parts) == 3 and "~" not in token:
        message = f"{CHIP_HEAD}.{parts[1]}".encode("utf-8", "backslashreplace")
        signed = f"{token}~{CHIP_HEAD}..{b64encode(CHIP.sign(message))}"
        assert refusal(verify, signed, RECORD, TRIO) is not None
    assert code


def test_every_single_bit_counts():
    raw = BOTH.encode()
    for at in range(len(raw) * 8):
        mutant = bytearray(raw)
        mutant[at >> 3] ^= 1 << (at & 7)
        assert refusal(verify, mutant.decode("latin-1"), RECORD, KEYS) is not None, at


def test_either_alone_is_good_and_says_less():
    """Taking a signature away is no fault of form: who wants both says so in `require`."""
    stripped = parse(FIRST, RECORD)
    assert check(stripped, KEYS) == GEAR.public
    assert algorithms(stripped) == {"Ed25519"}


def test_who_signs_cannot_be_half_known():
    found = parse(BOTH, RECORD)
    for keys in ({GEAR.public.kid: GEAR.public}, {CHIP.public.kid: CHIP.public}, {}):
        assert refusal(signers, found, keys) == "E_CHAIN"
        assert refusal(check, found, keys) == "E_CHAIN"


def test_the_signatures_of_some_can_be_asked_for():
    found = parse(BOTH, RECORD)
    assert signers_among(found, {CHIP.public.kid: CHIP.public}) == (CHIP.public,)
    assert signers_among(found, {GEAR.public.kid: GEAR.public}) == (GEAR.public,)
    assert signers_among(found, TRIO) == (GEAR.public, CHIP.public)
    assert signers_among(found, {STEEL.public.kid: STEEL.public}) == ()
    spoiled = parse(f"{GOOD}~{CHIP_HEAD}..{SIGNATURE}", RECORD)
    assert refusal(signers_among, spoiled, KEYS) == "E_SIG"
    assert signers_among(spoiled, {GEAR.public.kid: GEAR.public}) == (GEAR.public,)


def test_cosigning():
    assert cosign(BOTH, STEEL).startswith(BOTH)
    assert verify(cosign(BOTH, STEEL), RECORD, TRIO).kids[2] == STEEL.public.kid
    assert refusal(cosign, GOOD, GEAR) == "E_CHAIN"
    assert refusal(cosign, BOTH, CHIP) == "E_CHAIN"
    assert refusal(cosign, "a.b.c", CHIP) == "E_ENCODING"
    assert refusal(cosign, f"{HEAD}.{PAYLOAD}", CHIP) == "E_FORMAT"
    assert refusal(cosign, "", CHIP) == "E_FORMAT"


@pytest.mark.parametrize(
    ("token", "typ"),
    [(GOOD, RECORD), (BOTH, RECORD), ("", None), ("a.b.c", None), (f"~{GOOD}", None)],
)
def test_what_a_token_says_it_is(token, typ):
    assert type_of(token) == typ
