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

Json: TypeAlias = "bool | int | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = "dict[str, Json]"

_encoder = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=dict
)


def encode(value: object) -> bytes:
    """Return the canonical bytes; raise VerifyError E_CANON or E_LIMIT on what has none."""
    _check(value, 1)
    return _encoder.encode(value).encode()


def _check(value: object, depth: int) -> None:
    if type(value) is str:
        _check_text(value)
    elif type(value) is int:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise VerifyError("E_CANON", f"integer beyond ±{MAX_INTEGER}", value=value)
    elif value is not None and type(value) is not bool:
        _check_nested(value, depth)


def _check_nested(value: object, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise VerifyError("E_LIMIT", f"JSON nested deeper than {MAX_DEPTH}")
    if type(value) is dict or isinstance(value, Mapping):  # the first is the usual, and cheap
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
            f"{type(value).__name__} has no canonical form",
            value=value,
            fix="write fractions as decimal strings",
        )


def _check_text(text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        raise VerifyError("E_ENCODING", "string holds a lone surrogate", value=text) from None
    if not unicodedata.is_normalized("NFC", text):
        raise VerifyError("E_CANON", "string is not in Unicode form NFC", value=text)


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
    try:
        value: Json = _decoder.decode(text)
    except RecursionError:  # the parser gives up near a thousand levels, `_check` at seventeen
        raise VerifyError("E_LIMIT", f"JSON nested deeper than {MAX_DEPTH}") from None
    except ValueError as err:
        raise VerifyError("E_FORMAT", f"not JSON: {err}") from None
    if not _is_plain(text):
        _check(value, 1)
    return value


def _is_plain(text: str) -> bool:
    """Tell by JSON text alone that `_check` has nothing against it, whose integers were read.

    Without escapes no string is other than the text is, and what opens sixteen times at most is
    nested no deeper.
    """
    return text.isascii() and "\\" not in text and text.count("{") + text.count("[") <= MAX_DEPTH


def decode_object(raw: bytes) -> JsonObject:
    """Parse a JSON object by the rules of `decode`."""
    value = decode(raw)
    if not isinstance(value, dict):
        raise VerifyError("E_FORMAT", "not a JSON object")
    return value


def decode_canonical(raw: bytes, what: str) -> JsonObject:
    """Parse a JSON object by the rules of `decode`; raise VerifyError E_CANON on another spelling.

    `what` it is that is not in canonical form.
    """
    value = decode_object(raw)
    if _encoder.encode(value).encode() != raw:  # checked when it was decoded
        raise VerifyError("E_CANON", f"{what} is not in canonical form")
    return value


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
    value = int(literal)
    if not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise VerifyError("E_CANON", f"integer beyond ±{MAX_INTEGER}", value=value)
    return value


_decoder = json.JSONDecoder(
    object_pairs_hook=_pairs,
    parse_float=_refuse_float,
    parse_constant=_refuse_float,
    parse_int=_integer,
)
