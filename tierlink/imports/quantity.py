"""Quantities of foreign data: four encodings in, one decimal string and a Rec 20 code out.

    {"value": 20.0, "unit": "unit:piece"}
    {"quantityNumber": 2.5, "measurementUnit": "unit:litre"}
    {"quantityNumber": 2.5, "measurementUnit": {"datatypeURI": …, "lexicalValue": "unit:litre"}}
    {"quantityNumber": "0.2014", "measurementUnit": …}            (the number as a string)

They occur mixed in one chain, and now and then together in one object: then `value` and `unit`,
the younger names, are taken. A unit without a Rec 20 code is refused, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

from schemas.link import Quantity

# Names of the Catena-X unit catalogue (`unit:…`) -> UNECE Recommendation 20 common codes.
UNITS = {
    "centimetre": "CMT",
    "cubicMetre": "MTQ",
    "day": "DAY",
    "decigram": "DG",
    "gram": "GRM",
    "hour": "HUR",
    "kilogram": "KGM",
    "kilowattHour": "KWH",
    "litre": "LTR",
    "metre": "MTR",
    "milligram": "MGM",
    "millilitre": "MLT",
    "millimetre": "MMT",
    "pair": "PR",
    "piece": "H87",
    "set": "SET",
    "squareMetre": "MTK",
    "tonneMetricTon": "TNE",
}
_CODE = re.compile(r"[A-Z0-9]{2,3}")
_NUMBER = re.compile(r"-?[0-9]{1,60}(?:\.[0-9]{1,60})?(?:[eE][+\-]?[0-9]{1,3})?")
_PLACES = 9  # decimal places that a signed quantity may have
_WHOLE = 18  # digits before the point
_LONGEST = 40  # decimals that are worth writing out to see whether they are zeros


class UnusableQuantity(ValueError):
    """A quantity that cannot be stated in a signed link, and why."""


def read_quantity(value: object) -> Quantity | None:
    """Read a quantity in any of the encodings, None where there is none.

    Raises UnusableQuantity with the reason. Numbers are `int`, `Decimal` or decimal strings;
    `float` is refused because its digits are not those of the document.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise UnusableQuantity(f"quantity is {type(value).__name__}, not an object")
    number = value.get("value", value.get("quantityNumber"))
    unit = value.get("unit", value.get("measurementUnit"))
    if isinstance(unit, Mapping):
        unit = unit.get("lexicalValue")
    if number is None and unit is None:
        return None
    return Quantity(_plain(number), rec20(unit))


def rec20(unit: object) -> str:
    """Return the Rec 20 code of a unit name such as `unit:piece`; a code passes as it is."""
    if isinstance(unit, str):
        name = unit.rpartition("#")[2].removeprefix("unit:").strip()
        if name in UNITS:
            return UNITS[name]
        if _CODE.fullmatch(name):
            return name
    raise UnusableQuantity(f"unit {unit!r} has no UNECE Rec 20 code here")


def _plain(number: object) -> str:
    if isinstance(number, bool) or not isinstance(number, int | Decimal | str):
        raise UnusableQuantity(f"quantity number {number!r} is not a number")
    if isinstance(number, str) and not _NUMBER.fullmatch(number):
        raise UnusableQuantity(f"quantity number {number!r} is not a number")
    amount = Decimal(number)
    if not amount.is_finite() or amount < 0:
        raise UnusableQuantity(f"quantity number {number!r} is not a plain amount")
    if amount.adjusted() >= _WHOLE or amount.as_tuple().exponent < -_LONGEST:  # type: ignore[operator]
        raise UnusableQuantity(f"quantity number {number!r} is out of range")
    text = format(abs(amount), "f")  # a JSON number may be -0.0
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    if len(fraction) > _PLACES:
        raise UnusableQuantity(f"quantity number {number!r} has over {_PLACES} decimals")
    whole = whole.lstrip("0") or "0"
    return f"{whole}.{fraction}" if fraction else whole
