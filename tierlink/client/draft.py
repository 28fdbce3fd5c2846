"""Drafts: records and assertions as they are sent where the registry is to sign them."""

from __future__ import annotations

from schemas.link import WITHDRAWN, Assertion
from schemas.record import Record

_SIGNING = frozenset({"v", "id", "ver", "prev", "iat"})


def record_draft(record: Record) -> dict[str, object]:
    """Return what an owner says of an identifier, without what signing adds."""
    content = {name: value for name, value in record.claims().items() if name not in _SIGNING}
    return {"identifier": record.identifier.text, **content}


def assertion_draft(assertion: Assertion) -> dict[str, object]:
    """Return what one end says of a link, without what signing adds."""
    content = {name: value for name, value in assertion.claims().items() if name not in _SIGNING}
    if content["state"] != WITHDRAWN:
        del content["state"]
    return content
