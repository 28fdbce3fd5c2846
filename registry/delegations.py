"""What a delegation has to say: decided here, without I/O; stored by `prefixes`.

A parent whose `delegate` key is hosted lets the registry write the delegation; any other parent
signs it and sends it along, and then it must say exactly what was asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from schemas.chain import MAX_CHAIN, Chain, extend
from schemas.claims import without_empty
from schemas.delegation import (
    DELEGATE_USE,
    MAX_KEYS,
    RECORD_USE,
    ROTATE_USE,
    DelegatedKey,
    Delegation,
    check_possession,
    parse_delegation,
    parse_root,
)
from schemas.envelope import Envelope, digest
from schemas.errors import BadInput, VerifyError, VersionStale
from schemas.identifier import Prefix
from schemas.keys import KeyId

HOSTED_USES = frozenset({RECORD_USE, DELEGATE_USE, ROTATE_USE})

# How far a statement's `iat` may lie in the future, and so how long a key that was replaced still
# counts: whatever was accepted from it stays verifiable.
SKEW_SECONDS = 300


@dataclass(frozen=True, slots=True)
class OfferedKey:
    """A key that its holder wants in the delegation, and the proof that he has it."""

    key: DelegatedKey
    possession: str | None = None


def read(token: str) -> Delegation:
    """Read a stored envelope, which is a delegation's or, for the root, its own."""
    try:
        return parse_delegation(token)[1]
    except VerifyError as err:
        if err.code != "E_TYP":
            raise
    return parse_root(token)[1]


def prove(
    offered: Iterable[OfferedKey],
    prefix: Prefix,
    *,
    known: Collection[KeyId],
    nonces: Collection[str],
    now: int,
) -> None:
    """Check that the holder has every key that is not in his delegation yet; raise E_KEY."""
    for item in offered:
        key = item.key.key
        if key.kid in known:
            continue
        if item.possession is None:
            raise VerifyError(
                "E_KEY",
                "the key comes without a proof of possession",
                value=key.kid,
                fix="POST /v1/challenges, sign the nonce with the key, send it as possession",
            )
        check_possession(item.possession, key, prefix, nonces, now)


def first(
    prefix: Prefix,
    parent: Prefix,
    keys: Sequence[DelegatedKey],
    now: int,
    *,
    organisation: Mapping[str, object],
    node: str,
) -> Delegation:
    """Write the first delegation of a prefix."""
    return Delegation(
        subject=prefix,
        parent=parent,
        sequence=1,
        issued_at=now,
        keys=tuple(keys),
        organisation=without_empty(organisation),
        node=node,
    )


def successor(
    current: Delegation, token: str, keys: Sequence[DelegatedKey], now: int
) -> Delegation:
    """Write the delegation after `current`, whose envelope is `token`, with new keys.

    A key that is not named again stays in, ending soon, so that what it signed can still be
    verified; the longest ended ones make room where there are too many.
    """
    named = {item.key.kid for item in keys}
    ended = [_ending(item, now) for item in current.keys if item.key.kid not in named]
    ended.sort(key=lambda item: item.valid_until or 0, reverse=True)
    return replace(
        current,
        sequence=current.sequence + 1,
        prev=digest(token),
        issued_at=now,
        keys=(*keys, *ended)[:MAX_KEYS],
    )


def _ending(item: DelegatedKey, now: int) -> DelegatedKey:
    end = now + SKEW_SECONDS
    return replace(item, valid_until=min(end, item.valid_until or end))


def check_given(
    token: str,
    expected: Delegation,
    offered: Sequence[DelegatedKey],
    *,
    known: Collection[KeyId],
    now: int,
) -> tuple[Envelope, Delegation]:
    """Read a delegation that the parent signed itself; raise where it says other than asked.

    1. about the prefix, by the parent; 2. the next in order; 3. issued now or earlier;
    4. the holder and node that were asked for; 5. no key that nobody proved to have, none left out.
    """
    envelope, given = parse_delegation(token)
    # 1
    if (given.subject, given.parent) != (expected.subject, expected.parent):
        raise VerifyError(
            "E_SCOPE",
            f"the delegation is of {given.subject} by {given.parent}, "
            f"expected {expected.subject} by {expected.parent}",
        )
    # 2
    if (given.sequence, given.prev) != (expected.sequence, expected.prev):
        raise VersionStale(
            f"the delegation has seq {given.sequence} and prev {given.prev}",
            value=given.sequence,
            fix=f"sign seq {expected.sequence} with prev {expected.prev or 'left out'}",
        )
    # 3
    if given.issued_at > now + SKEW_SECONDS:
        raise VerifyError("E_TIME", "the delegation is issued in the future", value=given.issued_at)
    # 4
    if given.organisation != expected.organisation or given.node != expected.node:
        raise BadInput("org or node of the delegation differ from what the request says")
    # 5
    _check_keys(given, offered, known)
    return envelope, given


def _check_keys(
    given: Delegation, offered: Sequence[DelegatedKey], known: Collection[KeyId]
) -> None:
    have = {item.key.kid: item for item in given.keys}
    for item in offered:
        found = have.get(item.key.kid)
        if found is None or found.uses != item.uses:
            raise VerifyError(
                "E_KEY", "the delegation lacks an offered key or its uses", value=item.key.kid
            )
    proved = {item.key.kid for item in offered} | set(known)
    for kid in have:
        if kid not in proved:
            raise VerifyError(
                "E_KEY",
                "the delegation names a key that nobody proved to have",
                value=kid,
                fix="send each new key in keys, with its proof of possession",
            )


def check_follows(chain: Chain, envelope: Envelope, delegation: Delegation) -> None:
    """Check a new delegation as every verifier will (chain steps C2 to C5)."""
    if len(chain.delegations) > MAX_CHAIN:
        raise VerifyError(
            "E_LIMIT", f"the chain would have more than {MAX_CHAIN} delegations", value=MAX_CHAIN
        )
    extend(chain, envelope, delegation)
