"""How one version of a delegation, or of the root, follows another: rotation without the parent.

A holder exchanges his own keys. `follow_rotation` checks it (step C10), in five steps:

    R1  order      the same prefix and parent, seq + 1, prev is the digest of the one before,
                   issued no earlier                                             E_CHAIN  E_TIME
    R2  scope      nothing but keys, thr, next, require, revoked, node and a narrower validity
                   changes; a reset is the parent's to give                      E_SCOPE
    R3  revoked    what was revoked stays revoked, from the same index on or an earlier one
                                                                                 E_REVOKED
    R4  next       a new rotate key is one that the delegation before committed to; and the
                   commitment itself changes only where a key of it comes forward   E_CHAIN
    R5  signed     by as many rotate keys of the one before as it asks for, none of them revoked
                   in it, and by each new rotate key; by nobody else     E_CHAIN  E_REVOKED  E_SIG

R4 is what a thief of all rotate keys meets: he can neither name keys of his own nor exchange the
commitment, so that the holder, with the keys nobody has seen yet, has the last word. A rotation is
judged by what stood before it: it may revoke the very key that signs it.
"""

from __future__ import annotations

from collections.abc import Iterable

from .delegation import ROTATE_USE, Delegation
from .envelope import Envelope, Keys, signers
from .errors import VerifyError
from .keys import KeyId, PublicKey

_FIXED = ("resources", "exceptions", "depth", "kinds", "organisation")


def follow_rotation(previous: Delegation, envelope: Envelope, child: Delegation) -> None:
    """Check that `child`, read from `envelope`, may follow `previous`; raise VerifyError."""
    # R1
    check_order(previous, child)
    # R2
    _check_scope(previous, child)
    # R3
    keeps_revocations(previous, child)
    # R4
    fresh = check_commitment(previous, child)
    # R5: those who sign are counted before anything costly is computed
    check_revoked(previous, envelope.kids)
    able = previous.keys_for(ROTATE_USE, child.issued_at)
    check_count(previous, able, envelope)
    check_forward(fresh, envelope)
    signers(envelope, {**able, **fresh})


def keeps_revocations(previous: Delegation, child: Delegation) -> None:
    """Check that no revocation is taken back or postponed; raise VerifyError E_REVOKED."""
    for item in previous.revoked:
        kept = child.revocation(item.kid)
        if kept is None or kept.since > item.since:
            raise VerifyError(
                "E_REVOKED",
                f"the revocation of a key of {child.subject} is taken back",
                value=item.kid,
                fix="keep every entry of revoked; since may only become earlier",
            )


def check_order(previous: Delegation, child: Delegation) -> None:
    """Check that a version is the very next (R1); raise VerifyError E_CHAIN or E_TIME."""
    assert previous.envelope is not None  # it was read: nothing else is ever followed
    if (child.subject, child.parent) != (previous.subject, previous.parent):
        raise VerifyError("E_CHAIN", f"{child.subject} by {child.parent} follows another prefix")
    if child.sequence != previous.sequence + 1:
        raise VerifyError(
            "E_CHAIN",
            f"version {child.sequence} of {child.subject} follows {previous.sequence}",
            value=child.sequence,
        )
    if child.prev != previous.envelope.digest:
        raise VerifyError(
            "E_CHAIN",
            f"prev of {child.subject} is not the digest of the one before",
            value=child.prev,
        )
    if child.issued_at < previous.issued_at:
        raise VerifyError(
            "E_TIME", f"{child.subject} is issued before what it follows", value=child.issued_at
        )


def _check_scope(previous: Delegation, child: Delegation) -> None:
    for name in _FIXED:
        if getattr(child, name) != getattr(previous, name):
            raise VerifyError(
                "E_SCOPE", f"a rotation of {child.subject} changes its {name}", value=name
            )
    if child.reset:
        raise VerifyError("E_SCOPE", "a reset is the parent's to give", value=str(child.subject))
    start, end = previous.valid_from, previous.valid_until
    if (start is not None and (child.valid_from is None or child.valid_from < start)) or (
        end is not None and (child.valid_until is None or child.valid_until > end)
    ):
        raise VerifyError(
            "E_SCOPE",
            f"a rotation of {child.subject} extends its validity",
            value=child.valid_until,
            fix="only the parent extends nbf and exp",
        )


def check_commitment(previous: Delegation, child: Delegation) -> dict[KeyId, PublicKey]:
    """Return the rotate keys that are new, all of them out of `next`."""
    had = {item.key.kid for item in previous.keys if ROTATE_USE in item.uses}
    fresh = {
        item.key.kid: item.key
        for item in child.keys
        if ROTATE_USE in item.uses and item.key.kid not in had
    }
    foreign = fresh.keys() - set(previous.next_keys)
    if foreign:
        raise VerifyError(
            "E_CHAIN",
            f"a new rotate key of {child.subject} is none that next committed to",
            value=min(foreign),
            fix="name its thumbprint in next one delegation earlier, or ask the parent",
        )
    if previous.next_keys and not fresh and set(child.next_keys) != set(previous.next_keys):
        raise VerifyError(
            "E_CHAIN",
            f"next of {child.subject} changes, and no key of it comes forward",
            fix="keep next as it is, or let a key of it sign as a rotate key",
        )
    return fresh


def check_forward(fresh: Keys, envelope: Envelope) -> None:
    """Check that each key that comes out of `next` proves itself; raise VerifyError E_CHAIN."""
    missing = fresh.keys() - set(envelope.kids)
    if missing:
        raise VerifyError(
            "E_CHAIN",
            "a new rotate key does not sign",
            value=min(missing),
            fix="let each key that comes forward out of next sign too",
        )


def check_revoked(previous: Delegation, kids: Iterable[KeyId]) -> None:
    """Refuse the signature of a key that was revoked before; raise VerifyError E_REVOKED."""
    for kid in kids:
        if previous.revocation(kid) is not None:
            raise VerifyError("E_REVOKED", "a revoked key signs a rotation", value=kid)


def check_count(delegation: Delegation, able: Keys, envelope: Envelope) -> None:
    """Check that enough of the keys that may rotate sign; raise VerifyError E_CHAIN."""
    needed, given = delegation.threshold(ROTATE_USE), sum(kid in able for kid in envelope.kids)
    if given < needed:
        raise VerifyError(
            "E_CHAIN",
            f"{delegation.subject} needs {needed} of its keys to rotate, {given} sign",
            value=given,
        )
