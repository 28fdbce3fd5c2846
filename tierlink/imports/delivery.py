"""Delivery: a plan is sent to a registry, and sent again without harm.

For each holder, several at once, in three steps:

    1. the prefix: found, with an API key from before, or allocated now. A holder with a signer
       proves that key; for one without, the registry makes and hosts a key. Where the plan is
       `opened`, a grant shows everybody the holder's links
    2. records, in the order of the plan, a parent before its children
    3. assertions: each end needs only its own records to be there

Whoever signs signs here; the registry gets envelopes. A line that is refused costs no other and is
named in the report. What is there already with the same content is left as it is, so a delivery
that broke off is simply made again.

An API key is shown once. It is handed to `keep` before anything else is done with it, and a hosted
holder's can be asked for again for two days, because allocating it carries an Idempotency-Key that
follows from the plan. For the moment in between there is `recover`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias, TypeVar

from schemas import canonical
from schemas.errors import PrefixNotFound, TierlinkError
from schemas.grant import Grant
from schemas.identifier import Prefix
from schemas.keys import Signer, b64encode, sha256
from tierlink.client import AsyncClient, NewKey, Result

from .plan import Holder, Plan
from .report import Company, Note, Report

PREFIXES, IDENTIFIERS, LINKS = "prefixes", "identifiers", "links"
OPEN = "everybody"  # the id of the grant that shows everybody a holder's links
AT_ONCE = 4

_T = TypeVar("_T")

Connect: TypeAlias = Callable[[str, Signer | None], AsyncClient]
Keep: TypeAlias = Callable[[Company], object]
Progress: TypeAlias = Callable[[str, int, int], object]  # stage, done, of how many
Recover: TypeAlias = Callable[[Prefix], Awaitable[str | None]]


def _nothing(*_: object) -> None:
    """Keep nothing, tell nobody."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a plan is sent.

    `connect(api_key, signer)` opens a client; `known` holds API keys from before, by prefix;
    `keep` is told of each new one at once; `progress` of what is done; `recover` may find an API
    key for a prefix that is allocated and whose key nobody here knows.
    """

    connect: Connect
    parent_key: str
    known: Mapping[Prefix, str] = field(default_factory=dict)
    keep: Keep = _nothing
    progress: Progress = _nothing
    recover: Recover | None = None
    at_once: int = AT_ONCE
    opened: bool = False
    now: Callable[[], float] = time.time


async def deliver(delivery: Delivery, plan: Plan, notes: Sequence[Note] = ()) -> Report:
    """Send a plan; raise TierlinkError where the registry is away or refuses the parent's key.

    A holder that cannot be served is refused in the report, with everything that is his.
    """
    work = _Work(delivery, plan)
    await _bounded(delivery.at_once, [partial(work.serve, holder) for holder in plan.holders])
    return Report(
        companies=tuple(work.companies[holder.prefix] for holder in plan.holders),
        identifiers=work.accepted[IDENTIFIERS],
        assertions=work.accepted[LINKS],
        reciprocity=plan.reciprocity,
        notes=tuple(notes),
        refused=tuple(sorted(work.refused, key=lambda note: (note.place, note.code))),
        agreement=plan.agreement,
    )


class _Work:
    """The state of one delivery, owned by one event loop."""

    def __init__(self, delivery: Delivery, plan: Plan) -> None:
        self._delivery = delivery
        self._records = _grouped((item.identifier.prefix, item) for item in plan.records)
        self._assertions = _grouped((item.asserter.prefix, item) for item in plan.assertions)
        self._totals = {
            PREFIXES: len(plan.holders),
            IDENTIFIERS: len(plan.records),
            LINKS: len(plan.assertions),
        }
        self._done = dict.fromkeys(self._totals, 0)
        self.accepted = dict.fromkeys(self._totals, 0)
        self.companies = {
            item.prefix: Company(str(item.prefix), item.organisation) for item in plan.holders
        }
        self.refused: list[Note] = []

    async def serve(self, holder: Holder) -> None:
        """Take the three steps for one holder."""
        records = self._records.get(holder.prefix, [])
        assertions = self._assertions.get(holder.prefix, [])
        # 1
        api_key = await self._api_key(holder)
        self._tell(PREFIXES, 1)
        if api_key is None:
            self._tell(IDENTIFIERS, len(records))
            self._tell(LINKS, len(assertions))
            return
        async with self._delivery.connect(api_key, holder.signer) as client:
            if self._delivery.opened:
                await client.grant(Grant(holder.prefix, OPEN, self._now()))
            # 2
            names = [record.identifier.text for record in records]
            async for result in client.register_many(records):
                self._take(IDENTIFIERS, names[result.line - 1], result)
            # 3
            names = [f"{item.link.upstream} → {item.link.downstream}" for item in assertions]
            async for result in client.link_many(assertions):
                self._take(LINKS, names[result.line - 1], result)

    async def _api_key(self, holder: Holder) -> str | None:
        async with self._delivery.connect(self._delivery.parent_key, None) as parent:
            try:
                await parent.prefix(holder.prefix)
            except PrefixNotFound:
                return await self._allocate(parent, holder)
            known = self._delivery.known.get(holder.prefix)
            if known is not None:
                return known
            return await self._again(parent, holder)

    async def _allocate(self, parent: AsyncClient, holder: Holder) -> str:
        keys = (NewKey(holder.signer),) if holder.signer else ()
        view = await parent.allocate(
            holder.prefix, holder.organisation, keys=keys, idempotency_key=_once(holder)
        )
        assert view.api_key is not None  # the client refuses a reply without one
        return self._kept(holder, view.api_key)

    def _kept(self, holder: Holder, api_key: str) -> str:
        company = Company(str(holder.prefix), holder.organisation, api_key)
        self._delivery.keep(company)
        self.companies[holder.prefix] = company
        return api_key

    async def _again(self, parent: AsyncClient, holder: Holder) -> str | None:
        """Find the API key of a prefix that is allocated, where it got lost on the way to us."""
        if self._delivery.recover is not None:
            recovered = await self._delivery.recover(holder.prefix)
            if recovered is not None:
                return self._kept(holder, recovered)
        if holder.signer is None:
            try:
                return await self._allocate(parent, holder)
            except TierlinkError as err:
                if err.status >= 500:  # noqa: PLR2004  (HTTP: not our fault)
                    raise
        self.refused.append(
            Note(
                "api_key_unknown",
                str(holder.prefix),
                "the prefix is allocated, and no API key of it is kept here",
            )
        )
        return None

    def _take(self, stage: str, name: str, result: Result) -> None:
        if result.error is None:
            self.accepted[stage] += 1
        else:
            reason = result.error.detail
            fix = f"; {result.error.fix}" if result.error.fix else ""
            self.refused.append(Note(result.error.code, name, reason + fix))
        self._tell(stage, 1)

    def _now(self) -> int:
        return int(self._delivery.now())

    def _tell(self, stage: str, count: int) -> None:
        self._done[stage] += count
        self._delivery.progress(stage, self._done[stage], self._totals[stage])


def _once(holder: Holder) -> str | None:
    """Return the Idempotency-Key under which a hosted holder is allocated, always the same.

    A signer's proof is over a new challenge each time, so that request is never the same twice.
    """
    if holder.signer is not None:
        return None
    about = {"prefix": str(holder.prefix), "organisation": holder.organisation}
    return f"allocate-{b64encode(sha256(canonical.encode(about)))}"


def _grouped(pairs: Iterable[tuple[Prefix, _T]]) -> dict[Prefix, list[_T]]:
    groups: dict[Prefix, list[_T]] = {}
    for prefix, item in pairs:
        groups.setdefault(prefix, []).append(item)
    return groups


async def _bounded(at_once: int, work: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Run all, a few at a time; the first failure ends the others and is raised as it is."""
    places = asyncio.Semaphore(at_once)

    async def placed(one: Callable[[], Awaitable[None]]) -> None:
        async with places:
            await one()

    tasks = [asyncio.ensure_future(placed(one)) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
