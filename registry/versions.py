"""Which version of a grant or notice an offer becomes: decided here, without I/O.

The first version is 1; each next is one more and names the digest of the one before. The same
content again changes nothing. A client signs the version himself, so it must fit; a draft of other
content becomes the next one, signed with the hosted key. (Links have two sides and rules of their
own: `assertions`.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from schemas.envelope import Envelope, digest
from schemas.errors import TierlinkError, VersionStale
from schemas.grant import Grant
from schemas.keys import B64, Signer
from schemas.notice import Notice

S = TypeVar("S", Grant, Notice)


@dataclass(frozen=True, slots=True)
class Offer(Generic[S]):
    """What a caller wants to state: signed by himself, or a draft for the hosted key."""

    said: S
    envelope: Envelope | None = None


@dataclass(frozen=True, slots=True)
class Settled(Generic[S]):
    """What is stated now; `changed` tells whether the offer made it so."""

    said: S
    token: str
    digest: B64
    changed: bool = True


def settle(
    offer: Offer[S],
    standing: str | None,
    parse: Callable[[object], tuple[Envelope, S]],
    signer: Signer | TierlinkError,
    now: int,
) -> Settled[S]:
    """Decide what stands after an offer, `standing` being the newest envelope of its id.

    Raise VersionStale where a client's version does not follow, and why no draft can be signed.
    """
    said = offer.said
    before = None if standing is None else parse(standing)[1]
    prev = None if standing is None else digest(standing)
    if offer.envelope is not None:
        if standing is not None and offer.envelope.digest == prev:
            return Settled(said, standing, offer.envelope.digest, changed=False)
        expected = 1 if before is None else before.version + 1
        if (said.version, said.prev) != (expected, prev):
            raise VersionStale(
                f"what was sent is version {said.version}, and {expected} is next",
                value=said.version,
                fix=f"sign ver {expected} with prev {prev or 'left out'}",
            )
        return Settled(said, offer.envelope.token, offer.envelope.digest)
    if before is not None and standing is not None and prev is not None:
        if _same(said, before):
            return Settled(before, standing, prev, changed=False)
        said = replace(said, version=before.version + 1, prev=prev, issued_at=now)
    if isinstance(signer, TierlinkError):
        raise signer
    token = said.sign(signer)
    return Settled(said, token, digest(token))


def _same(one: Grant | Notice, other: Grant | Notice) -> bool:
    """Tell whether two statements differ in nothing but version and time of issue."""
    apart = ("ver", "prev", "iat")
    first, second = one.claims(), other.claims()
    return {k: v for k, v in first.items() if k not in apart} == {
        k: v for k, v in second.items() if k not in apart
    }
