"""SQL of the seam: what an authority knows of identifiers, links and changes.

One statement per call, so one round trip and one snapshot: the watermark, the records and all
that belongs to them are of the same moment. Batches are joined in the LATERAL form, whose
`OFFSET 0` keeps an index scan per key also where a table is partitioned, and every look-up in a
large table names its unit. The statements go through asyncpg itself, which prepares them once
per connection.
"""
# ruff: noqa: S608  the statements are put together of constants of this page, never of input

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from schemas.identifier import Identifier
from schemas.record import MAX_ANCESTORS
from schemas.rule import MAX_HEAD
from schemas.viewer import Near, Viewer

from .tables import unit_of
from .viewing import TURNING, granted, shown, viewing

MAX_RULES = 64  # rules with one and the same head that are looked at, by identifier


@dataclass(frozen=True, slots=True)
class Moment:
    """Where and when a statement read: which history of which server, and its snapshot's xmin."""

    system: str
    timeline: str | None  # None on a standby that receives nothing at present
    incarnation: str | None  # None in a database that nobody founded
    xmin: int
    standby: bool = False
    recovered: str = ""  # when this server last recovered from a crash


@dataclass(frozen=True, slots=True)
class RecordRow:
    """The version of a record that stands."""

    identifier: str
    status: str
    parent: str | None
    envelope: str


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A suffix rule whose head fits one of the identifiers asked for."""

    identifier: str
    head: str
    pattern: str


@dataclass(frozen=True, slots=True)
class LinkRow:
    """One side's newest statement of a link that stands, as seen from the end asked for."""

    near: str
    direction: str  # where the far end lies
    far: str
    type: str
    lifecycle: str
    occurrence: str
    side: str
    rank: int  # of the link among those of its near end (`fetch`) or of the level (`edges`)
    envelope: str


@dataclass(frozen=True, slots=True)
class BlindedRow:
    """A link of which a viewer may know that it is there, and not where to."""

    near: str
    direction: str
    far: str
    type: str
    lifecycle: str
    rank: int


@dataclass(frozen=True, slots=True)
class PrefixRow:
    """A prefix that is known here; `run` are the delegations its newest one rests on, in order.

    `home` is the node that serves it, None for this one.
    """

    prefix: str
    status: str
    delegation: str
    run: tuple[str, ...] = ()
    home: str | None = None

    @property
    def tokens(self) -> tuple[str, ...]:
        """The parent's last delegation and the holder's own ones since: all that a chain needs."""
        return (*self.run, self.delegation)


