"""What a log says of an answer: the `log` member of a proof, its JSON form and nothing more.

    log         {checkpoint, epoch, entries, prefixes, salt [, absent] [, issued]}
    checkpoint  the cosigned note, text
    epoch       {number, size, identifiers, prefixes, index, path}    the epoch leaf, in the log
    entries     one of each record of the answer, nearest first: {index, path, map}
    absent      map proof that the identifier has no record of its own (a class answers, or nothing)
    prefixes    of each delegation, the holder's first, then upward: {index, map, commitment?};
                the holder's commitment follows from the salt and is left out
    salt        of the holder's prefix
    issued      {checkpoint, path} the first cosigned checkpoint that covers the nearest record

A path is the base64url of its hashes joined, leaf-most first; a map proof is {depth, bitmap,
siblings [, key, value]}: bitmap in lower-case hex, siblings joined from the root down, key and
value of the entry at the path's end where that is not empty. All hashes base64url.
`from_json` checks the form and raises VerifyError; what it says is checked by `schemas.proof`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from .canonical import MAX_INTEGER, JsonObject
from .chain import MAX_CHAIN
from .checkpoint import MAX_NOTE
from .errors import VerifyError
from .keys import b64decode, b64encode
from .leaf import SALT_BYTES, Epoch
from .merkle import HASH_BYTES, MAX_PROOF
from .record import MAX_ANCESTORS
from .verifiable_map import KEY_BITS, VALUE_BYTES, MapProof

T = TypeVar("T")

_HEX = re.compile(r"0|[1-9a-f][0-9a-f]{0,63}")


@dataclass(frozen=True, slots=True)
class EpochProof:
    """An epoch leaf and its place in the log."""

    epoch: Epoch
    index: int
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class EntryProof:
    """A record's leaf in the log, and the map's word that it is the newest of its subject."""

    index: int
    path: tuple[bytes, ...]
    newest: MapProof


@dataclass(frozen=True, slots=True)
class PrefixProof:
    """The map's word that a delegation is the newest of its prefix; `index` is its leaf's."""

    index: int
    newest: MapProof
    commitment: bytes | None = None


@dataclass(frozen=True, slots=True)
class IssuedProof:
    """The first cosigned checkpoint that covers the nearest record, and its path in that tree."""

    checkpoint: str
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class LogProof:
    """Everything a log says of one answer."""

    checkpoint: str
    epoch: EpochProof
    entries: tuple[EntryProof, ...]
    prefixes: tuple[PrefixProof, ...]
    salt: bytes
    absent: MapProof | None = None
    issued: IssuedProof | None = None

    def to_json(self) -> JsonObject:
        """Return the JSON form."""
        epoch = self.epoch.epoch
        value: JsonObject = {
            "checkpoint": self.checkpoint,
            "epoch": {
                "number": epoch.number,
                "size": epoch.size,
                "identifiers": b64encode(epoch.identifiers),
                "prefixes": b64encode(epoch.prefixes),
                "index": self.epoch.index,
                "path": _joined(self.epoch.path),
            },
            "entries": [
                {"index": e.index, "path": _joined(e.path), "map": _map_json(e.newest)}
                for e in self.entries
            ],
            "prefixes": [_prefix_json(item) for item in self.prefixes],
            "salt": b64encode(self.salt),
        }
        if self.absent is not None:
            value["absent"] = _map_json(self.absent)
        if self.issued is not None:
            value["issued"] = {
                "checkpoint": self.issued.checkpoint,
                "path": _joined(self.issued.path),
            }
        return value

    @classmethod
    def from_json(cls, value: object) -> LogProof:
        """Read the JSON form; raise VerifyError E_FORMAT, E_ENCODING or E_LIMIT.

        Hashes that are not whole are E_INCLUSION in a path and E_MAP where the map is concerned.
        """
        members = _Object(value, "log")
        found = cls(
            members.text("checkpoint", MAX_NOTE),
            _epoch(members.take("epoch")),
            tuple(_entry(item) for item in members.array("entries", MAX_ANCESTORS + 1)),
            tuple(_prefix(item) for item in members.array("prefixes", MAX_CHAIN)),
            members.hash("salt", SALT_BYTES),
            members.maybe("absent", _map),
            members.maybe("issued", _issued),
        )
        members.done()
        return found


def _joined(hashes: tuple[bytes, ...]) -> str:
    return b64encode(b"".join(hashes))


def _map_json(proof: MapProof) -> JsonObject:
    value: JsonObject = {
        "depth": proof.depth,
        "bitmap": f"{proof.bitmap:x}",
        "siblings": _joined(proof.siblings),
    }
    if proof.terminal is not None:
        value["key"], value["value"] = (b64encode(item) for item in proof.terminal)
    return value


def _prefix_json(item: PrefixProof) -> JsonObject:
    value: JsonObject = {"index": item.index, "map": _map_json(item.newest)}
    if item.commitment is not None:
        value["commitment"] = b64encode(item.commitment)
    return value


class _Object:
    """The members of one object, each taken once; unknown ones are refused."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise VerifyError("E_FORMAT", f"{where} is not an object")
        self._left: Mapping[str, object] = value
        self._where = where
        self._taken: set[str] = set()

    def take(self, name: str) -> object:
        self._taken.add(name)
        if name not in self._left:
            raise VerifyError("E_FORMAT", f"{self._where}.{name} is missing")
        return self._left[name]

    def maybe(self, name: str, read: Callable[[object], T]) -> T | None:
        self._taken.add(name)
        return read(self._left[name]) if name in self._left else None

    def text(self, name: str, limit: int) -> str:
        value = self.take(name)
        if not isinstance(value, str):
            raise VerifyError("E_FORMAT", f"{self._where}.{name} is not text")
        if len(value) > limit:
            raise VerifyError("E_LIMIT", f"{self._where}.{name} has over {limit} characters")
        return value

    def number(self, name: str, high: int = MAX_INTEGER) -> int:
        value = self.take(name)
        if type(value) is not int or not 0 <= value <= high:
            raise VerifyError("E_FORMAT", f"{self._where}.{name} is not a number up to {high}")
        return value

    def hash(self, name: str, length: int = HASH_BYTES) -> bytes:
        raw = b64decode(self.text(name, 2 * length))
        if len(raw) != length:
            raise VerifyError("E_FORMAT", f"{self._where}.{name} has not {length} bytes")
        return raw

    def hashes(self, name: str, limit: int, code: str) -> tuple[bytes, ...]:
        raw = b64decode(self.text(name, limit * HASH_BYTES * 4 // 3 + 4))
        if len(raw) % HASH_BYTES:
            raise VerifyError(code, f"{self._where}.{name} is not whole hashes")
        return tuple(raw[at : at + HASH_BYTES] for at in range(0, len(raw), HASH_BYTES))

    def array(self, name: str, limit: int) -> list[object]:
        value = self.take(name)
        if not isinstance(value, list) or len(value) > limit:
            raise VerifyError("E_FORMAT", f"{self._where}.{name} is not an array up to {limit}")
        return value

    def done(self) -> None:
        extra = sorted(set(self._left) - self._taken)
        if extra:
            raise VerifyError("E_FORMAT", f"{self._where} has unknown members", value=extra[0])


def _epoch(value: object) -> EpochProof:
    members = _Object(value, "log.epoch")
    number, size = members.number("number"), members.number("size")
    epoch = Epoch(number, size, members.hash("identifiers"), members.hash("prefixes"))
    path = members.hashes("path", MAX_PROOF, "E_MAP")
    found = EpochProof(epoch, members.number("index"), path)
    members.done()
    return found


def _entry(value: object) -> EntryProof:
    members = _Object(value, "log.entries")
    index, path = members.number("index"), members.hashes("path", MAX_PROOF, "E_INCLUSION")
    found = EntryProof(index, path, _map(members.take("map")))
    members.done()
    return found


def _prefix(value: object) -> PrefixProof:
    members = _Object(value, "log.prefixes")
    index, newest = members.number("index"), _map(members.take("map"))
    commitment = members.maybe("commitment", lambda _: members.hash("commitment"))
    members.done()
    return PrefixProof(index, newest, commitment)


def _issued(value: object) -> IssuedProof:
    members = _Object(value, "log.issued")
    path = members.hashes("path", MAX_PROOF, "E_INCLUSION")
    found = IssuedProof(members.text("checkpoint", MAX_NOTE), path)
    members.done()
    return found


def _map(value: object) -> MapProof:
    members = _Object(value, "map")
    depth, bitmap = members.number("depth", KEY_BITS), members.text("bitmap", 64)
    if not _HEX.fullmatch(bitmap):
        raise VerifyError("E_FORMAT", "map.bitmap is not lower-case hex", value=bitmap)
    siblings = members.hashes("siblings", KEY_BITS, "E_MAP")
    terminal = None
    key = members.maybe("key", lambda _: members.hash("key"))
    content = members.maybe("value", lambda _: members.hash("value", VALUE_BYTES))
    if key is not None and content is not None:
        terminal = (key, content)
    elif key is not None or content is not None:
        raise VerifyError("E_FORMAT", "map has a key without a value, or a value without a key")
    members.done()
    return MapProof(depth, int(bitmap, 16), siblings, terminal)
