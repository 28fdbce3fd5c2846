"""Changes: the only thing that flows from a registry to its resolvers."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from .errors import BadQuery


class Op(enum.IntEnum):
    """What a change did, and so what a resolver must forget."""

    RECORD = 1  # one identifier and whatever inherits from it
    LINK = 2  # one identifier at either end of a link
    RULE = 3  # a class with a suffix rule: anything under its prefix may resolve otherwise
    PREFIX = 4  # delegation, suspension or resumption: everything at or below the prefix


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
        if not dot or not epoch or not (position.isascii() and position.isdigit()):
            raise BadQuery("not a watermark", value=text, fix="send back one that you were given")
        return cls(epoch, int(position))

    def __str__(self) -> str:
        return f"{self.epoch}.{self.position}"


@dataclass(frozen=True, slots=True)
class Change:
    """One accepted write: who changed, how, and at which position.

    `about` is a canonical identifier for RECORD, LINK and RULE, a prefix for PREFIX; `also` is
    the far end of a link, and empty for every other change.
    """

    position: int
    op: Op
    about: str
    version: int
    also: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes since the last watermark and the new one, also when nothing changed."""

    changes: tuple[Change, ...]
    watermark: Watermark
