"""The promise of a number: an answer without a mark is younger than lease + oldest open write.

The real Answers, Freshness, Lookup, Shared, Renderer and Native of two processes over an authority
in memory, its replicas, and a second cache that they share. Time, the order of commits, slow and
lost polls, slow reads, replicas that lag, changes of node, a source or a cache that is away, a
cache that is rolled back to an old dump, fail-overs that lose what was not replicated, restores,
and processes that begin anew are drawn by hypothesis; every response is held against the history
of what was committed when:

    I2  what a process answers of an identifier never goes back
    I3  what is not marked as stale is not older than the bound, nor lost for longer; what is
        marked is no older than its Age and the bound together
"""

import asyncio
import json
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import integers, sampled_from

from resolver import polling
from resolver.answers import Answers
from resolver.freshness import Freshness
from resolver.lookup import Lookup
from resolver.metrics import Metrics
from resolver.native import Native
from resolver.page import Pages
from resolver.render import Renderer
from resolver.shared import Shared
from resolver.trust import Verifier
from schemas.change import Batch, Watermark
from schemas.errors import TierlinkError, Unavailable
from schemas.identifier import Identifier
from schemas.source import Fetched
from schemas.viewer import ANYBODY
from tests.authority import Authority
from tests.clock import Clock

LEASE = 0.6
OLDEST_WRITE = 0.3
BOUND = LEASE + OLDEST_WRITE
IDENTIFIERS = ("88/A", "88/B", "88/A-CHILD")
PROCESSES = (0, 1)
REPLICAS = (0, 1)
MOST_HISTORIES = 4
TROUBLES = (
    "lose_the_source", "hold_fetches", "release_fetches", "replay", "change_node", "fail_over",
    "restore", "dump_the_cache", "roll_the_cache_back", "lose_the_cache", "forget",
)  # fmt: skip
SECRET = b"a secret of these resolvers, thirty-two bytes"
PAGES = Pages()


@dataclass
class Response:
    process: int
    identifier: str
    at: float
    status: int
    stamp: int
    suspended: bool
    marked: bool
    age: int  # of a marked one, whole seconds


class Primary(Authority):
    """An authority whose every step is logged, so that replicas can be where it was."""

    def __init__(self):
        super().__init__()
        self.wal = [self.state()]

    def state(self):
        return {
            "records": dict(self.records),
            "log": list(self.log),
            "open": dict(self.open),
            "next_position": self.next_position,
        }

    def begin(self):
        transaction = super().begin()
        self.wal.append(self.state())
        return transaction

    def commit(self, transaction):
        super().commit(transaction)
        self.wal.append(self.state())

    def roll_back(self, transaction):
        super().roll_back(transaction)
        self.wal.append(self.state())

    @contextmanager
    def as_of(self, state):
        now = {name: getattr(self, name) for name in state}
        try:
            vars(self).update(state)
            yield
        finally:
            vars(self).update(now)


class Node:
    """What one process reads from: the primary, or a replica by way of it (registry.primary)."""

    def __init__(self, world, replicas):
        self.world = world
        self.replicas = replicas
        self.replica = None

    @contextmanager
    def _reading(self):
        self.world._check()
        if self.replica is None:
            yield
            return
        reached = self.replicas[self.replica]
        if self.behind(reached):
            raise Unavailable("this standby is behind its primary")
        with self.world.as_of(self.world.wal[reached]):
            yield

    def behind(self, reached):
        return reached < len(self.world.wal) - 1

    async def changes(self, after):
        with self._reading():
            now = self.world.watermark
            found = ()
            if after is not None and after.epoch == now.epoch:
                log = self.world.log
                found = tuple(c for c in log if after.position <= c.position < now.position)
                now = Watermark(now.epoch, max(now.position, after.position))
        if self.world.poll_gate is not None:
            await self.world.poll_gate.wait()
        return Batch(found, now)

    async def fetch(self, identifiers, *, whole=True, viewer=ANYBODY):
        with self._reading():
            found = {item: self.world._find(item, whole) for item in identifiers}
            reply = Fetched(found, tuple(self.world.delegations.values()), self.world.watermark)
        if self.world.gate is not None:
            await self.world.gate.wait()
        return reply


