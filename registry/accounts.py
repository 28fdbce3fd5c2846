"""API keys: who calls, and for which prefix.

    tierlink_live_<8 id>_<32 secret>         both base62; shown once, kept as id and SHA-256

The secret has 190 bits of randomness: one SHA-256 is enough, and a slow hash would be a way to
make the registry busy. Comparison takes the same time whether id or secret is wrong.
"""

from __future__ import annotations

import hmac
import re
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from registry.offers import not_held
from registry.store import accounts as store
from registry.store.accounts import KeyRow, Secret
from registry.store.engine import ReadTx, WriteTx
from schemas.errors import BadInput, Forbidden, NotFound, Unauthenticated
from schemas.identifier import Prefix
from schemas.keys import sha256

__all__ = [
    "Caller",
    "KeyRow",
    "NewKey",
    "Secret",
    "authenticate",
    "check",
    "create_key",
    "find",
    "list_keys",
    "presented",
    "revoke_key",
]

_BASE62 = string.digits + string.ascii_letters
_KEY = re.compile(r"tierlink_live_([0-9A-Za-z]{8})_([0-9A-Za-z]{32})")
_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([^ ]+)")
_NOBODY = bytes(32)  # compared with where the id is unknown


@dataclass(frozen=True, slots=True)
class Caller:
    """Who an API key speaks for."""

    key_id: str
    prefix: Prefix

    def must_hold(self, prefix: Prefix) -> None:
        """Raise Forbidden unless the caller holds exactly this prefix."""
        if self.prefix != prefix:
            raise not_held(self.prefix, prefix)

    def must_govern(self, prefix: Prefix) -> None:
        """Raise Forbidden unless the caller's prefix lies strictly above this one."""
        if self.prefix == prefix or not self.prefix.covers(prefix):
            raise Forbidden(
                f"the API key is for {self.prefix}, which is not above {prefix}",
                value=str(prefix),
                fix="use an API key of a prefix above",
            )

    def must_reach(self, prefix: Prefix) -> None:
        """Raise Forbidden unless the caller holds this prefix or one above it."""
        if not self.prefix.covers(prefix):
            raise Forbidden(
                f"the API key is for {self.prefix}, which is neither {prefix} nor above it",
                value=str(prefix),
            )


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made: the only moment at which its text is known."""

    row: KeyRow
    text: str


async def authenticate(tx: ReadTx, authorization: str | None, now: int) -> Caller:
    """Return who the value of an Authorization header speaks for; raise Unauthenticated."""
    key_id, secret = presented(authorization)
    return check(key_id, secret, await find(tx, key_id), now)


async def find(tx: ReadTx, key_id: str) -> Secret | None:
    """Read what a presented key is compared with."""
    return await store.find_secret(tx, key_id)


def check(key_id: str, secret: str, found: Secret | None, now: int) -> Caller:
    """Compare a presented key with what was found of it; raise Unauthenticated."""
    expected = found.secret_hash if found else _NOBODY
    if not hmac.compare_digest(sha256(secret.encode()), expected) or found is None:
        raise Unauthenticated("the API key is not known here", value=f"tierlink_live_{key_id}_…")
    if found.revoked_at is not None:
        raise Unauthenticated("the API key was revoked", value=key_id, fix="use another one")
    if found.expires_at is not None and found.expires_at.timestamp() <= now:
        raise Unauthenticated("the API key has expired", value=key_id, fix="ask for a new one")
    return Caller(key_id, found.prefix)


def presented(authorization: str | None) -> tuple[str, str]:
    """Read id and secret from the value of an Authorization header; raise Unauthenticated."""
    if authorization is None:
        raise Unauthenticated(
            "this needs an API key", fix="send the header Authorization: Bearer <API key>"
        )
    bearer = _BEARER.fullmatch(authorization.strip())
    key = _KEY.fullmatch(bearer[1]) if bearer else None
    if key is None:  # never repeated in the answer: it may be a mistyped secret
        raise Unauthenticated(
            "the Authorization header holds no API key of ours",
            fix="send Authorization: Bearer tierlink_live_<id>_<secret>",
        )
    return key[1], key[2]


async def create_key(
    tx: WriteTx, prefix: Prefix, now: int, *, label: str = "", expires_at: int | None = None
) -> NewKey:
    """Make an API key for a prefix."""
    if expires_at is not None and expires_at <= now:
        raise BadInput("expires_at is in the past", value=expires_at, fix="name a later moment")
    key_id, secret = _random(8), _random(32)
    expires = None if expires_at is None else _moment(expires_at)
    row = KeyRow(key_id, prefix, label, _moment(now), expires, None)
    await store.insert_key(tx, row, sha256(secret.encode()))
    return NewKey(row, f"tierlink_live_{key_id}_{secret}")


async def list_keys(tx: ReadTx, prefix: Prefix) -> Sequence[KeyRow]:
    """Return the API keys of a prefix, oldest first, revoked ones too."""
    return await store.list_keys(tx, prefix)


async def revoke_key(tx: WriteTx, prefix: Prefix, key_id: str, now: int) -> None:
    """End a key for good; raise NotFound where the prefix has no such key."""
    if not await store.revoke_key(tx, prefix, key_id, _moment(now)):
        raise NotFound(f"{prefix} has no API key {key_id}", value=key_id)


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _random(length: int) -> str:
    return "".join(secrets.choice(_BASE62) for _ in range(length))
