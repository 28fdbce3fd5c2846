"""What a node says that asks no other (`?recursive=false`): the referral, and what proves it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from schemas.source import Fetched, Found, State

from .answers import boottime
from .reading import Reading, Refers
from .referral import Place, nearest
from .trust import Offered


@dataclass(frozen=True, slots=True)
class Iterative:
    """Makes readings that name the node to ask; `clock` is that of the answers."""

    place: Place
    clock: Callable[[], float] = boottime
    wall: Callable[[], float] = time.time

    def refer(
        self, found: Found, offered: Offered, fetched: Fetched, read_at: float
    ) -> Reading | None:
        """Return the referral that FOREIGN is; None where it is no such thing. VerifyError.

        To the node of the root nobody is referred by a delegation: whoever asks knows it.
        """
        if found.state is not State.FOREIGN:
            return None
        now = self.wall()
        referral = nearest(found.identifier, offered, self.place, now)
        if referral is None:
            return None
        left = inf if referral.until == inf else referral.until - now
        return Reading(
            found.identifier,
            found.state,
            fetched.watermark,
            read_at,
            delegations=referral.chain,
            refers=Refers(referral.prefix, referral.origin),
            expires_at=self.clock() + left,
        )
