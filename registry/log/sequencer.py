"""The sequencer: gives every accepted write its place in the log, in three transactions.

    integrate      S1  lock the state; it is where our memory says it is                 I9
                   S2  the next changes in order (xid, id), below the snapshot's xmin
                   S3  their leaves, and the tree grown by them, in memory
                   S4  write entries, index and tiles; move state and cursor on       I3, I4, I7
                   S5  after the commit, and not before, the grown tree is the tree

    commit_epoch   E1  lock the state, as S1
                   E2  the leaves since the last epoch, into the maps
                   E3  a leaf with the roots of both maps, written as in S4              I12
                   E4  after the commit the staged maps stand, and the grown tree

    publish        `registry.log.publishing`

Cursor, entries and tiles move in one transaction, so a crash at any step leaves nothing half done
(I11). One process leads at a time, by an advisory lock on a connection of its own; the lock is for
peace, the row lock and the compared size are for safety.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

import asyncpg

from registry.store import log as store
from registry.store.engine import Store
from registry.store.log import Driver, EpochRow, StateRow, TileRow
from schemas.errors import TierlinkError, Unavailable
from schemas.leaf import Epoch

from . import heads
from .broken import LogBroken
from .leaves import Entry, entry_of, other
from .maps import Maps
from .publishing import Publisher
from .tree import Tree

BATCH = 1024  # changes of one transaction: the event loop is another's for no longer than that
UNCOVERED = 65_536  # leaves that one epoch takes in, about
TURN = 0.2  # seconds between two looks at the outbox, and of integrating in one go
RETRY = 1.0  # seconds until a rival, or a node without its database, tries again

_log = logging.getLogger("tierlink.log")


class Overtaken(Unavailable):
    """Another sequencer has written meanwhile: what this one has in memory is of the past."""


class Sequencer:
    """Appends to one log. One task uses it; `open` before anything else, and after any failure."""

    def __init__(
        self,
        opened: Store,
        maps: Maps,
        publisher: Publisher,
        *,
        epoch_seconds: float = 1.0,
        heartbeat: float | None = None,
    ) -> None:
        """Keep epochs `epoch_seconds` apart; with `heartbeat` make one after so many idle ones.

        A verifier that accepts no checkpoint older than some age needs the heartbeat.
        """
        self._store = opened
        self._maps = maps
        self._publisher = publisher
        self._epoch_seconds = epoch_seconds
        self._heartbeat = heartbeat
        self._tree = Tree()
        self._covered = 0  # leaves up to and with that of the last epoch
        self._published = False  # whether that epoch is
        self._last_epoch = 0.0  # monotonic seconds
        self.amiss = ""  # why the log does not go on, empty where it does; for operators

    @property
    def size(self) -> int:
        """Leaves that are committed, as far as this sequencer knows."""
        return self._tree.size

    @property
    def root(self) -> bytes:
        """The root over them."""
        return self._tree.root

    async def open(self) -> None:
        """Read where the log is; raise LogBroken where it must not go on from there."""
        async with self._store.read() as tx:
            driver = await tx.driver()
            state = await store.state(driver)
            if state is None:
                raise TierlinkError("the log was never founded", fix="start `tierlink registry`")
            await self._publisher.check(driver)
            self._tree = await heads.tree_at(driver, state.size, state.root)
            epoch = await store.find_epoch(driver, state.epoch)
            await self._maps.load(tx)
        self._covered = 0 if epoch is None else epoch.idx + 1
        self._published = False

    # Integrate

    async def integrate(self, limit: int = BATCH) -> int:
        """Append the leaves of the next changes; return how many changes were taken."""
        try:
            return await self._integrate(limit, doubtful=False)
        except asyncpg.UniqueViolationError:
            # An envelope that is in the log already; which one is only asked for then.
            return await self._integrate(limit, doubtful=True)

    async def _integrate(self, limit: int, *, doubtful: bool) -> int:
        async with self._store.driving() as driver:
            # S1
            state = await self._locked(driver)
            # S2
            rows = await store.pending(driver, state.cursor_xid, state.cursor_id, limit)
            if not rows:
                return 0
            # S3
            entries = [entry_of(row) for row in rows]
            if doubtful:
                entries = await _unknown(driver, entries)
            tree, tiles = self._tree.append([entry.hash for entry in entries])
            # S4
            await _write(driver, state.size, entries, tiles)
            cursor = (rows[-1].xid, rows[-1].id)
            new = StateRow(state.origin, tree.size, tree.root, *cursor, state.epoch)
            await _advance(driver, state, new)
        # S5
        self._tree = tree
        return len(rows)

    # Epochs

    async def commit_epoch(self, *, idle: bool = False) -> bool:
        """Commit both maps over all leaves so far; False without new ones, unless `idle`."""
        async with self._store.write() as tx:
            driver = await tx.driver()
            # E1
            state = await self._locked(driver)
            if state.size == self._covered and not (idle and state.size):
                return False
            # E2
            entries = await store.find_entries(driver, self._covered, state.size)
            number = state.epoch + 1
            staged = await self._maps.stage(tx, number, entries)
            # E3
            roots = (staged.identifiers, staged.prefixes)
            entry = other(Epoch(number, state.size, *roots).entry)
            tree, tiles = self._tree.append([entry.hash])
            await _write(driver, state.size, [entry], tiles)
            await store.put_epoch(driver, EpochRow(number, state.size, state.size, *roots))
            cursor = (state.cursor_xid, state.cursor_id)
            await _advance(
                driver, state, StateRow(state.origin, tree.size, tree.root, *cursor, number)
            )
        # E4
        self._maps.adopt(staged)
        self._tree = tree
        self._covered = tree.size
        self._published = False
        return True

    async def _locked(self, driver: Driver) -> StateRow:
        state = await store.state(driver, lock=True)
        if state is None or (state.size, state.root) != (self._tree.size, self._tree.root):
            raise Overtaken(f"the log is not at {self._tree.size}, where this sequencer left it")
        return state

    # Publish

    async def publish(self) -> bool:
        """Publish the last epoch's checkpoint; tell whether it is published now."""
        self._published = await self._publisher.publish()
        return self._published

    # Run

    async def run(self) -> None:
        """Lead whenever nobody else does, for ever; raise LogBroken where the log must stop."""
        while True:
            try:
                async with self._store.dedicated() as driver:
                    while not await store.lead(driver):  # noqa: ASYNC110  (a lock in the database)
                        await asyncio.sleep(RETRY)
                    await self._lead(driver)
            except LogBroken:
                raise
            except Unavailable as err:
                self.amiss = err.detail
                _log.info("the log waits: %s", err.detail)
            except Exception:  # noqa: BLE001  (said with its traceback; it must not end the node)
                # A mistake of ours, or a row that nobody should have written: what is registered
                # stays registered, and the log goes on from it as soon as it can.
                self.amiss = "see the service's log"
                _log.exception("the log waits")
            await asyncio.sleep(RETRY)

    async def _lead(self, driver: Driver) -> None:
        """Append and publish until the connection that holds the leadership is lost."""
        await self.open()
        while True:
            if await store.waiting(driver):
                await self._drain()
            if time.monotonic() >= self._last_epoch + self._epoch_seconds:
                await self._conclude()
            await asyncio.sleep(min(TURN, self._epoch_seconds))

    async def _drain(self) -> None:
        """Integrate what waits, for no longer than a turn or an epoch's worth of leaves.

        What is written meanwhile, one by one, waits for the next turn: a transaction for each
        would flush the disk as often as the writers do, and in their way.
        """
        until = time.monotonic() + TURN
        while await self.integrate() >= BATCH and time.monotonic() < until:
            if self._tree.size - self._covered >= UNCOVERED:
                await self.commit_epoch()
            await asyncio.sleep(0)

    async def _conclude(self) -> None:
        """Commit an epoch where there is something new, and publish what is not published."""
        idle = self._is_stale()
        if idle or self._tree.size > self._covered:
            await self.commit_epoch(idle=idle)
        elif self._published:
            return
        self._last_epoch = time.monotonic()
        published = await self.publish()
        self.amiss = "" if published else "too few witnesses cosign"

    def _is_stale(self) -> bool:
        """Tell whether the last checkpoint is so old that verifiers will soon refuse it."""
        age = self._publisher.age
        return self._heartbeat is not None and age is not None and age >= self._heartbeat


async def _unknown(driver: Driver, entries: Sequence[Entry]) -> list[Entry]:
    """Leave out whatever is in the log already, or twice among these (I7)."""
    named = [entry.digest for entry in entries if entry.digest is not None]
    seen = set(await store.find_index(driver, named))
    found = []
    for entry in entries:
        if entry.digest is None:
            found.append(entry)
        elif entry.digest not in seen:
            found.append(entry)
            seen.add(entry.digest)
    return found


async def _write(
    driver: Driver, first: int, entries: Sequence[Entry], tiles: Sequence[TileRow]
) -> None:
    """Write entries from index `first` on, where their envelopes are, and the tiles (S4)."""
    await store.append(driver, first, [(entry.hash, entry.leaf) for entry in entries])
    places = [
        (entry.digest, at) for at, entry in enumerate(entries, first) if entry.digest is not None
    ]
    await store.put_index(driver, places)
    if tiles and await store.put_tiles(driver, tiles) != len(tiles):
        raise LogBroken("I4", "a tile in the database is not the beginning of the grown one")


async def _advance(driver: Driver, old: StateRow, new: StateRow) -> None:
    if not await store.advance(driver, old.size, new):
        raise Overtaken(f"the log is not at {old.size} any more")
