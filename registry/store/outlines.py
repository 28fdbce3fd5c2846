"""SQL of walks without proof: the edges alone, as finished JSON.

    SWEEP    all that can be reached from a root, by one recursive statement, where what the viewer
             is shown does not depend on the way: every unit met either opens all its links to him,
             by a grant without conditions, or grants him nothing, so that he is shown those which
             end in his own prefix. What he is shown is decided edge by edge, before it is followed
    SURVEY   one level of a walk, whatever the grants say

A recursion cannot look up the grants of a unit each time that it meets it, so the units that are
likely to be met are given to it; where another one is met, or one with conditions, or a suspended
prefix, or too much, the sweep says so and is of no use. Both know the moment they read at.

Duplicates are dropped by node and edge, never by path: `UNION` on what was found.
"""
# ruff: noqa: S608  the statements are put together of constants of the store, never of input

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import asyncpg

from schemas.identifier import Identifier, Prefix
from schemas.outline import Asked, Level

from .reads import MOMENT, Moment
from .tables import unit_of
from .viewing import granted, shown, viewing

OPEN, CLOSED, CONDITIONAL = 2, 0, 1  # what a unit grants a viewer


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep found: links as (near, far, text from behind the near end on).

    `units` are those that were met, `known` tells what each grants.
    `record` is the status of the root's own record. `silent`: a prefix that was met is suspended or
    unknown; `away`: another node serves one.
    """

    moment: Moment
    record: str | None
    silent: bool
    away: bool
    known: dict[int, int]
    units: Sequence[int]
    links: list[tuple[str, str, str]]


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What one level has; `blinded` are (near, far, type, lifecycle)."""

    moment: Moment
    read: int  # links, shown or not
    last: int  # place in the level, from 1 on, of the last link that was read
    near: Sequence[int]
    far: Sequence[str]
    texts: bytes
    blinded: Sequence[tuple[str, str, str, str]]
    away: dict[str, str]  # the nodes that serve prefixes that were met, where that is another


# From behind the near end on. The members that links are sorted by come first.
_TEXT = """to_json(e.far)::text || ',"type":"' || e.type || '","lifecycle":"' || e.lifecycle
        || CASE e.occurrence WHEN '' THEN '"'
            ELSE '","occurrence":' || to_json(e.occurrence::text)::text END
        || CASE e.sides WHEN 1 THEN ',"state":"proposed","asserted_by":["upstream"],"link":"'
            WHEN 2 THEN ',"state":"proposed","asserted_by":["downstream"],"link":"'
            ELSE ',"state":"mutual","asserted_by":["downstream","upstream"],"link":"' END
        || e.link_key || '"'"""


def _wanted_by(types: str, lifecycles: str) -> str:
    return f"""({types}::text[] IS NULL OR e.type = ANY ({types}))
            AND ({lifecycles}::text[] IS NULL OR e.lifecycle = ANY ({lifecycles}))"""


# Of each unit met whether what its prefix says is not heard, for it, or one above it, is suspended,
# or it is unknown; and which node serves it, where that is another.
_MET = """
met AS MATERIALIZED (
    SELECT s.unit, p.suspended > 0 OR p.own = 0 AS silent, p.home,
        array_to_string(s.labels, '.') AS prefix
    FROM (
        SELECT h.unit, string_to_array(split_part(min(h.key), '/', 1), '.') AS labels
        FROM heard AS h GROUP BY h.unit
    ) AS s CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE p.status = 'suspended') AS suspended,
            count(*) FILTER (WHERE n.n = cardinality(s.labels)) AS own,
            max(p.home) FILTER (WHERE n.n = cardinality(s.labels)) AS home
        FROM generate_series(1, cardinality(s.labels)) AS n CROSS JOIN LATERAL (
            SELECT p.status, p.home FROM prefixes AS p
            WHERE p.prefix = array_to_string(s.labels[1:n.n], '.') OFFSET 0
        ) AS p
    ) AS p
)"""
_SELECT_AWAY = """(SELECT array_agg(h.prefix) FROM met AS h WHERE h.home IS NOT NULL) AS away,
    (SELECT array_agg(h.home) FROM met AS h WHERE h.home IS NOT NULL) AS homes"""

