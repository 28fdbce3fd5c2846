"""Openings that a walk carries: by what further nodes know who asks, and nobody else does.

Where a walk begins they are made of the grants that its caller received; from then on they are
passed on as they came (`schemas.opening`). `until` is when the walk is over that began it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from schemas.hop import Hop
from schemas.identifier import Prefix
from schemas.keys import B64
from schemas.opening import MAX_OPENINGS, Given, Recognised, Walked, filled, key_of, the_one

MAX_GRANTORS = 1_000  # holders whose grants are looked at for one walk
MAX_GRANTS = 10_000  # that the openings of one walk are compared with
SLICE = 256  # of them that are compared between two pauses
_MILLISECONDS = 1_000


@runtime_checkable
class Granting(Protocol):
    """An authority that knows what holders granted."""

    async def granted(
        self, grantors: Sequence[Prefix], direction: str, purpose: str, limit: int
    ) -> Sequence[tuple[Prefix, str]]:
        """Return grants to somebody by name that are in force: to whom, and the envelope."""
        ...


@dataclass(frozen=True, slots=True)
class Carried:
    """What goes along with every request of a walk; `keys` are those of the walk's own caller."""

    openings: tuple[B64, ...] = ()
    until: int | None = None
    keys: Mapping[B64, bytes] = field(default_factory=dict, repr=False)


NOTHING = Carried()


def passed_on(hop: Hop) -> Carried:
    """Return what a token brought, to go along unchanged."""
    return Carried(hop.openings, hop.until)


class Purse:
    """The openings of one walk that begins here; owned by its task.

    However often they are made they are the same, as long as the grants are.
    """

    def __init__(self, until: float) -> None:
        """`until` is when the walk is over at the latest, Unix seconds."""
        self._until = int(until * _MILLISECONDS)
        self._seed = secrets.token_bytes(32)

    def open(self, envelopes: Iterable[str], trace: str, direction: str, purpose: str) -> Carried:
        """Return the openings that the caller's grants make."""
        walked = Walked(trace, direction, purpose, self._until)
        made = walked.openings(map(key_of, envelopes))
        keys = dict(sorted(made)[:MAX_OPENINGS])
        if not keys:
            return NOTHING
        return Carried(filled(keys, self._seed), self._until, keys)


class Door:
    """Tells who asks, by what a token brought; for one event loop."""

    def __init__(self, granting: Granting | None) -> None:
        """`granting` knows the grants of this node; None where nobody grants anything."""
        self._granting = granting
        self._blind = secrets.token_bytes(32)

    async def recognise(self, hop: Hop, grantors: Sequence[Prefix]) -> Recognised | None:
        """Return who shows that one of these holders granted him something; raise Unavailable.

        None where that is nobody, or who is known anyway.
        """
        if self._granting is None or hop.until is None:
            return None
        grants = await self._granting.granted(
            grantors[:MAX_GRANTORS], hop.direction, hop.purpose, MAX_GRANTS
        )
        walked = Walked(hop.trace, hop.direction, hop.purpose, hop.until)
        given = Given(hop.openings, walked, self._blind)
        shown: list[Recognised] = []
        for at in range(0, len(grants), SLICE):
            shown += given.matching(grants[at : at + SLICE])
            await asyncio.sleep(0)
        found = the_one(shown)
        return None if found is None or found.grantee == hop.subject else found
