"""Envelopes: JWS compact (RFC 7515) in a closed profile, and their strict verifier.

    header.payload.signature [~header..signature …]

Header: the canonical JSON of exactly `alg`, `kid`, `typ`. Payload: canonical JSON. Nothing else
is understood: no `jwk`, `jku`, `x5c`, `crit`, `b64`, `zip`, no other algorithm, no URL is opened.

Several keys may sign one payload, each under a header of its own: what follows a `~` is a further
header, an empty payload part (RFC 7515 appendix F) and the signature over `its header.payload`. At
most eight keys, no key twice; all signatures must hold, whoever counts them then knows by whom.

Steps of `parse` and `verify`, cheapest first; each names its verdict code.

    V1  length, ASCII, exactly two dots in each of at most 8 parts        E_LIMIT  E_FORMAT
    V2  each part canonical base64url                                     E_ENCODING
    V3  header and payload strict JSON                      E_ENCODING  E_DUPKEY  E_CANON
    V4  header is {alg, kid, typ}, strings, canonical bytes        E_HEADER  E_CANON
    V5  typ is the type the caller expects, in every header               E_TYP
    V6  alg in the profile; kid trusted, none twice; alg is the key's own     E_ALG  E_CHAIN
    V7  payload bytes are canonical, an object, v = 1             E_CANON  E_FORMAT
    V8  signatures: exact length, each verifies over the received bytes   E_SIG
    V9  no network access: there is none to make                             -
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias

from . import canonical
from .canonical import JsonObject
from .errors import VerifyError
from .keys import (
    B64,
    SIGNATURE_BYTES,
    KeyId,
    PublicKey,
    Signer,
    b64decode,
    b64encode,
    check_algorithm,
    sha256,
)

RECORD = "tierlink-record+jws"
LINK = "tierlink-link+jws"
DELEGATION = "tierlink-delegation+jws"
ROOT = "tierlink-root+jws"
POSSESSION = "tierlink-possession+jws"

MAX_HEADER = 256  # bytes, decoded
MAX_SIGNATURES = 8
_MAX_FURTHER = 4 * (MAX_HEADER + SIGNATURE_BYTES) // 3 + 8  # characters of a further signature
MAX_TOKEN = (
    4 * (canonical.MAX_BYTES + MAX_HEADER + SIGNATURE_BYTES) // 3
    + 8
    + (MAX_SIGNATURES - 1) * _MAX_FURTHER
)

Keys: TypeAlias = "Mapping[KeyId, PublicKey]"


@dataclass(frozen=True, slots=True)
class Signature:
    """A further signature over the payload of an envelope, under a header of its own."""

    alg: str
    kid: KeyId
    header: str  # base64url, as received
    signature: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """A well-formed signed token; `verify` says whether its signatures hold.

    `alg`, `kid` and `signature` are those of the first signature, `also` are the further ones.
    """

    token: str
    typ: str
    alg: str
    kid: KeyId
    claims: JsonObject
    signature: bytes
    also: tuple[Signature, ...] = ()
    statement: Envelope | None = None  # what signs it, where it is batched (`schemas.batched`)

    @property
    def message(self) -> bytes:
        """The bytes that the first key signs: `header.payload` as received."""
        return self.token.partition("~")[0].rpartition(".")[0].encode()

    @property
    def digest(self) -> B64:
        """SHA-256 of the token, base64url: what `prev` and the log refer to."""
        return digest(self.token)

    @property
    def kids(self) -> tuple[KeyId, ...]:
        """The distinct keys that signed, the first first; of a batched record, its statement's."""
        signed = self.statement or self
        return (signed.kid, *(item.kid for item in signed.also))


def digest(token: str) -> B64:
    """SHA-256 of a token's bytes, base64url, 43 characters."""
    return b64encode(sha256(token.encode()))


def sign(typ: str, claims: Mapping[str, object], signer: Signer) -> str:
    """Sign claims as an envelope; raise VerifyError E_CANON or E_LIMIT where they have no form."""
    payload = canonical.encode(claims)
    if len(payload) > canonical.MAX_BYTES:
        raise VerifyError(
            "E_LIMIT", f"payload has {len(payload)} bytes, the limit is {canonical.MAX_BYTES}"
        )
    message = f"{_header(typ, signer.public.alg, signer.public.kid)}.{b64encode(payload)}"
    return f"{message}.{b64encode(signer.sign(message.encode()))}"


