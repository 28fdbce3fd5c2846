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
from typing import NamedTuple, TypeAlias

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
from registry.succession import Step, decide
from registry.verifiers import Verifiers
from registry.verifying import Job, Refused, Signed, Verdict, signed_row
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
PACE = 250  # lines decided before others get the event loop
PROBES = 8  # identifiers of a chunk that are looked up where all seem to be new


@dataclass(frozen=True, slots=True)
class _Speaker:
    """With what the lines of one caller are verified and signed."""

    chain: Chain
    signer: Signer | KeyNotHosted  # or why no draft can be signed
    salt: Callable[[bytes], bytes]  # for what a draft hides


@dataclass(frozen=True, slots=True)
class _Own:
    """A line that was read in this process, and what the row does not say of it."""

    row: Signed
    parsed: tuple[Envelope, Record]
    marked: tuple[Marked, ...] = ()


_Said: TypeAlias = "Signed | _Own | Mapping[str, object] | TierlinkError"

_Outcome: TypeAlias = "Written | Mapping[str, object] | TierlinkError"


class _Item(NamedTuple):
    """A line that was read; `said` is what it says, or what refuses it, rendered or not.

    `about` is the identifier that it names, as far as `said` does not tell.
    """

    number: int
    said: _Said
    about: str | None = None

    def result(self, outcome: _Outcome) -> Result:
        """Answer the line."""
        if isinstance(outcome, Written):
            return Result(self.number, outcome)
        about = self.said.identifier if isinstance(self.said, Signed) else self.about
        return Result(self.number, outcome, {} if about is None else {"identifier": about})


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
        self._speaks: _Speaker | None = None  # as of the last look
        self._new = True  # whether all identifiers were, so far

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
        if any(line.error for line in lines):
            found = [None if line.error else said for line, said in zip(lines, found, strict=True)]
        return found

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
                    return await self.write_within(tx, prepared)
            except Overtaken:
                if self._speaks is None:
                    prepared = await self.prepare(prepared.lines)
        raise Unavailable("others keep writing the same identifiers")

    async def write_within(self, tx: WriteTx, prepared: _Prepared) -> Sequence[Result]:
        """Write a chunk in a transaction of the caller's.

        Raise Overtaken where all has to be begun anew: then it is to be prepared again as well.
        """
        chain = await prefixes.chain(tx, self._caller.prefix)
        if chain != prepared.chain:
            self._speaks = None
            raise Overtaken
        chain.check_time(self._clock())
        writing = _Writing(tx, self._caller, new=self._new)
        try:
            return await writing.results(prepared.items)
        except Overtaken:
            writing.new = False
            raise
        finally:
            self._new = writing.new

    async def _speaker(self) -> _Speaker:
        """Return who speaks; looked up once, for each chunk is written under the chain it names."""
        if self._speaks is not None:
            return self._speaks
        prefix = self._caller.prefix
        async with self._store.read() as tx:
            chain = await prefixes.chain(tx, prefix)
            try:
                signer: Signer | KeyNotHosted = await self._keyring.signer(tx, prefix, RECORD_USE)
            except KeyNotHosted as err:
                signer = err
        self._speaks = _Speaker(chain, signer, self._keyring.salt)
        return self._speaks


def _judged(number: int, said: Signed | Refused) -> _Item:
    if isinstance(said, Refused):
        return _Item(number, said.problem, said.identifier)
    return _Item(number, said)


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
    row = signed_row(offer.record, envelope)
    return _Item(line.number, _Own(row, (envelope, offer.record), offer.marked), about)


def _sealed(offer: Offer, speaker: _Speaker, now: int) -> Envelope:
    """Check the client's envelope, or make the draft's."""
    if offer.envelope is not None:
        check_envelope(speaker.chain, offer.record, offer.envelope, now)
        return offer.envelope
    decide(None, offer.record, "")
    if isinstance(speaker.signer, KeyNotHosted):
        raise speaker.signer
    return identifiers.sign(speaker.chain, offer.record, speaker.signer)


class _Reshapes(Exception):
    """No fault: an update that changes the family is not written with the others."""

    def __init__(self, current: Standing, said: Signed | _Own) -> None:
        super().__init__("reshapes")
        self.current = current
        self.said = said


def _row(said: _Said) -> Signed | None:
    """Return the record of a line as it would be stored, None where there is none."""
    if isinstance(said, Signed):
        return said
    return said.row if isinstance(said, _Own) else None


def _stands_already(current: Standing | None, row: Signed) -> bool:
    """Tell whether the very same envelope stands, which `decide` would find out by reading it."""
    return current is not None and current.digest == row.digest and current.status != RETIRED


def _parsed(signed: Signed | _Own) -> tuple[Envelope, Record]:
    """Return what was read; of what another process has verified, read it again."""
    return signed.parsed if isinstance(signed, _Own) else parse_record(signed.envelope)


def _rule(signed: Signed | _Own, row: Signed) -> Rule | None:
    return _parsed(signed)[1].rule if row.kind == CLASS else None


@dataclass(slots=True)
class _Pending:
    """What was decided and is not stored yet."""

    first: dict[str, Signed] = field(default_factory=dict)
    next: dict[str, tuple[int, Standing]] = field(default_factory=dict)  # number replaced, by what
    past: list[Standing] = field(default_factory=list)  # replaced before they were stored
    rules: dict[str, Rule | None] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    marked: list[tuple[Identifier, int, tuple[Marked, ...]]] = field(default_factory=list)


