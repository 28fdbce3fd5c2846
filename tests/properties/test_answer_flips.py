"""No bit of an answer can change: every mutant is refused, and by a verdict alone."""

from hypothesis import given, settings, strategies as st

from schemas import canonical
from schemas.answer import verify_answer
from schemas.errors import VerifyError
from tests.parties import NOW, golden_answer, small_answer, trust

TRUST = trust()
SMALL = canonical.encode(small_answer())
WHOLE = canonical.encode(golden_answer())


def verifies(raw):
    """Whether bytes verify; whatever is not a verdict escapes and fails the test."""
    try:
        verify_answer(canonical.decode_object(raw), TRUST, NOW)
    except VerifyError:
        return False
    return True


def flipped(raw, bit):
    mutant = bytearray(raw)
    mutant[bit >> 3] ^= 1 << (bit & 7)
    return bytes(mutant)


def test_every_single_bit_of_an_answer_counts():
    assert verifies(SMALL)
    assert [bit for bit in range(8 * len(SMALL)) if verifies(flipped(SMALL, bit))] == []


def test_bits_of_an_answer_with_all_kinds_of_parts():
    """Every eleventh bit, so that each of the eight of a byte has its turn."""
    assert verifies(WHOLE)
    assert [bit for bit in range(0, 8 * len(WHOLE), 11) if verifies(flipped(WHOLE, bit))] == []


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_no_piece_can_be_cut_out_doubled_or_exchanged(data):
    first, last = sorted(data.draw(st.integers(0, len(SMALL))) for _ in range(2))
    piece = data.draw(st.sampled_from([b"", SMALL[first:last] * 2, b"null", b"[]", b"{}", b"1"]))
    mutant = SMALL[:first] + piece + SMALL[last:]
    assert mutant == SMALL or not verifies(mutant)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(sorted(golden_answer())), json_values)
def test_no_member_can_be_anything_else(name, value):
    document = golden_answer() | {name: value}

    def verified():
        try:
            verify_answer(document, TRUST, NOW)
        except VerifyError:
            return False
        return True

    assert not verified()
