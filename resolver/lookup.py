"""The walk of a miss: one flight per identifier, many identifiers per fetch, all verified.

    L1  join the flight that is already under way for the identifier, or begin one
    L2  what is asked for within one turn of the event loop leaves in one fetch; while one is under
        way the rest waits for it, for two milliseconds at most, and leaves in the next, together;
        while enough are under way, until one lands
    L3  the time is taken before the source is asked: the reading is as old as that
    L4  verify each result against our own root; what does not verify is no answer. Where a key
        was revoked since, ask which came first
    L5  serve rule, for each who waited: nothing it depends on changed while it was read, and
        either the lease or the age of the reading keeps it within the bound; else read again
    L6  a deadline for who waits and one for the source; while those in front wait for too long, or
        too many wait, whoever comes is turned away at once, with what is left of the prefix's
        budget (`guard`) for identifiers that nobody knows
    L7  what is another node's goes on as a flight of its own, where other nodes are asked: a slow
        one holds up neither the rest of the batch nor the next
    L8  who gives his name is read for alone, with the links that he is shown: that flight nobody
        else joins, and it joins none

Missing identifiers are readings like any other. Owned by one event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from math import inf

from schemas.errors import (
    PeerFailed,
    TierlinkError,
    TooManyUnknown,
    Unavailable,
    VerifyError,
)
from schemas.identifier import Identifier, Prefix
from schemas.source import Fetched, Found, State
from schemas.viewer import ANYBODY, Viewer

from . import audience, tags
from .answers import Answers, boottime
from .federated import Federated, part_of
from .guard import Guard
from .iterative import Iterative
from .metrics import Counter, Histogram, Metrics
from .patience import Patience, wait
from .places import Places
from .reading import Reading
from .sources import Source
from .trust import Offered, Verifier

BATCH = 128  # identifiers in one fetch: what is aloft has left the queue, and waits all the same
ALOFT = 4  # fetches under way at a time
LINGER = 0.002  # seconds in which those who ask while a fetch is under way gather for the next
WAITING = 20_000  # identifiers that may wait for a fetch
QUEUED = 0.25  # seconds that the first in the queue waits before who comes is turned away
ATTEMPTS = 3  # readings for one request, where what it depends on keeps changing
SLICE = 0.004  # seconds of verification before other requests get their turn
PROOFS = 16  # asked for at a time, where a key was revoked since
CROWDED = "too many identifiers are waiting to be read"
RECHECK = 1.0  # seconds before the next attempt, where a stale answer can be had

_DURATIONS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

_log = logging.getLogger(__name__)

Outcome = Reading | TierlinkError


class Lookup:
    """Reads identifiers from a source on behalf of requests."""

    def __init__(
        self,
        source: Source,
        verifier: Verifier,
        answers: Answers,
        *,
        lease: float = 0.6,
        timeout: float = 2.0,
        clock: Callable[[], float] = boottime,
        metrics: Metrics | None = None,
        guard: Guard | None = None,
        federated: Federated | None = None,
        iterative: Iterative | None = None,
    ) -> None:
        """`lease` is the age up to which a reading needs no other lease.

        `federated` asks other nodes for what is FOREIGN; `iterative` makes a referral of it.
        """
        self._federated = federated
        self._iterative = iterative
        self._abroad: set[asyncio.Task[None]] = set()
        self.guard = guard or Guard(clock)
        self._source = source
        self._verifier = verifier
        self._answers = answers
        self._lease = lease
        self._timeout = timeout
        self._patience: Patience[Outcome] = Patience(2 * timeout)
        self._clock = clock
        self._waiting: dict[Identifier, asyncio.Future[Outcome]] = {}
        self._since: dict[Identifier, float] = {}  # of those who wait, in order
        self._flights: dict[Identifier, asyncio.Future[Outcome]] = {}
        self._aloft: set[asyncio.Task[None]] = set()
        self._private: set[asyncio.Task[None]] = set()
        self._departing = False
        self._away_until = 0.0
        self._count(metrics or Metrics())

    def _count(self, metrics: Metrics) -> None:
        self._fetches = metrics.counter("tierlink_fetches_total", "Fetches from the source.")
        self._fetched = metrics.counter(
            "tierlink_fetched_identifiers_total", "Identifiers in those fetches."
        )
        self._failures = metrics.counter(
            "tierlink_fetch_failures_total", "Fetches that failed or took too long."
        )
        self._shed = metrics.counter("tierlink_shed_total", "Requests turned away unread.")
        self._unknown = metrics.counter(
            "tierlink_unknown_refused_total",
            "Requests turned away unread: too many identifiers of the prefix do not exist.",
        )
        self._again = metrics.counter(
            "tierlink_reread_total", "Readings discarded because something changed meanwhile."
        )
        self._unverified = metrics.counter(
            "tierlink_inconsistency_total", "Records of the source that did not verify."
        )
        self._seconds: Histogram = metrics.histogram(
            "tierlink_fetch_seconds", "How long fetches took.", _DURATIONS
        )
        self._results: dict[State, Counter] = {
            state: metrics.counter(
                "tierlink_readings_total", "Readings by what was found.", state=state.value
            )
            for state in State
        }
        metrics.gauge(
            "tierlink_lookups_waiting", "Identifiers being read.", lambda: len(self._flights)
        )

    @property
    def away(self) -> bool:
        """Tell whether the source failed a moment ago, so that stale answers need not wait."""
        return self._clock() < self._away_until

    async def resolve(self, identifier: Identifier, viewer: Viewer = ANYBODY) -> Reading:
        """Return a reading that may be served now; raise Unavailable where there is none.

        For whoever is not ANYBODY it is his alone, and to be kept nowhere.
        """
        # L6: of who waits; the fetch has its own, so this only ends a long wait for its turn
        group = self._patience.group()
        for attempt in range(ATTEMPTS):
            if viewer == ANYBODY:
                flight = self._join(identifier)
            else:
                flight = self._alone(identifier, viewer)
            outcome = await wait(flight, group)
            if outcome is None:
                self._shed.add()
                raise Unavailable(CROWDED)
            if isinstance(outcome, TierlinkError):
                raise _again(outcome)
            # L5
            last = attempt == ATTEMPTS - 1
            if self.serves(outcome, settled=not last):
                self._answers.tell(outcome.watermark.epoch, outcome.watermark.position)
                return outcome
            self._again.add()
        raise Unavailable("reading takes longer than the staleness bound allows")

    async def caller(self, authorization: str) -> Prefix:
        """Return the prefix that a header speaks for; raise Unauthenticated or Unavailable."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._source.caller(authorization)
        except TimeoutError as err:
            raise Unavailable("the source did not answer in time") from err

    async def resolve_many(self, identifiers: Sequence[Identifier]) -> list[Outcome]:
        """Read many, each once; return a reading or the error for each, in order."""
        unique = dict.fromkeys(identifiers)
        outcomes = await asyncio.gather(*(self._outcome(item) for item in unique))
        by_identifier = dict(zip(unique, outcomes, strict=True))
        return [by_identifier[item] for item in identifiers]

    async def _outcome(self, identifier: Identifier) -> Outcome:
        try:
            return await self.resolve(identifier)
        except TierlinkError as err:
            return err

    def serves(self, reading: Reading, *, settled: bool = True) -> bool:
        """L5: tell whether a reading may be served now.

        By age: it was read less than a lease ago. By lease: a poll says that nothing it depends
        on has changed. Not `settled`, a change that came while it was read is let pass, which
        its age still allows (operations.md §3.4).
        """
        now = self._clock()
        if now >= reading.expires_at + self._lease:
            return False  # who waited for it may have it, for as long as what is read here is young
        young = now - reading.read_at < self._lease
        read_at, epoch = reading.watermark.position, reading.watermark.epoch
        # Before the first poll, and in a history that the next one will tell of, age alone counts.
        if not settled or epoch != self._answers.epoch:
            return young
        unmoved = self._answers.holds(tags.of_reading(reading), read_at, epoch)
        return unmoved and (young or now < self._answers.fresh_until)

    # L1, L2

    def turns_away(self) -> bool:
        """L6: tell whether nobody new may wait now, and count it where that is so.

        For whoever asks before anything is made for a request; `resolve` says the same.
        """
        if not self._crowded(self._clock()):
            return False
        self._shed.add()
        return True

    def _crowded(self, now: float) -> bool:
        first = next(iter(self._since.values()), now)
        return len(self._waiting) >= WAITING or now - first >= QUEUED

    def _join(self, identifier: Identifier) -> asyncio.Future[Outcome]:
        flight = self._flights.get(identifier)
        if flight is not None:
            return flight
        # L6
        now = self._clock()
        self._admit(identifier, now)
        loop = asyncio.get_running_loop()
        self._since[identifier] = now
        flight = self._flights[identifier] = self._waiting[identifier] = loop.create_future()
        if not self._departing:
            self._departing = True
            if self._aloft:
                # One fetch of thirty costs the database a fraction of thirty fetches of one.
                loop.call_later(LINGER, self._depart)
            else:
                loop.call_soon(self._depart)
        return flight

    def _admit(self, identifier: Identifier, now: float) -> None:
        """L6: raise Unavailable or TooManyUnknown where nobody new may wait for it."""
        if self._crowded(now):
            self._shed.add()
            raise Unavailable(CROWDED)
        try:
            self.guard.check(identifier)
        except TooManyUnknown:
            self._unknown.add()
            raise

    # L8

    def _alone(self, identifier: Identifier, viewer: Viewer) -> asyncio.Future[Outcome]:
        self._admit(identifier, self._clock())
        loop = asyncio.get_running_loop()
        flight: asyncio.Future[Outcome] = loop.create_future()
        task = loop.create_task(self._fly({identifier: flight}, viewer))
        self._private.add(task)
        task.add_done_callback(self._private.discard)
        return flight

    def _depart(self) -> None:
        self._departing = False
        while self._waiting and len(self._aloft) < ALOFT:
            batch = dict(list(self._waiting.items())[:BATCH])
            for identifier in batch:
                del self._waiting[identifier], self._since[identifier]
            task = asyncio.get_running_loop().create_task(self._fly(batch))
            self._aloft.add(task)
            task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._aloft.discard(task)
        if self._waiting:
            self._depart()

    async def _fly(
        self, batch: dict[Identifier, asyncio.Future[Outcome]], viewer: Viewer = ANYBODY
    ) -> None:
        try:
            # The walk of a miss: the shared second cache will be asked here, before the source.
            fetched, read_at = await self._fetch(list(batch), viewer)
            if self._federated is not None:
                self._send_abroad(self._federated, batch, fetched, read_at)
            await self._verify(batch, fetched, read_at)
        except TierlinkError as err:
            self._settle(batch, err)
        except TimeoutError:
            self._settle(batch, Unavailable("the source did not answer in time"))
        finally:
            # Whatever happened, and if this task was cancelled: nobody waits for ever.
            self._settle(batch, Unavailable("the read was broken off"))

    # L7

    def _send_abroad(
        self,
        federated: Federated,
        batch: dict[Identifier, asyncio.Future[Outcome]],
        fetched: Fetched,
        read_at: float,
    ) -> None:
        """Take out of a batch what other nodes have to be asked for: it is a flight of its own."""
        foreign = {
            identifier: batch.pop(identifier)
            for identifier, found in fetched.found.items()
            if found.state is State.FOREIGN and identifier in batch
        }
        if foreign:
            loop = asyncio.get_running_loop()
            task = loop.create_task(self._fly_abroad(federated, foreign, fetched, read_at))
            self._abroad.add(task)
            task.add_done_callback(self._abroad.discard)

    async def _fly_abroad(
        self,
        federated: Federated,
        batch: dict[Identifier, asyncio.Future[Outcome]],
        fetched: Fetched,
        read_at: float,
    ) -> None:
        try:
            async with aclosing(federated.abroad(fetched)) as parts:
                async for part in parts:
                    came = part_of(fetched, part)
                    told = {item: flight for item, flight in batch.items() if item in came.found}
                    await self._verify(told, came, read_at)
            rest = {item: flight for item, flight in batch.items() if not flight.done()}
            await self._verify(rest, fetched, read_at)  # there is nobody to ask
        except TierlinkError as err:
            self._settle(batch, err)
        except Exception:  # noqa: BLE001  (told to who waits below; the task has nobody to raise to)
            _log.exception("the walk to other nodes broke off")
        finally:
            self._settle(batch, Unavailable("the read was broken off"))

    def _settle(
        self, batch: dict[Identifier, asyncio.Future[Outcome]], outcome: TierlinkError
    ) -> None:
        for identifier, flight in batch.items():
            if not flight.done():
                self._land(identifier, flight, outcome)

    def _land(
        self, identifier: Identifier, flight: asyncio.Future[Outcome], outcome: Outcome
    ) -> None:
        if self._flights.get(identifier) is flight:
            del self._flights[identifier]
        flight.set_result(outcome)

    async def _fetch(self, identifiers: list[Identifier], viewer: Viewer) -> tuple[Fetched, float]:
        # L3
        read_at = self._clock()
        self._fetches.add()
        self._fetched.add(len(identifiers))
        try:
            async with asyncio.timeout(self._timeout):
                fetched = await self._source.fetch(identifiers, whole=True, viewer=viewer)
        except TimeoutError as err:
            self._failed()
            raise Unavailable("the source did not answer in time") from err
        except Unavailable:
            self._failed()
            raise
        except Exception as err:
            self._failed()
            _log.exception("a fetch of %d identifiers failed", len(identifiers))
            raise Unavailable("the source is away") from err
        self._away_until = 0.0
        self._seconds.observe(self._clock() - read_at)
        return fetched, read_at

    def _failed(self) -> None:
        self._failures.add()
        self._away_until = self._clock() + RECHECK

    # L4

    async def _verify(
        self,
        batch: dict[Identifier, asyncio.Future[Outcome]],
        fetched: Fetched,
        read_at: float,
    ) -> None:
        offered = self._verifier.offered(fetched.delegations)
        loop = asyncio.get_running_loop()
        pause = loop.time() + SLICE
        hiding: list[Reading] = []
        revoked: list[Identifier] = []
        for identifier in batch:
            found = fetched.found.get(identifier)
            outcome = self._judge(identifier, found, offered, fetched, read_at)
            if outcome is None:
                revoked.append(identifier)
            else:
                self._sort(batch, identifier, outcome, hiding)
            if loop.time() >= pause:
                await asyncio.sleep(0)
                pause = loop.time() + SLICE
        for at in range(0, len(revoked), PROOFS):
            asked = revoked[at : at + PROOFS]
            for identifier, places in zip(
                asked, await asyncio.gather(*map(self._places, asked)), strict=True
            ):
                found, placed = fetched.found[identifier], offered.placed(places)
                outcome = self._judge(identifier, found, placed, fetched, read_at)
                assert outcome is not None, "nothing more can be asked"
                self._sort(batch, identifier, outcome, hiding)
        if hiding:
            await self._open(batch, hiding)

    def _sort(
        self,
        batch: dict[Identifier, asyncio.Future[Outcome]],
        identifier: Identifier,
        outcome: Outcome,
        hiding: list[Reading],
    ) -> None:
        if isinstance(outcome, Reading) and audience.versions(outcome):
            hiding.append(outcome)
        else:
            self._land(identifier, batch[identifier], outcome)

    async def _places(self, identifier: Identifier) -> Places:
        """Ask where the log has what a key signed that was revoked since; nowhere, if it fails."""
        try:
            async with asyncio.timeout(self._timeout):
                return Places.of(await self._source.prove(identifier))
        except (TierlinkError, TimeoutError) as err:
            _log.warning("the log says nothing of %s: %s", identifier, err)
            return Places()

    async def _open(
        self, batch: dict[Identifier, asyncio.Future[Outcome]], hiding: list[Reading]
    ) -> None:
        """Ask what these records hide, and show in each reading what everybody may see."""
        asked = dict.fromkeys(item for reading in hiding for item in audience.versions(reading))
        async with asyncio.timeout(self._timeout):
            found = await self._source.disclosures(list(asked))
        marked = {item.disclosure.digest: item for item in found}
        for reading in hiding:
            outcome: Outcome = reading
            try:
                outcome = audience.informed(reading, marked)
            except VerifyError as err:
                _log.error("what %s hides does not verify: %s", reading.identifier, err)
            self._land(reading.identifier, batch[reading.identifier], outcome)

    def _judge(
        self,
        identifier: Identifier,
        found: Found | None,
        offered: Offered,
        fetched: Fetched,
        read_at: float,
    ) -> Outcome | None:
        """Return a reading or why there is none; None where only the log can tell."""
        if found is None:
            return Unavailable("the source passed over an identifier")
        came = found.elsewhere
        if offered.places is None:
            self._results[found.state].add()
        if came is not None and came.failure is not None:
            return came.failure
        try:
            return self._read(found, offered, fetched, read_at)
        except VerifyError as err:
            if err.code == "E_REVOKED" and offered.places is None:
                return None
            if came is not None:
                return _lied(came.origin, identifier, err)
            self._unverified.add()
            _log.error("%s from the source does not verify: %s", identifier, err)
            return Unavailable(
                f"the source's record does not verify ({err.code}), so it is not passed on",
                retry_after=5,
                fix="the operator of this resolver finds the record in its log",
            )

    def _read(self, found: Found, offered: Offered, fetched: Fetched, read_at: float) -> Reading:
        if self._iterative is not None:
            referred = self._iterative.refer(found, offered, fetched, read_at)
            if referred is not None:
                return referred
        if offered.places is None:
            self.guard.learn(found.identifier, found.state)
        return read(found, offered, fetched, read_at)


