"""Of what time links are asked for: what held then, and what was known by then.

    at      valid time: a link counts where the interval that an end states, who stands behind it,
            contains the time. An end that states no interval means always
    as_of   recorded time: of each side the newest version counts that had been recorded by then,
            by the clock of the node that keeps it; what came later is not known yet

The two are independent: "what contained this lot on date `at`, as known on date `as_of`".
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from .canonical import JsonObject
from .delegation import within
from .errors import BadQuery
from .link import ASSERTED, Assertion

_SECONDS = re.compile(r"0|[1-9][0-9]{0,11}")
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


@dataclass(frozen=True, slots=True)
class When:
    """A point of valid time and one of recorded time, Unix seconds; None is now."""

    at: int | None = None
    as_of: float | None = None

    def counts(self, said: Iterable[Assertion]) -> bool:
        """Tell whether an end that stands behind a link states that it held at the time."""
        return self.at is None or any(
            item.state == ASSERTED and within(self.at, item.valid_from, item.valid_until)
            for item in said
        )

    def view(self) -> JsonObject:
        """Return the members on the wire: times as RFC 3339, to the microsecond where needed."""
        view: JsonObject = {}
        if self.at is not None:
            view["at"] = _written(self.at)
        if self.as_of is not None:
            view["as_of"] = _written(self.as_of)
        return view


NOW: Final = When()


def read_moment(name: str, text: str) -> float:
    """Read Unix seconds or an RFC 3339 time of a query; raise BadQuery."""
    if _SECONDS.fullmatch(text):
        return int(text)
    # In a query an unescaped + is a space: of an offset it can be nothing else.
    spelled = text[:19].replace(" ", "T") + text[19:].replace(" ", "+")
    if _RFC3339.fullmatch(spelled):
        try:
            found = dt.datetime.fromisoformat(spelled.upper()).timestamp()
        except ValueError:
            found = -1.0
        if found >= 0:
            return found
    raise BadQuery(
        f"{name} is not a time from 1970 on",
        value=text,
        fix="give RFC 3339 such as 2026-11-25T10:00:00Z, or Unix seconds",
    )


def _written(seconds: float) -> str:
    try:
        moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    except (OverflowError, ValueError, OSError):
        return f"@{seconds:.0f}"
    return moment.isoformat().replace("+00:00", "Z")
