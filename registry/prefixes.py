"""Prefixes: who holds which namespace, and the chain of delegations that proves it.

A prefix is allocated by the holder of the nearest allocated prefix above it, so that the chain
of any prefix is exactly the rows of itself and its ancestors. The row of that parent is locked
while something is allocated below it: two who want the same, or one inside the other, take turns.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache

from registry import accounts, changes, delegations
from registry.accounts import Caller, NewKey
from registry.delegations import HOSTED_USES, SKEW_SECONDS, OfferedKey
from registry.keyring import Keyring
from registry.store import keys as key_store, prefixes as store
from registry.store.engine import ReadTx, WriteTx
from registry.store.prefixes import ACTIVE, SUSPENDED, Link, Organisation, Row
from schemas.chain import Chain, anchor, extend
from schemas.change import Op
from schemas.delegation import (
    DELEGATE_USE,
    POSSESSION_SECONDS,
    DelegatedKey,
    Delegation,
    parse_delegation,
    within,
)
from schemas.envelope import Envelope
from schemas.errors import (
    BadInput,
    Conflict,
    Forbidden,
    PrefixNotFound,
    PrefixSuspended,
    Unavailable,
)
from schemas.identifier import Prefix
from schemas.keys import KeyId, b64encode
from schemas.leaf import SALT_BYTES, What

__all__ = [
    "ROOT",
    "Challenge",
    "Holding",
    "Organisation",
    "Wanted",
    "allocate",
    "chain",
    "challenge",
    "delegate",
    "delegated",
    "listing",
    "resume",
    "root",
    "show",
    "suspend",
]

CHAINS = 8192  # validated chains kept; one of a holder costs about 3 kB
PAGE = 1000

ROOT = Prefix(())


@dataclass(frozen=True, slots=True)
class Holding:
    """A prefix and what its delegation says."""

    row: Row
    delegation: Delegation


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the holder of a parent asks to allocate."""

    prefix: Prefix
    organisation: Organisation
    keys: tuple[OfferedKey, ...] = ()
    delegation: str | None = None
    node: str = ""


@dataclass(frozen=True, slots=True)
class Challenge:
    """A nonce to be signed by a key that wants to be registered."""

    nonce: str
    expires_at: int


async def chain(tx: ReadTx, prefix: Prefix) -> Chain:
    """Return the validated chain of a prefix, from one statement and whatever was verified before.

    Raise PrefixNotFound, or PrefixSuspended where it or a prefix above is suspended. The rows are
    read each time and only the verdict on exactly these envelopes is remembered, so that a change
    by any process is seen at once.
    """
    links = await store.lineage(tx, prefix)
    if not links or links[-1].prefix != prefix:
        raise PrefixNotFound(f"nobody was allocated {prefix}", value=str(prefix))
    return _standing(links)


def _standing(links: Sequence[Link]) -> Chain:
    for link in links:
        if link.status != ACTIVE:
            raise PrefixSuspended(f"the prefix {link.prefix} is suspended", value=str(link.prefix))
    return _validated(tuple(link.delegation for link in links))


@lru_cache(maxsize=CHAINS)
def _validated(tokens: tuple[str, ...]) -> Chain:
    """Validate a chain link by link; what lies above is validated, and remembered, once."""
    if len(tokens) == 1:
        return Chain((anchor(tokens),))
    above = _validated(tokens[:-1])
    envelope, delegation = parse_delegation(tokens[-1])
    extend(above, envelope, delegation)
    return Chain((*above.delegations, delegation))


async def show(tx: ReadTx, prefix: Prefix) -> Holding:
    """Return who holds a prefix; raise PrefixNotFound."""
    row = await store.find(tx, prefix)
    if row is None:
        raise PrefixNotFound(f"nobody was allocated {prefix}", value=str(prefix))
    return Holding(row, delegations.read(row.delegation))


async def listing(
    tx: ReadTx, *, parent: Prefix | None, after: Prefix | None, limit: int
) -> tuple[Sequence[Holding], Prefix | None]:
    """Return a page of prefixes in byte order, and the last one where more follow."""
    rows = await store.page(tx, parent, None if after is None else str(after), limit + 1)
    page = [Holding(row, delegations.read(row.delegation)) for row in rows[:limit]]
    return page, page[-1].row.prefix if len(rows) > limit else None


