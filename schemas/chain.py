"""Chain validation: root → prefix → record, in numbered steps with stable verdict codes.

    C1  root: the versions in order, the first self-signed, each further one by the rotate
        threshold of the one before and its own; not expired when that is asked   E_ROOT E_LIMIT
    C2  chain: begins at the root, each `iss` is the `sub` before it, no loop, ≤ 8
                                                                                E_CHAIN E_LIMIT
    C3  scope: `sub` strictly extends `iss`, label by label; resources ⊆ the parent's
        resources minus its exceptions, refused where wider, never trimmed; depth        E_SCOPE
    C4  signatures: each by a key the parent gave `delegate` at the time of issue  E_CHAIN E_SIG
    C5  threshold: as many distinct keys sign as the parent asks for                     E_CHAIN
    C6  time: every certificate valid at the time asked about                            E_TIME
    C7  speaker: prefix equals the last `sub`, kind is allowed, as many distinct keys
        with the use sign as the holder asks for                         E_SCOPE E_CHAIN E_SIG
    C8  algorithms: one of the sets that the holder requires is there               E_DOWNGRADE
    C9  revocation: what a revoked key signed is in the log before `since`            E_REVOKED
    C10 rotation: a delegation of the holder by himself follows his last one, by the steps of
        `schemas.rotation`                              E_CHAIN E_SCOPE E_REVOKED E_TIME E_SIG

The time asked about is the statement's own time of issue until a log supplies a better one.

A prefix has one delegation by its parent, and after it those by which the holder exchanged his
keys: its run, of which the last one counts and is called standing. The parent's next delegation
begins a new run. What an older root version or delegation allowed stays verifiable as long as the
newer one still lists the key, ended by its `exp`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from . import canonical, signed
from .canonical import JsonObject
from .delegation import (
    DELEGATE_USE,
    RECORD_USE,
    Delegation,
    Revocation,
    parse_delegation,
    within,
)
from .envelope import Envelope, algorithms, signers
from .errors import VerifyError
from .identifier import Prefix
from .policy import LogPolicy
from .root import MAX_ROOTS, advance, anchor, check_fresh
from .rotation import follow_rotation
from .runs import Runs, begins, index, index_known

MAX_CHAIN = 8  # delegations, rotations counted

__all__ = [
    "MAX_CHAIN",
    "MAX_ROOTS",
    "Chain",
    "Runs",
    "Trust",
    "advance",
    "anchor",
    "assemble",
    "extend",
    "index",
    "trust_document",
    "validate",
]


@dataclass(frozen=True, slots=True)
class Chain:
    """A validated chain: the delegations from the root (first) to the holder (last).

    `indices` says at which leaf of the log a prefix's standing delegation lies, where that was
    proved. It is asked for only where a key that signed a delegation was revoked later.
    """

    delegations: tuple[Delegation, ...]
    indices: Mapping[Prefix, int] = field(default_factory=dict)

    @property
    def holder(self) -> Delegation:
        """The last delegation: who holds the prefix and with which keys."""
        return self.delegations[-1]

    @property
    def standing(self) -> tuple[Delegation, ...]:
        """The delegation of each prefix that counts, the root's first."""
        return tuple({item.subject: item for item in self.delegations}.values())

    @property
    def tokens(self) -> tuple[str, ...]:
        """The envelopes of the delegations below the root, in order."""
        return tuple(item.envelope.token for item in self.delegations[1:] if item.envelope)

    def logged(self, indices: Mapping[Prefix, int]) -> Chain:
        """Return the same chain with what a log proved of it."""
        return replace(self, indices=indices)

    def check_time(self, at: int) -> None:
        """Step C6: raise VerifyError E_TIME where a certificate is not valid at `at`."""
        for item in self.delegations:
            if not within(at, item.valid_from, item.valid_until):
                raise VerifyError(
                    "E_TIME", f"the delegation of {item.subject} is not valid at {at}", value=at
                )

    def current(self, now: int) -> tuple[str, ...]:
        """Return the codes of what is valid no longer at `now`; none of what holds still."""
        root, *others = self.delegations
        codes = [] if within(now, root.valid_from, root.valid_until) else ["E_ROOT"]
        if not all(within(now, item.valid_from, item.valid_until) for item in others):
            codes.append("E_TIME")
        return tuple(codes)

    def check_speaker(
        self,
        envelope: Envelope,
        prefix: Prefix,
        at: int,
        kind: str | None = None,
        *,
        index: int | None = None,
    ) -> None:
        """Take steps C6 to C9 for a record or link assertion issued at `at` under `prefix`.

        `index` is its leaf in the log, None where no proof says so.
        """
        # C6
        self.check_time(at)
        # C7: for whom, and of what kind
        holder = self.holder
        if holder.subject != prefix or not holder.holds(prefix):
            raise VerifyError(
                "E_SCOPE",
                f"the key speaks for {holder.subject}, not for {prefix}",
                value=str(prefix),
            )
        self._check_kind(kind)
        signed.check_speaks(envelope, prefix, at)
        # C8
        _check_required(holder, envelope)
        # C9
        self.check_delegations()
        if holder.revoked:
            for kid in envelope.kids:
                _check_revoked(holder.revocation(kid), index, "statement")
        # C7: by whom; each signature has to hold, so those who sign may be counted before
        _check_threshold(holder, RECORD_USE, envelope)
        signed.check(envelope, holder.keys_for(RECORD_USE, at))

    def _check_kind(self, kind: str | None) -> None:
        # Like depth, a limit on kinds binds everything below whoever it was given to.
        for item in self.delegations:
            if kind is not None and item.kinds and kind not in item.kinds:
                raise VerifyError("E_SCOPE", f"{item.subject} may not register {kind}", value=kind)

    def check_delegations(self) -> None:
        """Step C9 for the chain itself: raise E_REVOKED where a delegation may be a thief's."""
        for revocation, prefix in self._in_question():
            _check_revoked(revocation, self.indices.get(prefix), f"delegation of {prefix}")

    def needs_index(self, envelope: Envelope) -> bool:
        """Tell whether only a log's proof can say if these keys could still speak."""
        return bool(self._in_question()) or any(
            self.holder.revocation(kid) is not None for kid in envelope.kids
        )

    def _in_question(self) -> list[tuple[Revocation, Prefix]]:
        """Return each delegation that a key signed which its parent has revoked since."""
        # Rotations are not among them: each was judged by the delegation before it.
        return [
            (revocation, below.subject)
            for above, below in pairwise(self.delegations)
            if above.revoked and above.subject != below.subject and below.envelope is not None
            for kid in below.envelope.kids
            if (revocation := above.revocation(kid)) is not None
        ]


