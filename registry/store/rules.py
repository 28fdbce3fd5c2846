"""SQL of suffix rules: those of the class records that stand, found by their literal head.

Which of several rules answers is decided by whoever reads them (ADR 7).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from registry.store.engine import WriteTx

_PUT = """
    INSERT INTO rules (unit, identifier, head, pattern)
    SELECT $1::bigint, wanted.identifier, wanted.head, wanted.pattern
    FROM unnest($2::text[], $3::text[], $4::text[]) AS wanted (identifier, head, pattern)
    ON CONFLICT (unit, identifier) DO UPDATE SET head = excluded.head, pattern = excluded.pattern
"""
_DROP = "DELETE FROM rules WHERE unit = $1::bigint AND identifier = ANY($2::text[])"


@dataclass(frozen=True, slots=True)
class RuleRow:
    """The rule of one class."""

    identifier: str
    head: str
    pattern: str


async def put(tx: WriteTx, unit: int, rows: Iterable[RuleRow]) -> None:
    """Insert the rules of classes, or put them in the place of those they had."""
    ordered = sorted(rows, key=lambda row: row.identifier)
    driver = await tx.driver()
    await driver.execute(
        _PUT,
        unit,
        [row.identifier for row in ordered],
        [row.head for row in ordered],
        [row.pattern for row in ordered],
    )


async def drop(tx: WriteTx, unit: int, classes: Iterable[str]) -> None:
    """Remove the rules of classes."""
    driver = await tx.driver()
    await driver.execute(_DROP, unit, sorted(classes))
