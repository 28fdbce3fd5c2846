"""Problem documents (RFC 9457) read back into the exceptions that they were written from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from http import HTTPStatus

from schemas.errors import TierlinkError, Unavailable, VerifyError

from .call import Reply

_AWAY = frozenset({429, 502, 503, 504})  # whoever answers so may answer otherwise soon
_MAX_WAIT = 3600
_REDIRECT = 300


def failure(reply: Reply) -> TierlinkError | None:
    """Return the exception of a failed reply, None where it succeeded."""
    if reply.status < _REDIRECT:
        return None
    try:
        found = json.loads(reply.content)
    except (ValueError, RecursionError):
        found = None
    members = found if isinstance(found, dict) else {}
    return error(members, reply.status, _retry_after(reply.headers))


def error(
    members: Mapping[str, object], status: int, retry_after: int | None = None
) -> TierlinkError:
    """Return the exception that a problem document describes: by its code, else by the status."""
    code, detail = _text(members, "code"), _text(members, "detail") or _phrase(members, status)
    fix, position = _text(members, "fix"), members.get("position")
    kind = _kind(code, status)
    if issubclass(kind, Unavailable):
        failed: TierlinkError = kind(detail, retry_after=retry_after or 1, fix=fix)
    elif kind is VerifyError:
        failed = VerifyError(code or VerifyError.code, detail, value=members.get("value"), fix=fix)
    else:
        failed = kind(
            detail,
            value=members.get("value"),
            position=position if type(position) is int else None,
            fix=fix,
        )
    if code:
        failed.code = code
    return failed


def _kind(code: str | None, status: int) -> type[TierlinkError]:
    if code and code.startswith("E_"):
        return VerifyError
    named = _by_code().get(code or "")
    if named is not None:
        return named
    if status in _AWAY:
        return Unavailable
    return _by_status().get(status) or _by_status()[400 if status < 500 else 500]  # noqa: PLR2004


@cache
def _by_code() -> dict[str, type[TierlinkError]]:
    kinds: dict[str, type[TierlinkError]] = {}
    for kind in _tree(TierlinkError):  # one that shares the code of a more general one is that
        kinds.setdefault(kind.code, kind)
    return kinds


@cache
def _by_status() -> dict[int, type[TierlinkError]]:
    kinds: dict[int, type[TierlinkError]] = {}
    for kind in _tree(TierlinkError):  # the general before the special
        kinds.setdefault(kind.status, kind)
    return kinds


def _tree(kind: type[TierlinkError]) -> Iterator[type[TierlinkError]]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from _tree(narrower)


def _phrase(members: Mapping[str, object], status: int) -> str:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "an unknown status"
    return _text(members, "title") or f"HTTP {status} {phrase}, without a reason"


def _text(members: Mapping[str, object], name: str) -> str | None:
    value = members.get(name)
    return value if isinstance(value, str) and value else None


def _retry_after(headers: Mapping[str, str]) -> int | None:
    seconds = headers.get("retry-after", "")
    return min(int(seconds), _MAX_WAIT) if seconds.isascii() and seconds.isdigit() else None
