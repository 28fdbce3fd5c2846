"""Links: two parties' independent signed assertions over one link key.

Signed members (`typ` tierlink-link+jws); absent means not there, never null:

    v 1 · side · ver · prev · iat · state · type · upstream · downstream · lifecycle · occurrence
    · quantity {value, unit} · nbf · exp · evidence [{type, id, href}]

`upstream` is the supply side (component, input), `downstream` the customer side (assembly,
output). `side` says which end speaks, and its key must hold that end's prefix. The link key is
SHA-256 over {type, upstream, downstream, lifecycle, occurrence}: what both ends must agree on
without ever sharing a database. Quantity, validity and evidence are each end's own words.
`ver` and `prev` chain the assertions of one side over one key; `state` withdrawn takes back.
What both sides said last makes the state of the link: see `link_state`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal

from . import canonical
from .canonical import JsonObject
from .claims import Members, without_empty
from .envelope import LINK, Envelope, sign
from .errors import BadLink, VerifyError
from .identifier import Identifier
from .keys import B64, Signer, b64encode, sha256
from .signed import parse
from .target import MAX_HREF, check_href

UPSTREAM, DOWNSTREAM = "upstream", "downstream"
SIDES = frozenset({UPSTREAM, DOWNSTREAM})
TYPES = frozenset(
    {
        "CONSUMED_INTO",
        "CONTAINED_IN",
        "ATTACHED_TO",
        "INSTANCE_OF",
        "DERIVED_FROM",
        "SAME_AS",
        "SHIPPED_AS",
    }
)
LIFECYCLES = frozenset({"asSpecified", "asPlanned", "asBuilt", "asMaintained"})
ASSERTED, WITHDRAWN = "asserted", "withdrawn"
STATES = frozenset({ASSERTED, WITHDRAWN})

# Of a link; the fourth is WITHDRAWN.
PROPOSED, MUTUAL, CONFLICTING = "proposed", "mutual", "conflicting"

MAX_EVIDENCE = 16

_DECIMAL = re.compile(r"(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,9})?")
_UNIT = re.compile(r"[A-Z0-9]{1,3}")


@dataclass(frozen=True, slots=True)
class Quantity:
    """An amount: a decimal string, as signed, and a unit code of UNECE Recommendation 20."""

    value: str
    unit: str

    def agrees(self, other: Quantity) -> bool:
        """Tell whether two amounts are the same number of the same unit."""
        return self.unit == other.unit and Decimal(self.value) == Decimal(other.value)

    def claims(self) -> dict[str, object]:
        """Return the signed members."""
        return {"value": self.value, "unit": self.unit}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an assertion rests on: an event hash, a document."""

    kind: str
    id: str
    href: str = ""

    def claims(self) -> dict[str, object]:
        """Return the signed members."""
        return without_empty({"type": self.kind, "id": self.id, "href": self.href})


@dataclass(frozen=True, slots=True)
class Link:
    """The typed edge itself: what its key is made of."""

    type: str
    upstream: Identifier
    downstream: Identifier
    lifecycle: str = "asBuilt"
    occurrence: str = ""

    @property
    def key(self) -> B64:
        """The link key, base64url SHA-256 of the canonical members."""
        return b64encode(sha256(canonical.encode(self.claims())))

    def claims(self) -> dict[str, object]:
        """Return the members under the key; `occurrence` is always there, empty or not."""
        return {
            "type": self.type,
            "upstream": self.upstream.text,
            "downstream": self.downstream.text,
            "lifecycle": self.lifecycle,
            "occurrence": self.occurrence,
        }

    def end(self, side: str) -> Identifier:
        """Return the identifier at one end."""
        return self.upstream if side == UPSTREAM else self.downstream


@dataclass(frozen=True, slots=True)
class Assertion:
    """One party's statement of a link, in one version."""

    link: Link
    side: str
    issued_at: int
    version: int = 1
    prev: B64 | None = None
    state: str = ASSERTED
    quantity: Quantity | None = None
    valid_from: int | None = None
    valid_until: int | None = None
    evidence: tuple[Evidence, ...] = ()

    @property
    def asserter(self) -> Identifier:
        """The end that speaks."""
        return self.link.end(self.side)

    @property
    def far(self) -> Identifier:
        """The other end."""
        return self.link.end(DOWNSTREAM if self.side == UPSTREAM else UPSTREAM)

    def claims(self) -> dict[str, object]:
        """Return the members to sign."""
        members = without_empty(
            {
                "prev": self.prev,
                "quantity": self.quantity.claims() if self.quantity else None,
                "nbf": self.valid_from,
                "exp": self.valid_until,
                "evidence": [item.claims() for item in self.evidence],
            }
        )
        return {
            "v": 1,
            "side": self.side,
            "ver": self.version,
            "iat": self.issued_at,
            "state": self.state,
            **self.link.claims(),
            **members,
        }

    def sign(self, signer: Signer) -> str:
        """Return the envelope."""
        return sign(LINK, self.claims(), signer)

    def withdrawal(self, prev: B64, issued_at: int) -> Assertion:
        """Return the version that takes this assertion back."""
        return Assertion(
            self.link,
            self.side,
            issued_at,
            version=self.version + 1,
            prev=prev,
            state=WITHDRAWN,
        )

    def same_content(self, other: Assertion) -> bool:
        """Tell whether two assertions differ in nothing but version and time of issue."""
        return (
            replace(self, issued_at=0, version=1, prev=None).claims()
            == replace(other, issued_at=0, version=1, prev=None).claims()
        )


