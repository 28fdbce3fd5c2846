"""Links: what each end states, under its own prefix and signature.

Either end may speak first, and neither countersigns: a link is mutual when both stand, and what one
end takes back is shown beside what the other still says. To state something, in these steps:

    1. the caller holds the prefix of the end that speaks
    2. that prefix stands, and its chain of delegations is valid now
    3. to assert: the near end is registered here or covered by a class rule, and not retired;
       nothing is asked of the far end
    4. a client's envelope verifies under the chain; what the hosted key signs for drafts would
    5. the version it becomes (`assertions`), if it changes anything
    6. that is stored, the edge at either end kept in step, and the change told of; so is the
       statement of a batched assertion, unless it was with another (`batch_statements`)
    7. where another node serves the far end, it is put on its way there (`deliveries`)

Of one caller's many statements each is refused for itself. Reading takes no lock: what is written
names the digest that it replaces, and who was overtaken decides anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

from registry import assertions, batch_statements, changes, deliveries, prefixes, reader
from registry.accounts import Caller
from registry.assertions import Offer, Stated, Voice
from registry.changes import Entry
from registry.keyring import Keyring
from registry.store import links as store
from registry.store.engine import ReadTx, WriteTx
from registry.store.links import BIT, OTHER, Listed, Statement
from schemas.chain import Chain
from schemas.change import Op
from schemas.delegation import RECORD_USE
from schemas.envelope import LINK, parse, sign
from schemas.errors import (
    IdentifierNotFound,
    KeyNotHosted,
    PrefixSuspended,
    Retired,
    TierlinkError,
    Unavailable,
    VerifyError,
)
from schemas.identifier import Identifier, Prefix
from schemas.keys import Signer, b64encode
from schemas.leaf import What
from schemas.link import ASSERTED, UPSTREAM, Assertion, Link, link_state, parse_assertion, stands
from schemas.signed import check_speaks
from schemas.source import State
from schemas.successor import SKEW_SECONDS
from schemas.viewer import ANYBODY, Viewer

ATTEMPTS = 3  # of a statement that others overtake
START = ("",) * 5  # the place before the first link of a list
PACE = 50  # statements signed or verified before others get the processor

T = TypeVar("T")

_Outcomes: TypeAlias = "dict[int, Stated | TierlinkError]"


@dataclass(frozen=True, slots=True)
class Shown:
    """One link of a list, with the newest statement of each end that spoke."""

    link: Link
    link_key: str
    assertions: tuple[Assertion, ...]
    envelopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the links of one end; `after` is the place behind which the next page begins."""

    links: tuple[Shown, ...]
    after: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Speaker:
    """With what one caller's statements are checked and signed."""

    caller: Caller
    chain: Chain
    voice: Voice
    blind: Callable[[bytes], bytes]  # 16 bytes for a content, which nobody else can tell

    @property
    def prefix(self) -> Prefix:
        """Whose statements they are."""
        return self.caller.prefix


async def state_one(
    tx: WriteTx, keyring: Keyring, caller: Caller, offer: Offer, now: int
) -> Stated:
    """Assert or withdraw one side of a link; raise what refuses it."""
    caller.must_hold(offer.near.prefix)
    speaker = await find_speaker(tx, keyring, caller, now, drafts=offer.envelope is None)
    check(speaker, offer)
    outcome = (await store_many(tx, speaker, [offer]))[0]
    if isinstance(outcome, TierlinkError):
        raise outcome
    return outcome


async def find_speaker(
    tx: ReadTx, keyring: Keyring, caller: Caller, now: int, *, drafts: bool = True
) -> Speaker:
    """Take step 2, and find the hosted key for drafts; raise PrefixSuspended and the like."""
    chain = await prefixes.chain(tx, caller.prefix)
    chain.check_time(now)
    signer: Signer | TierlinkError = KeyNotHosted("no draft is signed here")
    if drafts:
        signer = await _hosted(tx, keyring, chain, now)
    return Speaker(caller, chain, Voice(signer, now), keyring.salt)


async def _hosted(tx: ReadTx, keyring: Keyring, chain: Chain, now: int) -> Signer | TierlinkError:
    """Return the hosted key, or why it cannot speak for the holder of the chain."""
    prefix = chain.holder.subject
    try:
        signer = await keyring.signer(tx, prefix, RECORD_USE)
        # What refuses a trial would refuse everything that this key signs.
        chain.check_speaker(parse(sign(LINK, {"v": 1}, signer), LINK), prefix, now)
    except (KeyNotHosted, VerifyError) as err:
        return err
    return signer


def check(speaker: Speaker, offer: Offer) -> None:
    """Take steps 1 and 4; raise Forbidden or VerifyError. Needs no row: it may run in a thread."""
    speaker.caller.must_hold(offer.near.prefix)
    if offer.envelope is None:
        return
    issued_at = offer.assertion.issued_at
    if issued_at > speaker.voice.now + SKEW_SECONDS:
        raise VerifyError(
            "E_TIME",
            "the assertion is issued in the future",
            value=issued_at,
            fix="set the clock of whoever signs",
        )
    check_speaks(offer.envelope, speaker.prefix, max(issued_at, speaker.voice.now))
    speaker.chain.check_speaker(offer.envelope, speaker.prefix, issued_at)


