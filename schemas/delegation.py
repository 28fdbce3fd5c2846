"""Delegations and the root: who holds a prefix, with which keys, signed by the parent.

Delegation members (`typ` tierlink-delegation+jws); absent means not there:

    v 1 · iss (parent prefix) · sub (child prefix) · seq · prev · iat · nbf · exp
    · keys [{kid, jwk, use [record|delegate|status|rotate], nbf, exp}]
    · res, except (sets of prefixes) · limits {depth, kinds} · org {name, uscc, lei}
    · node (base URL of the node that serves the prefix)
    · thr {delegate, rotate, record} · next [thumbprint] · require [[algorithm]]
    · revoked [{kid, reason, since}] · reset

Root members (`typ` tierlink-root+jws), signed by its own `rotate` keys:

    v 1 · ver · prev · iat · nbf · exp · keys · res · thr · next · revoked

`res` defaults to the prefix itself and everything below. `thr` says how many distinct keys must
sign for a use, one where it is silent. `next` commits to rotate keys that nobody has seen yet.
`require` lists sets of algorithms, of which one set must have signed each record and link.
A revoked key speaks for what the log holds before `since`, and for nothing after. `reset` marks
the delegation by which a parent recovers a prefix whose holder lost everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from .canonical import JsonObject
from .claims import Members, without_empty
from .envelope import DELEGATION, POSSESSION, ROOT, Envelope, cosign, parse, sign, verify
from .errors import BadInput, VerifyError
from .identifier import Prefix
from .keys import ALGORITHMS, B64, SM2, KeyId, PublicKey, Signer

RECORD_USE, DELEGATE_USE, STATUS_USE, ROTATE_USE = "record", "delegate", "status", "rotate"
USES = frozenset({RECORD_USE, DELEGATE_USE, STATUS_USE, ROTATE_USE})

COUNTED_USES = frozenset({RECORD_USE, DELEGATE_USE, ROTATE_USE})  # for which `thr` may ask several

UNSPECIFIED, COMPROMISED, SUPERSEDED = "unspecified", "compromised", "superseded"
REASONS = frozenset({UNSPECIFIED, COMPROMISED, SUPERSEDED})

# What `require` may name: also what this verifier cannot check yet, and then refuses.
REQUIRABLE = ALGORITHMS | {SM2, "ML-DSA-44"}

MAX_KEYS = 16
MAX_REVOKED = 64
MAX_RESOURCES = 64
POSSESSION_SECONDS = 600
MAX_NODE = 512  # characters of a base URL

_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")
_ORIGIN = re.compile(r"https?://[A-Za-z0-9._\-:\[\]]{1,255}(?:/[A-Za-z0-9._~%/\-]{0,255})?")


@dataclass(frozen=True, slots=True)
class DelegatedKey:
    """A key of a holder, what it may do and when."""

    key: PublicKey
    uses: frozenset[str]
    valid_from: int | None = None
    valid_until: int | None = None

    def may(self, use: str, at: int) -> bool:
        """Tell whether the key has a use at a time."""
        return use in self.uses and within(at, self.valid_from, self.valid_until)

    def claims(self) -> dict[str, object]:
        """Return the signed members."""
        return without_empty(
            {
                "kid": self.key.kid,
                "jwk": dict(self.key.jwk),
                "use": sorted(self.uses),
                "nbf": self.valid_from,
                "exp": self.valid_until,
            }
        )


def within(at: int, valid_from: int | None, valid_until: int | None) -> bool:
    """Tell whether `at` lies in [valid_from, valid_until)."""
    return (valid_from is None or at >= valid_from) and (valid_until is None or at < valid_until)


@dataclass(frozen=True, slots=True)
class Revocation:
    """From where on in the log a key speaks no more: `since` is the first leaf index it lost."""

    kid: KeyId
    reason: str
    since: int

    def claims(self) -> dict[str, object]:
        """Return the signed members."""
        return {"kid": self.kid, "reason": self.reason, "since": self.since}


@dataclass(frozen=True, slots=True)
class Delegation:
    """A parent's statement of who holds a child prefix; the root states itself (parent None)."""

    subject: Prefix
    parent: Prefix | None
    sequence: int
    issued_at: int
    keys: tuple[DelegatedKey, ...]
    prev: B64 | None = None
    valid_from: int | None = None
    valid_until: int | None = None
    resources: tuple[Prefix, ...] = ()
    exceptions: tuple[Prefix, ...] = ()
    depth: int | None = None
    kinds: frozenset[str] = frozenset()
    organisation: Mapping[str, object] = field(default_factory=dict)
    node: str = ""
    thresholds: Mapping[str, int] = field(default_factory=dict)
    next_keys: tuple[KeyId, ...] = ()
    require: tuple[tuple[str, ...], ...] = ()
    revoked: tuple[Revocation, ...] = ()
    reset: bool = False
    # What it was read from. Not an argument: whoever writes the next one from this one has none.
    envelope: Envelope | None = field(default=None, init=False, compare=False, repr=False)

    def keys_for(self, use: str, at: int) -> dict[KeyId, PublicKey]:
        """Return the keys that have a use at a time, by kid."""
        return {item.key.kid: item.key for item in self.keys if item.may(use, at)}

    def threshold(self, use: str) -> int:
        """Return how many distinct keys must sign for a use."""
        return self.thresholds.get(use, 1)

    def revocation(self, kid: str) -> Revocation | None:
        """Return the revocation of a key, None where it is not revoked."""
        return next((item for item in self.revoked if item.kid == kid), None)

    def holds(self, prefix: Prefix) -> bool:
        """Tell whether a prefix lies in the resources and outside the exceptions."""
        resources = self.resources or (self.subject,)
        return any(item.covers(prefix) for item in resources) and not any(
            item.covers(prefix) for item in self.exceptions
        )

    def claims(self) -> dict[str, object]:
        """Return the members to sign."""
        limits = without_empty({"depth": self.depth, "kinds": sorted(self.kinds)})
        common = {
            "v": 1,
            "prev": self.prev,
            "iat": self.issued_at,
            "nbf": self.valid_from,
            "exp": self.valid_until,
            "keys": [item.claims() for item in self.keys],
            "res": [str(item) for item in self.resources],
            "thr": dict(self.thresholds),
            "next": list(self.next_keys),
            "revoked": [item.claims() for item in self.revoked],
        }
        if self.parent is None:
            return without_empty({**common, "ver": self.sequence})
        return without_empty(
            {
                **common,
                "iss": str(self.parent),
                "sub": str(self.subject),
                "seq": self.sequence,
                "except": [str(item) for item in self.exceptions],
                "limits": limits,
                "org": dict(self.organisation),
                "node": self.node,
                "require": [list(item) for item in self.require],
                "reset": self.reset or None,
            }
        )

    def sign(self, signer: Signer, *more: Signer) -> str:
        """Return the envelope, signed by each: the parent's keys, or its own where it rotates."""
        token = sign(ROOT if self.parent is None else DELEGATION, self.claims(), signer)
        for item in more:
            token = cosign(token, item)
        return token


