"""Handovers: grants to somebody whose prefix another node serves are carried to that node.

As statements of links are (`registry.deliveries`), in the same four steps:

    D1  a grant is queued in its own transaction, revoked or not. The version before that is still
        on its way makes room; one that is made out to somebody else now goes to him alone, for
        what a grant says is a secret of grantor and grantee
    D2  what is due is sent to the node of the grantee, found by his prefix; many at a time
    D3  accepted: taken from the queue, unless a newer version was queued meanwhile
    D4  refused for good it stays in the queue with the reason; else again later, each time after
        twice as long
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from registry import deliveries
from registry.store import handovers as store
from registry.store.engine import ReadTx, Store, WriteTx
from registry.store.handovers import Queued, Waiting
from schemas.errors import TierlinkError
from schemas.grant import Grant, parse_grant
from schemas.identifier import Prefix

AT_ONCE = 32  # grants of one look at the queue: each may have hundreds of characters


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is sent to the node of one grantee: envelopes, and the chains they verify by."""

    grantee: Prefix
    queued: tuple[Queued, ...]
    grants: tuple[str, ...]
    delegations: tuple[str, ...]


async def queue(tx: WriteTx, grant: Grant, digest: str, before: Grant | None) -> None:
    """D1: queue a version of a grant where it is to go; `before` is the one it replaces."""
    to = grant.to
    if to is not None and to != grant.grantor and to in await deliveries.away(tx, [to]):
        await store.queue(tx, grant.grantor, grant.id, to, digest)
    elif before is not None and before.to != to:
        await store.drop(tx, grant.grantor, grant.id)


async def due(opened: Store, now: float) -> tuple[Parcel, ...]:
    """D2: return what is due, by grantee."""
    async with opened.read() as tx:
        queued = await store.due(tx, deliveries.moment(now), AT_ONCE)
        if not queued:
            return ()
        found = await store.envelopes(tx, queued)
        groups: dict[str, list[tuple[Queued, str]]] = {}
        for item, text in zip(queued, found, strict=True):
            if text is not None:
                groups.setdefault(item.grantee, []).append((item, text))
        return tuple([await _parcel(tx, Prefix.parse(to), group) for to, group in groups.items()])


async def _parcel(tx: ReadTx, grantee: Prefix, group: Sequence[tuple[Queued, str]]) -> Parcel:
    grantors = {parse_grant(text)[1].grantor for _, text in group}
    queued, texts = zip(*group, strict=True)
    return Parcel(grantee, queued, texts, await deliveries.chains(tx, grantors))


async def settle(
    opened: Store, parcel: Parcel, outcomes: Sequence[TierlinkError | None], now: float
) -> int:
    """D3, D4: note what became of each grant of a parcel; return how many were accepted."""
    return await deliveries.settle_in(store, opened, parcel.queued, outcomes, now)


async def waiting(tx: ReadTx, grantor: Prefix, names: Sequence[str]) -> dict[str, Waiting]:
    """Return which of a holder's grants are still on their way, by id."""
    return await store.waiting(tx, grantor, names)
