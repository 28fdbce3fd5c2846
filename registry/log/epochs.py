"""What is kept in memory of published epochs, so that a proof of the newest reads next to nothing.

    tops      of both maps, of the last few epochs asked for; the next one is made from the one
              before by what changed in between, an older one from the newest rows up to it
    buckets   by the root of their subtree, so a bucket that did not change is the same in every
              epoch; what is read is hashed, and refused where it is not what the top says
    tiles     of the log (`registry.log.tiles`)
    firsts    which checkpoint was the first to cover a leaf

Everything in here was written once and never changes: nothing has to be made void.
Owned by one event loop.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from registry.store import log as log_store, maps as store
from registry.store.engine import Store
from registry.store.log import CheckpointRow, Driver, EpochRow
from schemas.errors import TierlinkError
from schemas.evidence import EpochProof, PrefixProof
from schemas.leaf import Epoch
from schemas.verifiable_map import MapProof

from .buckets import Bucket
from .maps import Place, Tops, put_all
from .tiles import Tiles
from .tops import Way, finish, value_at

VIEWS = 8  # epochs whose tops are kept; neighbours share most of them
FIRSTS = 4_096  # leaves whose first checkpoint is kept, some 700 bytes each
HELD = 4_096  # prefixes of one epoch whose proofs are kept
ENTRIES = 100_000  # map entries in kept buckets; with their hashes some 400 bytes each
FOLLOWED = 1_000  # epochs from a kept one up to which the changes between are read
READS = 3  # of tiles for one proof

Key = tuple[int, bytes]
"""(map, key)."""


@dataclass(frozen=True, slots=True)
class Held:
    """The delegations of one prefix as an epoch shows them, root-most first, and their proof."""

    tokens: tuple[str, ...]
    proof: PrefixProof
    commitment: bytes
    ends: bool  # whether a certificate or key among them expires


@dataclass(frozen=True, slots=True)
class View:
    """A published epoch: its checkpoint, its leaf in that, and the tops of its maps.

    `held` keeps what was proven of prefixes: every identifier below one needs the same again.
    """

    checkpoint: CheckpointRow
    epoch: EpochRow
    leaf: EpochProof
    tops: Tops
    held: dict[str, Held] = field(default_factory=dict, repr=False, compare=False)

    def hold(self, prefix: str, held: Held) -> None:
        """Keep what was proven of a prefix."""
        if len(self.held) >= HELD:
            self.held.clear()
        self.held[prefix] = held

    def way(self, key: Key) -> Way:
        """Return how far the tops lead to a key."""
        return self.tops.of(key[0]).way(key[1])


class Buckets:
    """The buckets that one proof needs, held until it is made."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._held: dict[bytes, Bucket] = {}
        self._ways: dict[Key, Way] = {}

    def missing(self, keys: Iterable[Key]) -> dict[bytes, Place]:
        """Return which buckets these keys need besides, by their roots."""
        found: dict[bytes, Place] = {}
        for key in keys:
            way = self._way(key)
            if way.bucket is not None and way.root not in self._held:
                found[way.root] = (key[0], way.bucket)
        return found

    def hold(self, root: bytes, bucket: Bucket) -> None:
        """Take a bucket for as long as the proof takes."""
        self._held[root] = bucket

    def prove(self, key: Key) -> tuple[MapProof, bytes | None]:
        """Return the proof of a key and its value, None where it is absent."""
        way = self._way(key)
        bucket = None if way.bucket is None else self._held[way.root]
        return finish(way, key[1], bucket), value_at(way, key[1], bucket)

    def _way(self, key: Key) -> Way:
        way = self._ways.get(key)
        if way is None:
            way = self._ways[key] = self._view.way(key)
        return way


