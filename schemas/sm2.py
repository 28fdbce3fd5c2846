"""SM2 signatures with SM3 (GB/T 32918.2 and .5) by the OpenSSL 3 of the system, through ctypes.

Off until `enable` is called: then libcrypto is loaded, and has to verify the example of the
standard before any key of ours is given to it. There is no way back, so that what was accepted
once does not depend on the moment. Nothing here reads the environment.

A signature is r‖s, 64 bytes, as for the other curve; the library's own form is DER. The signer's
identity Z is computed from DISTID, the same for everybody: what a key stands for is said by the
delegation, not by the signature.

What bites in the C interface, and is minded here: every function has its types declared, or
pointers are cut to 32 bits; the identity is set before the digest begins; the digest context does
not own its key context, which is freed after it; success is exactly 1; a failure leaves entries
in the thread's error queue, which are removed.
"""

from __future__ import annotations

import ctypes
import secrets
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from . import der
from .errors import BadInput, VerifyError

DISTID = b"1234567812345678"  # the default of GM/T 0009
SWITCH = "TIERLINK_SM2"  # what whoever calls `enable` reads, and our messages name

_P = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
_A = _P - 3
_B = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
ORDER = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123

_SIZE = 32  # bytes of a coordinate, of a private key, and of each half of a signature
_OK = 1  # every other return value is a failure, also a negative one

# AlgorithmIdentifier {id-ecPublicKey, 1.2.156.10197.1.301}
_CURVE = bytes.fromhex("301306072a8648ce3d020106082a811ccf5501822d")
_POINT_HEAD = bytes.fromhex("3059") + _CURVE + bytes.fromhex("03420004")

# GB/T 32918.5-2017 A.2: what the library has to get right before it is trusted with a key.
_EXAMPLE_POINT = bytes.fromhex(
    "09f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020"
    "ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13"
)
_EXAMPLE_MESSAGE = b"message digest"
_EXAMPLE_SIGNATURE = bytes.fromhex(
    "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3"
    "b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa"
)

_NAMES = {"darwin": "libcrypto.3.dylib"}
_NAME = "libcrypto.so.3"
_OPENSSL_3 = 0x30000000

_ptr, _int, _size, _long = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_long
_bytes, _ref = ctypes.c_char_p, ctypes.c_void_p  # a reference is a pointer to a pointer of ours
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "OpenSSL_version_num": (ctypes.c_ulong, []),
    "ERR_clear_error": (None, []),
    "EVP_sm3": (_ptr, []),
    "d2i_PUBKEY": (_ptr, [_ref, _ref, _long]),
    "d2i_AutoPrivateKey": (_ptr, [_ref, _ref, _long]),
    "i2d_PUBKEY": (_int, [_ptr, _ref]),
    "EVP_PKEY_free": (None, [_ptr]),
    "EVP_PKEY_CTX_new": (_ptr, [_ptr, _ptr]),
    "EVP_PKEY_CTX_set1_id": (_int, [_ptr, _bytes, _int]),
    "EVP_PKEY_CTX_free": (None, [_ptr]),
    "EVP_MD_CTX_new": (_ptr, []),
    "EVP_MD_CTX_set_pkey_ctx": (None, [_ptr, _ptr]),
    "EVP_MD_CTX_free": (None, [_ptr]),
    "EVP_DigestSignInit": (_int, [_ptr, _ptr, _ptr, _ptr, _ptr]),
    "EVP_DigestSign": (_int, [_ptr, _ptr, _ref, _bytes, _size]),
    "EVP_DigestVerifyInit": (_int, [_ptr, _ptr, _ptr, _ptr, _ptr]),
    "EVP_DigestVerify": (_int, [_ptr, _bytes, _size, _bytes, _size]),
}


class Library:
    """A libcrypto with its functions typed. Its objects are safe to use from several threads."""

    def __init__(self, name: str) -> None:
        """Load a shared library; raise OSError, or AttributeError for a function it lacks."""
        self.name = name
        self._loaded = ctypes.CDLL(name)
        self._functions: dict[str, Callable[..., Any]] = {}
        for function, (result, arguments) in _FUNCTIONS.items():
            found = getattr(self._loaded, function)
            found.restype, found.argtypes = result, arguments
            self._functions[function] = found

    def call(self, function: str, *arguments: object) -> Any:
        """Call a function of the table above."""
        return self._functions[function](*arguments)

    def decode(self, function: str, raw: bytes) -> Key:
        """Read a DER key by `d2i_…`; raise ValueError where it is none."""
        buffer = ctypes.create_string_buffer(raw, len(raw))
        position = ctypes.c_void_p(ctypes.addressof(buffer))
        pointer = self.call(function, None, ctypes.byref(position), len(raw))
        if not pointer:
            self.call("ERR_clear_error")
            raise ValueError("the library cannot read the key")
        return Key(self, pointer)


