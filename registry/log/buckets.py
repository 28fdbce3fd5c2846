"""One bucket of a verifiable map: the sorted entries whose keys share their first bits. Pure.

An entry is key ‖ value, 72 bytes; a bucket is stored as its entries joined. Its subtree is hashed
in one pass: neighbours in key order part at the first bit in which they differ, and of two such
depths the deeper is joined first. Subtrees of one entry need no joining (`schemas.verifiable_map`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from schemas.verifiable_map import (
    KEY_BITS,
    VALUE_BYTES,
    ZERO,
    MapProof,
    bit,
    map_leaf,
    map_node,
)

BUCKET_BITS = 16
KEY_BYTES = KEY_BITS // 8
ENTRY_BYTES = KEY_BYTES + VALUE_BYTES


def bucket_of(key: bytes) -> int:
    """Return the number of the bucket that a key belongs to."""
    return int.from_bytes(key[:8], "big") >> (64 - BUCKET_BITS)


class _Subtree(NamedTuple):
    """The smallest subtree over some entries: where they part (256: one entry), and its hash."""

    parts_at: int
    key: bytes  # any of its keys: above `parts_at` they are all alike
    hash: bytes
    left: _Subtree | None = None
    right: _Subtree | None = None

    def at(self, depth: int) -> bytes:
        """Return the hash of the subtree that has its root at `depth`, empty but for this one."""
        if self.left is None:
            return self.hash
        found = self.hash
        for above in range(self.parts_at - 1, depth - 1, -1):
            pair = (ZERO, found) if bit(self.key, above) else (found, ZERO)
            found = map_node(*pair)
        return found


class Bucket:
    """Sorted entries and, once somebody asked for it, their subtree; immutable."""

    __slots__ = ("_tree", "data")

    def __init__(self, data: bytes = b"") -> None:
        """Take entries joined, in key order, each key once."""
        self.data = data
        self._tree: _Subtree | None = None

    def __len__(self) -> int:
        return len(self.data) // ENTRY_BYTES

    def __repr__(self) -> str:
        return f"Bucket({len(self)} entries)"

    def entry(self, place: int) -> tuple[bytes, bytes]:
        """Return the (key, value) at a place in key order."""
        at = place * ENTRY_BYTES
        return self.data[at : at + KEY_BYTES], self.data[at + KEY_BYTES : at + ENTRY_BYTES]

    def value(self, key: bytes) -> bytes | None:
        """Return the value of a key, None where it is absent."""
        place = self._place(key)
        if place < len(self):
            found, value = self.entry(place)
            if found == key:
                return value
        return None

    def put(self, changed: Mapping[bytes, bytes]) -> Bucket:
        """Return the bucket in which these keys have these values."""
        if self.data:  # hashing it takes far longer than reading all of it
            changed = {**dict(self._entries()), **changed}
        return Bucket(b"".join([part for entry in sorted(changed.items()) for part in entry]))

    @property
    def root(self) -> bytes:
        """The hash of the subtree at depth BUCKET_BITS; 32 zero bytes where it is empty."""
        if len(self.data) == ENTRY_BYTES:  # in a young map, nearly every bucket
            return map_leaf(*self.entry(0))
        return self.subtree.at(BUCKET_BITS) if self.data else ZERO

    @property
    def subtree(self) -> _Subtree:
        """The tree over the entries, which there must be; hashed when first asked for."""
        if self._tree is None:
            self._tree = _hashed(self._entries())
        return self._tree

    def prove(self, key: bytes, above: MapProof) -> MapProof:
        """Continue a path that arrived here at depth BUCKET_BITS, down to where it ends."""
        bitmap, siblings = above.bitmap, list(above.siblings)
        node, depth = self.subtree, above.depth
        while node.left is not None and node.right is not None:
            parting = _parting(int.from_bytes(key, "big"), int.from_bytes(node.key, "big"))
            if parting < node.parts_at:
                # The key leaves the others here: its own side is empty, they are the sibling.
                siblings.append(node.at(parting + 1))
                return MapProof(parting + 1, bitmap | 1 << parting, tuple(siblings), None)
            bitmap |= 1 << node.parts_at
            depth = node.parts_at + 1
            on_right = bit(key, node.parts_at)
            siblings.append((node.left if on_right else node.right).at(depth))
            node = node.right if on_right else node.left
        value = self.value(node.key)
        assert value is not None, "a subtree of one entry is that entry"
        return MapProof(depth, bitmap, tuple(siblings), (node.key, value))

    def _entries(self) -> Iterator[tuple[bytes, bytes]]:
        return (self.entry(place) for place in range(len(self)))

    def _place(self, key: bytes) -> int:
        """Return where a key stands, or would stand."""
        data = self.data
        return bisect_left(
            range(len(self)), key, key=lambda n: data[n * ENTRY_BYTES : n * ENTRY_BYTES + KEY_BYTES]
        )


def _parting(key: int, other: int) -> int:
    """Return the first depth at which two keys differ, KEY_BITS where they do not."""
    return KEY_BITS - (key ^ other).bit_length()


def _hashed(entries: Iterator[tuple[bytes, bytes]]) -> _Subtree:
    """Hash sorted entries, at least one, into their subtree."""
    subtrees: list[_Subtree] = []
    partings: list[int] = []  # between each two neighbours of `subtrees`, growing
    before = 0
    for key, value in entries:
        number = int.from_bytes(key, "big")
        if subtrees:
            parting = _parting(before, number)
            while partings and partings[-1] > parting:
                _join(subtrees, partings.pop())
            partings.append(parting)
        subtrees.append(_Subtree(KEY_BITS, key, map_leaf(key, value)))
        before = number
    while partings:
        _join(subtrees, partings.pop())
    return subtrees[0]


def _join(subtrees: list[_Subtree], parting: int) -> None:
    right, left = subtrees.pop(), subtrees.pop()
    joined = map_node(left.at(parting + 1), right.at(parting + 1))
    subtrees.append(_Subtree(parting, left.key, joined, left, right))
