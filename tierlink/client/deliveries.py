"""What is on its way to the nodes of far ends: one's own statements, and why they still wait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from schemas.canonical import JsonObject
from schemas.claims import Members
from schemas.errors import BadInput, VerifyError

from .call import Steps, query, read

PAGE = 500


@dataclass(frozen=True, slots=True)
class OnItsWay:
    """One statement that the node of its far end has not accepted yet.

    `due_at` (RFC 3339) is None for one that was refused for good; `failure` is why the last
    attempt failed, None before the first one.
    """

    link_key: str
    side: str
    far: str
    attempts: int
    due_at: str | None
    failure: str | None


def listing() -> Steps[tuple[OnItsWay, ...]]:
    """Return what is on its way of the holder whose API key is sent."""
    found: list[OnItsWay] = []
    cursor: str | None = ""
    while cursor is not None:
        reply = yield read(
            f"/v1/deliveries{query(cursor=cursor or None, limit=PAGE)}", private=True
        )
        document = reply.document()
        items, following = document.get("deliveries"), document.get("next")
        if not isinstance(items, list):
            raise VerifyError("E_FORMAT", "the reply has no array named deliveries")
        found += [_read(cast("JsonObject", item)) for item in items]
        cursor = following if isinstance(following, str) else None
    return tuple(found)


def _read(entry: JsonObject) -> OnItsWay:
    try:
        members = Members({}, BadInput).inner(entry, "deliveries.")
        return OnItsWay(
            members.text("link_key", 64),
            members.text("side", 16),
            members.identifier("far").text,
            members.integer("attempts"),
            _maybe(members, "due_at"),
            _maybe(members, "failure"),
        )
    except BadInput as err:
        raise VerifyError("E_FORMAT", f"not a delivery: {err.detail}", value=err.value) from err


def _maybe(members: Members, name: str) -> str | None:
    return members.text(name, 512) if members.source.get(name) else None