class Key:
    """An EVP_PKEY that is freed with its last reference; the library only reads it once made."""

    __slots__ = ("__weakref__", "library", "pointer")

    def __init__(self, library: Library, pointer: int) -> None:
        """Take over a pointer."""
        self.library = library
        self.pointer = pointer
        # The process ends all the same: by then the library may have cleaned up before us.
        weakref.finalize(self, library.call, "EVP_PKEY_free", pointer).atexit = False

    @contextmanager
    def digesting(self, begin: str) -> Iterator[int]:
        """Give a digest context that has begun, SM3 over Z and the message to come."""
        call = self.library.call
        digest, key = call("EVP_MD_CTX_new"), call("EVP_PKEY_CTX_new", self.pointer, None)
        try:
            if not digest or not key:
                raise MemoryError
            if call("EVP_PKEY_CTX_set1_id", key, DISTID, len(DISTID)) != _OK:
                raise ValueError("the library takes no identity for this key")
            call("EVP_MD_CTX_set_pkey_ctx", digest, key)
            if call(begin, digest, None, call("EVP_sm3"), None, self.pointer) != _OK:
                raise ValueError("the library does not know SM2 with SM3")
            yield digest
        finally:
            call("EVP_MD_CTX_free", digest)
            call("EVP_PKEY_CTX_free", key)
            call("ERR_clear_error")


class PublicHandle:
    """A point on the curve, ready to verify."""

    __slots__ = ("_key",)

    def __init__(self, library: Library, point: bytes) -> None:
        """Take x‖y, 64 bytes; raise ValueError off the curve. The curve's cofactor is 1."""
        x, y = int.from_bytes(point[:_SIZE], "big"), int.from_bytes(point[_SIZE:], "big")
        if len(point) != 2 * _SIZE or max(x, y) >= _P or (y * y - x**3 - _A * x - _B) % _P:
            raise ValueError("the point is not on curve SM2")
        self._key = library.decode("d2i_PUBKEY", _POINT_HEAD + point)

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Tell whether r‖s fits: 1 ≤ r, s < n, r + s ≠ n, and the equation (GB/T 32918.2 §7.1)."""
        if len(signature) != 2 * _SIZE:
            return False
        r, s = int.from_bytes(signature[:_SIZE], "big"), int.from_bytes(signature[_SIZE:], "big")
        if not (0 < r < ORDER and 0 < s < ORDER) or r + s == ORDER:
            return False
        form = encode_dss_signature(r, s)
        with suppress(ValueError), self._key.digesting("EVP_DigestVerifyInit") as digest:
            verify = ("EVP_DigestVerify", digest, form, len(form), message, len(message))
            return bool(self._key.library.call(*verify) == _OK)
        return False


class PrivateHandle:
    """A private key; `point` is its public half, x‖y."""

    __slots__ = ("_key", "_secret", "point")

    def __init__(self, library: Library, secret: bytes) -> None:
        """Take d, 32 bytes, 0 < d < n-1; raise ValueError for another number."""
        if len(secret) != _SIZE or not 0 < int.from_bytes(secret, "big") < ORDER - 1:
            raise ValueError("the number is no private key of SM2")
        self._secret = secret
        self._key = library.decode("d2i_AutoPrivateKey", _pkcs8(secret, b""))
        buffer = ctypes.create_string_buffer(len(_POINT_HEAD) + 2 * _SIZE)
        position = ctypes.c_void_p(ctypes.addressof(buffer))
        size = library.call("i2d_PUBKEY", self._key.pointer, None)
        if size != len(buffer):
            raise ValueError("the library writes the key in another form")
        library.call("i2d_PUBKEY", self._key.pointer, ctypes.byref(position))
        self.point = buffer.raw[len(_POINT_HEAD) :]

    def sign(self, message: bytes) -> bytes:
        """Sign: r‖s, 64 bytes."""
        library = self._key.library
        buffer, size = ctypes.create_string_buffer(128), ctypes.c_size_t(128)
        with self._key.digesting("EVP_DigestSignInit") as digest:
            sign = ("EVP_DigestSign", digest, buffer, ctypes.byref(size), message, len(message))
            if library.call(*sign) != _OK:
                raise ValueError("the library did not sign")
        r, s = decode_dss_signature(buffer.raw[: size.value])
        return r.to_bytes(_SIZE, "big") + s.to_bytes(_SIZE, "big")

    def pkcs8(self) -> bytes:
        """Return the key as PKCS#8 (RFC 5208, RFC 5915), unencrypted, as OpenSSL writes it."""
        return _pkcs8(self._secret, self.point)

    def __repr__(self) -> str:
        return "PrivateHandle()"


