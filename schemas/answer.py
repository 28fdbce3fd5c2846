"""Answers: what an identifier resolves to, composed from signed parts, and checked against them.

`compose` is the one place that says what records and assertions mean together: targets are
inherited from parent to child, the nearest record that names a relation answering for it; a
class rule answers for the serials it covers. A resolver renders what `compose` returns; a
verifier verifies the parts, composes again and compares, so no plain member can be changed.

    A1  the JSON is strict, and has the members of an answer                       E_… of parsing
    A2  records: each envelope verifies under the chain of its prefix          E_CHAIN … E_SIG
    A3  the first is the identifier's own or a class that covers it; each next is the
        parent of the one before, and the last has none, or is the fifth             E_ID
    A4  links: the newest statement of each end verifies under the chain of that end's
        prefix and touches the identifier; a withdrawal is there beside an assertion
        of the same link that stands, never alone                                    E_LINK
    A4n notices: each verifies under the chain of the identifier's prefix, is issued and not
        lifted, and marks the identifier, an ancestor or the class that covers it    E_ID
    A5  the plain members are exactly what the parts compose to, E_LINK where a
        link is shown in another state than its ends give it              E_ANSWER, E_LINK
    A6  validity: now lies within nbf and exp of the record and of its chain        E_TIME
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias, TypeVar

from . import canonical
from .canonical import Json, JsonObject
from .chain import Chain, Runs, Trust, index
from .claims import Members
from .delegation import within
from .disclosure import MAX_DISCLOSURES, reveal_all, withheld
from .envelope import LINK, RECORD, Envelope
from .errors import BadInput, BadRecord, VerifyError
from .identifier import Identifier, Prefix
from .link import (
    ASSERTED,
    DOWNSTREAM,
    UPSTREAM,
    Assertion,
    Link,
    link_state,
    read_assertion,
    stands,
)
from .notice import ISSUED, NOTICE, Notice, read_notice
from .record import ITEM, MAX_ANCESTORS, RETIRED, Record, read_record
from .signed import parse
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
    notices: tuple[Notice, ...] = ()

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
    hidden = withheld(parts.records)
    if hidden:
        view["withheld"] = hidden
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
    for link, stated in grouped(parts.assertions):
        near = DOWNSTREAM if link.downstream == parts.identifier else UPSTREAM
        far = UPSTREAM if near == DOWNSTREAM else DOWNSTREAM
        entry = edge_view(link, stated)
        ends = {UPSTREAM, DOWNSTREAM}
        listed: JsonObject = {"identifier": link.end(far).text}
        listed.update({name: value for name, value in entry.items() if name not in ends})
        view[far].append(listed)  # type: ignore[union-attr]
    if parts.more_links:
        view["truncated"] = True
    return view


def edge_view(link: Link, stated: Sequence[Assertion]) -> JsonObject:
    """Return how an edge is shown in answers and traces; `asserted_by` are the ends that stand."""
    standing = [item for item in stated if item.state == ASSERTED]
    # Who contains knows best how much of it: the downstream side's amount comes first.
    ordered = sorted(standing, key=lambda assertion: assertion.side)
    quantity = next((item.quantity for item in ordered if item.quantity), None)
    sides: list[Json] = [item.side for item in ordered]
    view: JsonObject = {
        "upstream": link.upstream.text,
        "downstream": link.downstream.text,
        "type": link.type,
        "state": link_state(stated),
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
    disclosures: Sequence[object] = (),
    notices: Sequence[object] = (),
) -> Parts:
    """Verify the parts of an answer by steps A2 to A4; raise VerifyError.

    `verify(envelope, prefix, issued_at, kind)` checks one envelope under the chain of a prefix.
    What `disclosures` open shows in the records of the parts like what was never hidden.
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
    # A4: the links
    stated = tuple(_statement(identifier, token, verify) for token in assertions)
    for link, said in grouped(stated):
        link_state(said)
        if not stands(said):
            raise VerifyError("E_LINK", f"no end stands behind the link {link.key}")
    opened = reveal_all(parsed, disclosures) if disclosures else tuple(parsed)
    parts = Parts(identifier, opened, stated, more_links)
    return replace(parts, notices=_marking(parts, notices, verify)) if notices else parts


