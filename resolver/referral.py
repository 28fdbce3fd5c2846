"""Referrals: which node to ask next, and whose word counts; pure decisions.

The home of a prefix is the node that its standing delegation names, else the home of the prefix
above; the home of the root is configured. A walk begins at the nearest referral that is known and
asks its node. What that node says is judged here:

    F1  a delegation is believed once its chain from our own root is verified, no key that signed
        it was revoked since, and it is valid now                 E_CHAIN … E_REVOKED E_TIME E_ROOT
    F2  it is no older than the one of the same prefix by which we came                     E_STALE
    F3  what lives under a prefix is told by its home alone                                  E_HOME
    F4  that a prefix is suspended, or delegated to nobody, is told by the node that we were
        referred to, which knows the prefix that it serves, and shows nothing that says otherwise
                                                                                       E_HOME lame
    F5  a further referral goes deeper: a longer prefix, a node that this walk has not asked and
        that is not ourselves; else it is lame                                                 lame
    F6  at most 8 nodes are asked                                                              lame

Each referral of a walk is deeper than the one before, so it ends whatever the nodes say; and it
never comes to a node that no verified delegation names, but for the one of the root.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf
from urllib.parse import urlsplit

from schemas.chain import Chain
from schemas.errors import VerifyError
from schemas.identifier import Identifier, Prefix
from schemas.source import Found, State

from .trust import Offered

MAX_HOPS = 8  # nodes that one walk asks; a chain has no more delegations
LAME, E_HOME, E_STALE, E_TIME = "lame", "E_HOME", "E_STALE", "E_TIME"

ROOT = Prefix(())
_PORTS = {"http": 80, "https": 443}
_AT_HOME = frozenset({State.FOUND, State.COVERED, State.RETIRED, State.MISSING})


class Misled(Exception):
    """What a node said is not to be believed, or leads nowhere; `reason` is a verdict or `lame`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Referral:
    """Which node serves a prefix, by a verified chain of delegations.

    `sequences` says which version of each delegation it rests on, `until` (Unix seconds) when the
    first of them expires, `chain` holds their envelopes, root-most first.
    """

    prefix: Prefix
    origin: str
    sequences: Mapping[Prefix, int] = field(default_factory=dict)
    until: float = inf
    chain: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where nodes are, as seen from this one: base URLs, `root` of the root's node, `here` ours.

    `root` is empty on the node of the root itself, which nothing can refer to, and where nobody
    said which it is.
    """

    root: str = ""
    here: str = ""

    def start(self) -> Referral | None:
        """Return where a walk begins that knows of nothing nearer; None where that is here."""
        root = normal(self.root)
        return Referral(ROOT, root) if root and root != normal(self.here) else None

    def home(self, chain: Chain) -> str:
        """Return the node that serves the holder of a chain; empty where no one is named."""
        named = (item.node for item in reversed(chain.standing) if item.node)
        return normal(next(named, self.root))


@dataclass(frozen=True, slots=True)
class Walk:
    """One identifier on its way: by which referral its next node is asked, and who was before.

    `begun` is there where it began with a referral that is remembered: the one to begin with else.
    """

    identifier: Identifier
    at: Referral
    asked: tuple[str, ...] = ()
    begun: Referral | None = None

    def heard(self, found: Found, offered: Offered, place: Place, now: float) -> Referral | Walk:
        """Judge what the node said; return what it rests on, or the walk with its next node.

        `offered` are the delegations that came with it, `now` is in Unix seconds. Raises Misled.
        """
        try:
            return self._heard(found, offered, place, now)
        except VerifyError as err:
            raise Misled(err.code, err.detail) from err

    def _heard(self, found: Found, offered: Offered, place: Place, now: float) -> Referral | Walk:
        if found.state in _AT_HOME:
            # F3
            told = self._rests_on(self.identifier.prefix, offered, place, now)
            if told.origin != self.at.origin:
                raise Misled(E_HOME, f"{told.prefix} is served by {told.origin or 'another node'}")
            return told
        nearest = offered.nearest(self.identifier.prefix)
        shown = None if nearest is None else self._rests_on(nearest, offered, place, now)
        if found.state is State.FOREIGN:
            return self._further(shown, place)
        return self._denied(found.state, shown or self.at)

    def _denied(self, state: State, shown: Referral) -> Referral:
        # F4
        if not self.at.prefix.covers(shown.prefix) or (shown is self.at and self.at.chain):
            raise Misled(LAME, f"it does not know {self.at.prefix}, which it serves")
        if state is State.NOWHERE:
            if shown.prefix == self.identifier.prefix:
                raise Misled(LAME, f"{shown.prefix} is delegated, and said to be nowhere")
            if shown.origin != self.at.origin:
                raise Misled(E_HOME, f"{shown.prefix} is served by {shown.origin}")
        return shown

    def _rests_on(self, prefix: Prefix, offered: Offered, place: Place, now: float) -> Referral:
        """F1, F2: return the verified referral of a prefix; raise VerifyError or Misled."""
        told = refer(prefix, offered, place, now)
        for above, sequence in told.sequences.items():
            if sequence < self.at.sequences.get(above, 0):
                raise Misled(
                    E_STALE,
                    f"the delegation of {above} has version {sequence}, and we were referred by "
                    f"version {self.at.sequences[above]}",
                )
        return told

    def _further(self, shown: Referral | None, place: Place) -> Walk:
        # F5
        if shown is None or len(shown.prefix.labels) <= len(self.at.prefix.labels):
            where = "no delegation" if shown is None else f"the delegation of {shown.prefix}"
            raise Misled(LAME, f"it refers by {where}, which leads no deeper than {self.at.prefix}")
        asked = (*self.asked, self.at.origin)
        if not shown.origin or shown.origin in (*asked, normal(place.here)):
            raise Misled(LAME, f"it refers to {shown.origin or 'nobody'}, who was asked before")
        # F6
        if len(asked) >= MAX_HOPS:
            raise Misled(LAME, f"{MAX_HOPS} nodes were asked, and it refers to another")
        return replace(self, at=shown, asked=asked)


def refer(prefix: Prefix, offered: Offered, place: Place, now: float) -> Referral:
    """F1: return the referral that the standing delegation of a prefix is; raise VerifyError."""
    known = offered.known(prefix)
    chain = known.chain
    chain.check_delegations()
    stale = chain.current(int(now))
    if stale:
        raise VerifyError(stale[0], f"the chain of {prefix} is valid no longer", value=str(prefix))
    ends = (item.valid_until for item in chain.delegations if item.valid_until is not None)
    return Referral(
        prefix,
        place.home(chain),
        {item.subject: item.sequence for item in chain.standing},
        min(ends, default=inf),
        known.tokens,
    )


def nearest(identifier: Identifier, offered: Offered, place: Place, now: float) -> Referral | None:
    """Return the referral that an authority gives with FOREIGN, or else to the root's node.

    None where there is nobody else to ask: it leads here, or no node is named. Raises VerifyError.
    """
    prefix = offered.nearest(identifier.prefix)
    if prefix is None:
        return place.start()
    found = refer(prefix, offered, place, now)
    return found if found.origin not in {"", normal(place.here)} else None


class Homes:
    """Remembers verified referrals for as long as their senders allow; bounded."""

    def __init__(self, limit: int = 4096) -> None:
        self._limit = limit
        self._known: dict[Prefix, tuple[Referral, float]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, referral: Referral, until: float) -> None:
        """Remember a referral until a moment of the resolver's clock."""
        self._known.pop(referral.prefix, None)
        if len(self._known) >= self._limit:
            del self._known[next(iter(self._known))]
        self._known[referral.prefix] = (referral, until)

    def nearest(self, prefix: Prefix, now: float) -> Referral | None:
        """Return the one of the longest prefix at or above this one."""
        for above in (prefix, *prefix.ancestors()):
            found = self._known.get(above)
            if found is not None:
                if now < found[1]:
                    return found[0]
                del self._known[above]
        return None

    def forget(self, referral: Referral) -> None:
        """Drop a referral that led astray."""
        known = self._known.get(referral.prefix)
        if known is not None and known[0] == referral:
            del self._known[referral.prefix]


def normal(origin: str) -> str:
    """Return a base URL in one spelling: lower case, no default port, no slash at its end.

    Empty for what is no http(s) URL, or carries a name, a password, a query or a fragment.
    """
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return ""
    host = parts.hostname
    if parts.scheme not in _PORTS or not host or "@" in parts.netloc:
        return ""
    if parts.query or parts.fragment or "?" in origin or "#" in origin:
        return ""
    name = f"[{host}]" if ":" in host else host
    where = "" if port in {None, _PORTS[parts.scheme]} else f":{port}"
    return f"{parts.scheme}://{name}{where}{parts.path.rstrip('/')}"
