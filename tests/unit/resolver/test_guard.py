"""A flood of identifiers that do not exist costs a known rate, and nobody who asks for others."""

import asyncio

import pytest

from resolver.answers import Answer, Answers, Head
from resolver.app import Resolver, create_app
from resolver.config import ResolverSettings
from resolver.guard import Guard
from resolver.lookup import ALOFT, Lookup
from resolver.metrics import Metrics
from resolver.trust import Verifier
from schemas.errors import TooManyUnknown, Unavailable
from schemas.identifier import Identifier
from schemas.source import State
from tests import battery
from tests.authority import Authority
from tests.clock import Clock

HELD, OTHER = "88.118.8", "88.118.9"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def guard(clock):
    return Guard(clock, rate=10, burst=20)


def ident(text):
    return Identifier.parse(text)


def flood(guard, prefix, count, state=State.MISSING):
    for number in range(count):
        guard.learn(ident(f"{prefix}/NONE-{number}"), state)


def refused(guard, text):
    try:
        guard.check(ident(text))
    except TooManyUnknown as err:
        return err
    return None


def test_the_budget_ends_and_comes_back(guard, clock):
    flood(guard, HELD, 20)
    error = refused(guard, f"{HELD}/X")
    assert (error.status, error.retry_after) == (429, 1)
    clock.move(0.1)
    assert refused(guard, f"{HELD}/X") is None
    flood(guard, HELD, 1_000)  # in debt: no deeper than its burst
    assert refused(guard, f"{HELD}/X").retry_after == 3
    clock.move(2.2)
    assert refused(guard, f"{HELD}/X") is None


def test_what_is_known_to_exist_and_what_a_change_told_of_pass(guard):
    guard.learn(ident(f"{HELD}/A"), State.FOUND)
    guard.learn(ident(f"{HELD}/GONE"), State.RETIRED)
    flood(guard, HELD, 100)
    guard.know(f"{HELD}/NEW")
    for suffix in ("A", "GONE", "NEW"):
        assert refused(guard, f"{HELD}/{suffix}") is None
    assert refused(guard, f"{HELD}/B")


def test_one_prefix_does_not_pay_for_another(guard):
    guard.learn(ident(f"{OTHER}/A"), State.FOUND)
    flood(guard, HELD, 100)
    assert refused(guard, f"{OTHER}/B") is None


def test_prefixes_that_nobody_allocated_share_one_budget(guard):
    guard.learn(ident(f"{HELD}/A"), State.FOUND)
    for number in range(100):
        guard.learn(ident(f"99.{number}/X"), State.FOREIGN)
    assert refused(guard, "99.555/X")
    assert refused(guard, f"{HELD}/B") is None


def test_its_memory_is_bounded(guard, monkeypatch):
    monkeypatch.setattr("resolver.guard.PREFIXES", 4)
    for number in range(50):
        guard.learn(ident(f"88.{number}/X"), State.MISSING)
    assert len(guard._allocated) <= 4
    assert len(guard._left) <= 4


async def test_a_flood_reaches_the_source_at_the_rate_of_its_budget(clock):
    world = battery.battery()
    guard = Guard(clock, rate=10, burst=20)
    answers = Answers(1_000_000, clock)
    lookup = Lookup(world, Verifier(world.trust), answers, clock=clock, guard=guard)
    await lookup.resolve(ident(battery.PACK))
    counts = [0, 0]
    for number in range(500):
        clock.move(0.01)
        try:
            await lookup.resolve(ident(f"88.118.8/RANDOM-{number}"))
            counts[0] += 1
        except TooManyUnknown:
            counts[1] += 1
        if number % 50 == 0:
            await lookup.resolve(ident(battery.PACK))  # whoever asks for what exists
    assert 60 <= counts[0] <= 75
    assert sum(counts) == 500


# What is kept of it


HERE = Head(200, [(b"content-type", b"text/plain")])
ABSENT = Head(404, [(b"content-type", b"text/plain")])


def keep(answers, name, head):
    answer = Answer(head, b"x" * 300, tags=[b"i" + name], filled=1)
    assert answers.put(b"/" + name, 1, answer, "e")
    return answer


def test_negative_answers_drive_out_no_others(clock):
    answers = Answers(100_000, clock)
    answers.restart("e", 0)
    answers.advance(1, clock.now + 60, changed=False)
    positives = [b"88/%d" % number for number in range(150)]
    for name in positives:
        keep(answers, name, HERE)  # never served: the weakest there are
    for number in range(5_000):
        keep(answers, b"88/NONE-%d" % number, ABSENT)
    assert all(answers.get(b"/" + name, 1) for name in positives)
    assert answers.absent_held <= 100_000 / 16
    assert 5 < len(answers) - len(positives) < 20
    assert answers.held <= 100_000


def test_what_appears_and_what_disappears_changes_its_place(clock):
    answers = Answers(100_000, clock)
    answers.restart("e", 0)
    answers.advance(1, clock.now + 60, changed=False)
    for _ in range(3):
        for head in (ABSENT, HERE):
            keep(answers, b"88/A", head)
            assert len(answers) == 1
            assert bool(answers.held) is (head is HERE)
            assert bool(answers.absent_held) is (head is ABSENT)
    for number in range(3_000):
        keep(answers, b"88/%d" % number, HERE if number % 2 else ABSENT)
    assert answers.held <= 100_000
    assert answers.absent_held <= 100_000 / 16
    assert len(answers) == sum(len(answers.table(variant)) for variant in range(5))


