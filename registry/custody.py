"""The keys of holders: those they offer, proved; those hosted for them: made, revealed, destroyed.

A delegation of hosted keys commits to one that nobody has seen yet (`next`). The keyring holds it
beside the one in use; a rotation reveals it and commits to another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from registry import delegations
from registry.delegations import HOSTED_USES, OfferedKey
from registry.keyring import Keyring
from registry.store import keys as store
from registry.store.engine import WriteTx
from schemas.delegation import (
    DELEGATE_USE,
    POSSESSION_SECONDS,
    RECORD_USE,
    DelegatedKey,
    Delegation,
    parse_delegation,
    within,
)
from schemas.envelope import DELEGATION, ROOT, Envelope, cosign, parse
from schemas.errors import BadInput, Conflict, KeyNotHosted
from schemas.identifier import Prefix
from schemas.keys import KeyId, Signer
from schemas.successor import SKEW_SECONDS, Keys

# Uses of hosted keys that do not act: one that is committed to, one that waits for a recovery.
NEXT, WAITING = "next", "recovery"


@dataclass(frozen=True, slots=True)
class Offer:
    """What a delegation is to say of its holder's keys.

    Either it is `given`, signed by whoever may. Or it is written here: with the keys offered or,
    without any, with a hosted one, which commits to a hosted one unless `next_keys` names others.
    """

    keys: tuple[OfferedKey, ...] = ()
    next_keys: tuple[KeyId, ...] = ()
    thresholds: Mapping[str, int] = field(default_factory=dict)
    given: str | None = None

    def __post_init__(self) -> None:
        if self.given is not None and (self.next_keys or self.thresholds):
            raise BadInput(
                "next and thr stand in the delegation that is sent along", fix="leave them out"
            )

    @property
    def hosted(self) -> bool:
        """Tell whether the registry is to make the keys."""
        return not self.keys and self.given is None


async def gather(
    tx: WriteTx,
    keyring: Keyring,
    prefix: Prefix,
    offer: Offer,
    current: Delegation | None,
    *,
    now: int,
) -> Keys:
    """Return the keys of a holder: those offered, proved; without any, a hosted one.

    That is the one which the delegation so far commits to, or else a new one.
    """
    if not offer.hosted:
        return await _offered(tx, prefix, offer, current, now)
    committed = () if current is None else current.next_keys
    found = await keyring.signers(tx, prefix, committed)
    known = found[0].public if found else await keyring.create(tx, prefix, HOSTED_USES)
    next_keys = offer.next_keys or ((await keyring.create(tx, prefix, {NEXT})).kid,)
    return Keys((DelegatedKey(known, HOSTED_USES),), next_keys, dict(offer.thresholds))


async def prepare(tx: WriteTx, keyring: Keyring, prefix: Prefix) -> tuple[Signer, KeyId]:
    """Make the keys of a prefix that another node delegates, or find those made before.

    Return the one to be named, with all uses, and the thumbprint of the one to be committed to.
    """
    try:
        named = await keyring.signer(tx, prefix, RECORD_USE)
        following = (await keyring.signer(tx, prefix, NEXT)).public
    except KeyNotHosted:
        await keyring.create(tx, prefix, HOSTED_USES)
        following = await keyring.create(tx, prefix, {NEXT})
        named = await keyring.signer(tx, prefix, RECORD_USE)
    return named, following.kid


async def gather_waiting(
    tx: WriteTx, keyring: Keyring, prefix: Prefix, offer: Offer, current: Delegation, *, now: int
) -> Keys:
    """Do the same for a recovery: hosted keys are new ones, which do not act before `settle`."""
    if not offer.hosted:
        return await _offered(tx, prefix, offer, current, now)
    made = await keyring.create(tx, prefix, {WAITING})
    next_keys = offer.next_keys or ((await keyring.create(tx, prefix, {WAITING})).kid,)
    return Keys((DelegatedKey(made, HOSTED_USES),), next_keys, dict(offer.thresholds))


async def _offered(
    tx: WriteTx, prefix: Prefix, offer: Offer, current: Delegation | None, now: int
) -> Keys:
    """Check that the holder has each key: by its challenge, or its signature on the delegation."""
    known: set[str] = set(delegations.kids(current))
    if offer.given is not None:
        known.update(parse_delegation(offer.given)[0].kids)  # whose signatures are checked later
    kids = [item.key.key.kid for item in offer.keys]
    if len(set(kids)) != len(kids):
        raise BadInput("keys names one key twice")
    new = [kid for kid in kids if kid not in known]
    nonces: frozenset[str] = frozenset()
    if new:
        since = datetime.fromtimestamp(now - POSSESSION_SECONDS, UTC)
        nonces = await store.take_challenges(tx, prefix, new, since)
    delegations.prove(offer.keys, prefix, known=known, nonces=nonces, now=now)
    return Keys(tuple(item.key for item in offer.keys), offer.next_keys, dict(offer.thresholds))


async def issued(
    tx: WriteTx,
    keyring: Keyring,
    ours: Delegation,
    offer: Offer,
    current: Delegation | None,
    *,
    now: int,
) -> tuple[Envelope, Delegation]:
    """Return the parent's delegation: as it was given, checked, or ours by its hosted key."""
    if offer.given is not None:
        offered = tuple(item.key for item in offer.keys)
        known = delegations.kids(current)
        return delegations.check_given(offer.given, ours, offered, known=known, now=now)
    assert ours.parent is not None
    signer = await keyring.signer(tx, ours.parent, DELEGATE_USE)
    return parse_delegation(ours.sign(signer))


