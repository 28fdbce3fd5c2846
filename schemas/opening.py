"""Openings and boxes: how a grant opens further tiers to somebody whom nobody on the way may know.

What a grant's envelope says nobody can guess, for it holds a signature, and only the nodes of
grantor and grantee have it. Its digest, which is in the log, leads nowhere. So it is a key:

    key        SHA-256("tierlink grant key v1" 0x00 envelope)
    opening    HMAC-SHA-256(key, "tierlink opening v1" 0x00 canonical {trace, direction, purpose,
               until}), base64url: whoever shows it has the grant, and asks this until then
    box        nonce(12) ‖ AES-256-GCM(k, nonce, padded, canonical {trace, opening}), base64url;
               k = HMAC-SHA-256(key, "tierlink box v1" 0x00 trace)
    padded     length(4, big-endian) ‖ content ‖ zeros, to a power of two: at least 8 KiB

`until` is when the trace is over that began it, Unix milliseconds; `purpose` is "" where none is
said. Openings of one grant have nothing in common from one trace to the next. How many a caller
has would tell him apart: others made of nothing fill them up to a power of two, and all are sorted.

    O1  an opening that none of the grants makes, or one made for another trace, direction, purpose
        or end, is nobody's
    O2  openings of the grants of two grantees are nobody's: one trace has one asker
    O3  a box opens with the key that its opening was made of, in its trace, or not at all   E_BOX

Everything here is pure; what has to be random is an argument.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from . import canonical
from .errors import VerifyError
from .identifier import Prefix
from .keys import B64, b64decode, b64encode, sha256

MAX_OPENINGS = 512  # of one token: with its other members it is one signed payload
MIN_OPENINGS = 8
MIN_BOX, MAX_BOX = 8 * 1024, 2 * 1024 * 1024  # bytes that are encrypted
MAX_CONTENT = MAX_BOX - 4
NONCE_BYTES = 12
MAX_BOX_TEXT = 4 * (NONCE_BYTES + MAX_BOX + 16) // 3 + 4  # characters

_KEY: Final = b"tierlink grant key v1\0"
_OPENING: Final = b"tierlink opening v1\0"
_BOX: Final = b"tierlink box v1\0"
_LENGTH, _TAG = 4, 16


def key_of(envelope: str) -> bytes:
    """Return the key that a grant is, by its envelope."""
    return sha256(_KEY + envelope.encode())


@dataclass(frozen=True, slots=True)
class Walked:
    """What an opening is good for: one trace, its direction and purpose, until it is over."""

    trace: str
    direction: str
    purpose: str
    until: int  # Unix milliseconds

    def opening(self, key: bytes) -> B64:
        """Return what shows that its maker has a grant."""
        return b64encode(hmac.digest(key, self._message(), "sha256"))

    def openings(self, keys: Iterable[bytes]) -> Iterator[tuple[B64, bytes]]:
        """Yield the opening of each key, with the key."""
        message = self._message()
        for key in keys:
            yield b64encode(hmac.digest(key, message, "sha256")), key

    def _message(self) -> bytes:
        return _OPENING + canonical.encode(
            {
                "trace": self.trace,
                "direction": self.direction,
                "purpose": self.purpose,
                "until": self.until,
            }
        )


def filled(openings: Iterable[B64], seed: bytes) -> tuple[B64, ...]:
    """Sort openings, filled up to a power of two with what no grant makes; nothing stays nothing.

    The same `seed`, which is secret, and number give the same: who compares learns nothing.
    """
    found = sorted(set(openings))[:MAX_OPENINGS]
    if not found:
        return ()
    size = MIN_OPENINGS
    while size < len(found):
        size *= 2
    more = (
        b64encode(hmac.digest(seed, number.to_bytes(4, "big"), "sha256"))
        for number in range(size - len(found))
    )
    return tuple(sorted((*found, *more)))


@dataclass(frozen=True, slots=True)
class Recognised:
    """Who asks, by an opening of his; `key` is that of the grant which it was made of."""

    grantee: Prefix
    opening: B64
    key: bytes


class Given:
    """The openings of one token, to be compared with grants.

    What is compared is blinded by 32 secret random bytes first: how long it takes tells nothing.
    """

    def __init__(self, openings: Iterable[B64], walked: Walked, blind: bytes) -> None:
        self._walked = walked
        self._blind = blind
        self._given = {self._blinded(item): item for item in openings}

    def matching(self, grants: Iterable[tuple[Prefix, str]]) -> list[Recognised]:
        """Take O1: return who can have made openings, by grants (grantee, envelope)."""
        found: list[Recognised] = []
        for grantee, envelope in grants:
            key = key_of(envelope)
            made = self._walked.opening(key)
            shown = self._given.get(self._blinded(made))
            if shown is not None and hmac.compare_digest(shown, made):
                found.append(Recognised(grantee, made, key))
        return found

    def _blinded(self, opening: B64) -> bytes:
        return hmac.digest(self._blind, opening.encode(), "sha256")


def the_one(found: Sequence[Recognised]) -> Recognised | None:
    """Take O2: return who asks, where that is one."""
    if len({item.grantee for item in found}) != 1:
        return None
    return min(found, key=lambda item: item.opening)


def put(key: bytes, trace: str, opening: B64, content: bytes, nonce: bytes) -> str:
    """Return content, at most MAX_CONTENT bytes, in a box; a nonce is 12 random bytes."""
    if len(content) > MAX_CONTENT or len(nonce) != NONCE_BYTES:
        raise ValueError("too much for a box, or no nonce")
    size = MIN_BOX
    while size < _LENGTH + len(content):
        size *= 2
    padded = (len(content).to_bytes(_LENGTH, "big") + content).ljust(size, b"\0")
    sealed = AESGCM(_box_key(key, trace)).encrypt(nonce, padded, _about(trace, opening))
    return b64encode(nonce + sealed)


def taken(key: bytes, trace: str, opening: B64, box: str) -> bytes:
    """Take O3: return what is in a box; raise VerifyError."""
    if len(box) > MAX_BOX_TEXT:
        raise VerifyError("E_BOX", "the box is too large", value=len(box))
    try:
        raw = b64decode(box)
    except VerifyError as err:
        raise VerifyError("E_BOX", f"the box is {err.detail}") from None
    size = len(raw) - NONCE_BYTES - _TAG
    if not MIN_BOX <= size <= MAX_BOX or size & (size - 1):
        raise VerifyError("E_BOX", "the box has no size of a box", value=size)
    try:
        padded = AESGCM(_box_key(key, trace)).decrypt(
            raw[:NONCE_BYTES], raw[NONCE_BYTES:], _about(trace, opening)
        )
    except InvalidTag as err:
        raise VerifyError("E_BOX", "the box does not open", value=opening) from err
    end = _LENGTH + int.from_bytes(padded[:_LENGTH], "big")
    if end > len(padded) or padded[end:].strip(b"\0"):
        raise VerifyError("E_BOX", "the box is not filled up with zeros")
    return padded[_LENGTH:end]


def digest_of(box: str) -> B64:
    """Return the digest by which the part beside a box names it."""
    return b64encode(sha256(box.encode()))


def _box_key(key: bytes, trace: str) -> bytes:
    return hmac.digest(key, _BOX + trace.encode(), "sha256")


def _about(trace: str, opening: str) -> bytes:
    return canonical.encode({"trace": trace, "opening": opening})
