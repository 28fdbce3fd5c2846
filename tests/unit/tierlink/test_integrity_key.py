"""The key that integrity is checked by: three forms of one key, and what is no such key."""

import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from schemas.errors import BadInput
from schemas.keys import b64encode
from tierlink.imports.rsa_key import read_key


def pem(public):
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def jwk(modulus, exponent=65537, **members):
    octets = {"n": modulus.to_bytes((modulus.bit_length() + 7) // 8), "e": exponent.to_bytes(3)}
    stated = {name: b64encode(raw.lstrip(b"\0")) for name, raw in octets.items()}
    return json.dumps({"kty": "RSA"} | stated | members).encode()


@pytest.fixture(scope="module")
def private():
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def n(private):
    return private.public_key().public_numbers().n


def test_hex_pem_and_jwk_are_one_key(private, n):
    forms = (f"{n:#x}\n", f"{n:x}", f"0X{n:X}")
    keys = [read_key(form.encode()) for form in forms]
    keys += [read_key(pem(private.public_key())), read_key(jwk(n)), read_key(jwk(n, alg="RS256"))]
    assert len(set(keys)) == 1
    assert (keys[0].bits, keys[0].signature_bytes, len(keys[0].fingerprint)) == (2048, 256, 64)
    signature = private.sign(b"m" * 32, padding.PKCS1v15(), hashes.SHA256())
    assert keys[0].verifies(signature, b"m" * 32)
    assert not keys[0].verifies(signature, b"n" * 32)
    assert not keys[0].verifies(signature + b"\0", b"m" * 32)
    assert not keys[0].verifies(b"\0" + signature, b"m" * 32)
    assert not keys[0].verifies(b"", b"m" * 32)


def test_other_sizes():
    """No power of two is asked for, only enough bits and not too many."""
    assert read_key(f"{(1 << 3071) + 1:x}".encode()).signature_bytes == 384
    assert read_key(f"{(1 << 2048) + 1:x}".encode()).signature_bytes == 257
    for bits in (1024, 2047, 8193):
        with pytest.raises(BadInput, match=f"has {bits} bits"):
            read_key(f"{(1 << bits - 1) + 1:x}".encode())
    weak = rsa.RSAPublicNumbers(65537, (1 << 1023) + 1)
    with pytest.raises(BadInput, match="has 1024 bits"):
        read_key(jwk(weak.n))


def refused(private, n):
    public = private.public_key()
    small = rsa.RSAPublicNumbers(3, n).public_key()
    secret = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    return {
        "nothing": (b"", "neither hex nor PEM nor a JWK"),
        "0x": (b"0x", "neither hex nor PEM nor a JWK"),
        "words": (b"a modulus", "neither hex nor PEM nor a JWK"),
        "two numbers": (f"{n:x} {n:x}".encode(), "neither hex nor PEM nor a JWK"),
        "zero": (b"0x0", "has 0 bits"),
        "even": (f"{n - 1:x}".encode(), "even"),
        "long": (b"a" * 20_000, "over 16384 bytes"),
        "cut-off PEM": (pem(public)[:100], "holds no public key"),
        "private PEM": (secret, "holds no public key"),
        "another PEM": (pem(curve), "not RSA"),
        "exponent 3": (pem(small), "exponent is not 65537"),
        "JWK, cut off": (jwk(n)[:-9], "malformed"),
        "JWK, deep": (b'{"a":' * 3000, "malformed"),
        "JWK, exponent 3": (jwk(n, 3), "exponent is not 65537"),
        "JWK, private": (jwk(n, d="AQAB"), "not a public RSA key"),
        "JWK, another": (jwk(n, kty="oct"), "not a public RSA key"),
        "JWK, n is null": (jwk(n, n=None), "malformed"),
        "JWK, padded": (jwk(n, e="AQAB="), "malformed"),
        "JWK without n": (b'{"kty": "RSA", "e": "AQAB"}', "malformed"),
    }


def test_what_is_no_such_key(private, n):
    for name, (raw, why) in refused(private, n).items():
        with pytest.raises(BadInput, match=why) as caught:
            read_key(raw)
        assert caught.value.fix, name
        json.dumps(caught.value.problem())