def _lied(origin: str, identifier: Identifier, err: VerifyError) -> PeerFailed:
    _log.warning("%s from %s does not verify: %s", identifier, origin, err)
    return PeerFailed(
        origin, f"what it says of {identifier} does not verify"[:400], reason=err.code
    )


def read(found: Found, offered: Offered, fetched: Fetched, read_at: float) -> Reading:
    """L4: verify what was found of one identifier and make a reading of it; raise VerifyError."""
    if not found.records:
        if found.state in {State.FOUND, State.COVERED, State.RETIRED}:
            raise VerifyError("E_FORMAT", f"state {found.state} comes without a record")
        return Reading(
            found.identifier,
            found.state,
            fetched.watermark,
            read_at,
            expires_at=_expires(found, read_at),
        )
    parts, assertions = offered.parts(
        found.identifier, found.records, found.assertions, more_links=found.more_links
    )
    _check_state(found.state, covered=parts.covered, status=parts.records[0].status)
    prefixes = [found.identifier.prefix, *(item.asserter.prefix for item in parts.assertions)]
    marking, notices = offered.notices(parts, found.notices)
    if marking:
        parts = replace(parts, notices=marking)
    return Reading(
        found.identifier,
        found.state,
        fetched.watermark,
        read_at,
        parts,
        found.records,
        assertions,
        offered.evidence(prefixes),
        offered.known(found.identifier.prefix).chain.holder,
        notices=notices,
        expires_at=_expires(found, read_at),
    )


def _expires(found: Found, read_at: float) -> float:
    turns = inf if found.turns_in is None else read_at + found.turns_in
    return turns if found.elsewhere is None else min(turns, found.elsewhere.expires_at)


def _check_state(state: State, *, covered: bool, status: str) -> None:
    """Hold what the source says against what the holder signed."""
    expected = State.COVERED if covered else State.FOUND
    if status == "retired":
        expected = State.RETIRED
    if state is not expected:
        raise VerifyError("E_FORMAT", f"the source says {state}, the record says {expected}")


def _again(error: TierlinkError) -> TierlinkError:
    """Copy an error that several wait for, so that each raises one of its own."""
    if isinstance(error, PeerFailed):
        return error.again()
    if isinstance(error, Unavailable):
        return Unavailable(error.detail, retry_after=error.retry_after, fix=error.fix)
    return error
