"""The promise of a number: an answer without a mark is younger than lease + oldest open write.

The real Answers, Freshness, Lookup, Renderer and Native over an authority in memory. Time, the
order of commits, slow and lost polls, slow reads, a source that is away and fail-overs are drawn
by hypothesis; every response is held against the history of what was committed when.
"""

import asyncio
import json
from dataclasses import dataclass

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import floats, sampled_from

from resolver.answers import Answers
from resolver.freshness import Freshness
from resolver.lookup import Lookup
from resolver.metrics import Metrics
from resolver.native import Native
from resolver.page import Pages
from resolver.render import Renderer
from resolver.trust import Verifier
from schemas.errors import TierlinkError
from schemas.identifier import Identifier
from tests.authority import Authority
from tests.clock import Clock

LEASE = 0.6
OLDEST_WRITE = 0.3
IDENTIFIERS = ("88/A", "88/B", "88/A-CHILD")
PAGES = Pages()


@dataclass
class Response:
    identifier: str
    at: float
    status: int
    version: int
    suspended: bool
    marked: bool


class Staleness(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.world = Authority()
        self.world.allocate("88")
        self.world.register("88/A")
        self.world.register("88/A-CHILD", parent="88/A")
        self.history = {text: [] for text in IDENTIFIERS}  # (committed at, version), oldest first
        self.began = {}  # open transactions: position -> (since, identifier, version)
        self.responses = []
        self.served = dict.fromkeys(IDENTIFIERS, 0)
        self.tasks = []
        self.epochs = 1
        self.loop.run_until_complete(self._build())
        for text in ("88/A", "88/A-CHILD"):
            self.history[text].append((self.clock.now, self._stamp(text)))

    async def _build(self) -> None:
        metrics = Metrics()
        self.answers = Answers(1_000_000, self.clock, self.clock)
        self.freshness = Freshness(self.world, self.answers, self.clock, lease=LEASE)
        self.lookup = Lookup(
            self.world, Verifier(self.world.trust), self.answers, lease=LEASE, clock=self.clock
        )
        renderer = Renderer(PAGES, stale_for=86_400, clock=self.clock, wall=self.clock)
        self.native = Native(
            self.lookup, self.answers, renderer, lambda: self.freshness.age, metrics
        )

    def teardown(self) -> None:
        for gate in (self.world.gate, self.world.poll_gate):
            if gate is not None:
                gate.set()
        try:
            self.loop.run_until_complete(self._end())
        finally:
            self.loop.close()
        self.no_answer_is_older_than_it_says()

    async def _end(self) -> None:
        for task in self.tasks:
            await task

    def pump(self) -> None:
        async def turns() -> None:
            for _ in range(12):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    def start(self, coroutine) -> None:
        self.tasks.append(self.loop.create_task(coroutine))
        self.pump()

    # Writing

    def _stamp(self, text: str) -> int:
        """What an answer is known by: of a child its own version and its parent's, as it shows."""
        known = self.world.records.get(Identifier.parse(text))
        return known[0].version if known else 0

    def _put(self, text: str, within, status: str) -> None:
        if Identifier.parse(text) in self.world.records:
            self.world.update(text, within=within, status=status)
        else:
            self.world.register(text, within=within, status=status)

    @rule(text=sampled_from(IDENTIFIERS), status=sampled_from(["active", "suspended"]))
    def write(self, text, status):
        if not any(text == busy for _, busy in self.began.values()):
            self._put(text, None, status)
            self.history[text].append((self.clock.now, self._stamp(text)))

    @rule(text=sampled_from(IDENTIFIERS), status=sampled_from(["active", "suspended"]))
    def begin_write(self, text, status):
        if not any(text == busy for _, busy in self.began.values()):
            transaction = self.world.begin()
            self._put(text, transaction, status)
            self.began[transaction.position] = (self.clock.now, text)

    @precondition(lambda self: self.began)
    @rule(newest=sampled_from([True, False]))
    def commit(self, newest):
        self._commit(max(self.began) if newest else min(self.began))

    def _commit(self, position: int) -> None:
        _, text = self.began.pop(position)
        self.world.commit(self.world.open[position])
        self.history[text].append((self.clock.now, self._stamp(text)))

    @precondition(lambda self: self.began)
    @rule()
    def roll_back(self):
        position = min(self.began)
        del self.began[position]
        self.world.roll_back(self.world.open[position])

    # Time and trouble

    @rule(seconds=floats(0.01, 1.0))
    def wait(self, seconds):
        """Let time pass; writes end before they are older than they may be."""
        until = self.clock.now + seconds
        while self.began:
            oldest = min(self.began, key=lambda position: self.began[position][0])
            due = self.began[oldest][0] + OLDEST_WRITE
            if due > until:
                break
            self.clock.now = max(self.clock.now, due)
            self._commit(oldest)
        self.clock.now = until

    @rule(away=sampled_from([True, False]))
    def reach(self, away):
        self.world.away = away

    @precondition(lambda self: self.world.gate is None)
    @rule()
    def hold_fetches(self):
        self.world.gate = asyncio.Event()

    @precondition(lambda self: self.world.gate is not None)
    @rule()
    def release_fetches(self):
        self.world.gate.set()
        self.world.gate = None
        self.pump()

    @precondition(lambda self: not self.began and self.epochs < 4)
    @rule()
    def fail_over(self):
        """Another history, in which positions of the old one are given out again."""
        self.epochs += 1
        self.world.epoch = f"history {self.epochs}"
        self.world.next_position = max(100, self.world.next_position - 5)
        self.world.log.clear()
        self.served = dict.fromkeys(IDENTIFIERS, 0)

    # Following and asking

    @precondition(lambda self: self.world.poll_gate is None)
    @rule(slow=sampled_from([True, False, False]))
    def poll(self, slow):
        self.world.poll_gate = asyncio.Event() if slow else None
        self.start(self.freshness.poll())

    @precondition(lambda self: self.world.poll_gate is not None)
    @rule()
    def release_poll(self):
        self.world.poll_gate.set()
        self.world.poll_gate = None
        self.pump()

    @rule(text=sampled_from(IDENTIFIERS))
    def ask(self, text):
        self.start(self._ask(text))

    async def _ask(self, text: str) -> None:
        sent = []

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
            await self.native(scope, None, send)
        except TierlinkError as err:
            assert err.status == 503, err  # noqa: PT017  (refusing is one of two right ways)
            return
        (_, start), (at, body) = sent
        document = json.loads(body["body"])
        self.responses.append(
            Response(
                text,
                at,
                start["status"],
                document["version"] if start["status"] == 200 else 0,
                document["status"] == "suspended",
                (b"tierlink-stale", b"1") in start["headers"],
            )
        )

    @invariant()
    def no_answer_is_older_than_it_says(self):
        for response in self.responses:
            assert response.status in {200, 404}
            if response.marked:
                assert response.status == 200, "a negative answer is never stale"
                assert not response.suspended, "a suspended record is never stale"
                continue
            later = [
                at
                for at, version in self.history[response.identifier]
                if version > response.version
            ]
            if later:
                assert response.at - later[0] < LEASE + OLDEST_WRITE, response
            assert response.version >= self.served[response.identifier], "it went back"
            self.served[response.identifier] = response.version
        self.responses.clear()


TestStaleness = Staleness.TestCase
TestStaleness.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
