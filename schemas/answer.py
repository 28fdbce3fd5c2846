"""Answers: what an identifier resolves to, composed from signed parts, and checked against them.

`compose` is the one place that says what records and assertions mean together: targets are
inherited from parent to child, the nearest record that names a relation answering for it; a
class rule answers for the serials it covers. A resolver renders what `compose` returns; a
verifier verifies the parts, composes again and compares, so no plain member can be changed.

    A1  the JSON is strict, and has the members of an answer                       E_… of parsing
    A2  records: each envelope verifies under the chain of its prefix          E_CHAIN … E_SIG
    A3  the first is the identifier's own or a class that covers it; each next is the
        parent of the one before, and the last has none, or is the fifth             E_ID
    A4  assertions: each verifies under the chain of its side's prefix, touches the
        identifier, stands                                                           E_LINK
    A5  the plain members are exactly what the parts compose to                   E_ANSWER
    A6  validity: now lies within nbf and exp of the record and of its chain        E_TIME
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias, TypeVar

from . import canonical
from .canonical import Json, JsonObject
from .chain import Chain, Trust, index
from .claims import Members
from .delegation import within
from .envelope import LINK, RECORD, Envelope, parse
from .errors import BadInput, BadRecord, VerifyError
from .identifier import Identifier, Prefix
from .link import (
    ASSERTED,
    DOWNSTREAM,
    UPSTREAM,
    Assertion,
    Link,
    attest,
    read_assertion,
)
from .record import ITEM, MAX_ANCESTORS, RETIRED, Record, read_record
from .target import Target, check_href

MAX_LINKS = 100  # per answer, of both directions together; the rest is at /v1/links
MAX_ANSWER = 1024 * 1024
_WITH_PROOF = "ask again without ?proof=none"

T = TypeVar("T")
Check: TypeAlias = "Callable[[Envelope, Prefix, int, str | None], None]"


@dataclass(frozen=True, slots=True)
class Parts:
    """The parsed parts of an answer, nearest record first."""

    identifier: Identifier
    records: tuple[Record, ...]
    assertions: tuple[Assertion, ...] = ()
    more_links: bool = False

    @property
    def covered(self) -> bool:
        """Tell whether a class rule, not a record of its own, answers for the identifier."""
        return self.records[0].identifier != self.identifier


@dataclass(frozen=True, slots=True)
class Resolved:
    """One target of an answer and the record that it comes from."""

    target: Target
    source: Identifier


def targets(parts: Parts) -> tuple[Resolved, ...]:
    """Return the targets of an identifier, own and inherited, the nearest relation winning."""
    chosen: list[Resolved] = []
    named: set[str] = set()
    for group in _target_groups(parts):
        chosen += [item for item in group if item.target.rel not in named]
        named |= {item.target.rel for item in group}
    return tuple(chosen)


def _target_groups(parts: Parts) -> list[list[Resolved]]:
    groups = [[Resolved(t, record.identifier) for t in record.targets] for record in parts.records]
    rule = parts.records[0].rule
    if parts.covered and rule is not None:
        fields = rule.match(parts.identifier.suffix) or {}
        members = Members({}, BadRecord)
        groups.insert(
            0,
            [
                Resolved(
                    Target(
                        template.rel,
                        check_href(members, href, href),
                        template.media_type,
                        template.title,
                        template.hreflang,
                    ),
                    parts.records[0].identifier,
                )
                for template, href in rule.expand(parts.identifier, fields)
            ],
        )
    return groups


def compose(parts: Parts) -> JsonObject:
    """Return the plain members of an answer, in their order on the wire."""
    first = parts.records[0]
    covered = parts.covered
    parent = first.identifier if covered else first.parent
    view: JsonObject = {
        "identifier": parts.identifier.text,
        "version": first.version,
        "kind": ITEM if covered else first.kind,
        "status": first.status,
        "parent": parent.text if parent else None,
        "targets": [_target_view(item) for item in targets(parts)],
        "attributes": _attributes(parts),
        "links": _links_view(parts),
        "issued_at": rfc3339(first.issued_at),
        "valid_until": None if first.valid_until is None else rfc3339(first.valid_until),
    }
    if covered:
        view["covered_by"] = first.identifier.text
    return view


def _attributes(parts: Parts) -> JsonObject:
    if parts.covered and parts.records[0].rule is not None:
        return dict(parts.records[0].rule.match(parts.identifier.suffix) or {})
    return dict(parts.records[0].attributes)  # type: ignore[arg-type]


def _target_view(item: Resolved) -> JsonObject:
    target = item.target
    return {
        "rel": target.rel,
        "href": target.href,
        "type": target.media_type or None,
        "title": target.title or None,
        "hreflang": target.hreflang or None,
        "source": item.source.text,
    }


def _links_view(parts: Parts) -> JsonObject:
    view: JsonObject = {UPSTREAM: [], DOWNSTREAM: []}
    for link, standing in grouped(parts.assertions):
        near = DOWNSTREAM if link.downstream == parts.identifier else UPSTREAM
        far = UPSTREAM if near == DOWNSTREAM else DOWNSTREAM
        entry = edge_view(link, standing)
        ends = {UPSTREAM, DOWNSTREAM}
        listed: JsonObject = {"identifier": link.end(far).text}
        listed.update({name: value for name, value in entry.items() if name not in ends})
        view[far].append(listed)  # type: ignore[union-attr]
    if parts.more_links:
        view["truncated"] = True
    return view


def edge_view(link: Link, standing: Sequence[Assertion]) -> JsonObject:
    """Return how an edge is shown in answers and traces."""
    # Who contains knows best how much of it: the downstream side's amount comes first.
    ordered = sorted(standing, key=lambda assertion: assertion.side)
    quantity = next((item.quantity for item in ordered if item.quantity), None)
    sides: list[Json] = [item.side for item in ordered]
    view: JsonObject = {
        "upstream": link.upstream.text,
        "downstream": link.downstream.text,
        "type": link.type,
        "attest": attest(standing),
        "quantity": None if quantity is None else {"value": quantity.value, "unit": quantity.unit},
        "lifecycle": link.lifecycle,
        "asserted_by": sides,
    }
    if link.occurrence:
        view["occurrence"] = link.occurrence
    return view


def grouped(assertions: Sequence[Assertion]) -> list[tuple[Link, list[Assertion]]]:
    """Group assertions by the link they are about, in a stable order."""
    found: dict[Link, list[Assertion]] = {}
    for assertion in assertions:
        found.setdefault(assertion.link, []).append(assertion)
    return sorted(
        found.items(),
        key=lambda pair: (
            pair[0].upstream.text,
            pair[0].downstream.text,
            pair[0].type,
            pair[0].lifecycle,
            pair[0].occurrence,
        ),
    )


def rfc3339(seconds: int) -> str:
    """Return a time as RFC 3339 in UTC; beyond the calendar's end, as plain seconds."""
    try:
        moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    except (OverflowError, ValueError, OSError):
        return f"@{seconds}"
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_parts(
    identifier: Identifier,
    records: Sequence[object],
    assertions: Sequence[object],
    verify: Check,
    *,
    more_links: bool = False,
) -> Parts:
    """Verify the parts of an answer by steps A2 to A4; raise VerifyError.

    `verify(envelope, prefix, issued_at, kind)` checks one envelope under the chain of a prefix.
    """
    if not 1 <= len(records) <= MAX_ANCESTORS + 1:
        raise VerifyError("E_LIMIT", f"{len(records)} records in one answer")
    # A2: each record under the chain of its own prefix
    parsed: list[Record] = []
    for token in records:
        envelope = parse(token, RECORD)
        record = _read(read_record, envelope)
        verify(envelope, record.identifier.prefix, record.issued_at, record.kind)
        parsed.append(record)
    # A3: the right records, in the right order
    first = parsed[0]
    if first.identifier != identifier and not covers(first, identifier):
        raise VerifyError(
            "E_ID",
            f"the record is of {first.identifier}, not of {identifier}",
            value=identifier.text,
        )
    for child, parent in pairwise(parsed):
        if child.parent != parent.identifier:
            raise VerifyError(
                "E_ID", f"{parent.identifier} is not the parent of {child.identifier}"
            )
    # A4: the assertions
    stated = tuple(_assertion(identifier, token, verify) for token in assertions)
    if len({(item.link, item.side) for item in stated}) != len(stated):
        raise VerifyError("E_LINK", "one side of a link speaks twice")
    return Parts(identifier, tuple(parsed), stated, more_links)


