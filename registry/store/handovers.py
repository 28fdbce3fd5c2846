"""SQL of handovers: which grants the nodes of their grantees are still to be told of.

A queue as that of `deliveries`: what was handed over is deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from registry.store.engine import ReadTx, WriteTx
from registry.store.tables import unit_of
from schemas.identifier import Prefix


@dataclass(frozen=True, slots=True)
class Queued:
    """One grant on its way."""

    unit: int
    id: str
    grantee: str
    digest: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """One grant as its grantor is shown it: `due_at` is None where it was refused for good."""

    id: str
    attempts: int
    due_at: datetime | None
    failure: str


_QUEUE = """
INSERT INTO handovers (unit, id, grantee, digest, attempts, due_at, failure)
VALUES ($1, $2, $3, $4, 0, clock_timestamp(), '')
ON CONFLICT (unit, id) DO UPDATE
SET grantee = EXCLUDED.grantee, digest = EXCLUDED.digest, attempts = 0, due_at = EXCLUDED.due_at,
    failure = ''
"""
_DROP = "DELETE FROM handovers AS h WHERE h.unit = $1 AND h.id = $2"
_DUE = """
SELECT h.unit, h.id, h.grantee, h.digest, h.attempts FROM handovers AS h
WHERE h.due_at <= $1 ORDER BY h.due_at LIMIT $2
"""
_GRANTED = """
SELECT g.envelope
FROM unnest($1::bigint[], $2::text[], $3::text[]) WITH ORDINALITY AS n (unit, id, digest, place)
LEFT JOIN LATERAL (
    SELECT g.envelope FROM grants AS g
    WHERE g.unit = n.unit AND g.id = n.id AND g.digest = n.digest OFFSET 0
) AS g ON true
ORDER BY n.place
"""
# Of a grant that was changed meanwhile the newer version is queued in its place: it stays.
_DONE = """
DELETE FROM handovers AS h
USING unnest($1::bigint[], $2::text[], $3::text[]) AS n (unit, id, digest)
WHERE h.unit = n.unit AND h.id = n.id AND h.digest = n.digest
"""
_FAILED = """
UPDATE handovers AS h SET attempts = h.attempts + 1, due_at = n.due_at, failure = n.failure
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::timestamptz[], $5::text[])
    AS n (unit, id, digest, due_at, failure)
WHERE h.unit = n.unit AND h.id = n.id AND h.digest = n.digest
"""
_WAITING = """
SELECT h.id, h.attempts, h.due_at, h.failure FROM handovers AS h
WHERE h.unit = $1 AND h.id = ANY ($2::text[])
"""


async def queue(tx: WriteTx, grantor: Prefix, name: str, grantee: Prefix, digest: str) -> None:
    """Queue a version of a grant, in the place of one that is still on its way."""
    await (await tx.driver()).execute(_QUEUE, unit_of(grantor), name, str(grantee), digest)


async def drop(tx: WriteTx, grantor: Prefix, name: str) -> None:
    """Take a grant from the queue: its newest version is to nobody elsewhere."""
    await (await tx.driver()).execute(_DROP, unit_of(grantor), name)


async def due(tx: ReadTx, now: datetime, limit: int) -> list[Queued]:
    """Return what is due, what has waited longest first."""
    return [Queued(*row) for row in await (await tx.driver()).fetch(_DUE, now, limit)]


async def envelopes(tx: ReadTx, queued: Sequence[Queued]) -> list[str | None]:
    """Return the envelope of each, in order, None where a newer version stands."""
    rows = await (await tx.driver()).fetch(_GRANTED, *_columns(queued))
    return [row[0] for row in rows]


async def done(tx: WriteTx, queued: Sequence[Queued]) -> None:
    """Take from the queue what was accepted."""
    await (await tx.driver()).execute(_DONE, *_columns(queued))


async def failed(
    tx: WriteTx, queued: Sequence[Queued], due: Sequence[datetime | None], why: Sequence[str]
) -> None:
    """Note of each when it is due again, None for never, and why it failed."""
    await (await tx.driver()).execute(_FAILED, *_columns(queued), list(due), list(why))


async def waiting(tx: ReadTx, grantor: Prefix, names: Sequence[str]) -> dict[str, Waiting]:
    """Return which of some grants are still on their way, by id."""
    rows = await (await tx.driver()).fetch(_WAITING, unit_of(grantor), list(names))
    return {row["id"]: Waiting(*row) for row in rows}


def _columns(queued: Sequence[Queued]) -> tuple[list[int], list[str], list[str]]:
    return (
        [item.unit for item in queued],
        [item.id for item in queued],
        [item.digest for item in queued],
    )
