"""Proposals: what the far end of a link states at its own node, and sends here.

Anybody may send one: the signature is the authority, and says for whom. For each statement:

    P1  it is well formed, and the other end, the one it is sent to, is held here
    P2  its chain of delegations, sent along, is valid under our root and is adopted. Of a prefix
        that is held here nobody else brings statements
    P3  it verifies under that chain
    P4  the end that is held here is registered or covered, and not retired
    P5  it is newer than what that side said last; the same again, or an older one, changes nothing
    P6  it is stored, and told of, not to the log: that is in the log of its own node
    P7  the edges at both ends are kept in step, of all statements together and in key order, as
        holders write theirs here: else two transactions could wait for each other

The link is `proposed` until the end that is held here asserts it too; then it is mutual. That is
said to nobody here: what was once shown to somebody he could send at any time, to find out how the
link stands by now. Who speaks for the other end is told by a delivery, and sees it in the list of
links. That an identifier is there or not is told, as by any look-up: records are public.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from registry import adoption, changes, prefixes, reader
from registry.changes import Entry
from registry.here import Here
from registry.store import links as store
from registry.store.engine import WriteTx
from registry.store.links import Statement
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


async def _receive(
    tx: WriteTx, token: object, delegations: Sequence[object], here: Here, now: int
) -> tuple[Assertion, bool]:
    """Take one statement in but for P7; tell whether it was new; raise what refuses it."""
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
    if before is None or said.version > before.version:
        await _store(tx, envelope, said, current)
        await _tell(tx, said)
        return said, True
    if current is not None and said.version == before.version:
        _check_same(envelope, said, current)
    return said, False


def _check_same(envelope: Envelope, said: Assertion, current: Statement) -> None:
    if current.digest != envelope.digest:
        raise VersionStale("another statement of this version stands here", value=said.version)


async def _check_ours(tx: WriteTx, said: Assertion) -> None:
    if said.far.prefix not in await prefixes.held(tx, [said.far.prefix]):
        raise PrefixElsewhere(
            f"{said.far.prefix} is not held here",
            value=said.far.text,
            fix="send it to the node that serves the prefix",
        )


async def _chain(tx: WriteTx, prefix: Prefix, delegations: Sequence[object], here: Here) -> Chain:
    held = Forbidden(
        f"{prefix} is held here, so that its statements are made here",
        value=str(prefix),
        fix="POST /v1/links with an API key of it",
    )
    return await adoption.introduce(tx, prefix, delegations, here, held)


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


async def _tell(tx: WriteTx, said: Assertion) -> None:
    # Under the prefix that is held here: it is what follows this node's changes that has to know.
    entry = Entry(
        Op.LINK,
        said.far.text,
        said.version,
        also=said.asserter.text,
        digest=None,
        what=None,
        subject=f"{said.link.key}/{said.side}",
    )
    await changes.record_many(tx, said.far.prefix, [entry])


async def _keep_in_step(tx: WriteTx, taken: Iterable[Assertion]) -> None:
    last = {(said.link.key, said.side): said for said in taken}.values()
    for wanted, put in ((True, store.raise_sides), (False, store.lower_sides)):
        sides = [(item.link, item.link.key, item.side) for item in last if _stands(item) is wanted]
        await put(tx, sides)


def _stands(said: Assertion) -> bool:
    return said.state == ASSERTED


async def receive_all(
    tx: WriteTx, tokens: Sequence[object], delegations: Sequence[object], here: Here, now: int
) -> list[str | TierlinkError]:
    """Take in many, each for itself; return for each its link's state by it, or what refuses it."""
    outcomes: list[str | TierlinkError] = []
    taken: list[Assertion] = []
    for token in tokens:
        try:
            async with tx.connection.begin_nested():
                said, new = await _receive(tx, token, delegations, here, now)
        except TierlinkError as err:
            outcomes.append(err)
        else:
            outcomes.append(link_state([said]))
            taken += [said] if new else []
    # P7
    await _keep_in_step(tx, taken)
    return outcomes
