"""The two verifiable maps of the log, stored in buckets, an epoch at a time.

What the maps hold is a function of the log's leaves alone (`schemas.verifiable_map`). The tops of
both live in memory, the buckets in the database. An epoch, in these steps:

    M1  the new leaves, in order: of a prefix the last counts, of an identifier the highest version
    M2  read the buckets that they change, in one statement
    M3  put the entries in, hash each changed bucket, and the paths from there to the roots
    M4  write a row for each changed bucket
    M5  after the commit, and not before, what was staged is what stands

Where an epoch changes many buckets, M2 to M4 are taken for some hundreds at a time: memory stays
bounded, and a transaction that has long nothing to say would be ended by the database.
"""

from __future__ import annotations

import asyncio
import re
import time
from binascii import a2b_base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

from registry.store import maps as store
from registry.store.engine import ReadTx, WriteTx
from registry.store.maps import IDENTIFIERS, PREFIXES, Head, Row
from schemas.errors import BadInput, VerifyError
from schemas.identifier import Prefix
from schemas.keys import b64decode
from schemas.leaf import EPOCH_HEAD, LEAF_HEAD, Leaf, What
from schemas.verifiable_map import map_value, prefix_key, prefix_value

from .buckets import Bucket, bucket_of
from .tops import Top

CHUNK = 512  # buckets read, hashed and written together
SLICE = 0.004  # seconds of hashing before other tasks get their turn

Place: TypeAlias = "tuple[int, int]"
"""(map, bucket)."""

_NEWEST = 2**63 - 1
_IN_A_MAP = {
    What.RECORD: IDENTIFIERS,
    What.LINK: IDENTIFIERS,
    What.DELEGATION: PREFIXES,
    What.STATUS: PREFIXES,
}

# Nearly every leaf, as `Leaf.parse` reads it: a digest has 43 characters, of which the last has
# four bits of it. Versions this long fit eight bytes.
_DIGEST = "([A-Za-z0-9_-]{42}[AEIMQUYcgkosw048])"
_USUAL = re.compile(
    f"{LEAF_HEAD}\n(?:{What.RECORD.value}|{What.LINK.value})\n([0-9a-z.-]+)\n"
    f"{_DIGEST}\n([1-9][0-9]{{0,17}})\n{_DIGEST}\n".encode()
)
_STANDARD = bytes.maketrans(b"-_", b"+/")


@dataclass(frozen=True, slots=True)
class Tops:
    """The tops of both maps at one epoch; immutable."""

    identifiers: Top = field(default_factory=Top)
    prefixes: Top = field(default_factory=Top)

    def of(self, number: int) -> Top:
        """Return the top of a map by its number."""
        return self.prefixes if number == PREFIXES else self.identifiers

    def put(self, heads: Iterable[Head | Row]) -> Tops:
        """Return the tops in which these buckets are as told."""
        changed: dict[int, dict[int, tuple[int, bytes]]] = {IDENTIFIERS: {}, PREFIXES: {}}
        for head in heads:
            changed[head.map][head.bucket] = (head.entries, head.root)
        return Tops(
            self.identifiers.put(changed[IDENTIFIERS]), self.prefixes.put(changed[PREFIXES])
        )


@dataclass(frozen=True, slots=True)
class Staged:
    """The roots of both maps as of an epoch whose transaction is still open."""

    epoch: int
    identifiers: bytes
    prefixes: bytes
    before: Tops = field(repr=False)
    after: Tops = field(repr=False)


class Maps:
    """Stages epochs; used by the sequencer alone, from one task."""

    def __init__(self) -> None:
        self._tops = Tops()

    async def load(self, tx: ReadTx) -> None:
        """Read the tops of the newest committed epoch into memory."""
        self._tops = await put_all(Tops(), await store.find_heads(await tx.driver(), _NEWEST))

    async def stage(self, tx: WriteTx, epoch: int, entries: Iterable[tuple[int, bytes]]) -> Staged:
        """Write the buckets that leaves change, given as (index, entry) in order (M1 to M4).

        `epoch` is above all before it, `entries` are those of the log since the last one.
        Raise VerifyError where an entry is no leaf.
        """
        # M1
        changes = sorted((await _by_place(entries)).items())
        after = self._tops
        for at in range(0, len(changes), CHUNK):
            part = dict(changes[at : at + CHUNK])
            # M2
            contents = await store.find_contents(await tx.driver(), list(part), epoch - 1)
            before = {(item.map, item.bucket): Bucket(item.data) for item in contents}
            # M3
            rows = await _rewritten(epoch, before, part)
            after = after.put(rows)
            # M4
            await store.copy_buckets(tx, rows)
        return Staged(epoch, after.identifiers.root, after.prefixes.root, self._tops, after)

    def adopt(self, staged: Staged) -> None:
        """Let stand what was staged, now that it is committed (M5)."""
        assert staged.before is self._tops, "one epoch is staged at a time"
        self._tops = staged.after


