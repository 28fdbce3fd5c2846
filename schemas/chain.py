"""Chain validation: root → prefix → record, in numbered steps with stable verdict codes.

    C1  root: its version is one the trust anchor names, self-signed by a rotate key     E_ROOT
    C2  chain: begins at the root, each `iss` is the `sub` before it, no loop, ≤ 8       E_CHAIN
    C3  scope: `sub` strictly extends `iss`, label by label; resources ⊆ the parent's
        resources minus its exceptions, refused where wider, never trimmed; depth        E_SCOPE
    C4  signature: by a key the parent gave `delegate` at the time of issue       E_CHAIN E_SIG
    C5  threshold: one signature satisfies a threshold of one and no other               E_CHAIN
    C6  time: every certificate valid at the time asked about                            E_TIME
    C7  speaker: prefix equals the last `sub`, key has the use, kind is allowed  E_SCOPE E_CHAIN

The time asked about is the statement's own time of issue until a log supplies a better one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from . import canonical
from .canonical import JsonObject
from .delegation import (
    DELEGATE_USE,
    RECORD_USE,
    ROTATE_USE,
    Delegation,
    parse_delegation,
    parse_root,
    within,
)
from .envelope import Envelope, check
from .errors import VerifyError
from .identifier import Prefix
from .policy import LogPolicy

MAX_CHAIN = 8


@dataclass(frozen=True, slots=True)
class Chain:
    """A validated chain: the delegations from the root (first) to the holder (last)."""

    delegations: tuple[Delegation, ...]

    @property
    def holder(self) -> Delegation:
        """The last delegation: who holds the prefix and with which keys."""
        return self.delegations[-1]

    def check_time(self, at: int) -> None:
        """Step C6: raise VerifyError E_TIME where a certificate is not valid at `at`."""
        for item in self.delegations:
            if not within(at, item.valid_from, item.valid_until):
                raise VerifyError(
                    "E_TIME", f"the delegation of {item.subject} is not valid at {at}", value=at
                )

    def check_speaker(
        self, envelope: Envelope, prefix: Prefix, at: int, kind: str | None = None
    ) -> None:
        """Take steps C6 and C7 for a record or link assertion issued at `at` under `prefix`."""
        self.check_time(at)
        holder = self.holder
        if holder.subject != prefix or not holder.holds(prefix):
            raise VerifyError(
                "E_SCOPE",
                f"the key speaks for {holder.subject}, not for {prefix}",
                value=str(prefix),
            )
        self._check_kind(kind)
        _check_threshold(holder, RECORD_USE)
        if holder.require and not any(tuple(need) == (envelope.alg,) for need in holder.require):
            raise VerifyError(
                "E_DOWNGRADE", "the holder requires other algorithms", value=envelope.alg
            )
        check(envelope, holder.keys_for(RECORD_USE, at))

    def _check_kind(self, kind: str | None) -> None:
        # Like depth, a limit on kinds binds everything below whoever it was given to.
        for item in self.delegations:
            if kind is not None and item.kinds and kind not in item.kinds:
                raise VerifyError("E_SCOPE", f"{item.subject} may not register {kind}", value=kind)


@dataclass(frozen=True, slots=True)
class Trust:
    """What a verifier holds: root versions, and delegations it already knows.

    JSON form (trust.json): {"v": 1, "roots": [root envelope, …], "delegations": [envelope, …]}
    and the members of `schemas.policy`, absent where no log is kept. The roots are the anchor; the
    delegations are a convenience and are validated like any other.
    """

    root: Chain
    delegations: Mapping[Prefix, str] = field(default_factory=dict)
    policy: LogPolicy | None = None

    @classmethod
    def parse(cls, raw: bytes) -> Trust:
        """Read trust.json; raise VerifyError E_ROOT or a narrower code."""
        document = canonical.decode_object(raw)
        roots, delegations = document.get("roots"), document.get("delegations", [])
        if (
            type(document.get("v")) is not int
            or document["v"] != 1
            or not isinstance(roots, list)
            or not isinstance(delegations, list)
        ):
            raise VerifyError("E_FORMAT", "not a trust bundle: v, roots or delegations is amiss")
        policy = LogPolicy.parse(document)
        return cls(Chain((anchor(roots),)), index(delegations), policy)

    def chain(self, prefix: Prefix, offered: Mapping[Prefix, str] | None = None) -> Chain:
        """Build and validate the chain of a prefix from offered and known delegations.

        Of two for one prefix the higher sequence counts: nobody can bring back an older one.
        """
        found: list[str] = []
        at = prefix
        while not at.is_root:
            token = _newest((offered or {}).get(at), self.delegations.get(at))
            if token is not None:
                found.append(token)
            at = at.parent
        return validate(self.root, tuple(reversed(found)), prefix)


def _newest(offered: str | None, known: str | None) -> str | None:
    if offered is None or known is None or offered == known:
        return offered or known
    older = parse_delegation(offered)[1].sequence < parse_delegation(known)[1].sequence
    return known if older else offered


def anchor(roots: Sequence[object]) -> Delegation:
    """Step C1: check the root versions in order and return the last; raise VerifyError E_ROOT."""
    if len(roots) != 1:
        raise VerifyError(
            "E_ROOT", "a trust bundle names exactly one root version so far", value=len(roots)
        )
    envelope, root = parse_root(roots[0])
    try:
        check(envelope, root.keys_for(ROTATE_USE, root.issued_at))
        _check_threshold(root, ROTATE_USE)
    except VerifyError as err:
        raise VerifyError("E_ROOT", f"the root does not sign itself: {err}") from None
    return root


def index(tokens: Iterable[object]) -> dict[Prefix, str]:
    """Sort delegation envelopes by the prefix they are about, the highest sequence winning."""
    found: dict[Prefix, tuple[int, str]] = {}
    for token in tokens:
        envelope, delegation = parse_delegation(token)
        known = found.get(delegation.subject)
        if known is None or known[0] < delegation.sequence:
            found[delegation.subject] = (delegation.sequence, envelope.token)
    return {prefix: token for prefix, (_, token) in found.items()}


def validate(root: Chain, tokens: Sequence[str], prefix: Prefix) -> Chain:
    """Validate delegations, root-most first, down to `prefix` (steps C2 to C5)."""
    # C2: bounded, and it must end at the prefix that speaks
    if len(tokens) > MAX_CHAIN:
        raise VerifyError(
            "E_LIMIT", f"chain of {len(tokens)} delegations, the limit is {MAX_CHAIN}"
        )
    links = list(root.delegations)
    for token in tokens:
        envelope, delegation = parse_delegation(token)
        extend(Chain(tuple(links)), envelope, delegation)
        links.append(delegation)
    if links[-1].subject != prefix:
        raise VerifyError(
            "E_CHAIN",
            f"no chain of delegations reaches {prefix}; it ends at {links[-1].subject}",
            value=str(prefix),
        )
    return Chain(tuple(links))


def extend(chain: Chain, envelope: Envelope, child: Delegation) -> None:
    """Check that `child` may follow the holder of `chain` (steps C2 to C5); raise VerifyError."""
    parent = chain.holder
    # C2: the issuer is the holder before
    if child.parent != parent.subject:
        raise VerifyError(
            "E_CHAIN",
            f"delegation of {child.subject} is issued by {child.parent}, expected {parent.subject}",
        )
    # C3: strictly narrower, label by label; resources never wider than the parent's
    if child.subject == parent.subject or not parent.subject.covers(child.subject):
        raise VerifyError(
            "E_SCOPE",
            f"{child.subject} does not lie below {parent.subject}",
            value=str(child.subject),
        )
    for resource in (child.subject, *child.resources):
        if not child.subject.covers(resource) or not _grantable(parent, resource):
            raise VerifyError(
                "E_SCOPE", f"{resource} is not {parent.subject}'s to delegate", value=str(resource)
            )
    for item in chain.delegations:
        below = len(child.subject.labels) - len(item.subject.labels)
        if item.depth is not None and below > item.depth:
            raise VerifyError(
                "E_SCOPE", f"{item.subject} may delegate {item.depth} levels deep", value=below
            )
    # C5 before C4: cheaper
    _check_threshold(parent, DELEGATE_USE)
    # C4: signed by a key that may delegate
    check(envelope, parent.keys_for(DELEGATE_USE, child.issued_at))


def _grantable(parent: Delegation, resource: Prefix) -> bool:
    if parent.parent is None and not parent.resources:
        return True  # a root without resources holds the whole tree
    if any(resource.covers(item) for item in parent.exceptions):
        return False
    return parent.holds(resource)


def _check_threshold(delegation: Delegation, use: str) -> None:
    needed = delegation.thresholds.get(use, 1)
    if needed != 1 or type(needed) is not int:
        raise VerifyError(
            "E_CHAIN", f"{delegation.subject} needs {needed} signatures to {use}, one was given"
        )


def trust_document(
    roots: Sequence[str], delegations: Iterable[str], policy: LogPolicy | None = None
) -> JsonObject:
    """Build the JSON form of a trust bundle."""
    members: JsonObject = {"v": 1, "roots": list(roots), "delegations": list(delegations)}
    return members if policy is None else {**members, **policy.members()}