class Epochs:
    """The memory that all proofs share."""

    def __init__(self, opened: Store) -> None:
        self._store = opened
        self._views: OrderedDict[int, View] = OrderedDict()
        self._building: dict[int, asyncio.Task[View]] = {}
        self._buckets: OrderedDict[bytes, Bucket] = OrderedDict()
        self._entries = 0  # in `_buckets`
        self._tiles = Tiles()
        self._firsts: OrderedDict[int, CheckpointRow] = OrderedDict()

    def known(self, epoch: int) -> View | None:
        """Return the view of an epoch, where it is kept."""
        found = self._views.get(epoch)
        if found is not None:
            self._views.move_to_end(epoch)
        return found

    async def view(self, checkpoint: CheckpointRow, epoch: EpochRow) -> View:
        """Return the view of a published epoch; raise TierlinkError where what is stored is not it.

        Of several who ask for one that is not kept, one has it built, over a connection of its
        own: whoever waits holds none, and building goes on when nobody waits any more. That of
        the first may take longer than a request does.
        """
        found = self.known(epoch.epoch)
        if found is not None:
            return found
        task = self._building.get(epoch.epoch)
        if task is None:
            task = asyncio.create_task(self._build(checkpoint, epoch), name="tops of an epoch")
            self._building[epoch.epoch] = task
            task.add_done_callback(self._built)
        return await asyncio.shield(task)

    def _built(self, task: asyncio.Task[View]) -> None:
        self._building = {n: other for n, other in self._building.items() if other is not task}
        if not task.cancelled() and task.exception() is None:
            view = task.result()
            self._views[view.epoch.epoch] = view
            if len(self._views) > VIEWS:
                self._views.popitem(last=False)

    async def _build(self, checkpoint: CheckpointRow, epoch: EpochRow) -> View:
        before = max((n for n in self._views if n < epoch.epoch), default=0)
        follows = before and epoch.epoch - before <= FOLLOWED
        tops = self._views[before].tops if follows else Tops()
        async with self._store.statement() as driver:
            if follows:
                heads = await store.find_changed(driver, before, epoch.epoch)
            else:
                heads = await store.find_heads(driver, epoch.epoch)
            (path,) = await self.paths(driver, [(epoch.idx, checkpoint.size)])
        tops = await put_all(tops, heads)
        if (tops.identifiers.root, tops.prefixes.root) != (epoch.identifiers, epoch.prefixes):
            raise _damaged(f"the maps of epoch {epoch.epoch} have other roots than its leaf")
        leaf = Epoch(epoch.epoch, epoch.size, epoch.identifiers, epoch.prefixes)
        return View(checkpoint, epoch, EpochProof(leaf, epoch.idx, path), tops)

    async def load(self, driver: Driver, view: View, buckets: Buckets, keys: Iterable[Key]) -> None:
        """Let `buckets` hold what these keys need; at most one statement."""
        unknown: dict[Place, bytes] = {}
        for root, place in buckets.missing(keys).items():
            bucket = self._buckets.get(root)
            if bucket is None:
                unknown[place] = root
            else:
                self._buckets.move_to_end(root)
                buckets.hold(root, bucket)
        if not unknown:
            return
        for item in await store.find_contents(driver, list(unknown), view.epoch.epoch):
            root, bucket = unknown.pop((item.map, item.bucket)), Bucket(item.data)
            if bucket.root != root:
                raise _damaged(f"bucket {item.bucket} of map {item.map} is not what its root says")
            buckets.hold(root, bucket)
            self._keep(root, bucket)
        if unknown:
            raise _damaged(f"buckets are missing: {sorted(unknown)}")

    def _keep(self, root: bytes, bucket: Bucket) -> None:
        if root not in self._buckets:
            self._buckets[root] = bucket
            self._entries += len(bucket)
        while self._entries > ENTRIES and len(self._buckets) > 1:
            _, gone = self._buckets.popitem(last=False)
            self._entries -= len(gone)

    async def paths(
        self, driver: Driver, wanted: Sequence[tuple[int, int]]
    ) -> list[tuple[bytes, ...]]:
        """Return the audit path of each (index, size); at most one statement, as a rule."""
        missing = self._tiles.missing(wanted)
        for _ in range(READS):
            if not missing:
                break
            self._tiles.put((await log_store.find_tiles(driver, missing)).values())
            # Meanwhile somebody else's tiles may have taken the place of what was there.
            missing = self._tiles.missing(wanted)
        if missing:
            raise _damaged(f"tiles are missing or too short: {sorted(missing)}")
        found = [self._tiles.path(*each) for each in wanted]
        self._tiles.trim()
        return found

    async def first_covering(self, driver: Driver, index: int) -> CheckpointRow:
        """Return the first published checkpoint that covers a leaf, of which there is one."""
        known = self._firsts.get(index)
        if known is None:
            known = await log_store.first_checkpoint_covering(driver, index)
            if known is None:
                raise _damaged(f"no checkpoint covers leaf {index}")
            self._firsts[index] = known
            if len(self._firsts) > FIRSTS:
                self._firsts.popitem(last=False)
        else:
            self._firsts.move_to_end(index)
        return known


def _damaged(what: str) -> TierlinkError:
    return TierlinkError(
        f"the stored log contradicts itself: {what}",
        fix="restore the database from a backup; do not sign anything meanwhile",
    )
