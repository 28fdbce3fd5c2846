"""SQL of the change feed: which changes somebody is told of, decided where they are read.

Of links he is told of those that he is shown (`viewing`), from whichever end, and of grants of
those that are by him or to him, now or before; everything else is public. Rows are looked at up to
a bound; which of them he is not told of changes neither where a batch ends nor whether there is
more, as long as that suffices.
"""
# ruff: noqa: S608  the statements are put together of constants of the store, never of input

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import asyncpg

from schemas.change import Op
from schemas.leaf import What
from schemas.viewer import Viewer

from .reads import MOMENT, CanaryRow, ChangeRow, Moment
from .viewing import granted, shown, viewing


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the changes that somebody is told of; every change from `since` on is kept.

    `further` says that there are more for him among those looked at, and `reached` is the last
    position that was looked at, None where that is all there was.
    """

    moment: Moment
    canary: CanaryRow | None
    since: int
    rows: list[ChangeRow]
    further: bool
    reached: int | None


_SEEN = f"""
seen AS MATERIALIZED (
    SELECT c.unit, c.xid, c.id, c.op, c.about, c.version, c.also, c.what, c.subject
    FROM changes AS c
    WHERE c.op > 0 AND c.xid >= $1::xid8 AND c.xid < (SELECT k.xmin FROM moment AS k)
    ORDER BY c.xid FETCH FIRST $3 ROWS WITH TIES
), link AS MATERIALIZED (
    SELECT DISTINCT c.unit, c.about, c.also, e.link_key, e.far_unit, e.direction, e.type,
        e.lifecycle
    FROM seen AS c CROSS JOIN LATERAL (
        SELECT e.link_key, e.far_unit, e.direction, e.type, e.lifecycle FROM edges AS e
        WHERE e.unit = c.unit AND e.near = c.about AND e.far = c.also
            AND e.direction IN ('downstream', 'upstream')
            AND e.link_key = split_part(c.subject, '/', 1)
        OFFSET 0
    ) AS e
    WHERE c.op = {Op.LINK.value} AND NOT $7::boolean
), asked AS MATERIALIZED (
    SELECT l.unit, l.about AS key FROM link AS l UNION SELECT l.far_unit, l.also FROM link AS l
), {granted("a.key", "0", "$5", "$6")}, shown AS MATERIALIZED (
    SELECT e.unit, e.about, e.link_key FROM link AS e JOIN viewed AS v
        ON v.unit = e.unit AND v.key = e.about AND v.direction = e.direction
    WHERE {shown("$4")} = 2
    UNION
    SELECT e.unit, e.about, e.link_key FROM link AS e JOIN viewed AS v
        ON v.unit = e.far_unit AND v.key = e.also AND v.direction <> e.direction
    WHERE {shown("$4")} = 2
), told AS MATERIALIZED (
    SELECT c.xid, c.id, c.op, c.about, c.version,
        CASE c.op WHEN {Op.LINK.value} THEN c.also ELSE '' END AS also
    FROM seen AS c LEFT JOIN shown AS s ON c.op = {Op.LINK.value}
        AND s.unit = c.unit AND s.about = c.about AND s.link_key = split_part(c.subject, '/', 1)
    WHERE CASE
        WHEN $7::boolean THEN true
        WHEN c.op = {Op.LINK.value} THEN s.link_key IS NOT NULL
        WHEN c.what = '{What.GRANT.value}' THEN c.unit = $4 OR c.also = ANY ($5::text[]) OR EXISTS (
            SELECT FROM grants AS g
            WHERE g.unit = c.unit AND g.id = split_part(c.subject, '/', 2)
                AND g.grantee = ANY ($5::text[])
        )
        ELSE true
    END
), page AS MATERIALIZED (
    SELECT t.xid, t.id, t.op, t.about, t.version, t.also FROM told AS t
    ORDER BY t.xid FETCH FIRST $2 ROWS WITH TIES
)"""
CHANGES_FOR = f"""
WITH{MOMENT},{_SEEN}
SELECT m.system, m.timeline, m.incarnation, m.xmin, m.standby, m.recovered,
    k.xid AS canary, extract(epoch FROM clock_timestamp() - k.at)::float8 AS age,
    (SELECT n.changes_since FROM node AS n WHERE n.id = 1) AS since,
    EXISTS (
        SELECT FROM told AS t
        WHERE t.xid > (SELECT p.xid FROM page AS p ORDER BY p.xid DESC LIMIT 1)
    ) AS further,
    (SELECT s.xid FROM seen AS s ORDER BY s.xid OFFSET $3::bigint - 1 LIMIT 1) AS reached,
    c.xid, c.op, c.about, c.version, c.also
FROM moment AS m LEFT JOIN canary AS k ON k.id = 1 LEFT JOIN page AS c ON true
ORDER BY c.xid, c.id
"""


async def changes(
    driver: asyncpg.Connection[Any],
    since: int | None,
    limit: int,
    most: int,
    viewer: Viewer,
    *,
    everything: bool,
) -> Page:
    """Read about `limit` of the changes that somebody is told of, among the next `most`."""
    rows = await driver.fetch(CHANGES_FOR, since, limit, most, *viewing(viewer), everything)
    moment, (xid, age, kept, further, reached) = Moment(*rows[0][:6]), rows[0][6:11]
    canary = None if xid is None else CanaryRow(xid, age)
    told = [ChangeRow(*row[11:]) for row in rows if row["xid"] is not None]
    return Page(moment, canary, kept or 0, told, further, reached)
