"""What crosses the seam between an authority and a resolver, in process or over HTTP.

Envelopes travel as signed; whoever receives them verifies them. Nothing here is trusted.

The JSON forms, of /v1/source, /v1/source/edges and /v1/source/proof; `from_json` raises BadInput on
a malformed one, and ignores members it does not know, so that nodes of different releases
understand each other:

    Fetched  {found: [{identifier, state, records?, assertions?, more_links?, notices?}],
              delegations, watermark, ttl?}
    Edges    {edges: [{type, upstream, downstream, lifecycle, occurrence?, assertions}],
              delegations, watermark, truncated, blinded? [{near, far, type, lifecycle}]}
    Proved   {v, identifier, envelope?, proof: {chain, records, log}}, the bundle that a verifier
              reads (`schemas.proof`): of this one, unknown members of `log` are refused
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from .canonical import JsonObject
from .chain import MAX_CHAIN
from .change import Watermark
from .claims import Members
from .errors import BadInput, TierlinkError
from .evidence import LogProof
from .identifier import Identifier
from .link import DOWNSTREAM, LIFECYCLES, SIDES, TYPES, UPSTREAM, Link
from .record import MAX_ANCESTORS
from .signed import MAX_TOKEN
from .viewer import BLINDED

MAX_ITEMS = 200_000  # of any array in a reply: a bound against nonsense, not a page size
MAX_NOTICES = 64  # of one identifier
MAX_TTL = 86_400  # seconds for which another node may keep an answer at most


class State(enum.StrEnum):
    """What an authority says of an identifier."""

    FOUND = "found"  # a record of its own, active or suspended
    COVERED = "covered"  # no record, but a class rule of its prefix covers it
    RETIRED = "retired"  # a tombstone
    MISSING = "missing"  # the prefix lives here, the identifier does not
    PREFIX_SUSPENDED = "prefix_suspended"
    FOREIGN = "foreign"  # the prefix is another node's, or below what is: ask there
    NOWHERE = "nowhere"  # it would be delegated here, and is delegated to nobody
    UNREACHABLE = "unreachable"  # in process alone: another node was asked, and failed


_STATES = frozenset(state.value for state in State) - {State.UNREACHABLE.value}


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """How something came from another node; in process alone, never on the wire.

    `origin` is the node that said it, `delegations` are what it sent to verify it by: apart from
    what others sent, so that nobody can spoil another's chain. `expires_at`, on the clock of the
    resolver, is when it may be kept no longer. `failure` is why there is nothing (UNREACHABLE).
    """

    origin: str
    delegations: tuple[str, ...] = ()
    expires_at: float = 0.0
    failure: TierlinkError | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What an authority has on one identifier.

    `records`: envelopes, nearest first: the record itself (or the class that covers it, or the
    tombstone), then its ancestors. `assertions`: what both ends of each link say last, in key
    order, of links that an end stands behind; `more_links` says that some were left out.
    `notices`: those that mark the identifier, an ancestor or the class that covers it.
    `elsewhere` is there, in process, where another node said it; `turns_in`, in process too, where
    the links that are shown may be others by themselves in so many seconds from the reading, since
    a grant begins or ends then.
    """

    identifier: Identifier
    state: State
    records: tuple[str, ...] = ()
    assertions: tuple[str, ...] = ()
    more_links: bool = False
    elsewhere: Elsewhere | None = None
    notices: tuple[str, ...] = ()
    turns_in: float | None = None

    def to_json(self) -> JsonObject:
        """Return the JSON form."""
        value: JsonObject = {"identifier": self.identifier.text, "state": self.state.value}
        if self.records:
            value["records"] = list(self.records)
        if self.assertions:
            value["assertions"] = list(self.assertions)
        if self.more_links:
            value["more_links"] = True
        if self.notices:
            value["notices"] = list(self.notices)
        return value


@dataclass(frozen=True, slots=True)
class Fetched:
    """The answer to one fetch: every identifier asked for, and the moment it was read at.

    `delegations` holds the envelopes that the records and assertions need to be verified, and for
    what is FOREIGN the chain of the nearest prefix that is known: the referral. `ttl` is for how
    many seconds another node may keep this; whoever follows the changes need not look at it.
    """

    found: Mapping[Identifier, Found]
    delegations: tuple[str, ...]
    watermark: Watermark
    ttl: int = 0

    def to_json(self) -> JsonObject:
        """Return the JSON form."""
        value: JsonObject = {
            "found": [found.to_json() for found in self.found.values()],
            "delegations": list(self.delegations),
            "watermark": str(self.watermark),
        }
        if self.ttl:
            value["ttl"] = self.ttl
        return value

    @classmethod
    def from_json(cls, value: object, most: int = MAX_ITEMS) -> Fetched:
        """Read the JSON form, of at most so many identifiers; raise BadInput."""
        members = Members({}, BadInput).inner(value, "source.")
        found = members.array("found", most, _found)
        delegations = members.array("delegations", MAX_ITEMS, _envelope)
        watermark = Watermark.parse(members.text("watermark", 128))
        ttl = members.maybe_integer("ttl", 0, MAX_TTL) or 0
        return cls({item.identifier: item for item in found}, delegations, watermark, ttl)


