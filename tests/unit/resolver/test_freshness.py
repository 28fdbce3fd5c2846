"""Following the changes: what a poll moves, and what a failed one does not."""

import asyncio
from dataclasses import replace

import pytest

from resolver.answers import Answer, Answers, Head
from resolver.freshness import Freshness
from resolver.metrics import Metrics
from schemas.change import Batch, Canary, Watermark
from tests.authority import Authority
from tests.clock import Clock

HEAD = Head(200, [(b"content-type", b"text/plain")])


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
def answers(clock):
    return Answers(1_000_000, clock)


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def freshness(world, answers, clock, metrics):
    return Freshness(world, answers, clock, lease=0.6, period=0.15, metrics=metrics)


def keep(answers, world, tag=b"i88/A"):
    answer = Answer(HEAD, b"body", tags=[tag], filled=world.watermark.position)
    assert answers.put(b"/88/A", 1, answer, world.epoch)
    return answer


async def test_the_lease_begins_before_the_poll_is_sent(world, freshness, answers, clock):
    world.poll_gate = asyncio.Event()
    poll = asyncio.create_task(freshness.poll())
    await asyncio.sleep(0)
    clock.move(0.2)
    world.poll_gate.set()
    assert await poll
    assert answers.fresh_until == pytest.approx(clock.now - 0.2 + 0.6)


async def test_a_change_makes_what_depends_on_it_unfresh(world, freshness, answers):
    await freshness.poll()
    keep(answers, world)
    assert answers.get(b"/88/A", 1)
    world.update("88/A", attributes={"a": "b"})
    assert answers.get(b"/88/A", 1)  # nobody told yet, and within the lease
    await freshness.poll()
    assert answers.get(b"/88/A", 1) is None


async def test_a_batch_cut_short_renews_no_lease(world, freshness, answers, clock):
    """What it does not list yet may touch anything."""
    await freshness.poll()
    keep(answers, world)
    lease, start = answers.fresh_until, freshness.watermark
    world.update("88/A", attributes={"a": "b"})
    whole = await world.changes(start)
    clock.move(0.3)
    freshness.apply(replace(whole, more=True), clock.now)
    assert answers.fresh_until == lease
    assert freshness.watermark == whole.watermark
    assert answers.get(b"/88/A", 1) is None
    freshness.apply(whole, clock.now)
    assert answers.fresh_until == clock.now + 0.6


async def test_a_change_of_something_else_leaves_it(world, freshness, answers):
    await freshness.poll()
    keep(answers, world)
    world.register("88/B")
    await freshness.poll()
    assert answers.get(b"/88/A", 1)


async def test_an_open_write_holds_the_watermark_back(world, freshness):
    await freshness.poll()
    before = freshness.watermark
    slow = world.begin()
    world.register("88/FAST")
    await freshness.poll()
    assert freshness.watermark == Watermark(before.epoch, slow.position)
    world.register("88/SLOW", within=slow)
    world.commit(slow)
    await freshness.poll()
    assert freshness.watermark.position == world.next_position


async def test_a_poll_that_fails_moves_nothing(world, freshness, answers, clock, metrics):
    await freshness.poll()
    watermark, lease = freshness.watermark, answers.fresh_until
    world.update("88/A", attributes={"a": "b"})
    world.away = True
    clock.move(0.3)
    assert not await freshness.poll()
    assert (freshness.watermark, answers.fresh_until) == (watermark, lease)
    assert freshness.current
    clock.move(0.31)
    assert not await freshness.poll()
    assert not freshness.current
    assert b"tierlink_poll_failures_total 2" in metrics.text()
    assert b"tierlink_lease_expired_total 1" in metrics.text()


async def test_a_poll_that_hangs_ends(world, freshness):
    world.poll_gate = asyncio.Event()
    assert not await freshness.poll()


async def test_a_driver_that_raises_what_it_should_not_ends_no_loop(world, freshness):
    async def broken(_):
        raise RuntimeError("driver")

    world.changes = broken
    assert not await freshness.poll()


async def test_another_history_drops_everything(world, freshness, answers):
    await freshness.poll()
    keep(answers, world)
    world.epoch = "two"
    await freshness.poll()
    assert len(answers) == 0
    assert freshness.watermark.epoch == answers.epoch == "two"


async def test_what_was_read_before_the_start_is_not_trusted(world, freshness, answers):
    filled = world.watermark.position
    world.update("88/A", attributes={"a": "b"})
    await freshness.poll()
    answer = Answer(HEAD, b"body", tags=[b"i88/A"], filled=filled)
    assert not answers.put(b"/88/A", 1, answer, world.epoch)


