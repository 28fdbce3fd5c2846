"""Canonical JSON: RFC 8785 inside the restrictions, refused outside of them."""

from types import MappingProxyType

import pytest

from schemas import canonical
from schemas.errors import BadInput, VerifyError
from tests.parties import refusal
from tests.third_party import third_party

DEEPEST = b"[" * 16 + b"]" * 16

REFUSED = {  # what is sent, verdict code
    "byte-order-mark": (b"\xef\xbb\xbf{}", "E_ENCODING"),
    "utf-16": ("{}".encode("utf-16"), "E_ENCODING"),
    "invalid-utf-8": (b'{"a":"\xff"}', "E_ENCODING"),
    "encoded-surrogate": (b'{"a":"\xed\xa0\x80"}', "E_ENCODING"),
    "lone-surrogate": (b'{"a":"\\ud800"}', "E_ENCODING"),
    "swapped-surrogates": (b'{"a":"\\udc00\\ud800"}', "E_ENCODING"),
    "surrogate-and-not-nfc": (b'{"a":"e\\u0301\\ud800"}', "E_ENCODING"),
    "twice": (b'{"a":1,"a":1}', "E_DUPKEY"),
    "twice-deep": (b'[{"b":{"a":1,"c":2,"a":3}}]', "E_DUPKEY"),
    "twice-by-escape": (b'{"a":1,"\\u0061":1}', "E_DUPKEY"),
    "twice-surrogate": (b'{"\\ud800":1,"\\ud800":1}', "E_DUPKEY"),
    "float": (b'{"a":1.5}', "E_CANON"),
    "float-of-whole-value": (b'{"a":1.0}', "E_CANON"),
    "exponent": (b'{"a":1e3}', "E_CANON"),
    "minus-zero": (b'{"a":-0}', "E_CANON"),
    "minus-zero-float": (b'{"a":-0.0}', "E_CANON"),
    "too-large": (b'{"a":9007199254740992}', "E_CANON"),
    "too-small": (b'{"a":-9007199254740992}', "E_CANON"),
    "enormous": (b'{"a":' + b"9" * 5000 + b"}", "E_CANON"),
    "nan": (b'{"a":NaN}', "E_CANON"),
    "infinity": (b"[Infinity]", "E_CANON"),
    "minus-infinity": (b"[-Infinity]", "E_CANON"),
    "decomposed": ('{"a":"e\u0301"}'.encode(), "E_CANON"),
    "name-not-ascii": ('{"\u00e4":1}'.encode(), "E_CANON"),
    "name-is-surrogate": (b'{"\\ud800":1}', "E_CANON"),
    "too-deep": (b"[" * 17 + b"]" * 17, "E_LIMIT"),
    "too-deep-objects": (b'{"a":' * 17 + b"1" + b"}" * 17, "E_LIMIT"),
    "very-deep": (b"[" * 10_000 + b"]" * 10_000, "E_LIMIT"),
    "very-deep-and-cut-off": (b'{"a":' * 10_000, "E_LIMIT"),
    "empty": (b"", "E_FORMAT"),
    "cut-off": (b'{"a":', "E_FORMAT"),
    "two-values": (b"{}{}", "E_FORMAT"),
    "single-quotes": (b"{'a':1}", "E_FORMAT"),
    "trailing-comma": (b"[1,]", "E_FORMAT"),
    "raw-control": (b'["\n"]', "E_FORMAT"),
    "leading-zero": (b"[01]", "E_FORMAT"),
    "plus": (b"[+1]", "E_FORMAT"),
    "half-an-escape": (b'["\\u12"]', "E_FORMAT"),
}


@pytest.mark.parametrize(("raw", "code"), REFUSED.values(), ids=REFUSED)
def test_strict_reading_refuses(raw, code):
    assert refusal(canonical.decode, raw) == code


@pytest.mark.parametrize("raw", [row[0] for row in REFUSED.values()], ids=REFUSED)
def test_every_refusal_can_be_shown(raw):
    with pytest.raises(BadInput) as caught:
        canonical.decode(raw)
    str(caught.value.problem()).encode()  # what was refused may hold surrogates, the reply may not


@pytest.mark.parametrize(
    ("value", "spelling"),
    [
        ({"b": 1, "a": [True, False, None]}, b'{"a":[true,false,null],"b":1}'),
        ({"B": 1, "a": 2, "_": 3, "A": 4}, b'{"A":4,"B":1,"_":3,"a":2}'),
        ("电池 é €", '"电池 é €"'.encode()),
        ('\x00\x1f\x7f"\\/\b\f\n\r\t', b'"\\u0000\\u001f\x7f\\"\\\\/\\b\\f\\n\\r\\t"'),
        (2**53 - 1, b"9007199254740991"),
        (-(2**53) + 1, b"-9007199254740991"),
        ((1, (2,)), b"[1,[2]]"),
        (MappingProxyType({"a": MappingProxyType({})}), b'{"a":{}}'),
        ({}, b"{}"),
    ],
)
def test_spelling(value, spelling):
    assert canonical.encode(value) == spelling
    assert canonical.encode(canonical.decode(spelling)) == spelling


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (1.0, "E_CANON"),
        ({"a": float("nan")}, "E_CANON"),
        (2**53, "E_CANON"),
        (b"bytes", "E_CANON"),
        ({1: 2}, "E_CANON"),
        ({"ä": 2}, "E_CANON"),
        ({"a": {1, 2}}, "E_CANON"),
        ("e\u0301", "E_CANON"),
        ("\ud800", "E_ENCODING"),
    ],
)
def test_what_has_no_canonical_form_is_not_spelled(value, code):
    assert refusal(canonical.encode, value) == code


def test_nesting_is_bounded_in_both_directions():
    assert canonical.encode(canonical.decode(DEEPEST)) == DEEPEST
    deeper = [canonical.decode(DEEPEST)]
    assert refusal(canonical.encode, deeper) == "E_LIMIT"


@pytest.mark.parametrize("raw", [b"[]", b"1", b"null", b'"a"'])
def test_an_object_is_demanded(raw):
    assert refusal(canonical.decode_object, raw) == "E_FORMAT"


# What of the six vectors lies outside the restrictions, and why.
OUTSIDE = {
    "french": "member names are ASCII",
    "structures": "numbers are integers",
    "unicode": "not in Unicode form NFC",
    "values": "numbers are integers",
    "weird": "member names are ASCII",
}


@pytest.mark.parametrize("name", ["arrays", *OUTSIDE])
def test_vectors_of_rfc_8785(name):
    raw = third_party("jcs", "input", f"{name}.json").read_bytes()
    expected = third_party("jcs", "output", f"{name}.json").read_bytes()
    if name not in OUTSIDE:
        assert canonical.encode(canonical.decode(raw)) == expected
        return
    with pytest.raises(VerifyError, match=OUTSIDE[name]):
        canonical.decode(raw)
