"""Workers under one poller keep the bound, whatever their channel does to what the parent says.

The real Herald, Following, Freshness and Answers over an authority in memory. What is written,
polled, handed on, lost, repeated, swapped and late, who joins anew, and fail-overs are drawn by
hypothesis. What always holds: a lease is that of a poll which was really sent; who has it serves
nothing that was replaced before that poll and before the oldest write that was open then; so no
answer is older than the lease and the oldest open write.
"""

import asyncio
from math import inf
from unittest.mock import patch

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import floats, sampled_from

from resolver.answers import Answer, Answers, Head
from resolver.freshness import Freshness
from schemas.identifier import Identifier
from tests.authority import Authority
from tests.clock import Clock
from tierlink.workers import herald as heralding
from tierlink.workers.channel import Handed, Reader
from tierlink.workers.following import Following
from tierlink.workers.herald import BEHIND, Herald

LEASE = 0.6
INSTANT = 2.0**-20  # seconds between two events: no two are at the same time
OLDEST_WRITE = 0.3
HEAD = Head(200, [(b"content-type", b"text/plain")])
IDENTIFIERS = ("88/A", "88/B")
WORKERS = (0, 1)

workers = sampled_from(WORKERS)
identifiers = sampled_from(IDENTIFIERS)


class Worker:
    """A worker and its channel, which keeps what was sent until it is delivered."""

    def __init__(self, world: Authority, clock: Clock) -> None:
        self.answers = Answers(1_000_000, clock, clock)
        self.freshness = Freshness(world, self.answers, clock, lease=LEASE)
        self.following = Following(self.freshness, clock)
        self.inbox: list[bytes] = []
        self.clogged = False

    @property
    def pending(self) -> int:
        return BEHIND + 1 if self.clogged else 0

    def send(self, message: bytes) -> None:
        self.inbox.append(message)

    def take(self, message: bytes) -> None:
        for each in Reader().feed(message):
            self.following.take(Handed.read(each.body))


