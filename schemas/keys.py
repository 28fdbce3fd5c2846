"""Keys: JWK encodings, key ids (RFC 7638), signing and checking, and what may be registered.

Two algorithms: `Ed25519` (RFC 9864 name) and `ES256` (P-256 with SHA-256, signatures r‖s with
low s). A third, `SM2` (see sm2), exists only where a process has called `enable_sm2`. The algorithm
belongs to the key, never to the message. Ed25519 points of small order or in a non-canonical
encoding are refused, because with them one signature fits every message.
"""

from __future__ import annotations

import hashlib
import json
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NewType, Protocol, Self, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from . import sm2
from .errors import VerifyError

B64 = NewType("B64", str)  # base64url without padding, canonical
KeyId = NewType("KeyId", str)  # RFC 7638 SHA-256 thumbprint, 43 characters

ED25519 = "Ed25519"
ES256 = "ES256"
SM2 = "SM2"
ALGORITHMS = frozenset({ED25519, ES256})  # everywhere; SM2 where it is enabled
SIGNATURE_BYTES = 64  # of all three

_P25519 = 2**255 - 19
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_ORDER8 = (
    int.from_bytes(
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
    ),
    int.from_bytes(
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"
    ),
)
_SMALL_ORDER_Y = frozenset({0, 1, _P25519 - 1, *_ORDER8})

_PublicHandle: TypeAlias = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | sm2.PublicHandle
_PrivateHandle: TypeAlias = (
    ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | sm2.PrivateHandle
)

_STANDARD, _URL = bytes.maketrans(b"-_", b"+/"), bytes.maketrans(b"+/", b"-_")  # base64's two sets

enable_sm2 = sm2.enable


def check_algorithm(alg: str) -> None:
    """Raise VerifyError E_ALG unless signatures of this algorithm can be checked here."""
    if alg == SM2:
        sm2.library("E_ALG")
    elif alg not in ALGORITHMS:
        raise VerifyError("E_ALG", "algorithm outside the profile", value=alg)


def b64encode(raw: bytes) -> B64:
    """Encode to base64url without padding (RFC 7515 §2)."""
    return B64(b2a_base64(raw, newline=False).translate(_URL).rstrip(b"=").decode())


def b64decode(text: str) -> bytes:
    """Decode canonical base64url; raise VerifyError E_ENCODING on anything else.

    The library discards trailing bits, so the last characters are encoded again and compared.
    """
    over = len(text) % 4
    try:
        padded = text.encode("ascii").translate(_STANDARD) + b"==="[: -over % 4]
        raw = a2b_base64(padded, strict_mode=True)
    except ValueError:  # a binascii.Error too
        raise VerifyError("E_ENCODING", "not base64url", value=text[:64]) from None
    if "+" in text or "/" in text or "=" in text:
        raise VerifyError("E_ENCODING", "not canonical base64url", value=text[:64])
    if over and b64encode(raw[1 - over :]) != text[-over:]:
        raise VerifyError("E_ENCODING", "not canonical base64url", value=text[:64])
    return raw


