"""Statements of which one version stands at a time: what grants and notices have in common.

To state one, in these steps; the first and the last are told where each kind is:

1. the caller holds the prefix of who states it
2. that prefix stands, and its chain of delegations is valid now
3. a client's envelope verifies under the chain; what the hosted key signs for drafts would
4. the version it becomes, if it changes anything. The first is 1; each next is one more and names
   the digest of the one before. The same content again changes nothing. A client signs the version
   himself, so it must fit; a draft of other content becomes the next one
5. that is stored, and told of

(Links have two sides and rules of their own: `assertions`.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from registry import prefixes
from registry.keyring import Keyring
from registry.store.engine import ReadTx
from registry.store.versions import Row
from schemas.canonical import JsonObject
from schemas.chain import Chain
from schemas.claims import Members
from schemas.delegation import RECORD_USE
from schemas.envelope import Envelope, digest
from schemas.errors import BadInput, KeyNotHosted, TierlinkError, VerifyError, VersionStale
from schemas.grant import Grant
from schemas.identifier import Prefix
from schemas.keys import B64, Signer
from schemas.notice import Notice
from schemas.successor import SKEW_SECONDS

S = TypeVar("S", Grant, Notice)


@dataclass(frozen=True, slots=True)
class Offer(Generic[S]):
    """What a caller wants to state: signed by himself, or a draft for the hosted key."""

    said: S
    envelope: Envelope | None = None


@dataclass(frozen=True, slots=True)
class Settled(Generic[S]):
    """What is stated now; `changed` tells whether the offer made it so, `before` what was."""

    said: S
    token: str
    digest: B64
    changed: bool = True
    before: S | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a holder's; `after` is the id behind which the next page begins."""

    rows: tuple[Row, ...]
    after: str | None

    @classmethod
    def of(cls, rows: Sequence[Row], limit: int) -> Page:
        """Return the page of rows of which one more was read than it holds."""
        page = tuple(rows[:limit])
        return cls(page, page[-1].id if len(rows) > limit else None)


@dataclass(frozen=True, slots=True)
class Kind(Generic[S]):
    """How statements of one kind are read and checked; `word` is what one is called."""

    word: str
    malformed: type[BadInput]
    draft: Callable[[JsonObject, int], S]
    parse: Callable[[object], tuple[Envelope, S]]
    check: Callable[[Envelope, S, Chain], None]

    def read(self, body: JsonObject, now: int) -> Offer[S]:
        """Read `{"envelope": …}` or a draft; raise BadInput."""
        if "envelope" not in body:
            return Offer(self.draft(body, now))
        members = Members(body, self.malformed)
        token = members.take("envelope")
        members.done()
        envelope, said = self.parse(token)
        return Offer(said, envelope)

    async def settle(
        self,
        tx: ReadTx,
        keyring: Keyring,
        holder: Prefix,
        offer: Offer[S],
        standing: Row | None,
        *,
        now: int,
    ) -> Settled[S]:
        """Take steps 2 to 4, `standing` being what is stored of its id; raise what refuses it."""
        # 2
        chain = await prefixes.chain(tx, holder)
        chain.check_time(now)
        # 3
        signer: Signer | TierlinkError = KeyNotHosted("no draft is signed here")
        if offer.envelope is None:
            signer = await keyring.signer(tx, holder, RECORD_USE)
        else:
            issued_at = offer.said.issued_at
            if issued_at > now + SKEW_SECONDS:
                raise VerifyError(
                    "E_TIME", f"the {self.word} is issued in the future", value=issued_at
                )
            self.check(offer.envelope, offer.said, chain)
        # 4
        before = None if standing is None else self.parse(standing.envelope)[1]
        token = None if standing is None else standing.envelope
        return _become(offer, before, token, signer, now)


def _become(
    offer: Offer[S],
    before: S | None,
    standing: str | None,
    signer: Signer | TierlinkError,
    now: int,
) -> Settled[S]:
    """Decide what stands after an offer, `standing` being the envelope of what stood before.

    Raise VersionStale where a client's version does not follow, and why no draft can be signed.
    """
    said = offer.said
    prev = None if standing is None else digest(standing)
    if offer.envelope is not None:
        if standing is not None and offer.envelope.digest == prev:
            return Settled(said, standing, offer.envelope.digest, changed=False, before=before)
        expected = 1 if before is None else before.version + 1
        if (said.version, said.prev) != (expected, prev):
            raise VersionStale(
                f"what was sent is version {said.version}, and {expected} is next",
                value=said.version,
                fix=f"sign ver {expected} with prev {prev or 'left out'}",
            )
        return Settled(said, offer.envelope.token, offer.envelope.digest, before=before)
    if before is not None and standing is not None and prev is not None:
        if _same(said, before):
            return Settled(before, standing, prev, changed=False, before=before)
        said = replace(said, version=before.version + 1, prev=prev, issued_at=now)
    if isinstance(signer, TierlinkError):
        raise signer
    token = said.sign(signer)
    return Settled(said, token, digest(token), before=before)


def _same(one: Grant | Notice, other: Grant | Notice) -> bool:
    """Tell whether two statements differ in nothing but version and time of issue."""
    apart = ("ver", "prev", "iat")
    first, second = one.claims(), other.claims()
    return {k: v for k, v in first.items() if k not in apart} == {
        k: v for k, v in second.items() if k not in apart
    }
