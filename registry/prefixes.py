"""Prefixes: who holds which namespace, and the chain of delegations that proves it.

A prefix is allocated by the holder of the nearest allocated prefix above it, so that the chain
of any prefix is exactly the rows of itself and its ancestors. The row of that parent is locked
while something is allocated below it: two who want the same, or one inside the other, take turns.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache

from registry import accounts, changes, custody, delegations
from registry.accounts import Caller, NewKey
from registry.custody import Offer
from registry.here import Here
from registry.keyring import Keyring
from registry.store import (
    keys as key_store,
    log as log_store,
    prefixes as store,
    roots as root_store,
)
from registry.store.engine import ReadTx, WriteTx
from registry.store.prefixes import ACTIVE, SUSPENDED, Link, Organisation, Row
from schemas.chain import Chain, extend
from schemas.change import Op
from schemas.delegation import POSSESSION_SECONDS, Delegation, parse_delegation, parse_root
from schemas.envelope import digest
from schemas.errors import (
    Conflict,
    Forbidden,
    PrefixElsewhere,
    PrefixNotFound,
    PrefixSuspended,
    Unavailable,
    VerifyError,
)
from schemas.identifier import Prefix
from schemas.keys import B64, b64encode
from schemas.leaf import SALT_BYTES, What, status_digest

__all__ = [
    "ROOT",
    "Challenge",
    "Holding",
    "Organisation",
    "Wanted",
    "allocate",
    "chain",
    "challenge",
    "delegated",
    "held",
    "listing",
    "recall",
    "resume",
    "root",
    "roots",
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
    offer: Offer = field(default_factory=Offer)
    node: str = ""


@dataclass(frozen=True, slots=True)
class Challenge:
    """A nonce to be signed by a key that wants to be registered."""

    nonce: str
    expires_at: int


async def chain(tx: ReadTx, prefix: Prefix, *, anywhere: bool = False) -> Chain:
    """Return the validated chain of a prefix, from one statement and whatever was verified before.

    Raise PrefixNotFound, PrefixSuspended where it or a prefix above is suspended, PrefixElsewhere
    where another node serves it, unless it may be `anywhere`. The rows are read each time and only
    the verdict on exactly these envelopes is remembered, so that a change by any process is seen
    at once.
    """
    links = await store.lineage(tx, prefix)
    return await _placed(tx, _reaching(links, prefix, anywhere=anywhere))


@dataclass(frozen=True, slots=True)
class Recalled:
    """A chain, and the very rows that it was validated from."""

    chain: Chain
    links: tuple[Link, ...]


async def recall(tx: ReadTx, prefix: Prefix) -> Recalled:
    """Return the chain of a prefix to be relied on as long as its rows are these. One statement.

    Raise what `chain` raises, and VerifyError where the log has to say what the chain is worth.
    """
    links = await store.lineage(tx, prefix)
    found = _reaching(links, prefix)
    found.check_delegations()
    return Recalled(found, tuple(links))


async def _placed(tx: ReadTx, found: Chain) -> Chain:
    """Tell a chain where the log has its delegations, if one is by a key that was revoked later.

    What a key signed before it was revoked stands, and only the log's order can say so.
    """
    try:
        found.check_delegations()
    except VerifyError:
        pass
    else:
        return found
    digests = {
        item.envelope.digest: item.subject for item in found.standing if item.envelope is not None
    }
    places = await log_store.find_index(await tx.driver(), list(digests))
    return found.logged({digests[B64(token)]: place for token, place in places.items()})


def _reaching(links: Sequence[Link], prefix: Prefix, *, anywhere: bool = False) -> Chain:
    if not links or links[-1].prefix != prefix:
        raise PrefixNotFound(f"nobody was allocated {prefix}", value=str(prefix))
    if not anywhere:
        _check_here(links[-1])
    return _standing(links)


def _check_here(link: Link) -> None:
    if link.home is not None:
        raise PrefixElsewhere(
            f"{link.prefix} is served by another node",
            value=link.home,
            fix=f"send this to {link.home}",
        )


def _standing(links: Sequence[Link]) -> Chain:
    for link in links:
        if link.status != ACTIVE:
            raise PrefixSuspended(f"the prefix {link.prefix} is suspended", value=str(link.prefix))
    return _validated(tuple(token for link in links for token in link.tokens))


@lru_cache(maxsize=CHAINS)
def _validated(tokens: tuple[str, ...]) -> Chain:
    """Validate a chain link by link; what lies above is validated, and remembered, once.

    The root was checked against the versions before it when it was accepted here.
    """
    if len(tokens) == 1:
        return Chain((parse_root(tokens[0])[1],))
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


async def held(tx: ReadTx, asked: Iterable[Prefix]) -> frozenset[Prefix]:
    """Return those of some prefixes that are known and served here."""
    names = {str(prefix): prefix for prefix in asked}
    homes = await store.homes(tx, names)
    return frozenset(names[name] for name, home in homes.items() if home is None)


async def listing(
    tx: ReadTx, *, parent: Prefix | None, after: Prefix | None, limit: int
) -> tuple[Sequence[Holding], Prefix | None]:
    """Return a page of prefixes in byte order, and the last one where more follow."""
    rows = await store.page(tx, parent, None if after is None else str(after), limit + 1)
    page = [Holding(row, delegations.read(row.delegation)) for row in rows[:limit]]
    return page, page[-1].row.prefix if len(rows) > limit else None


async def root(tx: ReadTx) -> str:
    """Return the newest root envelope; raise Unavailable where the database was never founded."""
    row = await store.find(tx, ROOT)
    if row is None:
        raise _unfounded()
    return row.delegation


async def roots(tx: ReadTx) -> Sequence[str]:
    """Return every root version, the first one first; raise Unavailable where there is none."""
    found = await root_store.versions(tx)
    if not found:
        raise _unfounded()
    return found


async def delegated(tx: ReadTx) -> AsyncIterator[Sequence[str]]:
    """Give every delegation envelope behind those it rests on, a page of prefixes at a time."""
    after = str(ROOT)  # it sorts before every digit
    while page := await store.delegations(tx, after, PAGE):
        yield [envelope for _, run in page for envelope in run]
        after = page[-1][0]


async def challenge(tx: WriteTx, caller: Caller, prefix: Prefix, kid: str, now: int) -> Challenge:
    """Give a nonce for a key that is to be registered under a prefix."""
    caller.must_reach(prefix)
    nonce = b64encode(secrets.token_bytes(24))
    await key_store.insert_challenge(tx, prefix, kid, nonce, _moment(now))
    return Challenge(nonce, now + POSSESSION_SECONDS)


async def allocate(
    tx: WriteTx, keyring: Keyring, caller: Caller, wanted: Wanted, now: int, *, here: str = ""
) -> tuple[Holding, NewKey]:
    """Give a prefix below the caller's own to a holder, with an API key, in four steps.

    1. the caller's prefix is the nearest above, stands, and nothing is allocated below or at it;
    2. the holder's keys: hosted ones are made, others proved; 3. the delegation: signed with the
    parent's hosted key or checked as given, and valid for every verifier; 4. rows and change.
    `here` is the base URL of this node: a prefix of another one is known here and not held.
    """
    prefix, parent = wanted.prefix, caller.prefix
    # 1
    caller.must_govern(prefix)
    above = await _free(tx, parent, prefix)
    above.check_time(now)
    # 2
    offer = wanted.offer
    keys = await custody.gather(tx, keyring, prefix, offer, None, now=now)
    # 3
    organisation = {k: v for k, v in asdict(wanted.organisation).items() if v is not None}
    ours = delegations.first(prefix, parent, keys, now, organisation=organisation, node=wanted.node)
    envelope, delegation = await custody.issued(tx, keyring, ours, offer, None, now=now)
    delegations.check_follows(above, envelope, delegation)
    delegations.check_revocations(None, delegation, 0)
    # 4
    salt = secrets.token_bytes(SALT_BYTES)
    home = Here(here).home(wanted.node)
    if not await store.insert_prefix(
        tx, prefix, parent, wanted.organisation, delegation=envelope.token, salt=salt, home=home
    ):
        raise _taken(prefix)
    api_key = await accounts.create_key(tx, prefix, now, label="first key")
    await _record(tx, prefix, 1, envelope.digest)
    row = Row(
        prefix, parent, wanted.organisation, ACTIVE, 1, envelope.token, offer.hosted, home=home
    )
    return Holding(row, delegation), api_key


async def _free(tx: WriteTx, parent: Prefix, prefix: Prefix) -> Chain:
    """Lock the parent and return its chain; raise unless `prefix` is its to allocate, and free."""
    await store.lock(tx, parent)
    links = await store.lineage(tx, prefix)
    nearest = links[-1].prefix
    if nearest == prefix:
        raise _taken(prefix)
    _check_here(links[-1])
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
    return await _placed(tx, _standing(links))


async def suspend(tx: WriteTx, caller: Caller, prefix: Prefix) -> Holding:
    """Stop a prefix and everything below it, until it is resumed."""
    return await _switch(tx, caller, prefix, SUSPENDED)


async def resume(tx: WriteTx, caller: Caller, prefix: Prefix) -> Holding:
    """Let a suspended prefix act and answer again."""
    return await _switch(tx, caller, prefix, ACTIVE)


async def _switch(tx: WriteTx, caller: Caller, prefix: Prefix, status: str) -> Holding:
    caller.must_govern(prefix)
    await chain(tx, caller.prefix)  # who is suspended resumes nobody
    await store.lock(tx, prefix)
    held = await show(tx, prefix)
    if await store.set_status(tx, prefix, status):
        said = status_digest(digest(held.row.delegation), suspended=status == SUSPENDED)
        await _record(tx, prefix, held.row.sequence, said, What.STATUS)
    return replace(held, row=replace(held.row, status=status))


async def _record(
    tx: WriteTx, prefix: Prefix, sequence: int, said: str, what: What = What.DELEGATION
) -> None:
    await changes.record(tx, Op.PREFIX, prefix, str(prefix), sequence, digest=said, what=what)


def _unfounded() -> Unavailable:
    return Unavailable("this registry is not founded yet", fix="tierlink up")


def _taken(prefix: Prefix) -> Conflict:
    return Conflict(
        f"{prefix} is allocated already",
        value=str(prefix),
        fix="choose another prefix, or delegate this one anew",
        code="prefix_taken",
    )


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
