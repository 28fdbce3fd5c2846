"""Which version of an assertion a statement becomes: decided here, without I/O; stored by `links`.

The first version of a side is 1; each next is one more and names the digest of the one before. The
same content again changes nothing. A client signs the version himself, so it must fit; a draft of
other content becomes the next one, signed with the hosted key.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from schemas.canonical import JsonObject
from schemas.claims import Members
from schemas.envelope import Envelope, digest
from schemas.errors import BadLink, NotFound, TierlinkError, VersionStale
from schemas.identifier import Identifier
from schemas.keys import B64, Signer
from schemas.link import (
    ASSERTED,
    STATES,
    WITHDRAWN,
    Assertion,
    parse_assertion,
    read_draft_assertion,
)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a caller wants to state: signed by himself, or a draft for the hosted key.

    `first`: a draft's envelope should it become the first version, where that was signed ahead.
    """

    assertion: Assertion
    envelope: Envelope | None = None
    first: str | None = None

    @property
    def near(self) -> Identifier:
        """The end that speaks."""
        return self.assertion.asserter


@dataclass(frozen=True, slots=True)
class Stated:
    """What one side of a link states now."""

    assertion: Assertion
    link_key: str
    digest: str
    envelope: str
    changed: bool = False  # by this offer
    stood: bool = False  # asserted before it
    link_state: str = ""  # what this and the other side make of the link

    @property
    def created(self) -> bool:
        """Tell whether the side had never spoken before."""
        return self.changed and self.assertion.version == 1

    @property
    def stands(self) -> bool:
        """Tell whether it asserts the link, rather than take it back."""
        return self.assertion.state == ASSERTED


@dataclass(frozen=True, slots=True)
class Voice:
    """Who signs drafts and when; or why nobody does."""

    signer: Signer | TierlinkError
    now: int

    def sign(self, assertion: Assertion) -> str:
        """Return the envelope; raise why there is none."""
        if isinstance(self.signer, TierlinkError):
            raise self.signer
        return assertion.sign(self.signer)


def read_offer(body: JsonObject, now: int) -> Offer:
    """Read `{"envelope": …}` or a draft, to which `state` may be added; raise BadInput."""
    if "envelope" in body:
        members = Members(body, BadLink)
        token = members.take("envelope")
        members.done()
        envelope, assertion = parse_assertion(token)
        return Offer(assertion, envelope)
    state = Members(body, BadLink).choice("state", STATES, ASSERTED)
    draft = {name: value for name, value in body.items() if name != "state"}
    return Offer(replace(read_draft_assertion(draft, now), state=state))


def settle(offer: Offer, link_key: str, current: str | None, voice: Voice) -> Stated:
    """Decide what a side states after an offer, its newest envelope being `current`.

    Raise VersionStale where a client's version does not follow, NotFound where there is nothing to
    withdraw.
    """
    if current is None:
        return _first(offer, link_key, voice)
    said = offer.assertion
    before, prev = parse_assertion(current)[1], digest(current)
    stood = before.state == ASSERTED
    if offer.envelope is not None and (said.version, said.prev) == (before.version + 1, prev):
        return _new(said, link_key, offer.envelope.token, stood=stood)
    nothing_to_withdraw = offer.envelope is None and said.state == WITHDRAWN and not stood
    if said.same_content(before) or nothing_to_withdraw:
        return Stated(before, link_key, prev, current, stood=stood)
    if offer.envelope is not None:
        raise VersionStale(
            f"version {before.version} stands, and what was sent is not the next",
            value=said.version,
            fix=f"sign ver {before.version + 1} with prev {prev}",
        )
    following = _following(said, before, prev, voice.now)
    return _new(following, link_key, voice.sign(following), stood=stood)


def _following(said: Assertion, before: Assertion, prev: B64, now: int) -> Assertion:
    if said.state == WITHDRAWN:
        return before.withdrawal(prev, now)
    return replace(said, version=before.version + 1, prev=prev, issued_at=now)


def _first(offer: Offer, link_key: str, voice: Voice) -> Stated:
    said = offer.assertion
    if said.version != 1:
        raise VersionStale(
            "this side of the link has stated nothing yet",
            value=said.version,
            fix="sign ver 1 without prev",
        )
    if said.state == WITHDRAWN:
        raise NotFound(
            f"the {said.side} side never asserted this link: there is nothing to withdraw",
            value=link_key,
        )
    ready = offer.first if offer.envelope is None else offer.envelope.token
    return _new(said, link_key, ready or voice.sign(said), stood=False)


def _new(assertion: Assertion, link_key: str, token: str, *, stood: bool) -> Stated:
    return Stated(assertion, link_key, digest(token), token, changed=True, stood=stood)
