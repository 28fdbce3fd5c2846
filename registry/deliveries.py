"""Deliveries: what one end of a link states is carried to the node of the other end.

    D1  a statement whose far end another node serves is queued in its own transaction: what was
        accepted is on its way, whatever happens to this process
    D2  what is due is sent to the node of the far end, found by its prefix; many at a time
    D3  accepted: taken from the queue, unless a newer version was queued meanwhile. The receiver
        knows statements by their digests, so that one which arrives twice is one
    D4  refused for good (what is not well formed, or does not verify there) it stays in the queue
        with the reason, and is sent no more; else again later, each time after twice as long

The other node answers for its side by the same way: what its holder then asserts is delivered here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

from registry.store import deliveries as store, prefixes as prefix_store
from registry.store.deliveries import Queued, Shown
from registry.store.engine import ReadTx, Store, WriteTx
from schemas.errors import TierlinkError
from schemas.identifier import Identifier, Prefix
from schemas.link import parse_assertion

AT_ONCE = 100  # statements of one request
PAUSE, LONGEST = 1.0, 3600.0  # seconds before the second attempt, and at most between two

# What will not be other the next time: the statement itself is refused.
_FOR_GOOD = (400, 403, 410, 413)


@dataclass(frozen=True, slots=True)
class Bundle:
    """What is sent to the holders of one prefix: envelopes, and the chains they verify by."""

    far: Prefix
    queued: tuple[Queued, ...]
    assertions: tuple[str, ...]
    delegations: tuple[str, ...]


async def queue(
    tx: WriteTx, prefix: Prefix, stated: Iterable[tuple[str, str, Identifier, str]]
) -> None:
    """D1: queue (link key, side, far end, digest) of what `prefix` states, where it is to go."""
    given = list(stated)
    wanted = {far.prefix for _, _, far, _ in given if far.prefix != prefix}
    if not wanted:
        return
    elsewhere = await away(tx, wanted)
    leaving = [item for item in given if item[2].prefix in elsewhere]
    if leaving:
        await store.queue(tx, prefix, leaving)


async def away(tx: ReadTx, asked: Iterable[Prefix]) -> frozenset[Prefix]:
    """Return those prefixes that another node serves, as far as is known here."""
    lines = {prefix: (prefix, *prefix.ancestors()) for prefix in asked}
    names = {str(item) for line in lines.values() for item in line}
    homes = await prefix_store.homes(tx, names)
    return frozenset(prefix for prefix, line in lines.items() if _home(line, homes) is not None)


def _home(line: Sequence[Prefix], homes: Mapping[str, str | None]) -> str | None:
    """Return the home of the nearest prefix that is known."""
    return next((homes[str(item)] for item in line if str(item) in homes), None)


async def due(opened: Store, now: float) -> tuple[Bundle, ...]:
    """D2: return what is due, by the prefix it goes to."""
    async with opened.read() as tx:
        queued = await store.due(tx, moment(now), AT_ONCE)
        if not queued:
            return ()
        found = await store.envelopes(tx, queued)
        ready = [(item, text) for item, text in zip(queued, found, strict=True) if text]
        groups: dict[Prefix, list[tuple[Queued, str]]] = {}
        for item, text in ready:
            groups.setdefault(Identifier.parse(item.far).prefix, []).append((item, text))
        return tuple([await _bundle(tx, far, group) for far, group in groups.items()])


async def _bundle(tx: ReadTx, far: Prefix, group: Sequence[tuple[Queued, str]]) -> Bundle:
    speakers = {parse_assertion(text)[1].asserter.prefix for _, text in group}
    queued, texts = zip(*group, strict=True)
    return Bundle(far, queued, texts, await chains(tx, speakers))


async def chains(tx: ReadTx, speakers: Iterable[Prefix]) -> tuple[str, ...]:
    """Return the delegations by which what these prefixes say verifies, each once."""
    tokens: dict[str, None] = {}
    for speaker in sorted(speakers, key=str):
        for link in await prefix_store.lineage(tx, speaker):
            if not link.prefix.is_root:
                tokens |= dict.fromkeys(link.tokens)
    return tuple(tokens)


async def settle(
    opened: Store, bundle: Bundle, outcomes: Sequence[TierlinkError | None], now: float
) -> int:
    """D3, D4: note what became of each statement of a bundle; return how many were accepted."""
    return await settle_in(store, opened, bundle.queued, outcomes, now)


class Tried(Protocol):
    """Something in a queue, and how often it was tried to deliver it."""

    @property
    def attempts(self) -> int:
        """How often, without success."""
        ...


Q_contra = TypeVar("Q_contra", bound=Tried, contravariant=True)


class Queue(Protocol[Q_contra]):
    """SQL of one queue (`registry.store`)."""

    async def done(self, tx: WriteTx, queued: Sequence[Q_contra], /) -> None:
        """Take from the queue what was accepted."""
        ...

    async def failed(
        self,
        tx: WriteTx,
        queued: Sequence[Q_contra],
        due: Sequence[datetime | None],
        why: Sequence[str],
        /,
    ) -> None:
        """Note of each when it is due again, None for never, and why it failed."""
        ...


async def settle_in(
    queue: Queue[Q_contra],
    opened: Store,
    queued: Sequence[Q_contra],
    outcomes: Sequence[TierlinkError | None],
    now: float,
) -> int:
    """D3, D4: note what became of what one request carried; return how many were accepted."""
    pairs = list(zip(queued, outcomes, strict=True))
    done = [item for item, error in pairs if error is None]
    failed = [(item, error) for item, error in pairs if error is not None]
    async with opened.write() as tx:
        if done:
            await queue.done(tx, done)
        if failed:
            await queue.failed(
                tx,
                [item for item, _ in failed],
                [again(item.attempts, error, now) for item, error in failed],
                [f"{error.code}: {error.detail}"[:500] for _, error in failed],
            )
    return len(done)


def again(attempts: int, error: TierlinkError, now: float) -> datetime | None:
    """D4: return when to try again after an attempt, None for never."""
    if error.status in _FOR_GOOD:
        return None
    return moment(now) + timedelta(seconds=min(PAUSE * 2.0 ** min(attempts, 20), LONGEST))


async def listing(tx: ReadTx, prefix: Prefix, after: tuple[str, str], limit: int) -> list[Shown]:
    """Return what a holder's statements are still on their way, by link key and side."""
    return await store.page(tx, prefix, after, limit)


def moment(now: float) -> datetime:
    """Return a time in Unix seconds as the database takes it."""
    return datetime.fromtimestamp(now, UTC)
