"""What a delegation has to say: decided here, without I/O; stored by `prefixes`.

A parent whose `delegate` key is hosted lets the registry write the delegation; any other parent
signs it and sends it along, and then it must say exactly what was asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from schemas.chain import MAX_CHAIN, Chain, extend
from schemas.claims import without_empty
from schemas.delegation import (
    DELEGATE_USE,
    RECORD_USE,
    ROTATE_USE,
    DelegatedKey,
    Delegation,
    Revocation,
    check_possession,
    parse_delegation,
    parse_root,
)
from schemas.envelope import Envelope
from schemas.errors import BadInput, VerifyError, VersionStale
from schemas.identifier import Prefix
from schemas.keys import KeyId
from schemas.rotation import keeps_revocations
from schemas.successor import SKEW_SECONDS, Keys

HOSTED_USES = frozenset({RECORD_USE, DELEGATE_USE, ROTATE_USE})
ROOT_USES = frozenset({DELEGATE_USE, ROTATE_USE})


@dataclass(frozen=True, slots=True)
class OfferedKey:
    """A key that its holder wants in the delegation, and the proof that he has it."""

    key: DelegatedKey
    possession: str | None = None


def read(token: str) -> Delegation:
    """Read a stored envelope, which is a delegation's or, for the root, its own."""
    try:
        return parse_delegation(token)[1]
    except VerifyError as err:
        if err.code != "E_TYP":
            raise
    return parse_root(token)[1]


def prove(
    offered: Iterable[OfferedKey],
    prefix: Prefix,
    *,
    known: Collection[str],
    nonces: Collection[str],
    now: int,
) -> None:
    """Check that the holder has every key that is not in his delegation yet; raise E_KEY."""
    for item in offered:
        key = item.key.key
        if key.kid in known:
            continue
        if item.possession is None:
            raise VerifyError(
                "E_KEY",
                "the key comes without a proof of possession",
                value=key.kid,
                fix="POST /v1/challenges, sign the nonce with the key, send it as possession",
            )
        check_possession(item.possession, key, prefix, nonces, now)


def first(
    prefix: Prefix,
    parent: Prefix,
    keys: Keys,
    now: int,
    *,
    organisation: Mapping[str, object],
    node: str,
) -> Delegation:
    """Write the first delegation of a prefix."""
    return Delegation(
        subject=prefix,
        parent=parent,
        sequence=1,
        issued_at=now,
        keys=tuple(keys.named),
        next_keys=tuple(keys.next_keys),
        thresholds=dict(keys.thresholds),
        organisation=without_empty(organisation),
        node=node,
    )


def kids(delegation: Delegation | None) -> frozenset[KeyId]:
    """Return the key ids that a delegation names."""
    return frozenset(item.key.kid for item in delegation.keys) if delegation else frozenset()


def rotate_kids(delegation: Delegation) -> frozenset[str]:
    """Return the keys that may rotate, ended and revoked ones aside."""
    now = delegation.issued_at
    revoked = {item.kid for item in delegation.revoked}
    return frozenset(delegation.keys_for(ROTATE_USE, now)) - revoked


def must_wait(current: Delegation, following: Delegation) -> bool:
    """Tell whether a parent's delegation takes a holder's own say away, which only a recovery may.

    A holder who committed to its next rotate keys has that say. It keeps it where every rotate key
    is one it has or committed to, one of them lasts as long as before, and the commitment changes
    only where a key of it came forward: else two steps would do what one may not.
    """
    if not current.next_keys:
        return False
    had = {item.key.kid: item for item in current.keys if ROTATE_USE in item.uses}
    have = {item.key.kid: item for item in following.keys if ROTATE_USE in item.uses}
    fresh = have.keys() - had.keys()
    lasting = [
        kid
        for kid, item in have.items()
        if following.revocation(kid) is None and not _ends_sooner(item, had.get(kid))
    ]
    kept = bool(fresh) or set(following.next_keys) == set(current.next_keys)
    return not (lasting and kept and fresh <= set(current.next_keys))


def _ends_sooner(item: DelegatedKey, before: DelegatedKey | None) -> bool:
    if item.valid_until is None:
        return False
    return before is None or before.valid_until is None or item.valid_until < before.valid_until


def check_given(
    token: str,
    expected: Delegation,
    offered: Sequence[DelegatedKey],
    *,
    known: Collection[str],
    now: int,
) -> tuple[Envelope, Delegation]:
    """Read a delegation that the parent signed itself; raise where it says other than asked.

    1. about the prefix, by the parent; 2. the next in order; 3. issued now or earlier;
    4. the holder and node that were asked for, and a reset where a recovery is; 5. no key that
    nobody proved to have, none left out.
    """
    envelope, given = check_rotation(token, expected, offered, known=known, now=now)
    # 4
    if given.organisation != expected.organisation or given.node != expected.node:
        raise BadInput("org or node of the delegation differ from what the request says")
    if given.reset != expected.reset:
        raise VerifyError(
            "E_SCOPE",
            "reset stands in the delegation of a recovery and in no other",
            value=given.reset,
        )
    return envelope, given


