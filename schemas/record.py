"""Records: what an identifier resolves to, as its owner signs it.

Signed members (`typ` tierlink-record+jws); absent means not there, never null:

    v 1 · id · ver · prev · iat · nbf · exp · kind · status · parent · targets · attributes · rule
    · _sd_alg

`ver` starts at 1 and grows by one; `prev` is the digest of the envelope before, so a write is
optimistic by construction and a replayed one changes nothing. Times are integer seconds, UTC.
A parent lies under the same prefix and is of a broader kind. A retired record is a tombstone:
it keeps its identifier and nothing else.

What only some may see is signed as a salted digest (RFC 9901 §4.2): of an attribute in
`attributes._sd`, of a target as {"...": digest} behind the open ones, both sorted so that order
tells nothing. `_sd_alg` is "sha-256" and there where a digest is. `schemas.disclosure` opens them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .canonical import JsonObject
from .claims import Members, without_empty
from .envelope import RECORD, Envelope, sign
from .errors import BadRecord, VerifyError
from .identifier import Identifier
from .keys import B64, Signer, b64decode
from .rule import Rule, read_rule
from .signed import parse
from .target import Target, read_target

CLASS, BATCH, ITEM, DOCUMENT, ASSET = "class", "batch", "item", "document", "asset"
KINDS = frozenset({CLASS, BATCH, ITEM, DOCUMENT, ASSET})
ACTIVE, SUSPENDED, RETIRED = "active", "suspended", "retired"
STATUSES = frozenset({ACTIVE, SUSPENDED, RETIRED})

MAX_TARGETS = 256
MAX_ATTRIBUTES = 256
SD, SD_ALG, ELLIPSIS, SHA_256 = "_sd", "_sd_alg", "...", "sha-256"
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
    hidden_attributes: tuple[B64, ...] = ()
    hidden_targets: tuple[B64, ...] = ()

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
                "targets": [
                    *(target.claims() for target in self.targets),
                    *({ELLIPSIS: digest} for digest in sorted(self.hidden_targets)),
                ],
                "attributes": without_empty({**self.attributes, SD: sorted(self.hidden_attributes)})
                if self.hidden_attributes
                else dict(self.attributes),
                "_sd_alg": SHA_256 if self.hidden_attributes or self.hidden_targets else None,
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
    """Read a signed record of either form, its signature unchecked.

    Raise VerifyError or BadRecord.
    """
    envelope = parse(token, RECORD)
    return envelope, read_record(envelope.claims)


def read_record(claims: JsonObject) -> Record:
    """Read the signed members of a record; raise BadRecord or BadIdentifier."""
    members = Members(claims, BadRecord)
    members.take("v")
    identifier = members.identifier("id")
    version = members.integer("ver", 1)
    prev = members.prev(version)
    issued_at = members.integer("iat")
    record = read_content(members, identifier, issued_at=issued_at)
    members.done()
    return record if prev is None else replace(record, version=version, prev=prev)


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
    listed = members.array(
        "targets", MAX_TARGETS, lambda item, where: _target(members, item, where)
    )
    targets = tuple(item for item in listed if isinstance(item, Target))
    attributes = dict(members.maybe_object("attributes") or {})
    if len(attributes) > MAX_ATTRIBUTES:
        raise members.fail("attributes", f"has over {MAX_ATTRIBUTES} members")
    hidden_attributes = _hidden(members, attributes.pop(SD, []), "attributes._sd")
    hidden_targets = _hidden(members, [item for item in listed if isinstance(item, str)], "targets")
    if listed != (*targets, *hidden_targets):
        raise members.fail("targets", "has open targets behind hidden ones")
    _check_algorithm(members, hidden=bool(hidden_attributes or hidden_targets))
    rule_claims = members.maybe_object("rule")
    if rule_claims is not None and kind != CLASS:
        raise members.fail("rule", "belongs to records of kind class", kind)
    rule = None
    if rule_claims is not None:
        rule = read_rule(Members(rule_claims, BadRecord, "rule."))
    if status == RETIRED and (listed or attributes or hidden_attributes or rule or parent):
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
        hidden_attributes=hidden_attributes,
        hidden_targets=hidden_targets,
    )


def _target(outer: Members, item: object, where: str) -> Target | B64:
    """Read a target, or the digest of a hidden one."""
    if isinstance(item, dict) and set(item) == {ELLIPSIS}:
        return _digest(outer, item[ELLIPSIS], where)
    return read_target(outer, item, where)


def _hidden(members: Members, value: object, where: str) -> tuple[B64, ...]:
    """Read the digests of what is hidden: sorted, each once."""
    if not isinstance(value, list) or len(value) > MAX_ATTRIBUTES:
        raise members.fail(where, "is not a short array of digests")
    digests = tuple(_digest(members, item, where) for item in value)
    if list(digests) != sorted(set(digests)):
        raise members.fail(where, "is not sorted, or holds a digest twice")
    return digests


def _digest(members: Members, value: object, where: str) -> B64:
    try:
        if isinstance(value, str) and len(b64decode(value)) == 32:  # noqa: PLR2004  (of SHA-256)
            return B64(value)
    except VerifyError:
        pass
    raise members.fail(where.rstrip("."), "is not a SHA-256 digest in base64url", value)


def _check_algorithm(members: Members, *, hidden: bool) -> None:
    named = members.take(SD_ALG)
    if named is not None and named != SHA_256:
        raise VerifyError("E_DISCLOSURE", "_sd_alg is not sha-256", value=named)
    if hidden != (named is not None):
        raise members.fail(SD_ALG, "belongs to records that hide something, and to no other")


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


def check_parent_kind(kind: str, parent: str, parent_kind: str) -> None:
    """Refuse a parent that is not of a broader kind than its child; raise BadRecord."""
    if parent_kind not in _PARENT_KINDS[kind]:
        allowed = ", ".join(sorted(_PARENT_KINDS[kind]))
        raise BadRecord(
            f"the parent of a {kind} is of kind {allowed}, not {parent_kind}", value=parent
        )
