"""What the two ends of a link and the owner of a record say, once it has verified.

Parsing is pure, so what it yields is remembered under any chain; whether a signature holds under
the chain of its prefix is remembered by `resolver.trust`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from schemas.answer import check_end, covers, parse_stated
from schemas.envelope import LINK, Envelope
from schemas.errors import BadInput, IdentifierNotFound, PrefixSuspended, VerifyError
from schemas.identifier import Identifier, Prefix
from schemas.link import SIDES, Assertion, Link, stands
from schemas.record import ITEM, Record, parse_record
from schemas.signed import parse
from schemas.source import Edge, Found, State

from .traced import Described
from .trust import Offered
from .walk import Broken, Stated

PARSED = 16_384  # parsed envelopes of each type kept


class Statements:
    """Reads statements; owns the memory of what it parsed."""

    def __init__(self) -> None:
        self._link = lru_cache(maxsize=PARSED)(_parse_link)
        self._record = lru_cache(maxsize=PARSED)(_parse_record)

    def stated(
        self, edge: Edge, near: Identifier, offered: Offered
    ) -> tuple[Stated | None, tuple[Broken, ...]]:
        """Return what verifies of a link, and who failed with what.

        None where no end stands behind it: a withdrawal that is left alone states no link.
        """
        said: dict[str, tuple[Assertion, str]] = {}
        broken: list[Broken] = []
        for token in edge.assertions:
            try:
                assertion = self._verified(token, edge.link, offered)
            except VerifyError as err:
                broken.append(Broken(_speaker(token, edge.link, near), err.code))
                continue
            if assertion.side in said:
                broken.append(Broken(assertion.asserter, "E_LINK"))
            else:
                said[assertion.side] = (assertion, token)
        statements = tuple(assertion for assertion, _ in said.values())
        if not stands(statements):
            broken += [Broken(assertion.asserter, "E_LINK") for assertion in statements]
            return None, tuple(broken)
        tokens = tuple(token for _, token in said.values())
        chain = offered.evidence(assertion.asserter.prefix for assertion in statements)
        return Stated(edge.link, statements, tokens, chain), tuple(broken)

    def _verified(self, token: str, link: Link, offered: Offered) -> Assertion:
        envelope, assertion = self._link(token)
        check_end(envelope, assertion, offered.check)
        if assertion.link != link:
            raise VerifyError("E_LINK", "the assertion is of another link")
        return assertion

    def describe(self, node: Identifier, found: Found | None, offered: Offered) -> Described:
        """Return kind and status from the record that answers for a node."""
        if found is None or found.state is State.MISSING:
            return Described(code=IdentifierNotFound.code)
        if found.state is State.PREFIX_SUSPENDED:
            return Described(code=PrefixSuspended.code)
        if found.elsewhere is not None and found.elsewhere.failure is not None:
            return Described(code=found.elsewhere.failure.code, away=True)
        if found.state in {State.FOREIGN, State.NOWHERE} or not found.records:
            return Described()
        try:
            envelope, record = self._record(found.records[0])
            offered.check(envelope, record.identifier.prefix, record.issued_at, record.kind)
            return replace(_described(node, record), away=found.elsewhere is not None)
        except VerifyError as err:
            return Described(code=err.code, away=found.elsewhere is not None)


def _described(node: Identifier, record: Record) -> Described:
    if record.identifier == node:
        return Described(record.kind, record.status)
    if covers(record, node):
        return Described(ITEM, record.status, cover=record.identifier.text)
    raise VerifyError("E_ID", f"the record is of {record.identifier}, not of {node}")


def _parse_link(token: str) -> tuple[Envelope, Assertion]:
    """Read what one end says of a link, its signature unchecked; raise VerifyError."""
    read: list[Envelope] = []

    def keep(envelope: Envelope, _prefix: Prefix, _at: int, _kind: str | None) -> None:
        read.append(envelope)

    assertion = parse_stated(token, keep)
    return read[0], assertion


def _parse_record(token: str) -> tuple[Envelope, Record]:
    """Read a record, its signature unchecked; raise VerifyError."""
    try:
        return parse_record(token)
    except VerifyError:
        raise
    except BadInput as err:
        raise VerifyError("E_FORMAT", err.detail, value=err.value) from None


def _speaker(token: str, link: Link, otherwise: Identifier) -> Identifier:
    """Tell whose statement failed: the end it claims to come from, where it can be read at all."""
    try:
        side = parse(token, LINK).claims.get("side")
    except VerifyError:
        return otherwise
    return link.end(side) if isinstance(side, str) and side in SIDES else otherwise