@dataclass(slots=True)
class Read:
    """Everything that one statement read.

    `turns` are the seconds until a grant of a unit next begins or ends, where one does.
    """

    moment: Moment
    records: dict[str, RecordRow] = field(default_factory=dict)
    rules: list[RuleRow] = field(default_factory=list)
    links: list[LinkRow] = field(default_factory=list)
    blinded: list[BlindedRow] = field(default_factory=list)
    prefixes: dict[str, PrefixRow] = field(default_factory=dict)
    notices: dict[str, dict[str, str]] = field(default_factory=dict)  # envelopes by id, of each
    turns: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One row of the outbox."""

    xid: int
    op: int
    about: str
    version: int
    also: str


@dataclass(frozen=True, slots=True)
class CanaryRow:
    """By which transaction the canary was written, and how many seconds ago."""

    xid: int
    age: float


@dataclass(frozen=True, slots=True)
class Told:
    """What one reading of the outbox told; every change from position `since` on is kept."""

    moment: Moment
    canary: CanaryRow | None
    since: int
    rows: list[ChangeRow]


# A crash takes back what ids were given to transactions that had flushed nothing, and gives them
# out again, to writes that a position beyond them would pass over. Such a recovery throws away the
# server's statistics, so the time of their last reset names what a history began with.
RECOVERED = "coalesce((SELECT w.stats_reset::text FROM pg_stat_get_wal() AS w), '')"

# The timeline is asked for every time: a connection outlives the promotion of its server. Other
# functions that know it lag behind a promotion (docs/operations.md).
MOMENT = f"""
moment AS MATERIALIZED (
    SELECT
        (SELECT s.system_identifier::text FROM pg_control_system() AS s) AS system,
        CASE WHEN pg_is_in_recovery()
            THEN (SELECT lpad(upper(to_hex(w.received_tli)), 8, '0') FROM pg_stat_wal_receiver AS w)
            ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8)
        END AS timeline,
        (SELECT n.incarnation FROM node AS n WHERE n.id = 1) AS incarnation,
        pg_snapshot_xmin(pg_current_snapshot()) AS xmin,
        pg_is_in_recovery() AS standby,
        {RECOVERED} AS recovered
)"""

_ASKED = """
asked AS MATERIALIZED (
    SELECT u.unit, u.key, u.suffix
    FROM unnest($1::bigint[], $2::text[], $3::text[]) AS u (unit, key, suffix)
)"""

# The same, and by what identifier a walk came into each holding, and how many links ago.
_ASKED_ON_THE_WAY = """
asked AS MATERIALIZED (
    SELECT u.unit, u.key, u.suffix, u.entry, u.steps
    FROM unnest($1::bigint[], $2::text[], $3::text[], $10::text[], $11::bigint[])
        AS u (unit, key, suffix, entry, steps)
)"""

# What is registered, and for the rest the rules whose literal head begins the suffix.
_OWN = f"""
own AS MATERIALIZED (
    SELECT r.unit, r.identifier, r.status, r.parent, r.envelope
    FROM asked AS a CROSS JOIN LATERAL (
        SELECT i.unit, i.identifier, i.status, i.parent, i.envelope FROM identifiers AS i
        WHERE i.unit = a.unit AND i.identifier = a.key OFFSET 0
    ) AS r
), head AS MATERIALIZED (
    SELECT DISTINCT a.unit, left(a.suffix, n) AS head
    FROM asked AS a CROSS JOIN generate_series(0, {MAX_HEAD}) AS n
    WHERE n <= length(a.suffix) AND NOT EXISTS (SELECT FROM own AS o WHERE o.identifier = a.key)
), covering AS MATERIALIZED (
    SELECT r.unit, r.identifier, r.head, r.pattern
    FROM head AS h CROSS JOIN LATERAL (
        SELECT r.unit, r.identifier, r.head, r.pattern FROM rules AS r
        WHERE r.unit = h.unit AND r.head = h.head
        ORDER BY r.identifier LIMIT {MAX_RULES}
    ) AS r
), seed AS MATERIALIZED (
    SELECT o.unit, o.identifier, o.status, o.parent, o.envelope FROM own AS o
    UNION ALL
    SELECT r.unit, r.identifier, r.status, r.parent, r.envelope
    FROM covering AS c CROSS JOIN LATERAL (
        SELECT i.unit, i.identifier, i.status, i.parent, i.envelope FROM identifiers AS i
        WHERE i.unit = c.unit AND i.identifier = c.identifier OFFSET 0
    ) AS r
)"""

_LINEAGE = f"""
lineage AS (
    SELECT s.unit, s.identifier, s.status, s.parent, s.envelope, 0 AS depth FROM seed AS s
    UNION
    SELECT r.unit, r.identifier, r.status, r.parent, r.envelope, l.depth + 1
    FROM (
        SELECT DISTINCT k.unit, k.parent, k.depth FROM lineage AS k
        WHERE k.parent IS NOT NULL AND k.depth < {MAX_ANCESTORS}
    ) AS l CROSS JOIN LATERAL (
        SELECT i.unit, i.identifier, i.status, i.parent, i.envelope FROM identifiers AS i
        WHERE i.unit = l.unit AND i.identifier = l.parent OFFSET 0
    ) AS r
)"""

# Notices that mark what was asked for, or what it may inherit from.
_MARKED = """
marked AS MATERIALIZED (
    SELECT DISTINCT k.unit, m.identifier, m.id
    FROM (
        SELECT l.unit, l.identifier FROM lineage AS l UNION SELECT a.unit, a.key FROM asked AS a
    ) AS k CROSS JOIN LATERAL (
        SELECT m.identifier, m.id FROM notice_marks AS m
        WHERE m.unit = k.unit AND m.identifier = k.identifier ORDER BY m.id OFFSET 0
    ) AS m
), notice AS MATERIALIZED (
    SELECT m.identifier, m.id, n.envelope FROM marked AS m CROSS JOIN LATERAL (
        SELECT n.envelope FROM notices AS n WHERE n.unit = m.unit AND n.id = m.id OFFSET 0
    ) AS n
)"""

_EDGE_COLUMNS = """e.unit, e.near, e.direction, e.far, e.type, e.lifecycle, e.occurrence,
                e.far_unit, e.link_key"""

# Both directions get their turn, so that many uses of a part do not hide what it is made of.
_LINKS_OF_EACH = f"""
edge AS MATERIALIZED (
    SELECT {_EDGE_COLUMNS}, e.rank, 2 AS shown
    FROM asked AS a CROSS JOIN LATERAL (
        SELECT {_EDGE_COLUMNS}, row_number() OVER (ORDER BY e.place, e.direction) AS rank
        FROM viewed AS v CROSS JOIN LATERAL (
            SELECT {_EDGE_COLUMNS},
                row_number() OVER (ORDER BY e.far, e.type, e.lifecycle, e.occurrence) AS place
            FROM edges AS e
            WHERE e.unit = v.unit AND e.near = v.key AND e.direction = v.direction
                AND e.sides <> 0 AND {shown("$6")} = 2
            ORDER BY e.far, e.type, e.lifecycle, e.occurrence LIMIT $5
        ) AS e
        WHERE v.unit = a.unit AND v.key = a.key
        ORDER BY rank LIMIT $5
    ) AS e
)"""


def _links_of_level(there: str) -> str:
    """Return the CTE `edge` of a level; `there` is the condition on an edge `e` to count."""
    return f"""
