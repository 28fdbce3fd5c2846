"""The registry as a source for resolvers: read-only, one statement per call.

Satisfies `resolver.sources.Source` by its shape. Each reply is of one snapshot and carries that
snapshot's watermark:

    epoch      system identifier : timeline : incarnation : last recovery from a crash, hashed:
               which history this is
    position   the snapshot's xmin: every transaction below it had ended when it was taken

A row of `changes` bears the id of its transaction, and ids commit out of order: whoever reads on
from the highest id seen loses what commits late. So a poll reads only below xmin and goes on from
there (docs/operations.md). Calls may run concurrently, and none depends on one before.

A standby is read by way of its primary (`registry.primary`), else it says nothing: it cannot know
how far it is behind.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from typing import Any, TypeVar

import asyncpg

from registry import accounts, disclosures
from registry.log.proofs import Proofs
from registry.primary import Primary
from registry.store import feed, grants, outlines, reads
from registry.store.engine import ReadTx, Store
from registry.store.replay import Place
from registry.store.tables import unit_of
from schemas.answer import MAX_LINKS
from schemas.change import Batch, Canary, Change, Op, Watermark
from schemas.disclosure import Marked
from schemas.errors import BadQuery, Unavailable
from schemas.identifier import ROOT_TEXT, Identifier, Prefix
from schemas.keys import b64encode, sha256
from schemas.link import SIDES, UPSTREAM, Link, parse_assertion, stands
from schemas.outline import Asked, Level, Outline, Sweep
from schemas.record import MAX_ANCESTORS, RETIRED, SUSPENDED
from schemas.rule import MAX_HEAD, compile_pattern
from schemas.source import MAX_NOTICES, Blinded, Edge, Edges, Fetched, Found, Proved, State
from schemas.viewer import ANYBODY, Near, Viewer
from schemas.when import NOW, When

T = TypeVar("T")

MAX_IDENTIFIERS = 1_000  # of one fetch
MAX_LEVEL = 100_000  # of one level of a walk, and of records alone
MAX_EDGES = 100_000
SWEPT = 2_000  # links: of more a walk reads level by level
MAX_MET = 256  # units that walks from one prefix are expected to meet
MAX_CHANGES = 10_000  # of one batch; whoever is further behind asks again

_PSEUDONYM = 22  # characters: 132 bits
_EPOCH_CHARACTERS = 16  # 96 bits of the hash: histories are few


class Reader:
    """Reads for resolvers.

    Owns what is kept for proofs, which never changes, and which units walks met: a guess, which no
    answer depends on.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], float] = time.time,
        *,
        primary: Primary | None = None,
        blinding: bytes | None = None,
        ttl: int = 0,
    ) -> None:
        """`primary` is that of the standby, or the node that may become one, behind `store`.

        `blinding` is the secret of the pseudonyms; a new one where none is given. `ttl` is for how
        many seconds other nodes may keep what they are told.
        """
        self._ttl = ttl
        self._blinding = blinding or secrets.token_bytes(32)
        self._store = store
        self._primary = primary
        self._proofs = Proofs(store)
        self._clock = clock
        self._met: dict[tuple[Prefix, str], set[int]] = {}

    @property
    def replay_lag(self) -> float:
        """Seconds that a standby was behind its primary at the last reading; 0 on a primary."""
        return 0.0 if self._primary is None else self._primary.lag

    @asynccontextmanager
    async def _statement(self) -> AsyncIterator[tuple[asyncpg.Connection[Any], Place | None]]:
        """Lend a connection for one statement, which then sees all that was accepted before."""
        if self._primary is None:
            async with self._store.statement() as driver:
                yield driver, None
            return
        place = await self._primary.place()
        async with self._store.statement() as driver:
            yield driver, await self._primary.reached(driver, place)

    async def _caught_up(self) -> None:
        if self._primary is not None:
            async with self._statement():
                pass

    async def fetch(
        self, identifiers: Sequence[Identifier], *, whole: bool = True, viewer: Viewer = ANYBODY
    ) -> Fetched:
        """Return what is known of each identifier, missing ones too, in the order asked for."""
        asked = _distinct(identifiers, MAX_IDENTIFIERS if whole else MAX_LEVEL)
        async with self._statement() as (driver, place):
            if whole:
                read = await reads.fetch(driver, asked, MAX_LINKS + 1, viewer)
            else:
                read = await reads.fetch_records(driver, asked)
        watermark = _watermark(read.moment, place)
        view = _View(read)
        found = {identifier: view.found(identifier, whole=whole) for identifier in asked}
        return Fetched(found, view.delegations, watermark, _kept(self._ttl, found.values()))

    async def edges(
        self,
        level: Sequence[Near],
        direction: str,
        limit: int,
        viewer: Viewer = ANYBODY,
        *,
        when: When = NOW,
    ) -> Edges:
        """Return the links of a level of a walk that a viewer is shown, at most `limit`.

        Of `when` the recorded time is looked at; valid time is in what the ends signed, and for
        whoever verifies it to judge. What a viewer is shown is decided as of now.
        """
        if direction not in SIDES:
            raise BadQuery("direction is upstream or downstream", value=direction)
        if not 0 < limit <= MAX_EDGES:
            raise BadQuery(f"limit is from 1 to {MAX_EDGES}", value=limit)
        asked = list({near.identifier: near for near in _distinct(level, MAX_LEVEL)}.values())
        async with self._statement() as (driver, place):
            read = await reads.edges(driver, asked, direction, limit + 1, viewer, as_of=when.as_of)
        watermark = _watermark(read.moment, place)
        view = _View(read, of_the_past=when.as_of is not None)
        links = sorted(read.links, key=lambda row: (row.rank, row.side))
        ranks = [row.rank for row in read.links] + [row.rank for row in read.blinded]
        return Edges(
            _edges(view.heard(row for row in links if row.rank <= limit)),
            view.delegations,
            watermark,
            truncated=max(ranks, default=0) > limit,
            blinded=self._blinded((row for row in read.blinded if row.rank <= limit), viewer),
        )

    async def sweep(self, root: Identifier, asked: Asked, depth: int) -> Sweep:
        """Return all links that can be reached from a root, where one statement can tell.

        It can of few links, where no grant of a unit that is met has conditions, and no prefix is
        suspended. Which units will be met is guessed from walks before this one.
        """
        met = self._met_from(root, asked.direction)
        async with self._statement() as (driver, place):
            swept = await outlines.sweep(driver, root, asked, depth, limit=SWEPT, units=met)
        watermark = _watermark(swept.moment, place)
        registered = swept.record is not None and not swept.away and not swept.silent
        strange = set(swept.units) - swept.known.keys()
        if len(met) + len(strange) <= MAX_MET:
            met |= strange
        conditional = outlines.CONDITIONAL in {swept.known.get(unit) for unit in swept.units}
        useless = strange or conditional or swept.silent or swept.away
        if useless or len(swept.links) >= SWEPT:
            return Sweep(registered, None, watermark)
        return Sweep(registered, swept.links, watermark)

    def _met_from(self, root: Identifier, direction: str) -> set[int]:
        start = (root.prefix, direction)
        if start not in self._met:
            if len(self._met) >= MAX_MET:
                del self._met[next(iter(self._met))]
            self._met[start] = {unit_of(root.prefix)}
        return self._met[start]

    async def survey(self, level: Level, asked: Asked, limit: int) -> Outline:
        """Return the links of a level of a walk that a viewer is shown, about `limit` at most."""
        async with self._statement() as (driver, place):
            found = await outlines.survey(driver, level, asked, limit + 1)
        _watermark(found.moment, place)
        rows = (
            reads.BlindedRow(near, asked.direction, far, kind, lifecycle, 0)
            for near, far, kind, lifecycle in found.blinded
        )
        return Outline(
            [at - 1 for at in found.near],
            found.far,
            found.texts,
            found.last - 1 if found.read > limit else None,
            self._blinded(rows, asked.viewer),
            found.away,
        )

    def _blinded(self, rows: Iterable[reads.BlindedRow], viewer: Viewer) -> tuple[Blinded, ...]:
        """Put pseudonyms in the place of far ends: the same for the same, for one viewer's trace.

        He is part of what they are made of, so that two who agree on a trace have nothing to
        compare.
        """
        context = f"{viewer.trace}\0{viewer.prefix or ''}".encode()
        key = hmac.digest(self._blinding, context, "sha256")
        found = [
            Blinded(Identifier.parse(row.near), _pseudonym(key, row.far), row.type, row.lifecycle)
            for row in rows
        ]
        # By the code they were sorted by its place in the alphabet, which is to stay unknown.
        return tuple(sorted(found, key=lambda item: (item.near.text, item.far)))

    async def disclosures(self, versions: Sequence[tuple[Identifier, int]]) -> tuple[Marked, ...]:
        """Return what these versions of records hide, and who may see it. One statement."""
        await self._caught_up()
        return await disclosures.read(self._store, versions)

    async def caller(self, authorization: str) -> Prefix:
        """Return the prefix that an Authorization header speaks for; raise Unauthenticated."""
        await self._caught_up()
        async with self._store.read() as tx:
            return (await accounts.authenticate(tx, authorization, int(self._clock()))).prefix

    async def granted(
        self, grantors: Sequence[Prefix], direction: str, purpose: str, limit: int
    ) -> Sequence[tuple[Prefix, str]]:
        """Return what holders grant to somebody by name that is in force and fits a trace.

        Each is whom it is to, and its envelope, at most `limit` of them. One statement.
        """
        if not grantors:
            return ()
        async with self._statement() as (driver, _):
            return await grants.granted(driver, grantors, direction, purpose, limit)

    async def prove(self, identifier: Identifier, at: int | None = None) -> Proved:
        """Return what the newest published epoch of the log proves, or the one of a time."""
        await self._caught_up()
        return await self._proofs.bundle(identifier, at)

    async def changes(self, after: Watermark | None, limit: int = MAX_CHANGES) -> Batch:
        """Return at once what changed since `after`, oldest first, and the new watermark.

        About `limit` changes at most, all those of one transaction together; `more` says that
        the new watermark is not yet that of now. `floor` where some since `after` are not kept any
        more: all from there on are.
        """
        since = None if after is None else after.position
        async with self._statement() as (driver, place):
            told = await reads.changes(driver, since, limit)
        now = _watermark(told.moment, place)
        canary = None if told.canary is None else Canary(told.canary.xid, told.canary.age)
        if after is None or after.epoch != now.epoch:
            return Batch((), now, canary=canary)
        changes = _changes(told.rows)
        floor = told.since if after.position < told.since else None
        if len(changes) < limit:
            # The snapshot of another node of the same history may lie further back than `after`.
            position = max(now.position, after.position)
            return Batch(changes, Watermark(now.epoch, position), canary=canary, floor=floor)
        reached = changes[-1].position + 1
        more = reached < now.position
        return Batch(changes, Watermark(now.epoch, reached), more=more, canary=canary, floor=floor)

    async def changes_for(
        self, viewer: Viewer, after: Watermark | None, limit: int = MAX_CHANGES
    ) -> Batch:
        """Return what somebody is told of the changes since `after`, as `changes` does.

        Changes of links that he is not shown are not there, nor grants that are not his; the
        holder of the root is told of all. As far as MAX_CHANGES rows reach nothing else tells
        that any were left out: the new watermark passes over them. Where they do not reach, a
        batch may be short, or empty, and there is `more`.
        """
        since = None if after is None else after.position
        everything = viewer.prefix is not None and viewer.prefix.is_root
        async with self._statement() as (driver, place):
            told = await feed.changes(
                driver, since, limit, MAX_CHANGES, viewer, everything=everything
            )
        now = _watermark(told.moment, place)
        canary = None if told.canary is None else Canary(told.canary.xid, told.canary.age)
        if after is None or after.epoch != now.epoch:
            return Batch((), now, canary=canary)
        changes = _changes(told.rows)
        floor = told.since if after.position < told.since else None
        reached = changes[-1].position if told.further else told.reached
        if reached is None:
            position = max(now.position, after.position)
            return Batch(changes, Watermark(now.epoch, position), canary=canary, floor=floor)
        more = reached + 1 < now.position
        watermark = Watermark(now.epoch, reached + 1)
        return Batch(changes, watermark, more=more, canary=canary, floor=floor)


