"""Grants: what a holder lets others see of his links, beyond the ends that are their own.

Members (`typ` tierlink-grant+jws); absent means not there, never null:

    v 1 · iss (prefix of the grantor) · id · ver · prev · iat · state granted|revoked
    · to (a prefix, or "*" for anybody) · root · direction upstream|downstream · depth
    · aspects [link types and lifecycles] · purpose · nbf · exp · show full|blinded

A grant opens links as seen from a near end under `iss`. With `root` only where the walk came in
by that identifier, or stands at it, or at what has it as its parent: a class opens its items.
`depth` counts links: from where the walk came into the holdings of `iss`, so many are shown one
behind the other. `aspects` names what links: each of the two kinds of words, where one of its
kind is there, has to fit. `purpose` is what the asker says he asks for. `show` blinded puts a
pseudonym in the place of the far end, which can be counted and told apart within one trace, and
is walked through by nobody.

`ver` and `prev` chain the versions of one `id`; `state` revoked takes it back. Grants are signed by
a record key of the grantor, are in his log, and are never shown but to grantor and grantee.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from .canonical import JsonObject
from .chain import Chain
from .claims import Members, without_empty
from .delegation import within
from .envelope import Envelope, parse, sign
from .errors import BadGrant
from .identifier import Identifier, Prefix
from .keys import B64, Signer
from .link import DOWNSTREAM, LIFECYCLES, TYPES, UPSTREAM
from .viewer import PURPOSE

GRANT: Final = "tierlink-grant+jws"
GRANTED, REVOKED = "granted", "revoked"
FULL, BLINDED = "full", "blinded"
ANYBODY: Final = "*"
MAX_DEPTH = 100

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_STATES = frozenset({GRANTED, REVOKED})
_SHOW = frozenset({FULL, BLINDED})
_DIRECTIONS = frozenset({UPSTREAM, DOWNSTREAM})


@dataclass(frozen=True, slots=True)
class Grant:
    """What one holder opens to one party, or to anybody (`to` None), in one version."""

    grantor: Prefix
    id: str
    issued_at: int
    to: Prefix | None = None
    root: Identifier | None = None
    direction: str | None = None
    depth: int = MAX_DEPTH
    aspects: frozenset[str] = frozenset()
    purpose: str = ""
    valid_from: int | None = None
    valid_until: int | None = None
    show: str = FULL
    version: int = 1
    prev: B64 | None = None
    state: str = GRANTED

    @property
    def types(self) -> frozenset[str]:
        """The link types that are opened; empty means all."""
        return self.aspects & TYPES

    @property
    def lifecycles(self) -> frozenset[str]:
        """The lifecycles that are opened; empty means all."""
        return self.aspects & LIFECYCLES

    def claims(self) -> dict[str, object]:
        """Return the members to sign."""
        return without_empty(
            {
                "v": 1,
                "iss": str(self.grantor),
                "id": self.id,
                "ver": self.version,
                "prev": self.prev,
                "iat": self.issued_at,
                "state": self.state,
                "to": ANYBODY if self.to is None else str(self.to),
                "root": None if self.root is None else self.root.text,
                "direction": self.direction,
                "depth": self.depth,
                "aspects": sorted(self.aspects),
                "purpose": self.purpose,
                "nbf": self.valid_from,
                "exp": self.valid_until,
                "show": self.show,
            }
        )

    def sign(self, signer: Signer) -> str:
        """Return the envelope."""
        return sign(GRANT, self.claims(), signer)

    def revocation(self, prev: B64, issued_at: int) -> Grant:
        """Return the version that takes this grant back."""
        return replace(
            self, version=self.version + 1, prev=prev, issued_at=issued_at, state=REVOKED
        )

    def stands(self, at: int) -> bool:
        """Tell whether it opens anything at a time, in Unix seconds."""
        return self.state == GRANTED and within(at, self.valid_from, self.valid_until)


def parse_grant(token: object) -> tuple[Envelope, Grant]:
    """Read a signed grant, its signature unchecked; raise VerifyError or BadGrant."""
    envelope = parse(token, GRANT)
    return envelope, read_grant(envelope.claims)


def check_grant(envelope: Envelope, grant: Grant, chain: Chain) -> None:
    """Check that the grantor's record keys signed it, under his chain; raise VerifyError."""
    chain.check_speaker(envelope, grant.grantor, grant.issued_at)


def read_grant(claims: JsonObject) -> Grant:
    """Read the signed members of a grant; raise BadGrant or BadIdentifier."""
    members = Members(claims, BadGrant)
    members.take("v")
    version = members.integer("ver", 1)
    prev = members.prev(version)
    state = members.choice("state", _STATES)
    grant = _content(members, members.integer("iat"))
    members.done()
    return replace(grant, version=version, prev=prev, state=state)


def read_draft_grant(claims: JsonObject, issued_at: int) -> Grant:
    """Read an unsigned grant (no ver, prev, iat, state) as version 1; raise BadGrant."""
    members = Members(claims, BadGrant)
    grant = _content(members, issued_at)
    members.done()
    return grant


def _content(members: Members, issued_at: int) -> Grant:
    grantor = members.prefix("iss")
    root = members.maybe_identifier("root")
    if root is not None and root.prefix != grantor:
        raise members.fail("root", f"is not under {grantor}, whose grant it is", root.text)
    valid_from, valid_until = members.maybe_integer("nbf"), members.maybe_integer("exp")
    if valid_from is not None and valid_until is not None and valid_from >= valid_until:
        raise members.fail("exp", "is not after nbf", valid_until)
    direction = members.take("direction")
    return Grant(
        grantor,
        _id(members),
        issued_at,
        _to(members),
        root,
        None if direction is None else members.choice("direction", _DIRECTIONS),
        members.integer("depth", 1, MAX_DEPTH),
        frozenset(members.array("aspects", len(TYPES) + len(LIFECYCLES), _aspect)),
        _purpose(members),
        valid_from,
        valid_until,
        members.choice("show", _SHOW, FULL),
    )


def _id(members: Members) -> str:
    found = members.text("id", 64)
    if not _ID.fullmatch(found):
        raise members.fail("id", "has other characters than letters, digits, . _ and -", found)
    return found


def _to(members: Members) -> Prefix | None:
    return None if members.take("to") == ANYBODY else members.prefix("to")


def _purpose(members: Members) -> str:
    found = members.maybe_text("purpose", 64) or ""
    if found and not PURPOSE.fullmatch(found):
        raise members.fail("purpose", "is not one word of lower-case letters and digits", found)
    return found


def _aspect(item: object, where: str) -> str:
    if not isinstance(item, str) or item not in TYPES | LIFECYCLES:
        raise BadGrant(
            f"{where.rstrip('.')} is neither a link type nor a lifecycle",
            value=item,
            fix=f"one of {', '.join(sorted(TYPES | LIFECYCLES))}",
        )
    return item
