"""Durations counted in buckets whose width grows with the value, after HdrHistogram.

Every doubling has 64 buckets, so a value that is read back is at most 1.6 % too large, from a
microsecond to 19 hours, in 16 kB however many were counted. Counting is O(1) and loses no tail.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

_BITS = 6  # 64 buckets for each doubling
_EXACT = 2 << _BITS  # below it every microsecond has a bucket of its own
_LONGEST = 36  # bits of the largest value
_BUCKETS = ((_LONGEST - _BITS + 1) << _BITS) + _EXACT


class Histogram:
    """Durations in microseconds; `record` takes any number, below zero counts as zero."""

    __slots__ = ("_counts", "_sum", "largest", "total")

    def __init__(self, values: Iterable[float] = ()) -> None:
        self._counts = [0] * _BUCKETS
        self._sum = 0.0
        self.total = 0
        self.largest = 0  # exact
        for value in values:
            self.record(value)

    def record(self, microseconds: float) -> None:
        """Count one duration."""
        value = int(microseconds)
        if value < _EXACT:
            value = max(value, 0)
            self._counts[value] += 1
        else:
            shift = value.bit_length() - _BITS - 1
            at = (shift << _BITS) + (value >> shift)
            self._counts[at if at < _BUCKETS else -1] += 1
        self.total += 1
        self._sum += microseconds
        self.largest = max(self.largest, value)

    def percentile(self, share: float) -> int:
        """Return the value that `share` (0 to 1) of all lie at or below; 0 where there are none.

        Like HdrHistogram: the largest value of the bucket, but never more than the largest seen.
        """
        wanted = max(1, math.ceil(share * self.total))
        seen = 0
        for at, count in enumerate(self._counts):
            seen += count
            if seen >= wanted:
                return min(_largest_of(at), self.largest)
        return self.largest

    @property
    def mean(self) -> float:
        """The arithmetic mean, of the exact values."""
        return self._sum / self.total if self.total else 0.0

    def add(self, other: Histogram) -> None:
        """Count everything that another one counted."""
        self._counts = [a + b for a, b in zip(self._counts, other._counts, strict=True)]
        self._sum += other._sum
        self.total += other.total
        self.largest = max(self.largest, other.largest)

    def buckets(self) -> Iterator[tuple[int, int]]:
        """Yield (largest value, count) of every bucket that is not empty, upward."""
        for at, count in enumerate(self._counts):
            if count:
                yield _largest_of(at), count


def _largest_of(at: int) -> int:
    if at < _EXACT:
        return at
    shift = (at >> _BITS) - 1
    return (((at & ((1 << _BITS) - 1)) + (1 << _BITS) + 1) << shift) - 1
