"""Numbers printed on things: lots, serials, and the traction battery code of GB/T 34014-2017."""

from __future__ import annotations

import datetime as dt

# 0 to 9 and the letters that cannot be taken for digits, as that standard counts.
_YEARS = "ABCDEFGHJKLMNPRSTVWX"  # A is 2020
_DAYS = "123456789ABCDEFGHJKLMNPRSTVWXY0"
_MONTHS = "123456789ABC"
_FIRST_YEAR = 2020

CELL_TYPE, MODULE_TYPE, PACK_TYPE = "C", "M", "P"


def traction_code(maker: str, product_type: str, made_on: dt.date, serial: int) -> str:
    """Return a code of 24 characters: design information, traceability, date and serial number.

    Maker (3), product type (1), B for lithium iron phosphate (1), specification (2),
    traceability information (7), date (3), serial number (7).
    """
    date = _YEARS[made_on.year - _FIRST_YEAR] + _MONTHS[made_on.month - 1] + _DAYS[made_on.day - 1]
    return f"{maker}{product_type}B73{maker}A{maker}{date}{serial:07d}"


def lot_code(product: str, made_on: dt.date, number: int) -> str:
    """Return the suffix of a lot: `LC995-L26080301`. The letter keeps it apart from serials."""
    return f"{product}-L{made_on:%y%m%d}{number:02d}"


def working_day(start: dt.date, number: int) -> dt.date:
    """Return the working day that comes `number` of them after `start`."""
    weeks, days = divmod(start.weekday() + number, 5)
    return start + dt.timedelta(days=7 * weeks + days - start.weekday())
