"""SQL of the usual registration: what it rests on and what it writes, in one statement.

The key and the chain are compared with what was read before, in the snapshot that writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import asyncpg

from registry.store.accounts import Secret
from registry.store.identifiers import FAMILY, Standing, half_of
from registry.store.prefixes import Link

# A CTE that writes is done whatever asks for it; the last SELECT only tells.
_WRITE = """
    WITH stands AS (
        SELECT 1 FROM api_keys AS k
        WHERE k.id = $1::text AND k.prefix = $2::text AND k.secret_hash = $3::bytea
            AND k.revoked_at IS NULL AND k.expires_at IS NOT DISTINCT FROM $4::timestamptz
            AND $6::text[] = (
                SELECT array_agg(
                    concat_ws(' ', p.prefix, p.status, array_to_string(p.run, ' '), p.delegation)
                    ORDER BY p.prefix
                )
                FROM prefixes AS p WHERE p.prefix = ANY ($5::text[])
            )
    ), written AS (
        INSERT INTO identifiers
            (unit, identifier, version, kind, status, parent, issued_at, digest, envelope)
        SELECT $7::bigint, $10::text, 1, $11::text, $12::text, $13::text, $14::bigint,
            $15::text, $16::text
        FROM stands CROSS JOIN pg_advisory_xact_lock_shared($8::integer, $9::integer)
        WHERE true
        ON CONFLICT DO NOTHING
        RETURNING unit, identifier, digest
    ), told AS (
        INSERT INTO changes (unit, op, about, version, digest, what)
        SELECT unit, $17::smallint, identifier, 1, digest, $18::text FROM written
        RETURNING 1
    )
    SELECT EXISTS (SELECT FROM stands), EXISTS (SELECT FROM told)
"""


@dataclass(frozen=True, slots=True)
class Ground:
    """What a registration rests on: an API key and the rows of a chain, as they were read."""

    key_id: str
    secret: Secret
    names: list[str]  # of the prefix and all above it, allocated or not
    rows: list[str]

    @classmethod
    def of(cls, key_id: str, secret: Secret, links: Iterable[Link]) -> Ground:
        """Take them in the form in which the statement compares them."""
        names = [str(item) for item in (secret.prefix, *secret.prefix.ancestors())]
        rows = {str(link.prefix): _row(link) for link in links}
        return cls(key_id, secret, names, [rows[name] for name in sorted(rows)])


def _row(link: Link) -> str:
    return " ".join((str(link.prefix), link.status, " ".join(link.run), link.delegation))


class Outcome(NamedTuple):
    """What became of it; nothing is written unless `stands`."""

    stands: bool  # what it rests on
    written: bool  # and not where the identifier is taken


async def write_first(
    driver: asyncpg.Connection[Any],
    ground: Ground,
    unit: int,
    first: Standing,
    *,
    op: int,
    what: str,
) -> Outcome:
    """Insert a first version and tell of it, if `ground` still stands. One statement.

    The family lock is taken as `identifiers.insert_first` takes it.
    """
    row = await driver.fetchrow(
        _WRITE,
        ground.key_id,
        str(ground.secret.prefix),
        ground.secret.secret_hash,
        ground.secret.expires_at,
        ground.names,
        ground.rows,
        unit,
        FAMILY,
        half_of(unit),
        first.identifier,
        first.kind,
        first.status,
        first.parent,
        first.issued_at,
        first.digest,
        first.envelope,
        op,
        what,
    )
    return Outcome(*row)
