"""Received grants: what holders at other nodes open to those whose prefixes live here.

Anybody may bring one: the signature is the authority, and says to whom. For each grant:

    R1  it is well formed, and made out to a prefix that is held here
    R2  its grantor's chain of delegations, sent along, is valid under our root and is adopted. Of a
        prefix that is held here nobody else brings grants
    R3  it verifies under that chain
    R4  it is newer than what that grantor said last by this id; the same again, or an older one,
        changes nothing. So many of one grantor are kept and no more
    R5  it is kept, revoked or not, for the grantee to see and for his traces to go further by it
        (`schemas.opening`). Nobody else is told: what it says is a secret of two nodes
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from registry import adoption, prefixes
from registry.accounts import Caller
from registry.here import Here
from registry.keyring import Keyring
from registry.store import received as store
from registry.store.engine import ReadTx, WriteTx
from registry.store.received import Row
from schemas.chain import Chain
from schemas.delegation import RECORD_USE
from schemas.envelope import Envelope
from schemas.errors import (
    BadGrant,
    Forbidden,
    PrefixElsewhere,
    TierlinkError,
    VerifyError,
    VersionStale,
)
from schemas.grant import Grant, check_grant, parse_grant
from schemas.identifier import Prefix
from schemas.keys import Signer
from schemas.opening import MAX_OPENINGS
from schemas.successor import SKEW_SECONDS

MOST = 100  # grants of one request
KEPT = 1_000  # grants of one holder to another


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the grants of a grantee; `after` is where the next page begins, by grantor and id."""

    grants: tuple[Row, ...]
    after: tuple[str, str] | None


async def _receive(
    tx: WriteTx, token: object, delegations: Sequence[object], here: Here, now: int
) -> str:
    # R1
    envelope, grant = parse_grant(token)
    grantee = await _grantee(tx, grant)
    # R2
    chain = await _chain(tx, grant.grantor, delegations, here)
    # R3
    _check(envelope, grant, chain, now)
    # R4
    standing = await store.find(tx, grantee, grant.grantor, grant.id)
    if standing is None:
        await _check_room(tx, grantee, grant.grantor)
    elif standing.version == grant.version and standing.digest != envelope.digest:
        raise VersionStale("another grant of this version stands here", value=grant.version)
    # R5
    if standing is None or standing.version < grant.version:
        await store.put(tx, grantee, grant, envelope.digest, envelope.token)
    return grant.state


async def _grantee(tx: WriteTx, grant: Grant) -> Prefix:
    if grant.to is None:
        raise BadGrant("what is granted to anybody is not brought to anybody", value=grant.id)
    if grant.to not in await prefixes.held(tx, [grant.to]):
        raise PrefixElsewhere(
            f"{grant.to} is not held here",
            value=str(grant.to),
            fix="send it to the node that serves the prefix",
        )
    return grant.to


async def _chain(tx: WriteTx, prefix: Prefix, delegations: Sequence[object], here: Here) -> Chain:
    held = Forbidden(
        f"{prefix} is held here, so that it grants here",
        value=str(prefix),
        fix="POST /v1/grants with an API key of it",
    )
    return await adoption.introduce(tx, prefix, delegations, here, held)


def _check(envelope: Envelope, grant: Grant, chain: Chain, now: int) -> None:
    if grant.issued_at > now + SKEW_SECONDS:
        raise VerifyError("E_TIME", "the grant is issued in the future", value=grant.issued_at)
    chain.check_time(now)
    check_grant(envelope, grant, chain)


async def _check_room(tx: WriteTx, grantee: Prefix, grantor: Prefix) -> None:
    if await store.count(tx, grantee, grantor) >= KEPT:
        raise Forbidden(
            f"{KEPT} grants of {grantor} to {grantee} are kept here, and no more",
            value=str(grantor),
            fix="grant more by fewer grants: change those that are there",
        )


async def receive_all(
    tx: WriteTx, tokens: Sequence[object], delegations: Sequence[object], here: Here, now: int
) -> list[str | TierlinkError]:
    """Take in many, each for itself; return for each its state, or what refuses it."""
    outcomes: list[str | TierlinkError] = []
    for token in tokens:
        try:
            async with tx.connection.begin_nested():
                outcomes.append(await _receive(tx, token, delegations, here, now))
        except TierlinkError as err:
            outcomes.append(err)
    return outcomes


async def listing(tx: ReadTx, caller: Caller, *, after: tuple[str, str], limit: int) -> Page:
    """Return a page of what holders elsewhere grant to the caller, by grantor and id."""
    rows = await store.page(tx, caller.prefix, after, limit + 1)
    page = tuple(rows[:limit])
    return Page(page, (page[-1].grantor, page[-1].id) if len(rows) > limit else None)


async def speaking(
    tx: ReadTx, keyring: Keyring, prefix: Prefix, direction: str, purpose: str
) -> tuple[Signer | None, tuple[str, ...]]:
    """Return who signs for a prefix, None where only its holder can, and what it may go further by.

    Those are envelopes of grants that are in force and fit a trace. One statement.
    """
    found = await store.spoken(
        tx, prefix, RECORD_USE, direction=direction, purpose=purpose, limit=MAX_OPENINGS
    )
    signer = None if found.key is None else keyring.opened(prefix, found.key)
    return signer, found.grants
