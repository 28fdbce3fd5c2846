"""SQL of records: the version that stands, those it replaced, and the family of a prefix.

`parent` makes the records of a prefix a forest. One advisory lock per prefix guards its shape:
shared by whoever relies on an ancestor, exclusive by whoever retires a record or moves it. It is
taken before any row is touched, so the two cannot wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import asyncpg
from sqlalchemy import ColumnElement, and_, func, select, text

from registry.store.engine import ReadTx, WriteTx
from registry.store.tables import identifier_history, identifiers, unit_of
from schemas.identifier import Identifier, Prefix
from schemas.record import ITEM, MAX_ANCESTORS

FAMILY = 0x66616D  # the first half of the advisory locks of families; the other is the unit's end


@dataclass(frozen=True, slots=True)
class Standing:
    """The version of an identifier that stands."""

    identifier: str
    version: int
    kind: str
    status: str
    parent: str | None
    issued_at: int
    digest: str
    envelope: str


@dataclass(frozen=True, slots=True)
class Past:
    """One version of an identifier, standing or replaced."""

    version: int
    status: str
    issued_at: int
    digest: str
    envelope: str


@dataclass(frozen=True, slots=True)
class Kin:
    """What a child needs to know of an ancestor."""

    identifier: str
    kind: str
    status: str
    parent: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a listing."""

    identifier: str
    version: int
    kind: str
    status: str
    parent: str | None


_STANDING = (
    identifiers.c.identifier,
    identifiers.c.version,
    identifiers.c.kind,
    identifiers.c.status,
    identifiers.c.parent,
    identifiers.c.issued_at,
    identifiers.c.digest,
    identifiers.c.envelope,
)

_INSERT_FIRST = text("""
    INSERT INTO identifiers
        (unit, identifier, version, kind, status, parent, issued_at, digest, envelope)
    SELECT
        CAST(:unit AS bigint), CAST(:identifier AS text), CAST(:version AS bigint),
        CAST(:kind AS text), CAST(:status AS text), CAST(:parent AS text),
        CAST(:issued_at AS bigint), CAST(:digest AS text), CAST(:envelope AS text)
    FROM pg_advisory_xact_lock_shared(CAST(:family AS integer), CAST(:member AS integer))
    ON CONFLICT DO NOTHING
    RETURNING version
""")

# The row is locked and looked at again before anything is kept of it: of two who replace one
# version, the second finds none.
_REPLACE = text("""
    WITH before AS (
        SELECT unit, identifier, version, status, issued_at, digest, envelope FROM identifiers
        WHERE unit = :unit AND identifier = :identifier AND version = :version - 1
        FOR UPDATE
    ), kept AS (
        INSERT INTO identifier_history
            (unit, identifier, version, status, issued_at, digest, envelope)
        SELECT unit, identifier, version, status, issued_at, digest, envelope FROM before
    )
    UPDATE identifiers AS standing
    SET version = :version, status = :status, parent = :parent, issued_at = :issued_at,
        digest = :digest, envelope = :envelope
    FROM before
    WHERE standing.unit = :unit AND standing.identifier = before.identifier
    RETURNING standing.version
""")

_LINEAGE = """
    WITH RECURSIVE line AS (
        SELECT found.identifier, found.kind, found.status, found.parent, 1 AS level
        FROM unnest($2::text[]) AS wanted (identifier)
        CROSS JOIN LATERAL (
            SELECT identifier, kind, status, parent FROM identifiers
            WHERE unit = $1::bigint AND identifier = wanted.identifier OFFSET 0
        ) AS found
        UNION
        SELECT above.identifier, above.kind, above.status, above.parent, line.level + 1
        FROM line
        CROSS JOIN LATERAL (
            SELECT identifier, kind, status, parent FROM identifiers
            WHERE unit = $1::bigint AND identifier = line.parent OFFSET 0
        ) AS above
        WHERE line.level <= $3::bigint
    )
    SELECT DISTINCT identifier, kind, status, parent FROM line
"""


async def current(tx: ReadTx, identifier: Identifier) -> Standing | None:
    """Read the version that stands."""
    query = select(*_STANDING).where(
        identifiers.c.unit == unit_of(identifier.prefix),
        identifiers.c.identifier == identifier.text,
    )
    row = (await tx.connection.execute(query)).one_or_none()
    return Standing(*row) if row is not None else None


