"""The usual registration in one statement: an envelope of a first version, and nothing beside it.

What has to be read before it can be judged, the API key and the chain of delegations, was mostly
read for a call before, and is remembered. The statement that writes compares it with what stands,
in its own snapshot, and writes nothing where a single row is another: a key that was revoked, a
prefix that was suspended, a delegation that was replaced is noticed as soon as by who reads first.

    1. the body is an envelope of version 1 without rule, disclosures and batch statement
    2. the key is compared, and the caller holds the prefix; the chain stands now
    3. the envelope verifies under the chain
    4. record and change are written if the key and the chain are still those
    5. with a parent: after the writing, which takes the family lock, the parent is looked at

Nothing is refused here. Whatever is not written goes the usual way (`identifiers.register`), which
says why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from registry import accounts, prefixes, succession
from registry.accounts import Caller, Secret
from registry.offers import Offer, check_envelope, read_offer
from registry.store import express as store
from registry.store.engine import Store
from registry.store.express import Ground
from registry.store.identifiers import Standing, lineage_by
from registry.store.tables import unit_of
from registry.succession import decide, standing
from schemas import canonical
from schemas.chain import Chain
from schemas.change import Op
from schemas.errors import TierlinkError, Unavailable
from schemas.leaf import What
from schemas.record import Record

MOST = 4096  # API keys remembered; one costs about 3 kB beside the chain

__all__ = ["Express", "New"]


@dataclass(frozen=True, slots=True)
class _Known:
    """A key and the chain of its prefix, as they were read together."""

    secret: Secret
    chain: Chain
    ground: Ground


class New(NamedTuple):
    """A record that was just registered, and how it is stored."""

    record: Record
    standing: Standing


class _Unusual(Exception):
    """No fault: goes the usual way."""


class Express:
    """Registers what it can in one statement; one for each process."""

    def __init__(self, opened: Store, clock: Callable[[], int]) -> None:
        """Remember nothing yet."""
        self._store = opened
        self._clock = clock
        self._known: dict[str, _Known] = {}  # by the id of the key, the oldest first

    async def register(self, authorization: str | None, body: bytes) -> New | None:
        """Register what a body holds, None where it goes the usual way and nothing was written.

        Raise Unavailable where the database is away, and the write may stand then.
        """
        now = self._clock()
        try:
            # 1
            offer = _read(body, now)
            first = _first(offer)
            # 2
            key_id, secret = accounts.presented(authorization)
            known = self._known.get(key_id) or await self._look(key_id, secret, now)
            _check(accounts.check(key_id, secret, known.secret, now), known.chain, offer, now)
            # 4 and 5
            written = await self._write(key_id, known, first)
        except Unavailable:
            raise
        except (_Unusual, TierlinkError):
            return None
        return New(offer.record, first) if written else None

    async def _look(self, key_id: str, secret: str, now: int) -> _Known:
        """Read what stands in one snapshot, and remember it for whoever has the secret."""
        async with self._store.read() as tx:
            found = await accounts.find(tx, key_id)
            if found is None:
                raise _Unusual
            caller = accounts.check(key_id, secret, found, now)
            recalled = await prefixes.recall(tx, caller.prefix)
        known = _Known(found, recalled.chain, Ground.of(key_id, found, recalled.links))
        if len(self._known) >= MOST:
            del self._known[next(iter(self._known))]
        self._known[key_id] = known
        return known

    async def _write(self, key_id: str, known: _Known, first: Standing) -> bool:
        unit = unit_of(known.secret.prefix)
        lent = self._store.statement() if first.parent is None else self._store.driving()
        async with lent as driver:
            done = await store.write_first(
                driver, known.ground, unit, first, op=Op.RECORD, what=What.RECORD.value
            )
            if done.written and first.parent is not None:
                kin = await lineage_by(driver, unit, [first.parent])
                succession.check_parent(first, kin)  # what it raises, rolls back
        if not done.stands:
            self._known.pop(key_id, None)
        return done.written


def _read(body: bytes, now: int) -> Offer:
    members = canonical.decode_object(body)
    if "envelope" not in members:
        raise _Unusual
    return read_offer(members, now, _no_salt)


def _no_salt(_content: bytes) -> bytes:
    raise _Unusual  # salts are a draft's


def _first(offer: Offer) -> Standing:
    """Return the record as it would be stored, if it is a usual one."""
    record, envelope = offer.record, offer.envelope
    if envelope is None or envelope.statement is not None:
        raise _Unusual
    if record.version != 1 or record.rule is not None or offer.marked:
        raise _Unusual
    decide(None, record, "")
    return standing(record, envelope)


def _check(caller: Caller, chain: Chain, offer: Offer, now: int) -> None:
    """Take steps 2 and 3."""
    assert offer.envelope is not None
    caller.must_hold(offer.record.identifier.prefix)
    chain.check_time(now)
    check_envelope(chain, offer.record, offer.envelope, now)
