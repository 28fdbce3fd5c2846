"""SQL of the transparency log: the outbox behind a cursor, entries, tiles, epochs, checkpoints.

Everything goes through asyncpg itself: the sequencer moves thousands of rows at a time, and
whoever makes proofs reads a handful of tiles and entries in single statements. Positions are leaf
indices; a tile is named by its level (eight tree levels each) and its number in that level.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import asyncpg

Driver: TypeAlias = "asyncpg.Connection[Any]"


class ChangeRow(NamedTuple):
    """One accepted write that the log is to hold, with what its leaf is made of."""

    xid: int
    id: int
    prefix: str
    about: str
    version: int
    digest: str | None
    what: str
    subject: str | None  # `about` where None
    salt: bytes | None  # of the prefix; None where the prefix is not there


class StateRow(NamedTuple):
    """How far the log is, and up to which change."""

    origin: str
    size: int
    root: bytes
    cursor_xid: int
    cursor_id: int
    epoch: int  # the newest one, 0 before the first


class TileRow(NamedTuple):
    """One tile: `width` hashes of 32 bytes, joined."""

    level: int
    n: int
    width: int
    data: bytes


class EntryRow(NamedTuple):
    """One entry: its index and the bytes that were hashed."""

    idx: int
    leaf: bytes


class EpochRow(NamedTuple):
    """The roots of both maps over the first `size` leaves; the epoch's own leaf is `idx`."""

    epoch: int
    idx: int
    size: int
    identifiers: bytes
    prefixes: bytes


class CheckpointRow(NamedTuple):
    """A published checkpoint: `note` is the text with all its signatures."""

    size: int
    root: bytes
    epoch: int
    time: int
    note: str


# What the sequencer reads and writes

_LEAD = int.from_bytes(b"tl-log-1")  # the advisory lock of whoever leads, 64 bits
_FOUND = """
INSERT INTO log_state (id, origin, size, root, cursor_xid, cursor_id, epoch)
VALUES (1, $1, 0, $2, '0', 0, 0) ON CONFLICT (id) DO NOTHING
"""
_STATE = "SELECT origin, size, root, cursor_xid, cursor_id, epoch FROM log_state WHERE id = 1"
# Who locks it is going to sign what it commits: no commit that returns before it is on the disk.
_LOCKED = """
SELECT origin, size, root, cursor_xid, cursor_id, epoch,
    CASE current_setting('synchronous_commit') WHEN 'off'
    THEN set_config('synchronous_commit', 'local', true) END
FROM log_state WHERE id = 1 FOR UPDATE
"""
# The key of `changes` begins with (xid, id), so this is one range of its index. What is still
# open, or began after something that is, lies at or above the snapshot's xmin and comes later.
_PENDING = """
SELECT c.xid, c.id, c.prefix, c.about, c.version, c.digest, c.what, c.subject, p.salt
FROM (
    SELECT c.xid, c.id, split_part(c.about, '/', 1) AS prefix, c.about, c.version, c.digest,
        c.what, c.subject
    FROM changes AS c
    WHERE (c.xid, c.id) > ($1::xid8, $2::bigint)
        AND c.xid < pg_snapshot_xmin(pg_current_snapshot()) AND c.what IS NOT NULL
    ORDER BY c.xid, c.id LIMIT $3
) AS c LEFT JOIN prefixes AS p ON p.prefix = c.prefix
ORDER BY c.xid, c.id
"""
_WAITING = """
SELECT EXISTS (
    SELECT FROM changes AS c, log_state AS s
    WHERE s.id = 1 AND (c.xid, c.id) > (s.cursor_xid, s.cursor_id)
        AND c.xid < pg_snapshot_xmin(pg_current_snapshot()) AND c.what IS NOT NULL
)
"""
_ADVANCE = """
UPDATE log_state SET size = $2, root = $3, cursor_xid = $4::xid8, cursor_id = $5, epoch = $6
WHERE id = 1 AND size = $1
"""
# A tile only ever gains hashes: a row that would change any, or a full tile, stays as it is, and
# the count of rows tells.
_PUT_TILES = """
INSERT INTO log_tile AS t (level, n, width, data)
SELECT level, n, width, data
FROM unnest($1::smallint[], $2::bigint[], $3::smallint[], $4::bytea[]) AS u (level, n, width, data)
ON CONFLICT (level, n) DO UPDATE SET width = excluded.width, data = excluded.data
WHERE t.width < excluded.width AND substr(excluded.data, 1, length(t.data)) = t.data
"""
_PUT_EPOCH = """
INSERT INTO log_epoch (epoch, idx, size, identifiers, prefixes) VALUES ($1, $2, $3, $4, $5)
"""
_PUT_CHECKPOINT = """
INSERT INTO log_checkpoint (size, root, epoch, time, note) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (size) DO NOTHING
"""


