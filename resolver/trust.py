"""Which keys may speak for which prefix, as this resolver trusts it.

Nothing that a source sends is believed: each record and each link is verified under the chain of
delegations from our own root to its prefix. What verified once is remembered by its digest and
its chain, so that the same envelope under the same chain costs a look-up; both memories are
bounded and forget what was used longest ago.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from schemas.answer import Parts, grouped, parse_marking, parse_parts, parse_stated
from schemas.chain import Chain, Runs, Trust, assemble
from schemas.delegation import Delegation
from schemas.envelope import Envelope
from schemas.errors import VerifyError
from schemas.identifier import Identifier, Prefix
from schemas.keys import sha256
from schemas.link import Assertion, stands
from schemas.notice import Notice
from schemas.runs import Place, arrange, place

from .places import Places

_log = logging.getLogger(__name__)

K = TypeVar("K")
V = TypeVar("V")


class _Recent(Generic[K, V]):
    """A dict of bounded size that forgets what was used longest ago."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        found = self._items.pop(key, None)
        if found is not None:
            self._items[key] = found
        return found

    def put(self, key: K, value: V) -> None:
        self._items[key] = value
        if len(self._items) > self._limit:
            del self._items[next(iter(self._items))]


@dataclass(frozen=True, slots=True)
class Known:
    """A validated chain, the envelopes it consists of, and a number to remember it by."""

    chain: Chain
    tokens: tuple[str, ...]
    number: int


class Verifier:
    """Verifies what sources send against one trust bundle; owned by one event loop."""

    def __init__(self, trust: Trust, *, chains: int = 4096, envelopes: int = 65_536) -> None:
        self._trust = trust
        self._chain_limit = chains
        self._places: _Recent[str, Place] = _Recent(4 * chains)
        self._chains: _Recent[tuple[tuple[str, ...], ...], Known] = _Recent(chains)
        self._verified: _Recent[tuple[bytes, int], bool] = _Recent(envelopes)
        self._numbered = 0
        self.verified = 0
        self.failed = 0

    @property
    def root(self) -> Delegation:
        """The root version that everything is verified under."""
        return self._trust.root.holder

    def renew(self, root: Delegation) -> None:
        """Go on with a newer root, which its owner followed from the one so far."""
        if root.sequence > self.root.sequence:
            self._trust = replace(self._trust, root=Chain((root,)))
            self._chains = _Recent(self._chain_limit)

    def offered(self, delegations: Iterable[str]) -> Offered:
        """Open the delegations that came with one reply; malformed ones are not considered."""
        places = map(self._place, delegations)
        return Offered(self, arrange(place for place in places if place is not None))

    def _place(self, token: str) -> Place | None:
        known = self._places.get(token)
        if known is None:
            try:
                known = place(token)
            except VerifyError:
                self.failed += 1
                return None
            self._places.put(token, known)
        return known

    def chain(self, prefix: Prefix, offered: Runs) -> Known:
        """Return the validated chain of a prefix; raise VerifyError."""
        key = self._trust.candidates(prefix, offered)
        known = self._chains.get(key)
        if known is None or known.chain.holder.subject != prefix:
            self._numbered += 1
            chain = assemble(self._trust.root, key, prefix)
            known = Known(chain, chain.tokens, self._numbered)
            self._chains.put(key, known)
        return known

    def delegated(self, prefix: Prefix, offered: Runs) -> bool:
        """Tell whether there is a delegation of a prefix, valid or not, offered or known before."""
        return prefix in offered or prefix in self._trust.delegations

    def check(
        self,
        known: Known,
        envelope: Envelope,
        prefix: Prefix,
        issued_at: int,
        kind: str | None,
        *,
        places: Places | None = None,
    ) -> None:
        """Verify one envelope under a chain, or remember that it did; raise VerifyError.

        Prefix, time and kind are read from the envelope itself, so its digest stands for them. Its
        place in the log never changes, so that it need not be known again.
        """
        key = (sha256(envelope.token.encode()), known.number)
        if self._verified.get(key):
            return
        try:
            chain, index = known.chain, None
            if places is not None:
                chain, index = chain.logged(places.prefixes), places.records.get(envelope.digest)
            chain.check_speaker(envelope, prefix, issued_at, kind, index=index)
        except VerifyError:
            self.failed += 1
            raise
        self.verified += 1
        self._verified.put(key, True)  # noqa: FBT003  (a set that remembers the order of use)


