"""SQL of proofs: all that changes from moment to moment, in one statement and so in one snapshot.

Which checkpoint, what stands of an identifier, of what it inherits from and of the prefixes above
it. Everything else that a proof is made of (buckets, tiles, older versions) never changes once it
is written, and may be read in any snapshot after this one.
"""
# ruff: noqa: S608  the statements are put together of constants of this page, never of input

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import asyncpg

from schemas.identifier import Identifier, Prefix
from schemas.record import MAX_ANCESTORS
from schemas.rule import MAX_HEAD

from .log import CheckpointRow, EpochRow
from .reads import MAX_RULES, RuleRow
from .tables import unit_of


class RecordRow(NamedTuple):
    """A version of a record; `idx` is where its leaf is, None where the log has not taken it in."""

    identifier: str
    version: int
    digest: str
    envelope: str
    idx: int | None


class PrefixRow(NamedTuple):
    """A prefix, its salt, its newest delegation and those that this one rests on, in order."""

    prefix: str
    delegation: str
    run: tuple[str, ...]
    salt: bytes


@dataclass(slots=True)
class Read:
    """What one statement read; `kept` tells whether this node keeps a log at all.

    `rules` are those whose head begins the suffix, present ones, and `records` the versions that
    stand: of the identifier itself, of the classes of these rules, and of the ancestors of both.
    """

    kept: bool = False
    checkpoint: CheckpointRow | None = None
    epoch: EpochRow | None = None
    records: dict[str, RecordRow] = field(default_factory=dict)
    rules: list[RuleRow] = field(default_factory=list)
    prefixes: dict[str, PrefixRow] = field(default_factory=dict)


# $5 is the time asked about, null for now: of another time the rules are looked at also where
# there is a record today.
READ = f"""
WITH RECURSIVE checkpoint AS MATERIALIZED (
    (
        SELECT c.size, c.root, c.epoch, c.time, c.note FROM log_checkpoint AS c
        WHERE $5::bigint IS NULL ORDER BY c.size DESC LIMIT 1
    )
    UNION ALL
    (
        SELECT c.size, c.root, c.epoch, c.time, c.note FROM log_checkpoint AS c
        WHERE c.time <= $5::bigint ORDER BY c.time DESC, c.size DESC LIMIT 1
    )
), own AS MATERIALIZED (
    SELECT i.identifier, i.version, i.digest, i.parent, i.envelope FROM identifiers AS i
    WHERE i.unit = $1 AND i.identifier = $2
), head AS MATERIALIZED (
    SELECT left($3::text, n) AS head FROM generate_series(0, {MAX_HEAD}) AS n
    WHERE n <= length($3::text) AND ($5::bigint IS NOT NULL OR NOT EXISTS (SELECT FROM own))
), covering AS MATERIALIZED (
    SELECT r.identifier, r.head, r.pattern
    FROM head AS h CROSS JOIN LATERAL (
        SELECT r.identifier, r.head, r.pattern FROM rules AS r
        WHERE r.unit = $1 AND r.head = h.head
        ORDER BY r.identifier LIMIT {MAX_RULES}
    ) AS r
), line AS (
    SELECT s.identifier, s.version, s.digest, s.parent, s.envelope, 0 AS depth
    FROM (
        SELECT o.identifier, o.version, o.digest, o.parent, o.envelope FROM own AS o
        UNION
        SELECT i.identifier, i.version, i.digest, i.parent, i.envelope
        FROM covering AS c CROSS JOIN LATERAL (
            SELECT i.identifier, i.version, i.digest, i.parent, i.envelope FROM identifiers AS i
            WHERE i.unit = $1 AND i.identifier = c.identifier OFFSET 0
        ) AS i
    ) AS s
    UNION
    SELECT i.identifier, i.version, i.digest, i.parent, i.envelope, l.depth + 1
    FROM line AS l CROSS JOIN LATERAL (
        SELECT i.identifier, i.version, i.digest, i.parent, i.envelope FROM identifiers AS i
        WHERE i.unit = $1 AND i.identifier = l.parent OFFSET 0
    ) AS i
    WHERE l.depth < {MAX_ANCESTORS}
)
SELECT 'log' AS what, NULL AS key, NULL AS a, NULL::text[] AS many, NULL::bigint AS n,
    NULL::bigint AS idx, NULL::bigint AS more,
    NULL::bytea AS raw, NULL::bytea AS rawer, NULL AS body
FROM log_state WHERE id = 1
UNION ALL
SELECT 'checkpoint', NULL, NULL, NULL, c.size, c.epoch, c.time, c.root, NULL, c.note
FROM checkpoint AS c
UNION ALL
SELECT 'epoch', NULL, NULL, NULL, e.epoch, e.idx, e.size, e.identifiers, e.prefixes, NULL
FROM checkpoint AS c CROSS JOIN LATERAL (
    SELECT e.epoch, e.idx, e.size, e.identifiers, e.prefixes FROM log_epoch AS e
    WHERE e.epoch = c.epoch OFFSET 0
) AS e
UNION ALL
SELECT 'record', l.identifier, l.digest, NULL, l.version, x.idx, NULL, NULL, NULL, l.envelope
FROM line AS l LEFT JOIN LATERAL (
    SELECT x.idx FROM log_index AS x WHERE x.digest = l.digest OFFSET 0
) AS x ON true
UNION ALL
SELECT 'rule', c.identifier, c.head, NULL, NULL, NULL, NULL, NULL, NULL, c.pattern
FROM covering AS c
UNION ALL
SELECT 'prefix', p.prefix, NULL, p.run, NULL, NULL, NULL, p.salt, NULL, p.delegation
FROM unnest($4::text[]) AS w (prefix) CROSS JOIN LATERAL (
    SELECT p.prefix, p.run, p.salt, p.delegation FROM prefixes AS p
    WHERE p.prefix = w.prefix OFFSET 0
) AS p
"""
VERSION = """
SELECT v.identifier, v.version, v.digest, v.envelope, x.idx
FROM (
    SELECT i.identifier, i.version, i.digest, i.envelope FROM identifiers AS i
    WHERE i.unit = $1 AND i.identifier = $2 AND i.version = $3
    UNION ALL
    SELECT h.identifier, h.version, h.digest, h.envelope FROM identifier_history AS h
    WHERE h.unit = $1 AND h.identifier = $2 AND h.version = $3
) AS v LEFT JOIN LATERAL (
    SELECT x.idx FROM log_index AS x WHERE x.digest = v.digest OFFSET 0
) AS x ON true
"""
DELEGATIONS = """
SELECT d.delegation FROM (
    SELECT h.sequence, h.delegation FROM delegation_history AS h WHERE h.prefix = $1
    UNION ALL
    SELECT p.sequence, p.delegation FROM prefixes AS p WHERE p.prefix = $1
) AS d ORDER BY d.sequence
"""


