"""Merkle trees of RFC 6962: hashing, inclusion and consistency proofs, and the tiles of a log.

    leaf  SHA-256(0x00 ‖ entry)      node  SHA-256(0x01 ‖ left ‖ right)      empty  SHA-256("")

Proofs are verified by folding from the leaf up (RFC 9162 §2.1.3.2, §2.1.4.2) and made from any
function that returns the hash of a complete subtree, so that tiles, tables and lists all serve.
A tile (C2SP tlog-tiles) holds up to 256 hashes of one level, eight tree levels apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from .errors import VerifyError

HASH_BYTES = 32
MAX_PROOF = 63  # lines: no log has more than 2^63 entries
TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
EMPTY_ROOT = hashlib.sha256(b"").digest()

Subtree: TypeAlias = "Callable[[int, int], bytes]"
"""(level, index) -> hash of the complete subtree over [index << level, (index + 1) << level)."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of an entry."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def ranges(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield (level, index) of the complete subtrees that tile the leaves [start, end), in order."""
    while start < end:
        level = (start & -start).bit_length() - 1 if start else end.bit_length() - 1
        while (1 << level) > end - start:
            level -= 1
        yield level, start >> level
        start += 1 << level


def root_of(size: int, subtree: Subtree) -> bytes:
    """Return the tree head over the first `size` leaves."""
    return _range_hash(0, size, subtree)


def _range_hash(start: int, end: int, subtree: Subtree) -> bytes:
    # The right-most subtrees are the smallest: fold them from the right.
    parts = [subtree(level, index) for level, index in ranges(start, end)]
    if not parts:
        return EMPTY_ROOT
    folded = parts.pop()
    while parts:
        folded = node_hash(parts.pop(), folded)
    return folded


def inclusion_proof(index: int, size: int, subtree: Subtree) -> tuple[bytes, ...]:
    """Return the audit path of a leaf, leaf-most first (RFC 9162 §2.1.3.1)."""
    if not 0 <= index < size:
        raise VerifyError("E_INCLUSION", f"leaf {index} is not in a tree of {size}")
    return tuple(_path(index, 0, size, subtree))


def _path(index: int, start: int, end: int, subtree: Subtree) -> list[bytes]:
    if end - start == 1:
        return []
    middle = start + _split(end - start)
    if index < middle:
        return [*_path(index, start, middle, subtree), _range_hash(middle, end, subtree)]
    return [*_path(index, middle, end, subtree), _range_hash(start, middle, subtree)]


def _split(count: int) -> int:
    """Return the largest power of two strictly below `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def consistency_proof(old: int, new: int, subtree: Subtree) -> tuple[bytes, ...]:
    """Return the proof that the tree of `new` extends that of `old` (RFC 9162 §2.1.4.1)."""
    if not 0 <= old <= new:
        raise VerifyError("E_FORK", f"a tree of {new} does not extend one of {old}")
    if old in (0, new):
        return ()
    return tuple(_subproof(old, 0, new, subtree, whole=True))


def _subproof(old: int, start: int, end: int, subtree: Subtree, *, whole: bool) -> list[bytes]:
    if old == end:
        return [] if whole else [_range_hash(start, end, subtree)]
    middle = start + _split(end - start)
    if old <= middle:
        return [
            *_subproof(old, start, middle, subtree, whole=whole),
            _range_hash(middle, end, subtree),
        ]
    return [
        *_subproof(old, middle, end, subtree, whole=False),
        _range_hash(start, middle, subtree),
    ]


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Verify an audit path by RFC 9162 §2.1.3.2; raise VerifyError E_INCLUSION."""
    _check_hashes("E_INCLUSION", [leaf, *proof, root])
    if not 0 <= index < size:
        raise VerifyError("E_INCLUSION", f"leaf {index} is not in a tree of {size}")
    fn, sn, folded = index, size - 1, leaf
    for sibling in proof:
        if sn == 0:
            raise VerifyError("E_INCLUSION", "the proof is too long")
        if fn & 1 or fn == sn:
            folded = node_hash(sibling, folded)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            folded = node_hash(folded, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0:
        raise VerifyError("E_INCLUSION", "the proof is too short")
    if folded != root:
        raise VerifyError("E_INCLUSION", "the proof does not lead to the root")


def verify_consistency(
    old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Verify that one tree extends another by RFC 9162 §2.1.4.2; raise VerifyError E_FORK.

    A witness must accept an old size of zero with an empty proof (C2SP tlog-witness); so do we.
    """
    _check_hashes("E_FORK", [old_root, new_root, *proof])
    if not 0 <= old <= new:
        raise VerifyError("E_FORK", f"the tree shrank from {old} to {new}")
    if old in (0, new):
        _check_unproven(old, new, proof, old_root, new_root)
        return
    # A complete old tree is itself the first node of the path, so proofs leave it out.
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        raise VerifyError("E_FORK", "the proof is too short")
    if _fold_two(old, new, path) != (old_root, new_root):
        raise VerifyError("E_FORK", "the proof does not join the two roots")


def _check_unproven(
    old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Check the two cases that need no proof: nothing before, and nothing new."""
    if proof:
        raise VerifyError("E_FORK", "the proof should be empty")
    if old == new and old_root != new_root:
        raise VerifyError("E_FORK", "two roots of one size")
    if old == 0 and old_root != EMPTY_ROOT:
        raise VerifyError("E_FORK", "the root of the empty tree is another")


def _fold_two(old: int, new: int, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Fold a consistency path into the roots of both trees."""
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    old_folded = new_folded = path[0]
    for sibling in path[1:]:
        if sn == 0:
            raise VerifyError("E_FORK", "the proof is too long")
        if fn & 1 or fn == sn:
            old_folded = node_hash(sibling, old_folded)
            new_folded = node_hash(sibling, new_folded)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            new_folded = node_hash(new_folded, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0:
        raise VerifyError("E_FORK", "the proof is too short")
    return old_folded, new_folded


def _check_hashes(code: str, hashes: Sequence[bytes]) -> None:
    if len(hashes) > MAX_PROOF + 2:
        raise VerifyError("E_LIMIT", f"a proof has at most {MAX_PROOF} hashes")
    if any(len(item) != HASH_BYTES for item in hashes):
        raise VerifyError(code, f"a hash has not {HASH_BYTES} bytes")


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """Return the path of a tile below the log's prefix: `tile/0/x001/234`, partial `….p/17`."""
    groups = [f"{index % 1000:03d}"]
    index //= 1000
    while index:
        groups.append(f"x{index % 1000:03d}")
        index //= 1000
    partial = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{level}/{'/'.join(reversed(groups))}{partial}"


def tile_widths(size: int) -> Iterator[tuple[int, int, int]]:
    """Yield (level, index, width) of the right-edge tiles of a tree of `size` leaves."""
    level = 0
    while size >> (TILE_HEIGHT * level):
        count = size >> (TILE_HEIGHT * level)
        index, width = divmod(count, TILE_WIDTH)
        if width:
            yield level, index, width
        elif index:
            yield level, index - 1, TILE_WIDTH
        level += 1
