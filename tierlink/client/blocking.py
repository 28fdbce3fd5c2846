"""The blocking client. Every method is one operation, carried; nothing is decided here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from .wire import Carrier
from .writing import Asserted, Registered

T = TypeVar("T")
Progress = Callable[[int], object]


class Client:
    """A node of tierlink, as one party talks to it. Use it in one thread at a time.

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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._context = Context.of(trust, signer, now)
        self._carrier = Carrier(base_url, api_key, retry=retry or Retry(), transport=transport)
        self._run = self._carrier.run

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._carrier.close()

    # reading

    def resolve(
        self, identifier: Identifier | str, *, proof: str | None = None, named: bool = False
    ) -> Answer:
        """Resolve one identifier; raise IdentifierNotFound, Retired, PrefixSuspended, VerifyError.

        What has expired is returned and says so: `answer.verified.current` is False. `named` sends
        the API key along, and the answer shows what its holder may see besides.
        """
        return self._run(reading.resolve(self._context, identifier, proof, named=named))

    def proof(self, identifier: Identifier | str, *, at: int | None = None) -> Proof:
        """Return what the transparency log proves of an identifier, verified; keep its `raw`.

        `at` is a time in Unix seconds: what was the newest then, judged at that time. That nothing
        is registered is proved as well. Raises VerifyError; NotFound where the prefix is unknown
        or the log is younger; Unavailable where a write is in no published epoch after all tries.
        """
        return self._run(reading.proof(self._context, identifier, at))

    def resolve_many(
        self, identifiers: Iterable[Identifier | str], *, progress: Progress | None = None
    ) -> Iterator[Resolution]:
        """Resolve any number, in order, as they are asked for; one that fails fails alone."""
        count = 0
        waiting: list[Identifier | str] = []
        for identifier in identifiers:
            waiting.append(identifier)
            if len(waiting) == RESOLVE_CHUNK:
                yield from self._run(reading.resolve_chunk(self._context, waiting))
                count += len(waiting)
                waiting = []
                _tell(progress, count)
        if waiting:
            yield from self._run(reading.resolve_chunk(self._context, waiting))
            _tell(progress, count + len(waiting))

    def envelope(self, identifier: Identifier | str) -> Version:
        """Return the record that answers for an identifier, its own or a class's, as signed."""
        return self._run(reading.envelope(self._context, identifier))

    def record(self, identifier: Identifier | str) -> Version:
        """Return the newest version of an identifier's own record."""
        return self._run(reading.record(self._context, identifier))

    def versions(
        self, identifier: Identifier | str, *, limit: int | None = None
    ) -> Iterator[Version]:
        """Go through the versions of a record, newest first; `limit` is the size of a page."""
        return self._pages(
            lambda cursor: reading.versions(self._context, identifier, cursor, limit)
        )

    def listing(self, prefix: Prefix | str, *, limit: int | None = None) -> Iterator[Listed]:
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
    ) -> Iterator[StandingLink]:
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

    def trace(
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
        return self._run(
            reading.trace(self._context, identifier, direction, depth, limit, asking=asking)
        )

    def trust_document(self) -> bytes:
        """Return the server's trust bundle, to be stored once its root has been compared."""
        return self._run(reading.trust_document())

    def trust(self) -> Trust:
        """Return what answers are judged by, with the delegations learned since."""
        return self._run(self._context.trust())

    def _pages(self, page: Callable[[str | None], Steps[Page[T]]]) -> Iterator[T]:
        cursor: str | None = None
        while True:
            found = self._run(page(cursor))
            yield from found.items
            cursor = found.cursor
            if cursor is None:
                return

    # writing

    def register(self, record: Record | Draft | str) -> Registered:
        """Register one record: a Record, a draft, or an envelope signed elsewhere."""
        return self._run(writing.register(self._context, record))

    def update(self, record: Record | Draft, *, if_match: int | str | None = None) -> Registered:
        """Replace what an identifier resolves to; `if_match` is the version that you have seen."""
        return self._run(writing.update(self._context, record, if_match))

    def retire(
        self, identifier: Identifier | str, *, if_match: int | str | None = None
    ) -> Registered:
        """Retire an identifier for good."""
        return self._run(writing.retire(self._context, identifier, if_match))

    def link(self, assertion: Assertion | Draft | str) -> Asserted:
        """Assert a link from one end."""
        return self._run(writing.link(self._context, assertion))

    def withdraw(self, assertion: Assertion | Draft) -> Asserted:
        """Take back what one end said of a link."""
        return self._run(writing.withdraw(self._context, assertion))

    def register_many(
        self,
        records: Iterable[Item],
        *,
        statement: bool = False,
        progress: Progress | None = None,
    ) -> Iterator[Result]:
        """Register any number; give a result for each, in order, as it arrives.

        With `statement` one signature is made for up to a million that follow each other, before
        the first is sent (`tierlink.client.statement`).
        """
        return self._batch(records, RECORDS, progress, statement=statement)

    def link_many(
        self,
        assertions: Iterable[Item],
        *,
        statement: bool = False,
        progress: Progress | None = None,
    ) -> Iterator[Result]:
        """Assert any number of links; give a result for each, in order, as it arrives."""
        return self._batch(assertions, LINKS, progress, statement=statement)

    def load_many(
        self,
        items: Iterable[Item],
        *,
        statement: bool = False,
        progress: Progress | None = None,
    ) -> Iterator[Result]:
        """Register records and assert links as they come, such as an export has them."""
        return self._batch(items, None, progress, statement=statement)

    def _batch(
        self,
        items: Iterable[Item],
        route: str | None,
        progress: Progress | None,
        *,
        statement: bool,
    ) -> Iterator[Result]:
        chunks = Chunks(self._context, route)
        count = 0
        for chunk in chunks.of(_together(self._context, items) if statement else items):
            results = self._run(batch.send(self._context, chunk))
            yield from results
            count += len(results)
            _tell(progress, count)

    # events

    def capture(self, document: bytes, *, proceed: bool = False, lenient: bool = False) -> Captured:
        """Capture EPCIS 2.0 events as statements of links; the key must be hosted.

        `proceed` goes on without events that are refused; `lenient` takes GS1 keys whose check
        digit is wrong. What was captured before changes nothing.
        """
        return self._run(epcis.capture(document, proceed=proceed, lenient=lenient))

    # grants

    def grant(self, given: Grant | Mapping[str, object]) -> Granted:
        """Open links of one's own to others: a Grant, or a draft as POST /v1/grants takes it."""
        return self._run(grants.grant(self._context, given))

    def revoke_grant(self, grantor: Prefix | str, name: str) -> Granted:
        """Take a grant back."""
        return self._run(grants.revoke(self._context, grantor, name))

    def grants(self, grantor: Prefix | str) -> tuple[Granted, ...]:
        """Return the grants of a holder: all to himself, to others those that are theirs."""
        return self._run(grants.listing(grantor))

    def received_grants(self) -> tuple[Granted, ...]:
        """Return what holders at other nodes grant to the holder whose API key is sent."""
        return self._run(grants.received())

    # notices

    def recall(self, given: Notice | Mapping[str, object]) -> Recalled:
        """Recall what is one's own: a Notice, or a draft as POST /v1/notices takes it."""
        return self._run(notices.recall(self._context, given))

    def lift_recall(self, issuer: Prefix | str, name: str) -> Recalled:
        """Take a recall back."""
        return self._run(notices.lift(self._context, issuer, name))

    def recalls(self, issuer: Prefix | str) -> tuple[Recalled, ...]:
        """Return the recall notices of a holder, lifted ones too."""
        return self._run(notices.listing(issuer))

    # between nodes

    def deliveries(self) -> tuple[OnItsWay, ...]:
        """Return one's own statements that the nodes of their far ends were not told of yet."""
        return self._run(deliveries.listing())

    # prefixes

    def allocate(
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
        return self._run(
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

    def delegate(
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
        return self._run(custody.delegate(self._context, prefix, exchange, as_signers(issuer)))

    def rotate(
        self,
        prefix: Prefix | str,
        exchange: Exchange | None = None,
        *,
        signer: Signer | Sequence[Signer] | None = None,
    ) -> PrefixView:
        """Exchange one's own keys: hosted ones, or by `signer`, the rotate keys that stand."""
        steps = custody.rotate(self._context, prefix, exchange or Exchange(), as_signers(signer))
        return self._run(steps)

    def revoke(
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
        return self._run(custody.revoke(self._context, prefix, revoked, as_signers(signer)))

    def recover(
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
        return self._run(steps)

    def complete_recovery(self, prefix: Prefix | str) -> PrefixView:
        """Put an announced recovery in force when it has waited, as the parent."""
        return self._run(custody.complete(self._context, prefix))

    def cancel_recovery(
        self, prefix: Prefix | str, *, signer: Signer | Sequence[Signer] | None = None
    ) -> PrefixView:
        """Give a recovery up, as the parent; or object to it, as the holder with a rotate key."""
        return self._run(custody.cancel(self._context, prefix, as_signers(signer)))

    def rotate_root(self, root: str | None = None) -> PrefixView:
        """Submit the next root version, as the operator; without one a hosted one is made."""
        return self._run(custody.rotate_root(self._context, root))

    def source(self, identifiers: Sequence[Identifier | str], *, whole: bool = False) -> Fetched:
        """Return what this node itself has on identifiers, as other nodes ask; unverified."""
        return self._run(reading.source(identifiers, whole=whole))

    def roots(self) -> tuple[str, ...]:
        """Return the root versions that the node shows, the first one first, unverified."""
        return self._run(custody.roots())

    def challenge(self, prefix: Prefix | str, kid: str) -> str:
        """Return a nonce for a key that is to be registered under a prefix."""
        return self._run(prefixes.challenge(self._context, prefix, kid))

    def prefix(self, prefix: Prefix | str) -> PrefixView:
        """Return who holds a prefix."""
        return self._run(prefixes.show(prefix))

    def prefixes(
        self, parent: Prefix | str | None = None, *, limit: int | None = None
    ) -> Iterator[PrefixView]:
        """Go through the prefixes, all of them or those right below a parent."""
        return self._pages(lambda cursor: prefixes.listing(parent, cursor, limit))

    def suspend(self, prefix: Prefix | str) -> PrefixView:
        """Stop a prefix and everything below it, until it is resumed."""
        return self._run(prefixes.switch(self._context, prefix, "suspend"))

    def resume(self, prefix: Prefix | str) -> PrefixView:
        """Let a suspended prefix act and answer again."""
        return self._run(prefixes.switch(self._context, prefix, "resume"))

    def make_api_key(self, prefix: Prefix | str, *, label: str = "") -> ApiKey:
        """Make another API key for the prefix that the present one speaks for."""
        return self._run(prefixes.make_api_key(self._context, prefix, label))


def _together(context: Context, items: Iterable[Item]) -> Iterator[Item]:
    with Gathering(context) as gathering:
        for item in items:
            yield from gathering.push(item)
        yield from gathering.end()


def _tell(progress: Progress | None, count: int) -> None:
    if progress is not None:
        progress(count)
