"""The whole log, derived again from its entries and compared with what is stored.

    1  entries      their indices are dense, their hashes are their own                   I3
    2  tree         every tile and the root follow from the entries                   I2, I4
    3  index        every envelope is there once                                          I7
    4  changes      the entries are those of the outbox, up to the cursor, in order;     I11
                    where old changes are forgotten, the last entries are those of the rest
    5  epochs       the roots of both maps follow from the leaves below the epoch's      I12
    6  checkpoints  signed, each over the tree of its size, right behind an epoch  I1 I6 I8
    7  copy         the independent copy is of this tree                                 I10

What is here is written plainly: of the sequencer it shares the tree and the leaves, which are pure.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence

from registry.store import changes, log as store
from registry.store.engine import ReadTx
from registry.store.log import CheckpointRow, Driver, EpochRow, StateRow, TileRow
from schemas.checkpoint import quorum, verify_note
from schemas.errors import VerifyError
from schemas.keys import b64decode
from schemas.leaf import EPOCH_HEAD, Epoch, Leaf, What
from schemas.merkle import TILE_WIDTH, leaf_hash, root_of
from schemas.policy import LogPolicy
from schemas.verifiable_map import VerifiableMap, map_value, prefix_key, prefix_value

from .broken import LogBroken
from .copy import Copy
from .leaves import ENVELOPES, Entry, entry_of
from .tree import TileHashes, Tree

PAGE = 10_000


async def check_log(tx: ReadTx, policy: LogPolicy, copy: Copy | None = None) -> int:
    """Check everything in one snapshot; return the size, raise LogBroken at the first fault."""
    driver = await tx.driver()
    state = await store.state(driver)
    if state is None:
        raise LogBroken("I1", "the log was never founded")
    # 1
    leaves = await _entries(driver, state)
    # 2
    tiles = await _tiles(driver, leaves, state)
    # 3
    await _check_index(driver, leaves)
    # 4
    await _check_changes(driver, leaves, state)
    # 5
    epochs = [row async for row in _epochs(driver)]
    check_epochs(leaves, epochs, state.epoch)
    # 6
    subtrees = TileHashes(tiles)
    last = 0
    async for row in _checkpoints(driver):
        _check_checkpoint(row, last, epochs, policy)
        if row.size > state.size or row.root != root_of(row.size, subtrees):
            raise LogBroken("I6", f"the checkpoint of {row.size} is not over this tree")
        last = row.size
    # 7
    head = None if copy is None else copy.read()
    if head is not None and (head.size > state.size or head.root != root_of(head.size, subtrees)):
        raise LogBroken("I10", f"the independent copy of {head.size} is not of this tree")
    return state.size


async def _entries(driver: Driver, state: StateRow) -> list[bytes]:
    leaves: list[bytes] = []
    for first in range(0, state.size, PAGE):
        end = min(first + PAGE, state.size)
        rows = await store.find_entries(driver, first, end)
        if [row.idx for row in rows] != list(range(first, end)):
            raise LogBroken("I3", f"the entries {first} to {end} are not all there")
        leaves += [row.leaf for row in rows]
        if await store.find_hashes(driver, first, end) != [leaf_hash(row.leaf) for row in rows]:
            raise LogBroken("I2", f"a hash among the entries {first} to {end} is not its entry's")
    entries, _, _ = await store.count(driver)
    if entries != state.size:
        raise LogBroken("I3", f"{entries} entries in a log of {state.size}")
    return leaves


async def _tiles(
    driver: Driver, leaves: Sequence[bytes], state: StateRow
) -> dict[tuple[int, int], TileRow]:
    tree, rows = Tree().append([leaf_hash(leaf) for leaf in leaves])
    if tree.root != state.root:
        raise LogBroken("I2", f"the root of {state.size} does not follow from the entries")
    expected = {(row.level, row.n): row for row in rows}
    found = await store.find_tiles(driver, list(expected))
    for place, tile in expected.items():
        if found.get(place) != tile:
            what = "full" if tile.width == TILE_WIDTH else "unfinished"
            raise LogBroken("I4", f"the {what} tile {place} does not follow from the entries")
    if (await store.count(driver))[1] != len(expected):
        raise LogBroken("I4", "there are tiles beyond the tree")
    return expected


async def _check_index(driver: Driver, leaves: Sequence[bytes]) -> None:
    places: dict[str, int] = {}
    for index, leaf in _parsed(leaves):
        if leaf.what in ENVELOPES and places.setdefault(leaf.digest, index) != index:
            raise LogBroken("I7", f"the entries {places[leaf.digest]} and {index} are one envelope")
    if await store.find_index(driver, list(places)) != places:
        raise LogBroken("I7", "the index does not say where the envelopes are")
    if (await store.count(driver))[2] != len(places):
        raise LogBroken("I7", "the index names envelopes that are not in the log")


async def _check_changes(driver: Driver, leaves: Sequence[bytes], state: StateRow) -> None:
    """Compare with the outbox: nothing lost, nothing doubled, nothing out of order."""
    logged = [leaf for leaf in leaves if not _is_epoch(leaf)]
    forgotten = await changes.kept_since(driver) > 0
    seen: set[str] = set()
    expected: list[Entry] = []
    xid, change = 0, 0
    end = (state.cursor_xid, state.cursor_id)
    while rows := await store.pending(driver, xid, change, PAGE):
        for row in rows:
            if (row.xid, row.id) > end:
                break
            entry = entry_of(row)
            if entry.digest is None or entry.digest not in seen:
                expected.append(entry)
            if entry.digest is not None:
                seen.add(entry.digest)
        xid, change = rows[-1].xid, rows[-1].id
        if (xid, change) >= end:
            break
    if not _ends_with(logged, expected, forgotten=forgotten):
        raise LogBroken(
            "I11", f"{len(expected)} changes up to the cursor, {len(logged)} other leaves of them"
        )


def _ends_with(logged: Sequence[bytes], expected: Sequence[Entry], *, forgotten: bool) -> bool:
    """Compare from the end; what is said twice may have been logged for a forgotten change."""
    at = len(logged)
    earlier: set[bytes] = set()
    for entry in reversed(expected):
        if at and logged[at - 1] == entry.leaf:
            at -= 1
        elif entry.digest is None:
            return False
        else:
            earlier.add(entry.leaf)
    if not forgotten:
        return at == 0 and not earlier
    return earlier <= set(logged[:at])


def check_epochs(leaves: Sequence[bytes], epochs: Iterable[EpochRow], newest: int) -> None:
    """Check that the epochs are those of the leaves, and their maps those of all before."""
    rows = list(epochs)
    at = [index for index, leaf in enumerate(leaves) if _is_epoch(leaf)]
    numbers = [row.epoch for row in rows]
    if [row.idx for row in rows] != at or numbers != list(range(1, newest + 1)):
        raise LogBroken("I12", "the epochs are not those of the log")
    maps, done = Maps(), 0
    for row in rows:
        maps.take(_parsed(leaves[done : row.idx], done))
        done = row.idx
        expected = Epoch(row.epoch, row.idx, maps.identifiers.root, maps.prefixes.root)
        stored = Epoch(row.epoch, row.size, row.identifiers, row.prefixes)
        if not expected == stored == Epoch.parse(leaves[row.idx]):
            raise LogBroken("I12", f"the maps of epoch {row.epoch} do not follow from the leaves")


class Maps:
    """What both maps hold, by the definition in `schemas.verifiable_map`."""

    def __init__(self) -> None:
        self._identifiers: dict[bytes, bytes] = {}
        self._prefixes: dict[bytes, bytes] = {}

    def take(self, leaves: Iterable[tuple[int, Leaf]]) -> None:
        """Take in leaves, in order."""
        for index, leaf in leaves:
            subject, digest = b64decode(leaf.subject), b64decode(leaf.digest)
            if leaf.what in (What.RECORD, What.LINK):
                value = map_value(leaf.version, digest)
                self._identifiers[subject] = max(value, self._identifiers.get(subject, b""))
            elif leaf.what in (What.DELEGATION, What.STATUS):
                key = prefix_key(str(leaf.prefix))
                self._prefixes[key] = prefix_value(index, subject, digest)

    @property
    def identifiers(self) -> VerifiableMap:
        """The map of identifiers."""
        return VerifiableMap(list(self._identifiers.items()))

    @property
    def prefixes(self) -> VerifiableMap:
        """The map of prefixes."""
        return VerifiableMap(list(self._prefixes.items()))


def _check_checkpoint(
    row: CheckpointRow, last: int, epochs: Sequence[EpochRow], policy: LogPolicy
) -> None:
    if row.size <= last:
        raise LogBroken("I1", f"a checkpoint of {row.size} behind one of {last}")
    if not 1 <= row.epoch <= len(epochs) or epochs[row.epoch - 1].idx + 1 != row.size:
        raise LogBroken("I8", f"the checkpoint of {row.size} does not stand behind its epoch")
    try:
        checkpoint, cosignatures = verify_note(row.note, policy.log, policy.witnesses)
        quorum(cosignatures, policy.quorum, row.time)
    except VerifyError as err:
        raise LogBroken("I6", f"the checkpoint of {row.size}: {err}") from None
    if (checkpoint.size, checkpoint.root) != (row.size, row.root):
        raise LogBroken("I6", f"the checkpoint of {row.size} says something else")


async def _epochs(driver: Driver) -> AsyncIterator[EpochRow]:
    after = 0
    while rows := await store.epochs(driver, after, PAGE):
        for row in rows:
            yield row
        after = rows[-1].epoch


async def _checkpoints(driver: Driver) -> AsyncIterator[CheckpointRow]:
    size = 0
    while rows := await store.checkpoints(driver, size, PAGE):
        for row in rows:
            yield row
        size = rows[-1].size


def _parsed(leaves: Sequence[bytes], first: int = 0) -> Iterable[tuple[int, Leaf]]:
    return (
        (index, Leaf.parse(leaf)) for index, leaf in enumerate(leaves, first) if not _is_epoch(leaf)
    )


def _is_epoch(leaf: bytes) -> bool:
    return leaf.startswith(f"{EPOCH_HEAD}\n".encode())
