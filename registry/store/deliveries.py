"""SQL of deliveries: what the nodes of far ends are still to be told of.

The queue is short: what was delivered is deleted. Whoever delivers reads what is due on each
machine of a sharded engine for itself, as the followers of `changes` do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from registry.store.engine import ReadTx, WriteTx
from registry.store.tables import unit_of
from schemas.identifier import Identifier, Prefix


@dataclass(frozen=True, slots=True)
class Queued:
    """One statement, by the side that speaks."""

    unit: int
    link_key: str
    side: str
    far: str
    digest: str
    attempts: int

    @property
    def key(self) -> tuple[int, str, str]:
        """What one is found by."""
        return (self.unit, self.link_key, self.side)


@dataclass(frozen=True, slots=True)
class Shown:
    """One statement as its holder is shown it: `due_at` is None where it was refused for good."""

    link_key: str
    side: str
    far: str
    attempts: int
    due_at: datetime | None
    failure: str
    created_at: datetime


_QUEUE = """
INSERT INTO deliveries (unit, link_key, side, far, digest, attempts, due_at, failure)
SELECT $1::bigint, n.link_key, n.side, n.far, n.digest, 0, clock_timestamp(), ''
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS n (link_key, side, far, digest)
ORDER BY n.link_key COLLATE "C", n.side
ON CONFLICT (unit, link_key, side) DO UPDATE
SET far = EXCLUDED.far, digest = EXCLUDED.digest, attempts = 0, due_at = EXCLUDED.due_at,
    failure = ''
"""
_DUE = """
SELECT d.unit, d.link_key, d.side, d.far, d.digest, d.attempts FROM deliveries AS d
WHERE d.due_at <= $1 ORDER BY d.due_at LIMIT $2
"""
# Of a statement that was replaced meanwhile the newer version is queued in its place: it stays.
_DONE = """
DELETE FROM deliveries AS d
USING unnest($1::bigint[], $2::text[], $3::text[], $4::text[]) AS n (unit, link_key, side, digest)
WHERE d.unit = n.unit AND d.link_key = n.link_key AND d.side = n.side AND d.digest = n.digest
"""
_FAILED = """
UPDATE deliveries AS d SET attempts = d.attempts + 1, due_at = n.due_at, failure = n.failure
FROM unnest(
    $1::bigint[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[]
) AS n (unit, link_key, side, digest, due_at, failure)
WHERE d.unit = n.unit AND d.link_key = n.link_key AND d.side = n.side AND d.digest = n.digest
"""
_PAGE = """
SELECT d.link_key, d.side, d.far, d.attempts, d.due_at, d.failure, d.created_at
FROM deliveries AS d
WHERE d.unit = $1 AND (d.link_key, d.side) > ($2::text, $3::text)
ORDER BY d.link_key, d.side LIMIT $4
"""
_STATED = """
SELECT a.envelope
FROM unnest($1::bigint[], $2::text[], $3::text[]) WITH ORDINALITY AS n (unit, link_key, side, place)
LEFT JOIN LATERAL (
    SELECT a.envelope FROM assertions AS a
    WHERE a.unit = n.unit AND a.link_key = n.link_key AND a.side = n.side OFFSET 0
) AS a ON true
ORDER BY n.place
"""


async def queue(
    tx: WriteTx, prefix: Prefix, statements: Sequence[tuple[str, str, Identifier, str]]
) -> None:
    """Queue (link key, side, far end, digest of the envelope) of what a prefix states."""
    keys, sides, fars, digests = zip(*statements, strict=True)
    await (await tx.driver()).execute(
        _QUEUE, unit_of(prefix), keys, sides, [far.text for far in fars], digests
    )


async def due(tx: ReadTx, now: datetime, limit: int) -> list[Queued]:
    """Return what is due, what has waited longest first."""
    return [Queued(*row) for row in await (await tx.driver()).fetch(_DUE, now, limit)]


async def envelopes(tx: ReadTx, queued: Sequence[Queued]) -> list[str | None]:
    """Return the newest envelope of each, in order."""
    columns = [[item.unit for item in queued], [item.link_key for item in queued]]
    rows = await (await tx.driver()).fetch(_STATED, *columns, [item.side for item in queued])
    return [row[0] for row in rows]


async def done(tx: WriteTx, queued: Sequence[Queued]) -> None:
    """Take from the queue what was accepted."""
    await (await tx.driver()).execute(_DONE, *_columns(queued))


async def failed(
    tx: WriteTx, queued: Sequence[Queued], due: Sequence[datetime | None], why: Sequence[str]
) -> None:
    """Note of each when it is due again, None for never, and why it failed."""
    await (await tx.driver()).execute(_FAILED, *_columns(queued), list(due), list(why))


async def page(tx: ReadTx, prefix: Prefix, after: tuple[str, str], limit: int) -> list[Shown]:
    """Return what a prefix has in the queue, by link key and side."""
    rows = await (await tx.driver()).fetch(_PAGE, unit_of(prefix), *after, limit)
    return [Shown(*row) for row in rows]


def _columns(queued: Sequence[Queued]) -> tuple[list[int], list[str], list[str], list[str]]:
    return (
        [item.unit for item in queued],
        [item.link_key for item in queued],
        [item.side for item in queued],
        [item.digest for item in queued],
    )
