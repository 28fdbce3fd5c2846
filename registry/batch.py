"""Identifiers in bulk: the steps of `identifiers`, for a chunk of lines in one transaction.

Reading, verifying and signing take most of the time and need no row, so they are done in processes
of their own (`verifiers`), while the chunk before is written. Small batches, drafts and what comes
with disclosures are read in threads of this one. Writing decides line by line, in order, from what
stands and what the lines before have made of it, and then stores the whole chunk with a few
statements. Updates that reshape a family (retirements, other parents) are rare and written one by
one.

What was read may be overtaken before it is written. Then the transaction is given up and the
chunk decided anew from what stands by now.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain as chained

from registry import (
    batch_statements,
    changes,
    disclosures,
    identifiers,
    prefixes,
    succession,
)
from registry.accounts import Caller
from registry.changes import Entry
from registry.keyring import Keyring
from registry.lines import Line, Result, Written
from registry.offers import Offer, check_envelope, read_line, read_offer
from registry.store import identifier_batches as bulk, identifiers as store, rules
from registry.store.engine import Store, WriteTx
from registry.store.identifier_batches import Overtaken
from registry.store.identifiers import Kin, Standing
from registry.store.rules import RuleRow
from registry.store.tables import unit_of
from registry.succession import Step, decide, standing
from registry.verifiers import Verifiers
from registry.verifying import Job, Refused, Signed, Verdict
from schemas import sm2
from schemas.batched import statement_part
from schemas.chain import Chain
from schemas.change import Op
from schemas.delegation import RECORD_USE
from schemas.disclosure import Marked
from schemas.envelope import Envelope
from schemas.errors import KeyNotHosted, TierlinkError, Unavailable
from schemas.identifier import Identifier
from schemas.keys import Signer
from schemas.record import CLASS, RETIRED, Record, parse_record
from schemas.rule import Rule

ATTEMPTS = 5  # of a chunk that others overtake
LARGE = 200  # lines that are worth other processes
SHARE = 250  # lines of one job
THREADS = min(4, os.cpu_count() or 1)  # that verify one chunk
PACE = 50  # lines decided before others get the event loop


@dataclass(frozen=True, slots=True)
class _Speaker:
    """With what the lines of one caller are verified and signed."""

    chain: Chain
    signer: Signer | KeyNotHosted  # or why no draft can be signed
    salt: Callable[[bytes], bytes]  # for what a draft hides


class _Signed:
    """A record that its holder or the hosted key has signed, as it would be stored.

    Of what another process has verified, the record is read again only where it is asked for.
    """

    __slots__ = ("_parsed", "marked", "stored")

    def __init__(
        self,
        stored: Standing,
        parsed: tuple[Envelope, Record] | None = None,
        marked: tuple[Marked, ...] = (),
    ) -> None:
        self.stored = stored
        self.marked = marked
        self._parsed = parsed

    @property
    def parsed(self) -> tuple[Envelope, Record]:
        if self._parsed is None:
            self._parsed = parse_record(self.stored.envelope)
        return self._parsed

    @property
    def record(self) -> Record:
        return self.parsed[1]

    @property
    def rule(self) -> Rule | None:
        return self.record.rule if self.stored.kind == CLASS else None


@dataclass(frozen=True, slots=True)
class _Item:
    """A line that was read; `said` is what it says, or what refuses it, rendered or not."""

    number: int
    said: _Signed | TierlinkError | Mapping[str, object]
    about: str | None

    def result(self, outcome: Written | Mapping[str, object] | TierlinkError) -> Result:
        """Answer the line."""
        if isinstance(outcome, Written):
            return Result(self.number, outcome)
        about = {} if self.about is None else {"identifier": self.about}
        return Result(self.number, outcome, about)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A chunk that may be written while this chain stands."""

    lines: Sequence[Line]
    chain: Chain
    items: Sequence[_Item]


