"""Envelopes that must be refused, each one fault away from a good one, with the verdict code.

`ROWS` maps a name to (token, code). All are meant to be records by GEAR (Ed25519) or CHIP (ES256),
and most carry a signature by the right key: the fault is what they must be refused for.
"""

import hashlib
import hmac
import json
import string

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from schemas import canonical
from schemas.envelope import LINK, RECORD, sign
from schemas.keys import PrivateKey, b64decode, b64encode, sha256
from tests.parties import GEAR, STRANGER

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493


class SteadySigner:
    """An ES256 key whose signatures are the same in every run (RFC 6979)."""

    def __init__(self, name):
        self._handle = ec.derive_private_key(int.from_bytes(sha256(name.encode())), ec.SECP256R1())
        self.public = PrivateKey.from_handle(self._handle).public

    def numbers(self, message):
        der = self._handle.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        r, s = decode_dss_signature(der)
        return r, min(s, P256_ORDER - s)

    def sign(self, message):
        r, s = self.numbers(message)
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


CHIP = SteadySigner("chip")
KEYS = {signer.public.kid: signer.public for signer in (GEAR, CHIP)}

CLAIMS = {"id": "88.100/A", "iat": 1_795_000_000, "kind": "item", "status": "active", "ver": 1}
CLAIMS["v"] = 1
GOOD = sign(RECORD, CLAIMS, GEAR)
GOOD_ES256 = sign(RECORD, CLAIMS, CHIP)


def header(**members):
    """The good header with members changed or added, as canonical bytes."""
    return canonical.encode({"alg": "Ed25519", "kid": GEAR.public.kid, "typ": RECORD} | members)


def spelled(head, payload, signature=None):
    """A token of exactly these bytes; signed by GEAR where no signature is given."""
    message = f"{b64encode(head)}.{b64encode(payload)}"
    return f"{message}.{b64encode(GEAR.sign(message.encode()) if signature is None else signature)}"


def resigned(message):
    return f"{message}.{b64encode(GEAR.sign(message.encode()))}"


def with_header(**members):
    return spelled(header(**members), canonical.encode(CLAIMS))


def with_payload(raw):
    return spelled(header(), raw)


def with_signature(signature, good=GOOD):
    return f"{good.rpartition('.')[0]}.{b64encode(signature)}"


def changed(text, old, new):
    assert text.count(old) == 1
    return text.replace(old, new)


def mac(secret, alg="HS256"):
    message = f"{b64encode(header(alg=alg))}.{b64encode(canonical.encode(CLAIMS))}"
    return f"{message}.{b64encode(hmac.digest(secret, message.encode(), hashlib.sha256))}"


def trailing_bits(part):
    """The same bytes with a bit set that base64url does not use."""
    assert len(part) % 4 in (2, 3)
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    return part[:-1] + alphabet[alphabet.index(part[-1]) | 1]


def _rows():
    yield from _algorithms()
    yield from _headers()
    yield from _duplicates_and_extensions()
    yield from _encodings()
    yield from _spellings()
    yield from _signatures()
    yield from _structure()


HEAD, PAYLOAD, SIGNATURE = GOOD.split(".")
RAW = canonical.encode(CLAIMS)


def _algorithms():
    pem = GEAR.handle.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    # 1: no algorithm
    for alg in ("none", "None", "NONE", "nOnE", ""):
        yield f"alg-{alg}-unsigned", spelled(header(alg=alg), RAW, b""), "E_ALG"
    # 2: the public key as the secret of a MAC
    yield "hs256-raw-public-key", mac(b64decode(GEAR.public.jwk["x"])), "E_ALG"
    yield "hs256-pem-public-key", mac(pem), "E_ALG"
    # 3: names of other algorithms, or of the other one
    for alg in ("EdDSA", "ed25519", "ES256K", "ES384", "RS256", "PS256", "SM2", "ML-DSA-44"):
        yield f"alg-{alg}", with_header(alg=alg), "E_ALG"
    yield "es256-by-an-ed25519-key", with_header(alg="ES256"), "E_ALG"
    message = f"{b64encode(header(kid=CHIP.public.kid))}.{PAYLOAD}"
    token = f"{message}.{b64encode(CHIP.sign(message.encode()))}"
    yield "ed25519-by-a-p256-key", token, "E_ALG"


def _headers():
    # 4: keys and addresses in the header
    for name, value in {
        "jwk": dict(STRANGER.public.jwk),
        "jku": "https://evil.example/jwks.json",
        "x5u": "https://evil.example/cert.pem",
        "x5c": ["MII="],
        "x5t": "AA",
        "cty": "JWT",
    }.items():
        yield f"header-{name}", with_header(**{name: value}), "E_HEADER"