def covers(record: Record, identifier: Identifier) -> bool:
    """Tell whether a class record's rule answers for an identifier."""
    return (
        record.rule is not None
        and record.status != RETIRED
        and record.identifier.prefix == identifier.prefix
        and record.rule.match(identifier.suffix) is not None
    )


def parse_standing(token: object, verify: Check) -> Assertion:
    """Verify one standing assertion under the chain of its side's prefix; raise VerifyError."""
    envelope = parse(token, LINK)
    assertion = _read(read_assertion, envelope)
    verify(envelope, assertion.asserter.prefix, assertion.issued_at, None)
    if assertion.state != ASSERTED:
        raise VerifyError("E_LINK", "a withdrawn assertion states no link")
    return assertion


def _assertion(identifier: Identifier, token: object, verify: Check) -> Assertion:
    assertion = parse_standing(token, verify)
    if identifier not in (assertion.link.upstream, assertion.link.downstream):
        raise VerifyError("E_LINK", f"the assertion does not touch {identifier}")
    return assertion


def _read(read: Callable[[JsonObject], T], envelope: Envelope) -> T:
    try:
        return read(envelope.claims)
    except VerifyError:
        raise
    except BadInput as err:
        code = "E_ID" if err.code == "identifier_invalid" else "E_FORMAT"
        raise VerifyError(code, err.detail, value=err.value) from None