edge AS MATERIALIZED (
    SELECT {_EDGE_COLUMNS}, e.shown,
        row_number() OVER (ORDER BY e.near, e.far, e.type, e.lifecycle, e.occurrence) AS rank
    FROM (
        SELECT {_EDGE_COLUMNS}, e.shown
        FROM (
            SELECT w.unit, w.key, w.direction, w.opens, w.narrow FROM viewed AS w
            WHERE w.direction = $6 ORDER BY w.key COLLATE "C"
        ) AS v
        CROSS JOIN LATERAL (
            SELECT {_EDGE_COLUMNS}, s.shown
            FROM edges AS e CROSS JOIN LATERAL (SELECT {shown("$7")} AS shown) AS s
            WHERE e.unit = v.unit AND e.near = v.key AND e.direction = $6
                AND {there} AND s.shown IS NOT NULL
            ORDER BY e.far, e.type, e.lifecycle, e.occurrence LIMIT $5
        ) AS e
        ORDER BY v.key COLLATE "C", e.far, e.type, e.lifecycle, e.occurrence LIMIT $5
    ) AS e
)"""


# The end that speaks for a side of an edge `e`, as conditions on a statement `x`.
_NEAR_SIDE = """x.unit = e.unit AND x.link_key = e.link_key
            AND x.side = CASE e.direction WHEN 'upstream' THEN 'downstream' ELSE 'upstream' END"""
_FAR_SIDE = "x.unit = e.far_unit AND x.link_key = e.link_key AND x.side = e.direction"


def _stated(statements: str) -> str:
    """Return the CTE `stated`: of each edge in `edge` what `statements` reads of its sides."""
    return f"""
