"""Merkle trees and maps: what is proven verifies, and nothing near it does."""

from hypothesis import given, settings, strategies as st

from schemas import merkle
from schemas.errors import VerifyError
from schemas.verifiable_map import (
    VALUE_BYTES,
    ZERO,
    MapProof,
    VerifiableMap,
    map_key,
    map_leaf,
    map_node,
    verify_map,
)
from tests.trees import Leaves

bounded = settings(deadline=None, max_examples=120)
TREE = Leaves(40)
ROOTS = [merkle.EMPTY_ROOT, *(TREE.root(0, size) for size in range(1, 41))]
sizes = st.integers(0, 40)


def test_roots_are_those_of_the_recursive_definition():
    assert [merkle.root_of(size, TREE) for size in range(41)] == ROOTS


def test_every_leaf_of_every_tree_is_proven():
    for size in range(1, 41):
        for index in range(size):
            proof = merkle.inclusion_proof(index, size, TREE)
            merkle.verify_inclusion(TREE.hashes[index], index, size, proof, ROOTS[size])


def test_every_tree_is_proven_to_extend_every_smaller_one():
    for new in range(41):
        for old in range(new + 1):
            proof = merkle.consistency_proof(old, new, TREE)
            merkle.verify_consistency(old, new, proof, ROOTS[old], ROOTS[new])


def accepts(verify, *arguments):
    try:
        verify(*arguments)
    except VerifyError:
        return False
    return True


def spoiled(proof, data):
    """The proof with one hash changed, dropped or doubled."""
    at = data.draw(st.integers(0, len(proof) - 1))
    changed = bytes([proof[at][0] ^ 1]) + proof[at][1:]
    middle = data.draw(st.sampled_from([(), (changed,), (proof[at], proof[at])]))
    return (*proof[:at], *middle, *proof[at + 1 :])


@bounded
@given(st.data())
def test_no_spoiled_path_verifies(data):
    size = data.draw(st.integers(2, 40))
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(index, size, TREE)
    leaf, root = TREE.hashes[index], ROOTS[size]
    assert not accepts(merkle.verify_inclusion, leaf, index, size, spoiled(proof, data), root)
    wrong = data.draw(st.integers(-1, 41).filter(lambda n: n != index))
    assert not accepts(merkle.verify_inclusion, leaf, wrong, size, proof, root)


@bounded
@given(st.data())
def test_no_spoiled_step_verifies(data):
    old = data.draw(st.integers(1, 39))
    new = data.draw(st.integers(old + 1, 40))
    proof = merkle.consistency_proof(old, new, TREE)
    step = spoiled(proof, data)
    assert not accepts(merkle.verify_consistency, old, new, step, ROOTS[old], ROOTS[new])
    other = data.draw(sizes.filter(lambda n: n != old))
    assert not accepts(merkle.verify_consistency, old, new, proof, ROOTS[other], ROOTS[new])


@bounded
@given(sizes, sizes, st.lists(st.binary(min_size=32, max_size=32), max_size=8))
def test_nothing_but_a_verdict_is_raised(one, two, proof):
    accepts(merkle.verify_inclusion, ROOTS[1], one, two, proof, ROOTS[40])
    accepts(merkle.verify_consistency, one, two, proof, ROOTS[one], ROOTS[two])


# maps

keys = st.integers(0, 60).map(lambda n: map_key(b"salt", str(n).encode()))
values = st.binary(min_size=VALUE_BYTES, max_size=VALUE_BYTES)
entries = st.dictionaries(keys, values, max_size=24)


def defined_root(found, depth=0):
    """The root by its definition: empty, one entry, or two halves."""
    if len(found) <= 1:
        return map_leaf(*found[0]) if found else ZERO
    halves = ([], [])
    for key, value in found:
        halves[key[depth // 8] >> (7 - depth % 8) & 1].append((key, value))
    return map_node(*(defined_root(half, depth + 1) for half in halves))


@bounded
@given(entries, keys)
def test_a_map_proves_what_it_holds_and_what_it_does_not(found, key):
    tree = VerifiableMap(list(found.items()))
    assert tree.root == defined_root(list(found.items()))
    for asked in (key, *list(found)[:3]):
        assert verify_map(tree.root, asked, tree.prove(asked)) == found.get(asked)


@bounded
@given(entries.filter(bool), keys, st.data())
def test_no_map_proof_serves_another_key_or_root(found, key, data):
    tree = VerifiableMap(list(found.items()))
    proof = tree.prove(key)
    others = dict(found)
    others[data.draw(keys)] = data.draw(values)
    changed = VerifiableMap(list(others.items()))
    if changed.root != tree.root:
        assert not accepts(verify_map, changed.root, key, proof)
    bare = MapProof(proof.depth, proof.bitmap, proof.siblings, None)
    if proof.terminal is not None:
        assert not accepts(verify_map, tree.root, key, bare)
