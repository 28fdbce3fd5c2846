"""Hop tokens and parts: how a trace goes from one node to another, and what comes back.

A node that finds a link leading to what another node holds asks that node to walk on:

    POST /v1/traces/hop  {token, delegations, entries [identifier], types?, lifecycle?, at?, as_of?}

Hop token (`typ` tierlink-hop+jws), signed by a record key of `iss`:

    v 1 · trace (22 characters) · iss · sub · aud (the node asked) · ask · direction
    · depth (links left) · nodes (budget left) · purpose · iat · deadline (Unix milliseconds)
    · openings [43 characters] · until (Unix milliseconds)

`sub` is on whose behalf: `iss` itself, or absent for anybody, so that no node lends its name to
another's question. `ask` is the digest of the request without its token. Of the token that came
in, depth, nodes and deadline only shrink in those that go out. `openings` and `until`, both or
neither, are passed on as they came: they tell who asks to those alone who granted him something
(`schemas.opening`).

    H1  the token is a hop token, and this node is its aud            E_FORMAT E_TYP  E_HOP
    H2  iss speaks: its record key signed it, under its chain                      E_…
    H3  it asks for this request and no other                                    E_HOP
    H4  issued now, its deadline not over, depth and nodes left; openings
        are good as long as it is, and not for long                        E_TIME  E_HOP

What the node found comes back as a part, sealed (`typ` tierlink-part+jws) by a key of `iss`:

    v 1 · trace · iss (a prefix held by the node) · node (its base URL) · iat · digest

`digest` is SHA-256 over the canonical JSON of the part. Whoever receives parts checks each one
of them, those too that a part's node was given by others.

    reply    {part {trace, node, nodes [{identifier, depth, kind?, status}], edges [as of a source],
              blinded? [as of a source, depth], broken [{identifier, code, node?}],
              closed? [digest of a box]},
              delegations, parts [reply], seal, closed? [{opening, box}]}

Depths count from the entries. What is in `parts` came from further nodes, whole as they sent it.
A box has a reply of the same walk in it, as far as it is shown to whoever made the opening.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from . import canonical
from .canonical import JsonObject
from .chain import Chain
from .claims import Members, without_empty
from .delegation import MAX_NODE
from .envelope import Envelope, parse, sign
from .errors import BadQuery, VerifyError
from .identifier import Prefix
from .keys import B64, Signer, b64encode, sha256
from .link import DOWNSTREAM, UPSTREAM
from .opening import MAX_BOX_TEXT, MAX_OPENINGS
from .viewer import PURPOSE

HOP: Final = "tierlink-hop+jws"
PART: Final = "tierlink-part+jws"
SKEW_SECONDS = 60  # how far the clocks of two nodes may be apart
MAX_HOP_DEPTH = 100
MAX_HOP_NODES = 100_000
MAX_UNTIL = 180  # seconds ahead that openings are good for: a walk takes a minute at most
MAX_CLOSED = 4  # boxes of one reply

_TRACE = re.compile(r"[A-Za-z0-9_-]{22}")
_DIRECTIONS = frozenset({UPSTREAM, DOWNSTREAM})
_DIGEST = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")  # 32 bytes in base64url


@dataclass(frozen=True, slots=True)
class Hop:
    """One node's question to another, in the name of a prefix or of nobody."""

    trace: str
    issuer: Prefix
    audience: str
    ask: B64
    direction: str
    depth: int
    nodes: int
    issued_at: int
    deadline: int  # Unix milliseconds
    subject: Prefix | None = None
    purpose: str = ""
    openings: tuple[B64, ...] = ()
    until: int | None = None  # Unix milliseconds

    def sign(self, signer: Signer) -> str:
        """Return the token."""
        return sign(
            HOP,
            without_empty(
                {
                    "v": 1,
                    "trace": self.trace,
                    "iss": str(self.issuer),
                    "sub": None if self.subject is None else str(self.subject),
                    "aud": self.audience,
                    "ask": self.ask,
                    "direction": self.direction,
                    "depth": self.depth,
                    "nodes": self.nodes,
                    "purpose": self.purpose,
                    "iat": self.issued_at,
                    "deadline": self.deadline,
                    "openings": [*self.openings],
                    "until": self.until,
                }
            ),
            signer,
        )


def asked(request: JsonObject) -> B64:
    """Return the digest of a request, its token left out."""
    members = {name: value for name, value in request.items() if name != "token"}
    return b64encode(sha256(canonical.encode(members)))


def parse_hop(token: object) -> tuple[Envelope, Hop]:
    """Take the first half of step H1: read a token, its signature unchecked; raise VerifyError."""
    envelope = parse(token, HOP)
    try:
        return envelope, _read_hop(envelope.claims)
    except BadQuery as err:
        raise VerifyError("E_FORMAT", err.detail, value=err.value) from None


