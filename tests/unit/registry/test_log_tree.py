"""The tree as tiles, against the slow and obvious one; `schemas.merkle` is the reference."""

import pytest
from hypothesis import given, settings, strategies as st

from registry.log.tree import TileHashes, Tree, edge_of, places
from schemas.merkle import (
    EMPTY_ROOT,
    consistency_proof,
    inclusion_proof,
    root_of,
    tile_widths,
    verify_consistency,
    verify_inclusion,
)
from tests.trees import Leaves

SIZE = 70_000  # three levels of tiles
LEAVES = Leaves(SIZE)


def grown(batches):
    """The tree and all tiles after appending batches, checked on the way."""
    tree, tiles, done = Tree(), {}, 0
    for batch in batches:
        tree, changed = tree.append(LEAVES.hashes[done : done + batch])
        done += batch
        for tile in changed:
            before = tiles.get((tile.level, tile.n))
            assert before is None or before.width < tile.width
            assert before is None or tile.data.startswith(before.data)
            tiles[tile.level, tile.n] = tile
    assert tree.size == done
    return tree, tiles


WHOLE = grown([SIZE])


@given(st.lists(st.sampled_from([0, 1, 2, 3, 100, 255, 256, 257, 700, 4096]), max_size=12))
@settings(max_examples=60, deadline=None)
def test_batches_do_not_matter(batches):
    tree, tiles = grown(batches)
    size = sum(batches)
    assert tree.root == (LEAVES.root(0, size) if size else EMPTY_ROOT)
    assert (tree, tiles) == grown([size])


@given(st.lists(st.integers(1, 600), max_size=6))
@settings(max_examples=60, deadline=None)
def test_its_tiles_are_those_of_tlog_tiles(batches):
    _, tiles = grown(batches)
    edge = {(level, n): width for level, n, width in tile_widths(sum(batches))}
    for (level, n), tile in tiles.items():
        assert tile.width == edge.get((level, n), 256)
        assert len(tile.data) == 32 * tile.width


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65_535, 65_536, 65_537, SIZE])
def test_read_back_from_its_edge(size):
    tree, tiles = grown([size])
    edge = {place: tiles[place] for place in edge_of(size)}
    assert Tree.of(size, edge) == tree
    # tiles that have grown since are as good
    wider = {place: WHOLE[1][place] for place in edge}
    assert Tree.of(size, wider) == tree


def test_a_missing_edge_is_noticed():
    with pytest.raises(KeyError):
        Tree.of(3, {})


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_proofs_from_the_few_tiles_they_take(data):
    new = data.draw(st.integers(1, SIZE))
    old, index = data.draw(st.integers(1, new)), data.draw(st.integers(0, new - 1))

    def computed(plan):
        named = places(plan)
        assert len(named) <= 3 * 3
        return plan(TileHashes({place: WHOLE[1][place] for place in named}))

    roots = [computed(lambda subtree, size=size: root_of(size, subtree)) for size in (old, new)]
    assert roots[1] == LEAVES.root(0, new)
    proof = computed(lambda subtree: consistency_proof(old, new, subtree))
    verify_consistency(old, new, proof, *roots)
    path = computed(lambda subtree: inclusion_proof(index, new, subtree))
    verify_inclusion(LEAVES.hashes[index], index, new, path, roots[1])