def _kept(ttl: int, found: Iterable[Found]) -> int:
    """Return for how many seconds other nodes may keep what was found: none of it turns before."""
    turns = (int(item.turns_in) for item in found if item.turns_in is not None)
    return min(ttl, min(turns, default=ttl))


def _changes(rows: Iterable[reads.ChangeRow]) -> tuple[Change, ...]:
    return tuple(Change(row.xid, Op(row.op), row.about, row.version, row.also) for row in rows)


async def states(tx: ReadTx, identifiers: Sequence[Identifier]) -> dict[Identifier, State]:
    """Tell what each identifier is here, its prefix apart: found, covered, retired or missing."""
    view = _View(await reads.states(await tx.driver(), identifiers))
    return {identifier: view.state(identifier) for identifier in identifiers}


def _pseudonym(key: bytes, code: str) -> str:
    return "b:" + b64encode(hmac.digest(key, code.encode(), "sha256"))[:_PSEUDONYM]


def _distinct(identifiers: Sequence[T], limit: int) -> list[T]:
    if len(identifiers) > limit:
        raise BadQuery(
            f"{len(identifiers)} identifiers in one call, the limit is {limit}",
            value=len(identifiers),
            fix="ask for fewer at a time",
        )
    return list(dict.fromkeys(identifiers))


