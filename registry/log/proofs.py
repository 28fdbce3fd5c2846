"""Proofs: what a published epoch of the log says of one identifier, assembled and never signed.

    A1  one statement: the checkpoint, and what stands of the identifier, its line and its prefixes
    A2  the epoch of that checkpoint, kept or read
    A3  the delegations that its map of prefixes shows, the holder's and those above
    A4  the record that its map of identifiers shows, or none and the class that covered it then
    A5  its ancestors, in the same way
    A6  the paths of their leaves; where something in the chain expires, also in the first
        checkpoint that covered the record

What the maps say decides: where a newer version or delegation stands already, the one before is
shown. A1 is one snapshot, and whatever is read after it was written once and never changes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from registry.store import proofs as store
from registry.store.engine import Store
from registry.store.log import CheckpointRow, Driver
from registry.store.maps import IDENTIFIERS, PREFIXES
from registry.store.proofs import PrefixRow, Read, RecordRow
from schemas.answer import covers
from schemas.delegation import DelegatedKey, Delegation, parse_delegation, parse_root
from schemas.envelope import digest
from schemas.errors import NoLog, NotFound, PrefixNotFound, ProofPending, TierlinkError, VerifyError
from schemas.evidence import EntryProof, IssuedProof, LogProof, PrefixProof
from schemas.identifier import ROOT_TEXT, Identifier, Prefix
from schemas.keys import B64, b64decode, b64encode
from schemas.leaf import commitment, status_digest
from schemas.record import MAX_ANCESTORS, Record, parse_record
from schemas.rotation import follow_rotation
from schemas.rule import compile_pattern
from schemas.source import Proved
from schemas.verifiable_map import MapProof, map_key, prefix_key, prefix_value

from .epochs import Buckets, Epochs, Held, Key, View

INDEX_BYTES = 8  # of a map value: the version of a record, or the leaf of a delegation

_parse = lru_cache(maxsize=4096)(parse_record)


class Proofs:
    """Makes proofs; owns what is kept for the next ones."""

    def __init__(self, opened: Store) -> None:
        self._store = opened
        self._epochs = Epochs(opened)

    async def bundle(self, identifier: Identifier, at: int | None = None) -> Proved:
        """Return what the newest published epoch proves, or the one that was it `at` a time.

        `at` is in Unix seconds. Raises NoLog, PrefixNotFound, and NotFound where the log had no
        checkpoint at that time yet; ProofPending where something stands that no published epoch
        covers. An identifier that nobody registered is proven to be absent.
        """
        async with self._store.statement() as driver:
            # A1
            read = await store.read(driver, identifier, at)
            checkpoint = _check(read, identifier, at)
            assert read.epoch is not None, "every checkpoint is of an epoch"
            # A2, kept
            view = self._epochs.known(read.epoch.epoch)
            if view is not None:
                making = _Assembly(self._epochs, driver, read, view, identifier, at=at)
                return await making.make()
        # A2, read: whoever waits for it holds no connection
        view = await self._epochs.view(checkpoint, read.epoch)
        async with self._store.statement() as driver:
            making = _Assembly(self._epochs, driver, read, view, identifier, at=at)
            return await making.make()


def _check(read: Read, identifier: Identifier, at: int | None) -> CheckpointRow:
    """Return the checkpoint that everything is proven by, or raise why there is none."""
    if not read.kept:
        raise NoLog(
            "this node keeps no transparency log, so nothing can be proven by it",
            value=identifier.text,
            fix="leave out proof=full: the answer itself is signed all the same",
        )
    prefix = identifier.prefix
    if str(prefix) not in read.prefixes:
        raise PrefixNotFound(
            f"no prefix is allocated here that holds {prefix}",
            value=identifier.text,
            fix="check the digits before the slash",
        )
    if read.checkpoint is None and at is not None:
        raise NotFound("the log had no checkpoint at that time", value=at, fix="ask for later")
    if read.checkpoint is None:
        raise ProofPending("the log has published no checkpoint yet")
    return read.checkpoint


class _Shown(NamedTuple):
    """A record as an epoch shows it, and its place in the log."""

    record: Record
    envelope: str
    place: int  # index of its leaf
    newest: MapProof


class _Assembly:
    """The making of one proof."""

    def __init__(
        self,
        epochs: Epochs,
        driver: Driver,
        read: Read,
        view: View,
        identifier: Identifier,
        *,
        at: int | None,
    ) -> None:
        self._epochs = epochs
        self._driver = driver
        self._read = read
        self._view = view
        self._identifier = identifier
        self._at = at
        self._buckets = Buckets(view)
        self._holder = read.prefixes[str(identifier.prefix)]

    async def make(self) -> Proved:
        """Take steps A3 to A6."""
        upward = self._upward()
        unknown = [_prefix_key(row) for row in upward if row.prefix not in self._view.held]
        await self._load([*unknown, *self._likely()])
        # A3
        held = [await self._delegations(row) for row in upward]
        chain = tuple(token for item in reversed(held) for token in item.tokens)
        # A4, A5
        own, first = await self._nearest()
        line = [item async for item in self._line(first)] if first is not None else []
        # A6
        size = self._view.checkpoint.size
        ends = self._root_ends() or any(item.ends for item in held)
        issued = await self._issued(line[0].place) if line and ends else None
        wanted = [(item.place, size) for item in line]
        wanted += [(line[0].place, issued.size)] if issued is not None else []
        paths = await self._epochs.paths(self._driver, wanted)
        log = LogProof(
            self._view.checkpoint.note,
            self._view.leaf,
            tuple(
                EntryProof(item.place, path, item.newest)
                for item, path in zip(line, paths, strict=False)
            ),
            (held[0].proof, *(_bound(item) for item in held[1:])),
            self._holder.salt,
            own,
            None if issued is None else IssuedProof(issued.note, paths[-1]),
        )
        envelopes = tuple(item.envelope for item in line)
        nearest = envelopes[0] if envelopes else None
        return Proved(self._identifier, nearest, envelopes[1:], chain, log)

    # A3

    def _upward(self) -> list[PrefixRow]:
        """Return the prefixes of the chain, the holder's first, without the root."""
        prefix = self._identifier.prefix
        names = (str(item) for item in (prefix, *prefix.ancestors()) if not item.is_root)
        return [self._read.prefixes[name] for name in names if name in self._read.prefixes]

    async def _delegations(self, row: PrefixRow) -> Held:
        known = self._view.held.get(row.prefix)
        if known is None:
            known = await self._prove_prefix(row)
            self._view.hold(row.prefix, known)
        return known

    async def _prove_prefix(self, row: PrefixRow) -> Held:
        key = _prefix_key(row)
        await self._load([key])
        proof, value = self._buckets.prove(key)
        if value is None:
            raise self._not_yet(f"the log has no delegation of {row.prefix}", prefix=row.prefix)
        index = int.from_bytes(value[:INDEX_BYTES], "big")
        committed = b64decode(commitment(row.salt, row.prefix))
        tokens = await self._run(row, index, committed, value)
        ends = any(_ends(parse_delegation(token)[1]) for token in tokens)
        return Held(tokens, PrefixProof(index, proof), committed, ends)

    async def _run(
        self, row: PrefixRow, index: int, committed: bytes, value: bytes
    ) -> tuple[str, ...]:
        """Return the delegation that a value stands for, and those before it that it rests on."""

        def told(token: str) -> bool:
            said = digest(token)
            digests = (b64decode(said), b64decode(status_digest(said, suspended=True)))
            return value in {prefix_value(index, committed, each) for each in digests}

        tokens = (*row.run, row.delegation)
        for count in range(len(tokens), 0, -1):
            if told(tokens[count - 1]):
                return tokens[:count]
        history = await store.find_delegations(self._driver, Prefix.parse(row.prefix))
        for place, token in enumerate(history):
            if told(token):
                return _run_of(history[: place + 1])
        raise _unknown(f"the delegation of {row.prefix} in leaf {index}")

    # A4

    async def _nearest(self) -> tuple[MapProof | None, _Shown | None]:
        """Return the record that answers; before it, where it is not the own, that this is absent.

        The rules are those of today; whether the class of then covered it is looked at.
        """
        own = await self._shown(self._identifier)
        if own is not None:
            return None, own
        if self._at is None and self._identifier.text in self._read.records:
            raise self._not_yet(f"{self._identifier} is not in the log")
        absent, _ = self._buckets.prove(self._key(self._identifier))
        covering = self._covering()
        if covering is None:
            return absent, None
        shown = await self._shown(covering)
        if shown is not None and covers(shown.record, self._identifier):
            return absent, shown
        if self._at is None:
            raise self._not_yet(f"the rule of {covering} is not in the log")
        return absent, None

    def _covering(self) -> Identifier | None:
        """Find the class whose rule answers: the longest head, then the smallest identifier."""
        fitting = [
            (-len(rule.head), rule.identifier)
            for rule in self._read.rules
            if compile_pattern(rule.pattern).regex.fullmatch(self._identifier.suffix)
        ]
        return Identifier.parse(min(fitting)[1]) if fitting else None

    # A5

    async def _line(self, first: _Shown) -> AsyncIterator[_Shown]:
        """Give a record and its ancestors, nearest first."""
        shown = first
        yield shown
        for _ in range(MAX_ANCESTORS):
            if shown.record.parent is None:
                return
            above = await self._shown(shown.record.parent)
            if above is None:
                raise self._not_yet(f"{shown.record.parent} is not in the log")
            shown = above
            yield shown

    async def _shown(self, identifier: Identifier) -> _Shown | None:
        """Return the version of a record that the epoch shows, None where it shows none."""
        key = self._key(identifier)
        await self._load([key])
        proof, value = self._buckets.prove(key)
        if value is None:
            return None
        version = int.from_bytes(value[:INDEX_BYTES], "big")
        row = await self._version(identifier, version, b64encode(value[INDEX_BYTES:]))
        if row.idx is None:
            raise _unknown(f"the leaf of version {version} of {identifier}")
        return _Shown(_parse(row.envelope)[1], row.envelope, row.idx, proof)

    async def _version(self, identifier: Identifier, version: int, said: B64) -> RecordRow:
        standing = self._read.records.get(identifier.text)
        if standing is not None and standing.digest == said:
            return standing
        for row in await store.find_version(self._driver, identifier, version):
            if row.digest == said:
                return row
        raise _unknown(f"version {version} of {identifier}")

    # A6

    async def _issued(self, index: int) -> CheckpointRow | None:
        """Return the first checkpoint that covers a leaf, None where the proof's own is that."""
        first = await self._epochs.first_covering(self._driver, index)
        return None if first.size >= self._view.checkpoint.size else first

    def _root_ends(self) -> bool:
        root = self._read.prefixes.get(ROOT_TEXT)
        return root is not None and _root_ends(root.delegation)

    # All steps

    def _key(self, identifier: Identifier) -> Key:
        return IDENTIFIERS, map_key(self._holder.salt, identifier.text.encode())

    def _likely(self) -> Iterable[Key]:
        """Return the keys that A4 and A5 will ask for where nothing is newer than the epoch."""
        names = dict.fromkeys([self._identifier.text, *self._read.records])
        return [(IDENTIFIERS, map_key(self._holder.salt, name.encode())) for name in names]

    async def _load(self, keys: Iterable[Key]) -> None:
        await self._epochs.load(self._driver, self._view, self._buckets, keys)

    def _not_yet(self, what: str, *, prefix: str | None = None) -> TierlinkError:
        """Say that something is missing: yet, or at the time asked about."""
        if self._at is None:
            return ProofPending(f"{what} yet; the next checkpoint will cover it")
        if prefix is not None:
            return PrefixNotFound(f"at that time {what} yet", value=prefix)
        return NotFound(f"at that time {what} yet", value=self._identifier.text)


