"""The top of a verifiable map: the levels above its buckets, of one epoch, in memory. Pure.

A node knows its hash and how many entries lie below. A subtree with one entry is that entry's leaf
hash at whatever depth, so such a subtree is one node here, and an empty one is none at all.
Nodes never change: the top of the next epoch shares all but the paths to what changed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from schemas.verifiable_map import ZERO, MapProof, bit, map_node

from .buckets import BUCKET_BITS, Bucket, bucket_of


class Node(NamedTuple):
    """A subtree with entries; `bucket` is where they are, -1 where in several."""

    hash: bytes
    entries: int
    bucket: int = -1
    left: Node | None = None
    right: Node | None = None


class Way(NamedTuple):
    """How far the top leads to a key: the path down to here, and the bucket that knows the rest."""

    above: MapProof
    bucket: int | None  # None where the path ends in an empty slot
    root: bytes = ZERO  # of that bucket


class Top:
    """The levels above the buckets; immutable."""

    __slots__ = ("_node",)

    def __init__(self, node: Node | None = None) -> None:
        """Hold the root node; an empty map has none."""
        self._node = node

    def __repr__(self) -> str:
        return f"Top({len(self)} entries)"

    def __len__(self) -> int:
        return self._node.entries if self._node else 0

    @property
    def root(self) -> bytes:
        """The root of the map; 32 zero bytes for an empty one."""
        return self._node.hash if self._node else ZERO

    def put(self, changed: Mapping[int, tuple[int, bytes]]) -> Top:
        """Return the top in which buckets have these (entries, root)."""
        if not changed:
            return self
        numbers = sorted(changed)
        leaves = [Node(root, entries, n) for n in numbers for entries, root in (changed[n],)]
        return Top(_Putting(numbers, leaves).put(self._node, 0, 0, len(numbers)))

    def way(self, key: bytes) -> Way:
        """Return the path of a key as far as it is known here."""
        node, depth, bitmap = self._node, 0, 0
        siblings: list[bytes] = []
        while node is not None and node.bucket < 0:
            other = node.left if bit(key, depth) else node.right
            node = node.right if bit(key, depth) else node.left
            if other is not None:
                bitmap |= 1 << depth
                siblings.append(other.hash)
            depth += 1
        above = MapProof(depth, bitmap, tuple(siblings), None)
        return Way(above, None) if node is None else Way(above, node.bucket, node.hash)


def finish(way: Way, key: bytes, bucket: Bucket | None) -> MapProof:
    """Return the whole proof of a key, from its way and the bucket named there."""
    if bucket is None:
        return way.above
    if len(bucket) == 1:
        above = way.above
        return MapProof(above.depth, above.bitmap, above.siblings, bucket.entry(0))
    return bucket.prove(key, way.above)


def value_at(way: Way, key: bytes, bucket: Bucket | None) -> bytes | None:
    """Return the value of a key, None where it is absent."""
    if bucket is None or way.bucket != bucket_of(key):
        return None
    return bucket.value(key)


class _Putting:
    """Buckets on their way into a top: their numbers, sorted, and a node of each."""

    __slots__ = ("_leaves", "_numbers")

    def __init__(self, numbers: Sequence[int], leaves: Sequence[Node]) -> None:
        self._numbers = numbers
        self._leaves = leaves

    def put(self, node: Node | None, depth: int, start: int, end: int) -> Node | None:
        """Return the subtree at `depth` with the buckets [start, end) in it, at least one."""
        if depth == BUCKET_BITS:
            leaf = self._leaves[start]
            return leaf if leaf.entries else None
        # The first bucket on the right has the prefix of all of them, a one, and zeros.
        side = BUCKET_BITS - 1 - depth
        right_from = (self._numbers[start] >> side | 1) << side
        middle = bisect_left(self._numbers, right_from, start, end)
        left, right = _halves(node, depth)
        if start < middle:
            left = self.put(left, depth + 1, start, middle)
        if middle < end:
            right = self.put(right, depth + 1, middle, end)
        return _joined(left, right)


def _halves(node: Node | None, depth: int) -> tuple[Node | None, Node | None]:
    if node is None:
        return None, None
    if node.bucket >= 0:  # one bucket alone: it is on one side
        on_right = node.bucket >> (BUCKET_BITS - 1 - depth) & 1
        return (None, node) if on_right else (node, None)
    return node.left, node.right


def _joined(left: Node | None, right: Node | None) -> Node | None:
    if left is None or right is None:
        only = left or right
        if only is None or only.entries == 1:
            return only
        pair = (ZERO, only.hash) if left is None else (only.hash, ZERO)
        return Node(map_node(*pair), only.entries, -1, left, right)
    return Node(map_node(left.hash, right.hash), left.entries + right.entries, -1, left, right)