async def store_many(
    tx: WriteTx, speaker: Speaker, offers: Sequence[Offer]
) -> list[Stated | TierlinkError]:
    """Take steps 3, 5 and 6 for offers that were checked, in order.

    Return for each what stands now, or what refuses it.
    """
    # 3
    outcomes = await _refused(tx, offers)
    # 5 and 6
    for turn in _turns(offers, outcomes):
        outcomes |= await _settle(tx, speaker, {index: offers[index] for index in turn})
    await _tell(tx, speaker, outcomes)
    changed = [i for i, one in outcomes.items() if isinstance(one, Stated) and one.changed]
    await batch_statements.admit(tx, speaker.prefix, [offers[i].envelope for i in changed])
    await _send(tx, speaker, outcomes)
    await _judge(tx, outcomes)
    return [outcomes[index] for index in range(len(offers))]


async def _refused(tx: WriteTx, offers: Sequence[Offer]) -> _Outcomes:
    """Take step 3; return what is refused."""
    asserted = {i: o.near for i, o in enumerate(offers) if o.assertion.state == ASSERTED}
    states = await reader.states(tx, list(dict.fromkeys(asserted.values()))) if asserted else {}
    refused: _Outcomes = {}
    for index, near in asserted.items():
        try:
            _check_near(near, states)
        except TierlinkError as err:
            refused[index] = err
    return refused


def _check_near(near: Identifier, states: Mapping[Identifier, State]) -> None:
    if states[near] == State.RETIRED:
        raise Retired(f"{near} was retired and can be linked no more", value=near.text)
    if states[near] == State.MISSING:
        raise IdentifierNotFound(
            f"{near}, the end that speaks, is not registered and no class rule covers it",
            value=near.text,
            fix="register it first",
        )


def _turns(offers: Sequence[Offer], refused: Mapping[int, object]) -> list[list[int]]:
    """Split statements so that no side of a link speaks twice in a turn, keeping their order."""
    turns: list[list[int]] = []
    spoken: dict[tuple[Link, str], int] = {}
    for index, offer in enumerate(offers):
        if index in refused:
            continue
        place = (offer.assertion.link, offer.assertion.side)
        turn = spoken[place] = spoken.get(place, -1) + 1
        if turn == len(turns):
            turns.append([])
        turns[turn].append(index)
    return turns


async def _settle(tx: WriteTx, speaker: Speaker, offers: Mapping[int, Offer]) -> _Outcomes:
    """Take step 5 and store, again for those who were overtaken between reading and writing."""
    settled: _Outcomes = {}
    keys = {index: offer.assertion.link.key for index, offer in offers.items()}
    for _ in range(ATTEMPTS):
        left = {index: keys[index] for index in offers if index not in settled}
        if not left:
            break
        decided = await _decide(tx, speaker, offers, left)
        written = await _write(tx, speaker.prefix, decided.values())
        settled |= {
            index: one
            for index, one in decided.items()
            if isinstance(one, TierlinkError) or not one.changed or _place(one) in written
        }
    busy = Unavailable("others keep changing this link")
    return dict.fromkeys(offers, busy) | settled


async def _decide(
    tx: WriteTx, speaker: Speaker, offers: Mapping[int, Offer], keys: Mapping[int, str]
) -> _Outcomes:
    newest = await store.newest(
        tx,
        [(speaker.prefix, key, offers[index].assertion.side) for index, key in keys.items()],
    )
    decided: _Outcomes = {}
    async for index, key in _paced(list(keys.items())):
        offer = offers[index]
        current = newest.get((key, offer.assertion.side))
        try:
            decided[index] = assertions.settle(
                offer, key, None if current is None else current.envelope, speaker.voice
            )
        except TierlinkError as err:
            decided[index] = err
    return decided


async def _write(
    tx: WriteTx, prefix: Prefix, decided: Iterable[Stated | TierlinkError]
) -> set[tuple[str, str]]:
    """Store new versions and keep the edges in step; return the places of what was stored."""
    new = [one for one in decided if isinstance(one, Stated) and one.changed]
    rows = [_row(one) for one in new]
    firsts = [row for row in rows if row.prev is None]
    nexts = [row for row in rows if row.prev is not None]
    written: set[tuple[str, str]] = set()
    if firsts:
        written |= await store.insert_first(tx, prefix, firsts)
    if nexts:
        written |= await store.replace(tx, prefix, nexts)
    turned = [one for one in new if one.stands != one.stood and _place(one) in written]
    await store.raise_sides(tx, [_side(one) for one in turned if one.stands])
    await store.lower_sides(tx, [_side(one) for one in turned if not one.stands])
    return written


def _place(one: Stated) -> tuple[str, str]:
    return (one.link_key, one.assertion.side)


