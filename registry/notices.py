"""Notices: a holder's word that something of his is recalled, or is so no longer.

To state one, in these steps:

1. the caller holds the prefix of the issuer
2. to 4. those of everything that has one standing version (`versions`)
5. what it marks is registered here, or covered by a class rule; what is retired may be recalled too
6. that is stored, and told of as a change of each thing that it marks, or marked before: answers of
   these, of what has one of them above it, and of serials that one covers name it as what they
   depend on, so that all are out of date at once (`resolver.tags`)

The log gains one leaf for each version.
"""

from __future__ import annotations

from dataclasses import replace

from registry import changes, reader
from registry.accounts import Caller
from registry.changes import Entry
from registry.keyring import Keyring
from registry.store import notices as store
from registry.store.engine import ReadTx, WriteTx
from registry.store.versions import Row
from registry.versions import Kind, Offer, Page, Settled
from schemas.change import Op
from schemas.errors import (
    BadNotice,
    IdentifierNotFound,
    NotFound,
    Unavailable,
)
from schemas.identifier import Identifier, Prefix
from schemas.keys import B64
from schemas.leaf import What
from schemas.notice import ISSUED, LIFTED, Notice, check_notice, parse_notice, read_draft_notice
from schemas.source import State

KIND = Kind("notice", BadNotice, read_draft_notice, parse_notice, check_notice)


async def state(
    tx: WriteTx, keyring: Keyring, caller: Caller, offer: Offer[Notice], now: int
) -> Settled[Notice]:
    """Recall, or take a recall back; raise what refuses it."""
    notice = offer.said
    # 1
    caller.must_hold(notice.issuer)
    # 2 to 4
    standing = await store.find(tx, notice.issuer, notice.id)
    settled = await KIND.settle(tx, keyring, notice.issuer, offer, standing, now=now)
    if settled.changed:
        # 5
        if settled.said.state == ISSUED:
            await _check_marked(tx, settled.said.of)
        # 6
        if not await store.put(tx, settled.said, settled.before, settled.digest, settled.token):
            raise Unavailable("somebody else changes this notice")
        await _tell(tx, settled)
    return settled


async def _check_marked(tx: WriteTx, marked: tuple[Identifier, ...]) -> None:
    states = await reader.states(tx, marked)
    for item in marked:
        if states[item] is State.MISSING:
            raise IdentifierNotFound(
                f"{item}, which the notice names, is not registered and no class rule covers it",
                value=item.text,
            )


async def _tell(tx: WriteTx, settled: Settled[Notice]) -> None:
    notice = settled.said
    before = () if settled.before is None else settled.before.of
    leaf = Entry(
        Op.LOGGED,
        str(notice.issuer),
        notice.version,
        digest=settled.digest,
        what=What.NOTICE,
        subject=f"notice/{notice.id}",
    )
    marked = dict.fromkeys((*notice.of, *before))
    told = [Entry(Op.RECORD, item.text, notice.version, what=None) for item in marked]
    await changes.record_many(tx, notice.issuer, [leaf, *told])


async def lift(
    tx: WriteTx, keyring: Keyring, caller: Caller, issuer: Prefix, name: str, *, now: int
) -> Settled[Notice]:
    """Take a recall back with the hosted key; raise NotFound, KeyNotHosted."""
    caller.must_hold(issuer)
    standing = await store.find(tx, issuer, name)
    if standing is None:
        raise NotFound(f"{issuer} has no notice {name}", value=name)
    said = parse_notice(standing.envelope)[1]
    if said.state != ISSUED:
        return Settled(said, standing.envelope, B64(standing.digest), changed=False)
    return await state(tx, keyring, caller, Offer(replace(said, state=LIFTED)), now)


async def listing(tx: ReadTx, issuer: Prefix, *, after: str, limit: int) -> Page:
    """Return a page of the notices of a holder: everybody is told of recalls."""
    rows = await store.page(tx, issuer, after=after, limit=limit + 1)
    return Page.of(rows, limit)


async def find(tx: ReadTx, issuer: Prefix, name: str) -> Row:
    """Return one notice; raise NotFound."""
    row = await store.find(tx, issuer, name)
    if row is None:
        raise NotFound(f"{issuer} has no notice {name}", value=name)
    return row
