"""Operations that read. Everything signed is verified before it is returned, except where said.

resolve, resolve_many   records, ancestors and link assertions under the chains of their
                        prefixes; all plain members compose from them (schemas.answer)
proof                   the same of records, and that the log has them and nothing newer, or
                        nothing at all (schemas.proof); so does resolve with proof="full"
record, versions        each envelope, and that each version names the digest of the one before
links, trace            what each end says of each link, and that the plain members compose from it
listing                 what the server says; a listing is signed by nobody
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Generic, TypeVar, cast

from schemas import canonical
from schemas.answer import Verified, covers, verify_answer, verify_record
from schemas.canonical import JsonObject
from schemas.chain import Trust
from schemas.edges import check_edge, statements, verify_edges
from schemas.envelope import digest
from schemas.errors import TierlinkError, VerifyError
from schemas.identifier import Identifier, Prefix
from schemas.link import Assertion, Link
from schemas.proof import check_succession, verify as verify_proof
from schemas.record import Record
from schemas.source import Fetched

from . import problem
from .answer import Answer, Resolution, answer
from .call import Steps, as_identifier, ask, path, query, read, same_identifier
from .context import Context
from .trace import Trace, read_trace
from .verdict import Verdict, has_log, proved, read_link, verdict, verify_assertion

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
class Asking:
    """Whether the API key goes along, so that links are shown which are not for everybody; why.

    `across`: whether the walk goes on at other nodes. `at`, `as_of`: RFC 3339 or Unix seconds.
    """

    named: bool = False
    purpose: str | None = None
    across: bool = True
    deadline_ms: int | None = None
    at: str | None = None
    as_of: str | None = None


ANYBODY = Asking()


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
    """A link that an end stands behind: what each end says last, verified; `envelopes` as signed.

    `state` is proposed, mutual, conflicting or withdrawn; in the last, one of `assertions` is the
    withdrawal.
    """

    link: Link
    assertions: tuple[Assertion, ...]
    envelopes: tuple[str, ...]
    state: str


def resolve(
    context: Context, given: Identifier | str, proof: str | None, *, named: bool = False
) -> Steps[Answer]:
    """Resolve one identifier; raise IdentifierNotFound, Retired, PrefixSuspended or VerifyError.

    What a key signed that was revoked since, the log alone can tell to be good: then it is asked.
    """
    identifier = as_identifier(given)
    trust = yield from context.trust()
    reply = yield read(f"/{path(identifier)}{query(proof=proof)}", private=named)
    try:
        return _answer(reply.document(), identifier, trust, context.seconds, reply.content)
    except VerifyError as err:
        if err.code != "E_REVOKED" or proof is not None or trust.policy is None:
            raise
    reply = yield read(f"/{path(identifier)}{query(proof='full')}", private=named)
    return _answer(reply.document(), identifier, trust, context.seconds, reply.content)


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof bundle that verified; `raw` is what to keep, and `tierlink verify` checks it anew.

    `record` is the one that answers, a class's where that covers the identifier; None where it
    is proved that the identifier has none. `attributes` and `targets` of its ancestors are in
    `view`, which has the plain members of an answer but for the links.
    """

    identifier: str
    record: Record | None
    view: JsonObject
    verified: Verdict
    raw: bytes = field(repr=False)

    @property
    def exists(self) -> bool:
        """Tell whether a record answers for the identifier."""
        return self.record is not None


def proof(context: Context, given: Identifier | str, at: int | None) -> Steps[Proof]:
    """Return what the log proves of an identifier, newest or as of a time, and judged at it.

    What cannot be told is returned and says so; what is false raises VerifyError.
    """
    identifier = as_identifier(given)
    trust = yield from context.trust()
    reply = yield read(f"/v1/proof/{path(identifier)}{query(at=at)}")
    document = reply.document()
    same_identifier(document, identifier)
    if "v" not in document:
        raise VerifyError("E_FORMAT", "the reply is no bundle")
    found = verify_proof(document, trust, context.seconds if at is None else at)
    record = found.parts.records[0] if found.parts else None
    return Proof(identifier.text, record, found.view, proved(found, document), reply.content)


