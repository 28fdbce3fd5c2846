"""Identifiers: registered, updated and retired by the holder of their prefix, shown to everybody.

A write, in these steps:

    1. the caller holds the prefix, and the chain of its delegations stands now
    2. a client's envelope verifies under that chain; a draft is signed with the hosted key
    3. the version: the first of a free identifier, or the next of what stands; the same content
       again changes nothing (`succession`)
    4. the parent is registered under the same prefix, not retired, of a broader kind, and neither
       a descendant nor too deep; whoever has children is not retired
    5. the suffix rule is kept in step, and the change told of; of a batched record the statement
       is kept and told of too, unless it was with another (`batch_statements`)

A first version is written before its parent is looked at: the writing takes the family lock, and
what is read after that stands. Whoever is overtaken between reading and writing is told what
stands now, and nothing is tried twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from registry import batch_statements, changes, disclosures, prefixes, succession
from registry.accounts import Caller
from registry.keyring import Keyring
from registry.offers import Offer, check_envelope
from registry.store import identifiers as store, rules
from registry.store.engine import ReadTx, WriteTx
from registry.store.identifiers import Entry, Past, Standing
from registry.store.rules import RuleRow
from registry.store.tables import unit_of
from registry.succession import Step, decide, decide_next, standing
from schemas.chain import Chain
from schemas.change import Op
from schemas.delegation import RECORD_USE
from schemas.disclosure import Marked
from schemas.envelope import RECORD as RECORD_TYPE, Envelope, parse
from schemas.errors import BadRecord
from schemas.identifier import Identifier, Prefix
from schemas.keys import B64, Signer
from schemas.record import MAX_ANCESTORS, RETIRED, Record, parse_record
from schemas.rule import Rule

__all__ = [
    "Entry",
    "Past",
    "Registered",
    "Standing",
    "listing",
    "put_next",
    "register",
    "retire",
    "show",
    "sign",
    "update",
    "versions",
]


@dataclass(frozen=True, slots=True)
class Registered:
    """What stands after a write; `created` where the identifier is new."""

    standing: Standing
    created: bool = False


async def register(
    tx: WriteTx, keyring: Keyring, caller: Caller, offer: Offer, now: int
) -> Registered:
    """Register an identifier, or write the next version where an envelope says it is that."""
    record = offer.record
    chain = await _admit(tx, caller, record.identifier, now)
    if record.version > 1:
        return await _follow(tx, chain, offer, now)
    # 2 and 3
    decide(None, record, "")
    if offer.envelope is not None:
        envelope = offer.envelope
        check_envelope(chain, record, envelope, now)
    else:
        envelope = await _signed(tx, keyring, chain, record)
    first, unit = standing(record, envelope), unit_of(record.identifier.prefix)
    if not await store.insert_first(tx, unit, first):
        current = await store.current(tx, record.identifier)
        assert current is not None, "an identifier that is taken stays so"
        decide(current, record, envelope.digest)
        return Registered(current)
    # 4
    if first.parent is not None:
        succession.check_parent(first, await store.lineage(tx, unit, [first.parent]))
    # 5
    await _settle(tx, record, first, before=None)
    await disclosures.keep(tx, record.identifier, 1, offer.marked)
    await batch_statements.admit(tx, record.identifier.prefix, [envelope])
    return Registered(first, created=True)


async def update(
    tx: WriteTx,
    keyring: Keyring,
    caller: Caller,
    identifier: Identifier,
    *,
    offer: Offer,
    match: int | None,
    now: int,
) -> Registered:
    """Replace what an identifier resolves to; `match` is the version meant, by If-Match."""
    if offer.record.identifier != identifier:
        raise BadRecord(
            f"the body is about {offer.record.identifier}, the path about {identifier}",
            value=offer.record.identifier.text,
        )
    chain = await _admit(tx, caller, identifier, now)
    if offer.envelope is not None:
        return await _follow(tx, chain, offer, now, match=match)
    current = await store.current(tx, identifier)
    successor = succession.follow(current, offer.record, match, now)
    assert current is not None
    if successor is None:
        return Registered(current)
    envelope = await _signed(tx, keyring, chain, successor)
    return await put_next(tx, current, successor, envelope, offer.marked)


async def retire(
    tx: WriteTx,
    keyring: Keyring,
    caller: Caller,
    identifier: Identifier,
    *,
    offer: Offer | None,
    match: int | None,
    now: int,
) -> Registered:
    """End an identifier by a tombstone, the client's or one signed with the hosted key."""
    if offer is not None:
        if offer.envelope is None or offer.record.status != RETIRED:
            raise BadRecord(
                "this is not a signed tombstone",
                value=offer.record.status,
                fix="send an envelope with status retired, or no body where the key is hosted",
            )
        return await update(tx, keyring, caller, identifier, offer=offer, match=match, now=now)
    chain = await _admit(tx, caller, identifier, now)
    current = await _standing(tx, identifier)
    succession.check_match(current, succession.ANY_VERSION if match is None else match)
    before = parse_record(current.envelope)[1]
    tombstone = before.tombstone(B64(current.digest), now)
    envelope = await _signed(tx, keyring, chain, tombstone)
    return await put_next(tx, current, tombstone, envelope)


