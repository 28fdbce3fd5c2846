"""Runs: the delegations of one prefix in order, as they lie about before any is checked.

A run begins with a delegation by the parent; each further one follows the one before by `prev`.
Which of several signed as parent can be told only by who holds the parent: `begins`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from .delegation import DELEGATE_USE, Delegation, parse_delegation
from .envelope import read_payload
from .identifier import Prefix
from .keys import B64, b64decode
from .sm2 import SwitchedOff

Runs: TypeAlias = "Mapping[Prefix, tuple[str, ...]]"  # what `index` makes of delegations


class Place(NamedTuple):
    """Where a delegation envelope belongs: what its claims say of it, nothing checked."""

    token: str
    subject: Prefix
    sequence: int
    digest: B64
    prev: B64 | None


def place(token: object) -> Place:
    """Read where a delegation envelope belongs; raise VerifyError."""
    envelope, delegation = parse_delegation(token)
    return Place(
        envelope.token, delegation.subject, delegation.sequence, envelope.digest, delegation.prev
    )


def index(tokens: Iterable[object]) -> dict[Prefix, tuple[str, ...]]:
    """Sort delegation envelopes by the prefix they are about; raise VerifyError.

    For each prefix: the one of the highest sequence, and before it those that it follows by `prev`.
    """
    return arrange(place(token) for token in tokens)


def index_known(tokens: Iterable[object]) -> dict[Prefix, tuple[str, ...]]:
    """Sort what a verifier keeps, as `index` does, without the prefixes that it cannot judge.

    Those are prefixes of which a delegation needs an algorithm that is switched off here. Nothing
    of them is kept: without its newest delegation an older one would count.
    """
    places: list[Place] = []
    closed: set[str] = set()
    for token in tokens:
        try:
            places.append(place(token))
        except SwitchedOff:
            closed.add(_subject(str(token)))
    return arrange(item for item in places if str(item.subject) not in closed)


def _subject(token: str) -> str:
    """Return what an envelope that has no other reader says it is about."""
    claims = read_payload(b64decode(token.split(".")[1]))
    return str(claims.get("sub"))


def arrange(places: Iterable[Place]) -> dict[Prefix, tuple[str, ...]]:
    """Sort delegations whose place is known already, as `index` does."""
    found: dict[Prefix, dict[B64, Place]] = {}
    for item in places:
        found.setdefault(item.subject, {}).setdefault(item.digest, item)
    return {prefix: _linked(versions) for prefix, versions in found.items()}


def _linked(versions: Mapping[B64, Place]) -> tuple[str, ...]:
    item: Place | None = max(versions.values(), key=lambda place: place.sequence)
    run: list[str] = []
    while item is not None:
        run.append(item.token)
        item = versions.get(item.prev) if item.prev else None
    return tuple(reversed(run))


def begins(parent: Delegation, versions: Sequence[Delegation]) -> int:
    """Find the newest version that names a delegate key of the parent as its signer."""
    able = {item.key.kid for item in parent.keys if DELEGATE_USE in item.uses}
    for at in range(len(versions) - 1, 0, -1):
        envelope = versions[at].envelope
        if envelope is not None and envelope.kid in able:
            return at
    return 0
