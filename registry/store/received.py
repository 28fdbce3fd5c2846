"""SQL of received grants: what holders at other nodes opened to those who are here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text

from registry.store.engine import ReadTx, WriteTx
from registry.store.keys import SealedKey
from registry.store.tables import unit_of
from schemas.grant import Grant
from schemas.identifier import Prefix


@dataclass(frozen=True, slots=True)
class Row:
    """One received grant as it is stored."""

    grantor: str
    id: str
    version: int
    digest: str
    envelope: str


@dataclass(frozen=True, slots=True)
class Spoken:
    """What is needed to ask another node in somebody's name; `key` is None where he signs."""

    key: SealedKey | None
    grants: tuple[str, ...]


_FIND = """
SELECT r.grantor, r.id, r.version, r.digest, r.envelope FROM received_grants AS r
WHERE r.unit = $1 AND r.grantor = $2 AND r.id = $3
"""
_COUNT = "SELECT count(*) FROM received_grants AS r WHERE r.unit = $1 AND r.grantor = $2"
_PAGE = """
SELECT r.grantor, r.id, r.version, r.digest, r.envelope FROM received_grants AS r
WHERE r.unit = $1 AND (r.grantor, r.id) > ($2::text, $3::text)
ORDER BY r.grantor, r.id LIMIT $4
"""
# Of two that come at once the newer stays.
_PUT = """
INSERT INTO received_grants
    (unit, grantor, id, version, state, direction, purpose, valid_from, valid_until, digest,
        envelope)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (unit, grantor, id) DO UPDATE
SET version = EXCLUDED.version, state = EXCLUDED.state, direction = EXCLUDED.direction,
    purpose = EXCLUDED.purpose, valid_from = EXCLUDED.valid_from,
    valid_until = EXCLUDED.valid_until, digest = EXCLUDED.digest, envelope = EXCLUDED.envelope,
    received_at = EXCLUDED.received_at
WHERE received_grants.version < EXCLUDED.version
"""
# The newest hosted key, and what was granted: one statement, since each question asks both. Of
# very many grants each grantor has his share, so that nobody crowds out the others.
_SPOKEN = text("""
SELECT h.kid, h.sealed, ARRAY(
    SELECT g.envelope FROM (
        SELECT r.envelope, r.grantor,
            row_number() OVER (PARTITION BY r.grantor ORDER BY r.id) AS place
        FROM received_grants AS r
        WHERE r.unit = CAST(:unit AS bigint) AND r.state = 'granted'
            AND r.direction IN ('', CAST(:direction AS text))
            AND r.purpose IN ('', CAST(:purpose AS text))
            AND (r.valid_from IS NULL OR r.valid_from <= extract(epoch FROM now()))
            AND (r.valid_until IS NULL OR r.valid_until > extract(epoch FROM now()))
    ) AS g
    ORDER BY g.place, g.grantor LIMIT CAST(:limit AS bigint)
) AS granted
FROM (VALUES (1)) AS one (row) LEFT JOIN LATERAL (
    SELECT h.kid, h.sealed FROM hosted_keys AS h
    WHERE h.prefix = CAST(:prefix AS text) AND h.uses @> ARRAY[CAST(:use AS text)]
    ORDER BY h.created_at DESC, h.kid LIMIT 1
) AS h ON true
""")


async def find(tx: ReadTx, grantee: Prefix, grantor: Prefix, name: str) -> Row | None:
    """Return the newest version of a grant that came here."""
    row = await (await tx.driver()).fetchrow(_FIND, unit_of(grantee), str(grantor), name)
    return None if row is None else Row(*row)


async def count(tx: ReadTx, grantee: Prefix, grantor: Prefix) -> int:
    """Return how many grants of one holder to another are kept, revoked ones too."""
    found: int = await (await tx.driver()).fetchval(_COUNT, unit_of(grantee), str(grantor))
    return found


async def page(tx: ReadTx, grantee: Prefix, after: tuple[str, str], limit: int) -> Sequence[Row]:
    """Return what was granted to somebody, by grantor and id, revoked ones too."""
    rows = await (await tx.driver()).fetch(_PAGE, unit_of(grantee), *after, limit)
    return [Row(*row) for row in rows]


async def put(tx: WriteTx, grantee: Prefix, grant: Grant, digest: str, envelope: str) -> None:
    """Store a version, unless a newer one is there."""
    await (await tx.driver()).execute(
        _PUT,
        unit_of(grantee),
        str(grant.grantor),
        grant.id,
        grant.version,
        grant.state,
        grant.direction or "",
        grant.purpose,
        grant.valid_from,
        grant.valid_until,
        digest,
        envelope,
    )


async def spoken(
    tx: ReadTx, prefix: Prefix, use: str, *, direction: str, purpose: str, limit: int
) -> Spoken:
    """Return the newest hosted key of a prefix with a use, and its grants that are in force."""
    # Not by the driver: to reach that is a round trip where nothing was asked before.
    asked = {
        "unit": unit_of(prefix),
        "direction": direction,
        "purpose": purpose,
        "limit": limit,
        "prefix": str(prefix),
        "use": use,
    }
    row = (await tx.connection.execute(_SPOKEN, asked)).one()
    key = None if row.kid is None else SealedKey(row.kid, row.sealed)
    return Spoken(key, tuple(row.granted))