def parse_assertion(token: object) -> tuple[Envelope, Assertion]:
    """Read a signed assertion of either form, its signature unchecked.

    Raise VerifyError or BadLink.
    """
    envelope = parse(token, LINK)
    return envelope, read_assertion(envelope.claims)


def read_assertion(claims: JsonObject) -> Assertion:
    """Read the signed members of an assertion; raise BadLink or BadIdentifier."""
    members = Members(claims, BadLink)
    members.take("v")
    version = members.integer("ver", 1)
    prev = members.prev(version)
    issued_at = members.integer("iat")
    state = members.choice("state", STATES)
    assertion = _content(members, issued_at)
    members.done()
    return replace(assertion, version=version, prev=prev, state=state)


def read_draft_assertion(claims: JsonObject, issued_at: int) -> Assertion:
    """Read an unsigned assertion (no ver, prev, iat, state) as version 1; raise BadLink."""
    members = Members(claims, BadLink)
    assertion = _content(members, issued_at)
    members.done()
    return assertion


def _content(members: Members, issued_at: int) -> Assertion:
    side = members.choice("side", SIDES)
    link = Link(
        members.choice("type", TYPES),
        members.identifier(UPSTREAM),
        members.identifier(DOWNSTREAM),
        members.choice("lifecycle", LIFECYCLES, "asBuilt"),
        _occurrence(members),
    )
    if link.upstream == link.downstream:
        raise members.fail("downstream", "is the upstream itself", link.upstream.text)
    valid_from, valid_until = members.maybe_integer("nbf"), members.maybe_integer("exp")
    if valid_from is not None and valid_until is not None and valid_from >= valid_until:
        raise members.fail("exp", "is not after nbf", valid_until)
    quantity = members.take("quantity")
    return Assertion(
        link,
        side,
        issued_at,
        quantity=None if quantity is None else _quantity(members, quantity),
        valid_from=valid_from,
        valid_until=valid_until,
        evidence=members.array(
            "evidence", MAX_EVIDENCE, lambda item, where: _evidence(members, item, where)
        ),
    )


def _occurrence(members: Members) -> str:
    # Part of the key, so always in the signed bytes, and mostly empty.
    return "" if members.take("occurrence") == "" else members.maybe_text("occurrence", 128) or ""


def _quantity(outer: Members, value: object) -> Quantity:
    members = outer.inner(value, "quantity.")
    amount, unit = members.text("value", 32), members.text("unit", 3)
    members.done()
    if not _DECIMAL.fullmatch(amount):
        raise members.fail("value", 'is not a plain decimal string such as "0.19"', amount)
    if not _UNIT.fullmatch(unit):
        raise members.fail("unit", "is not a UNECE Rec 20 code such as KGM or H87", unit)
    return Quantity(amount, unit)


def _evidence(outer: Members, value: object, where: str) -> Evidence:
    members = outer.inner(value, where)
    href = members.maybe_text("href", MAX_HREF) or ""
    item = Evidence(
        members.text("type", 32),
        members.text("id", 512),
        check_href(members, href, href) if href else "",
    )
    members.done()
    return item


def link_state(statements: Iterable[Assertion]) -> str:
    """Judge what the ends of one link say last, each at most once; raise VerifyError E_LINK.

    proposed      one end asserts it, the other has never spoken
    mutual        both assert it, and do not state different quantities
    conflicting   both assert it, with different quantities
    withdrawn     an end took back what it had asserted
    """
    said = tuple(statements)
    sides = {statement.side: statement for statement in said}
    if len({statement.link for statement in said}) != 1:
        raise VerifyError("E_LINK", "a state belongs to one link, and these statements do not")
    if len(sides) != len(said):
        raise VerifyError("E_LINK", "one side of a link speaks twice")
    if any(statement.state == WITHDRAWN for statement in said):
        return WITHDRAWN
    if len(sides) < len(SIDES):
        return PROPOSED
    up, down = sides[UPSTREAM].quantity, sides[DOWNSTREAM].quantity
    if up is not None and down is not None and not up.agrees(down):
        return CONFLICTING
    return MUTUAL


def stands(statements: Iterable[Assertion]) -> bool:
    """Tell whether any end stands behind a link: without one there is none to be shown."""
    return any(statement.state == ASSERTED for statement in statements)
