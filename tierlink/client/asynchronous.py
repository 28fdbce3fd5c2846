"""The asynchronous client: method for method the blocking one, for `async` programs."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Self, TypeVar

import httpx

from schemas.chain import Trust
from schemas.grant import Grant
from schemas.identifier import Identifier, Prefix
from schemas.keys import Signer
from schemas.link import UPSTREAM, Assertion
from schemas.notice import Notice
from schemas.record import Record
from schemas.source import Fetched

from . import batch, custody, deliveries, epcis, grants, notices, prefixes, reading, writing
from .answer import Answer, Resolution
from .batch import LINKS, RECORDS, Chunks, Item, Result
from .call import Retry, Steps, as_prefix
from .context import Context, TrustSource
from .custody import WAIT_SECONDS, Exchange, Revoked
from .deliveries import OnItsWay
from .epcis import Captured
from .grants import Granted
from .meant import Draft
from .notices import Recalled
from .prefixes import ApiKey, Key, PrefixView, as_signers
from .reading import RESOLVE_CHUNK, Asking, Listed, Page, Proof, StandingLink, Version
from .statement import Gathering
from .trace import Trace
from .wire import AsyncCarrier
from .writing import Asserted, Registered

T = TypeVar("T")
Progress = Callable[[int], object]


class AsyncClient:
    """A node of tierlink, as one party talks to it; all its methods may run at once in one loop.

    `trust` is what answers are judged by: a Trust, the path of a trust.json, or "fetch", which
    trusts the first bundle that this very server gives (trust on first use; choose it knowingly).
    Without it only what is not verified can be done: writes, prefixes, and traces unproved.

    `api_key` speaks for one prefix. With `signer`, records and links are signed here and only
    envelopes are sent; without, the registry signs with the key it hosts for the prefix.

    Whatever fails raises an exception of `schemas.errors`; nobody reached, `Unavailable`.
    """

    def __init__(
        self,
        base_url: str,
        *,
        trust: TrustSource = None,
        api_key: str | None = None,
        signer: Signer | None = None,
        now: Callable[[], float] = time.time,
        retry: Retry | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._context = Context.of(trust, signer, now)
        self._carrier = AsyncCarrier(base_url, api_key, retry=retry or Retry(), transport=transport)
        self._run = self._carrier.run

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._carrier.close()

    # reading

    async def resolve(
        self, identifier: Identifier | str, *, proof: str | None = None, named: bool = False
    ) -> Answer:
        """Resolve one identifier; raise IdentifierNotFound, Retired, PrefixSuspended, VerifyError.

        What has expired is returned and says so: `answer.verified.current` is False. `named` sends
        the API key along, and the answer shows what its holder may see besides.
        """
        return await self._run(reading.resolve(self._context, identifier, proof, named=named))

    async def proof(self, identifier: Identifier | str, *, at: int | None = None) -> Proof:
        """Return what the transparency log proves of an identifier, verified; keep its `raw`.

        `at` is a time in Unix seconds: what was the newest then, judged at that time. That nothing
        is registered is proved as well. Raises VerifyError; NotFound where the prefix is unknown
        or the log is younger; Unavailable where a write is in no published epoch after all tries.
        """
        return await self._run(reading.proof(self._context, identifier, at))

    async def resolve_many(
        self,
        identifiers: Iterable[Identifier | str] | AsyncIterable[Identifier | str],
        *,
        progress: Progress | None = None,
    ) -> AsyncIterator[Resolution]:
        """Resolve any number, in order, as they are asked for; one that fails fails alone."""
        count = 0
        waiting: list[Identifier | str] = []
        async for identifier in _each(identifiers):
            waiting.append(identifier)
            if len(waiting) == RESOLVE_CHUNK:
                for found in await self._run(reading.resolve_chunk(self._context, waiting)):
                    yield found
                count += len(waiting)
                waiting = []
                _tell(progress, count)
        if waiting:
            for found in await self._run(reading.resolve_chunk(self._context, waiting)):
                yield found
            _tell(progress, count + len(waiting))

    async def envelope(self, identifier: Identifier | str) -> Version:
        """Return the record that answers for an identifier, its own or a class's, as signed."""
        return await self._run(reading.envelope(self._context, identifier))

    async def record(self, identifier: Identifier | str) -> Version:
        """Return the newest version of an identifier's own record."""
        return await self._run(reading.record(self._context, identifier))

    def versions(
        self, identifier: Identifier | str, *, limit: int | None = None
    ) -> AsyncIterator[Version]:
        """Go through the versions of a record, newest first; `limit` is the size of a page."""
        return self._pages(
            lambda cursor: reading.versions(self._context, identifier, cursor, limit)
        )

    def listing(self, prefix: Prefix | str, *, limit: int | None = None) -> AsyncIterator[Listed]:
        """Go through the identifiers under a prefix that the API key holds."""
        return self._pages(lambda cursor: reading.listing(as_prefix(prefix), cursor, limit))

    def links(
        self,
        identifier: Identifier | str,
        *,
        direction: str | None = None,
        link_type: str | None = None,
        limit: int | None = None,
        named: bool = False,
        purpose: str | None = None,
    ) -> AsyncIterator[StandingLink]:
        """Go through the links of an identifier, each assertion verified.

        `named` sends the API key along, and shows what is for its holder besides.
        """
        return self._pages(
            lambda cursor: reading.links(
                self._context,
                identifier,
                direction=direction,
                link_type=link_type,
                cursor=cursor,
                limit=limit,
                asking=Asking(named, purpose),
            )
        )

    async def trace(
        self,
        identifier: Identifier | str,
        *,
        direction: str = UPSTREAM,
        depth: int | None = None,
        limit: int | None = None,
        named: bool = False,
        purpose: str | None = None,
        across: bool = True,
        deadline_ms: int | None = None,
        at: str | None = None,
        as_of: str | None = None,
    ) -> Trace:
        """Walk the links of an identifier. What is verified of it: see `tierlink.client.trace`.

        `named` sends the API key along, and shows what is for its holder besides. Without `across`
        what other nodes serve is shown, and told where to walk on from it. After `deadline_ms`
        milliseconds, 2,000 where not given, the walk ends with what it has. `at` and `as_of`, RFC
        3339 or Unix seconds, ask for what held, and for what the node knew, at a time.
        """
        asking = Asking(named, purpose, across, deadline_ms, at, as_of)
        return await self._run(
            reading.trace(self._context, identifier, direction, depth, limit, asking=asking)
        )

    async def trust_document(self) -> bytes:
        """Return the server's trust bundle, to be stored once its root has been compared."""
        return await self._run(reading.trust_document())

    async def trust(self) -> Trust:
        """Return what answers are judged by, with the delegations learned since."""
        return await self._run(self._context.trust())

    async def _pages(self, page: Callable[[str | None], Steps[Page[T]]]) -> AsyncIterator[T]:
        cursor: str | None = None
        while True:
            found = await self._run(page(cursor))
            for item in found.items:
                yield item
            cursor = found.cursor
            if cursor is None:
                return

    # writing

    async def register(self, record: Record | Draft | str) -> Registered:
        """Register one record: a Record, a draft, or an envelope signed elsewhere."""
        return await self._run(writing.register(self._context, record))

    async def update(
        self, record: Record | Draft, *, if_match: int | str | None = None
    ) -> Registered:
        """Replace what an identifier resolves to; `if_match` is the version that you have seen."""
        return await self._run(writing.update(self._context, record, if_match))

    async def retire(
        self, identifier: Identifier | str, *, if_match: int | str | None = None
    ) -> Registered:
        """Retire an identifier for good."""
        return await self._run(writing.retire(self._context, identifier, if_match))

    async def link(self, assertion: Assertion | Draft | str) -> Asserted:
        """Assert a link from one end."""
        return await self._run(writing.link(self._context, assertion))

    async def withdraw(self, assertion: Assertion | Draft) -> Asserted:
        """Take back what one end said of a link."""
        return await self._run(writing.withdraw(self._context, assertion))

    def register_many(
        self,
        records: Iterable[Item] | AsyncIterable[Item],
        *,
        statement: bool = False,
        progress: Progress | None = None,
    ) -> AsyncIterator[Result]:
        """Register any number; give a result for each, in order, as it arrives.

        With `statement` one signature is made for up to a million that follow each other, before
        the first is sent (`tierlink.client.statement`).
        """
        return self._batch(records, RECORDS, progress, statement=statement)

    def link_many(
        self,
        assertions: Iterable[Item] | AsyncIterable[Item],
        *,
        statement: bool = False,
        progress: Progress | None = None,
    ) -> AsyncIterator[Result]:
        """Assert any number of links; give a result for each, in order, as it arrives."""
        return self._batch(assertions, LINKS, progress, statement=statement)

    def load_many(
        self,
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        statement: bool = False,
        progress: Progress | None = None,
    ) -> AsyncIterator[Result]:
        """Register records and assert links as they come, such as an export has them."""
        return self._batch(items, None, progress, statement=statement)

    async def _batch(
        self,
        items: Iterable[Item] | AsyncIterable[Item],
        route: str | None,
        progress: Progress | None,
        *,
        statement: bool,
    ) -> AsyncIterator[Result]:
        chunks = Chunks(self._context, route)
        count = 0
        given = _each(items)
        if statement:
            given = _together(self._context, given)
        async for chunk in chunks.of_async(given):
            results = await self._run(batch.send(self._context, chunk))
            for result in results:
                yield result
            count += len(results)
            _tell(progress, count)

    # events

    async def capture(
        self, document: bytes, *, proceed: bool = False, lenient: bool = False
    ) -> Captured:
        """Capture EPCIS 2.0 events as statements of links; the key must be hosted.

        `proceed` goes on without events that are refused; `lenient` takes GS1 keys whose check
        digit is wrong. What was captured before changes nothing.
        """
        return await self._run(epcis.capture(document, proceed=proceed, lenient=lenient))

    # grants

    async def grant(self, given: Grant | Mapping[str, object]) -> Granted:
        """Open links of one's own to others: a Grant, or a draft as POST /v1/grants takes it."""
        return await self._run(grants.grant(self._context, given))

    async def revoke_grant(self, grantor: Prefix | str, name: str) -> Granted:
        """Take a grant back."""
        return await self._run(grants.revoke(self._context, grantor, name))

    async def grants(self, grantor: Prefix | str) -> tuple[Granted, ...]:
        """Return the grants of a holder: all to himself, to others those that are theirs."""
        return await self._run(grants.listing(grantor))

    async def received_grants(self) -> tuple[Granted, ...]:
        """Return what holders at other nodes grant to the holder whose API key is sent."""
        return await self._run(grants.received())

    # notices

    async def recall(self, given: Notice | Mapping[str, object]) -> Recalled:
        """Recall what is one's own: a Notice, or a draft as POST /v1/notices takes it."""
        return await self._run(notices.recall(self._context, given))

    async def lift_recall(self, issuer: Prefix | str, name: str) -> Recalled:
        """Take a recall back."""
        return await self._run(notices.lift(self._context, issuer, name))

    async def recalls(self, issuer: Prefix | str) -> tuple[Recalled, ...]:
        """Return the recall notices of a holder, lifted ones too."""
        return await self._run(notices.listing(issuer))

    # between nodes

    async def deliveries(self) -> tuple[OnItsWay, ...]:
        """Return one's own statements that the nodes of their far ends were not told of yet."""
        return await self._run(deliveries.listing())

    # prefixes

    async def allocate(
        self,
        prefix: Prefix | str,
        organisation: str,
        *,
        uscc: str | None = None,
        lei: str | None = None,
        keys: Sequence[Key] = (),
        issuer: Signer | Sequence[Signer] | None = None,
        node: str | None = None,
        next_keys: Sequence[str] = (),
        thresholds: Mapping[str, int] | None = None,
        idempotency_key: str | None = None,
    ) -> PrefixView:
        """Allocate a prefix below the caller's; without keys the registry makes and hosts one.

        `issuer` is the parent's key, or several, where it is not hosted. `next_keys` are the
        thumbprints of rotate keys that may come next, `thresholds` how many keys sign for a use.
        The reply has the API key, once.
        """
        return await self._run(
            prefixes.allocate(
                self._context,
                prefix,
                organisation,
                uscc=uscc,
                lei=lei,
                keys=keys,
                issuer=issuer,
                node=node,
                next_keys=next_keys,
                thresholds=thresholds,
                key=idempotency_key,
            )
        )

    async def delegate(
        self,
        prefix: Prefix | str,
        keys: Sequence[Key] = (),
        *,
        issuer: Signer | Sequence[Signer] | None = None,
        next_keys: Sequence[str] = (),
        thresholds: Mapping[str, int] | None = None,
    ) -> PrefixView:
        """Delegate a prefix anew with other keys, as its parent."""
        exchange = Exchange(keys, next_keys, thresholds)
        steps = custody.delegate(self._context, prefix, exchange, as_signers(issuer))
        return await self._run(steps)

    async def rotate(
        self,
        prefix: Prefix | str,
        exchange: Exchange | None = None,
        *,
        signer: Signer | Sequence[Signer] | None = None,
    ) -> PrefixView:
        """Exchange one's own keys: hosted ones, or by `signer`, the rotate keys that stand."""
        steps = custody.rotate(self._context, prefix, exchange or Exchange(), as_signers(signer))
        return await self._run(steps)

    async def revoke(
        self,
        prefix: Prefix | str,
        kid: str,
        *,
        reason: str = "unspecified",
        since: int | None = None,
        signer: Signer | Sequence[Signer] | None = None,
    ) -> PrefixView:
        """Revoke a key from a place in the log on, as its holder or its parent."""
        revoked = Revoked(kid, reason, since)
        return await self._run(custody.revoke(self._context, prefix, revoked, as_signers(signer)))

    async def recover(
        self,
        prefix: Prefix | str,
        exchange: Exchange | None = None,
        *,
        issuer: Signer | Sequence[Signer] | None = None,
        wait: int = WAIT_SECONDS,
    ) -> PrefixView:
        """Announce, as the parent, that a prefix goes to other keys."""
        steps = custody.recover(
            self._context, prefix, exchange or Exchange(), as_signers(issuer), wait
        )
        return await self._run(steps)

    async def complete_recovery(self, prefix: Prefix | str) -> PrefixView:
        """Put an announced recovery in force when it has waited, as the parent."""
        return await self._run(custody.complete(self._context, prefix))

    async def cancel_recovery(
        self, prefix: Prefix | str, *, signer: Signer | Sequence[Signer] | None = None
    ) -> PrefixView:
        """Give a recovery up, as the parent; or object to it, as the holder with a rotate key."""
        return await self._run(custody.cancel(self._context, prefix, as_signers(signer)))

    async def rotate_root(self, root: str | None = None) -> PrefixView:
        """Submit the next root version, as the operator; without one a hosted one is made."""
        return await self._run(custody.rotate_root(self._context, root))

    async def source(
        self, identifiers: Sequence[Identifier | str], *, whole: bool = False
    ) -> Fetched:
        """Return what this node itself has on identifiers, as other nodes ask; unverified."""
        return await self._run(reading.source(identifiers, whole=whole))

    async def roots(self) -> tuple[str, ...]:
        """Return the root versions that the node shows, the first one first, unverified."""
        return await self._run(custody.roots())

    async def challenge(self, prefix: Prefix | str, kid: str) -> str:
        """Return a nonce for a key that is to be registered under a prefix."""
        return await self._run(prefixes.challenge(self._context, prefix, kid))

    async def prefix(self, prefix: Prefix | str) -> PrefixView:
        """Return who holds a prefix."""
        return await self._run(prefixes.show(prefix))

    def prefixes(
        self, parent: Prefix | str | None = None, *, limit: int | None = None
    ) -> AsyncIterator[PrefixView]:
        """Go through the prefixes, all of them or those right below a parent."""
        return self._pages(lambda cursor: prefixes.listing(parent, cursor, limit))

    async def suspend(self, prefix: Prefix | str) -> PrefixView:
        """Stop a prefix and everything below it, until it is resumed."""
        return await self._run(prefixes.switch(self._context, prefix, "suspend"))

    async def resume(self, prefix: Prefix | str) -> PrefixView:
        """Let a suspended prefix act and answer again."""
        return await self._run(prefixes.switch(self._context, prefix, "resume"))

    async def make_api_key(self, prefix: Prefix | str, *, label: str = "") -> ApiKey:
        """Make another API key for the prefix that the present one speaks for."""
        return await self._run(prefixes.make_api_key(self._context, prefix, label))


def _tell(progress: Progress | None, count: int) -> None:
    if progress is not None:
        progress(count)


async def _together(context: Context, items: AsyncIterator[Item]) -> AsyncIterator[Item]:
    with Gathering(context) as gathering:
        async for item in items:
            for ready in gathering.push(item):
                yield ready
        for ready in gathering.end():
            yield ready


async def _each(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