def _duplicates_and_extensions():
    # 5: names that occur twice
    twice = header().replace(b'{"alg"', b'{"alg":"none","alg"')
    yield "header-name-twice", spelled(twice, RAW), "E_DUPKEY"
    yield (
        "payload-name-twice",
        with_payload(RAW.replace(b'"ver":1', b'"ver":2,"ver":1')),
        "E_DUPKEY",
    )
    # 6: extensions
    yield "crit-empty", with_header(crit=[]), "E_HEADER"
    yield "crit-unknown", with_header(crit=["x"], x=1), "E_HEADER"
    yield "b64-false", with_header(b64=False), "E_HEADER"
    yield "b64-false-and-crit", with_header(b64=False, crit=["b64"]), "E_HEADER"
    yield "zip", with_header(zip="DEF"), "E_HEADER"


def _encodings():
    # 7: encodings
    for place, part in (("header", HEAD), ("payload", PAYLOAD)):
        for name, spoiled in {
            "padded": part + "=",
            "newline-inside": part[:8] + "\n" + part[8:],
            "newline-after": part + "\n",
            "space-inside": part[:8] + " " + part[8:],
            "plus": "+" + part[1:],
            "slash": "/" + part[1:],
            "of-no-length": part + "A" * ((1 - len(part)) % 4 or 4),
        }.items():
            token = resigned(GOOD.rpartition(".")[0].replace(part, spoiled))
            yield f"{place}-{name}", token, "E_ENCODING"
    for name, spoiled in {
        "padded": SIGNATURE + "==",
        "trailing-bits": trailing_bits(SIGNATURE),
        "newline-inside": SIGNATURE[:9] + "\n" + SIGNATURE[9:],
        "newline-after": SIGNATURE + "\n",
        "standard-alphabet": "+/" + SIGNATURE[2:],
        "tilde": "~" + SIGNATURE[1:],
    }.items():
        yield f"signature-{name}", f"{HEAD}.{PAYLOAD}.{spoiled}", "E_ENCODING"
    for length in range(3):  # one of them has unused bits
        part = b64encode(canonical.encode(CLAIMS | {"attributes": {"a": "x" * length}}))
        if len(part) % 4:
            token = resigned(f"{HEAD}.{trailing_bits(part)}")
            yield f"payload-trailing-bits-{len(part) % 4}", token, "E_ENCODING"
    yield "header-byte-order-mark", spelled(b"\xef\xbb\xbf" + header(), RAW), "E_ENCODING"
    yield "payload-byte-order-mark", with_payload(b"\xef\xbb\xbf" + RAW), "E_ENCODING"
    yield "payload-utf-16", with_payload(RAW.decode().encode("utf-16")), "E_ENCODING"
    yield (
        "header-not-utf-8",
        spelled(changed(header(), b"tier", b"\xffier"), RAW),
        "E_ENCODING",
    )
    yield "payload-not-utf-8", with_payload(changed(RAW, b"item", b"\xfftem")), "E_ENCODING"
    yield "payload-surrogate", with_payload(changed(RAW, b"item", b"\\ud800")), "E_ENCODING"


def _spellings():
    # 8: spellings
    text = RAW.decode()
    for name, spoiled in {
        "unsorted": json.dumps(dict(sorted(CLAIMS.items(), reverse=True)), separators=(",", ":")),
        "spaced": json.dumps(CLAIMS, sort_keys=True),
        "space-first": " " + text,
        "newline-last": text + "\n",
        "float": changed(text, '"ver":1', '"ver":1.0'),
        "exponent": changed(text, '"ver":1', '"ver":1e3'),
        "minus-zero": changed(text, '"ver":1', '"ver":-0'),
        "2-to-the-53": changed(text, '"ver":1', '"ver":9007199254740992'),
        "nan": changed(text, '"ver":1', '"ver":NaN'),
        "infinity": changed(text, '"ver":1', '"ver":-Infinity'),
        "escaped-letter": changed(text, "88.100/A", "88.100/\\u0041"),
        "escaped-slash": changed(text, "88.100/A", "88.100\\/A"),
        "upper-case-escape": changed(text, "88.100/A", "88.100/\\u001F"),
        "decomposed": changed(text, "88.100/A", "88.100/A\u030a"),
        "name-not-ascii": changed(text, '"kind"', '"k\u00efnd"'),
    }.items():
        yield f"payload-{name}", with_payload(spoiled.encode()), "E_CANON"
    yield "header-spaced", spelled(header().replace(b":", b": "), RAW), "E_CANON"
    unsorted = b'{"kid":"%s","alg":"Ed25519","typ":"%s"}' % (
        GEAR.public.kid.encode(),
        RECORD.encode(),
    )
    yield "header-unsorted", spelled(unsorted, RAW), "E_CANON"
    yield "header-escaped", spelled(header().replace(b"Ed", b"\\u0045d"), RAW), "E_CANON"


