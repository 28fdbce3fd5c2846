"""SQL of the verifiable maps: a row for each bucket and each epoch that changed it.

Rows are inserted and never updated: what stands at an epoch is the newest row of each bucket up to
it, so every epoch can be read for ever, in any snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import asyncpg

from .engine import WriteTx
from .tables import map_bucket

IDENTIFIERS, PREFIXES = 0, 1


class Head(NamedTuple):
    """What is known of a bucket without reading its entries."""

    map: int
    bucket: int
    epoch: int  # that changed it last
    entries: int
    root: bytes


class Row(NamedTuple):
    """A bucket as it is stored, a column each."""

    map: int
    bucket: int
    epoch: int
    entries: int
    root: bytes
    data: bytes


class Content(NamedTuple):
    """The entries of a bucket at an epoch."""

    map: int
    bucket: int
    epoch: int  # that changed it last
    data: bytes


# From bucket to bucket by the index: what is passed over are the older rows, however many.
HEADS = """
WITH RECURSIVE place AS (
    (SELECT m.map, m.bucket FROM map_bucket AS m ORDER BY m.map, m.bucket LIMIT 1)
    UNION ALL
    SELECT n.map, n.bucket
    FROM place AS p CROSS JOIN LATERAL (
        SELECT m.map, m.bucket FROM map_bucket AS m
        WHERE (m.map, m.bucket) > (p.map, p.bucket)
        ORDER BY m.map, m.bucket LIMIT 1
    ) AS n
)
SELECT p.map, p.bucket, b.epoch, b.entries, b.root
FROM place AS p CROSS JOIN LATERAL (
    SELECT m.epoch, m.entries, m.root FROM map_bucket AS m
    WHERE m.map = p.map AND m.bucket = p.bucket AND m.epoch <= $1
    ORDER BY m.epoch DESC LIMIT 1
) AS b
"""
HEADS_CHANGED = """
SELECT DISTINCT ON (m.map, m.bucket) m.map, m.bucket, m.epoch, m.entries, m.root
FROM map_bucket AS m WHERE m.epoch > $1 AND m.epoch <= $2
ORDER BY m.map, m.bucket, m.epoch DESC
"""
CONTENTS = """
SELECT w.map, w.bucket, b.epoch, b.data
FROM unnest($1::smallint[], $2::bigint[]) AS w (map, bucket) CROSS JOIN LATERAL (
    SELECT m.epoch, m.data FROM map_bucket AS m
    WHERE m.map = w.map AND m.bucket = w.bucket AND m.epoch <= $3
    ORDER BY m.epoch DESC LIMIT 1
) AS b
"""


async def find_heads(driver: asyncpg.Connection[Any], epoch: int) -> list[Head]:
    """Read every bucket as it stands at an epoch, without its entries. One statement."""
    return [Head(*row) for row in await driver.fetch(HEADS, epoch)]


async def find_changed(driver: asyncpg.Connection[Any], after: int, epoch: int) -> list[Head]:
    """Read the buckets that changed after one epoch and up to another. One statement."""
    return [Head(*row) for row in await driver.fetch(HEADS_CHANGED, after, epoch)]


async def find_contents(
    driver: asyncpg.Connection[Any], wanted: Sequence[tuple[int, int]], epoch: int
) -> list[Content]:
    """Read the entries of (map, bucket)s as they stand at an epoch. One statement."""
    maps, buckets = [item[0] for item in wanted], [item[1] for item in wanted]
    return [Content(*row) for row in await driver.fetch(CONTENTS, maps, buckets, epoch)]


async def copy_buckets(tx: WriteTx, rows: Iterable[Row]) -> None:
    """Insert rows by COPY."""
    driver = await tx.driver()
    await driver.copy_records_to_table(map_bucket.name, records=rows, columns=Row._fields)
