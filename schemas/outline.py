"""Outlines: what an authority says of links for a walk that asks for no proof. In process alone.

The text of a link is finished JSON, made where the links are kept, of what is kept beside the
statements: nothing of it is read from them or verified.

    {"upstream", "downstream", "type", "lifecycle", "occurrence"?, "state", "asserted_by", "link"}

`state` is proposed where one side stands and mutual where both do, whatever quantities they state;
`link` is the link key, by which the statements can be found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .change import Watermark
from .source import Blinded
from .viewer import ANYBODY, Viewer

SEPARATOR = b"\n"  # between texts: JSON has none unescaped


@dataclass(frozen=True, slots=True)
class Asked:
    """Which links, for whom: an empty set means every one. Far ends lie in `direction`."""

    direction: str
    viewer: Viewer = ANYBODY
    types: frozenset[str] = frozenset()
    lifecycles: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Level:
    """Identifiers whose links are asked for, and how a walk came to each (`viewer.Near`)."""

    keys: list[str]
    entries: list[str]
    steps: list[int]


@dataclass(frozen=True, slots=True)
class Outline:
    """The links of one level, in the order of (near, far, type, lifecycle, occurrence).

    `near` are places in the level that was asked for, from 0 on; `texts` are those of all links,
    separated. `rest`: from this place on not all was read. `away` are prefixes that other nodes
    serve, and which.
    """

    near: Sequence[int]
    far: Sequence[str]
    texts: bytes
    rest: int | None = None
    blinded: tuple[Blinded, ...] = ()
    away: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sweep:
    """All links that can be reached from a root, in no order, where one statement can tell.

    `registered`: the root has a record of its own and its prefix answers here; where not, more has
    to be asked. `links` are (near, far, text from behind the near end on), None where the links
    have to be asked for level by level. `watermark` is that of the snapshot it was read in.
    """

    registered: bool
    links: Sequence[tuple[str, str, str]] | None
    watermark: Watermark | None = None