class _BadDelegation(BadInput):
    """A delegation that is not of the schema; reported as verdict E_FORMAT."""

    code = "E_FORMAT"
    title = "Invalid delegation"


def parse_delegation(token: object) -> tuple[Envelope, Delegation]:
    """Read a delegation's envelope, its signature unchecked; raise VerifyError."""
    if not isinstance(token, str):
        raise VerifyError("E_FORMAT", "an envelope is a string")
    return _parse_delegation(token)


@lru_cache(maxsize=1024)
def _parse_delegation(token: str) -> tuple[Envelope, Delegation]:
    # Every answer of a company carries the same few delegations. Parsing depends on the text
    # alone; whether a signature holds depends on the parent, and is never remembered here.
    return _read(parse(token, DELEGATION), _read_delegation)


def parse_root(token: object) -> tuple[Envelope, Delegation]:
    """Read a root's envelope, its signature unchecked; raise VerifyError."""
    return _read(parse(token, ROOT), _read_root)


def _read(
    envelope: Envelope, read: Callable[[JsonObject], Delegation]
) -> tuple[Envelope, Delegation]:
    try:
        delegation = read(envelope.claims)
    except VerifyError:
        raise
    except BadInput as err:
        code = "E_ID" if err.code == "identifier_invalid" else "E_FORMAT"
        raise VerifyError(code, err.detail, value=err.value) from None
    object.__setattr__(delegation, "envelope", envelope)  # once, before anybody else sees it
    return envelope, delegation


