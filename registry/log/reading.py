"""What anybody may read of the log: the published checkpoint and what it covers, nothing more (I8).

A tile is served at any width up to what the checkpoint covers, cut from the stored one, which only
ever grows behind what was served before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from registry.store import log as store
from registry.store.engine import ReadTx
from schemas.errors import NotFound, Unavailable
from schemas.merkle import HASH_BYTES, TILE_HEIGHT, TILE_WIDTH, tile_path

MAX_LEVEL = 7  # the highest level of a log of 2^63 entries
LENGTH_BYTES = 2

_TILE = re.compile(r"(?:x[0-9]{3}/){0,6}[0-9]{3}(?:\.p/[1-9][0-9]{0,2})?")


@dataclass(frozen=True, slots=True)
class Tile:
    """The name of a tile, or of a bundle of entries, which is named as a tile of level 0."""

    level: int
    n: int
    width: int

    @classmethod
    def parse(cls, level: str, path: str) -> Tile:
        """Read `<level>` and `x001/234/067[.p/<width>]` (C2SP tlog-tiles); raise NotFound."""
        number, _, width = path.partition(".p/")
        if not re.fullmatch(f"[0-{MAX_LEVEL}]", level) or not _TILE.fullmatch(path):
            raise _missing(f"tile/{level}/{path}")
        digits = number.replace("/", "").replace("x", "")
        found = cls(int(level), int(digits), int(width or TILE_WIDTH))
        # One spelling for each tile: a cache in front must not be filled with others.
        if tile_path(found.level, found.n, found.width) != f"tile/{level}/{path}":
            raise _missing(f"tile/{level}/{path}")
        return found

    @property
    def first(self) -> int:
        """The index of its first entry, as a bundle."""
        return self.n * TILE_WIDTH


@dataclass(frozen=True, slots=True)
class Standing:
    """How the log does: leaves in the database, and of those the published ones, since when."""

    origin: str
    size: int
    epoch: int
    published: int
    time: int | None


async def standing(tx: ReadTx) -> Standing | None:
    """Return how the log does, None where it was never founded."""
    driver = await tx.driver()
    state = await store.state(driver)
    if state is None:
        return None
    last = await store.newest_checkpoint(driver)
    published, time = (0, None) if last is None else (last.size, last.time)
    return Standing(state.origin, state.size, state.epoch, published, time)


async def checkpoint(tx: ReadTx) -> str:
    """Return the newest published checkpoint; raise Unavailable before the first."""
    found = await store.newest_checkpoint(await tx.driver())
    if found is None:
        raise Unavailable("no checkpoint is published yet")
    return found.note


async def tile(tx: ReadTx, asked: Tile) -> bytes:
    """Return the hashes of a tile, joined; raise NotFound where they are not published."""
    driver = await tx.driver()
    _check_covered(asked, await _published(driver) >> TILE_HEIGHT * asked.level)
    found = (await store.find_tiles(driver, [(asked.level, asked.n)]))[asked.level, asked.n]
    return found.data[: asked.width * HASH_BYTES]


async def entries(tx: ReadTx, asked: Tile) -> bytes:
    """Return a bundle of entries, each behind its length; raise NotFound as `tile` does."""
    driver = await tx.driver()
    _check_covered(asked, await _published(driver))
    rows = await store.find_entries(driver, asked.first, asked.first + asked.width)
    return b"".join(len(row.leaf).to_bytes(LENGTH_BYTES, "big") + row.leaf for row in rows)


async def _published(driver: store.Driver) -> int:
    found = await store.newest_checkpoint(driver)
    return 0 if found is None else found.size


def _check_covered(asked: Tile, hashes: int) -> None:
    if asked.first + asked.width > hashes:
        raise _missing(tile_path(asked.level, asked.n, asked.width))


def _missing(path: str) -> NotFound:
    return NotFound("the published checkpoint covers no such tile", value=path)
