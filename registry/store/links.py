"""SQL of links: what each side states, what it stated before, and the edge at either end.

An edge stays when both sides took it back, with no side: it is shown no more, but in questions of
the past (`reads`).

Everything is set-based, so that one link and a chunk of thousands take the same few statements.
Writers of one link meet at its two edge rows: whoever comes second waits there, and then sees what
the first one stated. Rows are touched in key order, so that two chunks do not wait for each other
in a circle.
"""
# ruff: noqa: S608  the statements are put together of constants of this page, never of input

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from registry.store.engine import ReadTx, WriteTx
from registry.store.tables import unit_of
from registry.store.viewing import granted, shown, viewing
from schemas.identifier import Identifier, Prefix
from schemas.link import DOWNSTREAM, UPSTREAM, Link
from schemas.viewer import Viewer

BIT = {UPSTREAM: 1, DOWNSTREAM: 2}  # of `edges.sides`
OTHER = {UPSTREAM: DOWNSTREAM, DOWNSTREAM: UPSTREAM}


@dataclass(frozen=True, slots=True)
class Statement:
    """One version of what one side states of a link; `prev` is the digest of the one before."""

    link_key: str
    side: str
    version: int
    state: str
    issued_at: int
    digest: str
    envelope: str
    prev: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What there is one newest version of."""
        return (self.link_key, self.side)


@dataclass(frozen=True, slots=True)
class Listed:
    """A link as seen from the end whose links are listed."""

    direction: str
    far: str
    type: str
    lifecycle: str
    occurrence: str
    link_key: str

    @property
    def place(self) -> tuple[str, str, str, str, str]:
        """Where it stands in the list."""
        return (self.direction, self.far, self.type, self.lifecycle, self.occurrence)


_STANDING = """
SELECT a.link_key, a.side, a.version, a.state, a.issued_at, a.digest, a.envelope
FROM unnest($1::bigint[], $2::text[], $3::text[]) AS n (unit, link_key, side) CROSS JOIN LATERAL (
    SELECT a.link_key, a.side, a.version, a.state, a.issued_at, a.digest, a.envelope
    FROM assertions AS a
    WHERE a.unit = n.unit AND a.link_key = n.link_key AND a.side = n.side OFFSET 0
) AS a
"""
_NEW = """unnest(
    $2::text[], $3::text[], $4::bigint[], $5::text[], $6::bigint[], $7::text[], $8::text[],
    $9::text[]
) AS n (link_key, side, version, state, issued_at, digest, envelope, prev)"""
_INSERT = f"""
INSERT INTO assertions (unit, link_key, side, version, state, issued_at, digest, envelope)
SELECT $1::bigint, n.link_key, n.side, n.version, n.state, n.issued_at, n.digest, n.envelope
FROM {_NEW} ORDER BY n.link_key COLLATE "C", n.side
ON CONFLICT (unit, link_key, side) DO NOTHING
RETURNING link_key, side
"""
_KEEP = """
INSERT INTO assertion_history
    (unit, link_key, side, version, state, issued_at, digest, envelope, recorded_at)
SELECT a.unit, a.link_key, a.side, a.version, a.state, a.issued_at, a.digest, a.envelope,
    a.recorded_at
FROM unnest($2::text[], $3::text[], $4::text[]) AS n (link_key, side, prev) CROSS JOIN LATERAL (
    SELECT a.unit, a.link_key, a.side, a.version, a.state, a.issued_at, a.digest, a.envelope,
        a.recorded_at
    FROM assertions AS a
    WHERE a.unit = $1 AND a.link_key = n.link_key AND a.side = n.side AND a.digest = n.prev OFFSET 0
) AS a
ORDER BY a.link_key, a.side
ON CONFLICT (unit, link_key, side, version) DO NOTHING
"""
_REPLACE = f"""
UPDATE assertions AS a
SET version = n.version, state = n.state, issued_at = n.issued_at, digest = n.digest,
    envelope = n.envelope, recorded_at = clock_timestamp()
FROM {_NEW}
WHERE a.unit = $1::bigint AND a.link_key = n.link_key AND a.side = n.side AND a.digest = n.prev
RETURNING a.link_key, a.side
"""

_ENDS = """unnest(
    $1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
    $8::bigint[], $9::text[], $10::smallint[]
) AS n (unit, near, direction, far, type, lifecycle, occurrence, far_unit, link_key, sides)"""
_THIS_EDGE = """e.unit = n.unit AND e.near = n.near AND e.direction = n.direction AND e.far = n.far
    AND e.type = n.type AND e.lifecycle = n.lifecycle AND e.occurrence = n.occurrence"""
_KEY_ORDER = """n.unit, n.near COLLATE "C", n.direction, n.far COLLATE "C", n.type, n.lifecycle,
    n.occurrence COLLATE "C\""""
_RAISE = f"""
INSERT INTO edges
    (unit, near, direction, far, type, lifecycle, occurrence, far_unit, link_key, sides)
SELECT n.unit, n.near, n.direction, n.far, n.type, n.lifecycle, n.occurrence, n.far_unit,
    n.link_key, n.sides
FROM {_ENDS} ORDER BY {_KEY_ORDER}
ON CONFLICT (unit, near, direction, far, type, lifecycle, occurrence)
DO UPDATE SET sides = edges.sides | EXCLUDED.sides
"""
_LOCK = f"""
SELECT count(*) FROM (
    SELECT 1 FROM {_ENDS} JOIN edges AS e ON {_THIS_EDGE} ORDER BY {_KEY_ORDER} FOR UPDATE OF e
) AS locked
"""
_LOWER = f"UPDATE edges AS e SET sides = e.sides & ~n.sides FROM {_ENDS} WHERE {_THIS_EDGE}"