def _answer(
    document: JsonObject, identifier: Identifier, trust: Trust, at: int, raw: bytes
) -> Answer:
    same_identifier(document, identifier)
    if has_log(document):
        found = verify_proof(document, trust, at)
        if "v" in document or found.parts is None:
            raise VerifyError("E_FORMAT", "the reply is no answer")
        said = proved(found, document)
        verified = Verified(found.parts, found.view, said.expired)
        return answer(verified, cast("str", document["envelope"]), said, raw)
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
    # Not as application/jose: a record under a batch statement has no such form.
    reply = yield read(f"/{path(identifier)}{query(proof='none')}")
    token = reply.document().get("envelope")
    verified = yield from context.checked(
        identifier.prefix, lambda trust: verify_record(token, trust, context.seconds)
    )
    found = verified.parts.records[0]
    if found.identifier != identifier and not covers(found, identifier):
        raise VerifyError("E_ID", f"the record is of {found.identifier}, not of {identifier}")
    return _version(reply.document(), verified)


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
        check_succession(older.envelope, newer.envelope)
    return Page(found, _cursor(document))


def source(identifiers: Sequence[Identifier | str], *, whole: bool) -> Steps[Fetched]:
    """Return what the node itself has on identifiers, as other nodes ask; nothing is verified."""
    asked = [as_identifier(item).text for item in identifiers]
    reply = yield ask("/v1/source", {"identifiers": asked, "whole": whole})
    return Fetched.from_json(reply.document())


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
    asking: Asking = ANYBODY,
) -> Steps[Page[StandingLink]]:
    """Return a page of the links of an identifier, each assertion verified."""
    identifier = as_identifier(given)
    at = query(
        direction=direction, type=link_type, cursor=cursor, limit=limit, purpose=asking.purpose
    )
    reply = yield read(f"/v1/links/{path(identifier)}{at}", private=asking.named)
    document = reply.document()
    same_identifier(document, identifier)
    found: list[StandingLink] = []
    for entry in _objects(document, "links"):
        standing = yield from _standing(context, identifier, entry)
        found.append(standing)
    return Page(tuple(found), _cursor(document))


def _standing(context: Context, near: Identifier, entry: JsonObject) -> Steps[StandingLink]:
    said: list[Assertion] = []
    for token in statements(entry):
        assertion = yield from _stated(context, token)
        said.append(assertion)
    shown = check_edge(entry, said)
    if near not in (shown.link.upstream, shown.link.downstream):
        raise VerifyError("E_LINK", f"the assertions do not state one link of {near}")
    return StandingLink(shown.link, shown.said, shown.envelopes, shown.state)


def _stated(context: Context, token: object) -> Steps[Assertion]:
    speaker = read_link(token)[1].asserter.prefix  # unproved until the next line
    return (yield from context.checked(speaker, lambda trust: verify_assertion(token, trust)[1]))


def trace(
    context: Context,
    given: Identifier | str,
    direction: str,
    depth: int | None,
    limit: int | None,
    *,
    asking: Asking = ANYBODY,
) -> Steps[Trace]:
    """Walk the links of an identifier, upstream or downstream; verify each where there is trust."""
    identifier = as_identifier(given)
    at = query(
        direction=direction,
        depth=depth,
        limit=limit,
        # Without statements a walk ends at what other nodes serve.
        proof="none" if not context.trusting and not asking.across else None,
        purpose=asking.purpose,
        across=None if asking.across else "no",
        deadline_ms=asking.deadline_ms,
        at=asking.at,
        as_of=asking.as_of,
    )
    reply = yield read(f"/v1/trace/{path(identifier)}{at}", private=asking.named)
    document = reply.document()
    if context.trusting:
        trust = yield from context.trust()
        verify_edges(document, trust)
    return read_trace(document, identifier, direction, reply.content, verified=context.trusting)


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
