"""Links in bulk: the steps of `links`, for a chunk of lines in one transaction.

Reading, verifying and signing take most of the time and need no row: they are done in threads,
while the chunk before is written. A draft is signed as the first version, which nearly every line
becomes; the rest is signed again when it is known what stands.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain as chained

from registry import assertions, links, prefixes
from registry.accounts import Caller
from registry.assertions import Offer, Stated
from registry.keyring import Keyring
from registry.lines import Line, Result
from registry.links import Speaker
from registry.store.engine import Store
from schemas import canonical
from schemas.errors import TierlinkError, Unavailable
from schemas.link import ASSERTED

ATTEMPTS = 5  # of a chunk under whose caller the chain of delegations changes
THREADS = min(4, os.cpu_count() or 1)  # that verify or sign one chunk


@dataclass(frozen=True, slots=True)
class _Item:
    """A line that was read; `said` is what it says, or what refuses it."""

    number: int
    said: Offer | TierlinkError
    about: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A chunk that may be written while the speaker's chain stands."""

    lines: Sequence[Line]
    speaker: Speaker
    items: Sequence[_Item]


class LinkBatch:
    """The work of one streamed request; satisfies `lines.Work`."""

    def __init__(
        self, opened: Store, keyring: Keyring, caller: Caller, clock: Callable[[], int]
    ) -> None:
        self._store = opened
        self._keyring = keyring
        self._caller = caller
        self._clock = clock

    async def prepare(self, lines: Sequence[Line]) -> _Prepared:
        """Read, verify and sign lines, in threads."""
        async with self._store.read() as tx:
            speaker = await links.find_speaker(tx, self._keyring, self._caller, self._clock())
        read = partial(_read_lines, speaker=speaker)
        share = -(-len(lines) // THREADS)
        shares = [lines[at : at + share] for at in range(0, len(lines), share)]
        done = await asyncio.gather(*(asyncio.to_thread(read, item) for item in shares))
        return _Prepared(lines, speaker, list(chained.from_iterable(done)))

    async def write(self, prepared: _Prepared) -> Sequence[Result]:
        """Write a chunk; raise PrefixSuspended, Unavailable and the like for it as a whole."""
        for _ in range(ATTEMPTS):
            async with self._store.write() as tx:
                chain = await prefixes.chain(tx, self._caller.prefix)
                if chain == prepared.speaker.chain:
                    chain.check_time(self._clock())
                    offers = [i.said for i in prepared.items if isinstance(i.said, Offer)]
                    outcomes = iter(await links.store_many(tx, prepared.speaker, offers))
                    return [_result(item, outcomes) for item in prepared.items]
            prepared = await self.prepare(prepared.lines)
        raise Unavailable("the delegations of the prefix keep changing")


def _read_lines(lines: Iterable[Line], *, speaker: Speaker) -> list[_Item]:
    return [_read_line(line, speaker) for line in lines]


def _read_line(line: Line, speaker: Speaker) -> _Item:
    about: dict[str, object] = {}
    try:
        if line.error is not None:
            raise line.error
        offer = assertions.read_offer(canonical.decode_object(line.raw), speaker.voice.now)
        said = offer.assertion
        about = {"link_key": said.link.key, "side": said.side}
        links.check(speaker, offer)
        if offer.envelope is None and said.state == ASSERTED:
            offer = replace(offer, first=speaker.voice.sign(said))
    except TierlinkError as err:
        return _Item(line.number, err, about)
    return _Item(line.number, offer, about)


def _result(item: _Item, outcomes: Iterator[Stated | TierlinkError]) -> Result:
    outcome = item.said if isinstance(item.said, TierlinkError) else next(outcomes)
    if isinstance(outcome, TierlinkError):
        return Result(item.number, outcome, item.about)
    members = {
        "status": 201 if outcome.created else 200,
        "version": outcome.assertion.version,
        "state": outcome.assertion.state,
        "link_state": outcome.link_state,
    }
    return Result(item.number, members, item.about)
