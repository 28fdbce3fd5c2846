"""Merkle trees of RFC 6962: vectors of another implementation, tampering, tiles."""

import base64

import pytest

from schemas import merkle
from schemas.errors import VerifyError
from tests.parties import refusal
from tests.third_party import third_party_json
from tests.trees import Leaves

TREE = Leaves(7)
ROOTS = [merkle.root_of(size, TREE) for size in range(8)]
PATH = merkle.inclusion_proof(4, 7, TREE)
LEAF = TREE(0, 4)
STEP = merkle.consistency_proof(3, 7, TREE)
OTHER = bytes(32)


def test_the_first_roots_of_rfc_6962():
    """The leaves and roots of the reference implementation's tests."""
    entries = [b"", b"\x00", b"\x10", bytes.fromhex("2021"), bytes.fromhex("3031")]
    tree = Leaves(entries=entries)
    assert merkle.root_of(0, tree) == merkle.EMPTY_ROOT
    assert merkle.EMPTY_ROOT.hex().startswith("e3b0c44298fc1c14")
    assert [merkle.root_of(size, tree).hex()[:16] for size in (1, 2, 3)] == [
        "6e340b9cffb37a98",
        "fac54203e7cc696c",
        "aeb6bcfe274b70a1",
    ]


INCLUSION = {  # leaf, index, size, proof, root, verdict
    "good": (LEAF, 4, 7, PATH, ROOTS[7], None),
    "another-leaf": (TREE(0, 5), 4, 7, PATH, ROOTS[7], "E_INCLUSION"),
    "wrong-index": (LEAF, 5, 7, PATH, ROOTS[7], "E_INCLUSION"),
    "index-is-size": (LEAF, 7, 7, PATH, ROOTS[7], "E_INCLUSION"),
    "index-negative": (LEAF, -1, 7, PATH, ROOTS[7], "E_INCLUSION"),
    "size-zero": (LEAF, 0, 0, (), ROOTS[0], "E_INCLUSION"),
    "size-smaller": (LEAF, 4, 5, PATH, ROOTS[5], "E_INCLUSION"),
    "size-larger": (LEAF, 4, 9, PATH, ROOTS[7], "E_INCLUSION"),
    "another-root": (LEAF, 4, 7, PATH, ROOTS[6], "E_INCLUSION"),
    "empty": (LEAF, 4, 7, (), ROOTS[7], "E_INCLUSION"),
    "truncated": (LEAF, 4, 7, PATH[:-1], ROOTS[7], "E_INCLUSION"),
    "truncated-in-front": (LEAF, 4, 7, PATH[1:], ROOTS[7], "E_INCLUSION"),
    "extended": (LEAF, 4, 7, (*PATH, OTHER), ROOTS[7], "E_INCLUSION"),
    "extended-in-front": (LEAF, 4, 7, (OTHER, *PATH), ROOTS[7], "E_INCLUSION"),
    "swapped": (LEAF, 4, 7, (PATH[1], PATH[0], *PATH[2:]), ROOTS[7], "E_INCLUSION"),
    "short-hash": (LEAF, 4, 7, (PATH[0][:31], *PATH[1:]), ROOTS[7], "E_INCLUSION"),
    "long-hash": (LEAF, 4, 7, (PATH[0] + b"\x00", *PATH[1:]), ROOTS[7], "E_INCLUSION"),
    "short-root": (LEAF, 4, 7, PATH, ROOTS[7][:31], "E_INCLUSION"),
    "short-leaf": (LEAF[:31], 4, 7, PATH, ROOTS[7], "E_INCLUSION"),
    "endless": (LEAF, 4, 7, PATH * 30, ROOTS[7], "E_LIMIT"),
    "single": (TREE(0, 0), 0, 1, (), ROOTS[1], None),
    "single-extended": (TREE(0, 0), 0, 1, (OTHER,), ROOTS[1], "E_INCLUSION"),
}