def _check_required(holder: Delegation, envelope: Envelope) -> None:
    if not holder.require:
        return
    found = algorithms(envelope)
    if not any(found.issuperset(need) for need in holder.require):
        raise VerifyError(
            "E_DOWNGRADE",
            f"{holder.subject} requires other algorithms",
            value=" ".join(sorted(found)),
        )


def _check_revoked(revocation: Revocation | None, index: int | None, what: str) -> None:
    if revocation is None or (index is not None and index < revocation.since):
        return
    if index is None:
        raise VerifyError(
            "E_REVOKED",
            f"the key of the {what} is revoked ({revocation.reason}), and nothing proves that it "
            f"was logged before entry {revocation.since}",
            value=revocation.kid,
            fix="ask for ?proof=full",
        )
    raise VerifyError(
        "E_REVOKED",
        f"the key of the {what} is revoked ({revocation.reason}) since entry {revocation.since} "
        f"of the log; it is entry {index}",
        value=revocation.kid,
    )


def _check_threshold(delegation: Delegation, use: str, envelope: Envelope) -> None:
    needed, given = delegation.threshold(use), len(envelope.kids)
    if given < needed:
        raise VerifyError(
            "E_CHAIN", f"{delegation.subject} needs {needed} keys to {use}, {given} sign"
        )