@dataclass(frozen=True, slots=True)
class Edge:
    """One link, and what its ends say of it last; `assertions` holds one envelope or two."""

    link: Link
    assertions: tuple[str, ...]

    @classmethod
    def from_json(cls, value: object, where: str) -> Edge:
        """Read the JSON form; raise BadInput."""
        return _edge(value, where)

    def to_json(self) -> JsonObject:
        """Return the JSON form."""
        value: JsonObject = {
            "type": self.link.type,
            "upstream": self.link.upstream.text,
            "downstream": self.link.downstream.text,
            "lifecycle": self.link.lifecycle,
            "assertions": list(self.assertions),
        }
        if self.link.occurrence:
            value["occurrence"] = self.link.occurrence
        return value


@dataclass(frozen=True, slots=True)
class Blinded:
    """A link that is shown with a pseudonym in the place of its far end (`schemas.viewer`)."""

    near: Identifier
    far: str
    type: str
    lifecycle: str

    def to_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "near": self.near.text,
            "far": self.far,
            "type": self.type,
            "lifecycle": self.lifecycle,
        }

    @classmethod
    def from_json(cls, value: object, where: str) -> Blinded:
        """Read the JSON form; raise BadInput."""
        return _blinded(value, where)


@dataclass(frozen=True, slots=True)
class Edges:
    """The links at one level of a walk, and the delegations their assertions need."""

    edges: tuple[Edge, ...]
    delegations: tuple[str, ...]
    watermark: Watermark
    truncated: bool = False
    blinded: tuple[Blinded, ...] = ()

    def to_json(self) -> JsonObject:
        """Return the JSON form."""
        value: JsonObject = {
            "edges": [edge.to_json() for edge in self.edges],
            "delegations": list(self.delegations),
            "watermark": str(self.watermark),
            "truncated": self.truncated,
        }
        if self.blinded:
            value["blinded"] = [item.to_json() for item in self.blinded]
        return value

    @classmethod
    def from_json(cls, value: object) -> Edges:
        """Read the JSON form; raise BadInput."""
        members = Members({}, BadInput).inner(value, "edges.")
        return cls(
            members.array("edges", MAX_ITEMS, _edge),
            members.array("delegations", MAX_ITEMS, _envelope),
            Watermark.parse(members.text("watermark", 128)),
            truncated=members.take("truncated") is True,
            blinded=members.array("blinded", MAX_ITEMS, _blinded),
        )


@dataclass(frozen=True, slots=True)
class Proved:
    """What the log of an authority proves of one identifier, as of one published epoch.

    `envelope`: the record that stood then, its own or that of the class which covers it, None where
    there was neither; `records` are its ancestors, nearest first; `chain` the delegations that
    stood then, root-most first.
    """

    identifier: Identifier
    envelope: str | None
    records: tuple[str, ...]
    chain: tuple[str, ...]
    log: LogProof

    def to_json(self) -> JsonObject:
        """Return the bundle."""
        value: JsonObject = {"v": 1, "identifier": self.identifier.text}
        if self.envelope is not None:
            value["envelope"] = self.envelope
        value["proof"] = {
            "chain": list(self.chain),
            "records": list(self.records),
            "log": self.log.to_json(),
        }
        return value

    @classmethod
    def from_json(cls, value: object) -> Proved:
        """Read a bundle; raise BadInput."""
        members = Members({}, BadInput).inner(value, "bundle.")
        members.integer("v", 1, 1)
        identifier = members.identifier("identifier")
        envelope = members.take("envelope")
        proof = members.inner(members.take("proof"), "bundle.proof.")
        return cls(
            identifier,
            None if envelope is None else _envelope(envelope, "bundle.envelope."),
            proof.array("records", MAX_ANCESTORS, _envelope),
            proof.array("chain", MAX_CHAIN, _envelope),
            LogProof.from_json(proof.take("log")),
        )


def _found(value: object, where: str) -> Found:
    members = Members({}, BadInput).inner(value, where)
    return Found(
        members.identifier("identifier"),
        State(members.choice("state", _STATES)),
        members.array("records", MAX_ANCESTORS + 1, _envelope),
        members.array("assertions", MAX_ITEMS, _envelope),
        more_links=members.take("more_links") is True,
        notices=members.array("notices", MAX_NOTICES, _envelope),
    )


def _edge(value: object, where: str) -> Edge:
    members = Members({}, BadInput).inner(value, where)
    link = Link(
        members.choice("type", TYPES),
        members.identifier(UPSTREAM),
        members.identifier(DOWNSTREAM),
        members.choice("lifecycle", LIFECYCLES),
        members.maybe_text("occurrence", 128) or "",
    )
    return Edge(link, members.array("assertions", len(SIDES), _envelope))


def _blinded(value: object, where: str) -> Blinded:
    members = Members({}, BadInput).inner(value, where)
    far = members.text("far", 32)
    if not BLINDED.fullmatch(far):
        raise members.fail("far", "is no pseudonym", far)
    return Blinded(
        members.identifier("near"),
        far,
        members.choice("type", TYPES),
        members.choice("lifecycle", LIFECYCLES),
    )


def _envelope(value: object, where: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TOKEN:
        raise BadInput(f"{where.rstrip('.')} is not an envelope", value=value)
    return value