@pytest.mark.parametrize("row", INCLUSION.values(), ids=INCLUSION)
def test_inclusion(row):
    *arguments, code = row
    assert refusal(merkle.verify_inclusion, *arguments) == code


def test_a_leaf_of_64_bytes_is_no_node():
    """An entry that is two hashes hashes as a leaf does, so it stands for no inner node."""
    forged = merkle.leaf_hash(TREE(0, 4) + TREE(0, 5))
    assert forged != TREE(1, 2)
    assert refusal(merkle.verify_inclusion, forged, 2, 4, PATH[1:], ROOTS[7]) == "E_INCLUSION"


CONSISTENCY = {  # old, new, proof, old root, new root, verdict
    "good": (3, 7, STEP, ROOTS[3], ROOTS[7], None),
    "power-of-two": (4, 7, merkle.consistency_proof(4, 7, TREE), ROOTS[4], ROOTS[7], None),
    "same": (7, 7, (), ROOTS[7], ROOTS[7], None),
    "same-size-other-root": (7, 7, (), ROOTS[6], ROOTS[7], "E_FORK"),
    "same-size-with-proof": (7, 7, STEP, ROOTS[7], ROOTS[7], "E_FORK"),
    "from-nothing": (0, 7, (), ROOTS[0], ROOTS[7], None),
    "from-nothing-with-proof": (0, 7, STEP, ROOTS[0], ROOTS[7], "E_FORK"),
    "from-nothing-with-a-root": (0, 7, (), ROOTS[3], ROOTS[7], "E_FORK"),
    "nothing-to-nothing": (0, 0, (), ROOTS[0], ROOTS[0], None),
    "shrunk": (7, 3, STEP, ROOTS[7], ROOTS[3], "E_FORK"),
    "negative": (-1, 7, STEP, ROOTS[3], ROOTS[7], "E_FORK"),
    "wrong-old-size": (2, 7, STEP, ROOTS[3], ROOTS[7], "E_FORK"),
    "wrong-new-size": (3, 9, STEP, ROOTS[3], ROOTS[7], "E_FORK"),
    "other-old-root": (3, 7, STEP, ROOTS[2], ROOTS[7], "E_FORK"),
    "other-new-root": (3, 7, STEP, ROOTS[3], ROOTS[6], "E_FORK"),
    "rolled-back": (3, 7, STEP, ROOTS[7], ROOTS[3], "E_FORK"),
    "empty": (3, 7, (), ROOTS[3], ROOTS[7], "E_FORK"),
    "truncated": (3, 7, STEP[:-1], ROOTS[3], ROOTS[7], "E_FORK"),
    "extended": (3, 7, (*STEP, OTHER), ROOTS[3], ROOTS[7], "E_FORK"),
    "swapped": (3, 7, (STEP[1], STEP[0], *STEP[2:]), ROOTS[3], ROOTS[7], "E_FORK"),
    "short-hash": (3, 7, (STEP[0][:31], *STEP[1:]), ROOTS[3], ROOTS[7], "E_FORK"),
    "short-root": (3, 7, STEP, ROOTS[3][:31], ROOTS[7], "E_FORK"),
    "endless": (3, 7, STEP * 30, ROOTS[3], ROOTS[7], "E_LIMIT"),
}


@pytest.mark.parametrize("row", CONSISTENCY.values(), ids=CONSISTENCY)
def test_consistency(row):
    *arguments, code = row
    assert refusal(merkle.verify_consistency, *arguments) == code


def test_a_size_is_bound_by_the_checkpoint_not_by_the_proof():
    """Paths of trees of six and of seven have one shape: a size must be signed with its root."""
    assert refusal(merkle.verify_consistency, 3, 6, STEP, ROOTS[3], ROOTS[7]) is None


@pytest.mark.parametrize(("index", "size"), [(-1, 7), (7, 7), (0, 0)])
def test_no_path_is_made_of_a_leaf_that_is_not_there(index, size):
    with pytest.raises(VerifyError, match="E_INCLUSION"):
        merkle.inclusion_proof(index, size, TREE)