# Overload


async def test_three_times_what_the_source_can_do(monkeypatch):
    """Arrivals at a fixed rate: all that is read is told, and the rest is turned away unread.

    How much that is, and how soon, is measured by loadtests/benchmarks/overload.py.
    """
    monkeypatch.setattr("resolver.lookup.BATCH", 10)
    world = Authority()
    world.allocate("88")
    world.register("88/A")
    quick = world.fetch

    async def limited(identifiers, **options):
        await asyncio.sleep(0.05)
        return await quick(identifiers, **options)

    world.fetch = limited  # 4 fetches of 10 each 50 ms: 800 a second at most
    guard, metrics = Guard(Clock(), burst=1e9), Metrics()
    lookup = Lookup(
        world,
        Verifier(world.trust),
        Answers(1_000_000),
        lease=5,
        guard=guard,
        metrics=metrics,
        timeout=60,
    )
    loop = asyncio.get_running_loop()
    done, shed, refusals = [], [], set()

    async def ask(number):
        try:
            done.append(await lookup.resolve(ident(f"88/{number}")))
        except Unavailable as err:
            shed.append(number)
            refusals.add((err.status, err.retry_after))

    began, tasks = loop.time(), []
    while (now := loop.time() - began) < 1.5:
        tasks += [asyncio.create_task(ask(n)) for n in range(len(tasks), int(now * 2_400))]
        await asyncio.sleep(0.005)
    await asyncio.gather(*tasks)
    assert len(done) + len(shed) == len(tasks)
    assert refusals == {(503, 1)}
    assert metrics.counter("tierlink_shed_total", "").value == len(shed)
    asked = [identifier for batch in world.fetches for identifier in batch]
    assert len(asked) == len(set(asked)) == len(done)  # nothing is read for nobody, or twice
    assert not set(asked) & {ident(f"88/{number}") for number in shed}
    assert len(shed) >= len(tasks) / 3
    assert len(done) >= 40


class TestTheEdgeOfACrowd:
    """Who is turned away costs no task and no reading; who need not be is not."""

    @pytest.fixture
    async def crowd(self, clock):
        """A resolver whose first in the queue has waited too long; `told` collects answers."""
        world = Authority()
        world.allocate("88")
        for name in ("A", "B", "KEPT"):
            world.register(f"88/{name}")
        resolver = Resolver(
            world, Verifier(world.trust), ResolverSettings(), clock=clock, wall=clock
        )
        await resolver.freshness.poll()
        create_app(resolver)
        told = {}

        def ask(name):
            def take(answer, instead=()):
                told.setdefault(name, []).append((answer, instead))

            assert resolver.ask(b"/88/" + name.encode(), 1, take)

        ask("KEPT")
        await until(lambda: "KEPT" in told)
        world.gate = asyncio.Event()
        for number in range(ALOFT):  # as many fetches as fly at a time, and one who waits for them
            ask(f"NONE-{number}")
            await until(lambda aloft=number + 2: len(world.fetches) == aloft)
        ask("A")
        await until(lambda: resolver.lookup._waiting)
        clock.move(0.3)
        yield world, resolver, ask, told
        world.gate.set()
        await until(lambda: not resolver.lookup._flights)

    async def test_a_stranger_is_turned_away_before_anything_is_made_for_him(self, crowd):
        world, resolver, ask, told = crowd
        tasks = len(asyncio.all_tasks())
        ask("B")
        assert "B" not in told  # not before the call returns
        assert len(asyncio.all_tasks()) == tasks
        await asyncio.sleep(0)
        [(answer, _)] = told["B"]
        assert answer.status == 503
        assert (b"retry-after", b"1") in answer.headers
        assert b"too many identifiers are waiting" in answer.body
        assert resolver.metrics.counter("tierlink_shed_total", "").value == 1
        world.gate.set()
        await until(lambda: "A" in told)
        assert told["A"][0][0].status == 200
        assert not any(ident("88/B") in batch for batch in world.fetches)
        ask("B")
        await until(lambda: len(told["B"]) == 2)
        assert told["B"][1][0].status == 200  # the crowd is gone

    async def test_who_asks_for_what_is_being_read_waits_for_it(self, crowd):
        world, resolver, ask, told = crowd
        ask("A")
        for _ in range(5):
            await asyncio.sleep(0)
        assert "A" not in told
        world.gate.set()
        await until(lambda: len(told.get("A", ())) == 2)
        assert {answer.status for answer, _ in told["A"]} == {200}
        assert resolver.metrics.counter("tierlink_shed_total", "").value == 0

    async def test_what_is_kept_is_served_stale_and_marked(self, crowd, clock):
        _, _, ask, told = crowd
        clock.move(1)  # no lease any more
        ask("KEPT")
        await until(lambda: len(told["KEPT"]) == 2)
        answer, instead = told["KEPT"][1]
        assert answer.status == 200
        assert (b"tierlink-stale", b"1") in list(instead)


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  (of another task's plain numbers)
            await asyncio.sleep(0.001)
