"""Canonical JSON against another implementation of RFC 8785."""

import unicodedata

import rfc8785
from hypothesis import given, settings, strategies as st

from schemas import canonical
from schemas.errors import VerifyError

bounded = settings(deadline=None, max_examples=200)

texts = st.text(st.characters(blacklist_categories=("Cs",)), max_size=12).map(
    lambda text: unicodedata.normalize("NFC", text)
)
names = st.text(st.characters(max_codepoint=0x7F), max_size=6)
scalars = st.none() | st.booleans() | texts | st.integers(-(2**53) + 1, 2**53 - 1)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@bounded
@given(documents)
def test_the_same_bytes_as_the_oracle(document):
    spelled = canonical.encode(document)
    assert spelled == rfc8785.dumps(document)
    assert canonical.decode(spelled) == document


@bounded
@given(st.binary(max_size=40) | st.text(max_size=40).map(lambda t: t.encode("utf-8", "replace")))
def test_whatever_is_sent_is_read_or_refused(raw):
    try:
        value = canonical.decode(raw)
    except VerifyError:
        return
    assert canonical.decode(canonical.encode(value)) == value


@bounded
@given(documents, st.data())
def test_what_is_not_json_any_more_raises_nothing_else(document, data):
    raw = bytearray(canonical.encode(document))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        canonical.decode(bytes(raw))
    except VerifyError as err:
        str(err.problem()).encode()