@dataclass(frozen=True, slots=True)
class Verified:
    """An answer that verified: its parts, and the codes of what is true no longer."""

    parts: Parts
    view: JsonObject
    expired: tuple[str, ...] = ()

    @property
    def current(self) -> bool:
        """Tell whether record and chain are valid now, not only when they were issued."""
        return not self.expired


class _Chains:
    """The chains of one answer, each validated once."""

    def __init__(self, trust: Trust, offered: Mapping[Prefix, str]) -> None:
        self._trust = trust
        self._offered = offered
        self._known: dict[Prefix, Chain] = {}

    def chain(self, prefix: Prefix) -> Chain:
        if prefix not in self._known:
            self._known[prefix] = self._trust.chain(prefix, self._offered)
        return self._known[prefix]

    def check(self, envelope: Envelope, prefix: Prefix, issued_at: int, kind: str | None) -> None:
        self.chain(prefix).check_speaker(envelope, prefix, issued_at, kind)


def verify_record(token: object, trust: Trust, now: int) -> Verified:
    """Verify one record envelope on its own, by the delegations that `trust` knows."""
    envelope = parse(token, RECORD)
    identifier = _read(read_record, envelope).identifier
    chains = _Chains(trust, {})
    parts = parse_parts(identifier, [token], [], chains.check)
    return Verified(parts, compose(parts), _expired(parts, chains, now))


def verify_answer(document: JsonObject, trust: Trust, now: int) -> Verified:
    """Verify a resolve answer by steps A1 to A6, offline; raise VerifyError and nothing else.

    `document` is the parsed JSON of the answer (`canonical.decode_object`), `now` integer seconds.
    """
    # A1: the members of an answer
    proof = document.get("proof", {})
    if not isinstance(proof, dict) or not set(proof) <= {"chain", "records", "links"}:
        raise VerifyError("E_FORMAT", "proof is not an object of chain, records and links")
    chain, records, assertions = (_strings(proof, name) for name in ("chain", "records", "links"))
    text = document.get("identifier")
    if not isinstance(text, str):
        raise VerifyError("E_FORMAT", "the answer names no identifier")
    try:
        identifier = Identifier.parse(text)
    except BadInput as err:
        raise VerifyError("E_ID", err.detail, value=text) from None
    links = document.get("links")
    more_links = isinstance(links, dict) and links.get("truncated") is True
    # A2 to A4: the signed parts
    chains = _Chains(trust, index(chain))
    parts = parse_parts(
        identifier,
        [document.get("envelope"), *records],
        assertions,
        chains.check,
        more_links=more_links,
    )
    partial = "proof" not in document
    _check_lineage(parts, partial=partial)
    # A5: what they compose to is what the answer says
    view = compose(parts)
    _compare(document, view, partial=partial)
    # A6: still valid
    return Verified(parts, view, _expired(parts, chains, now))


def _strings(proof: Mapping[str, object], name: str) -> list[object]:
    found = proof.get(name, [])
    if not isinstance(found, list) or len(found) > 4 * MAX_LINKS:
        raise VerifyError("E_FORMAT", f"proof.{name} is not a short array")
    return found


def _check_lineage(parts: Parts, *, partial: bool) -> None:
    # Step A3 again: an ancestor left out would take what is inherited from it along, a recall say.
    parent = parts.records[-1].parent
    if parent is not None and len(parts.records) <= MAX_ANCESTORS:
        raise VerifyError(
            "E_ID",
            f"the answer leaves out the record of {parent}, from which targets are inherited",
            value=parent.text,
            fix=_WITH_PROOF if partial else None,
        )


def _compare(document: JsonObject, view: JsonObject, *, partial: bool) -> None:
    for name in sorted({*document, *view} - {"envelope", "proof"}):
        # As canonical bytes, for in Python true equals 1, and in JSON it does not.
        same = name in document and name in view
        if not same or canonical.encode(document[name]) != canonical.encode(view[name]):
            fix = _WITH_PROOF if partial and name in {"targets", "links"} else None
            raise VerifyError(
                "E_ANSWER", f"{name} is not what the signed parts say", value=name, fix=fix
            )


def _expired(parts: Parts, chains: _Chains, now: int) -> tuple[str, ...]:
    first = parts.records[0]
    codes: list[str] = []
    if not within(now, first.valid_from, first.valid_until):
        codes.append("E_TIME")
    try:
        chains.chain(first.identifier.prefix).check_time(now)
    except VerifyError as err:
        codes.append(err.code)
    return tuple(dict.fromkeys(codes))
