"""SQL of notices: what holders say is recalled, and what the issued ones mark."""

from __future__ import annotations

from collections.abc import Sequence

from registry.store.engine import ReadTx, WriteTx
from registry.store.tables import unit_of
from registry.store.versions import Row
from schemas.identifier import Prefix
from schemas.notice import ISSUED, Notice

_FIND = """
SELECT n.id, n.version, n.digest, n.envelope FROM notices AS n WHERE n.unit = $1 AND n.id = $2
"""
_PAGE = """
SELECT n.id, n.version, n.digest, n.envelope FROM notices AS n
WHERE n.unit = $1 AND n.id > $2 ORDER BY n.id LIMIT $3
"""
# Who was overtaken between reading and writing writes nothing.
_PUT = """
INSERT INTO notices (unit, id, version, state, digest, envelope) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (unit, id) DO UPDATE
SET version = EXCLUDED.version, state = EXCLUDED.state, digest = EXCLUDED.digest,
    envelope = EXCLUDED.envelope
WHERE notices.digest = $7
RETURNING notices.id
"""
_UNMARK = """
DELETE FROM notice_marks AS m WHERE m.unit = $1::bigint AND m.id = $3 AND m.identifier = ANY ($2)
"""
_MARK = """
INSERT INTO notice_marks (unit, identifier, id)
SELECT $1::bigint, m.identifier, $3::text FROM unnest($2::text[]) AS m (identifier)
"""


async def find(tx: ReadTx, issuer: Prefix, name: str) -> Row | None:
    """Return the newest version of a notice."""
    row = await (await tx.driver()).fetchrow(_FIND, unit_of(issuer), name)
    return None if row is None else Row(*row)


async def page(tx: ReadTx, issuer: Prefix, *, after: str, limit: int) -> Sequence[Row]:
    """Return notices of an issuer by id, lifted ones too."""
    rows = await (await tx.driver()).fetch(_PAGE, unit_of(issuer), after, limit)
    return [Row(*row) for row in rows]


async def put(
    tx: WriteTx, notice: Notice, before: Notice | None, digest: str, envelope: str
) -> bool:
    """Store a version after `before`, and what it marks; False where another stands."""
    driver = await tx.driver()
    unit = unit_of(notice.issuer)
    row = await driver.fetchrow(
        _PUT,
        unit,
        notice.id,
        notice.version,
        notice.state,
        digest,
        envelope,
        notice.prev or "",
    )
    if row is None:
        return False
    if before is not None and before.state == ISSUED:
        await driver.execute(_UNMARK, unit, [item.text for item in before.of], notice.id)
    if notice.state == ISSUED:
        await driver.execute(_MARK, unit, [item.text for item in notice.of], notice.id)
    return True