stated AS MATERIALIZED (
    SELECT e.near, e.direction, e.far, e.type, e.lifecycle, e.occurrence, s.side, e.rank, s.envelope
    FROM (
        SELECT w.unit, w.near, w.direction, w.far, w.type, w.lifecycle, w.occurrence, w.far_unit,
            w.link_key, w.rank FROM edge AS w WHERE w.shown = 2
    ) AS e CROSS JOIN LATERAL ({statements}) AS s
)"""


# Both sides are looked up, also the one that does not stand: what it took back it says too.
_STATED = _stated(f"""
        SELECT x.side, x.envelope FROM assertions AS x WHERE {_NEAR_SIDE}
        UNION ALL
        SELECT x.side, x.envelope FROM assertions AS x WHERE {_FAR_SIDE}
        OFFSET 0
    """)

# As of a time, $12: what had been recorded by then. A statement from before that was noted counts
# from when it was issued.
_BY_THEN = "coalesce(x.recorded_at, to_timestamp(x.issued_at)) <= to_timestamp($12::float8)"


def _newest_by_then(side: str) -> str:
    return f"""
        (SELECT x.side, x.envelope FROM (
            SELECT x.side, x.version, x.envelope FROM assertions AS x WHERE {side} AND {_BY_THEN}
            UNION ALL
            SELECT x.side, x.version, x.envelope FROM assertion_history AS x
            WHERE {side} AND {_BY_THEN}
        ) AS x ORDER BY x.version DESC LIMIT 1)"""


_STATED_BY_THEN = _stated(f"{_newest_by_then(_NEAR_SIDE)} UNION ALL {_newest_by_then(_FAR_SIDE)}")
# An edge of which nothing was known yet does not count: it would use up the limit unseen.
_KNOWN_BY_THEN = (
    "("
    + " OR ".join(
        f"EXISTS (SELECT FROM {table} AS x WHERE {side} AND {_BY_THEN})"
        for table in ("assertions", "assertion_history")
        for side in (_NEAR_SIDE, _FAR_SIDE)
    )
    + ")"
)

_FAR_PREFIXES = """
    UNION
    SELECT array_to_string(f.labels[1:n], '.')
    FROM (
        SELECT DISTINCT string_to_array(split_part(s.far, '/', 1), '.') AS labels
        FROM stated AS s WHERE s.side = s.direction
    ) AS f CROSS JOIN LATERAL generate_series(1, cardinality(f.labels)) AS n"""


def _prefixes(far: str) -> str:
    return f"""
wanted AS MATERIALIZED (
    SELECT w.prefix FROM unnest($4::text[]) AS w (prefix){far}
), holder AS MATERIALIZED (
    SELECT p.prefix, p.status, p.delegation, p.run, p.home
    FROM wanted AS w CROSS JOIN LATERAL (
        SELECT p.prefix, p.status, p.delegation, p.run, p.home FROM prefixes AS p
        WHERE p.prefix = w.prefix OFFSET 0
    ) AS p
)"""


_SELECT_MOMENT = """
SELECT 'moment' AS what, m.system AS key, m.timeline AS a, m.incarnation AS b, m.xmin::text AS c,
    CASE WHEN m.standby THEN 'standby' END AS d, m.recovered AS e, NULL AS f, NULL::bigint AS n,
    NULL AS body FROM moment AS m"""
_SELECT_RULES = """
UNION ALL SELECT 'rule', c.identifier, c.head, c.pattern, NULL, NULL, NULL, NULL, NULL, NULL
FROM covering AS c"""
_SELECT_LINKS = """
UNION ALL SELECT 'link', s.near, s.direction, s.far, s.type, s.lifecycle, s.occurrence, s.side,
    s.rank, s.envelope FROM stated AS s"""
_SELECT_NOTICES = """
UNION ALL SELECT 'notice', n.identifier, n.id, NULL, NULL, NULL, NULL, NULL, NULL, n.envelope
FROM notice AS n"""
_SELECT_TURNING = """
UNION ALL SELECT 'turn', t.unit::text, NULL, NULL, NULL, NULL, NULL, NULL, t.wait, NULL
FROM turning AS t"""
# What is shown without its far end: the reader alone sees it, and puts a pseudonym there.
_SELECT_BLINDED = """
UNION ALL SELECT 'blinded', e.near, e.direction, e.far, e.type, e.lifecycle, e.occurrence, NULL,
    e.rank, NULL FROM edge AS e WHERE e.shown = 1"""
_SELECT_PREFIXES = """
UNION ALL SELECT 'prefix', p.prefix, p.status, array_to_string(p.run, ' '), p.home, NULL, NULL,
    NULL, NULL, p.delegation FROM holder AS p"""


def _select_records(source: str) -> str:
    return f"""
