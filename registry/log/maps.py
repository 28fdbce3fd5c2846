"""The two verifiable maps of the log, stored in buckets, an epoch at a time.

What the maps hold is a function of the log's leaves alone (`schemas.verifiable_map`). The tops of
both live in memory, the buckets in the database. An epoch, in these steps:

    M1  the new leaves, in order: of a prefix the last counts, of an identifier the highest version
    M2  read the buckets that they change, in one statement
    M3  put the entries in, hash each changed bucket, and the paths from there to the roots
    M4  write a row for each changed bucket
    M5  after the commit, and not before, what was staged is what stands
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from registry.store import maps as store
from registry.store.engine import ReadTx, WriteTx
from registry.store.maps import IDENTIFIERS, PREFIXES, Head, Row
from schemas.keys import b64decode
from schemas.leaf import EPOCH_HEAD, Leaf, What
from schemas.verifiable_map import map_value, prefix_key, prefix_value

from .buckets import Bucket, bucket_of
from .tops import Top

SLICE = 0.004  # seconds of hashing before other tasks get their turn

Place: TypeAlias = "tuple[int, int]"
"""(map, bucket)."""

_NEWEST = 2**63 - 1
_IN_A_MAP = {
    What.RECORD: IDENTIFIERS,
    What.LINK: IDENTIFIERS,
    What.DELEGATION: PREFIXES,
    What.STATUS: PREFIXES,
}


@dataclass(frozen=True, slots=True)
class Tops:
    """The tops of both maps at one epoch; immutable."""

    identifiers: Top = field(default_factory=Top)
    prefixes: Top = field(default_factory=Top)

    def of(self, number: int) -> Top:
        """Return the top of a map by its number."""
        return self.prefixes if number == PREFIXES else self.identifiers

    def put(self, heads: Iterable[Head | Row]) -> Tops:
        """Return the tops in which these buckets are as told."""
        changed: dict[int, dict[int, tuple[int, bytes]]] = {IDENTIFIERS: {}, PREFIXES: {}}
        for head in heads:
            changed[head.map][head.bucket] = (head.entries, head.root)
        return Tops(
            self.identifiers.put(changed[IDENTIFIERS]), self.prefixes.put(changed[PREFIXES])
        )


@dataclass(frozen=True, slots=True)
class Staged:
    """The roots of both maps as of an epoch whose transaction is still open."""

    epoch: int
    identifiers: bytes
    prefixes: bytes
    before: Tops = field(repr=False)
    after: Tops = field(repr=False)


class Maps:
    """Stages epochs; used by the sequencer alone, from one task."""

    def __init__(self) -> None:
        self._tops = Tops()

    async def load(self, tx: ReadTx) -> None:
        """Read the tops of the newest committed epoch into memory."""
        self._tops = Tops().put(await store.find_heads(await tx.driver(), _NEWEST))

    async def stage(self, tx: WriteTx, epoch: int, entries: Iterable[tuple[int, bytes]]) -> Staged:
        """Write the buckets that leaves change, given as (index, entry) in order (M1 to M4).

        `epoch` is above all before it, `entries` are those of the log since the last one.
        Raise VerifyError where an entry is no leaf.
        """
        # M1
        changes = _by_place(entries)
        # M2
        contents = await store.find_contents(await tx.driver(), list(changes), epoch - 1)
        before = {(item.map, item.bucket): Bucket(item.data) for item in contents}
        # M3
        rows: list[Row] = []
        pause = time.monotonic() + SLICE
        for place, changed in changes.items():
            old = before.get(place, Bucket())
            bucket = old.put(_newer(old, changed) if place[0] == IDENTIFIERS else changed)
            rows.append(Row(*place, epoch, len(bucket), bucket.root, bucket.data))
            if time.monotonic() >= pause:
                await asyncio.sleep(0)
                pause = time.monotonic() + SLICE
        after = self._tops.put(rows)
        # M4
        await store.copy_buckets(tx, rows)
        return Staged(epoch, after.identifiers.root, after.prefixes.root, self._tops, after)

    def adopt(self, staged: Staged) -> None:
        """Let stand what was staged, now that it is committed (M5)."""
        assert staged.before is self._tops, "one epoch is staged at a time"
        self._tops = staged.after


def _by_place(entries: Iterable[tuple[int, bytes]]) -> dict[Place, dict[bytes, bytes]]:
    """Sort what leaves put into the maps by the bucket it goes to."""
    found: dict[Place, dict[bytes, bytes]] = {}
    for number, content in _contents(entries).items():
        for key, value in content.items():
            found.setdefault((number, bucket_of(key)), {})[key] = value
    return found


def _contents(entries: Iterable[tuple[int, bytes]]) -> Mapping[int, dict[bytes, bytes]]:
    """Return what leaves put into each map."""
    found: dict[int, dict[bytes, bytes]] = {IDENTIFIERS: {}, PREFIXES: {}}
    epoch_head = f"{EPOCH_HEAD}\n".encode()
    for index, entry in entries:
        if entry.startswith(epoch_head):
            continue
        leaf = Leaf.parse(entry)
        number = _IN_A_MAP.get(leaf.what)
        if number is not None:
            key, value = _content(index, leaf)
            if number == PREFIXES or value > found[number].get(key, b""):
                found[number][key] = value
    return found


def _newer(old: Bucket, changed: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Leave out what is of a lower version than the bucket holds; a value begins with its version.

    The log orders by transaction id, and of two transactions the one that got its id first may
    have been the second to write.
    """
    return {key: value for key, value in changed.items() if value > (old.value(key) or b"")}


def _content(index: int, leaf: Leaf) -> tuple[bytes, bytes]:
    """Return the entry that a leaf makes in its map."""
    commitment, digest = b64decode(leaf.subject), b64decode(leaf.digest)
    if _IN_A_MAP[leaf.what] == PREFIXES:
        return prefix_key(str(leaf.prefix)), prefix_value(index, commitment, digest)
    return commitment, map_value(leaf.version, digest)