@pytest.mark.parametrize(("old", "new"), [(-1, 7), (7, 3)])
def test_no_tree_is_proven_to_shrink(old, new):
    with pytest.raises(VerifyError, match="E_FORK"):
        merkle.consistency_proof(old, new, TREE)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 0, []),
        (0, 1, [(0, 0)]),
        (0, 7, [(2, 0), (1, 2), (0, 6)]),
        (0, 8, [(3, 0)]),
        (3, 7, [(0, 3), (1, 2), (0, 6)]),
        (4, 8, [(2, 1)]),
        (5, 8, [(0, 5), (1, 3)]),
    ],
)
def test_ranges(start, end, expected):
    assert list(merkle.ranges(start, end)) == expected


@pytest.mark.parametrize(
    ("level", "index", "width", "path"),
    [
        (0, 0, 256, "tile/0/000"),
        (0, 999, 256, "tile/0/999"),
        (1, 1000, 256, "tile/1/x001/000"),
        (0, 1_234_067, 256, "tile/0/x001/x234/067"),
        (2, 5, 17, "tile/2/005.p/17"),
        (0, 1_000_000, 1, "tile/0/x001/x000/000.p/1"),
    ],
)
def test_tile_paths(level, index, width, path):
    assert merkle.tile_path(level, index, width) == path


@pytest.mark.parametrize(
    ("size", "tiles"),
    [
        (0, []),
        (1, [(0, 0, 1)]),
        (255, [(0, 0, 255)]),
        (256, [(0, 0, 256), (1, 0, 1)]),
        (257, [(0, 1, 1), (1, 0, 1)]),
        (70_001, [(0, 273, 113), (1, 1, 17), (2, 0, 1)]),
        (65_536, [(0, 255, 256), (1, 0, 256), (2, 0, 1)]),
    ],
)
def test_right_edge_tiles(size, tiles):
    assert list(merkle.tile_widths(size)) == tiles


def hashes(texts):
    return [base64.b64decode(text) for text in texts or ()]


def test_vectors_of_inclusion():
    wrong, good = [], 0
    for case in third_party_json("merkle", "inclusion.json"):
        (leaf, root), proof = hashes([case["leafHash"], case["root"]]), hashes(case["proof"])
        code = refusal(
            merkle.verify_inclusion, leaf, case["leafIdx"], case["treeSize"], proof, root
        )
        good += code is None
        if (code is not None) != case["wantErr"]:
            wrong.append(case["file"])
    assert wrong == []
    assert good == 6


# Policy, not mathematics: a witness accepts an old size of zero with an empty proof, and so do we;
# this suite refuses it.
POLICY = {
    "consistency/additional/size1-is-zero-and-does-not-equal-size2.json",
    "consistency/additional/size1-is-zero-and-size2-is-not-zero.json",
    "consistency/additional/sizes-are-equal-zero-and-proof-is-empty.json",
}
# Some roots there are words instead of hashes. We refuse them for their length, which decides one
# valid case; with hashes in their place only the policy differs.
WORDS = {b"don't care 1": merkle.EMPTY_ROOT, b"don't care 2": merkle.leaf_hash(b"")}
VALID_WITH_WORDS = {"consistency/additional/sizes-are-equal-one-and-proof-is-empty.json"}


@pytest.mark.parametrize(
    ("words", "differing"), [({}, VALID_WITH_WORDS), (WORDS, POLICY)], ids=["as-is", "hashes"]
)
def test_vectors_of_consistency(words, differing):
    wrong = set()
    for case in third_party_json("merkle", "consistency.json"):
        old, new = (words.get(root, root) for root in hashes([case["root1"], case["root2"]]))
        sizes, proof = (case["size1"], case["size2"]), hashes(case["proof"])
        refused = refusal(merkle.verify_consistency, *sizes, proof, old, new) is not None
        if refused != case["wantErr"]:
            wrong.add(case["file"])
    assert wrong == differing