@dataclass(frozen=True, slots=True)
class Trust:
    """What a verifier holds: root versions, and delegations it already knows.

    JSON form (trust.json): {"v": 1, "roots": [root envelope, …], "delegations": [envelope, …]}
    and the members of `schemas.policy`, absent where no log is kept. The roots are the anchor; the
    delegations are a convenience and are validated like any other. `delegations` is what `index`
    makes of them.
    """

    root: Chain
    delegations: Runs = field(default_factory=dict)
    policy: LogPolicy | None = None

    @classmethod
    def parse(cls, raw: bytes, now: int | None = None) -> Trust:
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
        return cls(Chain((anchor(roots, now),)), index_known(delegations), policy)

    @property
    def tokens(self) -> tuple[str, ...]:
        """The delegations one by one, those of one prefix in order."""
        return tuple(token for run in self.delegations.values() for token in run)

    def check_root(self, now: int) -> None:
        """Refuse a root that is not valid at `now` (step C1); raise VerifyError E_ROOT."""
        check_fresh(self.root.holder, now)

    def chain(self, prefix: Prefix, offered: Runs | None = None) -> Chain:
        """Build and validate the chain of a prefix from offered and known delegations.

        Of several for one prefix the highest sequence counts: nobody can bring back an older one.
        """
        return assemble(self.root, self.candidates(prefix, offered), prefix)

    def candidates(
        self, prefix: Prefix, offered: Runs | None = None
    ) -> tuple[tuple[str, ...], ...]:
        """Return what there is for a prefix and each one above it, as `assemble` takes it."""
        found: list[tuple[str, ...]] = []
        at = prefix
        while not at.is_root:
            run = _newest(offered.get(at) if offered else None, self.delegations.get(at))
            if run:
                found.append(run)
            at = at.parent
        return tuple(reversed(found))


def _newest(
    offered: tuple[str, ...] | None, known: tuple[str, ...] | None
) -> tuple[str, ...] | None:
    if not offered or not known or offered == known:
        return offered or known
    return next(iter(index((*offered, *known)).values()))


def assemble(root: Chain, groups: Sequence[Sequence[str]], prefix: Prefix) -> Chain:
    """Validate the chain of a prefix out of what there is for it and each prefix above it.

    `groups`: for each prefix the versions of its delegation, each following the one before by
    `prev`, root-most prefix first. What precedes the parent's last delegation is passed over.
    """
    tokens: list[str] = []
    parent = root.holder
    for group in groups:
        versions = [parse_delegation(token)[1] for token in group]
        tokens += group[begins(parent, versions) :]
        parent = versions[-1]
    return validate(root, tokens, prefix)


def validate(root: Chain, tokens: Sequence[str], prefix: Prefix) -> Chain:
    """Validate delegations, root-most first, down to `prefix` (steps C2 to C5 and C10)."""
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
    """Check that `child` may follow the holder of `chain` (C2 to C5, or C10); raise VerifyError."""
    parent = chain.holder
    # C10: the holder himself exchanges his keys
    if (child.subject, child.parent) == (parent.subject, parent.parent):
        follow_rotation(parent, envelope, child)
        return
    # C2: the issuer is the holder before
    if child.parent != parent.subject:
        raise VerifyError(
            "E_CHAIN",
            f"delegation of {child.subject} is issued by {child.parent}, expected {parent.subject}",
        )
    # C3: strictly narrower, label by label; resources never wider than the parent's
    _check_scope(chain, parent, child)
    # C5 before C4: cheaper
    _check_threshold(parent, DELEGATE_USE, envelope)
    # C4: signed by keys that may delegate, all of them
    signers(envelope, parent.keys_for(DELEGATE_USE, child.issued_at))


def _check_scope(chain: Chain, parent: Delegation, child: Delegation) -> None:
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


def _grantable(parent: Delegation, resource: Prefix) -> bool:
    if parent.parent is None and not parent.resources:
        return True  # a root without resources holds the whole tree
    if any(resource.covers(item) for item in parent.exceptions):
        return False
    return parent.holds(resource)


def trust_document(
    roots: Sequence[str], delegations: Iterable[str], policy: LogPolicy | None = None
) -> JsonObject:
    """Build the JSON form of a trust bundle."""
    members: JsonObject = {"v": 1, "roots": list(roots), "delegations": list(delegations)}
    return members if policy is None else {**members, **policy.members()}
