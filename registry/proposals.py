"""Proposals: what the far end of a link states at its own node, and sends here.

Anybody may send one: the signature is the authority, and says for whom. For each statement:

    P1  it is well formed, and the other end, the one it is sent to, is held here
    P2  its chain of delegations, sent along, is valid under our root and is adopted. Of a prefix
        that is held here nobody else brings statements
    P3  it verifies under that chain
    P4  the end that is held here is registered or covered, and not retired
    P5  it is newer than what that side said last; the very same again changes nothing
    P6  it is stored, the edge at either end kept in step, and told of, not to the log: that is in
        the log of its own node

The link is `proposed` until the end that is held here asserts it too; then it is mutual.
"""

from __future__ import annotations

from collections.abc import Sequence

from registry import adoption, changes, prefixes, reader
from registry.changes import Entry
from registry.here import Here
from registry.store import links as store
from registry.store.engine import WriteTx
from registry.store.links import OTHER, Statement
from schemas.chain import Chain
from schemas.change import Op
from schemas.envelope import Envelope
from schemas.errors import (
    Forbidden,
    IdentifierNotFound,
    PrefixElsewhere,
    Retired,
    TierlinkError,
    VerifyError,
    VersionStale,
)
from schemas.identifier import Prefix
from schemas.link import ASSERTED, Assertion, link_state, parse_assertion
from schemas.source import State
from schemas.successor import SKEW_SECONDS

MOST = 100  # statements of one request


async def receive(
    tx: WriteTx, token: object, delegations: Sequence[object], here: Here, now: int
) -> str:
    """Take one statement in; return the state of its link; raise what refuses it."""
    # P1
    envelope, said = parse_assertion(token)
    await _check_ours(tx, said)
    # P2
    chain = await _chain(tx, said.asserter.prefix, delegations, here)
    # P3
    _check(envelope, said, chain, now)
    # P4
    if said.state == ASSERTED:
        await _check_near(tx, said)
    # P5 and P6
    current = await _newest(tx, said)
    before = None if current is None else parse_assertion(current.envelope)[1]
    if current is None or current.digest != envelope.digest:
        if before is not None and said.version <= before.version:
            raise VersionStale(
                f"version {before.version} of this side stands here", value=said.version
            )
        await _store(tx, envelope, said, current)
        await _tell(tx, said)
    return await _state(tx, said)


async def _check_ours(tx: WriteTx, said: Assertion) -> None:
    if said.far.prefix not in await prefixes.held(tx, [said.far.prefix]):
        raise PrefixElsewhere(
            f"{said.far.prefix} is not held here",
            value=said.far.text,
            fix="send it to the node that serves the prefix",
        )


async def _chain(tx: WriteTx, prefix: Prefix, delegations: Sequence[object], here: Here) -> Chain:
    if prefix in await prefixes.held(tx, [prefix]):
        raise Forbidden(
            f"{prefix} is held here, so that its statements are made here",
            value=str(prefix),
            fix="POST /v1/links with an API key of it",
        )
    await adoption.adopt(tx, prefix, delegations, here)
    return await prefixes.chain(tx, prefix, anywhere=True)


def _check(envelope: Envelope, said: Assertion, chain: Chain, now: int) -> None:
    if said.issued_at > now + SKEW_SECONDS:
        raise VerifyError("E_TIME", "the assertion is issued in the future", value=said.issued_at)
    chain.check_time(now)
    chain.check_speaker(envelope, said.asserter.prefix, said.issued_at)


async def _check_near(tx: WriteTx, said: Assertion) -> None:
    state = (await reader.states(tx, [said.far]))[said.far]
    if state is State.RETIRED:
        raise Retired(f"{said.far} was retired and can be linked no more", value=said.far.text)
    if state is State.MISSING:
        raise IdentifierNotFound(
            f"{said.far}, the end that this goes to, is not registered", value=said.far.text
        )


async def _newest(tx: WriteTx, said: Assertion) -> Statement | None:
    asked = [(said.asserter.prefix, said.link.key, said.side)]
    return (await store.newest(tx, asked)).get((said.link.key, said.side))


async def _store(
    tx: WriteTx, envelope: Envelope, said: Assertion, current: Statement | None
) -> None:
    statement = Statement(
        said.link.key,
        said.side,
        said.version,
        said.state,
        said.issued_at,
        envelope.digest,
        envelope.token,
        None if current is None else current.digest,
    )
    prefix = said.asserter.prefix
    put = store.insert_first if current is None else store.replace
    if not await put(tx, prefix, [statement]):
        raise VersionStale("another version of this side came in at the same time")
    side = [(said.link, said.link.key, said.side)]
    if said.state == ASSERTED:
        await store.raise_sides(tx, side)
    else:
        await store.lower_sides(tx, side)


async def _tell(tx: WriteTx, said: Assertion) -> None:
    # Under the prefix that is held here: it is what follows this node's changes that has to know.
    entry = Entry(
        Op.LINK, said.far.text, said.version, also=said.asserter.text, digest=None, what=None
    )
    await changes.record_many(tx, said.far.prefix, [entry])


async def _state(tx: WriteTx, said: Assertion) -> str:
    key, other = said.link.key, OTHER[said.side]
    found = await store.newest(
        tx, [(said.asserter.prefix, key, said.side), (said.far.prefix, key, other)]
    )
    return link_state(parse_assertion(item.envelope)[1] for item in found.values())


async def receive_all(
    tx: WriteTx, tokens: Sequence[object], delegations: Sequence[object], here: Here, now: int
) -> list[str | TierlinkError]:
    """Take in many, each for itself; return the state of its link, or what refuses it, of each."""
    outcomes: list[str | TierlinkError] = []
    for token in tokens:
        try:
            async with tx.connection.begin_nested():
                outcomes.append(await receive(tx, token, delegations, here, now))
        except TierlinkError as err:
            outcomes.append(err)
    return outcomes