def _pkcs8(secret: bytes, point: bytes) -> bytes:
    public = der.encode(0xA1, der.encode(0x03, b"\x00\x04", point)) if point else b""
    inner = der.encode(der.SEQUENCE, der.encode_integer(1), der.encode(der.OCTETS, secret), public)
    return der.encode(der.SEQUENCE, der.encode_integer(0), _CURVE, der.encode(der.OCTETS, inner))


def is_pkcs8(raw: bytes) -> bool:
    """Tell whether a PKCS#8 document holds a key of this curve."""
    with suppress(ValueError):
        return _algorithm(raw)[0] == _CURVE
    return False


def _algorithm(raw: bytes) -> tuple[bytes, bytes]:
    version, rest = der.read_integer(der.read(raw, der.SEQUENCE).content)
    item = der.read(rest, der.SEQUENCE)
    if version not in (0, 1):
        raise ValueError("PKCS#8 of an unknown version")
    return rest[: len(rest) - len(item.rest)], item.rest


class _Switch:
    library: Library | None = None


def enable(name: str | None = None) -> None:
    """Admit SM2 in this process, by the system's libcrypto or the one of that path.

    Raise BadInput where there is none, where it is older than OpenSSL 3, or was built without SM2.
    """
    if _Switch.library is None:
        _Switch.library = load(name or _NAMES.get(sys.platform, _NAME))


def load(name: str) -> Library:
    """Load a library and let it verify the standard's example, and that of another message not."""
    try:
        library = Library(name)
        if library.call("OpenSSL_version_num") < _OPENSSL_3:
            raise _unfit(name, "it is older than OpenSSL 3")
        example = PublicHandle(library, _EXAMPLE_POINT)
    except OSError as err:
        raise _unfit(name, str(err)) from err
    except AttributeError as err:
        raise _unfit(name, f"it lacks a function: {err}") from err
    except ValueError as err:
        raise _unfit(name, "it was built without SM2") from err
    if not example.verifies(_EXAMPLE_SIGNATURE, _EXAMPLE_MESSAGE) or example.verifies(
        _EXAMPLE_SIGNATURE, b"another message"
    ):
        raise _unfit(name, "it does not verify the example of GB/T 32918.5 as it should")
    return library


def _unfit(name: str, why: str) -> BadInput:
    return BadInput(
        f"SM2 cannot be switched on with {name}: {why}",
        value=name,
        fix=f"install OpenSSL 3 built with SM2, name its libcrypto with {SWITCH}=/path, "
        f"or leave {SWITCH} unset",
        code="sm2_unavailable",
    )


def enabled() -> bool:
    """Tell whether SM2 is admitted in this process."""
    return _Switch.library is not None


class SwitchedOff(VerifyError):
    """What was given may be good, and cannot be judged by a process without SM2."""


def library(code: str) -> Library:
    """Return the library; raise SwitchedOff with that code while SM2 is off."""
    if _Switch.library is None:
        raise SwitchedOff(code, "SM2 is switched off here", fix=f"set {SWITCH}=1")
    return _Switch.library


def public(x: bytes, y: bytes) -> PublicHandle:
    """Return a point of two coordinates, 32 bytes each; raise VerifyError E_KEY."""
    used = library("E_KEY")
    try:
        return PublicHandle(used, x + y)
    except ValueError as err:
        raise VerifyError("E_KEY", str(err)) from None


def generate() -> PrivateHandle:
    """Make a private key from the system's randomness; raise VerifyError E_ALG while off."""
    used = library("E_ALG")
    number = secrets.randbelow(ORDER - 2) + 1
    return PrivateHandle(used, number.to_bytes(_SIZE, "big"))


def from_pkcs8(raw: bytes) -> PrivateHandle:
    """Read a PKCS#8 document of this curve, unencrypted; raise VerifyError E_KEY."""
    used = library("E_KEY")
    try:
        inner = der.read(der.read(_algorithm(raw)[1], der.OCTETS).content, der.SEQUENCE)
        _, rest = der.read_integer(inner.content)
        return PrivateHandle(used, der.read(rest, der.OCTETS).content)
    except ValueError as err:
        raise VerifyError("E_KEY", f"not an SM2 private key: {err}") from None