def sha256(raw: bytes) -> bytes:
    """Return the SHA-256 digest, 32 bytes."""
    return hashlib.sha256(raw).digest()


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that passed the registration checks; `jwk` has exactly the members its type needs."""

    kid: KeyId
    alg: str
    jwk: Mapping[str, str]
    _handle: _PublicHandle = field(repr=False, compare=False)

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, object]) -> Self:
        """Read and check a public JWK; raise VerifyError E_KEY.

        1. exactly the members of its type, canonical base64url, right length;
        2. Ed25519: no small-order and no non-canonical point; 3. P-256 and SM2: on the curve.
        """
        members = {name: value for name, value in jwk.items() if isinstance(value, str)}
        if len(members) != len(jwk):
            raise VerifyError("E_KEY", "JWK members are strings")
        kind = (members.get("kty"), members.get("crv"))
        if kind == ("OKP", "Ed25519") and set(members) == {"kty", "crv", "x"}:
            handle: _PublicHandle = _ed25519_public(_coordinate(members["x"]))
            alg = ED25519
        elif kind == ("EC", "P-256") and set(members) == {"kty", "crv", "x", "y"}:
            handle = _p256_public(_coordinate(members["x"]), _coordinate(members["y"]))
            alg = ES256
        elif kind == ("EC", "SM2") and set(members) == {"kty", "crv", "x", "y"}:
            handle = sm2.public(_coordinate(members["x"]), _coordinate(members["y"]))
            alg = SM2
        else:
            raise VerifyError(
                "E_KEY",
                "JWK is neither OKP/Ed25519 {kty, crv, x} nor EC/P-256 or EC/SM2 {kty, crv, x, y}",
                value=", ".join(sorted(members)),
                fix="send the public key only, without use, alg or kid",
            )
        return cls(thumbprint(members), alg, members, handle)

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Tell whether the signature fits; the caller already knows the algorithm is this key's."""
        if len(signature) != SIGNATURE_BYTES:
            return False
        if isinstance(self._handle, sm2.PublicHandle):
            return self._handle.verifies(signature, message)
        try:
            if isinstance(self._handle, ed25519.Ed25519PublicKey):
                self._handle.verify(signature, message)
            else:
                r = int.from_bytes(signature[:32], "big")
                s = int.from_bytes(signature[32:], "big")
                # High s is refused: anyone could mint a twin token with another digest.
                if not (0 < r < _P256_ORDER and 0 < s <= _P256_ORDER // 2):
                    return False
                der = encode_dss_signature(r, s)
                self._handle.verify(der, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


class Signer(Protocol):
    """Whatever can sign: a key in memory, from a key file, or inside a hardware module.

    `sign` returns the 64 signature bytes of the envelope form and may be called from any thread.
    """

    @property
    def public(self) -> PublicKey:
        """The public half."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Sign a message."""
        ...


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A signing key held in memory."""

    public: PublicKey
    _handle: _PrivateHandle = field(repr=False, compare=False)

    @classmethod
    def generate(cls, alg: str = ED25519) -> Self:
        """Make a new key from the system's randomness; raise VerifyError E_ALG."""
        if alg == ES256:
            return cls.from_handle(ec.generate_private_key(ec.SECP256R1()))
        if alg == ED25519:
            return cls.from_handle(ed25519.Ed25519PrivateKey.generate())
        if alg == SM2:
            return cls.from_handle(sm2.generate())
        raise VerifyError("E_ALG", "algorithm outside the profile", value=alg)

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """Make the Ed25519 key of a 32-byte seed (RFC 8032 §5.1.5)."""
        return cls.from_handle(ed25519.Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def from_pkcs8(cls, raw: bytes) -> Self:
        """Read an unencrypted PKCS#8 document (RFC 5208); raise VerifyError E_KEY."""
        if sm2.is_pkcs8(raw):
            return cls.from_handle(sm2.from_pkcs8(raw))
        try:
            return cls.from_handle(load_der_private_key(raw, password=None))
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise VerifyError("E_KEY", "not a PKCS#8 private key") from None

    @classmethod
    def from_handle(cls, handle: object) -> Self:
        """Wrap a `cryptography` private key, or one of `sm2`; raise VerifyError E_KEY on others."""
        if isinstance(handle, ed25519.Ed25519PrivateKey):
            x = b64encode(handle.public_key().public_bytes_raw())
            jwk = {"kty": "OKP", "crv": "Ed25519", "x": str(x)}
            return cls(PublicKey.from_jwk(jwk), handle)
        if isinstance(handle, ec.EllipticCurvePrivateKey) and isinstance(
            handle.curve, ec.SECP256R1
        ):
            numbers = handle.public_key().public_numbers()
            point = numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
            return cls(PublicKey.from_jwk(_ec_jwk("P-256", point)), handle)
        if isinstance(handle, sm2.PrivateHandle):
            return cls(PublicKey.from_jwk(_ec_jwk("SM2", handle.point)), handle)
        raise VerifyError("E_KEY", "the key is neither Ed25519 nor P-256 nor SM2")

    @property
    def handle(self) -> _PrivateHandle:
        """The object of `cryptography` or `sm2` that holds the key."""
        return self._handle

    def pkcs8(self) -> bytes:
        """Return the key as unencrypted PKCS#8, for whoever stores keys."""
        if isinstance(self._handle, sm2.PrivateHandle):
            return self._handle.pkcs8()
        return self._handle.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())

    def sign(self, message: bytes) -> bytes:
        """Sign: 64 bytes R‖S for Ed25519, r‖s with low s for ES256, r‖s for SM2."""
        if isinstance(self._handle, ed25519.Ed25519PrivateKey | sm2.PrivateHandle):
            return self._handle.sign(message)
        return p1363(*decode_dss_signature(self._handle.sign(message, ec.ECDSA(hashes.SHA256()))))


def p1363(r: int, s: int) -> bytes:
    """Write an ES256 signature as r‖s with low s; of the two that fit, verifiers take that one."""
    return r.to_bytes(32, "big") + min(s, _P256_ORDER - s).to_bytes(32, "big")


def _ec_jwk(curve: str, point: bytes) -> dict[str, str]:
    x, y = str(b64encode(point[:32])), str(b64encode(point[32:]))
    return {"kty": "EC", "crv": curve, "x": x, "y": y}


def thumbprint(jwk: Mapping[str, str]) -> KeyId:
    """Return the RFC 7638 SHA-256 thumbprint of a JWK that has only its required members."""
    text = json.dumps(dict(jwk), sort_keys=True, separators=(",", ":"))
    return KeyId(b64encode(sha256(text.encode())))


def _coordinate(text: str) -> bytes:
    try:
        raw = b64decode(text)
    except VerifyError as err:
        raise VerifyError("E_KEY", err.detail, value=err.value) from None
    if len(raw) != 32:  # noqa: PLR2004  (both curves have 32-byte coordinates)
        raise VerifyError("E_KEY", f"coordinate has {len(raw)} bytes instead of 32")
    return raw


def _ed25519_public(raw: bytes) -> ed25519.Ed25519PublicKey:
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if y >= _P25519 or y in _SMALL_ORDER_Y:
        raise VerifyError(
            "E_KEY", "Ed25519 point of small order or in a non-canonical encoding", value=raw.hex()
        )
    return ed25519.Ed25519PublicKey.from_public_bytes(raw)


def _p256_public(x: bytes, y: bytes) -> ec.EllipticCurvePublicKey:
    point = ec.EllipticCurvePublicNumbers(
        int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1()
    )
    try:
        return point.public_key()
    except ValueError:
        raise VerifyError("E_KEY", "the point is not on curve P-256") from None
