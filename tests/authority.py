"""An authority in memory: signed records and links, transactions, changes, snapshots.

It is data behind the three calls of `resolver.sources.Source`, with the visibility rules of the
database: a transaction takes its position when it begins and is seen when it commits; the
watermark of a read is the oldest position still open.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from schemas.chain import Trust, anchor
from schemas.change import Batch, Change, Op, Watermark
from schemas.delegation import DELEGATE_USE, RECORD_USE, ROTATE_USE, DelegatedKey, Delegation
from schemas.envelope import digest
from schemas.errors import NoLog, Unavailable
from schemas.identifier import Identifier, Prefix
from schemas.keys import PrivateKey
from schemas.link import ASSERTED, SIDES, UPSTREAM, Assertion, Link, Quantity
from schemas.record import CLASS, RETIRED, Record
from schemas.rule import Rule, TargetTemplate
from schemas.source import Edge, Edges, Fetched, Found, Proved, State
from schemas.target import Target
from schemas.viewer import ANYBODY, Near
from schemas.when import NOW

ISSUED = 1_760_000_000
ALL_USES = frozenset({RECORD_USE, DELEGATE_USE, ROTATE_USE})


@dataclass
class Transaction:
    """Writes that nobody sees before the commit."""

    position: int
    steps: list = field(default_factory=list)
    changes: list = field(default_factory=list)


class Authority:
    """Holds prefixes, records and links; `fetches` lists what each fetch asked for."""

    def __init__(self, epoch="one") -> None:
        self.epoch = epoch
        self.next_position = 100
        self.open: dict[int, Transaction] = {}
        self.log: list[Change] = []
        self.records: dict[Identifier, tuple[Record, str]] = {}
        self.links: dict[tuple[Link, str], tuple[Assertion, str]] = {}
        self.delegations: dict[Prefix, str] = {}
        self.suspended: set[Prefix] = set()
        self.keys: dict[Prefix, PrivateKey] = {}
        self.fetches: list[list[Identifier]] = []
        self.polls = 0
        self.away = False
        self.gate: asyncio.Event | None = None  # a fetch waits here, after it was read
        self.poll_gate: asyncio.Event | None = None
        root = self.keys[Prefix(())] = PrivateKey.generate()
        keys = (DelegatedKey(root.public, ALL_USES),)
        self.root_token = Delegation(Prefix(()), None, 1, ISSUED, keys).sign(root)
        self.trust = Trust(self._chain())

    def _chain(self):
        from schemas.chain import Chain  # noqa: PLC0415

        return Chain((anchor([self.root_token]),))

    # Writing

    def begin(self) -> Transaction:
        transaction = Transaction(self.next_position)
        self.next_position += 1
        self.open[transaction.position] = transaction
        return transaction

    def commit(self, transaction: Transaction) -> None:
        for step in transaction.steps:
            step()
        self.log += transaction.changes
        del self.open[transaction.position]

    def roll_back(self, transaction: Transaction) -> None:
        del self.open[transaction.position]

    def _write(self, step, change: Change, within: Transaction | None) -> None:
        transaction = within or self.begin()
        transaction.steps.append(step)
        transaction.changes.append(replace(change, position=transaction.position))
        if within is None:
            self.commit(transaction)

    def allocate(self, text: str, *, name="", sequence=1, **more) -> Prefix:
        prefix = Prefix.parse(text)
        key = self.keys.setdefault(prefix, PrivateKey.generate())
        parent = next(above for above in prefix.ancestors() if above in self.keys)
        delegation = Delegation(
            prefix,
            parent,
            sequence,
            ISSUED,
            (DelegatedKey(key.public, ALL_USES),),
            prev=None if sequence == 1 else digest(self.delegations[prefix]),
            organisation={"name": name} if name else {},
            **more,
        )
        token = delegation.sign(self.keys[parent])
        change = Change(0, Op.PREFIX, text, sequence)
        self._write(lambda: self.delegations.update({prefix: token}), change, None)
        return prefix

    def suspend(self, text: str, *, resume=False) -> None:
        prefix = Prefix.parse(text)
        act = self.suspended.discard if resume else self.suspended.add
        self._write(lambda: act(prefix), Change(0, Op.PREFIX, text, 1), None)

    def register(self, text: str, kind="item", *, within=None, **content) -> Record:
        record = Record(Identifier.parse(text), kind, ISSUED, **content)
        if record.parent is not None and isinstance(record.parent, str):
            record = replace(record, parent=Identifier.parse(record.parent))
        return self._put(record, within)

    def update(self, text: str, *, within=None, **content) -> Record:
        old, token = self.records[Identifier.parse(text)]
        new = replace(old, **content).next(digest(token), ISSUED)
        return self._put(replace(new, version=old.version + 1), within)

    def retire(self, text: str) -> Record:
        old, token = self.records[Identifier.parse(text)]
        return self._put(old.tombstone(digest(token), ISSUED), None)

    def _put(self, record: Record, within: Transaction | None) -> Record:
        token = record.sign(self.keys[record.identifier.prefix])
        op = Op.RULE if record.kind == CLASS else Op.RECORD
        change = Change(0, op, record.identifier.text, record.version)
        self._write(
            lambda: self.records.update({record.identifier: (record, token)}), change, within
        )
        return record

    def link(self, upstream: str, downstream: str, side: str, **content) -> Assertion:
        kind = content.pop("type", "CONTAINED_IN")
        quantity = content.pop("quantity", None)
        link = Link(kind, Identifier.parse(upstream), Identifier.parse(downstream))
        amount = Quantity(*quantity) if quantity else None
        assertion = Assertion(link, side, ISSUED, quantity=amount, **content)
        token = assertion.sign(self.keys[assertion.asserter.prefix])
        self._write(
            lambda: self.links.update({(link, side): (assertion, token)}),
            Change(0, Op.LINK, upstream, 1, also=downstream),
            None,
        )
        return assertion

    # What a resolver reads

    @property
    def watermark(self) -> Watermark:
        return Watermark(self.epoch, min(self.open, default=self.next_position))

    async def changes(self, after: Watermark | None) -> Batch:
        self.polls += 1
        self._check()
        if after is None or after.epoch != self.epoch:
            batch = Batch((), self.watermark)
        else:
            until = self.watermark.position
            found = tuple(c for c in self.log if after.position <= c.position < until)
            batch = Batch(found, self.watermark)
        if self.poll_gate is not None:
            await self.poll_gate.wait()
        return batch

    async def fetch(
        self, identifiers: Sequence[Identifier], *, whole=True, viewer=ANYBODY
    ) -> Fetched:
        self.fetches.append(list(identifiers))
        self._check()
        found = {identifier: self._find(identifier, whole) for identifier in identifiers}
        reply = Fetched(found, tuple(self.delegations.values()), self.watermark)
        if self.gate is not None:
            await self.gate.wait()
        return reply

    async def edges(
        self, level: Sequence[Near], direction: str, limit: int, viewer=ANYBODY, when=NOW
    ) -> Edges:
        self._check()
        identifiers = {item.identifier for item in level}
        near = "downstream" if direction == UPSTREAM else "upstream"
        tokens: dict[Link, list[str]] = {}
        for (link, _), (_, token) in self.links.items():
            if link.end(near) in identifiers and self._stands(link):
                tokens.setdefault(link, []).append(token)
        edges = tuple(Edge(link, tuple(each)) for link, each in tokens.items())
        return Edges(
            edges[:limit],
            tuple(self.delegations.values()),
            self.watermark,
            truncated=len(edges) > limit,
        )

    async def prove(self, identifier: Identifier, at: int | None = None) -> Proved:
        """It keeps no log; for one that does, see tests/unit/resolver/test_proof_full.py."""
        self._check()
        raise NoLog("no log is kept here", value=identifier.text)

    def withdraw(self, upstream: str, downstream: str, side: str) -> Assertion:
        """One side takes back what it says of the first link between two identifiers."""
        ends = (Identifier.parse(upstream), Identifier.parse(downstream))
        link = next(link for link, _ in self.links if (link.upstream, link.downstream) == ends)
        said, token = self.links[link, side]
        gone = said.withdrawal(digest(token), ISSUED)
        signed = gone.sign(self.keys[gone.asserter.prefix])
        self._write(
            lambda: self.links.update({(link, side): (gone, signed)}),
            Change(0, Op.LINK, upstream, gone.version, also=downstream),
            None,
        )
        return gone

    def _stands(self, link: Link) -> bool:
        said = (self.links[link, side][0] for side in SIDES if (link, side) in self.links)
        return any(assertion.state == ASSERTED for assertion in said)

    def _check(self) -> None:
        if self.away:
            raise Unavailable("the authority is away")

    def _find(self, identifier: Identifier, whole: bool) -> Found:
        if not any(above in self.delegations for above in self._lineage(identifier.prefix)):
            return Found(identifier, State.FOREIGN)
        if any(above in self.suspended for above in self._lineage(identifier.prefix)):
            return Found(identifier, State.PREFIX_SUSPENDED)
        own = self.records.get(identifier)
        state = State.FOUND
        if own is None:
            own, state = self._cover(identifier), State.COVERED
        if own is None:
            return Found(identifier, State.MISSING)
        record, token = own
        if record.status == RETIRED:
            return Found(identifier, State.RETIRED, (token,))
        return Found(
            identifier,
            state,
            (token, *self._ancestors(record)) if whole else (token,),
            self._assertions(identifier) if whole else (),
        )

    @staticmethod
    def _lineage(prefix: Prefix):
        return (prefix, *prefix.ancestors())

    def _cover(self, identifier: Identifier):
        fitting = [
            (-len(record.rule.head), record.identifier.text, (record, token))
            for record, token in self.records.values()
            if record.identifier.prefix == identifier.prefix
            and record.rule is not None
            and record.rule.match(identifier.suffix) is not None
        ]
        return min(fitting)[2] if fitting else None

    def _ancestors(self, record: Record) -> tuple[str, ...]:
        found: list[str] = []
        while record.parent is not None:
            record, token = self.records[record.parent]
            found.append(token)
        return tuple(found)

    def _assertions(self, identifier: Identifier) -> tuple[str, ...]:
        return tuple(
            token
            for (link, _), (_, token) in self.links.items()
            if identifier in (link.upstream, link.downstream) and self._stands(link)
        )


def target(rel: str, href: str, **more) -> Target:
    return Target(rel, href, **more)


def rule(pattern: str, *targets: tuple[str, str]) -> Rule:
    return Rule(pattern, tuple(TargetTemplate(rel, template) for rel, template in targets))