async def lead(driver: Driver) -> bool:
    """Become, or stay, the one connection that leads; the lead is lost with the connection.

    Never on a pooled connection: it gives up its locks when it goes back.
    """
    return bool(await driver.fetchval("SELECT pg_try_advisory_lock($1)", _LEAD))


async def found(driver: Driver, origin: str, root: bytes) -> bool:
    """Begin the log, empty; False where it was begun before."""
    return bool(await driver.execute(_FOUND, origin, root) == "INSERT 0 1")


async def state(driver: Driver, *, lock: bool = False) -> StateRow | None:
    """Return how far the log is, None where it was never founded; `lock` holds its row."""
    row = await driver.fetchrow(_LOCKED if lock else _STATE)
    return None if row is None else StateRow(*row[:6])


async def pending(driver: Driver, xid: int, change: int, limit: int) -> list[ChangeRow]:
    """Return the next changes for the log behind (xid, id), in that order, of finished writes."""
    return [ChangeRow(*row) for row in await driver.fetch(_PENDING, xid, change, limit)]


async def waiting(driver: Driver) -> bool:
    """Tell whether there is a change that the log has not taken in."""
    return bool(await driver.fetchval(_WAITING))


async def append(driver: Driver, first: int, entries: Sequence[tuple[bytes, bytes]]) -> None:
    """Write (leaf hash, leaf) pairs from index `first` on, by COPY."""
    records = ((first + at, *entry) for at, entry in enumerate(entries))
    columns = ("idx", "leaf_hash", "leaf")
    await driver.copy_records_to_table("log_entry", records=records, columns=columns)


async def put_index(driver: Driver, places: Iterable[tuple[str, int]]) -> None:
    """Write where digests are, by COPY; raise UniqueViolationError where one is there already."""
    await driver.copy_records_to_table("log_index", records=places, columns=("digest", "idx"))


async def put_tiles(driver: Driver, tiles: Sequence[TileRow]) -> int:
    """Write tiles that are new or longer than before; return how many were."""
    columns: list[list[object]] = [list(column) for column in zip(*tiles, strict=True)]
    done: str = await driver.execute(_PUT_TILES, *columns)
    return int(done.rpartition(" ")[2])


async def advance(driver: Driver, size: int, new: StateRow) -> bool:
    """Move the state on from `size`; False where it is at another size."""
    values = (new.size, new.root, new.cursor_xid, new.cursor_id, new.epoch)
    return bool(await driver.execute(_ADVANCE, size, *values) == "UPDATE 1")


async def put_epoch(driver: Driver, row: EpochRow) -> None:
    """Write an epoch."""
    await driver.execute(_PUT_EPOCH, *row)


async def put_checkpoint(driver: Driver, row: CheckpointRow) -> None:
    """Write a checkpoint; the first of a size stands."""
    await driver.execute(_PUT_CHECKPOINT, *row)


# What everybody reads

