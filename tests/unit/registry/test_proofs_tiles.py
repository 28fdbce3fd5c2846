"""Paths from kept tiles: those of the plain tree, whatever the size, and no tile read twice."""

import pytest

from registry.log.tiles import Tiles, needed
from registry.store.log import TileRow
from schemas.merkle import (
    TILE_WIDTH,
    inclusion_proof,
    leaf_hash,
    node_hash,
    tile_widths,
    verify_inclusion,
)
from tests.trees import Leaves

TREE = Leaves(entries=[str(n).encode() for n in range(66_000)])
MEMO = {}


def subtree(level, index):
    """The reference with a memory, for trees of more than one level of tiles."""
    if (level, index) not in MEMO:
        if level == 0:
            return TREE.hashes[index]
        MEMO[level, index] = node_hash(
            subtree(level - 1, 2 * index), subtree(level - 1, 2 * index + 1)
        )
    return MEMO[level, index]


def row(level, n, size):
    """A tile as it is stored in a log of `size` leaves."""
    width = min(TILE_WIDTH, (size >> 8 * level) - TILE_WIDTH * n)
    hashes = [subtree(8 * level, TILE_WIDTH * n + at) for at in range(width)]
    return TileRow(level, n, width, b"".join(hashes))


def read(tiles, paths, stored):
    places = tiles.missing(paths)
    tiles.put(row(*place, stored) for place in places)
    return places


@pytest.mark.parametrize(
    "size", [1, 2, 3, 255, 256, 257, 300, 511, 512, 513, 65_535, 65_536, 65_537, 65_793, 66_000]
)
def test_every_path_is_that_of_the_plain_tree(size):
    tiles = Tiles()
    for index in {0, 1, size // 3, size // 2, size - 2, size - 1} & set(range(size)):
        read(tiles, [(index, size)], size)
        path = tiles.path(index, size)
        assert path == inclusion_proof(index, size, subtree)
        root = TREE.root(0, size) if size < 1_000 else None
        if root:
            verify_inclusion(leaf_hash(str(index).encode()), index, size, path, root)


def test_a_tile_is_read_once_and_an_unfinished_one_again_when_it_has_grown():
    tiles = Tiles()
    assert read(tiles, [(5, 700)], 700) == [(0, 0), (0, 2), (1, 0)]
    assert read(tiles, [(5, 700), (200, 700), (690, 700)], 700) == []
    assert read(tiles, [(300, 700)], 700) == [(0, 1)]
    assert read(tiles, [(300, 701)], 900) == [(0, 2)]
    # It was read wider than asked for: the sizes in between, and older ones, need nothing more.
    assert read(tiles, [(300, size) for size in range(513, 768)], 900) == []
    assert tiles.path(300, 600) == inclusion_proof(300, 600, subtree)


def test_a_narrower_tile_does_not_replace_a_wider_one():
    tiles = Tiles()
    tiles.put([row(0, 0, 200), row(0, 0, 100)])
    assert tiles.missing([(3, 200)]) == []


def test_what_was_used_longest_ago_is_forgotten():
    tiles = Tiles(limit=3)
    for n in range(4):
        read(tiles, [(256 * n, 1_024)], 1_024)
    tiles.path(0, 1_024)
    tiles.trim()
    assert len(tiles) == 3
    assert tiles.missing([(0, 1_024)]) == []
    assert tiles.missing([(256, 1_024)]) == [(0, 1)]


def test_every_needed_tile_is_one_that_the_log_stores():
    for size in range(1, 1_200):
        stored = {(level, n): width for level, n, width in tile_widths(size)}
        for level, n, width in needed(size - 1, size):
            assert n < stored_full(level, size) or stored[level, n] == width


def stored_full(level, size):
    return (size >> 8 * level) // TILE_WIDTH
