"""Envelopes: JWS compact (RFC 7515) in a closed profile, and their strict verifier.

Header: the canonical JSON of exactly `alg`, `kid`, `typ`. Payload: canonical JSON. Nothing else
is understood: no `jwk`, `jku`, `x5c`, `crit`, `b64`, `zip`, no other algorithm, no URL is opened.

Steps of `parse` and `verify`, cheapest first; each names its verdict code.

    V1  length, ASCII, exactly two dots                                   E_LIMIT  E_FORMAT
    V2  each part canonical base64url                                     E_ENCODING
    V3  header and payload strict JSON                      E_ENCODING  E_DUPKEY  E_CANON
    V4  header is {alg, kid, typ}, strings, canonical bytes        E_HEADER  E_CANON
    V5  typ is the type the caller expects                                E_TYP
    V6  alg in the profile; kid trusted; alg is the key's own     E_ALG  E_CHAIN
    V7  payload bytes are canonical, an object, v = 1             E_CANON  E_FORMAT
    V8  signature: exact length, verifies over the received bytes         E_SIG
    V9  no network access: there is none to make                             -
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from . import canonical
from .canonical import JsonObject
from .errors import VerifyError
from .keys import (
    ALGORITHMS,
    B64,
    SIGNATURE_BYTES,
    KeyId,
    PublicKey,
    Signer,
    b64decode,
    b64encode,
    sha256,
)

RECORD = "tierlink-record+jws"
LINK = "tierlink-link+jws"
DELEGATION = "tierlink-delegation+jws"
ROOT = "tierlink-root+jws"
POSSESSION = "tierlink-possession+jws"

MAX_HEADER = 256  # bytes, decoded
MAX_TOKEN = 4 * (canonical.MAX_BYTES + MAX_HEADER + SIGNATURE_BYTES) // 3 + 8

Keys: TypeAlias = "Mapping[KeyId, PublicKey]"


@dataclass(frozen=True, slots=True)
class Envelope:
    """A well-formed signed token; `verify` says whether its signature holds."""

    token: str
    typ: str
    alg: str
    kid: KeyId
    claims: JsonObject
    signature: bytes

    @property
    def message(self) -> bytes:
        """The bytes that are signed: `header.payload` as received."""
        return self.token.rpartition(".")[0].encode()

    @property
    def digest(self) -> B64:
        """SHA-256 of the token, base64url: what `prev` and the log refer to."""
        return digest(self.token)


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
        raise VerifyError("E_FORMAT", "an envelope is header.payload.signature in ASCII")
    header_part, payload_part, signature_part = token.split(".")
    # V2, V3 and V4: a client's header repeats, so its parse is cached by its exact text
    found_typ, alg, kid = _parse_header(header_part)
    # V5: the type separates domains: a link never passes for a record
    if found_typ != typ:
        raise VerifyError("E_TYP", f"typ is not {typ}", value=found_typ)
    # V6, first half: the profile's algorithms
    if alg not in ALGORITHMS:
        raise VerifyError("E_ALG", "algorithm outside the profile", value=alg)
    # V2, V3, V7: the payload
    claims = _parse_payload(payload_part)
    # V2, V8 first half: the signature part
    signature = b64decode(signature_part)
    if len(signature) != SIGNATURE_BYTES:
        raise VerifyError("E_SIG", f"signature has {len(signature)} bytes, not {SIGNATURE_BYTES}")
    return Envelope(token, found_typ, alg, kid, claims, signature)


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
    payload = b64decode(part)
    if len(payload) > canonical.MAX_BYTES:
        raise VerifyError("E_LIMIT", f"payload over {canonical.MAX_BYTES} bytes")
    claims = canonical.decode_object(payload)
    if canonical.encode(claims) != payload:
        raise VerifyError("E_CANON", "payload is not in canonical form")
    if claims.get("v") != 1 or type(claims["v"]) is not int:
        raise VerifyError("E_FORMAT", "payload version v is not 1", value=claims.get("v"))
    return claims


def check(envelope: Envelope, keys: Keys) -> PublicKey:
    """Check the signature of a parsed envelope (steps V6 and V8); return the key it is by."""
    # V6: the key is one we trust for this, and the algorithm is the key's, never the header's
    key = keys.get(envelope.kid)
    if key is None:
        raise VerifyError(
            "E_CHAIN", "kid is not among the keys that may sign this", value=envelope.kid
        )
    if key.alg != envelope.alg:
        raise VerifyError("E_ALG", f"the key's algorithm is {key.alg}", value=envelope.alg)
    # V8: over the received bytes
    if not key.verifies(envelope.signature, envelope.message):
        raise VerifyError("E_SIG", "signature does not verify")
    return key


def verify(token: object, typ: str, keys: Keys) -> Envelope:
    """Parse and check an envelope by the steps above; raise VerifyError and nothing else."""
    envelope = parse(token, typ)
    check(envelope, keys)
    return envelope