def _side(one: Stated) -> tuple[Link, str, str]:
    return (one.assertion.link, one.link_key, one.assertion.side)


def _row(one: Stated) -> Statement:
    said = one.assertion
    return Statement(
        one.link_key,
        said.side,
        said.version,
        said.state,
        said.issued_at,
        one.digest,
        one.envelope,
        said.prev,
    )


async def _tell(tx: WriteTx, speaker: Speaker, outcomes: _Outcomes) -> None:
    """Tell of every change, in order."""
    entries = [
        Entry(
            Op.LINK,
            one.assertion.asserter.text,
            one.assertion.version,
            also=one.assertion.far.text,
            digest=one.digest,
            what=What.LINK,
            subject=_subject(speaker, one),
        )
        for _, one in sorted(outcomes.items())
        if isinstance(one, Stated) and one.changed
    ]
    if entries:
        await changes.record_many(tx, speaker.prefix, entries)


def _subject(speaker: Speaker, one: Stated) -> str:
    # Of a link everything but the statements can be guessed, and the salt of a prefix is told with
    # the proof of any of its records: without more, guesses could be looked up in the log.
    subject = f"{one.link_key}/{one.assertion.side}"
    return f"{subject}/{b64encode(speaker.blind(subject.encode()))}"


async def _send(tx: WriteTx, speaker: Speaker, outcomes: _Outcomes) -> None:
    """Put on its way to the node of its far end what changed."""
    changed = [one for one in outcomes.values() if isinstance(one, Stated) and one.changed]
    await deliveries.queue(
        tx,
        speaker.prefix,
        [(one.link_key, one.assertion.side, one.assertion.far, one.digest) for one in changed],
    )


async def _judge(tx: WriteTx, outcomes: _Outcomes) -> None:
    """Say how each link stands now that both sides are known."""
    stated = {index: one for index, one in outcomes.items() if isinstance(one, Stated)}
    if not stated:
        return
    others = await store.newest(
        tx,
        [
            (one.assertion.far.prefix, one.link_key, OTHER[one.assertion.side])
            for one in stated.values()
        ],
    )
    async for index, one in _paced(list(stated.items())):
        other = others.get((one.link_key, OTHER[one.assertion.side]))
        said = [one.assertion]
        if other is not None:
            said.append(parse_assertion(other.envelope)[1])
        outcomes[index] = replace(one, link_state=link_state(said))


async def listing(
    tx: ReadTx,
    near: Identifier,
    *,
    direction: str | None,
    kind: str | None,
    after: tuple[str, ...],
    limit: int,
    viewer: Viewer = ANYBODY,
) -> Page:
    """Return a page of the links of one end that a viewer is shown, in key order.

    Raise PrefixSuspended.

    What a suspended prefix says is left out, and a link that nobody else stands behind.
    """
    found = await store.page(
        tx, near, direction=direction, kind=kind, after=after, limit=limit + 1, viewer=viewer
    )
    page = [(_link(near, listed), listed) for listed in found[:limit]]
    sides = [
        (link.end(side).prefix, listed.link_key, side) for link, listed in page for side in BIT
    ]
    newest = await store.newest(tx, sides)
    silent = await _suspended(tx, {near.prefix, *(prefix for prefix, _, _ in sides)})
    if near.prefix in silent:
        raise PrefixSuspended(f"the prefix {near.prefix} is suspended", value=str(near.prefix))
    heard = {
        (link_key, side): newest[link_key, side]
        for prefix, link_key, side in sides
        if prefix not in silent and (link_key, side) in newest
    }
    shown = [_shown(link, listed.link_key, heard) for link, listed in page]
    return Page(
        tuple(item for item in shown if stands(item.assertions)),
        found[limit - 1].place if len(found) > limit else None,
    )


def _link(near: Identifier, listed: Listed) -> Link:
    far = Identifier.parse(listed.far)
    up, down = (far, near) if listed.direction == UPSTREAM else (near, far)
    return Link(listed.type, up, down, listed.lifecycle, listed.occurrence)


def _shown(link: Link, link_key: str, heard: Mapping[tuple[str, str], Statement]) -> Shown:
    statements = [heard[link_key, side] for side in sorted(BIT) if (link_key, side) in heard]
    envelopes = tuple(statement.envelope for statement in statements)
    assertions = tuple(parse_assertion(token)[1] for token in envelopes)
    return Shown(link, link_key, assertions, envelopes)


async def _suspended(tx: ReadTx, asked: Iterable[Prefix]) -> set[Prefix]:
    """Return those of the prefixes that are suspended, themselves or by one above."""
    above = {prefix: {str(held) for held in (prefix, *prefix.ancestors())} for prefix in asked}
    found = await store.suspended(tx, set().union(*above.values()))
    return {prefix for prefix, names in above.items() if names & found}


async def _paced(items: Sequence[T]) -> AsyncIterator[T]:
    """Give the items one by one, and every few of them the event loop a turn."""
    for count, item in enumerate(items, 1):
        yield item
        if count % PACE == 0:
            await asyncio.sleep(0)
