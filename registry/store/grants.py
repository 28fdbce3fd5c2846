"""SQL of grants: what each holder opens to whom, the newest version of each id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from registry.store.engine import ReadTx, WriteTx
from registry.store.tables import unit_of
from registry.store.versions import Row
from schemas.grant import ANYBODY, Grant
from schemas.identifier import Prefix

_FIND = """
SELECT g.id, g.version, g.digest, g.envelope FROM grants AS g WHERE g.unit = $1 AND g.id = $2
"""
_PAGE = """
SELECT g.id, g.version, g.digest, g.envelope FROM grants AS g
WHERE g.unit = $1 AND g.id > $2 AND ($3::text IS NULL OR g.grantee = $3)
ORDER BY g.id LIMIT $4
"""
# Who was overtaken between reading and writing writes nothing.
_PUT = """
INSERT INTO grants
    (unit, id, version, state, grantee, root, direction, depth, types, lifecycles, purpose, show,
        valid_from, valid_until, digest, envelope)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
ON CONFLICT (unit, id) DO UPDATE
SET version = EXCLUDED.version, state = EXCLUDED.state, grantee = EXCLUDED.grantee,
    root = EXCLUDED.root, direction = EXCLUDED.direction, depth = EXCLUDED.depth,
    types = EXCLUDED.types, lifecycles = EXCLUDED.lifecycles, purpose = EXCLUDED.purpose,
    show = EXCLUDED.show, valid_from = EXCLUDED.valid_from, valid_until = EXCLUDED.valid_until,
    digest = EXCLUDED.digest, envelope = EXCLUDED.envelope
WHERE grants.digest = $17
RETURNING grants.id
"""

# Those of many holders that are in force, to somebody by name: who they are to, and what they say.
_GRANTED = """
SELECT g.grantee, g.envelope
FROM unnest($1::bigint[]) AS u (unit) CROSS JOIN LATERAL (
    SELECT g.grantee, g.envelope FROM grants AS g
    WHERE g.unit = u.unit AND g.grantee <> $2 AND g.state = 'granted'
        AND g.direction IN ('', $3) AND g.purpose IN ('', $4)
        AND (g.valid_from IS NULL OR g.valid_from <= extract(epoch FROM now()))
        AND (g.valid_until IS NULL OR g.valid_until > extract(epoch FROM now()))
    LIMIT $5
) AS g
LIMIT $5
"""


async def find(tx: ReadTx, grantor: Prefix, name: str) -> Row | None:
    """Return the newest version of a grant."""
    row = await (await tx.driver()).fetchrow(_FIND, unit_of(grantor), name)
    return None if row is None else Row(*row)


async def page(
    tx: ReadTx, grantor: Prefix, *, grantee: Prefix | None, after: str, limit: int
) -> Sequence[Row]:
    """Return grants of a grantor by id, all or those to one grantee, revoked ones too."""
    to = None if grantee is None else str(grantee)
    rows = await (await tx.driver()).fetch(_PAGE, unit_of(grantor), after, to, limit)
    return [Row(*row) for row in rows]


async def put(tx: WriteTx, grant: Grant, digest: str, envelope: str) -> bool:
    """Store a version after the one that its `prev` names; False where another stands."""
    row = await (await tx.driver()).fetchrow(
        _PUT,
        unit_of(grant.grantor),
        grant.id,
        grant.version,
        grant.state,
        ANYBODY if grant.to is None else str(grant.to),
        "" if grant.root is None else grant.root.text,
        grant.direction or "",
        grant.depth,
        sorted(grant.types),
        sorted(grant.lifecycles),
        grant.purpose,
        grant.show,
        grant.valid_from,
        grant.valid_until,
        digest,
        envelope,
        grant.prev or "",
    )
    return row is not None


async def granted(
    driver: asyncpg.Connection[Any],
    grantors: Sequence[Prefix],
    direction: str,
    purpose: str,
    limit: int,
) -> list[tuple[Prefix, str]]:
    """Return (grantee, envelope) of what holders grant by name that is in force and fits."""
    units = [unit_of(grantor) for grantor in grantors]
    rows = await driver.fetch(_GRANTED, units, ANYBODY, direction, purpose, limit)
    return [(Prefix.parse(row["grantee"]), row["envelope"]) for row in rows]
