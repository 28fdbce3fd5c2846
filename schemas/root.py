"""The root: the anchor of all trust, and the walk from one version of it to the next (step C1).

The root has no parent. A version is followed by one that the rotate thresholds of the old and of
the new version sign (TUF specification §5.3), with `ver` one higher and `prev` the digest of the
old one. Nobody else signs it. Revocations stay. Where the old version made a commitment in `next`,
new rotate keys come out of it and sign too. Whatever is wrong is E_ROOT.
"""

from __future__ import annotations

from collections.abc import Sequence

from .delegation import ROTATE_USE, Delegation, parse_root, within
from .envelope import Envelope, Keys, signers, signers_among
from .errors import VerifyError
from .keys import KeyId, PublicKey
from .rotation import (
    check_commitment,
    check_count,
    check_forward,
    check_order,
    check_revoked,
    keeps_revocations,
)

MAX_ROOTS = 64


def anchor(roots: Sequence[object], now: int | None = None) -> Delegation:
    """Step C1: check the root versions in order and return the last; raise VerifyError E_ROOT.

    The first is trusted because it is given, whatever its version. With `now`, the last must be
    valid then: an attacker who withholds newer versions gains time until it expires and no more.
    """
    if not roots:
        raise VerifyError("E_ROOT", "a trust bundle names at least one root version")
    if len(roots) > MAX_ROOTS:
        raise VerifyError("E_LIMIT", f"{len(roots)} root versions, the limit is {MAX_ROOTS}")
    envelope, root = parse_root(roots[0])
    check_self_signed(envelope, root)
    for token in roots[1:]:
        root = _follow(root, token)
    if now is not None:
        check_fresh(root, now)
    return root


def advance(root: Delegation, roots: Sequence[object], now: int | None = None) -> Delegation:
    """Walk from a root version that is trusted to newer ones (step C1); return the last.

    Versions before the trusted one are passed over, and it itself; another one of its number is
    not. Raise VerifyError E_ROOT.
    """
    newer = [token for token in roots if _is_newer(root, token)]
    if len(newer) > MAX_ROOTS:
        raise VerifyError("E_LIMIT", f"{len(newer)} root versions, the limit is {MAX_ROOTS}")
    for token in newer:
        root = _follow(root, token)
    if now is not None:
        check_fresh(root, now)
    return root


def _is_newer(root: Delegation, token: object) -> bool:
    version = parse_root(token)[1]
    if version.sequence != root.sequence:
        return version.sequence > root.sequence
    if version != root:
        raise VerifyError(
            "E_ROOT", f"another root of version {root.sequence} is trusted", value=root.sequence
        )
    return False


def _follow(root: Delegation, token: object) -> Delegation:
    envelope, version = parse_root(token)
    follow_root(root, envelope, version)
    return version


def check_fresh(root: Delegation, now: int) -> None:
    """Refuse a root that is not valid at `now`; raise VerifyError E_ROOT."""
    if not within(now, root.valid_from, root.valid_until):
        raise VerifyError(
            "E_ROOT",
            f"root version {root.sequence} is not valid at {now}",
            value=root.valid_until,
            fix="fetch the newest root versions",
        )


def follow_root(previous: Delegation, envelope: Envelope, child: Delegation) -> None:
    """Check that a root version, read from `envelope`, may follow another; raise E_ROOT."""
    try:
        check_order(previous, child)
        keeps_revocations(previous, child)
        if previous.next_keys:
            check_forward(check_commitment(previous, child), envelope)
        check_revoked(previous, envelope.kids)
        old, new = (item.keys_for(ROTATE_USE, child.issued_at) for item in (previous, child))
        check_count(previous, old, envelope)
        check_count(child, _unrevoked(child, new), envelope)
        signers(envelope, {**old, **new})
    except VerifyError as err:
        raise VerifyError(
            "E_ROOT", f"root version {child.sequence} does not follow: {err}", value=child.sequence
        ) from None


def check_self_signed(envelope: Envelope, root: Delegation) -> None:
    """Check that a root is signed by its own rotate keys, as many as it asks for; raise E_ROOT.

    A later version is signed by keys of the version before too, which need not be at hand here.
    """
    try:
        able = _unrevoked(root, root.keys_for(ROTATE_USE, root.issued_at))
        check_count(root, able, envelope)
        (signers if root.sequence == 1 else signers_among)(envelope, able)
    except VerifyError as err:
        raise VerifyError("E_ROOT", f"the root does not sign itself: {err}") from None


def _unrevoked(delegation: Delegation, keys: Keys) -> dict[KeyId, PublicKey]:
    return {kid: key for kid, key in keys.items() if delegation.revocation(kid) is None}
