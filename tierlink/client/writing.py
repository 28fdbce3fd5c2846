"""Operations that write records and links. With a signer only envelopes leave this program.

Without one the registry signs drafts by a hosted key; what it signed is then compared with what
was sent. A signed write names the version before it, so it is read first: whoever wants to be
sure that nobody wrote in between gives `if_match`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

from schemas.canonical import JsonObject
from schemas.disclosure import (
    SALT_BYTES,
    hide,
    parse_disclosure,
    reveal,
)
from schemas.envelope import digest
from schemas.errors import BadInput, Conflict, VerifyError, VersionStale
from schemas.identifier import Identifier
from schemas.keys import B64
from schemas.link import ASSERTED, WITHDRAWN, Assertion, Link, parse_assertion, read_draft_assertion
from schemas.record import RETIRED, Record, parse_record

from . import reading
from .call import Call, Reply, Steps, as_identifier, path, same_identifier, write
from .context import Context
from .draft import assertion_draft
from .meant import Draft, Meant, body_of, read_meant


@dataclass(frozen=True, slots=True)
class Registered:
    """A record as the registry accepted it; `created` is False where it was there already."""

    identifier: str
    version: int
    kind: str
    status: str
    digest: str
    envelope: str
    created: bool


@dataclass(frozen=True, slots=True)
class Asserted:
    """An assertion as the registry accepted it; `link_state` is what both ends make of the link."""

    link_key: str
    side: str
    version: int
    state: str
    link_state: str
    digest: str
    envelope: str
    created: bool


def register(context: Context, given: Record | Draft | str) -> Steps[Registered]:
    """Register one record: a record or draft, or an envelope signed elsewhere."""
    if isinstance(given, str):
        reply = yield _record_call("POST", None, {"envelope": given}, context)
        return _registered(reply, Meant(parse_record(given)[1]))
    meant = read_meant(given, context.seconds)
    reply = yield _record_call("POST", None, body_of(meant, context.signer), context)
    return _registered(reply, meant)


def update(
    context: Context, given: Record | Draft, if_match: int | str | None
) -> Steps[Registered]:
    """Replace what an identifier resolves to; without `if_match`, whatever version stands now."""
    meant = read_meant(given, context.seconds)
    record = meant.record
    version: int | str | None = if_match
    if context.signer is not None or if_match is None:
        current, prev = yield from _current(record.identifier, if_match)
        version = current.version
        record = replace(record, version=version).next(B64(prev), context.seconds)
    meant = replace(meant, record=record)
    body = body_of(meant, context.signer)
    reply = yield _record_call("PUT", record.identifier, body, context, version)
    return _registered(reply, meant)


def retire(
    context: Context, given: Identifier | str, if_match: int | str | None
) -> Steps[Registered]:
    """Retire an identifier for good: it answers 410 and is never issued again."""
    identifier = as_identifier(given)
    if context.signer is None:
        reply = yield _record_call("DELETE", identifier, None, context, if_match)
        return _tombstone(reply, identifier)
    current, prev = yield from _current(identifier, if_match)
    record = current.tombstone(B64(prev), context.seconds)
    body = body_of(Meant(record), context.signer)
    reply = yield _record_call("DELETE", identifier, body, context, current.version)
    return _tombstone(reply, identifier)


def _current(identifier: Identifier, if_match: int | str | None) -> Steps[tuple[Record, str]]:
    """Return the version that stands, and its digest.

    Its signature is not checked: what follows is signed by its owner, who may write over
    anything, and the registry refuses a digest that is not the one it holds.
    """
    document = yield from reading.record_view(identifier)
    envelope, record = parse_record(document.get("envelope"))
    if record.identifier != identifier:
        raise VerifyError("E_ID", f"the envelope is of {record.identifier}, not of {identifier}")
    wanted = _version_of(if_match)
    if wanted is not None and wanted != record.version:
        raise VersionStale(
            f"{identifier} is at version {record.version}, not {wanted}",
            value=if_match,
            fix="read it again, and decide whether your change still stands",
        )
    return record, envelope.digest


def _version_of(if_match: int | str | None) -> int | None:
    """Read a version, or an ETag `"<version>.<hash>"` or `"<version>"`; `*` is any version."""
    if if_match is None or if_match == "*" or isinstance(if_match, int):
        return None if if_match == "*" else cast("int | None", if_match)
    number = if_match.strip().strip('"').partition(".")[0]
    if not (number.isascii() and number.isdigit()):
        raise BadInput("if_match is neither a version nor an ETag", value=if_match)
    return int(number)


def _record_call(
    method: str,
    identifier: Identifier | None,
    body: object,
    context: Context,
    if_match: int | str | None = None,
) -> Call:
    target = f"/v1/identifiers/{path(identifier)}" if identifier else "/v1/identifiers"
    match = f'"{if_match}"' if isinstance(if_match, int) else if_match
    return write(method, target, body, key=context.key(), if_match=match)


def _registered(reply: Reply, meant: Meant) -> Registered:
    """Read the view of a write; raise VerifyError where its envelope says other than was sent."""
    sent = meant.record
    view, record = _record_view(reply, sent.identifier)
    if meant.hidden:
        record, sent = _opened(reply, record, meant)
    # Who signs a draft chooses its version and time, and nothing else.
    as_sent = replace(sent, version=record.version, prev=record.prev)
    if not record.same_content(as_sent):
        raise VerifyError(
            "E_ANSWER", f"the registry signed another record of {sent.identifier} than was sent"
        )
    return view


def _opened(reply: Reply, record: Record, meant: Meant) -> tuple[Record, Record]:
    """Return both records with everything open, as signed and as meant, alike in their order."""
    texts = reply.document().get("disclosures")
    if not isinstance(texts, list):
        raise VerifyError("E_ANSWER", "the registry does not tell what it has hidden")
    signed = reveal(record, [parse_disclosure(text) for text in texts])
    marked = [item.disclosure for item in meant.marked(lambda _: bytes(SALT_BYTES))]
    expected = reveal(hide(meant.record, marked), marked)
    ordered = tuple(sorted(expected.targets, key=repr))
    return (
        replace(signed, targets=tuple(sorted(signed.targets, key=repr))),
        replace(expected, targets=ordered),
    )


def _tombstone(reply: Reply, identifier: Identifier) -> Registered:
    view, record = _record_view(reply, identifier)
    if record.status != RETIRED:
        raise VerifyError("E_ANSWER", f"the registry did not retire {identifier}")
    return view


def _record_view(reply: Reply, identifier: Identifier) -> tuple[Registered, Record]:
    document = reply.document()
    same_identifier(document, identifier)
    token = document.get("envelope")
    envelope, record = parse_record(token)
    if record.identifier != identifier:
        raise VerifyError("E_ID", f"the envelope is of {record.identifier}, not of {identifier}")
    view = Registered(
        record.identifier.text,
        record.version,
        record.kind,
        record.status,
        envelope.digest,
        envelope.token,
        reply.status == 201,  # noqa: PLR2004  (Created)
    )
    return view, record


# links


def link(context: Context, given: Assertion | Draft | str) -> Steps[Asserted]:
    """Assert a link from one end; say it anew where this end said something else before."""
    if isinstance(given, str):
        reply = yield _link_call({"envelope": given}, context)
        return _asserted(reply, parse_assertion(given)[1])
    assertion = _read_assertion(given, context)
    if context.signer is None:
        reply = yield _link_call(assertion_draft(assertion), context)
        return _asserted(reply, assertion)
    try:
        reply = yield _link_call({"envelope": assertion.sign(context.signer)}, context)
    except (Conflict, VersionStale):
        earlier = yield from _earlier(context, assertion.link, assertion.side)
        if earlier is None:
            raise
        before, token = earlier
        assertion = replace(
            assertion,
            version=before.version + 1,
            prev=digest(token),
            issued_at=context.seconds,
        )
        reply = yield _link_call({"envelope": assertion.sign(context.signer)}, context)
    return _asserted(reply, assertion)


def withdraw(context: Context, given: Assertion | Draft) -> Steps[Asserted]:
    """Take back what one end said of a link."""
    assertion = _read_assertion(given, context)
    if context.signer is None:
        withdrawn = Assertion(assertion.link, assertion.side, context.seconds, state=WITHDRAWN)
        reply = yield _link_call(assertion_draft(withdrawn), context)
        return _asserted(reply, withdrawn)
    earlier = yield from _earlier(context, assertion.link, assertion.side)
    if earlier is None or earlier[0].state == WITHDRAWN:
        raise Conflict(
            "this end asserts no such link",
            value=assertion.link.key,
            fix="`GET /v1/links/…` lists the links that stand",
        )
    before, token = earlier
    withdrawn = before.withdrawal(digest(token), context.seconds)
    reply = yield _link_call({"envelope": withdrawn.sign(context.signer)}, context)
    return _asserted(reply, withdrawn)


def _earlier(context: Context, link: Link, side: str) -> Steps[tuple[Assertion, str] | None]:
    """Find what one side said last, verified, by going through the links of its end."""
    cursor: str | None = None
    while True:
        page = yield from reading.links(
            context, link.end(side), direction=None, link_type=link.type, cursor=cursor, limit=None
        )
        for standing in page.items:
            for assertion, token in zip(standing.assertions, standing.envelopes, strict=True):
                if assertion.link == link and assertion.side == side:
                    return assertion, token
        cursor = page.cursor
        if cursor is None:
            return None


def _link_call(body: object, context: Context) -> Call:
    return write("POST", "/v1/links", body, key=context.key())


def _read_assertion(given: Assertion | Draft, context: Context) -> Assertion:
    if isinstance(given, Assertion):
        return given
    return read_draft_assertion(cast("JsonObject", dict(given)), context.seconds)


def _asserted(reply: Reply, sent: Assertion) -> Asserted:
    document = reply.document()
    envelope, found = parse_assertion(document.get("envelope"))
    same: Callable[[Assertion], bool] = sent.same_content
    if sent.state == ASSERTED and not same(found):
        raise VerifyError("E_ANSWER", "the registry signed another assertion than was sent")
    if (found.link, found.side, found.state) != (sent.link, sent.side, sent.state):
        raise VerifyError("E_ANSWER", "the registry signed another assertion than was sent")
    return Asserted(
        found.link.key,
        found.side,
        found.version,
        found.state,
        str(document.get("link_state")),
        envelope.digest,
        envelope.token,
        reply.status == 201,  # noqa: PLR2004  (Created)
    )
