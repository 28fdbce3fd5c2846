"""Tree heads and proofs of the log as it is stored: from its tiles, a few of them per answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from registry.store import log as store
from registry.store.engine import Store
from registry.store.log import Driver
from schemas.checkpoint import Checkpoint
from schemas.merkle import Subtree, consistency_proof, root_of

from .broken import LogBroken
from .copy import Copy
from .tree import TileHashes, Tree, edge_of, places

T = TypeVar("T")

RESTORED = (
    "recover the database up to its last write (its write-ahead log reaches further than a base "
    "backup); if those writes are lost for good, a new log has to begin: a new database, another "
    "TIERLINK_LOG_ORIGIN, and the file moved away and kept as evidence"
)


async def compute(driver: Driver, plan: Callable[[Subtree], T]) -> T:
    """Compute what follows from hashes of the tree, from the tiles that it takes.

    `plan` is called twice: to learn which, and with their hashes.
    """
    tiles = await store.find_tiles(driver, places(plan))
    try:
        return plan(TileHashes(tiles))
    except KeyError as err:
        raise LogBroken("I4", f"the tile {err} is missing") from None


async def root_at(driver: Driver, size: int) -> bytes:
    """Return the root over the first `size` leaves, which must be there."""
    return await compute(driver, lambda subtree: root_of(size, subtree))


async def proof(driver: Driver, old: int, new: int) -> tuple[bytes, ...]:
    """Return the proof that the tree of `new` leaves extends that of `old`."""
    return await compute(driver, lambda subtree: consistency_proof(old, new, subtree))


async def prove(opened: Store, old: int, new: int) -> tuple[bytes, ...]:
    """Return the same in a transaction of its own, for witnesses that hold any size."""
    async with opened.read() as tx:
        return await proof(await tx.driver(), old, new)


async def tree_at(driver: Driver, size: int, root: bytes) -> Tree:
    """Read the tree of `size` leaves; raise LogBroken where its tiles do not give the root."""
    tiles = await store.find_tiles(driver, edge_of(size))
    try:
        tree = Tree.of(size, tiles)
    except KeyError as err:
        raise LogBroken("I4", f"the tile {err} is missing", fix=RESTORED) from None
    if tree.root != root:
        raise LogBroken("I2", f"the tiles do not give the root of size {size}", fix=RESTORED)
    return tree


async def check_copy(driver: Driver, copy: Copy) -> Checkpoint | None:
    """Return the independent copy; raise LogBroken I10 where the database does not extend it."""
    head = copy.read()
    if head is None:
        return None
    state = await store.state(driver)
    size = 0 if state is None else state.size
    if size < head.size:
        raise LogBroken(
            "I10",
            f"the database's log has {size} leaves, and a checkpoint of {head.size} was signed "
            f"({copy.path}): the database was restored to an earlier moment, or is another one",
            fix=RESTORED,
        )
    if await root_at(driver, head.size) != head.root:
        raise LogBroken(
            "I10",
            f"the database's log has another root at size {head.size} than the checkpoint that "
            f"was signed ({copy.path}): going on would fork the log",
            fix=RESTORED,
        )
    return head