class _Writing:
    """One attempt to write a chunk, in one transaction."""

    def __init__(self, tx: WriteTx, caller: Caller, *, new: bool = False) -> None:
        """With `new` first versions are taken to be of free identifiers, unless a probe says no.

        Looking each up costs the database as much as writing it. Where one is taken after all, the
        key of the table says so, and the chunk is Overtaken. So it is where a line would be refused
        because its identifier is free.
        """
        self.new = new
        self._blind = False  # whether that was relied upon
        self._tx = tx
        self._prefix = caller.prefix
        self._unit = unit_of(caller.prefix)
        self._stands: dict[str, Standing | Signed] = {}  # as the lines so far have made it
        self._kin: dict[str, Kin] | None = None  # None where no line names a parent
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
                outcome: _Outcome = self._take(item.said)
            except _Reshapes as found:
                outcome = await self._reshaped(found)
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
        rows = [row for item in items if (row := _row(item.said)) is not None]
        if not rows:
            return
        await self._find(sorted({row.identifier for row in rows}), rows)
        reshape = any(row.version > 1 and self._may_reshape(row) for row in rows)
        await store.lock_family(self._tx, self._unit, reshape=reshape)
        parents = {row.parent for row in rows if row.parent is not None}
        if parents:
            self._kin = await store.lineage(self._tx, self._unit, sorted(parents))

    async def _find(self, texts: Sequence[str], rows: Sequence[Signed]) -> None:
        """Read what stands of these identifiers, or find by a few of them that nothing does."""
        if self.new and len(texts) > PROBES and all(row.version == 1 for row in rows):
            probes = texts[:: len(texts) // PROBES]
            self._blind = not await bulk.current_many(self._tx, self._unit, probes)
            if self._blind:
                return
            self.new = False
        self._stands.update(await bulk.current_many(self._tx, self._unit, texts))

    def _may_reshape(self, offered: Signed) -> bool:
        """Tell whether the lock has to be exclusive: it cannot become so later."""
        current = self._current(offered.identifier)
        return current is None or succession.reshapes(current, Standing(*offered))

    def _current(self, text: str) -> Standing | None:
        found = self._stands.get(text)
        return Standing(*found) if isinstance(found, Signed) else found

    def _take(self, said: _Said) -> Written | Mapping[str, object]:
        """Decide one line and note what it writes; raise what refuses it, or _Reshapes."""
        row = _row(said)
        if row is None:
            if isinstance(said, TierlinkError):
                raise said
            assert isinstance(said, Mapping)
            return said
        assert isinstance(said, Signed | _Own)
        text = row.identifier
        if text not in self._stands and row.version == 1 and row.status != RETIRED:
            # As `decide` does, without reading the record again.
            if row.parent is not None:
                self._check_parent(row)
            self._pending.first[text] = row
            self._note(None, said, row)
            return Written(text, 201, 1)
        current = self._current(text)
        if current is None and self._blind:
            raise Overtaken
        if _stands_already(current, row) or self._step(current, said, row) is Step.NOTHING:
            assert current is not None
            return Written(text, 200, current.version)
        assert current is not None
        successor = Standing(*row)
        if succession.reshapes(current, successor):
            raise _Reshapes(current, said)
        self._replace(current, row, successor)
        self._note(current, said, row)
        return Written(text, 200, row.version)

    def _check_parent(self, row: Signed) -> None:
        try:
            succession.check_parent(Standing(*row), self._kin or {})
        except TierlinkError:
            if self._blind:
                raise Overtaken from None
            raise

    def _step(self, current: Standing | None, said: Signed | _Own, row: Signed) -> Step:
        return decide(current, _parsed(said)[1], row.digest)

    async def _reshaped(self, found: _Reshapes) -> _Outcome:
        """Write one update that changes the family, at once."""
        envelope, record = _parsed(found.said)
        marked = found.said.marked if isinstance(found.said, _Own) else ()
        await self._store()
        try:
            async with bulk.savepoint(self._tx):
                done = await identifiers.put_next(self._tx, found.current, record, envelope, marked)
        except Unavailable:
            raise
        except TierlinkError as err:
            return err
        self._stand(signed_row(record, envelope), done.standing)
        return Written(record.identifier.text, 200, record.version)

    def _replace(self, current: Standing, row: Signed, successor: Standing) -> None:
        pending, text = self._pending, row.identifier
        if text in pending.first:
            pending.first[text] = row
            pending.past.append(current)
        elif text in pending.next:
            pending.next[text] = (pending.next[text][0], successor)
            pending.past.append(current)
        else:
            pending.next[text] = (current.version, successor)

    def _note(self, current: Standing | None, said: Signed | _Own, row: Signed) -> None:
        """Note that a line is accepted: its rule, its change, what it hides; it stands."""
        op = Op.RECORD
        if row.kind == CLASS:
            rule = _rule(said, row)
            if rule != succession.rule_of(current):
                op = Op.RULE
                self._pending.rules[row.identifier] = rule
        self._pending.entries.append(Entry(op, row.identifier, row.version, "", row.digest))
        if isinstance(said, _Own) and said.marked:
            about = said.parsed[1].identifier
            self._pending.marked.append((about, row.version, said.marked))
        self._stand(row, row)

    def _stand(self, row: Signed, stands: Standing | Signed) -> None:
        text, last = row.identifier, self._accepted_last
        # Lines of one statement mostly follow each other.
        if last is None or not row.envelope.endswith(last):
            statement = statement_part(row.envelope)
            if statement is not None:
                self._accepted[statement] = None
                self._accepted_last = f"~{statement}"
        self._stands[text] = stands
        if self._kin is not None:
            self._kin[text] = Kin(text, stands.kind, stands.status, stands.parent)

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