async def show(tx: ReadTx, identifier: Identifier) -> Standing:
    """Return what stands; raise IdentifierNotFound, Retired or PrefixSuspended."""
    await prefixes.chain(tx, identifier.prefix)
    return await _standing(tx, identifier)


async def versions(
    tx: ReadTx, identifier: Identifier, below: int, limit: int
) -> tuple[Sequence[Past], int | None]:
    """Return a page of versions, newest first, and the number below which the next begins.

    A retired identifier shows them too: its tombstone is the newest.
    """
    await prefixes.chain(tx, identifier.prefix)
    found = await store.versions(tx, identifier, below, limit + 1)
    if not found:
        current = await store.current(tx, identifier)
        if current is None:
            raise succession.not_found(identifier.text)
    page = found[:limit]
    return page, page[-1].version if len(found) > limit else None


async def listing(
    tx: ReadTx, caller: Caller, prefix: Prefix, after: str, limit: int
) -> tuple[Sequence[Entry], str | None]:
    """Return a page of a prefix's identifiers in byte order, and the last where more follow."""
    caller.must_hold(prefix)
    found = await store.listing(tx, prefix, after, limit + 1)
    page = found[:limit]
    return page, page[-1].identifier if len(found) > limit else None


def sign(chain: Chain, record: Record, signer: Signer) -> Envelope:
    """Sign a record; raise VerifyError where no verifier would accept what this key signs."""
    envelope = parse(record.sign(signer), RECORD_TYPE)
    chain.check_speaker(envelope, record.identifier.prefix, record.issued_at, record.kind)
    return envelope


async def _admit(tx: WriteTx, caller: Caller, identifier: Identifier, now: int) -> Chain:
    """Take step 1."""
    caller.must_hold(identifier.prefix)
    chain = await prefixes.chain(tx, identifier.prefix)
    chain.check_time(now)
    return chain


async def _signed(tx: WriteTx, keyring: Keyring, chain: Chain, record: Record) -> Envelope:
    signer = await keyring.signer(tx, record.identifier.prefix, RECORD_USE)
    return sign(chain, record, signer)


async def _standing(tx: ReadTx, identifier: Identifier) -> Standing:
    current = await store.current(tx, identifier)
    if current is None:
        raise succession.not_found(identifier.text)
    if current.status == RETIRED:
        raise succession.retired(current)
    return current


async def _follow(
    tx: WriteTx, chain: Chain, offer: Offer, now: int, *, match: int | None = None
) -> Registered:
    """Write the next version as the client signed it."""
    record, envelope = offer.record, offer.envelope
    assert envelope is not None, "a draft has no version of its own"
    check_envelope(chain, record, envelope, now)
    current = await store.current(tx, record.identifier)
    step = decide_next(current, record, envelope.digest)
    assert current is not None
    if step is Step.NOTHING:
        return Registered(current)
    if match is not None:
        succession.check_match(current, match)
    done = await put_next(tx, current, record, envelope, offer.marked)
    await batch_statements.admit(tx, record.identifier.prefix, [envelope])
    return done


async def put_next(
    tx: WriteTx,
    current: Standing,
    record: Record,
    envelope: Envelope,
    marked: Sequence[Marked] = (),
) -> Registered:
    """Take steps 3 to 5 for the version that follows `current`, which hides what is `marked`.

    Its batch statement is left to the caller, to be admitted last.
    """
    successor, unit = standing(record, envelope), unit_of(record.identifier.prefix)
    if succession.reshapes(current, successor):
        await store.lock_family(tx, unit, reshape=True)
    if not await store.replace(tx, unit, successor):
        overtaken = await store.current(tx, record.identifier)
        assert overtaken is not None
        decide_next(overtaken, record, envelope.digest)  # the same envelope, or a refusal
        return Registered(overtaken)
    # 4
    if record.status == RETIRED and await store.has_children(tx, record.identifier):
        raise succession.has_children(successor.identifier)
    if successor.parent not in (None, current.parent):
        await _check_move(tx, unit, record, successor)
    # 5
    await _settle(tx, record, successor, before=succession.rule_of(current))
    await disclosures.keep(tx, record.identifier, record.version, marked)
    return Registered(successor)


async def _check_move(tx: WriteTx, unit: int, record: Record, successor: Standing) -> None:
    """Check a new parent: it is fit, and nothing below the record gets too deep."""
    assert successor.parent is not None
    kin = await store.lineage(tx, unit, [successor.parent])
    above = succession.check_parent(successor, kin)
    if await store.reaches(tx, record.identifier, MAX_ANCESTORS - above + 1):
        raise succession.too_deep(successor.parent)


async def _settle(tx: WriteTx, record: Record, stands: Standing, *, before: Rule | None) -> None:
    """Take step 5."""
    prefix, rule = record.identifier.prefix, record.rule
    if rule is not None and rule != before:
        row = RuleRow(stands.identifier, rule.head, rule.pattern)
        await rules.put(tx, unit_of(prefix), [row])
    elif rule is None and before is not None:
        await rules.drop(tx, unit_of(prefix), [stands.identifier])
    op = Op.RECORD if rule == before else Op.RULE
    await changes.record(tx, op, prefix, stands.identifier, stands.version, digest=stands.digest)