_TILES = """
SELECT t.level, t.n, t.width, t.data
FROM unnest($1::smallint[], $2::bigint[]) AS u (level, n)
CROSS JOIN LATERAL (
    SELECT t.level, t.n, t.width, t.data FROM log_tile AS t
    WHERE t.level = u.level AND t.n = u.n OFFSET 0
) AS t
"""
_ENTRIES = (
    "SELECT e.idx, e.leaf FROM log_entry AS e WHERE e.idx >= $1 AND e.idx < $2 ORDER BY e.idx"
)
_INDEX = """
SELECT i.digest, i.idx FROM unnest($1::text[]) AS u (digest)
CROSS JOIN LATERAL (
    SELECT i.digest, i.idx FROM log_index AS i WHERE i.digest = u.digest COLLATE "C" OFFSET 0
) AS i
"""
_CHECKPOINT = "SELECT c.size, c.root, c.epoch, c.time, c.note FROM log_checkpoint AS c"
_NEWEST = f"{_CHECKPOINT} ORDER BY c.size DESC LIMIT 1"
_AT = f"{_CHECKPOINT} WHERE c.time <= $1 ORDER BY c.time DESC, c.size DESC LIMIT 1"
_COVERING = f"{_CHECKPOINT} WHERE c.size > $1 ORDER BY c.size LIMIT 1"
_EPOCH = "SELECT e.epoch, e.idx, e.size, e.identifiers, e.prefixes FROM log_epoch AS e"


async def find_tiles(
    driver: Driver, places: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], TileRow]:
    """Return the tiles at (level, n) that are there, each as wide as it is now."""
    levels, numbers = [level for level, _ in places], [n for _, n in places]
    rows = await driver.fetch(_TILES, levels, numbers)
    return {(row[0], row[1]): TileRow(*row) for row in rows}


async def find_entries(driver: Driver, first: int, end: int) -> list[EntryRow]:
    """Return the entries first, first + 1, … end - 1, as far as they are there."""
    return [EntryRow(*row) for row in await driver.fetch(_ENTRIES, first, end)]


async def find_hashes(driver: Driver, first: int, end: int) -> list[bytes]:
    """Return the leaf hashes of the same entries."""
    query = "SELECT leaf_hash FROM log_entry WHERE idx >= $1 AND idx < $2 ORDER BY idx"
    return [row[0] for row in await driver.fetch(query, first, end)]


async def count(driver: Driver) -> tuple[int, int, int]:
    """Return how many entries, tiles and indexed envelopes there are."""
    query = (
        "SELECT (SELECT count(*) FROM log_entry), (SELECT count(*) FROM log_tile),"
        " (SELECT count(*) FROM log_index)"
    )
    row = await driver.fetchrow(query)
    assert row is not None
    return row[0], row[1], row[2]


async def find_index(driver: Driver, digests: Sequence[str]) -> dict[str, int]:
    """Return where records, links, delegations and batches are in the log, by envelope digest."""
    return {row[0]: row[1] for row in await driver.fetch(_INDEX, digests)}


async def newest_checkpoint(driver: Driver) -> CheckpointRow | None:
    """Return the checkpoint that was published last."""
    return _checkpoint(await driver.fetchrow(_NEWEST))


async def checkpoint_at(driver: Driver, time: int) -> CheckpointRow | None:
    """Return the checkpoint that was the newest at a time (Unix seconds)."""
    return _checkpoint(await driver.fetchrow(_AT, time))


async def first_checkpoint_covering(driver: Driver, index: int) -> CheckpointRow | None:
    """Return the first published checkpoint whose tree has the leaf `index`."""
    return _checkpoint(await driver.fetchrow(_COVERING, index))


async def checkpoints(driver: Driver, size: int, limit: int) -> list[CheckpointRow]:
    """Return published checkpoints above a size, in order."""
    query = f"{_CHECKPOINT} WHERE c.size > $1 ORDER BY c.size LIMIT $2"
    return [CheckpointRow(*row) for row in await driver.fetch(query, size, limit)]


async def find_epoch(driver: Driver, epoch: int) -> EpochRow | None:
    """Return an epoch by its number."""
    row = await driver.fetchrow(f"{_EPOCH} WHERE e.epoch = $1", epoch)
    return None if row is None else EpochRow(*row)


async def epochs(driver: Driver, after: int, limit: int) -> list[EpochRow]:
    """Return the epochs behind one, in order."""
    query = f"{_EPOCH} WHERE e.epoch > $1 ORDER BY e.epoch LIMIT $2"
    return [EpochRow(*row) for row in await driver.fetch(query, after, limit)]


def _checkpoint(row: asyncpg.Record | None) -> CheckpointRow | None:
    return None if row is None else CheckpointRow(*row)