async def test_a_node_that_is_behind_takes_nothing_back(world, freshness):
    await freshness.poll()
    before = freshness.watermark.position
    world.next_position -= 2
    assert await freshness.poll()
    assert freshness.watermark.position == before


async def test_ready_after_the_first_poll_and_for_good(world, freshness, clock):
    world.away = True
    await freshness.poll()
    assert not freshness.ready
    world.away = False
    await freshness.poll()
    assert freshness.ready
    world.away = True
    clock.move(3_600)
    await freshness.poll()
    assert freshness.ready
    assert not freshness.current
    assert freshness.age == 3_600


async def test_a_hint_makes_the_next_poll_come_early(world, answers):
    freshness = Freshness(world, answers, lease=60, period=10)
    task = asyncio.create_task(freshness.run())
    async with asyncio.timeout(2):
        while world.polls < 1:  # noqa: ASYNC110  (the world tells by a number only)
            await asyncio.sleep(0.001)
        freshness.hint()
        while world.polls < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_hints_without_end_do_not_make_polls_without_end(world, answers):
    freshness = Freshness(world, answers, lease=60, period=0.05)
    task = asyncio.create_task(freshness.run())
    for _ in range(50):
        freshness.hint()
        await asyncio.sleep(0.002)
    task.cancel()
    assert world.polls <= 20


# Where a history begins


async def test_what_others_read_before_the_start_is_of_use(world, freshness, answers):
    """The last changes of the history are asked for, once, and the floor lies below them."""
    before = world.watermark.position
    world.register("88/B")
    assert await freshness.poll()
    assert world.polls == 2
    assert answers.floor < before
    unchanged = Answer(HEAD, b"body", tags=[b"i88/A"], filled=before)
    assert answers.put(b"/88/A", 1, unchanged, world.epoch)
    assert answers.get(b"/88/A", 1)
    outdated = Answer(HEAD, b"body", tags=[b"i88/B"], filled=before)
    assert not answers.put(b"/88/B", 1, outdated, world.epoch)
    await freshness.poll()
    assert world.polls == 3


async def test_more_changes_than_fit_a_batch_are_not_replayed(world, freshness, answers):
    whole = world.changes

    async def cut(after):
        batch = await whole(after)
        return replace(batch, more=after is not None and freshness.watermark is None)

    world.changes = cut
    assert await freshness.poll()
    assert answers.floor == world.watermark.position


async def test_changes_that_cannot_be_replayed_cost_one_poll(world, freshness, answers):
    whole = world.changes

    async def slow(after):
        if after is not None and freshness.watermark is None:
            await asyncio.sleep(60)
        return await whole(after)

    world.changes = slow
    assert not await freshness.poll()
    assert await freshness.poll()
    assert answers.floor == world.watermark.position


async def test_a_floor_of_another_history_is_none_of_ours(world, freshness, answers):
    await freshness.poll()
    world.epoch = "two"
    whole, asked = world.changes, []

    async def turning(after):
        asked.append(after)
        if len(asked) == 2:
            world.epoch = "three"
        return await whole(after)

    world.changes = turning
    assert await freshness.poll()
    assert (answers.epoch, answers.floor) == ("two", world.watermark.position)
    assert await freshness.poll()
    assert answers.epoch == "three"


# Canaries


def staleness(metrics):
    lines = [x for x in metrics.text().decode().splitlines() if x[0] != "#" and "le=" not in x]
    found = {line.partition(" ")[0]: float(line.partition(" ")[2]) for line in lines}
    return (
        found["tierlink_staleness_seconds_count"],
        found["tierlink_staleness_seconds_sum"],
        found["tierlink_open_write_seconds"],
    )


async def test_a_canary_is_measured_once_when_the_watermark_passes_it(freshness, clock, metrics):
    def poll(watermark, canary, asked_at):
        batch = Batch((), Watermark("one", watermark), canary=canary)
        freshness.apply(batch, asked_at)

    poll(100, Canary(98, 0.9), clock.now)  # written before we came
    assert staleness(metrics) == (0, 0, 0)
    asked = clock.now
    clock.move(0.02)
    poll(101, Canary(100, 0.1), asked)
    assert staleness(metrics) == pytest.approx((1, 0.12, 0))
    poll(101, Canary(100, 0.3), clock.now)  # the same one again
    assert staleness(metrics)[0] == 1
    # An open write holds the watermark below the next one.
    poll(103, Canary(105, 0.05), clock.now)
    clock.move(0.25)
    assert staleness(metrics) == pytest.approx((1, 0.12, 0.3))
    poll(110, Canary(109, 0.01), clock.now)
    assert staleness(metrics) == pytest.approx((3, 0.12 + 0.3 + 0.01, 0))
