"""Quantities of foreign data: four encodings in, one decimal string and a Rec 20 code out."""

import json
from decimal import Decimal

import pytest

from schemas.link import read_assertion
from tests.parties import MADE_OF, assertion
from tierlink.imports.quantity import UNITS, UnusableQuantity, read_quantity, rec20

LEXICAL = {"datatypeURI": "urn:bamm:…#ItemUnit", "lexicalValue": "unit:litre"}
READ = {  # JSON as it stands in a document, value, unit
    "value-and-unit": ('{"value": 20.0, "unit": "unit:piece"}', "20", "H87"),
    "number-and-unit": ('{"quantityNumber": 2.5, "measurementUnit": "unit:litre"}', "2.5", "LTR"),
    "unit-as-object": (
        json.dumps({"quantityNumber": 2, "measurementUnit": LEXICAL}),
        "2",
        "LTR",
    ),
    "number-as-text": (
        '{"quantityNumber": "0.2014", "measurementUnit": "unit:kilogram"}',
        "0.2014",
        "KGM",
    ),
    "both-names": (
        '{"value": 1, "unit": "unit:piece", "quantityNumber": 2, "measurementUnit": "unit:litre"}',
        "1",
        "H87",
    ),
    "code-as-it-is": ('{"value": 1, "unit": "KWH"}', "1", "KWH"),
    "long-name": ('{"value": 1, "unit": "urn:samm:org.eclipse.esmf:2.0.0#unit:metre"}', "1", "MTR"),
    "fragment": (
        '{"value": 1, "unit": "urn:bamm:io.openmanufacturing:meta-model:1.0.0#piece"}',
        "1",
        "H87",
    ),
    "zero": ('{"value": 0, "unit": "unit:piece"}', "0", "H87"),
    "zero-point-zero": ('{"value": 0.000, "unit": "unit:piece"}', "0", "H87"),
    "minus-zero": ('{"value": -0.0, "unit": "unit:piece"}', "0", "H87"),
    "minus-zero-as-text": ('{"value": "-0", "unit": "unit:piece"}', "0", "H87"),
    "exponent": ('{"value": 1.5e2, "unit": "unit:piece"}', "150", "H87"),
    "small-exponent": ('{"value": 25E-3, "unit": "unit:piece"}', "0.025", "H87"),
    "trailing-zeros": ('{"value": 1.2300000000000, "unit": "unit:piece"}', "1.23", "H87"),
    "exact": ('{"value": 0.1, "unit": "unit:piece"}', "0.1", "H87"),
    "nine-places": ('{"value": 0.123456789, "unit": "unit:piece"}', "0.123456789", "H87"),
    "largest": ('{"value": 999999999999999999, "unit": "unit:piece"}', "9" * 18, "H87"),
    "leading-zeros": ('{"value": "007", "unit": "unit:piece"}', "7", "H87"),
}


def read(text):
    return read_quantity(json.loads(text, parse_float=Decimal))


@pytest.mark.parametrize(("text", "value", "unit"), READ.values(), ids=READ)
def test_encodings(text, value, unit):
    found = read(text)
    assert (found.value, found.unit) == (value, unit)
    stated = assertion("downstream", *MADE_OF, quantity=found)
    assert read_assertion(stated.claims()) == stated


@pytest.mark.parametrize("text", ["null", "{}", '{"value": null}', '{"quantityNumber": null}'])
def test_no_quantity(text):
    assert read(text) is None


UNUSABLE = {
    "no-unit": ('{"value": 1}', "has no UNECE Rec 20 code"),
    "no-number": ('{"unit": "unit:piece"}', "None is not a number"),
    "unknown-unit": ('{"value": 1, "unit": "unit:furlong"}', "'unit:furlong' has no UNECE"),
    "unit-a-number": ('{"value": 1, "unit": 7}', "has no UNECE"),
    "unit-an-empty-object": ('{"value": 1, "unit": {}}', "has no UNECE"),
    "unit-in-capitals": ('{"value": 1, "unit": "PIECES"}', "has no UNECE"),
    "an-array": ("[1]", "quantity is list, not an object"),
    "a-number": ("7", "quantity is int, not an object"),
    "words": ('{"value": "many", "unit": "unit:piece"}', "is not a number"),
    "true": ('{"value": true, "unit": "unit:piece"}', "True is not a number"),
    "array-as-number": ('{"value": [1], "unit": "unit:piece"}', "is not a number"),
    "nan": ('{"value": NaN, "unit": "unit:piece"}', "nan is not a number"),
    "nan-as-text": ('{"value": "NaN", "unit": "unit:piece"}', "is not a number"),
    "infinity-as-text": ('{"value": "Infinity", "unit": "unit:piece"}', "is not a number"),
    "underscore": ('{"value": "1_0", "unit": "unit:piece"}', "is not a number"),
    "space": ('{"value": " 1 ", "unit": "unit:piece"}', "is not a number"),
    "comma": ('{"value": "1,5", "unit": "unit:piece"}', "is not a number"),
    "full-width": ('{"value": "\uff11", "unit": "unit:piece"}', "is not a number"),
    "negative": ('{"value": -1, "unit": "unit:piece"}', "is not a plain amount"),
    "too-large": ('{"value": 1000000000000000000, "unit": "unit:piece"}', "is out of range"),
    "enormous": ('{"value": 1e999999999, "unit": "unit:piece"}', "is out of range"),
    "tiny": ('{"value": 1e-999999999, "unit": "unit:piece"}', "is out of range"),
    "ten-places": ('{"value": 0.1234567891, "unit": "unit:piece"}', "has over 9 decimals"),
}


@pytest.mark.parametrize(("text", "why"), UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_quantities(text, why):
    with pytest.raises(UnusableQuantity, match=why):
        read(text)


def test_a_float_has_lost_its_digits():
    with pytest.raises(UnusableQuantity, match="is not a number"):
        read_quantity({"value": 0.1, "unit": "unit:piece"})


@pytest.mark.parametrize(("name", "code"), UNITS.items())
def test_units(name, code):
    assert rec20(f"unit:{name}") == rec20(name) == rec20(code) == code