async def root(tx: ReadTx) -> str:
    """Return the root envelope; raise Unavailable where the database was never founded."""
    row = await store.find(tx, ROOT)
    if row is None:
        raise Unavailable("this registry is not founded yet", fix="tierlink up")
    return row.delegation


async def delegated(tx: ReadTx) -> AsyncIterator[Sequence[str]]:
    """Give every delegation envelope, in byte order of the prefixes, a page at a time."""
    after = str(ROOT)  # it sorts before every digit
    while page := await store.delegations(tx, after, PAGE):
        yield [envelope for _, envelope in page]
        after = page[-1][0]


async def challenge(tx: WriteTx, caller: Caller, prefix: Prefix, kid: str, now: int) -> Challenge:
    """Give a nonce for a key that is to be registered under a prefix."""
    caller.must_reach(prefix)
    nonce = b64encode(secrets.token_bytes(24))
    await key_store.insert_challenge(tx, prefix, kid, nonce, _moment(now))
    return Challenge(nonce, now + POSSESSION_SECONDS)


async def allocate(
    tx: WriteTx, keyring: Keyring, caller: Caller, wanted: Wanted, now: int
) -> tuple[Holding, NewKey]:
    """Give a prefix below the caller's own to a holder, with an API key, in four steps.

    1. the caller's prefix is the nearest above, stands, and nothing is allocated below or at it;
    2. the holder's keys: hosted ones are made, others proved; 3. the delegation: signed with the
    parent's hosted key or checked as given, and valid for every verifier; 4. rows and change.
    """
    prefix, parent = wanted.prefix, caller.prefix
    # 1
    caller.must_govern(prefix)
    above = await _free(tx, parent, prefix)
    above.check_time(now)
    # 2
    keys = await _keys(
        tx, keyring, prefix, wanted.keys, None, hosted=wanted.delegation is None, now=now
    )
    # 3
    organisation = {k: v for k, v in asdict(wanted.organisation).items() if v is not None}
    ours = delegations.first(prefix, parent, keys, now, organisation=organisation, node=wanted.node)
    envelope, delegation = await _signed(
        tx, keyring, ours, wanted.delegation, keys=keys, known=frozenset(), now=now
    )
    delegations.check_follows(above, envelope, delegation)
    # 4
    salt = secrets.token_bytes(SALT_BYTES)
    if not await store.insert_prefix(
        tx, prefix, parent, wanted.organisation, delegation=envelope.token, salt=salt
    ):
        raise _taken(prefix)
    api_key = await accounts.create_key(tx, prefix, now, label="first key")
    await _record(tx, prefix, 1, envelope.digest)
    row = Row(prefix, parent, wanted.organisation, ACTIVE, 1, envelope.token, not wanted.keys)
    return Holding(row, delegation), api_key


async def _free(tx: WriteTx, parent: Prefix, prefix: Prefix) -> Chain:
    """Lock the parent and return its chain; raise unless `prefix` is its to allocate, and free."""
    await store.lock(tx, parent)
    links = await store.lineage(tx, prefix)
    nearest = links[-1].prefix
    if nearest == prefix:
        raise _taken(prefix)
    if nearest != parent:
        raise Forbidden(
            f"{prefix} lies below {nearest}, and only the holder of {nearest} allocates there",
            value=str(prefix),
            fix=f"use an API key of {nearest}",
        )
    below = await store.first_below(tx, prefix)
    if below is not None:
        raise Conflict(
            f"{below} is allocated already, and {prefix} would cut it off from {parent}",
            value=str(prefix),
            code="prefix_taken",
        )
    return _standing(links)


