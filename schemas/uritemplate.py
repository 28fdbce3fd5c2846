"""URI templates, RFC 6570 levels 1 to 4 for string values.

Values here are always strings, so explode (`*`) changes nothing but the form of `;` and query
parameters, which for one string is the same; lists and maps do not occur.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias
from urllib.parse import quote

from .errors import BadRecord

MAX_TEMPLATE = 2048
_RESERVED = ":/?#[]@!$&'()*+,;="
_NAME = r"(?:[A-Za-z0-9_]|%[0-9A-Fa-f]{2})+(?:\.(?:[A-Za-z0-9_]|%[0-9A-Fa-f]{2})+)*"
_VARSPEC = re.compile(rf"({_NAME})(?::([1-9][0-9]{{0,3}})|(\*))?")
_LITERAL = re.compile(r"(?:[!#$&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]|%[0-9A-Fa-f]{2}|[^\x00-\x7f])*")


@dataclass(frozen=True, slots=True)
class _Operator:
    first: str
    separator: str
    named: bool
    if_empty: str
    safe: str


_OPERATORS = {  # RFC 6570 appendix A
    "": _Operator("", ",", named=False, if_empty="", safe=""),
    "+": _Operator("", ",", named=False, if_empty="", safe=_RESERVED),
    "#": _Operator("#", ",", named=False, if_empty="", safe=_RESERVED),
    ".": _Operator(".", ".", named=False, if_empty="", safe=""),
    "/": _Operator("/", "/", named=False, if_empty="", safe=""),
    ";": _Operator(";", ";", named=True, if_empty="", safe=""),
    "?": _Operator("?", "&", named=True, if_empty="=", safe=""),
    "&": _Operator("&", "&", named=True, if_empty="=", safe=""),
}

_Variable: TypeAlias = "tuple[str, int | None]"
_Part: TypeAlias = "str | tuple[_Operator, tuple[_Variable, ...]]"


@lru_cache(maxsize=4096)
def parse(template: str) -> tuple[_Part, ...]:
    """Split a template into literals and expressions; raise BadRecord where it is malformed."""
    if len(template) > MAX_TEMPLATE:
        raise BadRecord(f"template over {MAX_TEMPLATE} characters", value=template)
    parts: list[_Part] = []
    at = 0
    while at < len(template):
        opened = template.find("{", at)
        literal = template[at:] if opened < 0 else template[at:opened]
        if not _LITERAL.fullmatch(literal):
            raise BadRecord(
                "template has a character that no URI may hold", value=template, position=at
            )
        if literal:
            parts.append(literal)
        if opened < 0:
            break
        closed = template.find("}", opened)
        if closed < 0:
            raise BadRecord("template brace is not closed", value=template, position=opened)
        parts.append(_expression(template, template[opened + 1 : closed], opened))
        at = closed + 1
    return tuple(parts)


def _expression(template: str, body: str, at: int) -> _Part:
    operator = (
        _OPERATORS.get(body[:1])
        if body[:1] and not (body[0].isalnum() or body[0] in "_%")
        else None
    )
    if operator is None:
        operator, names = _OPERATORS[""], body
    else:
        names = body[1:]
    variables: list[_Variable] = []
    for spec in names.split(","):
        found = _VARSPEC.fullmatch(spec)
        if not found:
            raise BadRecord("template expression is malformed", value=template, position=at)
        variables.append((found[1], int(found[2]) if found[2] else None))
    return operator, tuple(variables)


def names(template: str) -> frozenset[str]:
    """Return the variable names a template uses."""
    return frozenset(
        name for part in parse(template) if not isinstance(part, str) for name, _ in part[1]
    )


def expand(template: str, values: Mapping[str, str]) -> str:
    """Expand a template (RFC 6570 §3); a variable without a value is undefined and left out."""
    return "".join(_expanded(template, values))


def expand_within(limit: int, template: str, values: Mapping[str, str]) -> str | None:
    """Expand a template, None where the result has over `limit` characters.

    Stops at the limit: a short template can name a long value hundreds of times.
    """
    out: list[str] = []
    left = limit
    for text in _expanded(template, values):
        left -= len(text)
        if left < 0:
            return None
        out.append(text)
    return "".join(out)


def _expanded(template: str, values: Mapping[str, str]) -> Iterator[str]:
    for part in parse(template):
        if isinstance(part, str):
            yield quote(part, safe=_RESERVED + "%")
            continue
        operator, variables = part
        between = operator.first
        for name, length in variables:
            if name in values:
                yield between + _piece(operator, name, values[name][:length])
                between = operator.separator


def _piece(operator: _Operator, name: str, value: str) -> str:
    text = quote(value, safe=operator.safe)
    if operator.safe:  # reserved expansion keeps escapes that are already there (§3.2.3)
        text = re.sub(r"%25([0-9A-Fa-f]{2})", r"%\1", text)
    if not operator.named:
        return text
    return f"{name}={text}" if text else name + operator.if_empty