class Offered:
    """The delegations of one reply: verifies the envelopes that came with them."""

    def __init__(self, verifier: Verifier, runs: Runs, places: Places | None = None) -> None:
        self._verifier = verifier
        self._runs = runs
        self.places = places
        self._chains: dict[Prefix, Known] = {}

    def placed(self, places: Places) -> Offered:
        """Return the same delegations with what the source says of the log's order."""
        return Offered(self._verifier, self._runs, places)

    def nearest(self, prefix: Prefix) -> Prefix | None:
        """Return the longest prefix at or above one that a delegation is here of, unverified."""
        above = (prefix, *prefix.ancestors()[:-1])
        return next((item for item in above if self._verifier.delegated(item, self._runs)), None)

    def known(self, prefix: Prefix) -> Known:
        """Return the validated chain of a prefix; raise VerifyError."""
        found = self._chains.get(prefix)
        if found is None:
            found = self._chains[prefix] = self._verifier.chain(prefix, self._runs)
        return found

    def check(self, envelope: Envelope, prefix: Prefix, issued_at: int, kind: str | None) -> None:
        """Verify one envelope under the chain of a prefix; raise VerifyError."""
        known = self.known(prefix)
        self._verifier.check(known, envelope, prefix, issued_at, kind, places=self.places)

    def parts(
        self,
        identifier: Identifier,
        records: Sequence[str],
        assertions: Sequence[str],
        *,
        more_links: bool = False,
    ) -> tuple[Parts, tuple[str, ...]]:
        """Verify the parts of an answer; return them and the statements of links that verified.

        A record that does not verify fails the whole. A statement that does not is left out: a
        partner's broken one must not take down what the holder says. So is a withdrawal that
        stands alone without it.
        """
        try:
            parts = parse_parts(identifier, records, assertions, self.check, more_links=more_links)
        except VerifyError:
            heard = self._heard(identifier, assertions)
            if len(heard) == len(assertions):
                raise
            parts = parse_parts(identifier, records, heard, self.check, more_links=more_links)
            return parts, heard
        return parts, tuple(assertions)

    def _heard(self, identifier: Identifier, assertions: Sequence[str]) -> tuple[str, ...]:
        """Return the statements that verify, of links that somebody stands behind."""
        verified: dict[str, Assertion] = {}
        for token in assertions:
            with contextlib.suppress(VerifyError):
                stated = parse_stated(token, self.check)
                if identifier in (stated.link.upstream, stated.link.downstream):
                    verified[token] = stated
        shown = {link for link, said in grouped(tuple(verified.values())) if stands(said)}
        return tuple(token for token, stated in verified.items() if stated.link in shown)

    def notices(
        self, parts: Parts, tokens: Sequence[str]
    ) -> tuple[tuple[Notice, ...], tuple[str, ...]]:
        """Verify notices about an answer; return those that are good, and their envelopes.

        One that does not verify is left out, as a statement of a link is.
        """
        good: dict[str, tuple[Notice, str]] = {}
        for token in tokens:
            try:
                notice = parse_marking(parts, token, self.check)
            except VerifyError as err:
                _log.error("a notice about %s does not verify: %s", parts.identifier, err)
            else:
                good[notice.id] = (notice, token)
        return tuple(notice for notice, _ in good.values()), tuple(t for _, t in good.values())

    def evidence(self, prefixes: Iterable[Prefix]) -> tuple[str, ...]:
        """Return the delegations that the chains of these prefixes consist of, each once."""
        tokens = (token for prefix in prefixes for token in self.known(prefix).tokens)
        return tuple(dict.fromkeys(tokens))
