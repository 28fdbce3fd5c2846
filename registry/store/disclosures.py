"""What records hide: a row for each disclosure of each version, with those who may see it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import asyncpg

from registry.store.engine import WriteTx
from registry.store.tables import disclosures, unit_of
from schemas.identifier import Identifier

_COLUMNS = ("unit", "identifier", "version", "digest", "audience", "disclosure")

_READ = """
    SELECT d.audience, d.disclosure
    FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS wanted (unit, identifier, version)
    CROSS JOIN LATERAL (
        SELECT audience, digest, disclosure FROM disclosures
        WHERE unit = wanted.unit AND identifier = wanted.identifier AND version = wanted.version
        ORDER BY digest OFFSET 0
    ) AS d
"""


class Row(NamedTuple):
    """A disclosure as it is stored, but for whose it is."""

    digest: str
    audience: Sequence[str]
    disclosure: str


async def copy(tx: WriteTx, items: Iterable[tuple[Identifier, int, Row]]) -> None:
    """Store the disclosures of versions that were accepted in this transaction."""
    driver = await tx.driver()
    records = ((unit_of(about.prefix), about.text, version, *row) for about, version, row in items)
    await driver.copy_records_to_table(disclosures.name, records=records, columns=_COLUMNS)


async def read(
    driver: asyncpg.Connection[Any], versions: Sequence[tuple[Identifier, int]]
) -> Sequence[tuple[Sequence[str], str]]:
    """Return (audience, disclosure) of what these versions hide. One statement."""
    units = [unit_of(about.prefix) for about, _ in versions]
    names = [about.text for about, _ in versions]
    numbers = [version for _, version in versions]
    return [(row[0], row[1]) for row in await driver.fetch(_READ, units, names, numbers)]
