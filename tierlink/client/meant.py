"""A record as its holder means it: what is open, and what only some are to see."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, cast

from schemas.canonical import JsonObject
from schemas.claims import Members
from schemas.disclosure import MAX_AUDIENCE, SALT_BYTES, Marked, hide, read_hidden
from schemas.errors import BadRecord
from schemas.keys import Signer
from schemas.record import Record, read_draft

from .draft import record_draft

Draft: TypeAlias = "Mapping[str, object]"


@dataclass(frozen=True, slots=True)
class Meant:
    """A record as it is to be, everything open, and what of it is to be hidden.

    `hidden` is as in a draft: [{"audience": […], "attributes": {…}, "targets": […]}].
    """

    record: Record
    hidden: tuple[JsonObject, ...] = ()

    def marked(self, salt: Callable[[bytes], bytes]) -> tuple[Marked, ...]:
        """Return what is hidden, with salts; raise BadInput where it cannot be."""
        outer = Members({"hidden": list(self.hidden)}, BadRecord)
        groups = outer.array(
            "hidden", MAX_AUDIENCE, lambda item, at: read_hidden(outer, item, at, salt)
        )
        return tuple(item for group in groups for item in group)


def read_meant(given: Record | Draft, now: int) -> Meant:
    """Read what the caller gives: a record, or a draft which may hide some of itself."""
    if isinstance(given, Record):
        return Meant(given)
    draft = dict(cast("JsonObject", given))
    hidden = draft.pop("hidden", [])
    if not isinstance(hidden, list) or not all(isinstance(item, dict) for item in hidden):
        raise BadRecord("hidden is not an array of objects", value=hidden)
    return Meant(read_draft(draft, now), tuple(cast("list[JsonObject]", hidden)))


def body_of(meant: Meant, signer: Signer | None) -> dict[str, object]:
    """Return the body of a write: signed here, or a draft for the registry to sign."""
    if signer is None:
        draft = record_draft(meant.record)
        return {**draft, "hidden": list(meant.hidden)} if meant.hidden else draft
    marked = meant.marked(lambda _: os.urandom(SALT_BYTES))
    record = hide(meant.record, [item.disclosure for item in marked])
    body: dict[str, object] = {"envelope": record.sign(signer)}
    if marked:
        body["disclosures"] = [
            {"disclosure": item.disclosure.text, "audience": list(item.audience)} for item in marked
        ]
    return body