UNION ALL SELECT 'record', r.identifier, r.status, r.parent, NULL, NULL, NULL, NULL, NULL,
    r.envelope FROM {source} AS r"""


def _statement(parts: Sequence[str], selects: Sequence[str]) -> str:
    return "WITH RECURSIVE" + ",".join(parts) + "".join(selects)


_SELECT_STATES = """
UNION ALL SELECT 'record', r.identifier, r.status, r.parent, NULL, NULL, NULL, NULL, NULL, ''
FROM seed AS r"""

FETCH_WHOLE = _statement(
    (
        MOMENT,
        _ASKED,
        _OWN,
        _LINEAGE,
        _MARKED,
        granted("a.key", "0", "$7", "$8"),
        TURNING,
        _LINKS_OF_EACH,
        _STATED,
        _prefixes(_FAR_PREFIXES),
    ),
    (
        _SELECT_MOMENT,
        _select_records("lineage"),
        _SELECT_RULES,
        _SELECT_LINKS,
        _SELECT_PREFIXES,
        _SELECT_NOTICES,
        _SELECT_TURNING,
    ),
)
FETCH_RECORDS = _statement(
    (MOMENT, _ASKED, _OWN, _prefixes("")),
    (_SELECT_MOMENT, _select_records("seed"), _SELECT_RULES, _SELECT_PREFIXES),
)
STATES = _statement((MOMENT, _ASKED, _OWN), (_SELECT_MOMENT, _SELECT_STATES, _SELECT_RULES))


def _edges_statement(there: str, stated: str) -> str:
    return _statement(
        (
            MOMENT,
            _ASKED_ON_THE_WAY,
            granted("a.entry", "a.steps", "$8", "$9"),
            _links_of_level(there),
            stated,
            _prefixes(_FAR_PREFIXES),
        ),
        (_SELECT_MOMENT, _SELECT_LINKS, _SELECT_BLINDED, _SELECT_PREFIXES),
    )


EDGES = _edges_statement("e.sides <> 0", _STATED)
EDGES_AS_OF = _edges_statement(_KNOWN_BY_THEN, _STATED_BY_THEN)
# xmin bounds the read from above: what is still open, or began after one that is, comes later.
CHANGES = f"""
WITH{MOMENT}
SELECT m.system, m.timeline, m.incarnation, m.xmin, m.standby, m.recovered,
    k.xid AS canary, extract(epoch FROM clock_timestamp() - k.at)::float8 AS age,
    (SELECT n.changes_since FROM node AS n WHERE n.id = 1) AS since,
    c.xid, c.op, c.about, c.version, c.also
