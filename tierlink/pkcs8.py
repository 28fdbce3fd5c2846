"""Private keys as PKCS#8 in PEM (RFC 5208, RFC 7468), locked with a passphrase by scrypt.

`cryptography` writes PKCS#8 under 2,048 rounds of PBKDF2 and offers no other; a passphrase falls
to a few graphics cards then. Here it is scrypt (RFC 7914 §7) with AES-256-CBC in PBES2 (RFC 8018
§6.2): what `openssl pkcs8 -topk8 -scrypt` writes and every OpenSSL since 1.1 reads.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import textwrap

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.padding import PKCS7

from schemas import der

# 16 MiB and about 0.2 s a try, the strength of OWASP's N = 2^17, p = 1; OpenSSL's own limit is
# 32 MiB, so it is more lanes and not more memory.
COST, BLOCK, LANES = 2**14, 8, 5

_MAX_MEMORY = 256 * 1024 * 1024  # for one lane of a file of somebody else's
_MAX_LANES = 64
_SALT = 16
_KEY = 32
_IV = 16

_PBES2 = bytes.fromhex("06092a864886f70d01050d")
_SCRYPT = bytes.fromhex("06092b06010401da47040b")
_AES_256_CBC = bytes.fromhex("060960864801650304012a")

_PEM = re.compile(
    rb"-----BEGIN (ENCRYPTED )?PRIVATE KEY-----\s([A-Za-z0-9+/=\s]*)"
    rb"-----END (ENCRYPTED )?PRIVATE KEY-----"
)


class WrongPassphraseError(ValueError):
    """The passphrase does not unlock the key."""


def to_pem(raw: bytes, phrase: bytes | None = None) -> bytes:
    """Write a PKCS#8 document as PEM, locked where there is a passphrase."""
    label = "PRIVATE KEY" if phrase is None else "ENCRYPTED PRIVATE KEY"
    text = base64.b64encode(raw if phrase is None else _lock(raw, phrase)).decode()
    lines = textwrap.wrap(text, 64)
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()


def from_pem(pem: bytes, phrase: bytes | None = None) -> bytes | None:
    """Return the PKCS#8 document of a PEM file, unlocked; None where it is of another form.

    Other forms, such as PBKDF2 or a key without PKCS#8, are for `cryptography` to read.
    Raises WrongPassphraseError, or ValueError where the file is damaged.
    """
    found = _PEM.search(pem)
    if found is None:
        return None
    try:
        raw = base64.b64decode(b"".join(found[2].split()), validate=True)
    except binascii.Error as err:
        raise ValueError("the PEM is no Base64") from err
    if found[1] is None:
        return raw
    return _unlock(raw, phrase or b"")


def _lock(raw: bytes, phrase: bytes) -> bytes:
    salt, iv = os.urandom(_SALT), os.urandom(_IV)
    key = Scrypt(salt=salt, length=_KEY, n=COST, r=BLOCK, p=LANES).derive(phrase)
    padder, cipher = PKCS7(AES.block_size).padder(), Cipher(AES(key), CBC(iv)).encryptor()
    sealed = cipher.update(padder.update(raw) + padder.finalize()) + cipher.finalize()
    costs = b"".join(der.encode_integer(number) for number in (COST, BLOCK, LANES))
    derivation = der.encode(
        der.SEQUENCE, _SCRYPT, der.encode(der.SEQUENCE, der.encode(der.OCTETS, salt), costs)
    )
    encryption = der.encode(der.SEQUENCE, _AES_256_CBC, der.encode(der.OCTETS, iv))
    scheme = der.encode(der.SEQUENCE, _PBES2, der.encode(der.SEQUENCE, derivation, encryption))
    return der.encode(der.SEQUENCE, scheme, der.encode(der.OCTETS, sealed))


def _unlock(raw: bytes, phrase: bytes) -> bytes | None:
    """Unlock in four steps; None where another derivation or cipher was used.

    1. PBES2; 2. scrypt, within limits; 3. AES-256-CBC; 4. the padding tells a wrong passphrase.
    """
    # 1
    scheme = der.read(der.read(raw, der.SEQUENCE).content, der.SEQUENCE)
    if not scheme.content.startswith(_PBES2):
        return None
    derivation = der.read(
        der.read(scheme.content[len(_PBES2) :], der.SEQUENCE).content, der.SEQUENCE
    )
    encryption = der.read(derivation.rest, der.SEQUENCE).content
    if not derivation.content.startswith(_SCRYPT) or not encryption.startswith(_AES_256_CBC):
        return None
    # 2
    salt = der.read(der.read(derivation.content[len(_SCRYPT) :], der.SEQUENCE).content, der.OCTETS)
    cost, rest = der.read_integer(salt.rest)
    block, rest = der.read_integer(rest)
    lanes, _ = der.read_integer(rest)
    if not (0 < 128 * cost * block <= _MAX_MEMORY and 0 < lanes <= _MAX_LANES):
        raise ValueError("the scrypt costs are beyond reason")
    key = Scrypt(salt=salt.content, length=_KEY, n=cost, r=block, p=lanes).derive(phrase)
    # 3
    iv = der.read(encryption[len(_AES_256_CBC) :], der.OCTETS).content
    sealed = der.read(scheme.rest, der.OCTETS).content
    cipher, unpadder = Cipher(AES(key), CBC(iv)).decryptor(), PKCS7(AES.block_size).unpadder()
    # 4
    try:
        padded = cipher.update(sealed) + cipher.finalize()
        plain = unpadder.update(padded) + unpadder.finalize()
        der.read(plain, der.SEQUENCE)
    except ValueError as err:
        raise WrongPassphraseError("another passphrase locks the key") from err
    return plain
