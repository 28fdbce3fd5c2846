"""The verifiable map: present, absent in both ways, and what a forged path is refused for."""

from dataclasses import replace

import pytest

from schemas.keys import sha256
from schemas.verifiable_map import (
    ZERO,
    MapProof,
    VerifiableMap,
    bit,
    map_key,
    map_leaf,
    map_node,
    map_value,
    verify_map,
)
from tests.parties import refusal

ENTRIES = [
    (map_key(b"salt", f"88.1/{n}".encode()), map_value(n, sha256(str(n).encode())))
    for n in range(1, 9)
]
TREE = VerifiableMap(ENTRIES)
KEY, VALUE = ENTRIES[2]
PROOF = TREE.prove(KEY)


def absent_key(*, in_a_leaf):
    """A key that is not in the map and whose path ends in another's leaf, or in an empty slot."""
    for n in range(10_000):
        key = map_key(b"absent", str(n).encode())
        if (TREE.prove(key).terminal is not None) is in_a_leaf:
            return key
    return None


BY_LEAF, BY_SLOT = absent_key(in_a_leaf=True), absent_key(in_a_leaf=False)


def test_what_is_there():
    assert all(verify_map(TREE.root, key, TREE.prove(key)) == value for key, value in ENTRIES)


def test_what_is_not_there():
    assert verify_map(TREE.root, BY_LEAF, TREE.prove(BY_LEAF)) is None
    assert verify_map(TREE.root, BY_SLOT, TREE.prove(BY_SLOT)) is None


def test_small_maps():
    empty = VerifiableMap([])
    assert empty.root == ZERO
    assert empty.prove(KEY) == MapProof(0, 0, (), None)
    assert verify_map(ZERO, KEY, empty.prove(KEY)) is None
    single = VerifiableMap([(KEY, VALUE)])
    assert single.root == map_leaf(KEY, VALUE)
    assert verify_map(single.root, KEY, single.prove(KEY)) == VALUE
    assert verify_map(single.root, BY_LEAF, single.prove(BY_LEAF)) is None


def test_two_keys_that_differ_in_the_last_bit():
    pair = [(bytes(31) + bytes([n]), VALUE) for n in (0, 1)]
    tree = VerifiableMap(pair)
    proof = tree.prove(pair[0][0])
    assert (proof.depth, len(proof.siblings)) == (256, 1)
    assert verify_map(tree.root, pair[0][0], proof) == VALUE
    first_step = TREE.prove(b"\xff" * 32)
    assert first_step.depth < 16


def test_the_order_of_entries_counts_for_nothing():
    assert VerifiableMap(ENTRIES[::-1]).root == TREE.root


def test_bits_run_from_the_most_significant():
    assert [bit(b"\xa1", depth) for depth in range(8)] == [1, 0, 1, 0, 0, 0, 0, 1]


def test_leaf_and_node_are_apart():
    assert map_node(ZERO, ZERO) != map_leaf(ZERO, ZERO)


LEAF_PROOF, SLOT_PROOF = TREE.prove(BY_LEAF), TREE.prove(BY_SLOT)
SWAPPED = replace(PROOF, siblings=PROOF.siblings[::-1])
FORGED = {  # key, proof
    "another-value": (KEY, replace(PROOF, terminal=(KEY, ENTRIES[3][1]))),
    "older-version": (KEY, replace(PROOF, terminal=(KEY, map_value(1, VALUE[8:])))),
    "presence-as-empty-slot": (KEY, replace(PROOF, terminal=None)),
    "presence-as-absence": (KEY, replace(PROOF, terminal=ENTRIES[3])),
    "absence-as-presence": (BY_SLOT, replace(SLOT_PROOF, terminal=(BY_SLOT, VALUE))),
    "leaf-as-presence": (BY_LEAF, replace(LEAF_PROOF, terminal=(BY_LEAF, VALUE))),
    "of-another-key": (ENTRIES[3][0], PROOF),
    "leaf-off-the-path": (BY_SLOT, replace(SLOT_PROOF, terminal=(KEY, VALUE))),
    "siblings-swapped": (KEY, SWAPPED),
    "sibling-missing": (KEY, replace(PROOF, siblings=PROOF.siblings[1:])),
    "sibling-more": (KEY, replace(PROOF, siblings=(*PROOF.siblings, VALUE[:32]))),
    "sibling-short": (KEY, replace(PROOF, siblings=(b"x" * 31, *PROOF.siblings[1:]))),
    "sibling-zero": (KEY, replace(PROOF, siblings=(ZERO, *PROOF.siblings[1:]))),
    "sibling-changed": (KEY, replace(PROOF, siblings=(b"x" * 32, *PROOF.siblings[1:]))),
    "bitmap-other": (KEY, replace(PROOF, bitmap=0)),
    "bitmap-negative": (KEY, replace(PROOF, bitmap=-1)),
    "bitmap-beyond": (KEY, replace(PROOF, bitmap=PROOF.bitmap | 1 << PROOF.depth)),
    "depth-less": (KEY, replace(PROOF, depth=0)),
    "depth-more": (KEY, replace(PROOF, depth=PROOF.depth + 1)),
    "depth-negative": (KEY, replace(PROOF, depth=-1)),
    "depth-257": (KEY, replace(PROOF, depth=257)),
    "key-short": (KEY[:31], PROOF),
    "terminal-key-short": (KEY, replace(PROOF, terminal=(KEY[:31], VALUE))),
    "terminal-value-short": (KEY, replace(PROOF, terminal=(KEY, VALUE[:39]))),
}


@pytest.mark.parametrize(("key", "proof"), FORGED.values(), ids=FORGED)
def test_forged_paths(key, proof):
    assert refusal(verify_map, TREE.root, key, proof) == "E_MAP"


def test_another_root():
    assert refusal(verify_map, map_leaf(KEY, VALUE), KEY, PROOF) == "E_MAP"
    assert refusal(verify_map, VerifiableMap(ENTRIES[:-1]).root, KEY, PROOF) == "E_MAP"
