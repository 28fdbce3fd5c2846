"""Which keys may speak for which prefix, as this resolver trusts it.

Nothing that a source sends is believed: each record and each link is verified under the chain of
delegations from our own root to its prefix. What verified once is remembered by its digest and
its chain, so that the same envelope under the same chain costs a look-up; both memories are
bounded and forget what was used longest ago.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from schemas.answer import Parts, parse_parts, parse_standing
from schemas.chain import Chain, Trust, validate
from schemas.delegation import parse_delegation
from schemas.envelope import Envelope
from schemas.errors import VerifyError
from schemas.identifier import Identifier, Prefix
from schemas.keys import sha256

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
    """A validated chain, the envelopes it was built from, and a number to remember it by."""

    chain: Chain
    tokens: tuple[str, ...]
    number: int


class Verifier:
    """Verifies what sources send against one trust bundle; owned by one event loop."""

    def __init__(self, trust: Trust, *, chains: int = 4096, envelopes: int = 65_536) -> None:
        self._trust = trust
        self._subjects: _Recent[str, tuple[Prefix, int]] = _Recent(4 * chains)
        self._chains: _Recent[tuple[str, ...], Known] = _Recent(chains)
        self._verified: _Recent[tuple[bytes, int], bool] = _Recent(envelopes)
        self._numbered = 0
        self.verified = 0
        self.failed = 0

    def offered(self, delegations: Iterable[str]) -> Offered:
        """Open the delegations that came with one reply; malformed ones are not considered."""
        newest: dict[Prefix, tuple[int, str]] = {}
        for token in delegations:
            subject = self._subject(token)
            if subject is None:
                continue
            prefix, sequence = subject
            if prefix not in newest or newest[prefix][0] < sequence:
                newest[prefix] = (sequence, token)
        return Offered(self, {prefix: token for prefix, (_, token) in newest.items()})

    def _subject(self, token: str) -> tuple[Prefix, int] | None:
        known = self._subjects.get(token)
        if known is None:
            try:
                _, delegation = parse_delegation(token)
            except VerifyError:
                self.failed += 1
                return None
            known = (delegation.subject, delegation.sequence)
            self._subjects.put(token, known)
        return known

    def chain(self, prefix: Prefix, offered: dict[Prefix, str]) -> Known:
        """Return the validated chain of a prefix; raise VerifyError."""
        tokens: list[str] = []
        at = prefix
        while not at.is_root:
            token = offered.get(at) or self._trust.delegations.get(at)
            if token is not None:
                tokens.append(token)
            at = at.parent
        key = tuple(reversed(tokens))
        known = self._chains.get(key)
        if known is None or known.chain.holder.subject != prefix:
            self._numbered += 1
            known = Known(validate(self._trust.root, key, prefix), key, self._numbered)
            self._chains.put(key, known)
        return known

    def check(
        self, known: Known, envelope: Envelope, prefix: Prefix, issued_at: int, kind: str | None
    ) -> None:
        """Verify one envelope under a chain, or remember that it did; raise VerifyError.

        Prefix, time and kind are read from the envelope itself, so its digest stands for them.
        """
        key = (sha256(envelope.token.encode()), known.number)
        if self._verified.get(key):
            return
        try:
            known.chain.check_speaker(envelope, prefix, issued_at, kind)
        except VerifyError:
            self.failed += 1
            raise
        self.verified += 1
        self._verified.put(key, True)  # noqa: FBT003  (a set that remembers the order of use)


class Offered:
    """The delegations of one reply: verifies the envelopes that came with them."""

    def __init__(self, verifier: Verifier, tokens: dict[Prefix, str]) -> None:
        self._verifier = verifier
        self._tokens = tokens
        self._chains: dict[Prefix, Known] = {}

    def known(self, prefix: Prefix) -> Known:
        """Return the validated chain of a prefix; raise VerifyError."""
        found = self._chains.get(prefix)
        if found is None:
            found = self._chains[prefix] = self._verifier.chain(prefix, self._tokens)
        return found

    def check(self, envelope: Envelope, prefix: Prefix, issued_at: int, kind: str | None) -> None:
        """Verify one envelope under the chain of a prefix; raise VerifyError."""
        self._verifier.check(self.known(prefix), envelope, prefix, issued_at, kind)

    def parts(
        self,
        identifier: Identifier,
        records: Sequence[str],
        assertions: Sequence[str],
        *,
        more_links: bool = False,
    ) -> tuple[Parts, tuple[str, ...]]:
        """Verify the parts of an answer; return them and the assertions that verified.

        A record that does not verify fails the whole. An assertion that does not is left out: a
        partner's broken statement must not take down what the holder says.
        """
        try:
            parts = parse_parts(identifier, records, assertions, self.check, more_links=more_links)
        except VerifyError:
            standing = tuple(token for token in assertions if self._stands(token, identifier))
            if len(standing) == len(assertions):
                raise
            parts = parse_parts(identifier, records, standing, self.check, more_links=more_links)
            return parts, standing
        return parts, tuple(assertions)

    def _stands(self, token: str, identifier: Identifier) -> bool:
        try:
            link = parse_standing(token, self.check).link
        except VerifyError:
            return False
        return identifier in (link.upstream, link.downstream)

    def evidence(self, prefixes: Iterable[Prefix]) -> tuple[str, ...]:
        """Return the delegations that the chains of these prefixes consist of, each once."""
        tokens = (token for prefix in prefixes for token in self.known(prefix).tokens)
        return tuple(dict.fromkeys(tokens))