def _marking(parts: Parts, tokens: Sequence[object], verify: Check) -> tuple[Notice, ...]:
    marking = tuple(parse_marking(parts, token, verify) for token in tokens)
    if len({notice.id for notice in marking}) != len(marking):
        raise VerifyError("E_ID", "the answer brings a notice twice", value=parts.identifier.text)
    return marking


def parse_marking(parts: Parts, token: object, verify: Check) -> Notice:
    """Verify a notice that comes with an answer, and that it is about it; raise VerifyError."""
    envelope = parse(token, NOTICE)
    notice = _read(read_notice, envelope)
    verify(envelope, notice.issuer, notice.issued_at, None)
    about = {parts.identifier, *(record.identifier for record in parts.records)}
    if notice.state != ISSUED or not about & set(notice.of):
        raise VerifyError("E_ID", f"notice {notice.id} does not mark this", value=notice.id)
    return notice


def covers(record: Record, identifier: Identifier) -> bool:
    """Tell whether a class record's rule answers for an identifier."""
    return (
        record.rule is not None
        and record.status != RETIRED
        and record.identifier.prefix == identifier.prefix
        and record.rule.match(identifier.suffix) is not None
    )


def parse_stated(token: object, verify: Check) -> Assertion:
    """Verify what one end says of a link, under the chain of that end's prefix.

    Raise VerifyError, E_LINK where the key has no say over that end. A withdrawal is a statement
    like any other: what it makes of the link, `link_state` tells.
    """
    envelope = parse(token, LINK)
    assertion = _read(read_assertion, envelope)
    check_end(envelope, assertion, verify)
    return assertion


def check_end(envelope: Envelope, assertion: Assertion, verify: Check) -> None:
    """Check that a statement was signed for the end that it speaks for; raise VerifyError."""
    try:
        verify(envelope, assertion.asserter.prefix, assertion.issued_at, None)
    except VerifyError as err:
        if err.code not in {"E_CHAIN", "E_SCOPE"}:
            raise
        raise VerifyError(
            "E_LINK",
            f"the key has no say over {assertion.asserter}: {err.detail}",
            value=err.value,
        ) from err


def _statement(identifier: Identifier, token: object, verify: Check) -> Assertion:
    assertion = parse_stated(token, verify)
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

    def __init__(self, trust: Trust, offered: Runs) -> None:
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
    trust.check_root(now)
    envelope = parse(token, RECORD)
    identifier = _read(read_record, envelope).identifier
    chains = _Chains(trust, {})
    parts = parse_parts(identifier, [token], [], chains.check)
    return Verified(parts, compose(parts), _expired(parts, chains, now))


def verify_answer(document: JsonObject, trust: Trust, now: int) -> Verified:
    """Verify a resolve answer by steps A1 to A6, offline; raise VerifyError and nothing else.

    `document` is the parsed JSON of the answer (`canonical.decode_object`), `now` integer seconds.
    """
    # A1: the members of an answer, and a root that still counts
    trust.check_root(now)
    sent = read_sent(document)
    # A2 to A4: the signed parts
    chains = _Chains(trust, index(sent.chain))
    parts = sent.parts(chains.check)
    check_lineage(parts, partial=sent.partial)
    # A5: what they compose to is what the answer says
    view = compose(parts)
    check_view(document, view, partial=sent.partial)
    # A6: still valid
    return Verified(parts, view, _expired(parts, chains, now))


@dataclass(frozen=True, slots=True)
class Sent:
    """The members of an answer, nothing of them verified; `log` is what a log says of it."""

    identifier: Identifier
    records: tuple[object, ...]
    chain: tuple[object, ...]
    assertions: tuple[object, ...] = ()
    disclosures: tuple[object, ...] = ()
    notices: tuple[object, ...] = ()
    log: object = None
    more_links: bool = False
    partial: bool = False

    def parts(self, verify: Check) -> Parts:
        """Take steps A2 to A4; raise VerifyError."""
        return parse_parts(
            self.identifier,
            self.records,
            self.assertions,
            verify,
            more_links=self.more_links,
            disclosures=self.disclosures,
            notices=self.notices,
        )