async def insert_first(tx: WriteTx, unit: int, first: Standing) -> bool:
    """Insert a first version under the shared family lock; False where the identifier is taken.

    A concurrent insert of the same identifier is waited for, and its outcome decides.
    """
    bound = {"unit": unit, **_lock(unit), **asdict(first)}
    done = await tx.connection.execute(_INSERT_FIRST, bound)
    return done.one_or_none() is not None


async def replace(tx: WriteTx, unit: int, successor: Standing) -> bool:
    """Put a version in the place of the one before, and keep that; False where that is gone."""
    bound = {"unit": unit, **asdict(successor)}
    del bound["kind"]  # it never changes
    done = await tx.connection.execute(_REPLACE, bound)
    return done.one_or_none() is not None


async def lock_family(tx: WriteTx, unit: int, *, reshape: bool) -> None:
    """Take the family lock of a prefix: shared, or exclusive to reshape the family.

    It is held to the end of the transaction; what is read after it, stands until then.
    """
    take = func.pg_advisory_xact_lock if reshape else func.pg_advisory_xact_lock_shared
    lock = _lock(unit)
    await tx.connection.execute(select(take(lock["family"], lock["member"])))


async def lineage(tx: ReadTx, unit: int, parents: Sequence[str]) -> dict[str, Kin]:
    """Read parents and their ancestors, by identifier, one level further than is allowed."""
    return await lineage_by(await tx.driver(), unit, parents)


async def lineage_by(
    driver: asyncpg.Connection[Any], unit: int, parents: Sequence[str]
) -> dict[str, Kin]:
    """Read what `lineage` does, in a transaction of the driver's own."""
    rows = await driver.fetch(_LINEAGE, unit, sorted(set(parents)), MAX_ANCESTORS)
    return {row[0]: Kin(*row) for row in rows}


async def has_children(tx: ReadTx, identifier: Identifier) -> bool:
    """Tell whether any record names this one as its parent."""
    return await reaches(tx, identifier, 1)


async def reaches(tx: ReadTx, identifier: Identifier, levels: int) -> bool:
    """Tell whether there are descendants so many levels below.

    Items, most of what there is, have no children: only the last level looks at them.
    """
    unit = unit_of(identifier.prefix)
    rungs = [identifiers.alias() for _ in range(levels)]
    above: ColumnElement[str] | str = identifier.text
    steps = []
    for rung in rungs:
        steps.append(and_(rung.c.unit == unit, rung.c.parent == above))
        above = rung.c.identifier
    steps += [rung.c.kind != ITEM for rung in rungs[:-1]]
    query = select(rungs[-1].c.version).where(*steps).limit(1)
    return (await tx.connection.execute(query)).one_or_none() is not None


async def versions(tx: ReadTx, identifier: Identifier, below: int, limit: int) -> list[Past]:
    """Read up to `limit` versions under `below`, newest first, the standing one included."""
    standing, replaced = (
        select(
            table.c.version, table.c.status, table.c.issued_at, table.c.digest, table.c.envelope
        ).where(
            table.c.unit == unit_of(identifier.prefix),
            table.c.identifier == identifier.text,
            table.c.version < below,
        )
        for table in (identifiers, identifier_history)
    )
    both = standing.union_all(replaced).subquery()
    query = select(both).order_by(both.c.version.desc()).limit(limit)
    return [Past(*row) for row in await tx.connection.execute(query)]


async def listing(tx: ReadTx, prefix: Prefix, after: str, limit: int) -> list[Entry]:
    """Read up to `limit` identifiers of a prefix behind `after`, in byte order."""
    query = (
        select(
            identifiers.c.identifier,
            identifiers.c.version,
            identifiers.c.kind,
            identifiers.c.status,
            identifiers.c.parent,
        )
        .where(
            identifiers.c.unit == unit_of(prefix),
            identifiers.c.identifier > max(after, f"{prefix}/"),
            identifiers.c.identifier < f"{prefix}0",  # "0" is what follows "/"
        )
        .order_by(identifiers.c.identifier)
        .limit(limit)
    )
    return [Entry(*row) for row in await tx.connection.execute(query)]


def _lock(unit: int) -> Mapping[str, int]:
    """Return the two halves of a family's lock, each a signed 32-bit integer."""
    return {"family": FAMILY, "member": half_of(unit)}


def half_of(unit: int) -> int:
    """Return the second half of a family's lock."""
    return (unit & 0xFFFFFFFF) - 0x80000000