SWEEP = f"""
WITH RECURSIVE{MOMENT}, opened AS MATERIALIZED (
    SELECT u.unit, c.class FROM unnest($8::bigint[]) AS u (unit) CROSS JOIN LATERAL (
        SELECT CASE
            WHEN bool_or(
                g.show = 'full' AND g.root = '' AND g.types = '{{}}' AND g.lifecycles = '{{}}'
                AND g.depth > $5
            ) THEN {OPEN}
            WHEN count(*) = 0 THEN {CLOSED} ELSE {CONDITIONAL} END AS class
        FROM grants AS g
        WHERE g.unit = u.unit AND g.grantee = ANY ($10::text[]) AND g.state = 'granted'
            AND g.direction IN ('', $3) AND g.purpose IN ('', $11::text)
            AND (g.valid_from IS NULL OR g.valid_from <= extract(epoch FROM now()))
            AND (g.valid_until IS NULL OR g.valid_until > extract(epoch FROM now()))
    ) AS c
), walk AS (
    SELECT NULL::text COLLATE "C" AS near, $2::text COLLATE "C" AS far, $1::bigint AS far_unit,
        NULL::text COLLATE "C" AS body
    UNION
    SELECT w.far, e.far, e.far_unit, ({_TEXT}) COLLATE "C"
    FROM walk AS w JOIN opened AS o ON o.unit = w.far_unit AND o.class <> {CONDITIONAL}
    CROSS JOIN LATERAL (
        SELECT e.far, e.far_unit, e.type, e.lifecycle, e.occurrence, e.link_key, e.sides
        FROM edges AS e
        WHERE e.unit = w.far_unit AND e.near = w.far AND e.direction = $3 AND e.sides <> 0
            AND (o.class = {OPEN} OR $9::bigint IN (e.unit, e.far_unit))
            AND {_wanted_by("$6", "$7")}
        OFFSET 0
    ) AS e
), kept AS MATERIALIZED (
    SELECT k.near, k.far, k.far_unit, k.body FROM walk AS k LIMIT $4
), heard AS (
    SELECT k.far_unit AS unit, k.far AS key FROM kept AS k
),{_MET}
SELECT m.system, m.timeline, m.incarnation, m.xmin, m.standby, m.recovered,
    (SELECT i.status FROM identifiers AS i WHERE i.unit = $1 AND i.identifier = $2) AS record,
    EXISTS (SELECT FROM met AS h WHERE h.silent) AS silent,
    EXISTS (SELECT FROM met AS h WHERE h.home IS NOT NULL) AS away,
    (SELECT array_agg(o.unit) FROM opened AS o) AS unit,
    (SELECT array_agg(o.class) FROM opened AS o) AS class,
    (SELECT array_agg(h.unit) FROM met AS h) AS met,
    -- One text is read faster than arrays of three. Of the root itself there is no near end.
    (SELECT string_agg(k.near || E'\\n' || k.far || E'\\n' || k.body, E'\\n') FROM kept AS k)
        AS links
FROM moment AS m
"""

# What is silenced is masked out of `sides`: bit 1 is the upstream end, which is the far one of a
# walk upstream.
_HEARD_SIDES = """CASE WHEN (f.unit IS NULL) AND (n.unit IS NULL) THEN e.sides
            ELSE e.sides
                & ~(CASE WHEN f.unit IS NULL THEN 0 WHEN $3 = 'upstream' THEN 1 ELSE 2 END)
                & ~(CASE WHEN n.unit IS NULL THEN 0 WHEN $3 = 'upstream' THEN 2 ELSE 1 END)
            END::smallint"""
_AHEAD = """'{"' || CASE $3 WHEN 'upstream' THEN 'downstream' ELSE 'upstream' END || '":'
        || to_json(e.key)::text || ',"' || $3 || '":' || """

