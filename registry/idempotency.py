"""Idempotency-Key: a write that is sent twice is done once and answered alike.

The claim of a key, the write and the sealed first answer are one transaction: if any of it is
there, all of it is. A refused write is rolled back with its claim, so that it may be tried again.
Of two at the same moment, the second waits for the first (up to the lock timeout, then 503).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from registry.keyring import Keyring
from registry.store import idempotency as store
from registry.store.engine import WriteTx
from schemas.errors import BadInput, Conflict, Unavailable
from schemas.keys import sha256

KEEP_SECONDS = 48 * 3600

_KEY = re.compile(r"[!-~]{1,255}")


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, whole."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """A key that this transaction holds until its answer is kept."""

    api_key_id: str
    key: str
    request: bytes

    @property
    def aad(self) -> bytes:
        """What a kept body is bound to."""
        return f"idempotency|{self.api_key_id}|{self.key}".encode()


def fingerprint(method: str, target: bytes, body: bytes) -> bytes:
    """Tell requests apart: method, raw path and query, body."""
    return sha256(b"\0".join((method.encode(), target, sha256(body))))


def read_key(text: str) -> str:
    """Check the header's value; raise BadInput."""
    if not _KEY.fullmatch(text):
        raise BadInput(
            "Idempotency-Key is not 1 to 255 visible ASCII characters",
            value=text,
            fix="send a UUID or another unique string",
        )
    return text


async def claim(
    tx: WriteTx, keyring: Keyring, api_key_id: str, key: str, request: bytes
) -> Claim | Answer:
    """Claim a key for a request's fingerprint, or return the first answer to the same request.

    Raise Conflict where the key was used for another one.
    """
    ours = Claim(api_key_id, key, request)
    if await store.claim(tx, api_key_id, key, request):
        return ours
    kept = await store.find(tx, api_key_id, key)
    if kept is None:
        raise Unavailable("the Idempotency-Key was swept away just now")
    if kept.fingerprint != request:
        raise Conflict(
            "the Idempotency-Key was used for another request",
            value=key,
            fix="use a new key for a new request",
            code="idempotency_conflict",
        )
    headers = [(name, value) for name, value in kept.headers]
    return Answer(kept.status, headers, keyring.open(kept.body, ours.aad))


async def keep(tx: WriteTx, keyring: Keyring, ours: Claim, answer: Answer) -> None:
    """Keep the first answer, sealed: it may hold an API key that is shown once."""
    sealed = keyring.seal(answer.body, ours.aad)
    headers = [list(item) for item in answer.headers]
    kept = store.Kept(ours.request, answer.status, headers, sealed)
    await store.keep(tx, ours.api_key_id, ours.key, kept)


async def sweep(tx: WriteTx, now: float, limit: int) -> int:
    """Forget at most so many answers that were kept for two days; return how many."""
    return await store.sweep(tx, datetime.fromtimestamp(now - KEEP_SECONDS, UTC), limit)
