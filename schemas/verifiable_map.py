r"""The verifiable map: which version of every identifier is the latest, and which do not exist.

A sparse Merkle tree over 256-bit keys, most significant bit first. An empty subtree is 32 zero
bytes, a subtree of one entry is that entry's leaf hash whatever its depth, so a path is about
log2(n) long:

    leaf  SHA-256(0x00 ‖ key ‖ value)        node  SHA-256(0x01 ‖ left ‖ right)

For one root and one key the path down and where it ends are unique: in the key's own leaf
(present, with this value), in an empty slot, or in another key's leaf that shares the path
(absent either way).

There are two maps, both functions of the log's leaves alone (`schemas.leaf`):

    identifiers   key    the commitment of a record or link leaf, raw: SHA-256(salt ‖ subject)
                  value  version (8 bytes) ‖ digest of the envelope, of the highest version
    prefixes      key    SHA-256("tierlink-prefix\\n" ‖ prefix)
                  value  index of the leaf (8 bytes) ‖ SHA-256(commitment ‖ digest), raw both: of
                         the newest delegation or status leaf of the prefix

The prefix's value binds its salt, through the commitment: nobody can prove an identifier absent
under a salt of his own choosing. The index says when the delegation was accepted.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import VerifyError

KEY_BITS = 256
ZERO = bytes(32)
VALUE_BYTES = 40


def map_key(salt: bytes, identifier: bytes) -> bytes:
    """Return the key of an identifier: a salted hash, so that a map does not list its contents."""
    return hashlib.sha256(salt + identifier).digest()


def map_value(version: int, digest: bytes) -> bytes:
    """Return the value of an identifier: its latest version and the digest of its envelope."""
    return version.to_bytes(8, "big") + digest


def prefix_key(prefix: str) -> bytes:
    """Return the key of a prefix in the map of prefixes."""
    return hashlib.sha256(b"tierlink-prefix\n" + prefix.encode()).digest()


def prefix_value(index: int, commitment: bytes, digest: bytes) -> bytes:
    """Return the value of a prefix: where its newest leaf is, and what that says (raw hashes)."""
    return index.to_bytes(8, "big") + hashlib.sha256(commitment + digest).digest()


def map_leaf(key: bytes, value: bytes) -> bytes:
    """Return the hash of an entry."""
    return hashlib.sha256(b"\x00" + key + value).digest()


def map_node(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def bit(key: bytes, depth: int) -> int:
    """Return bit `depth` of a key, 0 being the most significant."""
    return key[depth >> 3] >> (7 - (depth & 7)) & 1


@dataclass(frozen=True, slots=True)
class MapProof:
    """Where the path of a key ends: `terminal` is the (key, value) found there, or nothing.

    `siblings` run from the root down; empty ones are left out and `bitmap` tells which were
    there (bit `depth`, least significant first).
    """

    depth: int
    bitmap: int
    siblings: tuple[bytes, ...]
    terminal: tuple[bytes, bytes] | None


def verify_map(root: bytes, key: bytes, proof: MapProof) -> bytes | None:
    """Return the value of a key under a root, None where it is absent; raise VerifyError E_MAP."""
    _check_shape(key, proof)
    folded, value = _terminal(key, proof)
    remaining = list(proof.siblings)
    for depth in range(proof.depth - 1, -1, -1):
        sibling = remaining.pop() if proof.bitmap >> depth & 1 else ZERO
        folded = map_node(sibling, folded) if bit(key, depth) else map_node(folded, sibling)
    if folded != root:
        raise VerifyError("E_MAP", "the path does not lead to the map root")
    return value


def _check_shape(key: bytes, proof: MapProof) -> None:
    if not 0 <= proof.depth <= KEY_BITS or len(key) != KEY_BITS // 8:
        raise VerifyError("E_MAP", f"a path has at most {KEY_BITS} siblings")
    if proof.bitmap < 0 or proof.bitmap >> proof.depth:
        raise VerifyError("E_MAP", "the bitmap names siblings below the path's end")
    if proof.bitmap.bit_count() != len(proof.siblings):
        raise VerifyError("E_MAP", "the bitmap and the siblings do not fit")
    if any(len(item) != len(ZERO) or item == ZERO for item in proof.siblings):
        raise VerifyError("E_MAP", "a sibling is not a hash")


def _terminal(key: bytes, proof: MapProof) -> tuple[bytes, bytes | None]:
    """Return the hash of what the path ends in, and the value where that is the key's own."""
    if proof.terminal is None:
        return ZERO, None
    found, content = proof.terminal
    if len(found) != len(key) or len(content) != VALUE_BYTES:
        raise VerifyError("E_MAP", "the entry at the path's end is malformed")
    if any(bit(found, depth) != bit(key, depth) for depth in range(proof.depth)):
        raise VerifyError("E_MAP", "the entry at the path's end shares no path with the key")
    return map_leaf(found, content), content if found == key else None


class VerifiableMap:
    """A map over sorted entries, hashed on demand; the reference that stored forms must equal."""

    def __init__(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Take (key, value) pairs in any order; a key may occur once."""
        self._entries = sorted(entries)
        self._keys = [key for key, _ in self._entries]
        self._memo: dict[tuple[int, int, int], bytes] = {}

    @property
    def root(self) -> bytes:
        """The root hash; 32 zero bytes for an empty map."""
        return self._hash(0, 0, len(self._entries))

    def _hash(self, depth: int, start: int, end: int) -> bytes:
        if start == end:
            return ZERO
        if end - start == 1:
            return map_leaf(*self._entries[start])
        known = self._memo.get((depth, start, end))
        if known is None:
            middle = self._middle(depth, start, end)
            known = map_node(
                self._hash(depth + 1, start, middle), self._hash(depth + 1, middle, end)
            )
            self._memo[depth, start, end] = known
        return known

    def _middle(self, depth: int, start: int, end: int) -> int:
        shared = int.from_bytes(self._keys[start], "big") >> (KEY_BITS - depth)
        first_right = ((shared << 1 | 1) << (KEY_BITS - depth - 1)).to_bytes(KEY_BITS // 8, "big")
        return bisect_left(self._keys, first_right, start, end)

    def prove(self, key: bytes) -> MapProof:
        """Return the proof that a key has its value, or that it is absent."""
        depth, start, end = 0, 0, len(self._entries)
        bitmap, siblings = 0, []
        while end - start > 1:
            middle = self._middle(depth, start, end)
            if bit(key, depth):
                sibling, start = self._hash(depth + 1, start, middle), middle
            else:
                sibling, end = self._hash(depth + 1, middle, end), middle
            if sibling != ZERO:
                bitmap |= 1 << depth
                siblings.append(sibling)
            depth += 1
        terminal = self._entries[start] if end > start else None
        return MapProof(depth, bitmap, tuple(siblings), terminal)
