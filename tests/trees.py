"""A Merkle tree over a handful of entries, hashed the slow and obvious way."""

from schemas.merkle import leaf_hash, node_hash


class Leaves:
    """Called with (level, index), returns the hash of that complete subtree."""

    def __init__(self, size=0, entries=None):
        """Hold the entries, or `size` entries that are their own numbers in decimal."""
        entries = [str(n).encode() for n in range(size)] if entries is None else entries
        self.hashes = [leaf_hash(entry) for entry in entries]

    def __call__(self, level, index):
        if level == 0:
            return self.hashes[index]
        return node_hash(self(level - 1, 2 * index), self(level - 1, 2 * index + 1))

    def root(self, start=0, end=None):
        """The hash of a range by the recursive definition (RFC 6962 §2.1)."""
        end = len(self.hashes) if end is None else end
        if end - start == 1:
            return self.hashes[start]
        half = 1 << ((end - start - 1).bit_length() - 1)
        return node_hash(self.root(start, start + half), self.root(start + half, end))
