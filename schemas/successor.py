"""Writing the delegation, or root version, that follows another: what stays, what ends, what comes.

The registry writes one for whose keys it hosts, a holder its own. `schemas.rotation` and
`schemas.chain` judge the result, whoever wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .delegation import MAX_KEYS, DelegatedKey, Delegation
from .envelope import digest
from .keys import KeyId

# How far a statement's `iat` may lie in the future, and so how long a key that was replaced still
# counts: whatever was accepted from it stays verifiable.
SKEW_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Keys:
    """What a delegation that is to be written names and commits to."""

    named: tuple[DelegatedKey, ...] = ()
    next_keys: tuple[KeyId, ...] = ()
    thresholds: Mapping[str, int] = field(default_factory=dict)


def successor(
    current: Delegation, token: str, keys: Keys, now: int, *, ends: int | None = None
) -> Delegation:
    """Write the delegation after `current`, whose envelope is `token`, with new keys.

    A key that is not named again stays in, ending soon after `ends` (now, where not given), so
    that what it signed can still be verified; the longest ended ones make room where there are
    too many. One that was revoked stays as it is: its end is a place in the log.
    """
    named = {item.key.kid for item in keys.named}
    end = (now if ends is None else ends) + SKEW_SECONDS
    revoked = {item.kid for item in current.revoked}
    rest = [item for item in current.keys if item.key.kid not in named]
    ended = [item if item.key.kid in revoked else _ending(item, end) for item in rest]
    ended.sort(key=lambda item: (item.key.kid in revoked, item.valid_until or 0), reverse=True)
    return replace(
        current,
        sequence=current.sequence + 1,
        prev=digest(token),
        issued_at=max(now, current.issued_at),
        keys=(*keys.named, *ended)[:MAX_KEYS],
        next_keys=tuple(keys.next_keys),
        thresholds=dict(keys.thresholds),
        reset=False,
    )


def _ending(item: DelegatedKey, end: int) -> DelegatedKey:
    return replace(item, valid_until=min(end, item.valid_until or end))