def _prefix_key(row: PrefixRow) -> Key:
    return PREFIXES, prefix_key(row.prefix)


def _run_of(tokens: Sequence[str]) -> tuple[str, ...]:
    """Return the last of some delegations of a prefix and those before that it rests on.

    It rests on the one before where the holder's own keys signed it (`schemas.rotation`).
    """
    start = len(tokens) - 1
    while start > 0:
        before = parse_delegation(tokens[start - 1])[1]
        try:
            follow_rotation(before, *parse_delegation(tokens[start]))
        except VerifyError:
            break
        start -= 1
    return tuple(tokens[start:])


def _bound(held: Held) -> PrefixProof:
    """Return the proof of a prefix above the holder's, whose salt is not told."""
    return replace(held.proof, commitment=held.commitment)


@lru_cache(maxsize=8)
def _root_ends(token: str) -> bool:
    return _ends(parse_root(token)[1])


def _ends(delegation: Delegation) -> bool:
    """Tell whether a certificate or one of its keys ceases to be valid."""
    ending: list[Delegation | DelegatedKey] = [delegation, *delegation.keys]
    return any(item.valid_until is not None for item in ending)


def _unknown(what: str) -> TierlinkError:
    return TierlinkError(
        f"the log shows what the registry does not have: {what}",
        fix="restore the database from a backup; the log was written from another",
    )