def read_sent(document: JsonObject) -> Sent:
    """Step A1: read the members of an answer; raise VerifyError.

    `proof.log` may be there, from `?proof=full`; what it says is for `schemas.proof` to judge.
    """
    proof = document.get("proof", {})
    if not isinstance(proof, dict) or not set(proof) <= {"chain", "records", "links", "log"}:
        raise VerifyError("E_FORMAT", "proof is not an object of chain, records, links and log")
    links = document.get("links")
    return Sent(
        read_identifier(document),
        (document.get("envelope"), *strings(proof, "records")),
        strings(proof, "chain"),
        strings(proof, "links"),
        strings(document, "disclosures"),
        strings(document, "notices"),
        proof.get("log"),
        more_links=isinstance(links, dict) and links.get("truncated") is True,
        partial="proof" not in document,
    )


def read_identifier(document: JsonObject) -> Identifier:
    """Read which identifier a document is about; raise VerifyError E_FORMAT or E_ID."""
    text = document.get("identifier")
    if not isinstance(text, str):
        raise VerifyError("E_FORMAT", "the answer names no identifier")
    try:
        return Identifier.parse(text)
    except BadInput as err:
        raise VerifyError("E_ID", err.detail, value=text) from None


def strings(members: Mapping[str, object], name: str) -> tuple[object, ...]:
    """Read a short array, empty where it is absent; raise VerifyError E_FORMAT or E_LIMIT."""
    found = members.get(name, [])
    if not isinstance(found, list):
        raise VerifyError("E_FORMAT", f"{name} is not an array")
    if len(found) > max(4 * MAX_LINKS, MAX_DISCLOSURES):
        raise VerifyError("E_LIMIT", f"{name} has {len(found)} items")
    return tuple(found)


def check_lineage(parts: Parts, *, partial: bool = False) -> None:
    """Check that no ancestor is left out (step A3); raise VerifyError E_ID."""
    # An ancestor left out would take what is inherited from it along, a recall say.
    parent = parts.records[-1].parent
    if parent is not None and len(parts.records) <= MAX_ANCESTORS:
        raise VerifyError(
            "E_ID",
            f"the answer leaves out the record of {parent}, from which targets are inherited",
            value=parent.text,
            fix=_WITH_PROOF if partial else None,
        )


def check_view(document: JsonObject, view: JsonObject, *, partial: bool = False) -> None:
    """Step A5: the plain members are what the parts compose to; raise VerifyError."""
    _check_states(document.get("links"), view["links"])
    for name in sorted({*document, *view} - {"envelope", "disclosures", "notices", "proof"}):
        # As canonical bytes, for in Python true equals 1, and in JSON it does not.
        same = name in document and name in view
        if not same or canonical.encode(document[name]) != canonical.encode(view[name]):
            fix = _WITH_PROOF if partial and name in {"targets", "links"} else None
            raise VerifyError(
                "E_ANSWER", f"{name} is not what the signed parts say", value=name, fix=fix
            )


def _check_states(sent: Json, composed: Json) -> None:
    """Check that no link is shown in a state that its ends do not give it; raise E_LINK."""
    states = dict(_states(composed))
    for link, state in _states(sent):
        if link in states and state != states[link]:
            raise VerifyError(
                "E_LINK", f"a link is shown as {state}, its ends say {states[link]}", value=link[1]
            )


def _states(links: Json) -> Iterator[tuple[tuple[str, ...], object]]:
    """Yield each link of the plain members, as far as it can be told, with its state."""
    for direction in (UPSTREAM, DOWNSTREAM):
        entries = links.get(direction) if isinstance(links, dict) else None
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict):
                names = ("identifier", "type", "lifecycle", "occurrence")
                yield (direction, *(str(entry.get(name, "")) for name in names)), entry.get("state")


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
