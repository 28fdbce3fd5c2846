"""Hosted keys, always sealed, and the challenges that a client's own key has to answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert, select, update

from registry.store.engine import ReadTx, WriteTx
from registry.store.tables import challenges, hosted_keys
from schemas.identifier import ROOT_TEXT, Prefix
from schemas.keys import KeyId

LOG_USE = "log"


@dataclass(frozen=True, slots=True)
class SealedKey:
    """A private key as it is stored."""

    kid: str
    sealed: bytes


async def insert_hosted(
    tx: WriteTx, prefix: Prefix, kid: str, uses: Sequence[str], sealed: bytes
) -> None:
    """Store a sealed key."""
    await tx.connection.execute(
        insert(hosted_keys).values(kid=kid, prefix=str(prefix), uses=list(uses), sealed=sealed)
    )


async def find_hosted(tx: ReadTx, prefix: Prefix, use: str) -> SealedKey | None:
    """Return the newest hosted key of a prefix that has a use."""
    query = (
        select(hosted_keys.c.kid, hosted_keys.c.sealed)
        .where(hosted_keys.c.prefix == str(prefix), hosted_keys.c.uses.contains([use]))
        .order_by(hosted_keys.c.created_at.desc(), hosted_keys.c.kid)
        .limit(1)
    )
    row = (await tx.connection.execute(query)).one_or_none()
    return SealedKey(row.kid, row.sealed) if row else None


async def find_kids(tx: ReadTx, prefix: Prefix, kids: Collection[str]) -> Sequence[SealedKey]:
    """Return those of some keys of a prefix that are hosted, by kid."""
    query = (
        select(hosted_keys.c.kid, hosted_keys.c.sealed)
        .where(hosted_keys.c.prefix == str(prefix), hosted_keys.c.kid.in_(list(kids)))
        .order_by(hosted_keys.c.kid)
    )
    return [SealedKey(row.kid, row.sealed) for row in await tx.connection.execute(query)]


async def find_holder(tx: ReadTx, use: str) -> Prefix | None:
    """Return the first prefix, in byte order, that has a hosted key with a use; not the root."""
    query = (
        select(hosted_keys.c.prefix)
        .where(hosted_keys.c.uses.contains([use]), hosted_keys.c.prefix != ROOT_TEXT)
        .order_by(hosted_keys.c.prefix)
        .limit(1)
    )
    found: str | None = (await tx.connection.execute(query)).scalar_one_or_none()
    return None if found is None else Prefix.parse(found)


async def find_any(tx: ReadTx) -> tuple[Prefix, SealedKey] | None:
    """Return some hosted key with its holder, None where no key is hosted at all."""
    query = select(hosted_keys.c.prefix, hosted_keys.c.kid, hosted_keys.c.sealed).limit(1)
    row = (await tx.connection.execute(query)).one_or_none()
    return (Prefix.parse(row.prefix), SealedKey(row.kid, row.sealed)) if row else None


async def hosted_kids(tx: ReadTx, prefix: Prefix) -> frozenset[str]:
    """Return the key ids that are hosted for a prefix."""
    query = select(hosted_keys.c.kid).where(hosted_keys.c.prefix == str(prefix))
    return frozenset((await tx.connection.execute(query)).scalars())


async def retain_hosted(tx: WriteTx, prefix: Prefix, uses: Mapping[KeyId, Sequence[str]]) -> None:
    """Destroy the hosted keys of a prefix that are not named; set the uses of those that are.

    The log's own key hangs on no delegation and is let be.
    """
    await tx.connection.execute(
        delete(hosted_keys).where(
            hosted_keys.c.prefix == str(prefix),
            hosted_keys.c.kid.not_in(list(uses)),
            ~hosted_keys.c.uses.contains([LOG_USE]),
        )
    )
    for kid, names in uses.items():
        await tx.connection.execute(
            update(hosted_keys)
            .where(hosted_keys.c.prefix == str(prefix), hosted_keys.c.kid == kid)
            .values(uses=list(names))
        )


async def delete_hosted(tx: WriteTx, prefix: Prefix, use: str) -> None:
    """Destroy the hosted keys of a prefix that have a use."""
    await tx.connection.execute(
        delete(hosted_keys).where(
            hosted_keys.c.prefix == str(prefix), hosted_keys.c.uses.contains([use])
        )
    )


async def insert_challenge(
    tx: WriteTx, prefix: Prefix, kid: str, nonce: str, created_at: datetime
) -> None:
    """Remember a nonce that a key is to sign."""
    await tx.connection.execute(
        insert(challenges).values(nonce=nonce, prefix=str(prefix), kid=kid, created_at=created_at)
    )


async def take_challenges(
    tx: WriteTx, prefix: Prefix, kids: Sequence[str], since: datetime
) -> frozenset[str]:
    """Remove the challenges of some keys of a prefix; return the nonces not yet too old."""
    statement = (
        delete(challenges)
        .where(challenges.c.prefix == str(prefix), challenges.c.kid.in_(kids))
        .returning(challenges.c.nonce, challenges.c.created_at)
    )
    rows = await tx.connection.execute(statement)
    return frozenset(row.nonce for row in rows if row.created_at >= since)


async def sweep_challenges(tx: WriteTx, before: datetime, limit: int) -> int:
    """Delete at most so many challenges that nobody can answer any more; return how many."""
    old = (
        select(challenges.c.nonce)
        .where(challenges.c.created_at < before)
        .order_by(challenges.c.created_at)
        .limit(limit)
        .subquery()
    )
    statement = delete(challenges).where(challenges.c.nonce == old.c.nonce)
    return (await tx.connection.execute(statement)).rowcount
