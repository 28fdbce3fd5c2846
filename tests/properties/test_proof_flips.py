"""No bit of a proof can change: every mutant of a bundle is refused, and by a verdict alone.

The golden bundle holds nothing twice: exactly the quorum of cosignatures, and no delegation that
is not needed. All its bits are flipped, in as many processes as there are processors.
"""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from hypothesis import given, settings, strategies as st

from schemas.proof import judge
from schemas.verdict import VALID
from tests.logbook import golden, spelled, trust
from tests.parties import NOW, golden_answer

TRUST = trust()
GOLDEN = golden()
BUNDLE = spelled(GOLDEN.bundle())
ABSENT = spelled(GOLDEN.absent())
FULL = spelled(GOLDEN.book.full(golden_answer()))


def state(raw):
    """The verdict on bytes; whatever is not a verdict escapes and fails the test."""
    return judge(raw, TRUST, NOW).state


def flipped(raw, bit):
    mutant = bytearray(raw)
    mutant[bit >> 3] ^= 1 << (bit & 7)
    return bytes(mutant)


def survivors(bits):
    """Which of these bits of the bundle can be flipped without its verdict turning from valid."""
    return [bit for bit in bits if state(flipped(BUNDLE, bit)) == VALID]


def test_every_single_bit_of_a_bundle_counts():
    assert state(BUNDLE) == VALID
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    shares = [range(first, 8 * len(BUNDLE), 4 * workers) for first in range(4 * workers)]
    # Spawned: a fork of a process that has threads, as a test run may, can come to a standstill.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        assert [bit for found in pool.map(survivors, shares) for bit in found] == []


@pytest.mark.parametrize(("raw", "step"), [(ABSENT, 7), (FULL, 61)], ids=["absent", "full"])
def test_bits_of_other_documents(raw, step):
    """Every so many bits, so that each of the eight of a byte has its turn."""
    assert state(raw) == VALID
    found = [bit for bit in range(0, 8 * len(raw), step) if state(flipped(raw, bit)) == VALID]
    # Of another identifier it may rightly be said that it is absent: those bits are its name's.
    start = raw.find(b"88.100/NOTHING")
    name = range(8 * start, 8 * (start + 14)) if start > 0 else ()
    assert [bit for bit in found if bit not in name] == []


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_no_piece_can_be_cut_out_doubled_or_exchanged(data):
    first, last = sorted(data.draw(st.integers(0, len(BUNDLE))) for _ in range(2))
    piece = data.draw(st.sampled_from([b"", BUNDLE[first:last] * 2, b"null", b"[]", b"{}", b"1"]))
    mutant = BUNDLE[:first] + piece + BUNDLE[last:]
    assert mutant == BUNDLE or state(mutant) != VALID
