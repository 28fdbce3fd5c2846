"""JSON read and written again with every number as it stood."""

import json

import pytest
from hypothesis import given, strategies as st

from schemas.errors import BadInput
from tierlink.imports.verbatim import Literal, decode, encode

NUMBERS = ["0", "-0", "-0.0", "1.0", "1.10", "1e5", "1E+05", "-1.7976931348623157E308", "1E-400"]
NUMBERS.append("9" * 6000)  # more digits than `int` would read


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_stays_as_it_is_written(number):
    document = decode(f' {{ "a" : [ {number} , {{ "b" : {number} }} ] }} ')
    assert encode(document) == f'{{"a":[{number},{{"b":{number}}}]}}'.encode()


WRITTEN = {  # as it may stand in a document, and as it is hashed
    "white space": ('{"a" :\n[ 1 ,\t2 ] , "b":{ } , "c":[ ] }', '{"a":[1,2],"b":{},"c":[]}'),
    "order": ('{"b":1,"a":2}', '{"b":1,"a":2}'),
    "words": ('{"a":[true,false,null]}', '{"a":[true,false,null]}'),
    "needless escapes": (r'{"\u00e4":"\/\u4e2d"}', '{"ä":"/中"}'),
    "escapes": (r'{"a":"\"\\\n\u0001"}', r'{"a":"\"\\\n\u0001"}'),
    "a pair of surrogates": (r'{"a":"\ud83d\ude00"}', '{"a":"😀"}'),
    "a line separator": ('{"a":"\u2028"}', '{"a":"\u2028"}'),
    "a number in a string": ('{"a":"1.0"}', '{"a":"1.0"}'),
}


@pytest.mark.parametrize(("text", "compact"), WRITTEN.values(), ids=WRITTEN)
def test_the_compact_form(text, compact):
    assert encode(decode(text)) == compact.encode()
    assert encode(decode(text.encode())) == compact.encode()


REFUSED = {
    "empty": "",
    "array": "[]",
    "a number": "1",
    "cut off": '{"a": 1',
    "more": "{} {}",
    "not a number": '{"a": NaN}',
    "infinite": '{"a": -Infinity}',
    "zeros before": '{"a": 01}',
    "twice": '{"a": 1, "b": 2, "a": 1}',
    "twice, inside": '{"x": [{"a": 1, "a": 2}]}',
    "deep": '{"a":' * 100_000,
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_what_is_refused(text):
    with pytest.raises(BadInput) as caught:
        decode(text)
    json.dumps(caught.value.problem())


def test_half_a_surrogate_pair_has_no_form():
    document = decode(r'{"a":"\ud800"}')
    with pytest.raises(BadInput, match="surrogate"):
        encode(document)


def test_nesting_is_no_limit_of_the_writer():
    value = Literal("1")
    for _ in range(50_000):
        value = [value]
    assert encode(value) == b"[" * 50_000 + b"1" + b"]" * 50_000


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=4), anything, max_size=4))
def test_what_is_compact_already_stays(document):
    compact = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    try:
        wanted = compact.encode()
    except UnicodeEncodeError:
        return
    assert encode(decode(compact)) == wanted
