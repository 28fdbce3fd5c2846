"""Keys exchanged, stolen and lost: rotate, revoke and recover a prefix, and /v1/roots."""

from __future__ import annotations

from fastapi import APIRouter

from registry import recoveries, revocations, roots, rotations
from registry.api.deps import CallerDep, DepsDep, PathPrefix, Write
from registry.api.openapi import problems
from registry.api.prefixes import offer, view
from registry.revocations import Wish
from schemas import api

router = APIRouter(tags=["prefixes"])

_REFUSALS = problems(400, 401, 403, 404, 409, 412, 413, 415, 503)


@router.post(
    "/v1/prefixes/{prefix}/rotate", summary="Exchange the keys of one's own", responses=_REFUSALS
)
async def rotate(
    prefix: PathPrefix, body: api.NewRotation, tx: Write, caller: CallerDep, deps: DepsDep
) -> api.PrefixView:
    """Rotate, by the holder: hosted keys here, others by the delegation that is sent along."""
    now = deps.clock()
    return view(await rotations.rotate(tx, deps.keyring, caller, prefix, offer(body), now=now))


@router.post(
    "/v1/prefixes/{prefix}/revoke",
    summary="Revoke a key from a place in the log on",
    responses=_REFUSALS,
)
async def revoke(
    prefix: PathPrefix, body: api.NewRevocation, tx: Write, caller: CallerDep, deps: DepsDep
) -> api.PrefixView:
    """Revoke, by the holder or its parent; what the key signed before stays valid."""
    wish = Wish(body.kid, body.reason, body.since)
    held = await revocations.revoke(
        tx, deps.keyring, caller, prefix, wish, offer=offer(body), now=deps.clock()
    )
    return view(held)


@router.post(
    "/v1/prefixes/{prefix}/recover",
    status_code=202,
    summary="Announce that a prefix goes to other keys",
    responses=_REFUSALS,
)
async def recover(
    prefix: PathPrefix, body: api.NewDelegation, tx: Write, caller: CallerDep, deps: DepsDep
) -> api.PrefixView:
    """Announce a recovery, by the parent, for a holder who lost its keys; it has to wait."""
    held = await recoveries.announce(
        tx,
        deps.keyring,
        caller,
        prefix,
        offer(body),
        seconds=deps.recovery_seconds,
        now=deps.clock(),
    )
    return view(held)


@router.post(
    "/v1/prefixes/{prefix}/recover/complete",
    summary="Put an announced recovery in force",
    responses=problems(400, 401, 403, 404, 409, 503),
)
async def complete(
    prefix: PathPrefix, tx: Write, caller: CallerDep, deps: DepsDep
) -> api.PrefixView:
    """Complete it, by the parent, when its time has come."""
    return view(await recoveries.complete(tx, caller, prefix, deps.clock()))


@router.post(
    "/v1/prefixes/{prefix}/recover/cancel",
    summary="Give up an announced recovery, or object to it",
    responses=problems(400, 401, 403, 404, 409, 413, 415, 503),
)
async def cancel(
    prefix: PathPrefix, body: api.Objection, tx: Write, caller: CallerDep, deps: DepsDep
) -> api.PrefixView:
    """Cancel, by the parent at will, by the holder with a signed objection."""
    return view(await recoveries.cancel(tx, caller, prefix, body.objection, deps.clock()))


@router.post("/v1/roots", summary="Put the next root version in force", responses=_REFUSALS)
async def rotate_root(
    body: api.NewRoot, tx: Write, caller: CallerDep, deps: DepsDep
) -> api.PrefixView:
    """Exchange the root's keys, by the operator; every version stays in the trust bundle."""
    return view(await roots.rotate(tx, deps.keyring, caller, body.root, deps.clock()))
