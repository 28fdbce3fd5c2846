"""First answers, kept for whoever asks again with the same Idempotency-Key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert

from registry.store.engine import WriteTx
from registry.store.tables import idempotency


@dataclass(frozen=True, slots=True)
class Kept:
    """A request's fingerprint and its first answer, the body sealed."""

    fingerprint: bytes
    status: int
    headers: list[list[str]]
    body: bytes


async def claim(tx: WriteTx, api_key_id: str, key: str, fingerprint: bytes) -> bool:
    """Take a key for this transaction; False where it was used. Waits for who is using it now."""
    statement = (
        insert(idempotency)
        .values(api_key_id=api_key_id, key=key, fingerprint=fingerprint)
        .on_conflict_do_nothing()
        .returning(idempotency.c.key)
    )
    return (await tx.connection.execute(statement)).one_or_none() is not None


async def find(tx: WriteTx, api_key_id: str, key: str) -> Kept | None:
    """Return what a key was used for."""
    query = select(
        idempotency.c.fingerprint, idempotency.c.status, idempotency.c.headers, idempotency.c.body
    ).where(idempotency.c.api_key_id == api_key_id, idempotency.c.key == key)
    row = (await tx.connection.execute(query)).one_or_none()
    return Kept(row.fingerprint, row.status, row.headers, row.body) if row else None


async def keep(tx: WriteTx, api_key_id: str, key: str, kept: Kept) -> None:
    """Store the answer beside the claim."""
    await tx.connection.execute(
        update(idempotency)
        .where(idempotency.c.api_key_id == api_key_id, idempotency.c.key == key)
        .values(status=kept.status, headers=kept.headers, body=kept.body)
    )


async def sweep(tx: WriteTx, before: datetime, limit: int) -> int:
    """Forget at most so many old answers, oldest first; return how many."""
    old = (
        select(idempotency.c.api_key_id, idempotency.c.key)
        .where(idempotency.c.created_at < before)
        .order_by(idempotency.c.created_at)
        .limit(limit)
        .subquery()
    )
    statement = delete(idempotency).where(
        idempotency.c.api_key_id == old.c.api_key_id, idempotency.c.key == old.c.key
    )
    return (await tx.connection.execute(statement)).rowcount