def _read_delegation(claims: JsonObject) -> Delegation:
    members = Members(claims, _BadDelegation)
    members.take("v")
    sequence = members.integer("seq", 1)
    keys = _read_keys(members)
    limits = members.inner(members.maybe_object("limits") or {}, "limits.")
    delegation = Delegation(
        subject=members.prefix("sub"),
        parent=members.prefix("iss"),
        sequence=sequence,
        issued_at=members.integer("iat"),
        keys=keys,
        prev=members.prev(sequence),
        valid_from=members.maybe_integer("nbf"),
        valid_until=members.maybe_integer("exp"),
        resources=_read_prefixes(members, "res"),
        exceptions=_read_prefixes(members, "except"),
        depth=limits.maybe_integer("depth", 0, 16),
        kinds=frozenset(limits.array("kinds", 16, _read_word)),
        organisation=_read_organisation(members),
        node=_read_node(members),
        thresholds=_read_thresholds(members, keys),
        next_keys=_read_next(members, keys),
        require=members.array("require", 8, _read_algorithms),
        revoked=_read_revoked(members),
        reset=_read_reset(members, sequence),
    )
    limits.done()
    members.done()
    return delegation


def _read_root(claims: JsonObject) -> Delegation:
    members = Members(claims, _BadDelegation)
    members.take("v")
    version = members.integer("ver", 1)
    keys = _read_keys(members)
    root = Delegation(
        subject=Prefix(()),
        parent=None,
        sequence=version,
        issued_at=members.integer("iat"),
        keys=keys,
        prev=members.prev(version),
        valid_from=members.maybe_integer("nbf"),
        valid_until=members.maybe_integer("exp"),
        resources=_read_prefixes(members, "res"),
        thresholds=_read_thresholds(members, keys),
        next_keys=_read_next(members, keys),
        revoked=_read_revoked(members),
    )
    members.done()
    return root


def _read_keys(members: Members) -> tuple[DelegatedKey, ...]:
    keys = members.array("keys", MAX_KEYS, lambda item, where: read_key(members, item, where))
    if not keys:
        raise members.fail("keys", "is empty")
    if len({item.key.kid for item in keys}) != len(keys):
        raise members.fail("keys", "names one key twice")
    return keys


def read_key(outer: Members, item: object, where: str) -> DelegatedKey:
    """Read one delegated key; raise VerifyError E_KEY where the key may not be registered."""
    members = outer.inner(item, where)
    jwk = members.maybe_object("jwk")
    if jwk is None:
        raise members.fail("jwk", "is missing")
    key = PublicKey.from_jwk(jwk)
    kid = members.maybe_text("kid", 43)
    if kid is not None and kid != key.kid:
        raise VerifyError("E_KEY", "kid is not the thumbprint of its key", value=kid)
    uses = frozenset(members.array("use", len(USES), _read_word))
    if not uses or not uses <= USES:
        raise members.fail("use", f"is not a set of {', '.join(sorted(USES))}", sorted(uses))
    valid_from, valid_until = members.maybe_integer("nbf"), members.maybe_integer("exp")
    members.done()
    return DelegatedKey(key, uses, valid_from, valid_until)


def _read_prefixes(members: Members, name: str) -> tuple[Prefix, ...]:
    return members.array(
        name, MAX_RESOURCES, lambda item, where: Prefix.parse(_read_word(item, where))
    )


def _read_word(item: object, where: str) -> str:
    if not isinstance(item, str) or not item or len(item) > 1024:  # noqa: PLR2004  (of a prefix)
        raise _BadDelegation(f"{where.rstrip('.')} is not a short string", value=item)
    return item


def _read_thresholds(members: Members, keys: Sequence[DelegatedKey]) -> dict[str, int]:
    found = members.maybe_object("thr")
    if found is None:
        return {}
    inner = members.inner(found, "thr.")
    thresholds: dict[str, int] = {}
    for use in sorted(COUNTED_USES & found.keys()):
        # More than there are keys could never be met, and would lock the holder out unnoticed.
        able = sum(use in item.uses for item in keys)
        thresholds[use] = inner.integer(use, 1, able)
    inner.done()
    return thresholds


