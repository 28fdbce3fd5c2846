"""The RSA key by which the references of data integrity aspects are judged.

A file with one of: the modulus as a hexadecimal number (`0x…`), a public key as PEM, a JWK. The
exponent is 65537, the modulus has 2,048 to 8,192 bits.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from schemas.errors import BadInput, VerifyError
from schemas.keys import b64decode

EXPONENT = 65537
MIN_BITS, MAX_BITS = 2048, 8192
MAX_FILE = 16 * 1024  # bytes
_HEX = re.compile(rb"(?:0[xX])?([0-9a-fA-F]+)")
_FIX = "give the modulus in hex (0x…), a PEM public key or a JWK, of RSA with 2048 bits or more"


@dataclass(frozen=True, slots=True)
class RsaKey:
    """A public key; `fingerprint` is the SHA-256 of the modulus, big-endian, in hex."""

    bits: int
    fingerprint: str
    _handle: rsa.RSAPublicKey = field(repr=False, compare=False)

    @property
    def signature_bytes(self) -> int:
        """How long each signature is."""
        return (self.bits + 7) // 8

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Tell whether an RSASSA-PKCS1-v1_5 signature with SHA-256 fits (RFC 8017 §8.2.2)."""
        if len(signature) != self.signature_bytes:
            return False
        try:
            self._handle.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return False
        return True


def read_key(raw: bytes) -> RsaKey:
    """Read a key file; raise BadInput on anything else, and on keys of another size."""
    text = raw.strip()
    if len(raw) > MAX_FILE:
        raise BadInput(f"the key file is over {MAX_FILE} bytes", value=len(raw), fix=_FIX)
    if text.startswith(b"-----"):
        modulus, exponent = _pem(text)
    elif text.startswith(b"{"):
        modulus, exponent = _jwk(text)
    else:
        found = _HEX.fullmatch(text)
        if found is None:
            raise BadInput("the key is neither hex nor PEM nor a JWK", fix=_FIX)
        modulus, exponent = int(found[1], 16), EXPONENT
    return _checked(modulus, exponent)


def _pem(text: bytes) -> tuple[int, int]:
    try:
        key = load_pem_public_key(text)
    except (ValueError, UnsupportedAlgorithm):
        raise BadInput("the PEM file holds no public key", fix=_FIX) from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise BadInput("the PEM file holds a public key that is not RSA", fix=_FIX)
    numbers = key.public_numbers()
    return numbers.n, numbers.e


def _jwk(text: bytes) -> tuple[int, int]:
    try:
        jwk = json.loads(text)
        if jwk.get("kty") != "RSA" or "d" in jwk:
            raise BadInput("the JWK is not a public RSA key", value=jwk.get("kty"), fix=_FIX)
        modulus, exponent = (int.from_bytes(b64decode(jwk[name]), "big") for name in ("n", "e"))
    except (ValueError, KeyError, TypeError, RecursionError, VerifyError):
        raise BadInput("the JWK is malformed, or has no n and e", fix=_FIX) from None
    return modulus, exponent


def _checked(modulus: int, exponent: int) -> RsaKey:
    bits = modulus.bit_length()
    if not MIN_BITS <= bits <= MAX_BITS:
        raise BadInput(
            f"the modulus has {bits} bits, not {MIN_BITS} to {MAX_BITS}", value=bits, fix=_FIX
        )
    if exponent != EXPONENT:
        raise BadInput(f"the public exponent is not {EXPONENT}", fix=_FIX)
    if modulus % 2 == 0:
        raise BadInput("the modulus is even, and no product of two primes is", fix=_FIX)
    handle = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    octets = modulus.to_bytes((bits + 7) // 8, "big")
    return RsaKey(bits, hashlib.sha256(octets).hexdigest(), handle)