FROM moment AS m LEFT JOIN canary AS k ON k.id = 1 LEFT JOIN LATERAL (
    SELECT c.xid, c.id, c.op, c.about, c.version, c.also FROM changes AS c
    WHERE c.op > 0 AND c.xid >= $1::xid8 AND c.xid < (SELECT k.xmin FROM moment AS k)
    ORDER BY c.xid FETCH FIRST $2 ROWS WITH TIES
) AS c ON true
ORDER BY c.xid, c.id
"""


async def fetch(
    driver: asyncpg.Connection[Any], identifiers: Sequence[Identifier], links: int, viewer: Viewer
) -> Read:
    """Read records, ancestors, rules, up to `links` links of each, and prefixes."""
    return _sorted(await driver.fetch(FETCH_WHOLE, *_asked(identifiers), links, *viewing(viewer)))


async def fetch_records(driver: asyncpg.Connection[Any], identifiers: Sequence[Identifier]) -> Read:
    """Read the records, or the rules and classes that may cover, and prefixes; nothing else."""
    return _sorted(await driver.fetch(FETCH_RECORDS, *_asked(identifiers)))


async def states(driver: asyncpg.Connection[Any], identifiers: Sequence[Identifier]) -> Read:
    """Read statuses and the rules that may cover, without any envelope."""
    return _sorted(await driver.fetch(STATES, *_asked(identifiers)[:3]))


async def edges(
    driver: asyncpg.Connection[Any],
    level: Sequence[Near],
    direction: str,
    limit: int,
    viewer: Viewer,
    *,
    as_of: float | None = None,
) -> Read:
    """Read up to `limit` links of a whole level, and the prefixes of those who state them.

    Unix seconds `as_of` bring what had been recorded by then: links that stand no longer, too.
    """
    rows = await driver.fetch(
        EDGES if as_of is None else EDGES_AS_OF,
        *_asked([near.identifier for near in level]),
        limit,
        direction,
        *viewing(viewer),
        [near.entry.text for near in level],
        [near.steps for near in level],
        *(() if as_of is None else (as_of,)),
    )
    return _sorted(rows)


async def changes(driver: asyncpg.Connection[Any], since: int | None, limit: int) -> Told:
    """Read about `limit` changes from position `since` (None: none), the last xid's wholly."""
    rows = await driver.fetch(CHANGES, since, limit)
    moment, (xid, age, kept) = Moment(*rows[0][:6]), rows[0][6:9]
    canary = None if xid is None else CanaryRow(xid, age)
    told = [ChangeRow(*row[9:]) for row in rows if row["xid"] is not None]
    return Told(moment, canary, kept or 0, told)


def _asked(
    identifiers: Sequence[Identifier],
) -> tuple[list[int], list[str], list[str], list[str]]:
    prefixes = {identifier.prefix for identifier in identifiers}
    units = {prefix: unit_of(prefix) for prefix in prefixes}
    above = {str(held) for prefix in prefixes for held in (prefix, *prefix.ancestors())}
    return (
        [units[identifier.prefix] for identifier in identifiers],
        [identifier.text for identifier in identifiers],
        [identifier.suffix for identifier in identifiers],
        sorted(above),
    )


def _sorted(rows: Sequence[asyncpg.Record]) -> Read:  # noqa: C901  (a case for each kind of row)
    """Sort the rows of one statement by what they are."""
    key, a, b, c, d, e = next(row[1:7] for row in rows if row[0] == "moment")
    read = Read(Moment(key, a, b, int(c), standby=d is not None, recovered=e))
    for row in rows:
        match row[0]:
            case "record":
                read.records[row[1]] = RecordRow(row[1], row[2], row[3], row[9])
            case "rule":
                read.rules.append(RuleRow(row[1], row[2], row[3]))
            case "link":
                read.links.append(LinkRow(*row[1:10]))
            case "blinded":
                read.blinded.append(BlindedRow(row[1], row[2], row[3], row[4], row[5], row[8]))
            case "notice":
                read.notices.setdefault(row[1], {})[row[2]] = row[9]
            case "turn":
                read.turns[int(row[1])] = row[8] / 1000
            case "prefix":
                run = tuple(row[3].split())
                read.prefixes[row[1]] = PrefixRow(row[1], row[2], row[9], run, row[4])
    return read