async def put_all(tops: Tops, heads: Sequence[Head]) -> Tops:
    """Put many buckets into the tops without keeping the event loop to oneself."""
    for at in range(0, len(heads), CHUNK):
        tops = tops.put(heads[at : at + CHUNK])
        await asyncio.sleep(0)
    return tops


async def _rewritten(
    epoch: int, before: Mapping[Place, Bucket], changes: Mapping[Place, Mapping[bytes, bytes]]
) -> list[Row]:
    """Return the rows of changed buckets, and let other tasks have their turn meanwhile."""
    rows: list[Row] = []
    turn = _Turn()
    for place, changed in changes.items():
        old = before.get(place, Bucket())
        newer = _newer(old, changed) if place[0] == IDENTIFIERS else changed
        if newer:
            bucket = old.put(newer)
            rows.append(Row(*place, epoch, len(bucket), bucket.root, bucket.data))
        await turn.pause()
    return rows


async def _by_place(entries: Iterable[tuple[int, bytes]]) -> dict[Place, dict[bytes, bytes]]:
    """Sort what leaves put into the maps by the bucket it goes to (M1)."""
    found: dict[Place, dict[bytes, bytes]] = {}
    epoch_head = f"{EPOCH_HEAD}\n".encode()
    turn = _Turn()
    for index, entry in entries:
        await turn.pause()
        usual = _USUAL.fullmatch(entry)
        if usual is not None:
            key, value = _usual_content(*usual.groups())
            bucket = found.setdefault((IDENTIFIERS, bucket_of(key)), {})
            if value > bucket.get(key, b""):
                bucket[key] = value
            continue
        if entry.startswith(epoch_head):
            continue
        leaf = Leaf.parse(entry)
        number = _IN_A_MAP.get(leaf.what)
        if number is not None:
            key, value = _content(index, leaf)
            bucket = found.setdefault((number, bucket_of(key)), {})
            if number == PREFIXES or value > bucket.get(key, b""):
                bucket[key] = value
    return found


class _Turn:
    """Our turn of the event loop, which is over after a while."""

    def __init__(self) -> None:
        self._ends = time.monotonic() + SLICE

    async def pause(self) -> None:
        """Let other tasks have theirs, where it is over."""
        if time.monotonic() >= self._ends:
            await asyncio.sleep(0)
            self._ends = time.monotonic() + SLICE


def _newer(old: Bucket, changed: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Leave out what is of a lower version than the bucket holds; a value begins with its version.

    The log orders by transaction id, and of two transactions the one that got its id first may
    have been the second to write.
    """
    return {key: value for key, value in changed.items() if value > (old.value(key) or b"")}


def _usual_content(
    prefix: bytes, subject: bytes, version: bytes, digest: bytes
) -> tuple[bytes, bytes]:
    """Return the entry that a leaf of the usual form makes in the map of identifiers."""
    _check_prefix(prefix)
    key, hashed = (a2b_base64(text.translate(_STANDARD) + b"=") for text in (subject, digest))
    return key, map_value(int(version), hashed)


@lru_cache(maxsize=8192)
def _check_prefix(text: bytes) -> None:
    """Raise VerifyError where no leaf is of this prefix; what raises is not remembered."""
    try:
        Prefix.parse(text.decode())
    except BadInput as err:
        raise VerifyError("E_FORMAT", f"not a leaf: {err}") from None


def _content(index: int, leaf: Leaf) -> tuple[bytes, bytes]:
    """Return the entry that a leaf makes in its map."""
    commitment, digest = b64decode(leaf.subject), b64decode(leaf.digest)
    if _IN_A_MAP[leaf.what] == PREFIXES:
        return prefix_key(str(leaf.prefix)), prefix_value(index, commitment, digest)
    return commitment, map_value(leaf.version, digest)
