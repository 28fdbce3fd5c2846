"""Who asks to see links, and what for: what decides which of them are mentioned to him.

A link is shown to the holder of either of its ends. Everybody else needs a grant by the holder of
the near end, the one a walk stands at (`schemas.grant`); without one there is no such link.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from .identifier import Identifier, Prefix

PURPOSE: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
BLINDED: Final = re.compile(r"b:[A-Za-z0-9_-]{22}")  # what stands for an identifier that is hidden


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who asks: `prefix` is None for whoever gives no name.

    `trace` names the walk that he is on: pseudonyms are the same within one, and in no other.
    """

    prefix: Prefix | None = None
    purpose: str = ""
    trace: str = ""


ANYBODY: Final = Viewer()


@dataclass(frozen=True, slots=True)
class Near:
    """An identifier whose links are asked for, and how a walk came to it.

    `entry` is the first identifier by which the walk came into the holdings of this prefix,
    `steps` the number of links since. Both begin anew where the walk crosses into another prefix.
    """

    identifier: Identifier
    entry: Identifier
    steps: int = 0

    @classmethod
    def at(cls, identifier: Identifier) -> Near:
        """Return the beginning of a walk."""
        return cls(identifier, identifier)

    def next(self, far: Identifier) -> Near:
        """Return where the walk is after one more link."""
        if far.prefix == self.identifier.prefix:
            return Near(far, self.entry, self.steps + 1)
        return Near.at(far)
