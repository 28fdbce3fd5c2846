"""Grants: what a holder opens to others of the links under his prefix.

To state one, in these steps:

1. the caller holds the prefix of the grantor
2. that prefix stands, and its chain of delegations is valid now
3. a client's envelope verifies under the chain; what the hosted key signs for drafts would
4. the version it becomes (`versions`), if it changes anything
5. that is stored and told of as a change of the prefix: whatever shows its links is out of date
6. where another node serves the grantee, it is put on its way there (`handovers`)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from registry import changes, handovers, prefixes, versions
from registry.accounts import Caller
from registry.keyring import Keyring
from registry.store import grants as store
from registry.store.engine import ReadTx, WriteTx
from registry.store.grants import Row
from registry.store.handovers import Waiting
from registry.versions import Offer, Settled
from schemas.canonical import JsonObject
from schemas.change import Op
from schemas.claims import Members
from schemas.delegation import RECORD_USE
from schemas.errors import (
    BadGrant,
    KeyNotHosted,
    NotFound,
    TierlinkError,
    Unavailable,
    VerifyError,
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
from schemas.keys import B64, Signer, b64encode
from schemas.leaf import What
from schemas.successor import SKEW_SECONDS


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the grants of a holder; `after` is the id behind which the next page begins.

    `waiting` are those, by id, that are still on their way to the nodes of their grantees.
    """

    grants: tuple[Row, ...]
    after: str | None
    waiting: Mapping[str, Waiting] = field(default_factory=dict)


def read_offer(body: JsonObject, now: int) -> Offer[Grant]:
    """Read `{"envelope": …}` or a draft; raise BadInput."""
    if "envelope" not in body:
        return Offer(read_draft_grant(body, now))
    members = Members(body, BadGrant)
    token = members.take("envelope")
    members.done()
    envelope, grant = parse_grant(token)
    return Offer(grant, envelope)


async def state(
    tx: WriteTx, keyring: Keyring, caller: Caller, offer: Offer[Grant], now: int
) -> Settled[Grant]:
    """Grant, or take a grant back; raise what refuses it."""
    grant = offer.said
    # 1
    caller.must_hold(grant.grantor)
    # 2
    chain = await prefixes.chain(tx, grant.grantor)
    chain.check_time(now)
    # 3
    signer: Signer | TierlinkError = KeyNotHosted("no draft is signed here")
    if offer.envelope is None:
        signer = await keyring.signer(tx, grant.grantor, RECORD_USE)
    else:
        if grant.issued_at > now + SKEW_SECONDS:
            raise VerifyError("E_TIME", "the grant is issued in the future", value=grant.issued_at)
        check_grant(offer.envelope, grant, chain)
    # 4
    standing = await store.find(tx, grant.grantor, grant.id)
    token = None if standing is None else standing.envelope
    settled = versions.settle(offer, token, parse_grant, signer, now)
    # 5
    if settled.changed:
        if not await store.put(tx, settled.said, settled.digest, settled.token):
            raise Unavailable("somebody else changes this grant")
        before = None if token is None else parse_grant(token)[1]
        await _tell(tx, settled, before, _subject(keyring, settled.said))
        # 6
        await handovers.queue(tx, settled.said, settled.digest, before)
    return settled


def _subject(keyring: Keyring, grant: Grant) -> str:
    # Ids can be guessed, as links can (`links`).
    name = f"grant/{grant.id}"
    return f"{name}/{b64encode(keyring.salt(f'{grant.grantor}/{name}'.encode()))}"


async def _tell(tx: WriteTx, settled: Settled[Grant], before: Grant | None, subject: str) -> None:
    grant = settled.said
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


async def listing(tx: ReadTx, caller: Caller, grantor: Prefix, *, after: str, limit: int) -> Page:
    """Return a page of what a holder grants: all to himself, to others what is theirs."""
    grantee = None if caller.prefix == grantor else caller.prefix
    rows = await store.page(tx, grantor, grantee=grantee, after=after, limit=limit + 1)
    page = tuple(rows[:limit])
    after_it = page[-1].id if len(rows) > limit else None
    if grantee is not None:
        return Page(page, after_it)
    return Page(page, after_it, await handovers.waiting(tx, grantor, [row.id for row in page]))


async def find(tx: ReadTx, caller: Caller, grantor: Prefix, name: str) -> Row:
    """Return one grant to its grantor or grantee; raise NotFound."""
    row = await store.find(tx, grantor, name)
    if row is not None:
        grant = parse_grant(row.envelope)[1]
        if caller.prefix in (grantor, grant.to):
            return row
    raise NotFound(f"{grantor} has no grant {name} that concerns {caller.prefix}", value=name)