async def rotated(
    tx: WriteTx, keyring: Keyring, ours: Delegation, current: Delegation
) -> tuple[Envelope, Delegation]:
    """Sign a holder's own delegation with its hosted keys: a rotate key so far, and each new one.

    Raise KeyNotHosted where its holder has to sign, Conflict where nobody can.
    """
    prefix, before = ours.subject, delegations.rotate_kids(current)
    new = delegations.rotate_kids(ours) - before
    old = await keyring.signers(tx, prefix, before)
    if not old:
        raise KeyNotHosted(
            f"no rotate key of {prefix} is hosted here",
            value=str(prefix),
            fix="sign with the holder's own key and send the envelope",
        )
    if not new <= set(current.next_keys):
        raise Conflict(
            f"the delegation of {prefix} commits to no hosted key that could take over",
            value=str(prefix),
            fix="send it signed by the committed keys, or let the parent delegate anew",
            code="key_not_committed",
        )
    return parse_delegation(ours.sign(old[0], *await keyring.signers(tx, prefix, new)))


async def cosigned(tx: WriteTx, keyring: Keyring, current: Delegation, given: str) -> str:
    """Add the hosted rotate key's signature to what a holder sent, where it is hosted and lacks.

    So a holder takes its keys home: it signs with the new one, and the registry with the old.
    """
    signed = parse(given, ROOT if current.parent is None else DELEGATION).kids
    able = delegations.rotate_kids(current) - set(signed)
    hosted = await keyring.signers(tx, current.subject, able)
    return cosign(given, hosted[0]) if hosted else given


async def settle(tx: WriteTx, delegation: Delegation, now: int) -> None:
    """Give the hosted keys of a prefix the uses that its delegation gives; destroy the others."""
    kept: dict[KeyId, list[str]] = {KeyId(kid): [NEXT] for kid in delegation.next_keys}
    revoked = {item.kid for item in delegation.revoked}
    for item in delegation.keys:
        if item.key.kid not in revoked and within(now + SKEW_SECONDS, None, item.valid_until):
            kept[item.key.kid] = sorted(item.uses)
    await store.retain_hosted(tx, delegation.subject, kept)


async def forget_waiting(tx: WriteTx, prefix: Prefix) -> None:
    """Destroy what was made for a recovery that is not to be."""
    await store.delete_hosted(tx, prefix, WAITING)
