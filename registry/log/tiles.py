"""Audit paths from kept tiles: full tiles never change, and their inner levels are hashed once.

A tile holds up to 256 hashes of one level; the seven levels between it and the next follow from
them. Kept here they make a path of a few look-ups, and of hashes only where the tree's right edge
is ragged. The unfinished tile of a level is kept as wide as it was when it was read, and read
again by whoever needs it wider.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator

from registry.store.log import TileRow
from schemas.merkle import HASH_BYTES, TILE_HEIGHT, TILE_WIDTH, inclusion_proof, node_hash

TILES = 2_048  # kept; a full one with its inner levels takes about 40 kB

_Place = tuple[int, int]


class _Tile:
    """The hashes of a tile and, in `levels[n]`, those n levels above; the last may be absent."""

    __slots__ = ("levels", "width")

    def __init__(self, width: int, data: bytes) -> None:
        self.width = width
        self.levels = [[data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]]
        while len(self.levels[-1]) > 1 and len(self.levels) < TILE_HEIGHT:
            below = self.levels[-1]
            self.levels.append(
                [node_hash(*below[at : at + 2]) for at in range(0, len(below) - 1, 2)]
            )


class Tiles:
    """Keeps the tiles of one log that were used last; owned by one event loop."""

    def __init__(self, limit: int = TILES) -> None:
        self._limit = limit
        self._kept: OrderedDict[_Place, _Tile] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def missing(self, paths: Iterable[tuple[int, int]]) -> list[_Place]:
        """Return (level, n) of the tiles that are to be read before `path` can give these.

        `paths` are (index, size) pairs.
        """
        wanted: dict[_Place, None] = {}
        for index, size in paths:
            for level, n, width in needed(index, size):
                kept = self._kept.get((level, n))
                if kept is None or kept.width < width:
                    wanted[level, n] = None
                else:
                    self._kept.move_to_end((level, n))
        return list(wanted)

    def put(self, rows: Iterable[TileRow]) -> None:
        """Keep what was read, and of one tile the widest."""
        for row in rows:
            place = (row.level, row.n)
            kept = self._kept.get(place)
            if kept is None or kept.width < row.width:
                self._kept[place] = _Tile(row.width, row.data)
            self._kept.move_to_end(place)

    def path(self, index: int, size: int) -> tuple[bytes, ...]:
        """Return the audit path of a leaf in the tree of `size`, from tiles that are all here.

        Raises KeyError where one is missing.
        """
        return inclusion_proof(index, size, self._subtree)

    def trim(self) -> None:
        """Forget what was used longest ago, beyond the limit; between two uses, never within."""
        while len(self._kept) > self._limit:
            self._kept.popitem(last=False)

    def _subtree(self, level: int, index: int) -> bytes:
        above, inner = divmod(level, TILE_HEIGHT)
        place = (above, index << inner >> TILE_HEIGHT)
        tile = self._kept[place]
        self._kept.move_to_end(place)
        return tile.levels[inner][index & (TILE_WIDTH >> inner) - 1]


def needed(index: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Yield (level, n, width) of the tiles that the path of a leaf in a tree of `size` touches.

    At each level the tile above the leaf, for its siblings, and the one at the right edge.
    """
    level = 0
    while count := size >> TILE_HEIGHT * level:
        edge, width = divmod(count, TILE_WIDTH)
        at = index >> TILE_HEIGHT * (level + 1)
        if at < edge:
            yield level, at, TILE_WIDTH
        if width:
            yield level, edge, width
        level += 1
