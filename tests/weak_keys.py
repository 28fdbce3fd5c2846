"""Public keys that nobody may register, as JWK or as the bytes of a point."""

from schemas.keys import b64encode
from tests.forgeries import CHIP

P25519 = 2**255 - 19
LOW_ORDER = [  # every encoding of the eight points of small order, canonical or not
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]
# p and p + 1 are of small order and above already.
NON_CANONICAL = [(P25519 + n).to_bytes(32, "little").hex() for n in range(2, 19)]


def okp(raw):
    return {"kty": "OKP", "crv": "Ed25519", "x": str(b64encode(raw))}


# P-256: a point beside the curve.
OFF_CURVE = dict(CHIP.public.jwk) | {"y": str(b64encode(bytes.fromhex("01" * 32)))}
