"""Operations on the keys of a prefix: exchange, revoke and recover them, and those of the root.

Without signers the registry signs, where it hosts the keys. With signers the next delegation is
written and signed here: what stands is read first, and the registry refuses one that follows
anything else (412), so that of two who exchange keys at once one starts over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from schemas.delegation import (
    DELEGATE_USE,
    RECORD_USE,
    ROTATE_USE,
    DelegatedKey,
    Delegation,
    Revocation,
    parse_delegation,
)
from schemas.errors import BadInput, NotFound, VerifyError
from schemas.identifier import Prefix
from schemas.keys import KeyId, Signer
from schemas.objection import sign_objection
from schemas.successor import Keys, successor

from .call import Steps, as_prefix, read, segment, write
from .context import Context
from .prefixes import Key, NewKey, PrefixView, delegated, offers, show, view

CHECKPOINT = "/v1/log/checkpoint"
WAIT_SECONDS = 7 * 24 * 3600  # what a registry lets a recovery wait where nothing else is set


@dataclass(frozen=True, slots=True)
class Exchange:
    """Which keys come, which may come next, and how many have to sign.

    `next_keys` None leaves the commitment as it is, without keys of it that come forward;
    `thresholds` None leaves them. Of the keys that stand, those with a use that a new key brings
    end: rotate keys where a rotate key comes, the others where one of theirs does.
    """

    keys: Sequence[Key] = ()
    next_keys: Sequence[str] | None = None
    thresholds: Mapping[str, int] | None = None

    @property
    def body(self) -> dict[str, object]:
        """What the API takes where the registry writes the delegation."""
        body: dict[str, object] = {}
        if self.next_keys:
            body["next"] = list(self.next_keys)
        if self.thresholds:
            body["thr"] = dict(self.thresholds)
        return body

    def apply(self, current: Delegation) -> Keys:
        """Return the keys of the delegation after `current`; raise BadInput where one lacks."""
        new = tuple(delegated(item) for item in self.keys)
        brought = frozenset[str]().union(*(item.uses for item in new))
        names = {item.key.kid for item in new}
        kept = tuple(
            item
            for item in current.keys
            if item.key.kid not in names and not (brought & _role(item))
        )
        for use in (ROTATE_USE, RECORD_USE):
            had = current.keys_for(use, current.issued_at)
            if had and not any(use in item.uses for item in (*new, *kept)):
                raise BadInput(f"no key with use {use} would be left", fix="name one more key")
        following = self.next_keys
        if following is None:
            following = [kid for kid in current.next_keys if kid not in names]
        thresholds = current.thresholds if self.thresholds is None else self.thresholds
        return Keys((*new, *kept), tuple(KeyId(kid) for kid in following), dict(thresholds))


def _role(item: DelegatedKey) -> frozenset[str]:
    """Return the uses by which a key counts as replaced: a rotate key by rotate keys alone."""
    if ROTATE_USE in item.uses:
        return frozenset({ROTATE_USE})
    return item.uses & {RECORD_USE, DELEGATE_USE}


@dataclass(frozen=True, slots=True)
class Revoked:
    """Which key is revoked, why, and from which leaf of the log on: from now where not given."""

    kid: str
    reason: str = "unspecified"
    since: int | None = None


def rotate(
    context: Context, given: Prefix | str, exchange: Exchange, signers: Sequence[Signer]
) -> Steps[PrefixView]:
    """Exchange the keys of one's own prefix; `signers` are rotate keys that stand.

    Without signers the registry signs with what it hosts; where new keys are named, together with
    these, which is how hosted keys go home.
    """
    prefix = as_prefix(given)
    body: dict[str, object] = dict(exchange.body)
    if signers or exchange.keys:
        current = yield from show(prefix)
        standing = parse_delegation(current.delegation)[1]
        following = successor(
            standing, current.delegation, exchange.apply(standing), context.seconds
        )
        body = yield from _signed(context, exchange, standing, following=following, signers=signers)
    target = f"/v1/prefixes/{segment(prefix)}/rotate"
    reply = yield write("POST", target, body, key=context.key())
    return view(reply.document(), prefix)


def _signed(
    context: Context,
    exchange: Exchange,
    standing: Delegation,
    *,
    following: Delegation,
    signers: Sequence[Signer],
) -> Steps[dict[str, object]]:
    """Sign a holder's own delegation: by rotate keys that stand, and by each that comes forward."""
    had = {item.key.kid for item in standing.keys if ROTATE_USE in item.uses}
    coming = [
        item.signer
        for item in exchange.keys
        if isinstance(item, NewKey)
        and ROTATE_USE in item.uses
        and item.signer.public.kid not in had
    ]
    first, *more = _distinct((*signers, *coming))
    token = following.sign(first, *more)
    proved = {item.public.kid for item in (first, *more)}
    known = {item.key.kid for item in standing.keys}
    offered = yield from offers(context, standing.subject, exchange.keys, proved | known)
    return {"keys": offered, "delegation": token}


def _distinct(signers: Iterable[Signer]) -> list[Signer]:
    found = list({item.public.kid: item for item in signers}.values())
    if not found:
        raise BadInput("no rotate key is there to sign", fix="name a rotate key that stands")
    return found


