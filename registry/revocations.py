"""Revocations: from which place in the log on a key of a prefix speaks no more.

A delegation lists what is revoked, so whoever proves the newest delegation has proved the list.
What the key signed before that place stays valid, whatever time it claims: the order of the log
cannot be backdated. What was accepted and is no leaf yet, the last second's writes, falls behind
that place: its holder signs it again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from registry import custody, delegations, rotations
from registry.accounts import Caller
from registry.custody import Offer
from registry.keyring import Keyring
from registry.prefixes import Holding
from registry.store.engine import WriteTx
from schemas.delegation import Delegation, Revocation
from schemas.errors import BadInput, VerifyError
from schemas.identifier import Prefix
from schemas.keys import KeyId
from schemas.successor import Keys, successor


@dataclass(frozen=True, slots=True)
class Wish:
    """Which key to revoke, why, and from which leaf of the log on: from now where not given."""

    kid: str
    reason: str
    since: int | None = None


async def revoke(
    tx: WriteTx,
    keyring: Keyring,
    caller: Caller,
    prefix: Prefix,
    wish: Wish,
    *,
    offer: Offer,
    now: int,
) -> Holding:
    """Revoke a key of a prefix, by its holder or its parent, in four steps.

    1. who asks, and stands; 2. the key is one of the delegation that stands; 3. the delegation
    that says so: as it was given, or written here, where hosted keys are exchanged with it; the
    place in the log has been reached; 4. rows and changes.
    """
    # 1
    by_holder = caller.prefix == prefix
    acting = rotations.as_holder if by_holder else rotations.as_parent
    held, chain = await acting(tx, caller, prefix, now)
    # 2
    entry = await _entry(tx, held.delegation, wish)
    # 3
    ours = _written(held, entry, await _keys(tx, keyring, held, offer, now), now)
    if by_holder:
        envelope, delegation = await rotations.own(tx, keyring, ours, offer, held, now=now)
        await rotations.check_own(tx, chain, envelope, delegation)
    else:
        envelope, delegation = await custody.issued(
            tx, keyring, ours, offer, held.delegation, now=now
        )
        delegations.check_follows(chain, envelope, delegation)
        rotations.check_may(held, delegation)
    found = delegation.revocation(wish.kid)
    if found is None or found.reason != entry.reason or wish.since not in (None, found.since):
        raise BadInput("the delegation that is sent along does not revoke the key as asked for")
    # 4
    return await rotations.accept(tx, held, envelope, delegation, by_holder=by_holder, now=now)


async def _entry(tx: WriteTx, current: Delegation, wish: Wish) -> Revocation:
    if wish.kid not in delegations.kids(current):
        raise VerifyError(
            "E_KEY",
            f"the delegation of {current.subject} names no such key",
            value=wish.kid,
            fix=f"see the keys with `tierlink prefix show {current.subject}`",
        )
    known = current.revocation(wish.kid)
    since = wish.since
    if since is None:
        since = await rotations.log_size(tx) if known is None else known.since
    return Revocation(KeyId(wish.kid), wish.reason, since)


async def _keys(tx: WriteTx, keyring: Keyring, held: Holding, offer: Offer, now: int) -> Keys:
    """Return the keys from now on: others where they are hosted or offered, else the same."""
    current = held.delegation
    if held.row.hosted or not offer.hosted:
        return await custody.gather(tx, keyring, current.subject, offer, current, now=now)
    return Keys(current.keys, current.next_keys, current.thresholds)


def _written(held: Holding, entry: Revocation, keys: Keys, now: int) -> Delegation:
    ours = successor(held.delegation, held.row.delegation, keys, now)
    others = tuple(item for item in held.delegation.revoked if item.kid != entry.kid)
    return replace(ours, revoked=(*others, entry))