def _read_next(members: Members, keys: Sequence[DelegatedKey]) -> tuple[KeyId, ...]:
    found = members.array("next", MAX_KEYS, _read_thumbprint)
    if len(set(found)) != len(found):
        raise members.fail("next", "names one key twice")
    shown = set(found).intersection(item.key.kid for item in keys)
    if shown:  # a commitment to what everybody knows binds nobody
        raise members.fail("next", "names a key that is in keys already", min(shown))
    return found


def _read_thumbprint(item: object, where: str) -> KeyId:
    if not isinstance(item, str) or not _THUMBPRINT.fullmatch(item):
        raise _BadDelegation(f"{where.rstrip('.')} is not a key's thumbprint", value=item)
    return KeyId(item)


def _read_algorithms(item: object, where: str) -> tuple[str, ...]:
    # An empty set would be met by anything, and is more likely a slip than a wish.
    if not isinstance(item, list) or not item or len(item) > len(REQUIRABLE):
        raise _BadDelegation(f"{where.rstrip('.')} is not a set of algorithms", value=item)
    found = tuple(_read_word(word, where) for word in item)
    if not REQUIRABLE.issuperset(found) or len(set(found)) != len(found):
        allowed = ", ".join(sorted(REQUIRABLE))
        raise _BadDelegation(f"{where.rstrip('.')} is not a set out of {allowed}", value=found)
    return found


def _read_revoked(members: Members) -> tuple[Revocation, ...]:
    found = members.array(
        "revoked", MAX_REVOKED, lambda item, where: _read_revocation(members, item, where)
    )
    if len({item.kid for item in found}) != len(found):
        raise members.fail("revoked", "names one key twice")
    return found


def _read_revocation(outer: Members, item: object, where: str) -> Revocation:
    members = outer.inner(item, where)
    kid = _read_thumbprint(members.take("kid"), f"{where}kid")
    found = Revocation(kid, members.choice("reason", REASONS), members.integer("since"))
    members.done()
    return found


def _read_reset(members: Members, sequence: int) -> bool:
    reset = members.take("reset")
    if reset is None:
        return False
    if reset is not True or sequence == 1:
        raise members.fail("reset", "is true where a delegation replaces a lost one", reset)
    return True


def _read_organisation(members: Members) -> dict[str, object]:
    found = members.maybe_object("org")
    if found is None:
        return {}
    org = members.inner(found, "org.")
    read = {name: org.maybe_text(name, 256) for name in ("name", "uscc", "lei")}
    org.done()
    return without_empty(read)


def _read_node(members: Members) -> str:
    node = members.maybe_text("node", MAX_NODE) or ""
    if node and not _ORIGIN.fullmatch(node):
        raise members.fail("node", "is not the http(s) base URL of a node", node)
    return node


def sign_possession(signer: Signer, prefix: Prefix, nonce: str, issued_at: int) -> str:
    """Prove that the signer holds a key that is to be registered for a prefix."""
    claims = {
        "v": 1,
        "kid": signer.public.kid,
        "prefix": str(prefix),
        "nonce": nonce,
        "iat": issued_at,
    }
    return sign(POSSESSION, claims, signer)


def check_possession(
    token: object, key: PublicKey, prefix: Prefix, nonces: Iterable[str], now: int
) -> None:
    """Check a proof of possession against the nonces that were issued; raise VerifyError E_KEY."""
    try:
        claims = verify(token, POSSESSION, {key.kid: key}).claims
    except VerifyError as err:
        raise VerifyError("E_KEY", f"proof of possession: {err}") from None
    expected = {"v": 1, "kid": key.kid, "prefix": str(prefix)}
    if {name: claims.get(name) for name in expected} != expected or len(claims) != 5:  # noqa: PLR2004
        raise VerifyError("E_KEY", "proof of possession names another key or prefix")
    if claims.get("nonce") not in list(nonces):  # a list: a foreign nonce need not be hashable
        raise VerifyError(
            "E_KEY",
            "proof of possession is for no challenge of ours, or one that has expired",
            fix="ask for a new challenge and sign it within ten minutes",
        )
    issued_at = claims.get("iat")
    if type(issued_at) is not int or abs(now - issued_at) > POSSESSION_SECONDS:
        raise VerifyError("E_KEY", "proof of possession is not of this moment", value=issued_at)