@lru_cache(maxsize=1024)
def _header(typ: str, alg: str, kid: KeyId) -> B64:
    return b64encode(canonical.encode({"alg": alg, "kid": kid, "typ": typ}))


def parse(token: object, typ: str) -> Envelope:
    """Check everything but the signature (steps V1 to V5 and V7); raise VerifyError only."""
    # V1: one bounded ASCII string with exactly two dots
    if not isinstance(token, str):
        raise VerifyError("E_FORMAT", "an envelope is a string")
    if len(token) > MAX_TOKEN:
        raise VerifyError("E_LIMIT", f"envelope has {len(token)} characters, limit {MAX_TOKEN}")
    if not token.isascii() or token.count(".") != 2:  # noqa: PLR2004  (header.payload.signature)
        return _parse_several(token, typ)
    header_part, payload_part, signature_part = token.split(".")
    # V2, V3 and V4: a client's header repeats, so its parse is cached by its exact text
    found_typ, alg, kid = _parse_header(header_part)
    # V5: the type separates domains: a link never passes for a record
    if found_typ != typ:
        raise VerifyError("E_TYP", f"typ is not {typ}", value=found_typ)
    # V6, first half: the profile's algorithms
    check_algorithm(alg)
    # V2, V3, V7: the payload
    claims = _parse_payload(payload_part)
    # V2, V8 first half: the signature part
    return Envelope(token, found_typ, alg, kid, claims, _parse_signature(signature_part))


def _parse_several(token: str, typ: str) -> Envelope:
    """Parse what is not of the form of one signature: several, or nothing we know."""
    # V1: counted before anything is cut up
    if "~" not in token or not token.isascii():
        raise VerifyError("E_FORMAT", "an envelope is header.payload.signature in ASCII")
    if token.count("~") >= MAX_SIGNATURES:
        raise VerifyError("E_LIMIT", f"an envelope has at most {MAX_SIGNATURES} signatures")
    first, *further = token.split("~")
    found = parse(first, typ)
    also = tuple(_parse_further(part, typ) for part in further)
    # V6: a key counts once
    if len({found.kid, *(item.kid for item in also)}) != 1 + len(also):
        raise VerifyError("E_CHAIN", "one key signs twice", value=found.kid)
    return replace(found, token=token, also=also)


def _parse_further(part: str, typ: str) -> Signature:
    if part.count(".") != 2:  # noqa: PLR2004  (header, nothing, signature)
        raise VerifyError("E_FORMAT", "a further signature is header..signature")
    header_part, payload_part, signature_part = part.split(".")
    if payload_part:
        raise VerifyError("E_FORMAT", "a further signature repeats no payload")
    found_typ, alg, kid = _parse_header(header_part)
    if found_typ != typ:
        raise VerifyError("E_TYP", f"typ of a further signature is not {typ}", value=found_typ)
    check_algorithm(alg)
    return Signature(alg, kid, header_part, _parse_signature(signature_part))


def _parse_signature(part: str) -> bytes:
    signature = b64decode(part)
    if len(signature) != SIGNATURE_BYTES:
        raise VerifyError("E_SIG", f"signature has {len(signature)} bytes, not {SIGNATURE_BYTES}")
    return signature


@lru_cache(maxsize=4096)
def _parse_header(part: str) -> tuple[str, str, KeyId]:
    if len(part) > 2 * MAX_HEADER:
        raise VerifyError("E_LIMIT", f"header over {MAX_HEADER} bytes")
    raw = b64decode(part)
    if len(raw) > MAX_HEADER:
        raise VerifyError("E_LIMIT", f"header over {MAX_HEADER} bytes")
    header = canonical.decode_object(raw)
    typ, alg, kid = header.get("typ"), header.get("alg"), header.get("kid")
    if not (isinstance(alg, str) and isinstance(kid, str) and isinstance(typ, str)):
        raise VerifyError("E_HEADER", "header lacks alg, kid or typ as strings")
    if len(header) != 3:  # noqa: PLR2004  (exactly alg, kid, typ)
        extra = sorted(set(header) - {"alg", "kid", "typ"})
        raise VerifyError("E_HEADER", "header has other members", value=", ".join(extra))
    if canonical.encode(header) != raw:
        raise VerifyError("E_CANON", "header is not in canonical form")
    return typ, alg, KeyId(kid)


