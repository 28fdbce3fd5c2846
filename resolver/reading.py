"""What one look-up found, verified: the only thing that representations are made from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf

from schemas.answer import Parts
from schemas.change import Watermark
from schemas.delegation import Delegation
from schemas.disclosure import Marked
from schemas.identifier import Identifier, Prefix
from schemas.record import ACTIVE
from schemas.source import State


@dataclass(frozen=True, slots=True)
class Refers:
    """Which node serves an identifier, and of which prefix's delegation that follows."""

    prefix: Prefix
    node: str


ANSWERED = frozenset({State.FOUND, State.COVERED})


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of an identifier, as of one snapshot of the source.

    `read_at` is the time of our own clock before the source was asked. `parts` is None where
    nothing is registered; `records`, `assertions` and `delegations` are the envelopes that the
    parts were read from and that whoever checks the answer needs, root-most delegation first.
    `marked` is what the records hide and who may see it; of that, `disclosures` are the texts of
    what the parts show (`resolver.audience`). `expires_at`, on the clock of the answers, is when it
    may be kept no longer whatever the changes say: of what another node said, and of links that a
    grant opens only from or until a time. `refers` is there
    where it is that another node has to be asked.
    """

    identifier: Identifier
    state: State
    watermark: Watermark
    read_at: float
    parts: Parts | None = None
    records: tuple[str, ...] = ()
    assertions: tuple[str, ...] = ()
    delegations: tuple[str, ...] = ()
    holder: Delegation | None = None
    marked: tuple[Marked, ...] = ()
    disclosures: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    expires_at: float = inf
    refers: Refers | None = None
    # Of `resolver.tags`, which looks for them once; a reading made from this one begins anew.
    names: tuple[bytes, ...] = field(default=(), init=False, compare=False, repr=False)

    @property
    def strict(self) -> bool:
        """Tell whether this may never be served stale.

        So it is with what is suspended, retired, recalled, absent or foreign.
        """
        if self.state not in ANSWERED or self.parts is None or self.parts.notices:
            return True
        return self.parts.records[0].status != ACTIVE

    def turns_at(self, now: int) -> int | None:
        """Return the next moment at which something in here begins or ceases to be valid."""
        return min((moment for moment in self._moments() if moment > now), default=None)

    def _moments(self) -> Iterator[int]:
        if self.parts is None:
            return
        spans = [(item.valid_from, item.valid_until) for item in self.parts.records]
        spans += [(item.valid_from, item.valid_until) for item in self.parts.assertions]
        for moment in (moment for span in spans for moment in span):
            if moment is not None:
                yield moment