class Cache:
    """The second cache, with the moods of a Redis."""

    def __init__(self):
        self.kept = {}
        self.dump = {}
        self.away = False
        self.gate = None  # what was read waits here

    async def get_many(self, names):
        if self.away:
            raise OSError("away")
        found = [self.kept.get(name) for name in names]
        if self.gate is not None:
            await self.gate.wait()
        return found

    async def set_many(self, entries, seconds):
        del seconds
        if self.away:
            raise OSError("away")
        self.kept.update(entries)

    async def close(self):
        pass


class Process:
    """One resolver."""

    def __init__(self, world, replicas, cache, clock):
        metrics = Metrics()
        self.node = Node(world, replicas)
        self.answers = Answers(1_000_000, clock, clock)
        self.freshness = Freshness(self.node, self.answers, clock, lease=LEASE)
        self.lookup = Lookup(
            self.node, Verifier(world.trust), self.answers, lease=LEASE, clock=clock
        )
        self.shared = Shared(cache, SECRET, self.answers, clock=clock, wall=clock, timeout=5)
        renderer = Renderer(PAGES, stale_for=86_400, clock=clock, wall=clock)
        self.native = Native(
            self.lookup,
            self.answers,
            renderer,
            lambda: self.freshness.age,
            metrics,
            shared=self.shared,
        )
        self.freshness.heard = self.native.prefetch.heard


