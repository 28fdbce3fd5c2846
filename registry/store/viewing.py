"""SQL of need to know: which links a viewer is shown.

Whether a viewer is shown an edge: 2 wholly, 1 with a pseudonym for its far end, null not at all.
His are the links that end in his own prefix; of others he is shown what a grant of the near end's
holder opens. This is asked of each edge where it is found, before anything is ranked or cut off:
a page is as long, and a walk goes as far, as if there were no others.

All but the kinds of links that a grant may name is the same for all edges of a near end: `opens`
is what grants of all kinds give, `narrow` are those of few kinds, as `show|types|lifecycles`.
"""
# ruff: noqa: S608  the statements are put together of constants of the store, never of input

from __future__ import annotations

from schemas.grant import ANYBODY
from schemas.viewer import Viewer

from .tables import unit_of


def granted(entry: str, steps: str, grantees: str, purpose: str) -> str:
    """Return the CTEs `given`, `opened` and `viewed` of the near ends in `asked` (unit, key).

    The arguments are SQL: how a walk came to a near end, in the columns of `asked` as `a`, and who
    asks, as parameters: the names by which grants may mean him, and his purpose.
    """
    return f"""
given AS MATERIALIZED (
    SELECT u.unit, g.root, g.direction, g.depth, g.types, g.lifecycles, g.show, g.valid_from,
        g.valid_until
    FROM (SELECT DISTINCT k.unit FROM asked AS k) AS u CROSS JOIN LATERAL (
        SELECT g.root, g.direction, g.depth, g.types, g.lifecycles, g.valid_from, g.valid_until,
            CASE g.show WHEN 'full' THEN 2 ELSE 1 END AS show
        FROM grants AS g
        WHERE g.unit = u.unit AND g.grantee = ANY ({grantees}::text[]) AND g.state = 'granted'
            AND g.purpose IN ('', {purpose}::text)
        OFFSET 0
    ) AS g
), opened AS MATERIALIZED (
    SELECT g.unit, g.root, g.direction, g.depth, g.show,
        g.show || '|' || array_to_string(g.types, ',') || '|' || array_to_string(g.lifecycles, ',')
            AS aspects
    FROM given AS g
    WHERE (g.valid_from IS NULL OR g.valid_from <= extract(epoch FROM now()))
        AND (g.valid_until IS NULL OR g.valid_until > extract(epoch FROM now()))
), viewed AS MATERIALIZED (
    SELECT a.unit, a.key, d.direction,
        max(g.show) FILTER (WHERE g.aspects LIKE '%||') AS opens,
        array_agg(g.aspects) FILTER (WHERE g.aspects NOT LIKE '%||') AS narrow
    FROM asked AS a
    CROSS JOIN (VALUES ('downstream'), ('upstream')) AS d (direction)
    LEFT JOIN opened AS g ON g.unit = a.unit AND g.direction IN ('', d.direction)
        AND g.depth > {steps}
        AND (g.root IN ('', a.key, {entry}) OR EXISTS (
            SELECT FROM identifiers AS i
            WHERE i.unit = a.unit AND i.identifier IN (a.key, {entry}) AND i.parent = g.root
        ))
    GROUP BY a.unit, a.key, d.direction
)"""


# In how many milliseconds a grant to who asks begins or ends next, of each unit where one does. At
# that moment what he is shown may become another, and nothing is written that would tell of it.
TURNING = """
turning AS MATERIALIZED (
    SELECT g.unit, floor(1000 * (min(t.turn) - extract(epoch FROM now())))::bigint AS wait
    FROM given AS g CROSS JOIN LATERAL (VALUES (g.valid_from), (g.valid_until)) AS t (turn)
    WHERE t.turn > extract(epoch FROM now())
    GROUP BY g.unit
)"""


def shown(viewer: str) -> str:
    """Return the expression that tells how an edge `e` is shown, seen from `viewed` as `v`.

    `viewer` is the parameter with the unit of who asks.
    """
    return f"""CASE WHEN {viewer}::bigint IN (e.unit, e.far_unit) THEN 2
                WHEN v.narrow IS NULL OR v.opens = 2 THEN v.opens
                ELSE greatest(v.opens, (
                    SELECT max(left(n.aspects, 1)::integer) FROM unnest(v.narrow) AS n (aspects)
                    WHERE (
                        split_part(n.aspects, '|', 2) = ''
                        OR e.type = ANY (string_to_array(split_part(n.aspects, '|', 2), ','))
                    ) AND (
                        split_part(n.aspects, '|', 3) = ''
                        OR e.lifecycle = ANY (string_to_array(split_part(n.aspects, '|', 3), ','))
                    )
                )) END"""


def viewing(viewer: Viewer) -> tuple[int | None, list[str], str]:
    """Return the unit of who asks, as whom grants name him, and his purpose."""
    if viewer.prefix is None:
        return None, [ANYBODY], viewer.purpose
    return unit_of(viewer.prefix), [ANYBODY, str(viewer.prefix)], viewer.purpose
