"""SQL of EPCIS: captured events by their hash, captures by their id, and the periods of links.

Everything lies under the unit of who captures. His captures take turns by an advisory lock, so
that what one of them read of his links still stands when it writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from registry.store.engine import ReadTx, WriteTx
from registry.store.tables import unit_of
from schemas.identifier import Identifier, Prefix

CAPTURES = 0x657063  # the first half of the advisory locks; the other is the unit's end


class Kept(NamedTuple):
    """A captured event: its hash in hexadecimal digits, and its JSON-LD."""

    hash: str
    event_id: str | None
    declared: int | None
    body: str


class Wanted(NamedTuple):
    """A link of which all occurrences are looked for, from an end of who captures."""

    near: Identifier
    direction: str
    far: Identifier
    type: str


class Occurrence(NamedTuple):
    """One of them: the place of its link among those wanted, its key and what tells it apart."""

    place: int
    link_key: str
    occurrence: str


_LOCK = "SELECT pg_advisory_xact_lock($1::integer, $2::integer)"
_INSERT = """
INSERT INTO epcis_events (unit, hash, event_id, declared, capture, body)
SELECT $1::bigint, n.hash, n.event_id, n.declared, $2::text, n.body
FROM unnest($3::text[], $4::text[], $5::bigint[], $6::text[]) AS n (hash, event_id, declared, body)
ORDER BY n.hash COLLATE "C"
ON CONFLICT (unit, hash) DO NOTHING
"""
_DECLARE = """
UPDATE epcis_events SET declared = n.declared
FROM unnest($2::text[], $3::bigint[]) AS n (hash, declared)
WHERE epcis_events.unit = $1::bigint AND epcis_events.hash = n.hash
    AND epcis_events.declared IS NULL
"""
_BY_HASH = """
SELECT e.hash, e.event_id, e.declared, e.body FROM epcis_events AS e
WHERE e.unit = $1::bigint AND e.hash = ANY ($2::text[])
"""
_BY_EVENT_ID = """
SELECT e.hash, e.event_id, e.declared, e.body FROM epcis_events AS e
WHERE e.unit = $1::bigint AND e.event_id = ANY ($2::text[]) ORDER BY e.hash LIMIT $3
"""
_OCCURRENCES = """
SELECT n.place, e.link_key, e.occurrence
FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[])
    AS n (place, near, direction, far, type)
CROSS JOIN LATERAL (
    SELECT e.link_key, e.occurrence FROM edges AS e
    WHERE e.unit = $1::bigint AND e.near = n.near AND e.direction = n.direction
        AND e.far = n.far AND e.type = n.type AND e.lifecycle = 'asBuilt' AND e.sides <> 0 OFFSET 0
) AS e
"""
_CHILDREN = """
SELECT DISTINCT e.far FROM edges AS e
WHERE e.unit = $1::bigint AND e.near = $2 AND e.direction = 'upstream' AND e.type = $3
    AND e.lifecycle = 'asBuilt' AND e.sides <> 0 AND ($4::bigint IS NULL OR e.far_unit = $4)
ORDER BY e.far LIMIT $5
"""
_KEEP = "INSERT INTO epcis_captures (unit, id, report) VALUES ($1::bigint, $2::text, $3::text)"
_CAPTURE = "SELECT c.report FROM epcis_captures AS c WHERE c.unit = $1::bigint AND c.id = $2"
_CAPTURES = """
SELECT c.id, c.report FROM epcis_captures AS c
WHERE c.unit = $1::bigint AND ($2::text IS NULL OR c.id < $2) ORDER BY c.id DESC LIMIT $3
"""


async def take_turn(tx: WriteTx, prefix: Prefix) -> None:
    """Wait until no other capture of this holder is under way; held until the transaction ends."""
    member = unit_of(prefix) & 0x7FFFFFFF
    await (await tx.driver()).execute(_LOCK, CAPTURES, member)


async def insert_events(
    tx: WriteTx, prefix: Prefix, capture_id: str, events: Sequence[Kept]
) -> None:
    """Keep events; of a hash that is there the first stays."""
    driver = await tx.driver()
    columns = [[row[at] for row in events] for at in range(len(Kept._fields))]
    await driver.execute(_INSERT, unit_of(prefix), capture_id, *columns)


async def declare(tx: WriteTx, prefix: Prefix, declared: Sequence[tuple[str, int]]) -> None:
    """Note of events, by hash, when they were said to be wrong; what was noted first stays."""
    driver = await tx.driver()
    columns = ([row[at] for row in declared] for at in (0, 1))
    await driver.execute(_DECLARE, unit_of(prefix), *columns)


async def events(tx: ReadTx, prefix: Prefix, hashes: Iterable[str]) -> dict[str, Kept]:
    """Read the captured events of these hashes."""
    driver = await tx.driver()
    rows = await driver.fetch(_BY_HASH, unit_of(prefix), sorted(set(hashes)))
    return {row[0]: Kept(*row) for row in rows}


async def events_called(
    tx: ReadTx, prefix: Prefix, event_ids: Iterable[str], limit: int
) -> list[Kept]:
    """Read captured events by what they call themselves."""
    driver = await tx.driver()
    rows = await driver.fetch(_BY_EVENT_ID, unit_of(prefix), sorted(set(event_ids)), limit)
    return [Kept(*row) for row in rows]


async def occurrences(tx: ReadTx, prefix: Prefix, wanted: Sequence[Wanted]) -> list[Occurrence]:
    """Read all occurrences of links that stand, from their ends under a prefix."""
    driver = await tx.driver()
    rows = await driver.fetch(
        _OCCURRENCES,
        unit_of(prefix),
        list(range(len(wanted))),
        [item.near.text for item in wanted],
        [item.direction for item in wanted],
        [item.far.text for item in wanted],
        [item.type for item in wanted],
    )
    return [Occurrence(*row) for row in rows]


async def children(
    tx: ReadTx, parent: Identifier, kind: str, *, only: Prefix | None, limit: int
) -> list[Identifier]:
    """Read what links of a type say is in a parent; `only` what lies under a prefix."""
    driver = await tx.driver()
    unit = None if only is None else unit_of(only)
    rows = await driver.fetch(_CHILDREN, unit_of(parent.prefix), parent.text, kind, unit, limit)
    return [Identifier.parse(row[0]) for row in rows]


async def keep_capture(tx: WriteTx, prefix: Prefix, capture_id: str, report: str) -> None:
    """Keep what became of a capture."""
    await (await tx.driver()).execute(_KEEP, unit_of(prefix), capture_id, report)


async def capture(tx: ReadTx, prefix: Prefix, capture_id: str) -> str | None:
    """Read what became of a capture."""
    found: str | None = await (await tx.driver()).fetchval(_CAPTURE, unit_of(prefix), capture_id)
    return found


async def captures(
    tx: ReadTx, prefix: Prefix, before: str | None, limit: int
) -> list[tuple[str, str]]:
    """Read captures (id, report), newest first, older than one."""
    rows = await (await tx.driver()).fetch(_CAPTURES, unit_of(prefix), before, limit)
    return [(row[0], row[1]) for row in rows]
