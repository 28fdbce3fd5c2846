"""Canonical JSON: RFC 8785 bytes over a narrowed I-JSON.

Integers only (|n| ≤ 2^53-1), strings in Unicode NFC, ASCII member names, no duplicates, nesting
at most 16. With those restrictions sorted `json.dumps` is byte-identical to RFC 8785, because
ASCII names sort alike by code point and by UTF-16 unit and no number needs ECMAScript's form.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from typing import NoReturn, TypeAlias

from .errors import VerifyError

MAX_INTEGER = 2**53 - 1
MAX_DEPTH = 16
MAX_BYTES = 48 * 1024  # of one signed payload

Json: TypeAlias = "None | bool | int | str | list[Json] | dict[str, Json]"
JsonObject: TypeAlias = "dict[str, Json]"

_encoder = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)


def encode(value: object) -> bytes:
    """Return the canonical bytes; raise VerifyError E_CANON or E_LIMIT on what has none."""
    _check(value, 1)
    return _encoder.encode(value).encode()


def _check(value: object, depth: int) -> None:
    kind = type(value)
    if kind is str:
        _check_text(value)  # type: ignore[arg-type]
    elif kind is int:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:  # type: ignore[operator]
            raise VerifyError("E_CANON", f"integer beyond ±{MAX_INTEGER}", value=value)
    elif value is None or kind is bool:
        return
    elif depth > MAX_DEPTH:
        raise VerifyError("E_LIMIT", f"JSON nested deeper than {MAX_DEPTH}")
    elif isinstance(value, Mapping):
        for name, member in value.items():
            if type(name) is not str or not name.isascii():
                raise VerifyError("E_CANON", "member names are ASCII strings", value=name)
            _check(member, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _check(item, depth + 1)
    else:
        raise VerifyError(
            "E_CANON",
            f"{kind.__name__} has no canonical form",
            value=value,
            fix="write fractions as decimal strings",
        )


def _check_text(text: str) -> None:
    if text.isascii():
        return
    if not unicodedata.is_normalized("NFC", text):
        raise VerifyError("E_CANON", "string is not in Unicode form NFC", value=text)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise VerifyError("E_ENCODING", "string holds a lone surrogate") from None


def decode(raw: bytes) -> Json:
    """Parse JSON strictly: UTF-8 without BOM, no duplicate names, no float, no NaN, bounded depth.

    Raises VerifyError with E_ENCODING, E_DUPKEY, E_CANON, E_LIMIT or E_FORMAT, and nothing else.
    Does not demand canonical spelling: `encode(decode(raw)) == raw` says whether it has it.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise VerifyError("E_ENCODING", "not UTF-8") from None
    return decode_text(text)


def decode_text(text: str) -> Json:
    """Parse JSON text by the rules of `decode`."""
    if text.startswith("\ufeff"):
        raise VerifyError("E_ENCODING", "begins with a byte order mark")
    if _deeper_than(text, MAX_DEPTH * 4):  # cheap and rough: the parser must not recurse far
        raise VerifyError("E_LIMIT", f"JSON nested deeper than {MAX_DEPTH}")
    try:
        value: Json = json.loads(
            text,
            object_pairs_hook=_pairs,
            parse_float=_refuse_float,
            parse_constant=_refuse_float,
            parse_int=_integer,
        )
    except (ValueError, RecursionError) as err:
        raise VerifyError("E_FORMAT", f"not JSON: {err}") from None
    _check(value, 1)
    return value


def decode_object(raw: bytes) -> JsonObject:
    """Parse a JSON object by the rules of `decode`."""
    value = decode(raw)
    if not isinstance(value, dict):
        raise VerifyError("E_FORMAT", "not a JSON object")
    return value


def _deeper_than(text: str, depth: int) -> bool:
    if text.count("[") + text.count("{") <= depth:
        return False
    level = 0
    quoted = escaped = False
    for char in text:
        if quoted:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                quoted = False
        elif char == '"':
            quoted = True
        elif char in "[{":
            level += 1
            if level > depth:
                return True
        elif char in "]}":
            level -= 1
    return False


def _pairs(pairs: list[tuple[str, Json]]) -> JsonObject:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise VerifyError("E_DUPKEY", "member name occurs twice", value=twice)
    return members


def _refuse_float(literal: str) -> NoReturn:
    raise VerifyError(
        "E_CANON", "numbers are integers", value=literal, fix="write fractions as decimal strings"
    )


def _integer(literal: str) -> int:
    if literal == "-0" or len(literal) > 17:  # noqa: PLR2004  (2^53 has 16 digits and a sign)
        raise VerifyError("E_CANON", "integer has no canonical form", value=literal)
    return int(literal)