class Lease(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patch = patch.object(heralding, "RECENT", 1)
        self.patch.start()
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.world = Authority()
        self.world.allocate("88")
        self.history = {}  # by identifier, (committed at, version), oldest first
        for text in IDENTIFIERS:
            self.world.register(text)
            self.history[text] = [(self.clock.now, 1)]
        self.began = {}  # open transactions: position -> (since, identifier)
        self.herald = Herald(self.world, self.clock, lease=LEASE)
        self.leases = {-inf: -inf}  # by their ends: before what time nothing may be unknown
        self.asking = None  # (task, sent at) of a poll under way
        self.workers = {number: self.join() for number in WORKERS}
        self.readings = []  # under way: (number, identifier, answer, epoch)
        self.epochs = 1

    def teardown(self) -> None:
        self.release_poll()
        self.loop.close()
        self.patch.stop()

    def join(self) -> Worker:
        worker = Worker(self.world, self.clock)
        self.herald.join(worker)
        return worker

    def pump(self) -> None:
        async def turns() -> None:
            for _ in range(8):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    # Writing, and time

    def committed(self, text: str) -> None:
        self.clock.now += INSTANT
        self.history[text].append((self.clock.now, self.version(text)))

    def version(self, text: str) -> int:
        return self.world.records[Identifier.parse(text)][0].version

    @rule(text=identifiers)
    def write(self, text):
        if text not in {busy for _, busy in self.began.values()}:
            self.world.update(text, attributes={})
            self.committed(text)

    @rule(text=identifiers)
    def begin_write(self, text):
        if text not in {busy for _, busy in self.began.values()}:
            transaction = self.world.begin()
            self.world.update(text, within=transaction, attributes={})
            self.began[transaction.position] = (self.clock.now, text)

    @precondition(lambda self: self.began)
    @rule(newest=sampled_from([True, False]))
    def commit(self, newest):
        self._commit(max(self.began) if newest else min(self.began))

    def _commit(self, position: int) -> None:
        _, text = self.began.pop(position)
        self.world.commit(self.world.open[position])
        self.committed(text)

    @rule(seconds=floats(0.01, 0.8))
    def wait(self, seconds):
        until = self.clock.now + seconds
        while self.began:
            oldest = min(self.began, key=lambda position: self.began[position][0])
            due = self.began[oldest][0] + OLDEST_WRITE
            if due > until:
                break
            self.clock.now = max(self.clock.now, due)
            self._commit(oldest)
        self.clock.now = until

    @precondition(lambda self: not self.began and self.epochs < 4)
    @rule()
    def fail_over(self):
        self.epochs += 1
        self.world.epoch = f"history {self.epochs}"
        self.world.next_position = max(100, self.world.next_position - 5)
        self.world.log.clear()

    # Polling

    @precondition(lambda self: self.asking is None)
    @rule(
        how=sampled_from(["soon", "soon", "soon", "soon", "late", "failing"]),
        losing=sampled_from([(), (), (), (0,), (0, 1)]),
        delivering=sampled_from([(), (0,), (0, 1), (0, 1)]),
    )
    def poll(self, how, losing, delivering):
        self.world.away = how == "failing"
        self.world.poll_gate = asyncio.Event() if how == "late" else None
        self.clock.now += INSTANT
        asked_at = self.clock.now
        known = min([asked_at, *(since for since, _ in self.began.values())])
        self.leases[asked_at + LEASE] = known
        self.asking = self.loop.create_task(self.herald.poll())
        self.pump()
        if how == "late":
            return
        self.release_poll()
        for number in losing:
            del self.workers[number].inbox[-1:]
        for number in delivering:
            self.deliver(number)

    @precondition(lambda self: self.asking is not None)
    @rule()
    def release_poll(self):
        if self.asking is None:
            return
        if self.world.poll_gate is not None:
            self.world.poll_gate.set()
            self.world.poll_gate = None
        self.loop.run_until_complete(self.asking)
        self.asking = None

    # The channels

    @rule(number=workers)
    def deliver(self, number):
        worker = self.workers[number]
        while worker.inbox:
            worker.take(worker.inbox.pop(0))

    @rule(number=workers, how=sampled_from(["one", "lose", "repeat", "reverse", "clog", "unclog"]))
    def disturb(self, number, how):
        worker = self.workers[number]
        inbox = worker.inbox
        if how == "one" and inbox:
            worker.take(inbox.pop(0))
        elif how == "lose":
            del inbox[:1]
        elif how == "repeat":
            inbox[:0] = inbox[:1]
        elif how == "reverse":
            inbox.reverse()
        elif how in {"clog", "unclog"}:
            worker.clogged = how == "clog"

    @rule(number=workers)
    def replace(self, number):
        self.herald.leave(self.workers[number])
        self.workers[number] = self.join()

    # Reading, by each worker for itself

    def _read(self, text):
        filled, body = self.world.watermark, b"%d" % self.version(text)
        for number in WORKERS:
            tags = [b"i" + text.encode()]
            answer = Answer(HEAD, body, tags=tags, filled=filled.position)
            yield number, text, answer, filled.epoch

    @rule(text=identifiers)
    def read(self, text):
        for reading in self._read(text):
            self._keep(*reading)

    @rule(text=identifiers)
    def begin_reading(self, text):
        self.readings.extend(self._read(text))

    @precondition(lambda self: self.readings)
    @rule(newest=sampled_from([True, False]))
    def end_reading(self, newest):
        self._keep(*self.readings.pop(-1 if newest else 0))

    # What is too rare to be met by chance

    @precondition(lambda self: self.asking is None and not self.began)
    @rule(number=workers, text=identifiers)
    def miss_a_batch(self, number, text):
        """W2: what the lost one told of is in no later one."""
        self.poll("soon", (), WORKERS)
        self.read(text)
        self.write(text)
        self.poll("soon", (number,), ())
        self.poll("soon", (), WORKERS)

    @precondition(lambda self: self.asking is None and not self.began)
    @rule(number=workers, text=identifiers)
    def join_late(self, number, text):
        """H3: who joins is told of the last changes; what was read before them is no use."""
        self.begin_reading(text)
        for changed in (text, *IDENTIFIERS, *IDENTIFIERS):
            self.write(changed)
        self.poll("soon", (), WORKERS)
        self.replace(number)
        self.deliver(number)
        for _ in WORKERS:
            self.end_reading(newest=True)

    def _keep(self, number, text, answer, epoch):
        """Whoever is there now keeps it, as he would what another one put into a second cache."""
        self.workers[number].answers.put(b"/" + text.encode(), 1, answer, epoch)

    @invariant()
    def a_lease_is_that_of_a_poll_and_knows_what_was_known(self):
        for worker in self.workers.values():
            known = self.leases[worker.answers.fresh_until]
            for text in IDENTIFIERS:
                answer = worker.answers.get(b"/" + text.encode(), 1)
                if answer is not None:
                    shown = int(answer.body)
                    newer = [at for at, version in self.history[text] if version > shown]
                    assert not newer or newer[0] >= known
                    assert not newer or self.clock.now - newer[0] < LEASE + OLDEST_WRITE


TestLease = Lease.TestCase
TestLease.settings = settings(max_examples=80, stateful_step_count=50, deadline=None)