def _read_hop(claims: JsonObject) -> Hop:
    members = Members(claims, BadQuery, "token.")
    members.take("v")
    issuer = members.prefix("iss")
    subject = None if members.take("sub") is None else members.prefix("sub")
    if subject not in (None, issuer):
        raise members.fail("sub", "is another than iss, who signs for himself alone", str(subject))
    purpose = members.maybe_text("purpose", 64) or ""
    if purpose and not PURPOSE.fullmatch(purpose):
        raise members.fail("purpose", "is not one word of lower-case letters and digits", purpose)
    hop = Hop(
        _trace(members),
        issuer,
        members.text("aud", MAX_NODE),
        B64(members.text("ask", 43)),
        members.choice("direction", _DIRECTIONS),
        members.integer("depth", 0, MAX_HOP_DEPTH),
        members.integer("nodes", 0, MAX_HOP_NODES),
        members.integer("iat"),
        members.integer("deadline"),
        subject,
        purpose,
        members.array("openings", MAX_OPENINGS, _opening),
        members.maybe_integer("until"),
    )
    members.done()
    if (hop.until is None) != (not hop.openings):
        raise members.fail("until", "belongs to openings", hop.until)
    if any(one >= next_ for one, next_ in pairwise(hop.openings)):
        raise members.fail("openings", "are not in order, each once")
    return hop


def check_hop(
    envelope: Envelope, hop: Hop, chain: Chain, request: JsonObject, *, here: str, now: float
) -> None:
    """Take steps H1 to H4 for a token that was parsed; raise VerifyError.

    `here` is the base URL of this node, `now` Unix seconds, `chain` that of `hop.issuer`.
    """
    # H1
    if hop.audience != here:
        raise VerifyError("E_HOP", "the token is for another node", value=hop.audience)
    # H2
    chain.check_time(int(now))
    chain.check_speaker(envelope, hop.issuer, hop.issued_at)
    # H3
    if hop.ask != asked(request):
        raise VerifyError("E_HOP", "the token is for another request", value=hop.ask)
    # H4
    if abs(now - hop.issued_at) > SKEW_SECONDS:
        raise VerifyError(
            "E_TIME",
            "the token is not of this moment",
            value=hop.issued_at,
            fix="set the clocks of both nodes",
        )
    if hop.deadline <= 1000 * now:
        raise VerifyError("E_TIME", "the deadline is over", value=hop.deadline)
    if hop.depth < 1 or hop.nodes < 1:
        raise VerifyError("E_HOP", "no depth or no nodes are left", value=hop.depth)
    if hop.until is not None and not hop.deadline <= hop.until <= 1000 * (now + MAX_UNTIL):
        raise VerifyError("E_TIME", "the openings end before it, or too late", value=hop.until)


@dataclass(frozen=True, slots=True)
class Seal:
    """One node's word for a part."""

    trace: str
    issuer: Prefix
    node: str
    issued_at: int
    digest: B64

    def sign(self, signer: Signer) -> str:
        """Return the seal."""
        return sign(
            PART,
            {
                "v": 1,
                "trace": self.trace,
                "iss": str(self.issuer),
                "node": self.node,
                "iat": self.issued_at,
                "digest": self.digest,
            },
            signer,
        )


def digest_of(part: JsonObject) -> B64:
    """Return the digest of a part."""
    return b64encode(sha256(canonical.encode(part)))


def parse_seal(token: object) -> tuple[Envelope, Seal]:
    """Read a seal, its signature unchecked; raise VerifyError."""
    envelope = parse(token, PART)
    members = Members(envelope.claims, BadQuery, "seal.")
    try:
        members.take("v")
        seal = Seal(
            _trace(members),
            members.prefix("iss"),
            members.text("node", MAX_NODE),
            members.integer("iat"),
            B64(members.text("digest", 43)),
        )
        members.done()
    except BadQuery as err:
        raise VerifyError("E_FORMAT", err.detail, value=err.value) from None
    return envelope, seal


def check_seal(envelope: Envelope, seal: Seal, chain: Chain, part: JsonObject, trace: str) -> None:
    """Check that a part is what the holder of `seal.issuer` said in a trace; raise VerifyError."""
    if seal.trace != trace:
        raise VerifyError("E_PART", "the part is of another trace", value=seal.trace)
    if seal.digest != digest_of(part):
        raise VerifyError("E_PART", "the part is not what its node sealed", value=seal.node)
    chain.check_speaker(envelope, seal.issuer, seal.issued_at)


@dataclass(frozen=True, slots=True)
class Closed:
    """What one node tells whoever made an opening, and nobody on the way."""

    opening: B64
    box: str

    def view(self) -> JsonObject:
        """Return the members on the wire."""
        return {"opening": self.opening, "box": self.box}


def read_closed(value: object, where: str) -> Closed:
    """Read what one box is and for whom, not what is in it; raise BadQuery."""
    members = Members({}, BadQuery).inner(value, where)
    found = Closed(
        _opening(members.take("opening"), f"{where}opening."), members.text("box", MAX_BOX_TEXT)
    )
    members.done()
    return found


def _opening(value: object, where: str) -> B64:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise BadQuery(f"{where.rstrip('.')} is not 43 characters of base64url", value=value)
    return B64(value)


def _trace(members: Members) -> str:
    found = members.text("trace", 22)
    if not _TRACE.fullmatch(found):
        raise members.fail("trace", "is not 22 characters of base64url", found)
    return found