def revoke(
    context: Context, given: Prefix | str, revoked: Revoked, signers: Sequence[Signer]
) -> Steps[PrefixView]:
    """Revoke a key, as its holder by rotate keys or as the parent by delegate keys.

    Without signers the registry signs, and exchanges hosted keys at the same time.
    """
    prefix = as_prefix(given)
    body: dict[str, object] = {"kid": revoked.kid, "reason": revoked.reason}
    since = revoked.since
    if signers:
        current = yield from show(prefix)
        standing = parse_delegation(current.delegation)[1]
        if since is None:
            since = yield from log_size()
        keys = Keys(standing.keys, standing.next_keys, standing.thresholds)
        following = successor(standing, current.delegation, keys, context.seconds)
        entry = Revocation(KeyId(revoked.kid), revoked.reason, since)
        others = tuple(item for item in standing.revoked if item.kid != revoked.kid)
        first, *more = _distinct(signers)
        body["delegation"] = replace(following, revoked=(*others, entry)).sign(first, *more)
    if since is not None:
        body["since"] = since
    target = f"/v1/prefixes/{segment(prefix)}/revoke"
    reply = yield write("POST", target, body, key=context.key())
    return view(reply.document(), prefix)


def log_size() -> Steps[int]:
    """Return how many leaves the published log has, 0 where there is none yet."""
    try:
        reply = yield read(CHECKPOINT, "text/plain")
    except NotFound:
        return 0
    lines = reply.content.decode("utf-8", "replace").split("\n")
    if len(lines) < 3 or not (lines[1].isascii() and lines[1].isdigit()):  # noqa: PLR2004  (origin, size, root)
        raise VerifyError("E_CHECKPOINT", "the checkpoint has no size")
    return int(lines[1])


def recover(
    context: Context,
    given: Prefix | str,
    exchange: Exchange,
    issuers: Sequence[Signer],
    wait: int = WAIT_SECONDS,
) -> Steps[PrefixView]:
    """Announce, as the parent, that a prefix goes to other keys; `complete` it when it is time.

    `wait` is how long the registry lets it wait, in seconds. Only a delegation signed here needs
    it: the keys that stand are good until then.
    """
    prefix = as_prefix(given)
    body = yield from _anew(context, prefix, exchange, issuers, wait=wait)
    target = f"/v1/prefixes/{segment(prefix)}/recover"
    reply = yield write("POST", target, body, key=context.key())
    return view(reply.document(), prefix)


def complete(context: Context, given: Prefix | str) -> Steps[PrefixView]:
    """Put an announced recovery in force."""
    prefix = as_prefix(given)
    target = f"/v1/prefixes/{segment(prefix)}/recover/complete"
    reply = yield write("POST", target, key=context.key())
    return view(reply.document(), prefix)


def cancel(context: Context, given: Prefix | str, signers: Sequence[Signer]) -> Steps[PrefixView]:
    """Give a recovery up, as the parent; or object to it, as the holder by its rotate keys."""
    prefix = as_prefix(given)
    body: dict[str, object] = {}
    if signers:
        current = yield from show(prefix)
        waiting = current.recovery
        if waiting is None:
            raise NotFound(f"no recovery of {prefix} waits", value=str(prefix))
        first, *more = _distinct(signers)
        body["objection"] = sign_objection(prefix, waiting, context.seconds, first, *more)
    target = f"/v1/prefixes/{segment(prefix)}/recover/cancel"
    reply = yield write("POST", target, body, key=context.key())
    return view(reply.document(), prefix)


def delegate(
    context: Context, given: Prefix | str, exchange: Exchange, issuers: Sequence[Signer]
) -> Steps[PrefixView]:
    """Delegate a prefix anew, as its parent, signed by `issuers` or the parent's hosted key."""
    prefix = as_prefix(given)
    body = yield from _anew(context, prefix, exchange, issuers)
    target = f"/v1/prefixes/{segment(prefix)}/delegation"
    reply = yield write("PUT", target, body, key=context.key())
    return view(reply.document(), prefix)


def _anew(
    context: Context,
    prefix: Prefix,
    exchange: Exchange,
    issuers: Sequence[Signer],
    *,
    wait: int | None = None,
) -> Steps[dict[str, object]]:
    """Return the body of a parent's delegation: signed here, or to be written by the registry."""
    body: dict[str, object] = dict(exchange.body)
    current = yield from show(prefix)
    standing = parse_delegation(current.delegation)[1]
    known = {item.key.kid for item in standing.keys}
    body["keys"] = yield from offers(context, prefix, exchange.keys, known)
    if issuers:
        keys = Keys(
            tuple(delegated(item) for item in exchange.keys),
            tuple(KeyId(kid) for kid in exchange.next_keys or ()),
            dict(exchange.thresholds or {}),
        )
        now = context.seconds
        following = successor(standing, current.delegation, keys, now, ends=now + (wait or 0))
        first, *more = _distinct(issuers)
        token = replace(following, reset=wait is not None).sign(first, *more)
        body = {"keys": body["keys"], "delegation": token}
    return body


def rotate_root(context: Context, token: str | None) -> Steps[PrefixView]:
    """Submit the next root version; without one the registry makes a hosted one."""
    body = {} if token is None else {"root": token}
    reply = yield write("POST", "/v1/roots", body, key=context.key())
    return view(reply.document(), Prefix(()))


def roots() -> Steps[tuple[str, ...]]:
    """Return the root versions that the node shows, the first one first; nothing is verified."""
    reply = yield read("/v1/trust")
    found = reply.document().get("roots")
    if not isinstance(found, list) or not found or not all(isinstance(t, str) for t in found):
        raise VerifyError("E_ROOT", "the node shows no root versions")
    return tuple(cast("list[str]", found))
