"""Against floods of identifiers that nobody registered: a budget of vain reads for each prefix.

    G1  who asks for an identifier that was ever found here, or that a change was told of, is never
        turned away: a filter of 8 million bits remembers them (and takes some strangers for them,
        the more the fuller it is)
    G2  each read that finds nothing costs its prefix one of its budget, which refills with time;
        prefixes that nobody allocated share one. What another node could not be asked about says
        nothing of what exists
    G3  while a prefix has none left, strangers under it are turned away unread (429, Retry-After)

So a flood costs the source a known rate, and whoever asks for what exists does not notice it. A
record that was never asked for here before has to wait for the flood under its own prefix to end,
or for one request of those that the budget still lets through.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from schemas.errors import TooManyUnknown
from schemas.identifier import Identifier, Prefix
from schemas.source import State

RATE = 200.0  # vain reads a second, for each prefix
BURST = 2_000.0  # at once, after a quiet while; and as deep as it goes into debt
PREFIXES = 65_536  # remembered

_BITS = 1 << 23
_UNALLOCATED = frozenset({State.FOREIGN, State.NOWHERE})
_VAIN = _UNALLOCATED | {State.MISSING}


class Guard:
    """Owned by one event loop."""

    def __init__(
        self, clock: Callable[[], float], *, rate: float = RATE, burst: float = BURST
    ) -> None:
        self._clock = clock
        self._rate = rate
        self._burst = burst
        self._known = bytearray(_BITS // 8)
        self._allocated: set[Prefix] = set()
        self._left: dict[Prefix | None, tuple[float, float]] = {}  # budget, and as of when

    def check(self, identifier: Identifier) -> None:
        """G1, G3: raise TooManyUnknown where this may not be read now."""
        if not self._left or self._knows(identifier.text):
            return
        account = self._account(identifier.prefix)
        left = self._now(account)
        if left < 1:
            where = "prefixes that nobody allocated" if account is None else f"the prefix {account}"
            raise TooManyUnknown(
                f"too many identifiers that do not exist were asked for under {where}",
                retry_after=max(1, ceil((1 - left) / self._rate)),
                fix="ask again later, and find out where these identifiers come from",
            )

    def learn(self, identifier: Identifier, state: State) -> None:
        """G1, G2: take note of what a read found."""
        if state is State.UNREACHABLE:
            return
        if state not in _UNALLOCATED:
            if len(self._allocated) >= PREFIXES:
                self._allocated.clear()
            self._allocated.add(identifier.prefix)
        if state not in _VAIN:
            self.know(identifier.text)
            return
        account = None if state in _UNALLOCATED else identifier.prefix
        left = max(self._now(account) - 1, -self._burst)
        if account not in self._left and len(self._left) >= PREFIXES:
            self._left.clear()
        self._left[account] = (left, self._clock())

    def know(self, identifier: str) -> None:
        """G1: remember that an identifier exists, or did."""
        at = hash(identifier) % _BITS
        self._known[at >> 3] |= 1 << (at & 7)

    def _knows(self, identifier: str) -> bool:
        at = hash(identifier) % _BITS
        return bool(self._known[at >> 3] & 1 << (at & 7))

    def _account(self, prefix: Prefix) -> Prefix | None:
        return prefix if prefix in self._allocated else None

    def _now(self, account: Prefix | None) -> float:
        left, since = self._left.get(account, (self._burst, 0.0))
        return min(self._burst, left + (self._clock() - since) * self._rate)