def _signatures():
    # 9: signatures
    good = b64decode(GOOD.rpartition(".")[2])
    s = int.from_bytes(good[32:], "little")
    yield (
        "s-plus-order",
        with_signature(good[:32] + (s + ED25519_ORDER).to_bytes(32, "little")),
        "E_SIG",
    )
    yield "signature-empty", with_signature(b""), "E_SIG"
    yield "signature-63-bytes", with_signature(good[:63]), "E_SIG"
    yield "signature-65-bytes", with_signature(good + b"\x00"), "E_SIG"
    yield "signature-of-zeros", with_signature(bytes(64)), "E_SIG"
    yield "identity-r-and-zero-s", with_signature(b"\x01" + bytes(63)), "E_SIG"
    yield (
        "signature-by-another",
        with_signature(STRANGER.sign(GOOD.rpartition(".")[0].encode())),
        "E_SIG",
    )
    other = CLAIMS | {"ver": 2, "prev": "A" * 43}
    moved = GOOD.split(".")
    moved[1] = b64encode(canonical.encode(other))
    yield "payload-exchanged", ".".join(moved), "E_SIG"

    r, s = CHIP.numbers(GOOD_ES256.rpartition(".")[0].encode())
    for name, pair in {
        "high-s": (r, P256_ORDER - s),
        "r-zero": (0, s),
        "s-zero": (r, 0),
        "r-is-order": (P256_ORDER, s),
        "s-is-order": (r, P256_ORDER),
        "r-plus-order": ((r + P256_ORDER) % 2**256, s),
        "exchanged": (s, r),
    }.items():
        pair_bytes = b"".join(number.to_bytes(32, "big") for number in pair)
        yield f"es256-{name}", with_signature(pair_bytes, GOOD_ES256), "E_SIG"
    padded = b"".join(number.to_bytes(33, "big") for number in (r, s))
    yield "es256-zero-padded", with_signature(padded, GOOD_ES256), "E_SIG"
    yield "es256-der", with_signature(encode_dss_signature(r, s), GOOD_ES256), "E_SIG"


def _structure():
    # V1
    yield "empty", "", "E_FORMAT"
    yield "one-dot", f"{HEAD}.{PAYLOAD}", "E_FORMAT"
    yield "three-dots", GOOD + ".", "E_FORMAT"
    yield "encrypted-form", f"{GOOD}.AA.AA", "E_FORMAT"
    yield "json-form", json.dumps({"payload": PAYLOAD, "signature": SIGNATURE}), "E_FORMAT"
    yield "not-ascii", "\u00e9" + GOOD, "E_FORMAT"
    yield "full-width-dot", GOOD.replace(".", "\uff0e"), "E_FORMAT"
    # V4
    yield "header-empty", spelled(b"", RAW), "E_FORMAT"
    yield "header-an-array", spelled(b"[]", RAW), "E_FORMAT"
    yield "header-cut-off", spelled(header()[:-1], RAW), "E_FORMAT"
    without = canonical.encode({"alg": "Ed25519", "typ": RECORD})
    yield "header-without-kid", spelled(without, RAW), "E_HEADER"
    yield "header-without-typ", spelled(b'{"alg":"Ed25519","kid":"a"}', RAW), "E_HEADER"
    yield "header-alg-a-list", with_header(alg=["Ed25519"]), "E_HEADER"
    yield "header-alg-null", with_header(alg=None), "E_HEADER"
    yield "header-kid-a-number", with_header(kid=1), "E_HEADER"
    yield "header-too-long", with_header(kid="a" * 300), "E_LIMIT"
    # V5
    yield "another-typ", sign(LINK, CLAIMS, GEAR), "E_TYP"
    yield "typ-in-capitals", with_header(typ=RECORD.upper()), "E_TYP"
    yield "typ-with-application", with_header(typ="application/" + RECORD), "E_TYP"
    # V6
    yield "unknown-kid", sign(RECORD, CLAIMS, STRANGER), "E_CHAIN"
    # V7
    yield "payload-empty", with_payload(b""), "E_FORMAT"
    yield "payload-not-json", with_payload(b"item"), "E_FORMAT"
    yield "payload-an-array", with_payload(b"[]"), "E_FORMAT"
    yield "payload-without-v", with_payload(b"{}"), "E_FORMAT"
    yield "payload-v-2", with_payload(b'{"v":2}'), "E_FORMAT"
    yield "payload-v-true", with_payload(b'{"v":true}'), "E_FORMAT"
    yield "payload-v-text", with_payload(b'{"v":"1"}'), "E_FORMAT"
    deep = b'{"a":' + b"[" * 16 + b"]" * 16 + b',"v":1}'
    yield "payload-17-deep", with_payload(deep), "E_LIMIT"


ROWS = {name: (token, code) for name, token, code in _rows()}