class RecordBatch:
    """The work of one streamed request; satisfies `lines.Work`."""

    def __init__(
        self,
        opened: Store,
        keyring: Keyring,
        caller: Caller,
        clock: Callable[[], int],
        verifiers: Verifiers | None = None,
    ) -> None:
        """Without `verifiers` everything is done in threads."""
        self._verifiers = verifiers
        self._store = opened
        self._keyring = keyring
        self._caller = caller
        self._clock = clock

    async def prepare(self, lines: Sequence[Line]) -> _Prepared:
        """Read, verify and sign lines, in other processes or in threads."""
        speaker, now = await self._speaker(), self._clock()
        verdicts = await self._verified(lines, speaker.chain, now)
        rest = [line for line, said in zip(lines, verdicts, strict=True) if said is None]
        read = iter(await self._read(rest, speaker, now))
        items = [
            next(read) if said is None else _judged(line.number, said)
            for line, said in zip(lines, verdicts, strict=True)
        ]
        return _Prepared(lines, speaker.chain, items)

    async def _verified(self, lines: Sequence[Line], chain: Chain, now: int) -> Sequence[Verdict]:
        """Have many lines verified by other processes; None for each that is still to be read."""
        alone: Sequence[Verdict] = [None] * len(lines)
        # What a process admits beyond the profile, others need not.
        if self._verifiers is None or len(lines) < LARGE or sm2.enabled():
            return alone
        jobs = []
        for at in range(0, len(lines), SHARE):
            raw = [line.raw for line in lines[at : at + SHARE]]
            job = Job.of(self._caller.prefix, chain, now, raw)
            if job is None:
                return alone
            jobs.append(self._verifiers.verify(job))
        found = list(chained.from_iterable(await asyncio.gather(*jobs)))
        return [None if line.error else said for line, said in zip(lines, found, strict=True)]

    async def _read(self, lines: Sequence[Line], speaker: _Speaker, now: int) -> Iterable[_Item]:
        if not lines:
            return ()
        read = partial(_read_lines, caller=self._caller, speaker=speaker, now=now)
        share = -(-len(lines) // THREADS)
        shares = [lines[at : at + share] for at in range(0, len(lines), share)]
        done = await asyncio.gather(*(asyncio.to_thread(read, item) for item in shares))
        return chained.from_iterable(done)

    async def write(self, prepared: _Prepared) -> Sequence[Result]:
        """Write a chunk; raise PrefixSuspended, Unavailable and the like for it as a whole."""
        for _ in range(ATTEMPTS):
            try:
                async with self._store.write() as tx:
                    chain = await prefixes.chain(tx, self._caller.prefix)
                    if chain == prepared.chain:
                        chain.check_time(self._clock())
                        return await _Writing(tx, self._caller).results(prepared.items)
            except Overtaken:
                continue
            prepared = await self.prepare(prepared.lines)
        raise Unavailable("others keep writing the same identifiers")

    async def _speaker(self) -> _Speaker:
        prefix = self._caller.prefix
        async with self._store.read() as tx:
            chain = await prefixes.chain(tx, prefix)
            try:
                signer: Signer | KeyNotHosted = await self._keyring.signer(tx, prefix, RECORD_USE)
            except KeyNotHosted as err:
                signer = err
            return _Speaker(chain, signer, self._keyring.salt)


def _judged(number: int, said: Signed | Refused) -> _Item:
    if isinstance(said, Refused):
        return _Item(number, said.problem, said.identifier)
    return _Item(number, _Signed(Standing(*said)), said.identifier)


def _read_lines(
    lines: Iterable[Line], *, caller: Caller, speaker: _Speaker, now: int
) -> list[_Item]:
    return [_read_line(line, caller, speaker, now) for line in lines]


def _read_line(line: Line, caller: Caller, speaker: _Speaker, now: int) -> _Item:
    about = None
    try:
        if line.error is not None:
            raise line.error
        offer = read_offer(read_line(line.raw), now, speaker.salt)
        about = offer.record.identifier.text
        caller.must_hold(offer.record.identifier.prefix)
        envelope = _sealed(offer, speaker, now)
    except TierlinkError as err:
        return _Item(line.number, err, about)
    stored = standing(offer.record, envelope)
    return _Item(line.number, _Signed(stored, (envelope, offer.record), offer.marked), about)


def _sealed(offer: Offer, speaker: _Speaker, now: int) -> Envelope:
    """Check the client's envelope, or make the draft's."""
    if offer.envelope is not None:
        check_envelope(speaker.chain, offer.record, offer.envelope, now)
        return offer.envelope
    decide(None, offer.record, "")
    if isinstance(speaker.signer, KeyNotHosted):
        raise speaker.signer
    return identifiers.sign(speaker.chain, offer.record, speaker.signer)


def _decide(current: Standing | None, signed: _Signed) -> Step:
    stored = signed.stored
    if current is None and stored.version == 1 and stored.status != RETIRED:
        return Step.FIRST  # as `decide` does, without reading the record again
    return decide(current, signed.record, stored.digest)


@dataclass(slots=True)
class _Pending:
    """What was decided and is not stored yet."""

    first: dict[str, Standing] = field(default_factory=dict)
    next: dict[str, tuple[int, Standing]] = field(default_factory=dict)  # number replaced, by what
    past: list[Standing] = field(default_factory=list)  # replaced before they were stored
    rules: dict[str, Rule | None] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    marked: list[tuple[Identifier, int, tuple[Marked, ...]]] = field(default_factory=list)


class _Writing:
    """One attempt to write a chunk, in one transaction."""

    def __init__(self, tx: WriteTx, caller: Caller) -> None:
        self._tx = tx
        self._prefix = caller.prefix
        self._unit = unit_of(caller.prefix)
        self._stands: dict[str, Standing] = {}  # as the lines so far have made it
        self._kin: dict[str, Kin] = {}
        self._accepted: dict[str, None] = {}  # batch statements, in order
        self._accepted_last: str | None = None  # with the ~ before it
        self._pending = _Pending()

    async def results(self, items: Sequence[_Item]) -> list[Result]:
        """Decide and store; return a result for each line."""
        await self._look(items)
        results = []
        for count, item in enumerate(items):
            if count % PACE == PACE - 1:
                await asyncio.sleep(0)
            try:
                outcome: Written | Mapping[str, object] | TierlinkError = await self._take(item)
            except Unavailable:
                raise
            except TierlinkError as err:
                outcome = err
            results.append(item.result(outcome))
        await self._store()
        await batch_statements.admit_all(self._tx, self._prefix, self._accepted)
        return results

    async def _look(self, items: Sequence[_Item]) -> None:
        """Read what stands, lock the family, and read the parents, one statement each."""
        signed = [item.said for item in items if isinstance(item.said, _Signed)]
        if not signed:
            return
        wanted = {one.stored.identifier for one in signed}
        self._stands = await bulk.current_many(self._tx, self._unit, wanted)
        reshape = any(self._may_reshape(one.stored) for one in signed)
        await store.lock_family(self._tx, self._unit, reshape=reshape)
        parents = {one.stored.parent for one in signed if one.stored.parent is not None}
        if parents:
            self._kin = await store.lineage(self._tx, self._unit, sorted(parents))

    def _may_reshape(self, offered: Standing) -> bool:
        """Tell whether the lock has to be exclusive: it cannot become so later."""
        if offered.version == 1:
            return False
        current = self._stands.get(offered.identifier)
        return current is None or succession.reshapes(current, offered)

    async def _take(self, item: _Item) -> Written | Mapping[str, object]:
        """Decide one line and note what it writes; raise what refuses it."""
        if isinstance(item.said, TierlinkError):
            raise item.said
        if not isinstance(item.said, _Signed):
            return item.said
        signed = item.said
        stored = signed.stored
        current = self._stands.get(stored.identifier)
        step = _decide(current, signed)
        if step is Step.NOTHING:
            assert current is not None
            return Written(stored.identifier, 200, current.version)
        if step is Step.FIRST:
            if stored.parent is not None:
                succession.check_parent(stored, self._kin)
            self._pending.first[stored.identifier] = stored
        else:
            assert current is not None
            if succession.reshapes(current, stored):
                await self._reshape(current, signed)
                return Written(stored.identifier, 200, stored.version)
            self._replace(current, stored)
        self._note(current, signed)
        if signed.marked:
            about = signed.record.identifier
            self._pending.marked.append((about, stored.version, signed.marked))
        self._stand(stored)
        return Written(stored.identifier, 201 if step is Step.FIRST else 200, stored.version)

    async def _reshape(self, current: Standing, signed: _Signed) -> None:
        """Write one update that changes the family, at once."""
        await self._store()
        async with bulk.savepoint(self._tx):
            done = await identifiers.put_next(
                self._tx, current, signed.record, signed.parsed[0], signed.marked
            )
        self._stand(done.standing)

    def _replace(self, current: Standing, stored: Standing) -> None:
        pending, text = self._pending, stored.identifier
        if text in pending.first:
            pending.first[text] = stored
            pending.past.append(current)
        elif text in pending.next:
            pending.next[text] = (pending.next[text][0], stored)
            pending.past.append(current)
        else:
            pending.next[text] = (current.version, stored)

    def _note(self, current: Standing | None, signed: _Signed) -> None:
        stored, rule, before = signed.stored, signed.rule, succession.rule_of(current)
        if rule != before:
            self._pending.rules[stored.identifier] = rule
        op = Op.RECORD if rule == before else Op.RULE
        entry = Entry(op, stored.identifier, stored.version, digest=stored.digest)
        self._pending.entries.append(entry)

    def _stand(self, stored: Standing) -> None:
        text, last = stored.identifier, self._accepted_last
        # Lines of one statement mostly follow each other.
        if last is None or not stored.envelope.endswith(last):
            statement = statement_part(stored.envelope)
            if statement is not None:
                self._accepted[statement] = None
                self._accepted_last = f"~{statement}"
        self._stands[text] = stored
        self._kin[text] = Kin(text, stored.kind, stored.status, stored.parent)

    async def _store(self) -> None:
        """Store what is pending; raise Overtaken."""
        tx, unit, pending = self._tx, self._unit, self._pending
        self._pending = _Pending()
        if pending.next:
            await bulk.replace_many(tx, unit, pending.next.values())
        if pending.first:
            await bulk.copy_first(tx, unit, pending.first.values())
        if pending.past:
            await bulk.copy_past(tx, unit, pending.past)
        put = [RuleRow(c, r.head, r.pattern) for c, r in pending.rules.items() if r is not None]
        drop = [text for text, rule in pending.rules.items() if rule is None]
        if put:
            await rules.put(tx, unit, put)
        if drop:
            await rules.drop(tx, unit, drop)
        await disclosures.keep_many(tx, pending.marked)
        if pending.entries:
            await changes.record_many(tx, self._prefix, pending.entries)
