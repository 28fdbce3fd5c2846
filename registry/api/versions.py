"""What the API shows and takes of grants and notices alike: the newest version of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from registry.versions import Page, Settled
from schemas.canonical import Json, JsonObject
from schemas.envelope import Envelope
from schemas.grant import Grant
from schemas.notice import Notice

_SIGNED = ("v", "ver", "prev", "iat")  # members of the envelope that its view has no use for


def view(settled: Settled[Grant] | Settled[Notice]) -> JsonObject:
    """Return what is stated now."""
    return shown(settled.said, settled.digest, settled.token)


def shown(said: Grant | Notice, digest: str, envelope: str) -> JsonObject:
    """Return one statement."""
    members: JsonObject = dict(said.claims())  # type: ignore[arg-type]
    for signed in _SIGNED:
        members.pop(signed, None)
    return {**members, "version": said.version, "digest": digest, "envelope": envelope}


def listed(
    name: str, page: Page, parse: Callable[[object], tuple[Envelope, Grant | Notice]]
) -> JsonObject:
    """Return a page of statements under their name."""
    rows: list[Json] = [
        shown(parse(row.envelope)[1], row.digest, row.envelope) for row in page.rows
    ]
    return {name: rows, "next": page.after}


# How the API is documented


def stating(draft: Mapping[str, object], envelope: object) -> dict[str, Any]:
    """Describe a body: a draft, or an envelope."""
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"type": "object"},
                    "examples": {
                        "draft": {"summary": "signed with the hosted key", "value": draft},
                        "envelope": {
                            "summary": "signed by the client",
                            "value": {"envelope": envelope},
                        },
                    },
                }
            },
        }
    }