async def delegate(
    tx: WriteTx,
    keyring: Keyring,
    caller: Caller,
    prefix: Prefix,
    *,
    offered: tuple[OfferedKey, ...],
    given: str | None,
    now: int,
) -> Holding:
    """Delegate a prefix anew, with other keys: the steps of `allocate`, from what stands now."""
    # 1
    caller.must_govern(prefix)
    await store.lock(tx, prefix)
    held = await show(tx, prefix)
    if held.row.parent != caller.prefix:
        raise Forbidden(
            f"{prefix} is delegated by {held.row.parent}, not by {caller.prefix}",
            value=str(prefix),
            fix=f"use an API key of {held.row.parent}",
        )
    above = await chain(tx, caller.prefix)
    above.check_time(now)
    # 2
    keys = await _keys(tx, keyring, prefix, offered, held.delegation, hosted=given is None, now=now)
    # 3
    ours = delegations.successor(held.delegation, held.row.delegation, keys, now)
    known = _kids(held.delegation)
    envelope, delegation = await _signed(tx, keyring, ours, given, keys=keys, known=known, now=now)
    delegations.check_follows(above, envelope, delegation)
    # 4
    sequence = delegation.sequence
    await store.replace_delegation(tx, prefix, sequence, envelope.token)
    kept = {
        item.key.kid: sorted(item.uses)
        for item in delegation.keys
        if within(now + SKEW_SECONDS, None, item.valid_until)
    }
    await key_store.retain_hosted(tx, prefix, kept)
    await _record(tx, prefix, sequence, envelope.digest)
    return await show(tx, prefix)


async def _keys(
    tx: WriteTx,
    keyring: Keyring,
    prefix: Prefix,
    offered: Sequence[OfferedKey],
    current: Delegation | None,
    *,
    hosted: bool,
    now: int,
) -> tuple[DelegatedKey, ...]:
    """Return the keys of a holder: those offered, proved; without any, a hosted one, made now."""
    if not offered and not hosted:
        return ()
    if not offered:
        made = await keyring.create(tx, prefix, HOSTED_USES)
        return (DelegatedKey(made, HOSTED_USES),)
    known = _kids(current) if current else frozenset()
    new = [item.key.key.kid for item in offered if item.key.key.kid not in known]
    if len({item.key.key.kid for item in offered}) != len(offered):
        raise BadInput("keys names one key twice")
    nonces: frozenset[str] = frozenset()
    if new:
        since = _moment(now - POSSESSION_SECONDS)
        nonces = await key_store.take_challenges(tx, prefix, new, since)
    delegations.prove(offered, prefix, known=known, nonces=nonces, now=now)
    return tuple(item.key for item in offered)


async def _signed(
    tx: WriteTx,
    keyring: Keyring,
    ours: Delegation,
    given: str | None,
    *,
    keys: Sequence[DelegatedKey],
    known: frozenset[KeyId],
    now: int,
) -> tuple[Envelope, Delegation]:
    """Return the delegation that was given, checked, or sign ours with the parent's hosted key."""
    if given is not None:
        return delegations.check_given(given, ours, keys, known=known, now=now)
    assert ours.parent is not None
    signer = await keyring.signer(tx, ours.parent, DELEGATE_USE)
    return parse_delegation(ours.sign(signer))


async def suspend(tx: WriteTx, caller: Caller, prefix: Prefix) -> Holding:
    """Stop a prefix and everything below it, until it is resumed."""
    return await _switch(tx, caller, prefix, SUSPENDED)


async def resume(tx: WriteTx, caller: Caller, prefix: Prefix) -> Holding:
    """Let a suspended prefix act and answer again."""
    return await _switch(tx, caller, prefix, ACTIVE)


async def _switch(tx: WriteTx, caller: Caller, prefix: Prefix, status: str) -> Holding:
    caller.must_govern(prefix)
    await chain(tx, caller.prefix)  # who is suspended resumes nobody
    held = await show(tx, prefix)
    if await store.set_status(tx, prefix, status):
        await _record(tx, prefix, held.row.sequence, None)
    return replace(held, row=replace(held.row, status=status))


async def _record(tx: WriteTx, prefix: Prefix, sequence: int, envelope: str | None) -> None:
    what = What.STATUS if envelope is None else What.DELEGATION
    await changes.record(tx, Op.PREFIX, prefix, str(prefix), sequence, digest=envelope, what=what)


def _kids(delegation: Delegation) -> frozenset[KeyId]:
    return frozenset(item.key.kid for item in delegation.keys)


def _taken(prefix: Prefix) -> Conflict:
    return Conflict(
        f"{prefix} is allocated already",
        value=str(prefix),
        fix="choose another prefix, or delegate this one anew",
        code="prefix_taken",
    )


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
