"""The tree of the log as tiles: growing at its right edge, and hashes of what is stored. Pure.

A tile holds up to 256 hashes of one level, a level being eight levels of the tree (C2SP
tlog-tiles). `Tree` keeps the unfinished tile of every level, which is all that appending and the
root need: some 8 kB a level. `TileHashes` answers from tiles what `schemas.merkle` asks of a tree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from registry.store.log import TileRow
from schemas.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    Subtree,
    node_hash,
    tile_widths,
)

TILE_BYTES = TILE_WIDTH * HASH_BYTES


@dataclass(frozen=True)
class Tree:
    """A tree of `size` leaves: the hashes of the unfinished tile of each level, joined."""

    size: int = 0
    edge: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, size: int, tiles: Mapping[tuple[int, int], TileRow]) -> Tree:
        """Build it from its right-edge tiles, as `edge_of` names them, or wider ones of them.

        Raises KeyError where one is missing.
        """
        edge = []
        for level, n, width in tile_widths(size):
            whole = width == TILE_WIDTH
            edge.append(b"" if whole else tiles[level, n].data[: width * HASH_BYTES])
        return cls(size, tuple(edge))

    def append(self, hashes: Sequence[bytes]) -> tuple[Tree, list[TileRow]]:
        """Return the tree with these leaf hashes behind it, and the tiles that became others."""
        edge, tiles = list(self.edge), []
        level, data = 0, b"".join(hashes)
        while data:
            if level == len(edge):
                edge.append(b"")
            data = edge[level] + data
            n = self.size >> TILE_HEIGHT * (level + 1)
            whole = len(data) // TILE_BYTES * TILE_BYTES
            full = [data[at : at + TILE_BYTES] for at in range(0, whole, TILE_BYTES)]
            tiles += [TileRow(level, n + at, TILE_WIDTH, tile) for at, tile in enumerate(full)]
            edge[level] = data[whole:]
            if edge[level]:
                width = len(edge[level]) // HASH_BYTES
                tiles.append(TileRow(level, n + len(full), width, edge[level]))
            level, data = level + 1, b"".join(_folded(tile) for tile in full)
        return Tree(self.size + len(hashes), tuple(edge)), tiles

    @cached_property
    def root(self) -> bytes:
        """The tree head (RFC 6962 §2.1); hashed once, some 250 hashes a level."""
        # The subtrees get larger from right to left, and so do the levels.
        found: bytes | None = None
        for data in self.edge:
            for part in _complete(data):
                found = part if found is None else node_hash(part, found)
        return EMPTY_ROOT if found is None else found


def edge_of(size: int) -> list[tuple[int, int]]:
    """Return (level, n) of the unfinished tiles of a tree, which `Tree.of` is built from."""
    return [(level, n) for level, n, width in tile_widths(size) if width < TILE_WIDTH]


class TileHashes:
    """Hashes of complete subtrees, from tiles: a `schemas.merkle.Subtree`."""

    def __init__(self, tiles: Mapping[tuple[int, int], TileRow]) -> None:
        """Take the tiles by (level, n); as many as `places` named."""
        self._tiles = tiles

    def __call__(self, level: int, index: int) -> bytes:
        """Return the hash of the subtree over [index << level, (index + 1) << level)."""
        place, first, count = _within(level, index)
        start = first * HASH_BYTES
        return _folded(self._tiles[place].data[start : start + count * HASH_BYTES])


def places(plan: Callable[[Subtree], object]) -> list[tuple[int, int]]:
    """Return (level, n) of every tile that `plan` needs of the subtrees it is called with.

    For instance `places(lambda subtree: consistency_proof(old, new, subtree))`.
    """
    found: dict[tuple[int, int], None] = {}

    def note(level: int, index: int) -> bytes:
        found[_within(level, index)[0]] = None
        return bytes(HASH_BYTES)

    plan(note)
    return list(found)


def _within(level: int, index: int) -> tuple[tuple[int, int], int, int]:
    """Return the tile that a subtree lies in, and the first and the number of its hashes there."""
    tile_level, above = divmod(level, TILE_HEIGHT)
    n, first = divmod(index << above, TILE_WIDTH)
    return (tile_level, n), first, 1 << above


def _complete(data: bytes) -> Iterator[bytes]:
    """Yield the hashes of the complete subtrees of an unfinished tile, from the right."""
    end = len(data)
    while end:
        count = end // HASH_BYTES
        start = end - (count & -count) * HASH_BYTES
        yield _folded(data[start:end])
        end = start


def _folded(data: bytes) -> bytes:
    """Return the head over a power of two of joined hashes."""
    # `node_hash` inlined: this is where a sequencer spends half of its hashing.
    sha256 = hashlib.sha256
    while len(data) > HASH_BYTES:
        pairs = range(0, len(data), 2 * HASH_BYTES)
        data = b"".join([sha256(b"\x01" + data[at : at + 64]).digest() for at in pairs])
    return data
