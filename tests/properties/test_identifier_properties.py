"""Identifiers: every one survives its text, its bytes and its path; nothing else is ever raised."""

import string
import unicodedata

from hypothesis import given, settings, strategies as st

from schemas.errors import BadIdentifier
from schemas.identifier import MAX_BYTES, Identifier, Prefix

bounded = settings(deadline=None, max_examples=100)

label = st.from_regex(r"[0-9a-z]{1,6}(-[0-9a-z]{1,4})?", fullmatch=True)
prefixes = st.builds(
    lambda first, rest: ".".join([first, *rest]),
    st.text(string.digits, min_size=1, max_size=4),
    st.lists(label, max_size=5),
)
suffixes = (
    st.text(
        st.characters(blacklist_categories=("Cc", "Cf", "Cs", "Co", "Zl", "Zp", "Zs")),
        min_size=1,
        max_size=40,
    )
    .map(lambda text: unicodedata.normalize("NFC", text))
    .filter(lambda text: len(text.encode()) < MAX_BYTES - 100)
)
identifiers = st.builds("{}/{}".format, prefixes, suffixes)


@bounded
@given(identifiers)
def test_text_and_path_round_trip(text):
    found = Identifier.parse(text)
    assert found.text == text
    assert Identifier.parse(found.key.decode()) == found
    assert found.path.isascii()
    assert Identifier.from_path(found.path.encode()) == found


@bounded
@given(identifiers, identifiers)
def test_two_identifiers_share_no_key_and_no_path(one, other):
    first, second = Identifier.parse(one), Identifier.parse(other)
    assert (first == second) is (first.key == second.key) is (first.path == second.path)


def position_of_refusal(read, sent):
    try:
        read(sent)
    except BadIdentifier as err:
        return err.position
    return 0


@bounded
@given(st.text(max_size=60) | identifiers.map(lambda text: text + "\n"))
def test_whatever_text_is_sent_is_read_or_refused_with_a_position(text):
    assert 0 <= position_of_refusal(Identifier.parse, text) <= len(text)
    assert 0 <= position_of_refusal(Prefix.parse, text) <= len(text)


@bounded
@given(st.binary(max_size=60) | identifiers.map(str.encode))
def test_whatever_path_is_sent_is_read_or_refused_with_a_position(raw):
    assert 0 <= position_of_refusal(Identifier.from_path, raw) <= len(raw)


@bounded
@given(prefixes, prefixes)
def test_covering_is_what_ancestors_say(one, other):
    above, below = Prefix.parse(one), Prefix.parse(other)
    assert above.covers(below) is (above in (below, *below.ancestors()))
    assert all(item.covers(below) for item in below.ancestors())
