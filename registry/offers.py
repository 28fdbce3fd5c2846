"""What a holder offers: a record that he signed, or a draft for the hosted key to sign.

Read and judged without a row, so that any process may do it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from schemas import canonical
from schemas.canonical import JsonObject
from schemas.chain import Chain
from schemas.claims import Members
from schemas.disclosure import (
    MAX_AUDIENCE,
    MAX_DISCLOSURES,
    Marked,
    hide,
    read_hidden,
    read_marked,
    reveal,
)
from schemas.envelope import Envelope
from schemas.errors import BadInput, BadRecord, Forbidden, VerifyError
from schemas.identifier import Identifier, Prefix
from schemas.record import Record, parse_record, read_draft
from schemas.signed import check_speaks
from schemas.successor import SKEW_SECONDS


@dataclass(frozen=True, slots=True)
class Offer:
    """A record as its holder wants it: signed by himself, or a draft for the hosted key."""

    record: Record
    envelope: Envelope | None = None
    marked: tuple[Marked, ...] = ()  # what the record hides, and who may see it


def read_offer(body: JsonObject, now: int, salt: Callable[[bytes], bytes]) -> Offer:
    """Read `{"envelope": …}` or a draft, and what they hide; raise BadInput.

    `salt` gives the same 16 bytes for the same content, so that the same draft again is the same
    record again.
    """
    members = Members(body, BadRecord)
    if "envelope" not in body:
        return _read_draft(body, now, salt)
    token = members.take("envelope")
    marked = members.array(
        "disclosures", MAX_DISCLOSURES, lambda item, where: read_marked(members, item, where)
    )
    members.done()
    envelope, record = parse_record(token)
    if marked:
        reveal(record, [item.disclosure for item in marked])  # each fits, and none twice
    return Offer(record, envelope, marked)


def _read_draft(body: JsonObject, now: int, salt: Callable[[bytes], bytes]) -> Offer:
    record = read_draft({name: body[name] for name in body if name != "hidden"}, now)
    members = Members(body, BadRecord)
    subject = record.identifier.text.encode()
    groups = members.array(
        "hidden",
        MAX_AUDIENCE,
        lambda item, where: read_hidden(members, item, where, lambda raw: salt(subject + raw)),
    )
    marked = tuple(item for group in groups for item in group)
    if not marked:
        return Offer(record)
    hidden = hide(record, [item.disclosure for item in marked])
    reveal(hidden, [item.disclosure for item in marked])
    return Offer(hidden, None, marked)


def read_line(raw: bytes) -> JsonObject:
    """Read a line of a batch, the body of an offer; raise BadInput."""
    try:
        return canonical.decode_object(raw)
    except VerifyError as err:
        blame_identifier(raw)
        raise BadInput(f"the line: {err.detail}", value=err.value, fix=err.fix) from err


def blame_identifier(raw: bytes) -> None:
    """Raise BadIdentifier where that is why JSON is refused: it says more than the whole can."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return
    text = body.get("identifier") if isinstance(body, dict) else None
    if isinstance(text, str):
        Identifier.parse(text)


def check_envelope(chain: Chain, record: Record, envelope: Envelope, now: int) -> None:
    """Check that an envelope holds under the chain of its prefix; raise VerifyError."""
    if record.issued_at > now + SKEW_SECONDS:
        raise VerifyError(
            "E_TIME",
            "the record is issued in the future",
            value=record.issued_at,
            fix="set the clock of whoever signs",
        )
    prefix = record.identifier.prefix
    check_speaks(envelope, prefix, max(record.issued_at, now))
    chain.check_speaker(envelope, prefix, record.issued_at, record.kind)


def not_held(held: Prefix, prefix: Prefix) -> Forbidden:
    """Build the refusal of a prefix to who holds another one."""
    return Forbidden(
        f"the API key is for {held}, not for {prefix}",
        value=str(prefix),
        fix=f"use an API key of {prefix}",
    )
