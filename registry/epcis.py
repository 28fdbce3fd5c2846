"""EPCIS: captured events become statements of links, each with its event as evidence.

A capture, in these steps:

    C1  the document is read (`schemas.epcis.document`); with `rollback` one malformed event
        refuses it, with `proceed` that event alone
    C2  each event gets its hash, and they are put in the order of their times
    C3  the capturer's key is hosted, his prefix stands; his captures take turns
    C4  an event whose hash is known says nothing again; one that is declared wrong takes back what
        rests on it, found by its hash, or by what it calls itself
    C5  what the others come to (`schemas.epcis.moves`) is told in order (`registry.epcis_book`):
        each wholly or not at all; with `rollback` one refusal refuses all
    C6  what begins is registered by the rules of `batch`, the links stated by those of `links`
    C7  the events are kept, and what became of each

C3 to C7 are one transaction. A capture that was refused as a whole leaves its report and nothing
else. An ObjectEvent with DELETE retires nothing: that cannot be undone, and is its holder's to say.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain as chained

from registry import links
from registry.accounts import Caller
from registry.assertions import Offer
from registry.batch import RecordBatch
from registry.epcis_book import Book, Known, located
from registry.keyring import Keyring
from registry.lines import Line
from registry.links import Speaker
from registry.store import epcis as store
from registry.store.engine import ReadTx, Store, WriteTx
from registry.store.epcis import Kept
from registry.store.identifier_batches import Overtaken, savepoint
from schemas import canonical
from schemas.answer import rfc3339
from schemas.canonical import JsonObject
from schemas.epcis import jsonld
from schemas.epcis.document import DOCUMENT, read_document
from schemas.epcis.event import Event, read_event
from schemas.epcis.eventhash import digest
from schemas.epcis.moves import Plan, plan
from schemas.epcis.naming import Naming
from schemas.epcis.periods import Seen
from schemas.errors import (
    AlreadyRegistered,
    BadEvent,
    BadInput,
    BadQuery,
    NotFound,
    TierlinkError,
    Unavailable,
)
from schemas.identifier import Identifier

ROLLBACK, PROCEED = "rollback", "proceed"

CAPTURED, KNOWN, CORRECTED, REFUSED, DROPPED = (
    "captured", "known", "corrected", "refused", "dropped",
)  # fmt: skip

ATTEMPTS = 5  # of a capture that others overtake
AHEAD_SECONDS = 300  # that the clock of whoever saw an event may be ahead
MAX_ERRORS = 100  # that a report repeats beside the outcomes
MAX_CALLED = 1_000  # events that may share what errors name

_ID = re.compile(r"[0-9a-f]{11}-[0-9a-f]{20}")
_HASH = re.compile(r"(?:ni:///sha-256;)?([0-9a-f]{64})(?:\?ver=CBV2\.0)?")


@dataclass(frozen=True, slots=True)
class Manner:
    """How a document is to be taken."""

    behaviour: str = ROLLBACK
    lenient: bool = False

    @property
    def proceeds(self) -> bool:
        """Tell whether a refused event leaves the others."""
        return self.behaviour == PROCEED


@dataclass(slots=True)
class Outcome:
    """What became of one event; `links` counts those that it changed or is evidence of."""

    index: int
    state: str
    hash: str = ""
    event_id: str | None = None
    links: int = 0
    error: TierlinkError | None = None

    def view(self) -> JsonObject:
        """Return the members of a report."""
        view: JsonObject = {"event": self.index, "outcome": self.state, "links": self.links}
        if self.hash:
            view["hash"] = uri_of(self.hash)
        if self.event_id is not None:
            view["eventID"] = self.event_id
        if self.error is not None:
            view["problem"] = self.error.problem()  # type: ignore[assignment]  # JSON members
        return view


@dataclass(frozen=True, slots=True)
class Job:
    """A capture that is finished: how it went, as it is told."""

    id: str
    report: JsonObject


@dataclass(slots=True)
class _Item:
    """An event of the document that is sound."""

    event: Event
    hash: str
    plan: Plan
    outcome: Outcome
    unborn: list[Identifier] = field(default_factory=list)

    @property
    def seen(self) -> Seen:
        return Seen(uri_of(self.hash), self.event.time, self.event.index)

    @property
    def known(self) -> Known:
        return Known(self.plan, self.seen, self.event.head.event_id)


class _Failed(Exception):
    """Rolls back what a capture has written that is refused as a whole."""


def uri_of(hash_: str) -> str:
    """Return a hash as evidence names it."""
    return f"ni:///sha-256;{hash_}?ver=CBV2.0"


class Capture:
    """One capture of one document by one caller."""

    def __init__(
        self,
        opened: Store,
        keyring: Keyring,
        caller: Caller,
        clock: Callable[[], int],
        manner: Manner,
    ) -> None:
        self._store = opened
        self._keyring = keyring
        self._caller = caller
        self._clock = clock
        self._manner = manner
        self._naming = Naming(caller.prefix, manner.lenient)
        self._batch = RecordBatch(opened, keyring, caller, clock)

    async def run(self, raw: bytes) -> Job:
        """Capture a document; raise BadEvent, TooLarge, KeyNotHosted, PrefixSuspended and such."""
        capture_id = f"{self._clock():011x}-{secrets.token_hex(10)}"
        for _ in range(ATTEMPTS):
            # C1, C2
            outcomes, items = await asyncio.to_thread(self._read, raw)
            await self._batch.prepare(())  # finds the key, which takes a connection of its own
            try:
                return await self._write(capture_id, outcomes, items)
            except Overtaken:
                continue
        raise Unavailable("others keep writing the same identifiers")

    # C1, C2

    def _read(self, raw: bytes) -> tuple[list[Outcome], list[_Item]]:
        document = read_document(raw)
        if document.kind != DOCUMENT:
            raise BadEvent(
                f"an {document.kind} is an answer, and is not captured",
                member="type",
                value=document.kind,
                fix=f"send an {DOCUMENT}",
            )
        if not self._manner.proceeds:
            for _ in document.sound():
                pass
        outcomes: list[Outcome] = []
        items: list[_Item] = []
        latest = (self._clock() + AHEAD_SECONDS) * 1000
        for index, event in enumerate(document.events):
            if isinstance(event, BadEvent):
                outcomes.append(Outcome(index, REFUSED, error=event))
                continue
            item = self._item(event, latest)
            outcomes.append(item.outcome)
            items.append(item)
        # What is wrong is taken back once everything is told.
        items.sort(key=lambda item: (item.event.head.error is not None, item.event.time))
        return outcomes, items

    def _item(self, event: Event, latest: int) -> _Item:
        hash_ = digest(event)
        outcome = Outcome(event.index, CAPTURED, hash_, event.head.event_id)
        try:
            _check_time(event, latest)
            found = plan(event, self._naming)
        except BadEvent as err:
            outcome.state, outcome.error = REFUSED, err
            found = Plan()
        return _Item(event, hash_, found, outcome)

    # C3 to C7

    async def _write(self, capture_id: str, outcomes: list[Outcome], items: list[_Item]) -> Job:
        async with self._store.write() as tx:
            await store.take_turn(tx, self._caller.prefix)
            speaker = await links.find_speaker(tx, self._keyring, self._caller, self._clock())
            if isinstance(speaker.voice.signer, TierlinkError):
                raise speaker.voice.signer
            try:
                async with savepoint(tx):
                    await self._capture(tx, speaker, capture_id, items)
            except _Failed:
                for outcome in outcomes:
                    if outcome.error is None:
                        outcome.state, outcome.links = DROPPED, 0
            report = self._report(capture_id, outcomes)
            await store.keep_capture(tx, self._caller.prefix, capture_id, json.dumps(report))
        return Job(capture_id, report)

    async def _capture(
        self, tx: WriteTx, speaker: Speaker, capture_id: str, items: list[_Item]
    ) -> None:
        # C4
        self._stop_at_refusals(items)
        there = await store.events(tx, self._caller.prefix, (item.hash for item in items))
        fresh = _fresh(items, there)
        wrong = await self._blamed(tx, fresh, there)
        # C5
        book = Book(self._naming, self._clock())
        await book.read(tx, [*(item.plan for item in fresh), *(one.plan for one in wrong)])
        await self._recall(tx, book, wrong)
        declared: list[tuple[str, int]] = []
        for item in fresh:
            declared += await _tell(book, item)
            await asyncio.sleep(0)
        self._stop_at_refusals(items)
        accepted = [item for item in fresh if item.outcome.error is None]
        # C6
        await self._register(tx, accepted)
        await _state(tx, speaker, book)
        # C7
        prefix = self._caller.prefix
        await store.insert_events(tx, prefix, capture_id, [_kept(item) for item in accepted])
        await store.declare(tx, prefix, declared)

    def _stop_at_refusals(self, items: Iterable[_Item]) -> None:
        if not self._manner.proceeds and any(item.outcome.error for item in items):
            raise _Failed

    async def _blamed(
        self, tx: ReadTx, fresh: Sequence[_Item], there: dict[str, Kept]
    ) -> list[Known]:
        """Find the kept events that errors may be about: of their hash, or of their eventID."""
        errors = [item for item in fresh if item.event.head.error is not None]
        kept = {item.hash: there[item.hash] for item in errors if item.hash in there}
        called = [name for item in errors if (name := item.event.head.event_id) is not None]
        if called:
            found = await store.events_called(tx, self._caller.prefix, called, MAX_CALLED)
            kept |= {row.hash: row for row in found}
        return [self._again(row) for row in kept.values() if row.declared is None]

    def _again(self, row: Kept) -> Known:
        """Read a kept event, as it was read when it was captured."""
        body = jsonld.decode(row.body.encode())
        event = read_event(body, 0, jsonld.read_context(body["@context"]))
        naming = Naming(self._naming.prefix, lenient=True)
        seen = Seen(uri_of(row.hash), event.time)
        return Known(plan(event, naming), seen, event.head.event_id)

    async def _recall(self, tx: ReadTx, book: Book, wrong: Sequence[Known]) -> None:
        """Recall the events that may be wrong, and those that their links rest on besides."""
        uris = book.evidence_of(one.plan for one in wrong)
        hashes = [found[1] for uri in uris if (found := _HASH.fullmatch(uri))]
        kept = await store.events(tx, self._caller.prefix, hashes) if hashes else {}
        book.recall(self._again(row) for row in kept.values() if row.declared is None)
        book.recall(wrong)

    # C6

    async def _register(self, tx: WriteTx, accepted: Sequence[_Item]) -> None:
        kinds = {named.identifier: named.kind for item in accepted for named in item.plan.births}
        new = dict.fromkeys(chained.from_iterable(item.unborn for item in accepted))
        if not new:
            return
        drafts = (_draft(identifier, kinds[identifier]) for identifier in new)
        lines = [Line(at, canonical.encode(draft)) for at, draft in enumerate(drafts, 1)]
        prepared = await self._batch.prepare(lines)
        results = await self._batch.write_within(tx, prepared)
        for result in results:
            if isinstance(result.outcome, TierlinkError) and not isinstance(
                result.outcome, AlreadyRegistered
            ):
                raise result.outcome

    def _report(self, capture_id: str, outcomes: Sequence[Outcome]) -> JsonObject:
        refused = [outcome for outcome in outcomes if outcome.error is not None]
        counts: JsonObject = {
            state: sum(outcome.state == state for outcome in outcomes)
            for state in (CAPTURED, KNOWN, CORRECTED, REFUSED, DROPPED)
        }
        at = rfc3339(self._clock())
        return {
            "captureID": capture_id,
            "createdAt": at,
            "finishedAt": at,
            "running": False,
            "success": not refused or (self._manner.proceeds and len(refused) < len(outcomes)),
            "captureErrorBehaviour": self._manner.behaviour,
            "errors": [outcome.view()["problem"] for outcome in refused[:MAX_ERRORS]],
            "events": counts,
            "outcomes": [outcome.view() for outcome in outcomes],
        }


def _check_time(event: Event, latest: int) -> None:
    if event.time > latest:
        raise BadEvent(
            f"event {event.index}: eventTime lies in the future",
            event=event.index,
            member="eventTime",
            value=str(event.head.body["eventTime"]),
            fix="capture what has happened; set the clock of whoever records it",
        )


def _fresh(items: Sequence[_Item], there: dict[str, Kept]) -> list[_Item]:
    """Return what says something new, and mark the others as known."""
    fresh: list[_Item] = []
    met: dict[str, bool] = {hash_: row.declared is not None for hash_, row in there.items()}
    for item in items:
        if item.outcome.error is not None:
            continue
        declares = item.event.head.error is not None
        if met.get(item.hash, False) or (item.hash in met and not declares):
            item.outcome.state = KNOWN
            continue
        met[item.hash] = declares
        fresh.append(item)
    return fresh


async def _tell(book: Book, item: _Item) -> list[tuple[str, int]]:
    """Tell the book of an event; return which events, by hash, are wrong from when on."""
    outcome, error = item.outcome, item.event.head.error
    if outcome.error is not None:
        return []
    try:
        if error is None:
            item.unborn = book.unborn(item.plan)
            outcome.links = await book.take(item.known)
            book.born(item.unborn)
            return []
        outcome.state = CORRECTED
        wrong = book.meant(item.known)
        outcome.links = sum([await book.take_back(one) for one in wrong])
    except TierlinkError as err:
        outcome.state, outcome.error = REFUSED, located(err, item.event.index)
        return []
    uris = {uri_of(item.hash), *(one.seen.hash for one in wrong)}
    return [(found[1], error.time) for uri in sorted(uris) if (found := _HASH.fullmatch(uri))]


async def _state(tx: WriteTx, speaker: Speaker, book: Book) -> None:
    offers = [Offer(draft) for draft in book.drafts()]
    if not offers:
        return
    for outcome in await links.store_many(tx, speaker, offers):
        if isinstance(outcome, TierlinkError):
            raise outcome


def _draft(identifier: Identifier, kind: str) -> JsonObject:
    return {"identifier": identifier.text, "kind": kind}


def _kept(item: _Item) -> Kept:
    head = item.event.head
    body = {"@context": list(head.context.given), **head.body}
    body["@context"] = list(head.context.given)
    declared = None if head.error is None else head.error.time
    return Kept(item.hash, head.event_id, declared, jsonld.encode(body))


# What is kept, for its capturer


async def event(tx: ReadTx, caller: Caller, text: str) -> str:
    """Return a captured event as JSON-LD, by its hash; raise BadInput or NotFound."""
    found = _HASH.fullmatch(text)
    if found is None:
        raise BadInput(
            "this is not the hash of an event",
            value=text,
            fix="its 64 hexadecimal digits, or ni:///sha-256;…?ver=CBV2.0 percent-encoded",
        )
    kept = await store.events(tx, caller.prefix, [found[1]])
    if found[1] not in kept:
        raise NotFound(f"{caller.prefix} captured no event of this hash", value=text)
    return kept[found[1]].body


async def job(tx: ReadTx, caller: Caller, capture_id: str) -> JsonObject:
    """Return what became of a capture; raise NotFound."""
    known = _ID.fullmatch(capture_id)
    report = await store.capture(tx, caller.prefix, capture_id) if known else None
    if report is None:
        raise NotFound(f"{caller.prefix} made no such capture", value=capture_id)
    found: JsonObject = json.loads(report)
    return found


async def jobs(
    tx: ReadTx, caller: Caller, before: str | None, limit: int
) -> tuple[list[JsonObject], str | None]:
    """Return captures, newest first and without their outcomes, and behind which more follow."""
    if before is not None and not _ID.fullmatch(before):
        raise BadQuery("this is not the token of a page", value=before, fix="follow Link: rel=next")
    found = await store.captures(tx, caller.prefix, before, limit + 1)
    page = [json.loads(report) for _, report in found[:limit]]
    for item in page:
        del item["outcomes"]
    return page, found[limit - 1][0] if len(found) > limit else None
