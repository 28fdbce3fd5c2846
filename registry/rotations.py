"""Rotations: a prefix's next delegation, by its parent anew or by its holder itself.

The parent's makes a new beginning: with whatever keys, as long as it does not take away the say of
a holder who committed to its next ones (that is a recovery, and waits). The holder's own follows
the one before by step C10 of the chain and is kept beside it, so that whoever checks the newest
one has all that it rests on.
"""

from __future__ import annotations

from registry import changes, custody, delegations, prefixes
from registry.accounts import Caller
from registry.custody import Offer
from registry.keyring import Keyring
from registry.prefixes import ROOT, Holding
from registry.store import log as log_store, prefixes as store, recoveries as recovery_store
from registry.store.engine import ReadTx, WriteTx
from registry.store.prefixes import SUSPENDED
from schemas.chain import Chain
from schemas.change import Op
from schemas.delegation import Delegation, Revocation
from schemas.envelope import Envelope, digest
from schemas.errors import BadInput, Conflict, Forbidden, KeyNotHosted
from schemas.identifier import Prefix
from schemas.leaf import RECOVERY, What, recovery_digest, status_digest
from schemas.successor import successor

PAGE = 1000


async def delegate(
    tx: WriteTx, keyring: Keyring, caller: Caller, prefix: Prefix, offer: Offer, *, now: int
) -> Holding:
    """Delegate a prefix anew, by its parent, with other keys, in four steps.

    1. the caller is the parent, and stands; 2. the keys: hosted ones are made or revealed, others
    proved; 3. the delegation: signed with the parent's hosted key or checked as given, valid for
    every verifier, and no recovery in disguise; 4. rows and changes.
    """
    # 1
    held, above = await as_parent(tx, caller, prefix, now)
    # 2
    keys = await custody.gather(tx, keyring, prefix, offer, held.delegation, now=now)
    # 3
    ours = successor(held.delegation, held.row.delegation, keys, now)
    envelope, delegation = await custody.issued(tx, keyring, ours, offer, held.delegation, now=now)
    delegations.check_follows(above, envelope, delegation)
    check_may(held, delegation)
    # 4
    return await accept(tx, held, envelope, delegation, by_holder=False, now=now)


async def rotate(
    tx: WriteTx, keyring: Keyring, caller: Caller, prefix: Prefix, offer: Offer, *, now: int
) -> Holding:
    """Publish the holder's own next delegation, in the steps of `delegate`.

    What it may change, and who signs it, is for `schemas.rotation` to say.
    """
    # 1
    held, mine = await as_holder(tx, caller, prefix, now)
    # 2
    if offer.hosted and not held.row.hosted:
        raise KeyNotHosted(
            f"the keys of {prefix} are its holder's",
            value=str(prefix),
            fix="send the delegation, signed with the rotate keys",
        )
    offer = await _with_hosted(tx, keyring, held.delegation, offer)
    keys = await custody.gather(tx, keyring, prefix, offer, held.delegation, now=now)
    # 3
    ours = successor(held.delegation, held.row.delegation, keys, now)
    envelope, delegation = await own(tx, keyring, ours, offer, held, now=now)
    await check_own(tx, mine, envelope, delegation)
    # 4
    return await accept(tx, held, envelope, delegation, by_holder=True, now=now)


async def _with_hosted(tx: WriteTx, keyring: Keyring, current: Delegation, offer: Offer) -> Offer:
    if offer.given is None:
        return offer
    given = await custody.cosigned(tx, keyring, current, offer.given)
    return Offer(offer.keys, given=given)


def check_may(held: Holding, delegation: Delegation) -> None:
    """Refuse a parent's delegation that takes away what its holder alone may give up."""
    if not held.row.hosted and delegations.must_wait(held.delegation, delegation):
        raise Conflict(
            f"the holder of {held.row.prefix} committed to its next rotate keys, others are named",
            value=str(held.row.prefix),
            fix="name its rotate keys or committed ones, or recover the prefix, which waits",
            code="recovery_needed",
        )


async def as_parent(tx: WriteTx, caller: Caller, prefix: Prefix, now: int) -> tuple[Holding, Chain]:
    """Lock a prefix for its parent; return it and the parent's chain; raise Forbidden."""
    caller.must_govern(prefix)
    await store.lock(tx, prefix)
    held = await prefixes.show(tx, prefix)
    if held.row.parent != caller.prefix:
        raise Forbidden(
            f"{prefix} is delegated by {held.row.parent}, not by {caller.prefix}",
            value=str(prefix),
            fix=f"use an API key of {held.row.parent}",
        )
    above = await prefixes.chain(tx, caller.prefix)
    above.check_time(now)
    return held, above