async def read(driver: asyncpg.Connection[Any], identifier: Identifier, at: int | None) -> Read:
    """Read what a proof of an identifier begins with, as of a time or of now. One statement."""
    prefix = identifier.prefix
    names = [str(item) for item in (prefix, *prefix.ancestors())]
    rows = await driver.fetch(READ, unit_of(prefix), identifier.text, identifier.suffix, names, at)
    return _sorted(rows)


async def find_version(
    driver: asyncpg.Connection[Any], identifier: Identifier, version: int
) -> list[RecordRow]:
    """Read one version of a record, standing or replaced; a list of one or none. One statement."""
    unit = unit_of(identifier.prefix)
    rows = await driver.fetch(VERSION, unit, identifier.text, version)
    return [RecordRow(*row) for row in rows]


async def find_delegations(driver: asyncpg.Connection[Any], prefix: Prefix) -> list[str]:
    """Read every delegation that a prefix ever had, the newest last. One statement."""
    return [row[0] for row in await driver.fetch(DELEGATIONS, str(prefix))]


def _sorted(rows: Sequence[asyncpg.Record]) -> Read:
    found = Read()
    for what, key, a, many, n, idx, more, raw, rawer, body in rows:
        match what:
            case "log":
                found.kept = True
            case "checkpoint":
                found.checkpoint = CheckpointRow(n, raw, idx, more, body)
            case "epoch":
                found.epoch = EpochRow(n, idx, more, raw, rawer)
            case "record":
                found.records[key] = RecordRow(key, n, a, body, idx)
            case "rule":
                found.rules.append(RuleRow(key, a, body))
            case "prefix":
                found.prefixes[key] = PrefixRow(key, body, tuple(many), raw)
    return found