def check_rotation(
    token: str,
    expected: Delegation,
    offered: Sequence[DelegatedKey],
    *,
    known: Collection[str],
    now: int,
) -> tuple[Envelope, Delegation]:
    """Do the same, step 4 left out, for what a holder signed itself.

    `schemas.rotation` says what it may change. A key that signs the delegation is proved by that.
    """
    envelope, given = parse_delegation(token)
    # 1
    if (given.subject, given.parent) != (expected.subject, expected.parent):
        raise VerifyError(
            "E_SCOPE",
            f"the delegation is of {given.subject} by {given.parent}, "
            f"expected {expected.subject} by {expected.parent}",
        )
    # 2
    if (given.sequence, given.prev) != (expected.sequence, expected.prev):
        raise VersionStale(
            f"the delegation has seq {given.sequence} and prev {given.prev}",
            value=given.sequence,
            fix=f"sign seq {expected.sequence} with prev {expected.prev or 'left out'}",
        )
    # 3
    if given.issued_at > now + SKEW_SECONDS:
        raise VerifyError("E_TIME", "the delegation is issued in the future", value=given.issued_at)
    # 5
    _check_keys(given, offered, {*known, *envelope.kids})
    return envelope, given


def _check_keys(given: Delegation, offered: Sequence[DelegatedKey], known: Collection[str]) -> None:
    have = {item.key.kid: item for item in given.keys}
    for item in offered:
        found = have.get(item.key.kid)
        if found is None or found.uses != item.uses:
            raise VerifyError(
                "E_KEY", "the delegation lacks an offered key or its uses", value=item.key.kid
            )
    proved = {item.key.kid for item in offered} | set(known)
    for kid in have:
        if kid not in proved:
            raise VerifyError(
                "E_KEY",
                "the delegation names a key that nobody proved to have",
                value=kid,
                fix="send each new key in keys, with its proof of possession",
            )


def check_follows(
    chain: Chain, envelope: Envelope, delegation: Delegation, *, below: int = 0
) -> None:
    """Check a new delegation as every verifier will (chain steps C2 to C5, or C10 of a rotation).

    `below` is how many delegations the longest chain beneath the prefix adds.
    """
    if len(chain.delegations) + below > MAX_CHAIN:
        raise VerifyError(
            "E_LIMIT",
            f"the chain would have more than {MAX_CHAIN} delegations",
            value=MAX_CHAIN,
            fix="a parent that delegates anew makes one of all the rotations since its last one",
        )
    extend(chain, envelope, delegation)
    Chain((*chain.delegations, delegation), chain.indices).check_delegations()


def check_revocations(
    current: Delegation | None, following: Delegation, size: int
) -> tuple[Revocation, ...]:
    """Return what a delegation revokes that the one before did not, or revokes from earlier on.

    Nothing is revoked from a place on that the log, now of `size` leaves, has not reached; nothing
    that was revoked comes back; raise VerifyError E_REVOKED.
    """
    known: dict[str, int] = {}
    if current is not None:
        keeps_revocations(current, following)
        known = {item.kid: item.since for item in current.revoked}
    new = tuple(item for item in following.revoked if known.get(item.kid) != item.since)
    for item in new:
        if item.since > size:
            raise VerifyError(
                "E_REVOKED",
                f"since lies beyond the log, which has {size} leaves",
                value=item.since,
                fix=f"revoke since {size} at the latest",
            )
    return new


def narrows(before: Delegation, after: Delegation) -> bool:
    """Tell whether a delegation lets go of what prefixes below may be delegated by."""
    if after.threshold(DELEGATE_USE) > before.threshold(DELEGATE_USE):
        return True
    kept = {item.key.kid: item for item in after.keys if DELEGATE_USE in item.uses}
    return any(
        _shortened(item, kept.get(item.key.kid), after.issued_at)
        for item in before.keys
        if DELEGATE_USE in item.uses
    )


def _shortened(before: DelegatedKey, after: DelegatedKey | None, now: int) -> bool:
    if after is None or (after.valid_from or 0) > (before.valid_from or 0):
        return True
    used_until = now if before.valid_until is None else min(now, before.valid_until)
    return after.valid_until is not None and after.valid_until < used_until


def check_keeps(after: Delegation, token: str) -> None:
    """Refuse a delegation that lets go of a prefix below, whose own one by it is `token`."""
    envelope, child = parse_delegation(token)
    able = after.keys_for(DELEGATE_USE, child.issued_at)
    lost = [kid for kid in envelope.kids if kid not in able]
    if lost:
        raise VerifyError(
            "E_CHAIN",
            f"a key by which {child.subject} is delegated is left out or ends too early",
            value=lost[0],
            fix=f"keep it with an exp after {child.issued_at}, or delegate {child.subject} anew",
        )
    if len(envelope.kids) < after.threshold(DELEGATE_USE):
        raise VerifyError(
            "E_CHAIN",
            f"{child.subject} is delegated by fewer keys than thr asks for from now on",
            value=after.threshold(DELEGATE_USE),
            fix=f"delegate {child.subject} anew, by that many keys, before",
        )
