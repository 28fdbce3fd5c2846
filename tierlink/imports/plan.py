"""A plan: what is to be registered, decided before anything is sent.

Making a plan is pure and deterministic; sending it is the business of `delivery`. Whoever looks
at a plan knows what the service will hold, and what a trace over it will find.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from schemas.identifier import Identifier, Prefix
from schemas.keys import Signer
from schemas.link import (
    CONFLICTING,
    DOWNSTREAM,
    MUTUAL,
    UPSTREAM,
    Assertion,
    Link,
    link_state,
)
from schemas.record import Record


@dataclass(frozen=True, slots=True)
class Holder:
    """A company and its prefix; without a signer the registry hosts its key."""

    prefix: Prefix
    organisation: str
    signer: Signer | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Links of which the document has a quantity from both ends, and how many of them agree.

    Of the document, whether or not the quantities of both ends are to be signed.
    """

    compared: int = 0
    equal: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """Holders, their records (a parent before its children), and what each end asserts."""

    holders: tuple[Holder, ...]
    records: tuple[Record, ...]
    assertions: tuple[Assertion, ...]
    agreement: Agreement = field(default_factory=Agreement)

    def records_of(self, holder: Holder) -> tuple[Record, ...]:
        """Return the records under a holder's prefix, in order."""
        return tuple(item for item in self.records if item.identifier.prefix == holder.prefix)

    def assertions_of(self, holder: Holder) -> tuple[Assertion, ...]:
        """Return what a holder asserts, in order."""
        return tuple(item for item in self.assertions if item.asserter.prefix == holder.prefix)

    def only(self, wanted: Callable[[Identifier], bool]) -> Plan:
        """Return the plan of these identifiers alone, without the links that lead to others of it.

        A holder that nothing is left of is left out, so that no prefix is allocated for him.
        """
        left = {item.identifier for item in self.records if not wanted(item.identifier)}
        records = tuple(item for item in self.records if item.identifier not in left)
        prefixes = {item.identifier.prefix for item in records}
        return replace(
            self,
            holders=tuple(item for item in self.holders if item.prefix in prefixes),
            records=records,
            assertions=tuple(
                item
                for item in self.assertions
                if item.link.upstream not in left and item.link.downstream not in left
            ),
        )

    @property
    def reciprocity(self) -> Reciprocity:
        """How many links both ends assert."""
        return Reciprocity.count(self.assertions)


@dataclass(frozen=True, slots=True)
class Reciprocity:
    """Links by who asserts them.

    `mutual` counts links that both ends assert, whether or not they agree on the quantity;
    `conflicting` counts those among them that do not. Two figures on purpose: in published data
    both ends name the same parts and state different amounts.
    """

    mutual: int
    downstream_only: int
    upstream_only: int
    conflicting: int

    @classmethod
    def count(cls, assertions: Iterable[Assertion]) -> Reciprocity:
        """Count over standing assertions."""
        by_link: dict[Link, list[Assertion]] = {}
        for assertion in assertions:
            by_link.setdefault(assertion.link, []).append(assertion)
        found: Counter[str] = Counter()
        for standing in by_link.values():
            verdict = link_state(standing)
            found[verdict if verdict in (MUTUAL, CONFLICTING) else standing[0].side] += 1
        return cls(
            mutual=found[MUTUAL] + found[CONFLICTING],
            downstream_only=found[DOWNSTREAM],
            upstream_only=found[UPSTREAM],
            conflicting=found[CONFLICTING],
        )

    @property
    def links(self) -> int:
        """All links."""
        return self.mutual + self.one_sided

    @property
    def one_sided(self) -> int:
        """Links that one end alone asserts."""
        return self.downstream_only + self.upstream_only
