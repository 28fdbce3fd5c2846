"""Notices: a holder's signed word that something of his is recalled.

Members (`typ` tierlink-notice+jws); absent means not there, never null:

    v 1 · iss (prefix) · id · ver · prev · iat · state issued|lifted · kind recall
    · of [identifiers under iss: items, batches, classes] · reason · href

A notice marks what it names, and what has one of these as its ancestor or as the class that covers
it. What is marked is answered strictly fresh, never from what may be stale, with the notice beside
it. `ver` and `prev` chain the versions of one `id`; `state` lifted takes it back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from .canonical import JsonObject
from .chain import Chain
from .claims import Members, without_empty
from .envelope import Envelope, parse, sign
from .errors import BadNotice
from .identifier import Identifier, Prefix
from .keys import B64, Signer
from .target import MAX_HREF, check_href

NOTICE: Final = "tierlink-notice+jws"
ISSUED, LIFTED = "issued", "lifted"
RECALL = "recall"
MAX_MARKED = 1_000
MAX_REASON = 1_000

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_STATES = frozenset({ISSUED, LIFTED})


@dataclass(frozen=True, slots=True)
class Notice:
    """One recall, in one version."""

    issuer: Prefix
    id: str
    issued_at: int
    of: tuple[Identifier, ...]
    reason: str
    href: str = ""
    kind: str = RECALL
    version: int = 1
    prev: B64 | None = None
    state: str = ISSUED

    def claims(self) -> dict[str, object]:
        """Return the members to sign."""
        return without_empty(
            {
                "v": 1,
                "iss": str(self.issuer),
                "id": self.id,
                "ver": self.version,
                "prev": self.prev,
                "iat": self.issued_at,
                "state": self.state,
                "kind": self.kind,
                "of": [item.text for item in self.of],
                "reason": self.reason,
                "href": self.href,
            }
        )

    def sign(self, signer: Signer) -> str:
        """Return the envelope."""
        return sign(NOTICE, self.claims(), signer)

    def lifted(self, prev: B64, issued_at: int, reason: str) -> Notice:
        """Return the version that takes this notice back."""
        return replace(
            self,
            version=self.version + 1,
            prev=prev,
            issued_at=issued_at,
            reason=reason,
            state=LIFTED,
        )


def parse_notice(token: object) -> tuple[Envelope, Notice]:
    """Read a signed notice, its signature unchecked; raise VerifyError or BadNotice."""
    envelope = parse(token, NOTICE)
    return envelope, read_notice(envelope.claims)


def check_notice(envelope: Envelope, notice: Notice, chain: Chain) -> None:
    """Check that the issuer's record keys signed it, under his chain; raise VerifyError."""
    chain.check_speaker(envelope, notice.issuer, notice.issued_at)


def read_notice(claims: JsonObject) -> Notice:
    """Read the signed members of a notice; raise BadNotice or BadIdentifier."""
    members = Members(claims, BadNotice)
    members.take("v")
    version = members.integer("ver", 1)
    prev = members.prev(version)
    state = members.choice("state", _STATES)
    notice = _content(members, members.integer("iat"))
    members.done()
    return replace(notice, version=version, prev=prev, state=state)


def read_draft_notice(claims: JsonObject, issued_at: int) -> Notice:
    """Read an unsigned notice (no ver, prev, iat, state) as version 1; raise BadNotice."""
    members = Members(claims, BadNotice)
    notice = _content(members, issued_at)
    members.done()
    return notice


def _content(members: Members, issued_at: int) -> Notice:
    issuer = members.prefix("iss")
    name = members.text("id", 64)
    if not _ID.fullmatch(name):
        raise members.fail("id", "has other characters than letters, digits, . _ and -", name)
    of = members.array("of", MAX_MARKED, _identifier)
    if not of:
        raise members.fail("of", "names nothing")
    strange = next((item for item in of if item.prefix != issuer), None)
    if strange is not None:
        raise members.fail("of", f"names what is not under {issuer}, whose notice it is", strange)
    if len(set(of)) != len(of):
        raise members.fail("of", "names something twice")
    href = members.maybe_text("href", MAX_HREF) or ""
    return Notice(
        issuer,
        name,
        issued_at,
        of,
        members.text("reason", MAX_REASON),
        check_href(members, href, href) if href else "",
        members.choice("kind", frozenset({RECALL}), RECALL),
    )


def _identifier(item: object, where: str) -> Identifier:
    if not isinstance(item, str):
        raise BadNotice(f"{where.rstrip('.')} is not an identifier", value=item)
    return Identifier.parse(item)