async def as_holder(tx: WriteTx, caller: Caller, prefix: Prefix, now: int) -> tuple[Holding, Chain]:
    """Lock a prefix for its holder; return it and its chain; raise Forbidden, PrefixSuspended."""
    if prefix == ROOT:
        raise BadInput("the root has versions of its own", fix="POST /v1/roots")
    caller.must_hold(prefix)
    await store.lock(tx, prefix)
    held = await prefixes.show(tx, prefix)
    mine = await prefixes.chain(tx, prefix, anywhere=True)
    mine.check_time(now)
    return held, mine


async def own(
    tx: WriteTx, keyring: Keyring, ours: Delegation, offer: Offer, held: Holding, *, now: int
) -> tuple[Envelope, Delegation]:
    """Return the holder's own delegation: as it was given, checked, or ours by its hosted keys."""
    if offer.given is None:
        return await custody.rotated(tx, keyring, ours, held.delegation)
    offered = tuple(item.key for item in offer.keys)
    known = delegations.kids(held.delegation)
    return delegations.check_rotation(offer.given, ours, offered, known=known, now=now)


async def check_own(tx: WriteTx, mine: Chain, envelope: Envelope, delegation: Delegation) -> None:
    """Check a holder's own delegation as every verifier will, who looks from below it too."""
    below = await store.longest_below(tx, delegation.subject)
    delegations.check_follows(mine, envelope, delegation, below=below)


async def accept(
    tx: WriteTx,
    held: Holding,
    envelope: Envelope,
    delegation: Delegation,
    *,
    by_holder: bool,
    now: int,
) -> Holding:
    """Put a checked delegation in force: rows, hosted keys, whatever waited, and what the log says.

    A recovery that waits is given up, since the delegation it was to follow stands no more; it is
    the recovery itself that comes into force where it has `reset`.
    """
    prefix, token = delegation.subject, envelope.token
    revoked = delegations.check_revocations(held.delegation, delegation, await log_size(tx))
    await check_children(tx, held.delegation, delegation)
    run = (*held.row.run, held.row.delegation) if by_holder else ()
    await store.replace_delegation(tx, prefix, delegation.sequence, token, run)
    await custody.settle(tx, delegation, now)
    waited = await recovery_store.take(tx, prefix) if held.row.recovery else None
    if waited is not None and waited.delegation != token:
        await tell_of_recovery(tx, prefix, waited, withdrawn=True)
    await record(tx, envelope, delegation, revoked)
    if held.row.status == SUSPENDED:
        # The map of prefixes shows what was said last, and this prefix is still suspended.
        said = status_digest(envelope.digest, suspended=True)
        sequence = delegation.sequence
        await _tell(tx, Op.LOGGED, prefix, sequence, said=said, what=What.STATUS)
    return await prefixes.show(tx, prefix)


async def record(
    tx: WriteTx, envelope: Envelope, delegation: Delegation, revoked: tuple[Revocation, ...]
) -> None:
    """Tell resolvers and the log of a delegation, and the log of each key that it revokes."""
    prefix, sequence = delegation.subject, delegation.sequence
    said = envelope.digest
    await _tell(tx, Op.PREFIX, prefix, sequence, said=said, what=What.DELEGATION)
    for item in revoked:
        what, kid = What.REVOCATION, item.kid
        await _tell(tx, Op.LOGGED, prefix, item.since, said=said, what=what, subject=kid)


async def _tell(
    tx: WriteTx,
    op: Op,
    prefix: Prefix,
    version: int,
    *,
    said: str,
    what: What,
    subject: str | None = None,
) -> None:
    about = str(prefix)
    await changes.record(tx, op, prefix, about, version, digest=said, what=what, subject=subject)


async def tell_of_recovery(
    tx: WriteTx, prefix: Prefix, recovery: store.Recovery, *, withdrawn: bool
) -> None:
    """Tell the log that a recovery was announced, or given up."""
    said = recovery_digest(digest(recovery.delegation), withdrawn=withdrawn)
    sequence, what = recovery.sequence, What.REVOCATION
    await _tell(tx, Op.LOGGED, prefix, sequence, said=said, what=what, subject=RECOVERY)


async def log_size(tx: ReadTx) -> int:
    """Return how many leaves the log has, 0 where there is none."""
    state = await log_store.state(await tx.driver())
    return 0 if state is None else state.size


async def check_children(tx: WriteTx, before: Delegation, after: Delegation) -> None:
    """Refuse a delegation or root that lets go of prefixes below: their chains would end there.

    They are looked at only where a key that delegates is gone, or more keys are asked for. Who
    lets a key end instead, as rotations written here do, keeps all that it signed.
    """
    last = ""
    while delegations.narrows(before, after):
        page = await store.bases(tx, after.subject, last, PAGE)
        for prefix, token in page:
            delegations.check_keeps(after, token)
            last = prefix
        if len(page) < PAGE:
            break
