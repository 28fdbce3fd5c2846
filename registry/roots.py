"""Root versions: the anchor of everybody's trust, exchanged by old and new keys together."""

from __future__ import annotations

from registry import custody, delegations, prefixes, rotations
from registry.accounts import Caller
from registry.delegations import ROOT_USES
from registry.keyring import Keyring
from registry.prefixes import ROOT, Holding
from registry.store import prefixes as store, roots as root_store
from registry.store.engine import WriteTx
from schemas.delegation import DelegatedKey, Delegation, parse_root
from schemas.errors import KeyNotHosted, VerifyError, VersionStale
from schemas.root import MAX_ROOTS, advance
from schemas.successor import SKEW_SECONDS, Keys, successor


async def rotate(
    tx: WriteTx, keyring: Keyring, caller: Caller, given: str | None, now: int
) -> Holding:
    """Put the next root version in force, in four steps.

    1. the caller is the operator; 2. the version: as it was given, to which a hosted rotate key of
    the old one adds its signature, or written here where all is hosted; 3. it follows the one
    before as every verifier demands (step C1), and lets go of no prefix; 4. rows and change.
    """
    # 1
    caller.must_hold(ROOT)
    await store.lock(tx, ROOT)
    held = await prefixes.show(tx, ROOT)
    current = held.delegation
    # 2
    if given is None:
        given = await _written(tx, keyring, held, now)
    else:
        _check_next(parse_root(given)[1], current, held.row.delegation)
        given = await custody.cosigned(tx, keyring, current, given)
    # 3
    envelope, root = parse_root(given)
    if root.issued_at > now + SKEW_SECONDS:
        raise VerifyError("E_TIME", "the root is issued in the future", value=root.issued_at)
    if len(await root_store.versions(tx)) >= MAX_ROOTS:
        raise VerifyError("E_LIMIT", f"a trust bundle holds {MAX_ROOTS} root versions")
    advance(current, [given], now)
    # 4
    return await rotations.accept(tx, held, envelope, root, by_holder=False, now=now)


def _check_next(root: Delegation, current: Delegation, token: str) -> None:
    expected = successor(current, token, Keys(), current.issued_at)
    if (root.sequence, root.prev) != (expected.sequence, expected.prev):
        raise VersionStale(
            f"the root has ver {root.sequence} and prev {root.prev}",
            value=root.sequence,
            fix=f"sign ver {expected.sequence} with prev {expected.prev}",
        )


async def _written(tx: WriteTx, keyring: Keyring, held: Holding, now: int) -> str:
    """Write a version with a new hosted key; what the old one delegated stays delegated."""
    before = delegations.rotate_kids(held.delegation)
    if not await keyring.signers(tx, ROOT, before):
        raise KeyNotHosted(
            "the root's rotate keys are kept elsewhere", fix="make it with `tierlink root rotate`"
        )
    made = await keyring.create(tx, ROOT, ROOT_USES)
    keys = Keys((DelegatedKey(made, ROOT_USES),))
    root = successor(held.delegation, held.row.delegation, keys, now)
    old, *_ = await keyring.signers(tx, ROOT, before)
    new = await keyring.signers(tx, ROOT, {made.kid})
    return root.sign(old, *new)