class Staleness(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patch = patch.object(polling, "REPLAYED", 3)
        self.patch.start()
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.world = Primary()
        self.world.allocate("88")
        self.replicas = [0, 0]
        self.cache = Cache()
        self.stamp = 0
        self.history = {text: [] for text in IDENTIFIERS}  # (committed at, stamp, place), in order
        self.lost = {}  # stamps, and when they were lost
        self.settled_at = 0.0  # what was read before the last loss is no longer served from then
        self.began = {}  # open transactions: position -> (since, identifier, stamp)
        self.responses = []
        self.served = {}
        self.tasks = []
        self.epochs = 1
        self.processes = []
        self.loop.run_until_complete(self._build())
        for text in ("88/A", "88/A-CHILD"):
            self.write(text, "active")

    async def _build(self) -> None:
        self.processes = [self._process() for _ in PROCESSES]

    def _process(self):
        return Process(self.world, self.replicas, self.cache, self.clock)

    def teardown(self) -> None:
        for gate in (self.world.gate, self.world.poll_gate):
            if gate is not None:
                gate.set()
        try:
            self.loop.run_until_complete(self._end())
        finally:
            self.loop.close()
            self.patch.stop()
        self.no_answer_is_older_than_it_says()

    async def _end(self) -> None:
        for task in self.tasks:
            await task
        for process in self.processes:
            await process.shared.close()

    def pump(self) -> None:
        async def turns() -> None:
            for _ in range(25):
                await asyncio.sleep(0)
            if any(process.shared._writing for process in self.processes):
                await asyncio.sleep(0.004)

        self.loop.run_until_complete(turns())

    def start(self, coroutine) -> None:
        self.tasks.append(self.loop.create_task(coroutine))
        self.pump()

    # Writing

    def _put(self, text: str, within, status: str) -> int:
        self.stamp += 1
        content = {"status": status, "attributes": {"n": str(self.stamp)}}
        if Identifier.parse(text) in self.world.records:
            self.world.update(text, within=within, **content)
        else:
            parent = {"parent": "88/A"} if text == "88/A-CHILD" else {}
            self.world.register(text, within=within, **content, **parent)
        return self.stamp

    def _committed(self, text: str, stamp: int) -> None:
        self.history[text].append((self.clock.now, stamp, len(self.world.wal) - 1))

    def _is_free(self, text: str) -> bool:
        return not any(text == busy for _, busy, _ in self.began.values())

    @rule(text=sampled_from(IDENTIFIERS), status=sampled_from(["active", "suspended"]))
    def write(self, text, status):
        if self._is_free(text):
            self._committed(text, self._put(text, None, status))

    @rule(text=sampled_from(IDENTIFIERS), status=sampled_from(["active", "suspended"]))
    def begin_write(self, text, status):
        if self._is_free(text):
            transaction = self.world.begin()
            stamp = self._put(text, transaction, status)
            self.began[transaction.position] = (self.clock.now, text, stamp)

    @precondition(lambda self: self.began)
    @rule(newest=sampled_from([True, False]))
    def commit(self, newest):
        self._commit(max(self.began) if newest else min(self.began))

    def _commit(self, position: int) -> None:
        _, text, stamp = self.began.pop(position)
        self.world.commit(self.world.open[position])
        self._committed(text, stamp)

    @precondition(lambda self: self.began)
    @rule()
    def roll_back(self):
        position = min(self.began)
        del self.began[position]
        self.world.roll_back(self.world.open[position])

    # Time and trouble

    @rule(seconds=sampled_from([0.05, 0.2, 0.3, 0.45, 0.7, 1.0]))
    def wait(self, seconds):
        """Let time pass, for everybody; writes end before they are older than they may be."""
        until = self.clock.now + seconds
        while self.began:
            oldest = min(self.began, key=lambda position: self.began[position][0])
            due = self.began[oldest][0] + OLDEST_WRITE
            if due > until:
                break
            self.clock.now = max(self.clock.now, due)
            self._commit(oldest)
        self.clock.now = until

    @rule(kind=sampled_from(TROUBLES), process=sampled_from(PROCESSES), much=integers(0, 12))
    def trouble(self, kind, process, much):
        """One rule of many, so that they do not drown what they are to disturb."""
        getattr(self, f"_{kind}")(process, much)

    def _lose_the_source(self, _process, _much):
        self.world.away = True

    def _hold_fetches(self, _process, _much):
        if self.world.gate is None:
            self.world.gate = asyncio.Event()

    def _release_fetches(self, _process=0, _much=0):
        if self.world.gate is not None:
            self.world.gate.set()
            self.world.gate = None
            self.pump()

    def _replay(self, replica, much):
        self.replicas[replica] = min(self.replicas[replica] + much, len(self.world.wal) - 1)

    def _change_node(self, process, much):
        self.processes[process].node.replica = (None, *REPLICAS)[much % 3]

    def _fail_over(self, replica, _much):
        """The replica goes on from where it is, in another history that gives out ids again."""
        if self.epochs < MOST_HISTORIES:
            reached = self.replicas[replica]
            self._go_on_from(reached)
            self.replicas[:] = [min(at, reached) for at in self.replicas]

    def _restore(self, _process, much):
        """The database is restored from what it was: another incarnation."""
        if self.epochs < MOST_HISTORIES:
            reached = max(0, len(self.world.wal) - 1 - much)
            self._go_on_from(reached)
            self.replicas[:] = [reached, reached]

    def _dump_the_cache(self, _process, _much):
        self.cache.dump = dict(self.cache.kept)

    def _roll_the_cache_back(self, _process, much):
        self.cache.kept = dict(self.cache.dump) if much else {}

    def _lose_the_cache(self, _process, _much):
        self.cache.away = True

    def _forget(self, process, _much):
        """A process ends, and another takes its place with an empty memory."""

        async def build():
            await self.processes[process].shared.close()
            self.processes[process] = self._process()

        self.loop.run_until_complete(build())
        for text in IDENTIFIERS:
            self.served.pop((process, text), None)

    @rule()
    def calm(self):
        """All is well again: everybody follows, is answered, and keeps what there is."""
        self.world.away = self.cache.away = False
        self.replicas[:] = [len(self.world.wal) - 1] * 2
        self._release_fetches()
        self.release_poll()
        for process in PROCESSES:
            self.start(self.processes[process].freshness.poll())
            answered = len(self.responses)
            for text in IDENTIFIERS:
                self.start(self._ask(process, text))
            assert len(self.responses) == answered + len(IDENTIFIERS), "somebody was refused"

    def _go_on_from(self, reached):
        self.epochs += 1
        self.began.clear()
        vars(self.world).update(self.world.wal[reached])
        for position in list(self.world.open):
            del self.world.open[position]
        del self.world.wal[reached + 1 :]
        self.world.epoch = f"history {self.epochs}"
        self.world.wal[reached] = self.world.state()
        for text, entries in self.history.items():
            gone = [stamp for _, stamp, place in entries if place > reached]
            self.lost |= dict.fromkeys(gone, self.clock.now)
            self.history[text] = [entry for entry in entries if entry[2] <= reached]
            if gone:
                self.served.clear()
                self.settled_at = self.clock.now + BOUND

    # Following and asking

    @rule(process=sampled_from(PROCESSES), slow=sampled_from([True, False, False]))
    def poll(self, process, slow):
        if slow and self.world.poll_gate is None:
            self.world.poll_gate = asyncio.Event()
        self.start(self.processes[process].freshness.poll())

    @precondition(lambda self: self.world.poll_gate is None)
    @rule(
        process=sampled_from(PROCESSES),
        text=sampled_from(IDENTIFIERS),
        seconds=sampled_from([0.4, 1.0]),
    )
    def poll_slowly(self, process, text, seconds):
        """What is written while a poll is on its way is not in what it returns."""
        self.poll(process, slow=True)
        self.write(text, "active")
        self.wait(seconds)
        self.release_poll()
        self.ask(process)

    @precondition(lambda self: self.world.poll_gate is None and not self.began)
    @rule(process=sampled_from(PROCESSES), text=sampled_from(IDENTIFIERS))
    def begin_anew(self, process, text):
        """A process that answers before it follows finds older answers of others afterwards."""
        self.calm()
        self._forget(process, 0)
        self.poll(process, slow=True)
        first, self.world.poll_gate = self.world.poll_gate, asyncio.Event()
        first.set()  # the last changes are asked for, and told late
        self.pump()
        self.write(text, "active")
        self.ask(process)
        self.release_poll()
        self.ask(process)

    @precondition(lambda self: self.world.poll_gate is None and not self.began)
    @rule(process=sampled_from(PROCESSES), text=sampled_from(IDENTIFIERS))
    def overtake_the_cache(self, process, text):
        """What others read comes late, when something newer was read and served here."""
        self._overtake(process, text, source_first=True)

    @precondition(lambda self: self.world.poll_gate is None and not self.began)
    @rule(process=sampled_from(PROCESSES), text=sampled_from(IDENTIFIERS))
    def be_overtaken_by_the_cache(self, process, text):
        """What was read here comes late, when others had read something newer."""
        self._overtake(process, text, source_first=False)

    def _overtake(self, process, text, *, source_first):
        other = 1 - process
        self.calm()
        self.ask(process)  # it is hot
        self.ask(process)
        self.write(text, "active")
        if source_first:
            self._keep_by(other)
        self.poll(process, slow=True)
        if source_first:
            self.write(text, "active")
        self._hold_fetches(process, 0)
        self.release_poll()  # a change is told of, and read at once: what stands now
        if source_first:
            self.cache.gate = asyncio.Event()
            self.ask(process)
            self._release_fetches()
            self.ask(process)
            self.cache.gate.set()
            self.cache.gate = None
        else:
            gate, self.world.gate = self.world.gate, None
            self.write(text, "active")
            self._keep_by(other)
            self.ask(process)
            gate.set()
        self.pump()
        self.ask(process)

    def _keep_by(self, process):
        self.poll(process, slow=False)
        self.ask(process)

    @precondition(lambda self: not self.began)
    @rule(process=sampled_from(PROCESSES), text=sampled_from(IDENTIFIERS))
    def begin_late(self, process, text):
        """A process is told of the last changes alone: what others read before is no use."""
        self.calm()
        self.write(text, "active")
        for other in IDENTIFIERS * 2:
            if other != text:
                self.write(other, "active")
        self.wait(1.0)
        self._forget(process, 0)
        self.poll(process, slow=False)
        self.ask(process)

    @precondition(lambda self: not self.began)
    @rule(process=sampled_from(PROCESSES), text=sampled_from(IDENTIFIERS))
    def lose_the_source_after_a_change(self, process, text):
        """What is known to have changed is not served as what was fresh when the source went."""
        self.calm()
        self.write(text, "active")
        for _ in range(3):
            self.wait(1.0)
            self.poll(process, slow=False)
        self.world.away = True
        self.ask(process)

    @rule(process=sampled_from(PROCESSES), text=sampled_from(IDENTIFIERS))
    def follow_a_replica(self, process, text):
        """One that does not replay meanwhile."""
        self.processes[process].node.replica = process
        self.ask(process)
        self.write(text, "active")
        self.wait(1.0)
        self.poll(process, slow=False)
        self.ask(process)

    @precondition(lambda self: self.world.poll_gate is not None)
    @rule()
    def let_polls_return(self):
        self.release_poll()

    def release_poll(self):
        if self.world.poll_gate is not None:
            self.world.poll_gate.set()
            self.world.poll_gate = None
            self.pump()

    @rule(process=sampled_from(PROCESSES))
    def ask(self, process):
        for text in IDENTIFIERS:
            self.start(self._ask(process, text))

    async def _ask(self, process: int, text: str) -> None:
        sent = []
        asked = self.processes[process]

        async def send(message) -> None:
            sent.append((self.clock.now, message))

        scope = {
            "type": "http",
            "method": "GET",
            "path": f"/{text}",
            "raw_path": f"/{text}".encode(),
            "query_string": b"",
            "headers": [],
        }
        try:
            await asked.native(scope, None, send)
        except TierlinkError as err:
            assert err.status == 503, err  # noqa: PT017  (refusing is one of two right ways)
            return
        (_, start), (at, body) = sent
        document = json.loads(body["body"])
        self.responses.append(
            Response(
                process if asked is self.processes[process] else -1,
                text,
                at,
                start["status"],
                int(document["attributes"]["n"]) if start["status"] == 200 else 0,
                document["status"] == "suspended",
                (b"tierlink-stale", b"1") in start["headers"],
                int(dict(start["headers"]).get(b"age", b"0")),
            )
        )

    @invariant()
    def no_answer_is_older_than_it_says(self):
        for response in self.responses:
            assert response.status in {200, 404}
            entries = self.history[response.identifier]
            later = [at for at, stamp, _ in entries if stamp > response.stamp]
            if response.marked:
                if later:
                    assert response.at - later[0] < response.age + 1 + BOUND, response
                assert response.status == 200, "a negative answer is never stale"
                assert not response.suspended, "a suspended record is never stale"
                continue
            if later:
                assert response.at - later[0] < BOUND, response
            if response.stamp in self.lost:
                assert response.at - self.lost[response.stamp] < BOUND, response
            key = (response.process, response.identifier)
            if response.process >= 0 and response.at >= self.settled_at:
                assert response.stamp >= self.served.get(key, 0), "it went back"
                self.served[key] = response.stamp
        self.responses.clear()


@pytest.mark.parametrize(
    "schedule",
    [
        # A worker answers, by reading, before its parent has told it where the changes stand.
        pytest.param(Staleness.begin_anew, id="told-before-it-follows"),
        pytest.param(Staleness.overtake_the_cache, id="the-cache-is-late"),
        pytest.param(Staleness.be_overtaken_by_the_cache, id="the-source-is-late"),
    ],
)
def test_what_was_told_is_not_taken_back(schedule):
    """Schedules that went wrong once."""
    state = Staleness()
    schedule(state, 0, "88/A")
    state.no_answer_is_older_than_it_says()
    state.teardown()


TestStaleness = Staleness.TestCase
TestStaleness.settings = settings(max_examples=40, stateful_step_count=70, deadline=None)
