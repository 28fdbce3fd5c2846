"""Changes: the only thing that flows from a registry to its resolvers."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from .canonical import JsonObject
from .claims import Members
from .errors import BadInput, BadQuery

MAX_BATCH = 1_000_000  # changes that a reader accepts at once; sources stay far below
# Transactions whose changes a resolver asks for when it begins; a source keeps them at least.
REPLAYED = 50_000

_POSITION = re.compile(r"[0-9]{1,18}")  # fits 64 bits


class Op(enum.IntEnum):
    """What a change did, and so what a resolver must forget."""

    LOGGED = 0  # nothing a resolver keeps: a statement for the transparency log alone
    RECORD = 1  # one identifier and whatever inherits from it
    LINK = 2  # one identifier at either end of a link
    RULE = 3  # a class with a suffix rule: anything under its prefix may resolve otherwise
    PREFIX = 4  # delegation, suspension or resumption: everything at or below the prefix


_OPS = frozenset(op.name.lower() for op in Op)


@dataclass(frozen=True, slots=True)
class Watermark:
    """The point up to which every change is applied, in one history of the source.

    `epoch` names the history (it differs after a restore or fail-over), `position` grows in it:
    every change with a position below it is included. Opaque to whoever did not issue it.
    """

    epoch: str
    position: int

    @classmethod
    def parse(cls, text: str) -> Watermark:
        """Read the text form `epoch.position`; raise BadQuery."""
        epoch, dot, position = text.rpartition(".")
        if not dot or not epoch or not _POSITION.fullmatch(position):
            raise BadQuery("not a watermark", value=text, fix="send back one that you were given")
        return cls(epoch, int(position))

    def __str__(self) -> str:
        return f"{self.epoch}.{self.position}"


@dataclass(frozen=True, slots=True)
class Change:
    """One accepted write: who changed, how, and at which position.

    `about` is a canonical identifier for RECORD, LINK and RULE, a prefix for PREFIX; `also` is
    the far end of a link, and of no meaning for every other change.
    """

    position: int
    op: Op
    about: str
    version: int
    also: str = ""


@dataclass(frozen=True, slots=True)
class Canary:
    """The newest row that was written only to measure with: where, and how long before this read.

    `age` is in seconds, by the clock of the source.
    """

    position: int
    age: float

    def to_json(self) -> JsonObject:
        """Return the JSON form; the age in microseconds."""
        return {"position": self.position, "age_us": max(0, round(self.age * 1_000_000))}

    @classmethod
    def from_json(cls, value: object, where: str) -> Canary:
        """Read the JSON form; raise BadInput."""
        members = Members({}, BadInput).inner(value, where)
        return cls(members.integer("position"), members.integer("age_us") / 1_000_000)


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes since the last watermark and the new one, also when nothing changed.

    `more`: the source had more to tell than fits a batch. The watermark is that of the last change
    listed, not of now: apply them, ask again at once, and renew no lease until a batch is whole.
    `canary`: the newest that the source shows, where it has one.
    `floor`: only where the source does not keep all changes since the watermark that was sent: from
    this position on it does. Whatever was read below it is worth nothing.
    """

    changes: tuple[Change, ...]
    watermark: Watermark
    more: bool = False
    canary: Canary | None = None
    floor: int | None = None

    def to_json(self) -> JsonObject:
        """Return the JSON form, as served at /v1/changes."""
        value: JsonObject = {
            "changes": [_change_to_json(change) for change in self.changes],
            "watermark": str(self.watermark),
            "more": self.more,
        }
        if self.canary is not None:
            value["canary"] = self.canary.to_json()
        if self.floor is not None:
            value["floor"] = self.floor
        return value

    @classmethod
    def from_json(cls, value: object) -> Batch:
        """Read the JSON form; raise BadInput. Members of a later release are ignored."""
        members = Members({}, BadInput).inner(value, "batch.")
        changes = members.array("changes", MAX_BATCH, _change_from_json)
        watermark = Watermark.parse(members.text("watermark", 128))
        told = members.take("canary")
        canary = None if told is None else Canary.from_json(told, "batch.canary.")
        more, floor = members.take("more") is True, members.maybe_integer("floor")
        return cls(changes, watermark, more=more, canary=canary, floor=floor)


def _change_to_json(change: Change) -> JsonObject:
    value: JsonObject = {
        "position": change.position,
        "op": change.op.name.lower(),
        "about": change.about,
        "version": change.version,
    }
    if change.also:
        value["also"] = change.also
    return value


def _change_from_json(value: object, where: str) -> Change:
    members = Members({}, BadInput).inner(value, where)
    return Change(
        members.integer("position"),
        Op[members.choice("op", _OPS).upper()],
        members.text("about", 1024),
        members.integer("version"),
        members.maybe_text("also", 1024) or "",
    )
