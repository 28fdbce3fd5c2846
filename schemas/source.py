"""What crosses the seam between an authority and a resolver, in process or over HTTP.

Envelopes travel as signed; whoever receives them verifies them. Nothing here is trusted.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from .change import Watermark
from .identifier import Identifier
from .link import Link


class State(enum.StrEnum):
    """What an authority says of an identifier."""

    FOUND = "found"  # a record of its own, active or suspended
    COVERED = "covered"  # no record, but a class rule of its prefix covers it
    RETIRED = "retired"  # a tombstone
    MISSING = "missing"  # the prefix lives here, the identifier does not
    PREFIX_SUSPENDED = "prefix_suspended"
    FOREIGN = "foreign"  # the prefix does not live here


@dataclass(frozen=True, slots=True)
class Found:
    """What an authority has on one identifier.

    `records`: envelopes, nearest first: the record itself (or the class that covers it, or the
    tombstone), then its ancestors. `assertions`: standing link assertions of both ends, in key
    order; `more_links` says that some were left out.
    """

    identifier: Identifier
    state: State
    records: tuple[str, ...] = ()
    assertions: tuple[str, ...] = ()
    more_links: bool = False


@dataclass(frozen=True, slots=True)
class Fetched:
    """The answer to one fetch: every identifier asked for, and the moment it was read at.

    `delegations` holds the envelopes that the records and assertions need to be verified.
    """

    found: Mapping[Identifier, Found]
    delegations: tuple[str, ...]
    watermark: Watermark


@dataclass(frozen=True, slots=True)
class Edge:
    """One link as its standing assertions say; `assertions` holds one envelope or two."""

    link: Link
    assertions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Edges:
    """The links at one level of a walk, and the delegations their assertions need."""

    edges: tuple[Edge, ...]
    delegations: tuple[str, ...]
    watermark: Watermark
    truncated: bool = False
