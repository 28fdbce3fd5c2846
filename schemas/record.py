"""Records: what an identifier resolves to, as its owner signs it.

Signed members (`typ` tierlink-record+jws); absent means not there, never null:

    v 1 · id · ver · prev · iat · nbf · exp · kind · status · parent · targets · attributes · rule

`ver` starts at 1 and grows by one; `prev` is the digest of the envelope before, so a write is
optimistic by construction and a replayed one changes nothing. Times are integer seconds, UTC.
A parent lies under the same prefix and is of a broader kind. A retired record is a tombstone:
it keeps its identifier and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .canonical import JsonObject
from .claims import Members, without_empty
from .envelope import RECORD, Envelope, parse, sign
from .errors import BadRecord
from .identifier import Identifier
from .keys import B64, Signer
from .rule import Rule, read_rule
from .target import Target, read_target

CLASS, BATCH, ITEM, DOCUMENT, ASSET = "class", "batch", "item", "document", "asset"
KINDS = frozenset({CLASS, BATCH, ITEM, DOCUMENT, ASSET})
ACTIVE, SUSPENDED, RETIRED = "active", "suspended", "retired"
STATUSES = frozenset({ACTIVE, SUSPENDED, RETIRED})

MAX_TARGETS = 256
MAX_ATTRIBUTES = 256
MAX_ANCESTORS = 4  # an item, its batch, its class, and one class above

_PARENT_KINDS = {  # which kinds may be the parent of which: inheritance runs from broad to narrow
    CLASS: frozenset({CLASS}),
    BATCH: frozenset({CLASS}),
    ITEM: frozenset({CLASS, BATCH}),
    ASSET: frozenset({CLASS, BATCH, ASSET}),
    DOCUMENT: frozenset({CLASS, DOCUMENT}),
}


@dataclass(frozen=True, slots=True)
class Record:
    """One version of what an identifier resolves to."""

    identifier: Identifier
    kind: str
    issued_at: int
    version: int = 1
    prev: B64 | None = None
    status: str = ACTIVE
    parent: Identifier | None = None
    targets: tuple[Target, ...] = ()
    attributes: Mapping[str, object] = field(default_factory=dict)
    rule: Rule | None = None
    valid_from: int | None = None
    valid_until: int | None = None

    def claims(self) -> dict[str, object]:
        """Return the members to sign."""
        return without_empty(
            {
                "v": 1,
                "id": self.identifier.text,
                "ver": self.version,
                "prev": self.prev,
                "iat": self.issued_at,
                "nbf": self.valid_from,
                "exp": self.valid_until,
                "kind": self.kind,
                "status": self.status,
                "parent": self.parent.text if self.parent else None,
                "targets": [target.claims() for target in self.targets],
                "attributes": dict(self.attributes),
                "rule": self.rule.claims() if self.rule else None,
            }
        )

    def sign(self, signer: Signer) -> str:
        """Return the envelope of this version."""
        return sign(RECORD, self.claims(), signer)

    def tombstone(self, prev: B64, issued_at: int) -> Record:
        """Return the retired version that follows this one."""
        return Record(
            self.identifier,
            self.kind,
            issued_at,
            version=self.version + 1,
            prev=prev,
            status=RETIRED,
        )

    def next(self, prev: B64, issued_at: int) -> Record:
        """Return this content as the version that follows `self`."""
        return replace(self, version=self.version + 1, prev=prev, issued_at=issued_at)

    def same_content(self, other: Record) -> bool:
        """Tell whether two records differ in nothing but when they were issued."""
        return replace(self, issued_at=0).claims() == replace(other, issued_at=0).claims()


def parse_record(token: object) -> tuple[Envelope, Record]:
    """Read a record's envelope, its signature unchecked; raise VerifyError or BadRecord."""
    envelope = parse(token, RECORD)
    return envelope, read_record(envelope.claims)


def read_record(claims: JsonObject) -> Record:
    """Read the signed members of a record; raise BadRecord or BadIdentifier."""
    members = Members(claims, BadRecord)
    members.take("v")
    identifier = members.identifier("id")
    version = members.integer("ver", 1)
    prev = members.maybe_text("prev", 43)
    if (version == 1) != (prev is None):
        raise members.fail("prev", "belongs to every version but the first", prev)
    issued_at = members.integer("iat")
    record = read_content(members, identifier, issued_at=issued_at)
    members.done()
    return replace(record, version=version, prev=B64(prev) if prev else None)


def read_draft(claims: JsonObject, issued_at: int) -> Record:
    """Read a draft (`identifier` and content, unsigned) as version 1; raise BadRecord."""
    members = Members(claims, BadRecord)
    identifier = members.identifier("identifier")
    record = read_content(members, identifier, issued_at=issued_at)
    members.done()
    return record


def read_content(members: Members, identifier: Identifier, *, issued_at: int) -> Record:
    """Read what an owner says of an identifier: everything but id, version, prev and time."""
    kind = members.choice("kind", KINDS)
    status = members.choice("status", STATUSES, ACTIVE)
    parent = _parent(members, identifier)
    valid_from = members.maybe_integer("nbf")
    valid_until = members.maybe_integer("exp")
    if valid_from is not None and valid_until is not None and valid_from >= valid_until:
        raise members.fail("exp", "is not after nbf", valid_until)
    targets = members.array(
        "targets", MAX_TARGETS, lambda item, where: read_target(members, item, where)
    )
    attributes = members.maybe_object("attributes") or {}
    if len(attributes) > MAX_ATTRIBUTES:
        raise members.fail("attributes", f"has over {MAX_ATTRIBUTES} members")
    rule_claims = members.maybe_object("rule")
    if rule_claims is not None and kind != CLASS:
        raise members.fail("rule", "belongs to records of kind class", kind)
    rule = None
    if rule_claims is not None:
        rule = read_rule(Members(rule_claims, BadRecord, "rule."))
    if status == RETIRED and (targets or attributes or rule or parent):
        raise BadRecord(
            "a retired record keeps nothing but its identifier and kind",
            value=identifier.text,
            fix="leave out parent, targets, attributes and rule",
        )
    return Record(
        identifier,
        kind,
        issued_at,
        status=status,
        parent=parent,
        targets=targets,
        attributes=attributes,
        rule=rule,
        valid_from=valid_from,
        valid_until=valid_until,
    )


def _parent(members: Members, identifier: Identifier) -> Identifier | None:
    parent = members.maybe_identifier("parent")
    if parent is None:
        return None
    if parent.prefix != identifier.prefix:
        raise members.fail(
            "parent",
            f"is not under {identifier.prefix}; a parent shares its child's prefix, "
            "and a relation between companies is a link",
            parent.text,
        )
    if parent == identifier:
        raise members.fail("parent", "is the record itself", parent.text)
    return parent


def check_parent_kind(child: Record, parent_kind: str) -> None:
    """Refuse a parent that is not of a broader kind; raise BadRecord."""
    if parent_kind not in _PARENT_KINDS[child.kind]:
        allowed = ", ".join(sorted(_PARENT_KINDS[child.kind]))
        raise BadRecord(
            f"the parent of a {child.kind} is of kind {allowed}, not {parent_kind}",
            value=child.parent.text if child.parent else None,
        )
