"""One poller for several workers: the rules of `herald` and `following`, with no process."""

import asyncio
from dataclasses import replace

import pytest

from resolver.answers import Answer, Answers, Head
from resolver.freshness import Freshness
from resolver.metrics import Metrics
from schemas.change import Batch, Watermark
from tests.authority import Authority
from tests.clock import Clock
from tierlink.workers import herald as heralding
from tierlink.workers.channel import Handed, Reader
from tierlink.workers.following import Following
from tierlink.workers.herald import BEHIND, Herald

HEAD = Head(200, [(b"content-type", b"text/plain")])
LEASE = 0.6


class Worker:
    """A worker's end without a process: what it was sent waits until `read`."""

    def __init__(self, world, clock):
        self.answers = Answers(1_000_000, clock)
        self.freshness = Freshness(world, self.answers, clock, lease=LEASE)
        self.following = Following(self.freshness, clock)
        self.world = world
        self.inbox = []
        self.pending = 0
        self._reader = Reader()

    def send(self, message):
        self.inbox.append(message)

    def read(self):
        inbox, self.inbox = self.inbox, []
        for message in self._reader.feed(b"".join(inbox)):
            self.following.take(Handed.read(message.body))

    def keep(self, name="88/A"):
        tags = [f"i{name}".encode()]
        answer = Answer(HEAD, b"body", tags=tags, filled=self.world.watermark.position)
        return self.answers.put(f"/{name}".encode(), 1, answer, self.world.epoch)

    def serves(self, name="88/A"):
        return self.answers.get(f"/{name}".encode(), 1) is not None


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def world():
    world = Authority()
    world.allocate("88")
    world.register("88/A")
    return world


@pytest.fixture
def herald(world, clock):
    return Herald(world, clock, lease=LEASE, metrics=Metrics())


@pytest.fixture
def worker(world, clock):
    return Worker(world, clock)


async def test_one_poll_serves_all_and_the_lease_begins_when_it_was_sent(herald, world, clock):
    workers = [Worker(world, clock) for _ in range(3)]
    for each in workers:
        herald.join(each)
    world.poll_gate = asyncio.Event()
    poll = asyncio.create_task(herald.poll())
    await asyncio.sleep(0)
    asked_at = clock.now
    clock.move(0.1)
    world.poll_gate.set()
    assert await poll
    world.poll_gate = None
    clock.move(0.2)
    for each in workers:
        each.read()
        assert each.answers.fresh_until == asked_at + LEASE
    await herald.poll()
    assert world.polls == 3  # the first one asks for the last changes, too


async def test_a_change_reaches_every_worker(herald, world, worker):
    herald.join(worker)
    await herald.poll()
    worker.read()
    assert worker.keep()
    assert worker.serves()
    world.update("88/A", attributes={"a": "b"})
    await herald.poll()
    worker.read()
    assert not worker.serves()


async def test_who_joins_has_no_lease_before_he_knows_the_watermark(herald, world, worker):
    await herald.poll()
    assert worker.answers.fresh_until == -float("inf")
    assert not worker.freshness.ready
    herald.join(worker)
    worker.read()
    assert worker.freshness.watermark == herald.watermark
    assert worker.freshness.current


async def test_who_joins_trusts_nothing_read_below_what_he_is_told(herald, world, worker):
    await herald.poll()
    herald._recent.clear()
    herald._floor = herald.watermark.position
    filled = world.watermark.position
    world.register("88/B")
    await herald.poll()
    herald._recent.clear()
    herald._floor = herald.watermark.position
    herald.join(worker)
    worker.read()
    old = Answer(HEAD, b"body", tags=[b"i88/A"], filled=filled)
    assert not worker.answers.put(b"/88/A", 1, old, world.epoch)
    assert worker.keep()


async def test_who_joins_is_told_of_the_last_changes(herald, world, worker):
    """What another worker filled stays of use to him, unless it changed."""
    await herald.poll()
    filled = world.watermark.position
    world.register("88/B")
    world.update("88/A", attributes={"a": "b"})
    await herald.poll()
    herald.join(worker)
    worker.read()
    for name, kept in ((b"88/A", False), (b"88/OTHER", True)):
        answer = Answer(HEAD, b"body", tags=[b"i" + name], filled=filled)
        assert worker.answers.put(b"/" + name, 1, answer, world.epoch) is kept


async def test_the_last_changes_are_bounded(herald, world, worker, monkeypatch):
    monkeypatch.setattr(heralding, "RECENT", 3)
    await herald.poll()
    filled = world.watermark.position
    for number in range(5):
        world.register(f"88/B-{number}")
        await herald.poll()
    assert len(herald._recent) == 3
    herald.join(worker)
    worker.read()
    old = Answer(HEAD, b"body", tags=[b"i88/OTHER"], filled=filled)
    assert not worker.answers.put(b"/88/OTHER", 1, old, world.epoch)
    young = replace_filled(herald._recent[0].position)
    assert worker.answers.put(b"/88/OTHER", 1, young, world.epoch)


def replace_filled(filled):
    return Answer(HEAD, b"body", tags=[b"i88/OTHER"], filled=filled)


async def test_a_transaction_of_many_changes_goes_as_a_whole(herald, world, monkeypatch):
    monkeypatch.setattr(heralding, "RECENT", 3)
    await herald.poll()
    many = world.begin()
    for number in range(5):
        world.register(f"88/B-{number}", within=many)
    world.commit(many)
    await herald.poll()
    assert not herald._recent
    assert herald._floor == many.position + 1