def _parse_payload(part: str) -> JsonObject:
    return read_payload(b64decode(part))


def read_payload(payload: bytes) -> JsonObject:
    """Read the bytes of a payload (steps V3 and V7); raise VerifyError."""
    if len(payload) > canonical.MAX_BYTES:
        raise VerifyError("E_LIMIT", f"payload over {canonical.MAX_BYTES} bytes")
    claims = canonical.decode_canonical(payload, "payload")
    if claims.get("v") != 1 or type(claims["v"]) is not int:
        raise VerifyError("E_FORMAT", "payload version v is not 1", value=claims.get("v"))
    return claims


def check(envelope: Envelope, keys: Keys) -> PublicKey:
    """Check every signature of a parsed envelope (steps V6 and V8); return the first's key."""
    key = _signer(keys, envelope.alg, envelope.kid, envelope.signature, envelope.message)
    if envelope.also:
        _check_further(envelope, keys)
    return key


def signers(envelope: Envelope, keys: Keys) -> tuple[PublicKey, ...]:
    """Check every signature of a parsed envelope; return the keys, all distinct, the first first.

    Raise VerifyError where a single one is not by a key of `keys`, or does not hold.
    """
    return (check(envelope, keys), *(keys[item.kid] for item in envelope.also))


def signers_among(envelope: Envelope, keys: Keys) -> tuple[PublicKey, ...]:
    """Check the signatures by `keys`, and return those keys; others' signatures say nothing here.

    For whoever lacks the keys of others by right, and asks how many of his own there are.
    """
    found = []
    if envelope.kid in keys:
        message = envelope.message
        found.append(_signer(keys, envelope.alg, envelope.kid, envelope.signature, message))
    theirs = tuple(item for item in envelope.also if item.kid in keys)
    _check_further(replace(envelope, also=theirs), keys)
    return (*found, *(keys[item.kid] for item in theirs))


def _check_further(envelope: Envelope, keys: Keys) -> None:
    payload_part = envelope.token.split(".", 2)[1]
    for item in envelope.also:
        _signer(keys, item.alg, item.kid, item.signature, f"{item.header}.{payload_part}".encode())


def _signer(keys: Keys, alg: str, kid: KeyId, signature: bytes, message: bytes) -> PublicKey:
    # V6: the key is one we trust for this, and the algorithm is the key's, never the header's
    key = keys.get(kid)
    if key is None:
        raise VerifyError("E_CHAIN", "kid is not among the keys that may sign this", value=kid)
    if key.alg != alg:
        raise VerifyError("E_ALG", f"the key's algorithm is {key.alg}", value=alg)
    # V8: over the received bytes
    if not key.verifies(signature, message):
        raise VerifyError("E_SIG", "signature does not verify")
    return key


def algorithms(envelope: Envelope) -> frozenset[str]:
    """Return the algorithms that signed, by their names in `require`; of a batched record's too."""
    signed = envelope.statement or envelope
    return frozenset((signed.alg, *(item.alg for item in signed.also)))


def cosign(token: str, signer: Signer) -> str:
    """Add a signature to an envelope, whose other signatures are not checked here.

    Raise VerifyError E_CHAIN where the key has signed, E_LIMIT where eight have, and whatever
    `parse` refuses with.
    """
    header_part, _, rest = token.partition(".")
    envelope = parse(token, _parse_header(header_part)[0])
    if len(envelope.also) + 1 >= MAX_SIGNATURES:
        raise VerifyError("E_LIMIT", f"an envelope has at most {MAX_SIGNATURES} signatures")
    public = signer.public
    if public.kid in envelope.kids:
        raise VerifyError("E_CHAIN", "the key has signed already", value=public.kid)
    header = _header(envelope.typ, public.alg, public.kid)
    message = f"{header}.{rest.partition('.')[0]}"
    return f"{token}~{header}..{b64encode(signer.sign(message.encode()))}"


def type_of(token: str) -> str | None:
    """Return the typ that the first header states, None where there is no such header."""
    try:
        return _parse_header(token.partition(".")[0])[0]
    except VerifyError:
        return None


def verify(token: object, typ: str, keys: Keys) -> Envelope:
    """Parse and check an envelope by the steps above; raise VerifyError and nothing else."""
    envelope = parse(token, typ)
    check(envelope, keys)
    return envelope
