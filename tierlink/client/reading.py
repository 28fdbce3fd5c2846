"""Operations that read. Everything signed is verified before it is returned, except where said.

resolve, resolve_many   records, ancestors and link assertions under the chains of their
                        prefixes; all plain members compose from them (schemas.answer)
record, versions        each envelope, and that each version names the digest of the one before
links                   each standing assertion, and that the plain members compose from them
trace                   nothing signed is in it: see `Trace`
listing                 what the server says; a listing is signed by nobody
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar, cast

from schemas import canonical
from schemas.answer import Verified, covers, edge_view, verify_answer, verify_record
from schemas.canonical import JsonObject
from schemas.chain import Trust
from schemas.envelope import digest
from schemas.errors import TierlinkError, VerifyError
from schemas.identifier import Identifier, Prefix
from schemas.link import ASSERTED, Assertion, Link
from schemas.record import Record

from . import problem
from .answer import Answer, Resolution, answer
from .call import JOSE, Steps, as_identifier, ask, path, query, read, same_identifier
from .context import Context
from .trace import Trace, read_trace
from .verdict import read_link, verdict, verify_assertion

RESOLVE_CHUNK = 250  # identifiers per request of a batch: about a megabyte of answers

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a listing, and the cursor of the next."""

    items: tuple[T, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a record, as signed."""

    record: Record
    digest: str
    envelope: str


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a listing; nobody signs listings."""

    identifier: str
    version: int
    kind: str
    status: str
    parent: str | None


@dataclass(frozen=True, slots=True)
class StandingLink:
    """A link and its standing assertions, one or two, each verified; `envelopes` as signed."""

    link: Link
    assertions: tuple[Assertion, ...]
    envelopes: tuple[str, ...]
    attest: str


def resolve(context: Context, given: Identifier | str, proof: str | None) -> Steps[Answer]:
    """Resolve one identifier; raise IdentifierNotFound, Retired, PrefixSuspended or VerifyError."""
    identifier = as_identifier(given)
    trust = yield from context.trust()
    reply = yield read(f"/{path(identifier)}{query(proof=proof)}")
    return _answer(reply.document(), identifier, trust, context.seconds, reply.content)


def _answer(
    document: JsonObject, identifier: Identifier, trust: Trust, at: int, raw: bytes
) -> Answer:
    same_identifier(document, identifier)
    verified = verify_answer(document, trust, at)
    envelope = cast("str", document["envelope"])
    return answer(verified, envelope, verdict(verified, document, trust), raw)


def resolve_chunk(
    context: Context, given: Sequence[Identifier | str]
) -> Steps[tuple[Resolution, ...]]:
    """Resolve up to 1,000 identifiers in one call, in order; a line that fails fails alone."""
    read_in = [_maybe_identifier(item) for item in given]
    asked = [item for item in read_in if isinstance(item, Identifier)]
    trust = yield from context.trust()
    found: Iterator[bytes] = iter(())
    if asked:
        reply = yield ask("/v1/resolve", {"identifiers": [item.text for item in asked]})
        lines = reply.content.splitlines()
        if len(lines) != len(asked):
            raise VerifyError("E_FORMAT", f"{len(lines)} lines answer {len(asked)} identifiers")
        found = iter(lines)
    return tuple(
        _resolution(next(found), item, trust, context.seconds)
        if isinstance(item, Identifier)
        else item
        for item in read_in
    )


def _maybe_identifier(given: Identifier | str) -> Identifier | Resolution:
    try:
        return as_identifier(given)
    except TierlinkError as err:
        return Resolution(str(given), error=err)


_ANSWER = b',"answer":'  # no JSON string holds it: a quotation mark inside one is escaped


def _resolution(line: bytes, asked: Identifier, trust: Trust, at: int) -> Resolution:
    """Read a line `{identifier, status, answer}`, or `{identifier, …}` of a problem document."""
    head, found, rest = line.partition(_ANSWER)
    try:
        document = canonical.decode_object(head + b"}" if found else line)
        same_identifier(document, asked)
        if not found:
            status = document.get("status")
            failed = problem.error(document, status if type(status) is int else 500)
            return Resolution(asked.text, error=failed)
        raw = rest[:-1]  # the answer as it would be sent alone
        return Resolution(asked.text, _answer(canonical.decode_object(raw), asked, trust, at, raw))
    except TierlinkError as err:
        return Resolution(asked.text, error=err)


def envelope(context: Context, given: Identifier | str) -> Steps[Version]:
    """Return the record that answers for an identifier, its own or a class's, as signed."""
    identifier = as_identifier(given)
    reply = yield read(f"/{path(identifier)}", JOSE)
    token = reply.content.decode("latin-1").strip()
    verified = yield from context.checked(
        identifier.prefix, lambda trust: verify_record(token, trust, context.seconds)
    )
    found = verified.parts.records[0]
    if found.identifier != identifier and not covers(found, identifier):
        raise VerifyError("E_ID", f"the record is of {found.identifier}, not of {identifier}")
    return Version(found, digest(token), token)


def record(context: Context, given: Identifier | str) -> Steps[Version]:
    """Return the newest version of an identifier's own record, verified."""
    identifier = as_identifier(given)
    document = yield from record_view(identifier)
    verified = yield from context.checked(
        identifier.prefix, lambda trust: _own(document, identifier, trust, context.seconds)
    )
    return _version(document, verified)


def record_view(identifier: Identifier) -> Steps[JsonObject]:
    """Return the view of an identifier's own record, its envelope unverified."""
    reply = yield read(f"/v1/identifiers/{path(identifier)}")
    document = reply.document()
    same_identifier(document, identifier)
    return document


def _own(document: JsonObject, identifier: Identifier, trust: Trust, at: int) -> Verified:
    verified = verify_record(document.get("envelope"), trust, at)
    if verified.parts.identifier != identifier:
        raise VerifyError(
            "E_ID", f"the record is of {verified.parts.identifier}, not of {identifier}"
        )
    return verified


def _version(document: JsonObject, verified: Verified) -> Version:
    token = cast("str", document["envelope"])
    return Version(verified.parts.records[0], digest(token), token)


def versions(
    context: Context, given: Identifier | str, cursor: str | None, limit: int | None
) -> Steps[Page[Version]]:
    """Return a page of the versions of a record, newest first, each verified."""
    identifier = as_identifier(given)
    at = query(cursor=cursor, limit=limit)
    reply = yield read(f"/v1/identifiers/{path(identifier)}/versions{at}")
    document = reply.document()
    same_identifier(document, identifier)
    entries = _objects(document, "versions")

    def verify(trust: Trust) -> tuple[Version, ...]:
        return tuple(
            _version(entry, _own(entry, identifier, trust, context.seconds)) for entry in entries
        )

    found = yield from context.checked(identifier.prefix, verify)
    for newer, older in pairwise(found):
        if newer.record.prev != older.digest:
            raise VerifyError(
                "E_ID",
                f"version {newer.record.version} does not follow version {older.record.version}",
            )
    return Page(found, _cursor(document))


def listing(prefix: Prefix, cursor: str | None, limit: int | None) -> Steps[Page[Listed]]:
    """Return a page of the identifiers under a prefix that the API key holds, in byte order."""
    at = query(prefix=prefix, cursor=cursor, limit=limit)
    reply = yield read(f"/v1/identifiers{at}", private=True)
    document = reply.document()
    items = tuple(_listed(entry) for entry in _objects(document, "identifiers"))
    return Page(items, _cursor(document))


def _listed(entry: JsonObject) -> Listed:
    parent, version = entry.get("parent"), entry.get("version")
    if type(version) is not int:
        raise VerifyError("E_FORMAT", "a listing names a version that is no integer", value=version)
    return Listed(
        str(entry.get("identifier")),
        version,
        str(entry.get("kind")),
        str(entry.get("status")),
        parent if isinstance(parent, str) else None,
    )


def links(
    context: Context,
    given: Identifier | str,
    *,
    direction: str | None,
    link_type: str | None,
    cursor: str | None,
    limit: int | None,
) -> Steps[Page[StandingLink]]:
    """Return a page of the links of an identifier, each assertion verified."""
    identifier = as_identifier(given)
    at = query(direction=direction, type=link_type, cursor=cursor, limit=limit)
    reply = yield read(f"/v1/links/{path(identifier)}{at}")
    document = reply.document()
    same_identifier(document, identifier)
    found: list[StandingLink] = []
    for entry in _objects(document, "links"):
        standing = yield from _standing(context, identifier, entry)
        found.append(standing)
    return Page(tuple(found), _cursor(document))


def _standing(context: Context, near: Identifier, entry: JsonObject) -> Steps[StandingLink]:
    tokens = entry.get("assertions")
    if not isinstance(tokens, list) or not tokens:
        raise VerifyError("E_LINK", "a link comes without its assertions")
    stated: list[Assertion] = []
    for token in tokens:
        assertion = yield from _stated(context, token)
        stated.append(assertion)
    link = stated[0].link
    if any(item.link != link or item.state != ASSERTED for item in stated) or near not in (
        link.upstream,
        link.downstream,
    ):
        raise VerifyError("E_LINK", f"the assertions do not state one link of {near}")
    view = edge_view(link, stated)
    for name, value in view.items():
        if entry.get(name) != value:
            raise VerifyError(
                "E_ANSWER", f"{name} is not what the assertions say", value=entry.get(name)
            )
    return StandingLink(link, tuple(stated), tuple(cast("list[str]", tokens)), str(view["attest"]))


def _stated(context: Context, token: object) -> Steps[Assertion]:
    speaker = read_link(token)[1].asserter.prefix  # unproved until the next line
    return (yield from context.checked(speaker, lambda trust: verify_assertion(token, trust)[1]))


def trace(
    given: Identifier | str, direction: str, depth: int | None, limit: int | None
) -> Steps[Trace]:
    """Walk the links of an identifier, upstream or downstream."""
    identifier = as_identifier(given)
    at = query(direction=direction, depth=depth, limit=limit)
    reply = yield read(f"/v1/trace/{path(identifier)}{at}")
    return read_trace(reply.document(), identifier, direction, reply.content)


def trust_document() -> Steps[bytes]:
    """Return the server's trust bundle, to be stored as trust.json once its root is compared."""
    reply = yield read("/v1/trust")
    Trust.parse(reply.content)
    return reply.content


def _objects(document: JsonObject, name: str) -> list[JsonObject]:
    found = document.get(name)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise VerifyError("E_FORMAT", f"the reply has no array of objects named {name}")
    return cast("list[JsonObject]", found)


def _cursor(document: JsonObject) -> str | None:
    found = document.get("next")
    return found if isinstance(found, str) else None