SURVEY = f"""
WITH{MOMENT}, asked AS MATERIALIZED (
    SELECT u.unit, u.key, u.entry, u.steps, u.place
    FROM unnest($1::bigint[], $2::text[], $4::text[], $6::bigint[]) WITH ORDINALITY
        AS u (unit, key, entry, steps, place)
),{granted("a.entry", "a.steps", "$10", "$11")},
edge AS MATERIALIZED (
    SELECT v.unit, v.key, v.place, e.far, e.far_unit, e.type, e.lifecycle, e.occurrence,
        e.link_key, e.sides, e.shown
    FROM (
        SELECT a.unit, a.key, a.place, w.direction, w.opens, w.narrow
        FROM asked AS a JOIN viewed AS w ON w.key = a.key AND w.direction = $3
        ORDER BY a.place
    ) AS v CROSS JOIN LATERAL (
        SELECT e.far, e.far_unit, e.type, e.lifecycle, e.occurrence, e.link_key, e.sides, s.shown
        FROM edges AS e CROSS JOIN LATERAL (SELECT {shown("$9")} AS shown) AS s
        WHERE e.unit = v.unit AND e.near = v.key AND e.direction = $3 AND e.sides <> 0
            AND s.shown IS NOT NULL AND {_wanted_by("$7", "$8")}
        ORDER BY e.far, e.type, e.lifecycle, e.occurrence LIMIT $5
    ) AS e
    ORDER BY v.place, e.far, e.type, e.lifecycle, e.occurrence LIMIT $5
), heard AS (
    SELECT e.far_unit AS unit, e.far AS key FROM edge AS e
    UNION ALL SELECT a.unit, a.key FROM asked AS a
),{_MET}, whole AS (
    SELECT e.place, e.far, {_AHEAD}{_TEXT} || '}}' AS body
    FROM (
        SELECT e.place, e.key, e.far, e.type, e.lifecycle, e.occurrence, e.link_key,
            {_HEARD_SIDES} AS sides
        FROM edge AS e LEFT JOIN met AS f ON f.unit = e.far_unit AND f.silent
            LEFT JOIN met AS n ON n.unit = e.unit AND n.silent
        WHERE e.shown = 2
        ORDER BY e.place, e.far, e.type, e.lifecycle, e.occurrence
    ) AS e WHERE e.sides <> 0
)
SELECT m.system, m.timeline, m.incarnation, m.xmin, m.standby, m.recovered,
    (SELECT count(*) FROM edge) AS read, (SELECT max(e.place) FROM edge AS e) AS last,
    w.near, w.far, w.texts, b.near, b.far, b.type, b.lifecycle,
    {_SELECT_AWAY}
FROM moment AS m CROSS JOIN (
    SELECT array_agg(w.place) AS near, array_agg(w.far) AS far,
        convert_to(string_agg(w.body, E'\\n'), 'UTF8') AS texts
    FROM whole AS w
) AS w CROSS JOIN (
    SELECT array_agg(e.key) AS near, array_agg(e.far) AS far, array_agg(e.type) AS type,
        array_agg(e.lifecycle) AS lifecycle
    FROM edge AS e WHERE e.shown = 1
) AS b
"""


async def sweep(
    driver: asyncpg.Connection[Any],
    root: Identifier,
    asked: Asked,
    depth: int,
    *,
    limit: int,
    units: Collection[int],
) -> Swept:
    """Read up to `limit` links that can be reached from a root by way of these units.

    A grant is without conditions where it opens more than `depth` links.
    """
    row = await driver.fetchrow(
        SWEEP,
        unit_of(root.prefix),
        root.text,
        asked.direction,
        limit + 1,  # and the root
        depth,
        *_wanted(asked),
        list(units),
        *viewing(asked.viewer),
    )
    assert row is not None, "a statement without a source of rows has one"
    return Swept(
        Moment(*row[:6]),
        record=row[6],
        silent=row[7],
        away=row[8],
        known=dict(zip(row[9] or (), row[10] or (), strict=True)),
        units=row[11] or (),
        links=_threes(row[12]),
    )


async def survey(
    driver: asyncpg.Connection[Any], level: Level, asked: Asked, limit: int
) -> Surveyed:
    """Read up to `limit` links of a level."""
    row = await driver.fetchrow(
        SURVEY,
        [_unit_named(key.partition("/")[0]) for key in level.keys],
        level.keys,
        asked.direction,
        level.entries,
        limit,
        level.steps,
        *_wanted(asked),
        *viewing(asked.viewer),
    )
    assert row is not None, "a statement without a source of rows has one"
    return Surveyed(
        Moment(*row[:6]),
        read=row[6],
        last=row[7] or 0,
        near=row[8] or (),
        far=row[9] or (),
        texts=row[10] or b"",
        blinded=tuple(zip(*(row[at] or () for at in range(11, 15)), strict=True)),
        away=dict(zip(row[15] or (), row[16] or (), strict=True)),
    )


def _threes(text: str | None) -> list[tuple[str, str, str]]:
    # No identifier has a line break, and no JSON one that is not escaped.
    lines = text.split("\n") if text else []
    return list(zip(lines[::3], lines[1::3], lines[2::3], strict=True))


def _wanted(asked: Asked) -> tuple[list[str] | None, list[str] | None]:
    return sorted(asked.types) or None, sorted(asked.lifecycles) or None


@lru_cache(maxsize=4096)
def _unit_named(prefix: str) -> int:
    return unit_of(Prefix.parse(prefix))