# Sorted and cut by the primary key; the row comparison is one range of it.
_PAGE = f"""
WITH asked AS MATERIALIZED (
    SELECT $1::bigint AS unit, $2::text AS key
), {granted("a.key", "0", "$12", "$13")}
SELECT e.direction, e.far, e.type, e.lifecycle, e.occurrence, e.link_key
FROM edges AS e CROSS JOIN LATERAL (
    SELECT w.opens, w.narrow FROM viewed AS w WHERE w.direction = e.direction OFFSET 0
) AS v
WHERE e.unit = $1 AND e.near = $2 AND e.sides <> 0 AND {shown("$11")} = 2
    AND ($3::text IS NULL OR e.direction = $3) AND ($4::text IS NULL OR e.type = $4)
    AND (e.direction, e.far, e.type, e.lifecycle, e.occurrence)
        > ($5::text, $6::text, $7::text, $8::text, $9::text)
ORDER BY e.direction, e.far, e.type, e.lifecycle, e.occurrence
LIMIT $10
"""
_SUSPENDED = """
SELECT p.prefix FROM prefixes AS p WHERE p.prefix = ANY ($1::text[]) AND p.status = 'suspended'
"""


async def newest(
    tx: ReadTx, asked: Sequence[tuple[Prefix, str, str]]
) -> dict[tuple[str, str], Statement]:
    """Read the newest version of each (prefix of the side, link key, side), standing or not."""
    driver = await tx.driver()
    rows = await driver.fetch(
        _STANDING,
        [unit_of(prefix) for prefix, _, _ in asked],
        [link_key for _, link_key, _ in asked],
        [side for _, _, side in asked],
    )
    found = [Statement(*row) for row in rows]
    return {statement.key: statement for statement in found}


async def insert_first(
    tx: WriteTx, prefix: Prefix, statements: Sequence[Statement]
) -> set[tuple[str, str]]:
    """Insert first versions; return the keys of those that nobody else had inserted."""
    driver = await tx.driver()
    return {tuple(row) for row in await driver.fetch(_INSERT, *_new(prefix, statements))}


async def replace(
    tx: WriteTx, prefix: Prefix, statements: Sequence[Statement]
) -> set[tuple[str, str]]:
    """Put versions in the place of those they name as `prev`; return the keys where that stood."""
    driver = await tx.driver()
    columns = _new(prefix, statements)
    # Whoever replaces the same version waits here for the other, and then finds it gone.
    await driver.execute(_KEEP, columns[0], columns[1], columns[2], columns[8])
    return {tuple(row) for row in await driver.fetch(_REPLACE, *columns)}


async def raise_sides(tx: WriteTx, stated: Iterable[tuple[Link, str, str]]) -> None:
    """Note at both ends that the sides of (link, link key, side) stand now."""
    columns = _ends(stated)
    if columns:
        await (await tx.driver()).execute(_RAISE, *columns)


async def lower_sides(tx: WriteTx, withdrawn: Iterable[tuple[Link, str, str]]) -> None:
    """Note at both ends that the sides stand no longer; an edge with none is of the past."""
    columns = _ends(withdrawn)
    if columns:
        driver = await tx.driver()
        await driver.execute(_LOCK, *columns)
        await driver.execute(_LOWER, *columns)


async def page(
    tx: ReadTx,
    near: Identifier,
    *,
    direction: str | None,
    kind: str | None,
    after: Sequence[str],
    limit: int,
    viewer: Viewer,
) -> list[Listed]:
    """Read up to `limit` links of one end that a viewer is shown, behind a place, in key order."""
    driver = await tx.driver()
    rows = await driver.fetch(
        _PAGE,
        unit_of(near.prefix),
        near.text,
        direction,
        kind,
        *after,
        limit,
        *viewing(viewer),
    )
    return [Listed(*row) for row in rows]


async def suspended(tx: ReadTx, prefixes: Iterable[str]) -> set[str]:
    """Return those of the prefixes that are suspended themselves."""
    driver = await tx.driver()
    return {row[0] for row in await driver.fetch(_SUSPENDED, sorted(prefixes))}


def _new(prefix: Prefix, statements: Sequence[Statement]) -> tuple[object, ...]:
    return (
        unit_of(prefix),
        [item.link_key for item in statements],
        [item.side for item in statements],
        [item.version for item in statements],
        [item.state for item in statements],
        [item.issued_at for item in statements],
        [item.digest for item in statements],
        [item.envelope for item in statements],
        [item.prev for item in statements],
    )


def _ends(stated: Iterable[tuple[Link, str, str]]) -> list[list[object]]:
    """Return the columns of the edge rows, two for each link; its sides are put together."""
    sides: dict[tuple[Link, str], int] = {}
    for link, link_key, side in stated:
        sides[link, link_key] = sides.get((link, link_key), 0) | BIT[side]
    rows: list[tuple[object, ...]] = []
    for (link, link_key), bits in sides.items():
        for near, direction in ((link.downstream, UPSTREAM), (link.upstream, DOWNSTREAM)):
            far = link.end(direction)
            rows.append(
                (
                    unit_of(near.prefix),
                    near.text,
                    direction,
                    far.text,
                    link.type,
                    link.lifecycle,
                    link.occurrence,
                    unit_of(far.prefix),
                    link_key,
                    bits,
                )
            )
    return [list(column) for column in zip(*rows, strict=True)]
