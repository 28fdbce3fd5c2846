"""What records hide from some: kept in the transaction that accepts the record.

The registry holds the disclosures, so access to them is its word; that each is what the holder
signed is not: whoever is shown one checks it against the record (`schemas.disclosure`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from registry.store import disclosures as store
from registry.store.disclosures import Row
from registry.store.engine import Store, WriteTx
from schemas.disclosure import Marked, parse_disclosure
from schemas.identifier import Identifier


async def keep(tx: WriteTx, identifier: Identifier, version: int, marked: Iterable[Marked]) -> None:
    """Store what one version hides."""
    await keep_many(tx, [(identifier, version, marked)])


async def keep_many(
    tx: WriteTx, versions: Iterable[tuple[Identifier, int, Iterable[Marked]]]
) -> None:
    """Store what many versions hide, in one statement, none where they hide nothing."""
    rows = [
        (identifier, version, Row(item.disclosure.digest, item.audience, item.disclosure.text))
        for identifier, version, marked in versions
        for item in marked
    ]
    if rows:
        await store.copy(tx, rows)


async def read(opened: Store, versions: Sequence[tuple[Identifier, int]]) -> tuple[Marked, ...]:
    """Return what these versions hide. One statement."""
    async with opened.statement() as driver:
        rows = await store.read(driver, versions)
    return tuple(Marked(parse_disclosure(text), tuple(audience)) for audience, text in rows)
