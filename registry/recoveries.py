"""Recoveries: a parent takes a prefix back whose holder lost everything, and everybody may watch.

A delegation with `reset` is announced, stands in the log and at /v1/prefixes/{prefix}, and comes
into force when the parent completes it, a waiting period later and no sooner. Until then the
holder goes on as before. It objects by its rotate keys, or by simply rotating: either way the
recovery is given up, which the log is told too (ADR 17).
"""

from __future__ import annotations

from dataclasses import replace

from registry import custody, delegations, prefixes, rotations
from registry.accounts import Caller
from registry.custody import Offer
from registry.keyring import Keyring
from registry.prefixes import Holding
from registry.store import prefixes as prefix_store, recoveries as store
from registry.store.engine import WriteTx
from registry.store.prefixes import Recovery
from schemas.answer import rfc3339
from schemas.delegation import parse_delegation
from schemas.errors import Conflict, KeyNotHosted, NotFound
from schemas.identifier import Prefix
from schemas.objection import check_objection
from schemas.successor import successor


async def announce(
    tx: WriteTx,
    keyring: Keyring,
    caller: Caller,
    prefix: Prefix,
    offer: Offer,
    *,
    seconds: int,
    now: int,
) -> Holding:
    """Announce that a prefix is to go to other keys `seconds` from now, in four steps.

    1. the caller is the parent, and nothing waits yet; 2. the keys: hosted ones are made and act
    not yet, others proved; 3. the delegation, as strict as any, with `reset`; 4. row and log.
    """
    # 1
    held, above = await rotations.as_parent(tx, caller, prefix, now)
    if held.row.recovery is not None:
        until = rfc3339(held.row.recovery.effective_at)
        raise Conflict(
            f"a recovery of {prefix} waits already, until {until}",
            value=str(prefix),
            fix="cancel it first",
            code="recovery_waits",
        )
    # 2
    current = held.delegation
    keys = await custody.gather_waiting(tx, keyring, prefix, offer, current, now=now)
    # 3
    effective_at = now + seconds
    ours = successor(current, held.row.delegation, keys, now, ends=effective_at)
    ours = replace(ours, reset=True)
    envelope, delegation = await custody.issued(tx, keyring, ours, offer, current, now=now)
    delegations.check_follows(above, envelope, delegation)
    delegations.check_revocations(current, delegation, await rotations.log_size(tx))
    # 4
    recovery = Recovery(delegation.sequence, envelope.token, effective_at)
    await store.insert(tx, prefix, recovery)
    await rotations.tell_of_recovery(tx, prefix, recovery, withdrawn=False)
    return await prefixes.show(tx, prefix)


async def complete(tx: WriteTx, caller: Caller, prefix: Prefix, now: int) -> Holding:
    """Put an announced recovery in force; raise Conflict where it is not time yet."""
    held, above = await rotations.as_parent(tx, caller, prefix, now)
    recovery = _waiting(held)
    if now < recovery.effective_at:
        raise Conflict(
            f"the recovery of {prefix} waits until {rfc3339(recovery.effective_at)}",
            value=recovery.effective_at - now,
            fix="come back then; its holder may object until it is completed",
            code="recovery_waits",
        )
    envelope, delegation = parse_delegation(recovery.delegation)
    delegations.check_follows(above, envelope, delegation)
    return await rotations.accept(tx, held, envelope, delegation, by_holder=False, now=now)


async def cancel(
    tx: WriteTx, caller: Caller, prefix: Prefix, objection: str | None, now: int
) -> Holding:
    """Give up a recovery: the parent at will, the holder by its rotate keys.

    A suspended holder may object: what it is suspended for is no reason to lose the prefix. One
    whose keys are hosted objects by its API key, which is all it has.
    """
    caller.must_reach(prefix)
    await prefix_store.lock(tx, prefix)
    held = await prefixes.show(tx, prefix)
    recovery = _waiting(held)
    if caller.prefix == prefix:
        if objection is not None:
            check_objection(objection, held.delegation, recovery.delegation, now)
        elif not held.row.hosted:
            raise KeyNotHosted(
                f"the rotate keys of {prefix} are its holder's, and they have to sign an objection",
                value=str(prefix),
                fix="send objection, signed with a rotate key, or rotate",
            )
    else:
        await rotations.as_parent(tx, caller, prefix, now)
    await store.take(tx, prefix)
    await custody.forget_waiting(tx, prefix)
    await rotations.tell_of_recovery(tx, prefix, recovery, withdrawn=True)
    return await prefixes.show(tx, prefix)


def _waiting(held: Holding) -> Recovery:
    if held.row.recovery is None:
        raise NotFound(f"no recovery of {held.row.prefix} waits", value=str(held.row.prefix))
    return held.row.recovery