def _watermark(moment: reads.Moment, place: Place | None = None) -> Watermark:
    """Name the history and the position; raise Unavailable where the history has no name.

    `place` is the primary's, where it was asked for: a standby of another history says nothing.
    """
    if moment.incarnation is None:
        raise Unavailable(
            "the database was never founded", retry_after=5, fix="run `tierlink migrate`"
        )
    if moment.timeline is None:
        # A standby that receives nothing may be any time behind: it cannot promise freshness.
        raise Unavailable("this standby is cut off from its primary", retry_after=5)
    if moment.standby and place is None:
        raise Unavailable(
            "this database is a standby, which cannot know how far it is behind",
            retry_after=5,
            fix="set TIERLINK_PRIMARY_URL",
        )
    if place is not None and (place.system, place.timeline) != (moment.system, moment.timeline):
        raise Unavailable("this standby follows another history than its primary", retry_after=5)
    # Of the crashes of a standby nothing follows: what it replays had been flushed.
    recovered = moment.recovered if place is None else place.recovered
    name = f"{moment.system}:{moment.timeline}:{moment.incarnation}:{recovered}"
    return Watermark(b64encode(sha256(name.encode()))[:_EPOCH_CHARACTERS], moment.xmin)


class _View:
    """What one statement read, put together per identifier."""

    def __init__(self, read: reads.Read, *, of_the_past: bool = False) -> None:
        """`of_the_past`: among the links may be some that nobody stood behind at the time."""
        self._of_the_past = of_the_past
        self._prefixes = read.prefixes
        self._records = read.records
        self._notices = read.notices
        self._turns = read.turns
        self._suspended: dict[str, bool] = {}
        self._rules: dict[tuple[str, str], list[reads.RuleRow]] = {}
        for rule in sorted(read.rules, key=lambda row: row.identifier):
            if read.records[rule.identifier].status != RETIRED:
                place = (rule.identifier.partition("/")[0], rule.head)
                self._rules.setdefault(place, []).append(rule)
        self._links: dict[str, list[reads.LinkRow]] = {}
        for link in read.links:
            self._links.setdefault(link.near, []).append(link)

    @property
    def delegations(self) -> tuple[str, ...]:
        """The delegations that were read, each behind those it rests on; never the root's."""
        return tuple(
            token
            for name, row in sorted(self._prefixes.items())
            if name != ROOT_TEXT
            for token in row.tokens
        )

    def state(self, identifier: Identifier) -> State:
        """Tell what an identifier is where its prefix lives here."""
        own = self._records.get(identifier.text)
        if own is not None:
            return State.RETIRED if own.status == RETIRED else State.FOUND
        return State.MISSING if self._covering(identifier) is None else State.COVERED

    def found(self, identifier: Identifier, *, whole: bool) -> Found:
        """Return what there is on one identifier."""
        away = self._away(identifier.prefix)
        if away is not None:
            return Found(identifier, away)
        first = self._records.get(identifier.text) or self._covering(identifier)
        if first is None:
            return Found(identifier, State.MISSING)
        if first.status == RETIRED:
            return Found(identifier, State.RETIRED, (first.envelope,))
        state = State.FOUND if first.identifier == identifier.text else State.COVERED
        if not whole:
            return Found(identifier, state, (first.envelope,))
        links = self._links.get(identifier.text, [])
        return Found(
            identifier,
            state,
            self._lineage(first),
            tuple(
                row.envelope
                for row in self.heard(
                    row for row in sorted(links, key=_key_order) if row.rank <= MAX_LINKS
                )
            ),
            more_links=any(row.rank > MAX_LINKS for row in links),
            notices=self._marking(identifier, first),
            turns_in=self._turns.get(unit_of(identifier.prefix)) if self._turns else None,
        )

    def _marking(self, identifier: Identifier, first: reads.RecordRow) -> tuple[str, ...]:
        """Return the notices that mark an identifier, or what its answer is made from."""
        if not self._notices:
            return ()
        marked = {identifier.text, *(row.identifier for row in self._line(first))}
        found: dict[str, str] = {}
        for name in sorted(marked):
            found |= self._notices.get(name, {})
        return tuple(found[name] for name in sorted(found))[:MAX_NOTICES]

    def heard(self, rows: Iterable[reads.LinkRow]) -> Iterator[reads.LinkRow]:
        """Yield what may be said of links, given link by link, where anybody stands behind them."""
        for _, group in groupby(rows, key=lambda row: row.rank):
            said = list(group)
            heard = [row for row in said if self.may_speak(row)]
            # Where nobody is silenced somebody stands, else there were no edge, but in the past.
            if (len(heard) == len(said) and not self._of_the_past) or stands(
                parse_assertion(row.envelope)[1] for row in heard
            ):
                yield from heard

    def may_speak(self, row: reads.LinkRow) -> bool:
        """Tell whether the prefix of who stated a link is known here and is not suspended."""
        speaker = row.far if row.side == row.direction else row.near
        prefix = speaker.partition("/")[0]
        return prefix in self._prefixes and not self._is_suspended(prefix)

    def _away(self, prefix: Prefix) -> State | None:
        """Tell why nothing under a prefix answers here; None where it does."""
        held = (self._prefixes.get(str(item)) for item in (prefix, *prefix.ancestors()))
        nearest = next((row for row in held if row is not None), None)
        if nearest is None:
            return State.NOWHERE
        if self._is_suspended(nearest.prefix):
            return State.PREFIX_SUSPENDED
        if nearest.home is not None:
            return State.FOREIGN
        return None if nearest.prefix == str(prefix) else State.NOWHERE

    def _covering(self, identifier: Identifier) -> reads.RecordRow | None:
        """Find the class whose rule answers: the longest head, then the smallest identifier."""
        prefix, suffix = str(identifier.prefix), identifier.suffix
        for length in range(min(len(suffix), MAX_HEAD), -1, -1):
            for rule in self._rules.get((prefix, suffix[:length]), ()):
                if compile_pattern(rule.pattern).regex.fullmatch(suffix):
                    return self._records[rule.identifier]
        return None

    def _lineage(self, first: reads.RecordRow) -> tuple[str, ...]:
        """Return a record's envelope and its ancestors', nearest first."""
        return tuple(row.envelope for row in self._line(first))

    def _line(self, first: reads.RecordRow) -> list[reads.RecordRow]:
        line = [first]
        while line[-1].parent is not None and len(line) <= MAX_ANCESTORS:
            above = self._records.get(line[-1].parent)
            if above is None or above in line:
                break
            line.append(above)
        return line

    def _is_suspended(self, prefix: str) -> bool:
        known = self._suspended.get(prefix)
        if known is None:
            here = Prefix.parse(prefix)
            rows = (self._prefixes.get(str(held)) for held in (here, *here.ancestors()))
            known = any(row is not None and row.status == SUSPENDED for row in rows)
            self._suspended[prefix] = known
        return known


def _key_order(row: reads.LinkRow) -> tuple[str, ...]:
    """Sort as answers list links, and within a link by side."""
    up, down = (row.far, row.near) if row.direction == UPSTREAM else (row.near, row.far)
    return (up, down, row.type, row.lifecycle, row.occurrence, row.side)


def _edges(rows: Iterable[reads.LinkRow]) -> tuple[Edge, ...]:
    """Gather assertions, in order, into the links they are about."""
    parsed: dict[str, Identifier] = {}

    def end(text: str) -> Identifier:
        if text not in parsed:
            parsed[text] = Identifier.parse(text)
        return parsed[text]

    found: list[Edge] = []
    for _, group in groupby(rows, key=lambda row: row.rank):
        stated = list(group)
        row = stated[0]
        up, down = (row.far, row.near) if row.direction == UPSTREAM else (row.near, row.far)
        link = Link(row.type, end(up), end(down), row.lifecycle, row.occurrence)
        found.append(Edge(link, tuple(item.envelope for item in stated)))
    return tuple(found)
