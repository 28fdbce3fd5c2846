"""What grants and notices have in common: of each the newest version stands, and is listed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar, cast

from schemas.canonical import JsonObject
from schemas.errors import VerifyError
from schemas.grant import Grant
from schemas.keys import B64
from schemas.notice import Notice

from .call import Steps

S = TypeVar("S", Grant, Notice)
T = TypeVar("T")

_SIGNED = ("v", "ver", "prev", "iat", "state")  # members that a draft has not


def draft_of(said: Grant | Notice) -> dict[str, object]:
    """Return what the hosted key is asked to sign."""
    return {name: value for name, value in said.claims().items() if name not in _SIGNED}


def next_of(said: S, before: S, digest: str, seconds: int) -> S:
    """Return a statement as the version that follows another."""
    return replace(said, version=before.version + 1, prev=B64(digest), issued_at=seconds)


def all_pages(page: Callable[[str], Steps[tuple[list[T], str | None]]]) -> Steps[tuple[T, ...]]:
    """Return what is on every page, each asked for by the cursor of the one before."""
    found: list[T] = []
    cursor: str | None = ""
    while cursor is not None:
        items, cursor = yield from page(cursor)
        found += items
    return tuple(found)


def page_of(
    document: JsonObject, name: str, read: Callable[[JsonObject], T]
) -> tuple[list[T], str | None]:
    """Read one page, and the cursor of the next."""
    items, following = document.get(name), document.get("next")
    if not isinstance(items, list):
        raise VerifyError("E_FORMAT", f"the reply has no array named {name}")
    found = [read(cast("JsonObject", item)) for item in items]
    return found, following if isinstance(following, str) else None