async def test_who_missed_a_batch_begins_anew(herald, world, worker):
    herald.join(worker)
    await herald.poll()
    worker.read()
    assert worker.keep()
    world.update("88/A", attributes={"a": "b"})
    await herald.poll()
    worker.inbox.clear()  # lost
    world.register("88/B")
    await herald.poll()
    worker.read()
    assert not worker.serves()
    assert len(worker.answers) == 0
    assert worker.freshness.watermark == herald.watermark
    assert worker.answers.floor == herald.watermark.position


async def test_a_silent_parent_ends_the_lease(herald, worker, clock):
    herald.join(worker)
    await herald.poll()
    worker.read()
    worker.keep()
    clock.move(LEASE)
    worker.following.watch()
    worker.following.watch()
    assert not worker.serves()
    assert not worker.freshness.current


async def test_what_arrives_late_is_as_old_as_it_is(herald, worker, clock):
    """Stopped, with all that the parent said in the meantime waiting in the channel."""
    herald.join(worker)
    for _ in range(8):
        await herald.poll()
        clock.move(0.15)
    clock.move(5)
    worker.read()
    assert worker.freshness.ready
    assert not worker.freshness.current


async def test_a_time_to_come_is_taken_for_now(herald, world, worker, clock):
    herald.join(worker)
    await herald.poll()
    worker.read()
    batch = Batch((), herald.watermark)
    worker.following.take(Handed(herald.watermark, batch, clock.now + 1_000))
    assert worker.answers.fresh_until == clock.now + LEASE


async def test_a_batch_cut_short_renews_no_lease(herald, world, worker, clock):
    herald.join(worker)
    await herald.poll()
    worker.read()
    lease = worker.answers.fresh_until
    clock.move(0.1)
    world.update("88/A", attributes={"a": "b"})
    cut = replace(await world.changes(herald.watermark), more=True)
    herald.apply(cut, clock.now)
    worker.read()
    assert worker.answers.fresh_until == lease
    late = Worker(world, clock)
    herald.join(late)
    late.read()
    assert not late.freshness.current
    await herald.poll()
    late.read()
    assert late.freshness.current


async def test_a_slow_worker_is_passed_over_and_holds_nobody_up(herald, world, clock):
    slow, other = Worker(world, clock), Worker(world, clock)
    herald.join(slow)
    herald.join(other)
    await herald.poll()
    slow.read()
    slow.keep()
    slow.pending = BEHIND + 1
    world.update("88/A", attributes={"a": "b"})
    await herald.poll()
    other.read()
    assert (len(slow.inbox), other.freshness.watermark) == (0, herald.watermark)
    slow.pending = 0
    world.register("88/B")
    await herald.poll()
    slow.read()
    assert not slow.serves()
    assert slow.freshness.watermark == herald.watermark


async def test_another_history_reaches_the_workers(herald, world, worker):
    herald.join(worker)
    await herald.poll()
    worker.read()
    worker.keep()
    world.epoch = "two"
    world.next_position -= 1
    await herald.poll()
    worker.read()
    assert worker.answers.epoch == "two"
    assert not worker.serves()
    assert worker.freshness.watermark == herald.watermark


async def test_a_node_that_is_behind_takes_nothing_back(herald, world, worker):
    herald.join(worker)
    await herald.poll()
    before = herald.watermark
    world.next_position -= 2
    await herald.poll()
    assert herald.watermark == before
    await herald.poll()
    worker.read()
    assert worker.freshness.watermark == before
    assert worker.freshness.current


async def test_a_poll_that_fails_says_nothing(herald, world, worker, clock):
    herald.join(worker)
    await herald.poll()
    worker.read()
    lease = worker.answers.fresh_until
    world.away = True
    clock.move(0.3)
    assert not await herald.poll()
    assert worker.inbox == []
    assert worker.answers.fresh_until == lease


async def test_who_left_is_told_nothing(herald, worker):
    herald.join(worker)
    herald.leave(worker)
    await herald.poll()
    assert worker.inbox == []


async def test_a_hint_of_a_worker_is_one_for_the_parent(world):
    herald = Herald(world, lease=60, period=10)
    task = asyncio.create_task(herald.run())
    async with asyncio.timeout(2):
        while world.polls < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        herald.hint()
        while world.polls < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_worker_hands_its_hint_on(worker):
    waiting = asyncio.create_task(worker.freshness.hinted())
    await asyncio.sleep(0)
    assert not waiting.done()
    worker.freshness.hint()
    async with asyncio.timeout(1):
        await waiting


def test_a_message_for_all_is_packed_once(world, clock, monkeypatch):
    packed = []
    monkeypatch.setattr(Handed, "pack", lambda self: packed.append(self) or b"")
    herald = Herald(world, clock, lease=LEASE)
    for _ in range(5):
        herald.join(Worker(world, clock))
    herald.apply(Batch((), Watermark("one", 1)), clock.now)
    assert len(packed) == 1


async def test_a_source_that_does_not_keep_all_changes_makes_workers_begin_anew(
    world, clock, herald, worker
):
    """What they keep is as old as their absence; what is told to who joins later begins there."""
    herald.join(worker)
    await herald.poll()
    worker.read()
    restarts = worker.freshness._restarts.value
    now = herald.watermark
    gap = Batch((), Watermark(now.epoch, now.position + 9), floor=now.position + 5)
    herald.apply(gap, clock.now, floor=gap.floor)
    worker.read()
    assert worker.freshness._restarts.value == restarts + 1
    assert worker.answers.floor == gap.floor
    late = Worker(world, clock)
    herald.join(late)
    late.read()
    assert late.answers.floor == gap.floor
