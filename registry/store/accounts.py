"""API keys: the id in clear, the secret as its SHA-256."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, insert, select, update

from registry.store.engine import ReadTx, WriteTx
from registry.store.tables import api_keys
from schemas.identifier import Prefix


@dataclass(frozen=True, slots=True)
class KeyRow:
    """An API key without what could be used to log in."""

    key_id: str
    prefix: Prefix
    label: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Secret:
    """What a presented API key is compared with."""

    prefix: Prefix
    secret_hash: bytes
    expires_at: datetime | None
    revoked_at: datetime | None


async def find_secret(tx: ReadTx, key_id: str) -> Secret | None:
    """Look up a key by its id."""
    query = select(
        api_keys.c.prefix, api_keys.c.secret_hash, api_keys.c.expires_at, api_keys.c.revoked_at
    ).where(api_keys.c.id == key_id)
    row = (await tx.connection.execute(query)).one_or_none()
    if row is None:
        return None
    return Secret(Prefix.parse(row.prefix), row.secret_hash, row.expires_at, row.revoked_at)


async def insert_key(tx: WriteTx, row: KeyRow, secret_hash: bytes) -> None:
    """Store a new key."""
    await tx.connection.execute(
        insert(api_keys).values(
            id=row.key_id,
            prefix=str(row.prefix),
            secret_hash=secret_hash,
            label=row.label,
            created_at=row.created_at,
            expires_at=row.expires_at,
        )
    )


async def list_keys(tx: ReadTx, prefix: Prefix) -> Sequence[KeyRow]:
    """Return every key of a prefix, oldest first, revoked ones too."""
    query = (
        select(
            api_keys.c.id,
            api_keys.c.label,
            api_keys.c.created_at,
            api_keys.c.expires_at,
            api_keys.c.revoked_at,
        )
        .where(api_keys.c.prefix == str(prefix))
        .order_by(api_keys.c.created_at, api_keys.c.id)
    )
    rows = await tx.connection.execute(query)
    return [
        KeyRow(row.id, prefix, row.label, row.created_at, row.expires_at, row.revoked_at)
        for row in rows
    ]


async def revoke_key(tx: WriteTx, prefix: Prefix, key_id: str, at: datetime) -> bool:
    """Mark a key as revoked, the first time for good; tell whether the prefix has such a key."""
    statement = (
        update(api_keys)
        .where(api_keys.c.id == key_id, api_keys.c.prefix == str(prefix))
        .values(revoked_at=func.coalesce(api_keys.c.revoked_at, at))
        .returning(api_keys.c.id)
    )
    return (await tx.connection.execute(statement)).one_or_none() is not None
