"""Grants: what a holder opens to others of the links under his prefix.

To state one, in these steps:

1. the caller holds the prefix of the grantor
2. to 4. those of everything that has one standing version (`versions`)
5. that is stored and told of as a change of the prefix: whatever shows its links is out of date
6. where another node serves the grantee, it is put on its way there (`handovers`)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from registry import changes, handovers
from registry.accounts import Caller
from registry.keyring import Keyring
from registry.store import grants as store
from registry.store.engine import ReadTx, WriteTx
from registry.store.handovers import Waiting
from registry.store.versions import Row
from registry.versions import Kind, Offer, Page, Settled
from schemas.change import Op
from schemas.errors import (
    BadGrant,
    NotFound,
    Unavailable,
)
from schemas.grant import (
    ANYBODY,
    GRANTED,
    REVOKED,
    Grant,
    check_grant,
    parse_grant,
    read_draft_grant,
)
from schemas.identifier import Prefix
from schemas.keys import B64, b64encode
from schemas.leaf import What

KIND = Kind("grant", BadGrant, read_draft_grant, parse_grant, check_grant)


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of the grants of a holder.

    `waiting` are those, by id, that are still on their way to the nodes of their grantees.
    """

    page: Page
    waiting: Mapping[str, Waiting] = field(default_factory=dict)


async def state(
    tx: WriteTx, keyring: Keyring, caller: Caller, offer: Offer[Grant], now: int
) -> Settled[Grant]:
    """Grant, or take a grant back; raise what refuses it."""
    grant = offer.said
    # 1
    caller.must_hold(grant.grantor)
    # 2 to 4
    standing = await store.find(tx, grant.grantor, grant.id)
    settled = await KIND.settle(tx, keyring, grant.grantor, offer, standing, now=now)
    # 5
    if settled.changed:
        if not await store.put(tx, settled.said, settled.digest, settled.token):
            raise Unavailable("somebody else changes this grant")
        await _tell(tx, settled, _subject(keyring, settled.said))
        # 6
        await handovers.queue(tx, settled.said, settled.digest, settled.before)
    return settled


def _subject(keyring: Keyring, grant: Grant) -> str:
    # Ids can be guessed, as links can (`links`).
    name = f"grant/{grant.id}"
    return f"{name}/{b64encode(keyring.salt(f'{grant.grantor}/{name}'.encode()))}"


async def _tell(tx: WriteTx, settled: Settled[Grant], subject: str) -> None:
    grant, before = settled.said, settled.before
    await changes.record(
        tx,
        Op.PREFIX,
        grant.grantor,
        str(grant.grantor),
        grant.version,
        # Whom it was to before: he has to be told as well, and nobody else.
        also="" if before is None or before.to == grant.to else str(before.to or ANYBODY),
        digest=settled.digest,
        what=What.GRANT,
        subject=subject,
    )


async def revoke(
    tx: WriteTx, keyring: Keyring, caller: Caller, grantor: Prefix, name: str, *, now: int
) -> Settled[Grant]:
    """Take a grant back with the hosted key; raise NotFound, KeyNotHosted."""
    caller.must_hold(grantor)
    standing = await store.find(tx, grantor, name)
    if standing is None:
        raise NotFound(f"{grantor} has no grant {name}", value=name)
    said = parse_grant(standing.envelope)[1]
    if said.state != GRANTED:
        return Settled(said, standing.envelope, B64(standing.digest), changed=False)
    return await state(tx, keyring, caller, Offer(replace(said, state=REVOKED)), now)


async def listing(
    tx: ReadTx, caller: Caller, grantor: Prefix, *, after: str, limit: int
) -> Listing:
    """Return a page of what a holder grants: all to himself, to others what is theirs."""
    grantee = None if caller.prefix == grantor else caller.prefix
    rows = await store.page(tx, grantor, grantee=grantee, after=after, limit=limit + 1)
    page = Page.of(rows, limit)
    if grantee is not None:
        return Listing(page)
    return Listing(page, await handovers.waiting(tx, grantor, [row.id for row in page.rows]))


async def find(tx: ReadTx, caller: Caller, grantor: Prefix, name: str) -> Row:
    """Return one grant to its grantor or grantee; raise NotFound."""
    row = await store.find(tx, grantor, name)
    if row is not None:
        grant = parse_grant(row.envelope)[1]
        if caller.prefix in (grantor, grant.to):
            return row
    raise NotFound(f"{grantor} has no grant {name} that concerns {caller.prefix}", value=name)
