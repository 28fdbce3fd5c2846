"""What may follow what: the versions of an identifier, and its place among its parents.

Decided here, without I/O, from what stands and what is offered; `identifiers` and `batch` do the
rest. In words: a first version needs a free identifier; every other names the version before it by
number and digest; the same content again changes nothing; after a tombstone comes nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import replace

from registry.store.identifiers import Kin, Standing
from schemas.envelope import Envelope
from schemas.errors import (
    AlreadyRegistered,
    BadRecord,
    HasChildren,
    IdentifierNotFound,
    ParentUnfit,
    PreconditionRequired,
    Retired,
    VersionStale,
)
from schemas.keys import B64
from schemas.record import (
    CLASS,
    MAX_ANCESTORS,
    RETIRED,
    Record,
    check_parent_kind,
    parse_record,
)
from schemas.rule import Rule

ANY_VERSION = -1  # what `If-Match: *` asks for


class Step(enum.Enum):
    """What an offer does to what stands."""

    FIRST = "first"
    NEXT = "next"
    NOTHING = "nothing"  # it stands already


def standing(record: Record, envelope: Envelope) -> Standing:
    """Return a signed record as it is stored."""
    return Standing(
        record.identifier.text,
        record.version,
        record.kind,
        record.status,
        record.parent.text if record.parent else None,
        record.issued_at,
        envelope.digest,
        envelope.token,
    )


def decide(current: Standing | None, record: Record, digest: str) -> Step:
    """Decide what a signed record does; raise what refuses it.

    `digest` is that of its envelope: the very same envelope again is never an error.
    """
    if record.version > 1:
        return decide_next(current, record, digest)
    if current is not None:
        _check_stands(current)
    return _first(current, record)


def decide_next(current: Standing | None, record: Record, digest: str) -> Step:
    """Decide what a signed record does that is to follow what stands; raise what refuses it."""
    if current is None:
        raise not_found(record.identifier.text)
    _check_stands(current)
    if current.digest == digest:
        return Step.NOTHING
    check_kind(current, record)
    if (record.version, record.prev) != (current.version + 1, current.digest):
        raise VersionStale(
            f"version {current.version} stands, and what was sent is not the next",
            value=record.version,
            fix=f"sign ver {current.version + 1} with prev {current.digest}",
        )
    return Step.NEXT


def _check_stands(current: Standing) -> None:
    if current.status == RETIRED:
        raise retired(current)


def _first(current: Standing | None, record: Record) -> Step:
    if record.status == RETIRED:
        raise BadRecord(
            "the first version of an identifier is not a retired one",
            value=record.identifier.text,
            fix="leave it unregistered",
        )
    if current is None:
        return Step.FIRST
    if stands_already(current, record):
        return Step.NOTHING
    raise AlreadyRegistered(
        f"{current.identifier} is registered with other content, at version {current.version}",
        value=current.identifier,
        fix=f'PUT the new content with If-Match: "{current.version}", or choose another identifier',
    )


def stands_already(current: Standing, record: Record) -> bool:
    """Tell whether what stands says the same, whatever its number and time of issue."""
    before = parse_record(current.envelope)[1]
    return replace(record, version=before.version, prev=before.prev).same_content(before)


def follow(current: Standing | None, draft: Record, match: int | None, now: int) -> Record | None:
    """Return a draft as the version that follows, None where it stands already.

    `match` is the version that the caller means to replace; raise what refuses it.
    """
    if current is None:
        raise not_found(draft.identifier.text)
    _check_stands(current)
    check_match(current, match)
    check_kind(current, draft)
    if stands_already(current, draft):
        return None
    return replace(draft, version=current.version).next(B64(current.digest), now)


def check_match(current: Standing, match: int | None) -> None:
    """Refuse an update that does not say what it replaces, or that replaces something else."""
    if match is None:
        raise PreconditionRequired(
            "an update says which version it replaces",
            fix=f'send If-Match: "{current.version}" if that is the one you know',
        )
    if match not in (ANY_VERSION, current.version):
        raise VersionStale(
            f"version {current.version} stands, not {match}",
            value=match,
            fix="read it again, and decide whether your change still stands",
        )


def check_kind(current: Standing, record: Record) -> None:
    """Refuse another kind: whoever refers to the record relies on it."""
    if record.kind != current.kind:
        raise BadRecord(
            f"{current.identifier} is of kind {current.kind}, and a kind never changes",
            value=record.kind,
            fix="register another identifier",
        )


def reshapes(current: Standing, successor: Standing) -> bool:
    """Tell whether an update changes the family: a retirement, or another parent."""
    return successor.status == RETIRED or successor.parent not in (None, current.parent)


def check_parent(child: Standing, kin: Mapping[str, Kin]) -> int:
    """Refuse an unfit parent; return how many ancestors the child has.

    `kin` holds the parent and its ancestors, by identifier, as far as they are registered.
    """
    text = child.parent
    assert text is not None
    parent = kin.get(text)
    if parent is None:
        raise ParentUnfit(f"the parent {text} is not registered", value=text, fix="register it")
    if parent.status == RETIRED:
        raise ParentUnfit(f"the parent {text} was retired", value=text, fix="name another parent")
    check_parent_kind(child.kind, text, parent.kind)
    own, count, above = child.identifier, 1, parent
    while above.parent is not None and count <= MAX_ANCESTORS:
        if above.parent == own:
            raise ParentUnfit(f"{own} would be its own ancestor through {text}", value=text)
        above, count = kin[above.parent], count + 1
    if count > MAX_ANCESTORS:
        raise too_deep(text)
    return count


def too_deep(parent: str) -> ParentUnfit:
    """Build the refusal of a parent that lies too deep."""
    return ParentUnfit(
        f"with the parent {parent} there would be over {MAX_ANCESTORS} levels above a record",
        value=parent,
        fix="name a parent further up",
    )


def has_children(text: str) -> HasChildren:
    """Build the refusal to retire a parent."""
    return HasChildren(
        f"other records name {text} as their parent",
        value=text,
        fix="retire them, or give them another parent, first",
    )


def rule_of(current: Standing | None) -> Rule | None:
    """Return the suffix rule of what stands."""
    if current is None or current.kind != CLASS:
        return None
    return parse_record(current.envelope)[1].rule


def not_found(text: str) -> IdentifierNotFound:
    """Build the refusal of an identifier that nobody registered."""
    return IdentifierNotFound(f"nobody registered {text}", value=text)


def retired(current: Standing) -> Retired:
    """Build the refusal of whatever comes after a tombstone."""
    return Retired(
        f"{current.identifier} was retired and is never issued again",
        value=current.identifier,
        envelope=current.envelope,
    )
