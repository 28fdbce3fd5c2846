"""SQL of records in bulk: a chunk of thousands takes the same few statements as a handful.

Rows are touched in the order of their identifiers, so that two chunks do not wait for each other in
a circle. Whatever was read may be overtaken before it is written: `copy_first` then fails as a
whole, and `replace_many` says that it found fewer rows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncpg

from registry.store.engine import ReadTx, WriteTx
from registry.store.identifiers import Standing
from registry.store.tables import identifier_history, identifiers

Row: TypeAlias = "tuple[str, int, str, str, str | None, int, str, str]"
"""A version as it is stored: what `Standing` has, in its order."""

_IDENTIFIERS = (
    "unit",
    "identifier",
    "version",
    "kind",
    "status",
    "parent",
    "issued_at",
    "digest",
    "envelope",
)
_HISTORY = ("unit", "identifier", "version", "status", "issued_at", "digest", "envelope")

# The LATERAL form, and its OFFSET 0, keep the plan to one index probe for each key whatever the
# number of partitions.
_CURRENT = """
    SELECT found.identifier, found.version, found.kind, found.status, found.parent,
           found.issued_at, found.digest, found.envelope
    FROM unnest($2::text[]) AS wanted (identifier)
    CROSS JOIN LATERAL (
        SELECT identifier, version, kind, status, parent, issued_at, digest, envelope
        FROM identifiers WHERE unit = $1::bigint AND identifier = wanted.identifier OFFSET 0
    ) AS found
"""

_REPLACE = """
    WITH wanted AS (
        SELECT * FROM unnest(
            $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::bigint[],
            $8::text[], $9::text[]
        ) AS w (identifier, before, version, status, parent, issued_at, digest, envelope)
    ), before AS (
        SELECT i.unit, i.identifier, i.version, i.status, i.issued_at, i.digest, i.envelope
        FROM wanted
        JOIN identifiers AS i ON i.unit = $1::bigint AND i.identifier = wanted.identifier
            AND i.version = wanted.before
        ORDER BY i.identifier
        FOR UPDATE OF i
    ), kept AS (
        INSERT INTO identifier_history
            (unit, identifier, version, status, issued_at, digest, envelope)
        SELECT unit, identifier, version, status, issued_at, digest, envelope FROM before
    )
    UPDATE identifiers AS standing
    SET version = wanted.version, status = wanted.status, parent = wanted.parent,
        issued_at = wanted.issued_at, digest = wanted.digest, envelope = wanted.envelope
    FROM before JOIN wanted ON wanted.identifier = before.identifier
    WHERE standing.unit = $1::bigint AND standing.identifier = before.identifier
    RETURNING 1
"""


class Overtaken(Exception):
    """Somebody else wrote one of the rows first; the transaction is to be begun anew."""


async def current_many(tx: ReadTx, unit: int, wanted: Iterable[str]) -> dict[str, Standing]:
    """Read the versions that stand, by identifier, in one statement."""
    driver = await tx.driver()
    rows = await driver.fetch(_CURRENT, unit, sorted(set(wanted)))
    return {row[0]: Standing(*row) for row in rows}


async def copy_first(tx: WriteTx, unit: int, rows: Iterable[Row]) -> None:
    """Insert new identifiers by COPY; raise Overtaken where one is taken by now."""
    driver = await tx.driver()
    records = [(unit, *row) for row in sorted(rows)]  # by identifier, of which each is there once
    try:
        await driver.copy_records_to_table(identifiers.name, records=records, columns=_IDENTIFIERS)
    except asyncpg.UniqueViolationError as err:
        raise Overtaken from err


async def replace_many(tx: WriteTx, unit: int, rows: Iterable[tuple[int, Standing]]) -> None:
    """Put versions in the place of others, named by their number, and keep those.

    Raise Overtaken where one of them stands no more.
    """
    ordered = sorted(rows, key=lambda row: row[1].identifier)
    driver = await tx.driver()
    done = await driver.fetch(
        _REPLACE,
        unit,
        [row.identifier for _, row in ordered],
        [before for before, _ in ordered],
        [row.version for _, row in ordered],
        [row.status for _, row in ordered],
        [row.parent for _, row in ordered],
        [row.issued_at for _, row in ordered],
        [row.digest for _, row in ordered],
        [row.envelope for _, row in ordered],
    )
    if len(done) < len(ordered):
        raise Overtaken


async def copy_past(tx: WriteTx, unit: int, rows: Sequence[Standing]) -> None:
    """Keep versions that were replaced in the very transaction that brought them."""
    driver = await tx.driver()
    records = (
        (unit, row.identifier, row.version, row.status, row.issued_at, row.digest, row.envelope)
        for row in rows
    )
    await driver.copy_records_to_table(identifier_history.name, records=records, columns=_HISTORY)


@asynccontextmanager
async def savepoint(tx: WriteTx) -> AsyncIterator[None]:
    """Undo what the block wrote, and only that, where it raises."""
    async with tx.connection.begin_nested():
        yield
