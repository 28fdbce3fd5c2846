"""The walk of a miss: single flight, one fetch a turn, verified, and never older than a lease."""

import asyncio
from dataclasses import replace
from math import inf

import pytest

from resolver.answers import Answers
from resolver.freshness import Freshness
from resolver.lookup import ALOFT, BATCH, Lookup
from resolver.reading import Reading
from resolver.trust import Verifier
from schemas.errors import Unavailable
from schemas.identifier import Identifier, Prefix
from schemas.keys import PrivateKey
from schemas.source import Elsewhere, Found, State
from tests import battery
from tests.authority import Authority
from tests.clock import Clock


def ident(text):
    return Identifier.parse(text)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def world():
    return battery.battery()


@pytest.fixture
def answers(clock):
    return Answers(1_000_000, clock)


@pytest.fixture
def lookup(world, answers, clock):
    return Lookup(world, Verifier(world.trust), answers, clock=clock, timeout=0.2)


async def settle(condition, turns=50):
    for _ in range(turns):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came")


# Flights


async def test_many_who_ask_for_one_make_one_fetch(world, lookup):
    readings = await asyncio.gather(*(lookup.resolve(ident(battery.PACK)) for _ in range(100)))
    assert world.fetches == [[ident(battery.PACK)]]
    assert len({id(reading) for reading in readings}) == 1


async def test_who_asks_in_one_turn_leaves_in_one_fetch(world, lookup):
    texts = [battery.PACK, battery.COVERED, battery.MISSING, battery.RETIRED]
    readings = await asyncio.gather(*(lookup.resolve(ident(text)) for text in texts))
    assert world.fetches == [[ident(text) for text in texts]]
    states = [State.FOUND, State.COVERED, State.MISSING, State.RETIRED]
    assert [reading.state for reading in readings] == states


@pytest.mark.parametrize(
    ("turns_in", "elsewhere", "kept"),
    [(None, None, inf), (5.0, None, 5.0), (5.0, 30.0, 5.0), (60.0, 30.0, 30.0)],
)
async def test_a_reading_is_kept_until_a_grant_turns(
    world, lookup, clock, monkeypatch, turns_in, elsewhere, kept
):
    fetch = world.fetch

    async def turning(identifiers, **asked):
        came = None if elsewhere is None else Elsewhere("", (), clock() + elsewhere)
        fetched = await fetch(identifiers, **asked)
        clock.move(0.01)  # however long it takes: it counts from before
        found = {
            item: replace(found, turns_in=turns_in, elsewhere=came)
            for item, found in fetched.found.items()
        }
        return replace(fetched, found=found)

    monkeypatch.setattr(world, "fetch", turning)
    for text in (battery.PACK, battery.MISSING):
        began = clock()
        reading = await lookup.resolve(ident(text))
        assert (reading.read_at, reading.expires_at) == (began, began + kept)


async def test_who_comes_while_it_flies_joins(world, lookup):
    world.gate = asyncio.Event()
    first = asyncio.create_task(lookup.resolve(ident(battery.PACK)))
    await settle(lambda: world.fetches)
    second = asyncio.create_task(lookup.resolve(ident(battery.PACK)))
    await asyncio.sleep(0)
    world.gate.set()
    assert await first is await second
    assert len(world.fetches) == 1


async def test_a_fetch_names_at_most_one_batch(world, lookup, answers, clock):
    # All these records are verified here, and the machine may be busy with other things.
    lookup = Lookup(world, Verifier(world.trust), answers, clock=clock, timeout=60)
    asked = [ident(f"88.118.8/N-{number}") for number in range(3 * BATCH + 50)]
    outcomes = await lookup.resolve_many(asked)
    assert [len(batch) for batch in world.fetches] == [BATCH] * 3 + [50]
    assert [outcome.identifier for outcome in outcomes] == asked


async def test_who_asks_while_a_fetch_is_under_way_leaves_in_the_next(world, lookup, monkeypatch):
    monkeypatch.setattr("resolver.lookup.LINGER", 60)
    world.gate = asyncio.Event()
    tasks = [asyncio.create_task(lookup.resolve(ident(battery.PACK)))]
    await settle(lambda: world.fetches)
    for number in range(20):
        tasks.append(asyncio.create_task(lookup.resolve(ident(f"88.118.8/N-{number}"))))
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    world.gate.set()
    await asyncio.gather(*tasks)
    assert [len(batch) for batch in world.fetches] == [1, 20]


async def test_a_slow_fetch_does_not_hold_up_those_who_come_after_it(world, lookup):
    world.gate = asyncio.Event()
    tasks = [asyncio.create_task(lookup.resolve(ident(battery.PACK)))]
    await settle(lambda: world.fetches)
    tasks.append(asyncio.create_task(lookup.resolve(ident("88.118.8/N-1"))))
    for _ in range(1000):
        if len(world.fetches) == len(tasks):
            break
        await asyncio.sleep(0.001)
    assert [len(batch) for batch in world.fetches] == [1, 1]
    world.gate.set()
    await asyncio.gather(*tasks)


async def test_while_enough_are_aloft_the_rest_leaves_together(world, lookup, monkeypatch):
    monkeypatch.setattr("resolver.lookup.LINGER", 0)
    world.gate = asyncio.Event()
    tasks = []
    for number in range(ALOFT + 10):
        tasks.append(asyncio.create_task(lookup.resolve(ident(f"88.118.8/N-{number}"))))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert len(world.fetches) == ALOFT
    world.gate.set()
    await asyncio.gather(*tasks)
    assert [len(batch) for batch in world.fetches] == [1] * ALOFT + [10]


async def test_a_cancelled_request_takes_nobody_with_it(world, lookup):
    world.gate = asyncio.Event()
    first = asyncio.create_task(lookup.resolve(ident(battery.PACK)))
    await settle(lambda: world.fetches)
    second = asyncio.create_task(lookup.resolve(ident(battery.PACK)))
    await asyncio.sleep(0)
    first.cancel()
    world.gate.set()
    assert (await second).state is State.FOUND
    assert first.cancelled()


async def test_resolve_many_keeps_order_and_repeats(world, lookup):
    texts = [battery.PACK, battery.MISSING, battery.PACK]
    outcomes = await lookup.resolve_many([ident(text) for text in texts])
    assert [outcome.identifier.text for outcome in outcomes] == texts
    assert world.fetches == [[ident(battery.PACK), ident(battery.MISSING)]]


# The serve rule


async def test_a_joiner_does_not_get_what_was_read_before_a_change(world, lookup, answers, clock):
    """Somebody writes, sees the write accepted, asks, and joins a flight that began before."""
    freshness = Freshness(world, answers, clock)
    await freshness.poll()
    world.gate = asyncio.Event()
    first = asyncio.create_task(lookup.resolve(ident(battery.PACK)))
    await settle(lambda: world.fetches)
    world.update(battery.PACK, attributes={"new": "yes"})
    await freshness.poll()
    joined = asyncio.create_task(lookup.resolve(ident(battery.PACK)))
    await asyncio.sleep(0)
    world.gate.set()
    assert (await joined).parts.records[0].version == 2
    assert (await first).parts.records[0].version == 2
    assert len(world.fetches) == 2


async def test_what_took_longer_than_a_lease_is_read_again(world, lookup, clock):
    world.gate = asyncio.Event()
    task = asyncio.create_task(lookup.resolve(ident(battery.PACK)))
    await settle(lambda: world.fetches)
    clock.move(0.7)
    world.gate.set()
    assert (await task).read_at == clock.now
    assert len(world.fetches) == 2


async def test_under_a_lease_of_the_poller_a_slow_reading_will_do(world, lookup, answers, clock):
    world.gate = asyncio.Event()
    freshness = Freshness(world, answers, clock)
    await freshness.poll()
    task = asyncio.create_task(lookup.resolve(ident(battery.PACK)))
    await settle(lambda: world.fetches)
    clock.move(0.7)
    await freshness.poll()
    world.gate.set()
    await task
    assert len(world.fetches) == 1


async def test_before_the_first_poll_age_alone_counts(lookup, clock):
    reading = await lookup.resolve(ident(battery.PACK))
    assert lookup.serves(reading)
    clock.move(0.6)
    assert not lookup.serves(reading)


# What fails


async def test_a_source_that_is_away(world, lookup, clock):
    world.away = True
    for _ in range(2):
        with pytest.raises(Unavailable):
            await lookup.resolve(ident(battery.PACK))
    assert lookup.away
    world.away = False
    await lookup.resolve(ident(battery.PACK))
    assert not lookup.away


async def test_a_source_that_hangs(world, lookup):
    world.gate = asyncio.Event()
    with pytest.raises(Unavailable, match="in time"):
        await lookup.resolve(ident(battery.PACK))


async def test_a_source_that_raises_what_it_should_not(world, lookup, caplog):
    async def broken(*_, **__):
        raise RuntimeError("driver")

    world.fetch = broken
    with pytest.raises(Unavailable) as caught:
        await lookup.resolve(ident(battery.PACK))
    assert "driver" not in caught.value.detail
    assert "driver" in caplog.text


async def test_what_does_not_verify_is_no_answer(world, lookup, caplog):
    world.keys[Prefix.parse("88.118.8")] = PrivateKey.generate()
    world.register("88.118.8/FORGED")
    with pytest.raises(Unavailable, match="E_CHAIN"):
        await lookup.resolve(ident("88.118.8/FORGED"))
    assert "88.118.8/FORGED" in caplog.text
    assert (await lookup.resolve(ident(battery.MISSING))).state is State.MISSING


@pytest.mark.parametrize(
    ("text", "claimed"),
    [
        (battery.RETIRED, State.FOUND),
        (battery.PACK, State.RETIRED),
        (battery.PACK, State.COVERED),
        (battery.COVERED, State.FOUND),
    ],
)
async def test_a_source_cannot_say_other_than_the_holder_signed(world, lookup, text, claimed):
    honest = world._find

    def lie(identifier, whole):
        found = honest(identifier, whole)
        return Found(identifier, claimed, found.records, found.assertions)

    world._find = lie
    with pytest.raises(Unavailable, match="E_FORMAT"):
        await lookup.resolve(ident(text))


async def test_a_record_without_its_envelope(world, lookup):
    world._find = lambda identifier, _: Found(identifier, State.FOUND)
    with pytest.raises(Unavailable, match="E_FORMAT"):
        await lookup.resolve(ident(battery.PACK))


async def test_one_that_fails_costs_no_other(world, lookup):
    world.keys[Prefix.parse("88.118.8")] = PrivateKey.generate()
    world.register("88.118.8/FORGED")
    outcomes = await lookup.resolve_many([ident("88.118.8/FORGED"), ident(battery.PACK)])
    assert isinstance(outcomes[0], Unavailable)
    assert isinstance(outcomes[1], Reading)


async def test_too_many_waiting_are_turned_away(world, lookup, monkeypatch):
    monkeypatch.setattr("resolver.lookup.WAITING", 2)
    outcomes = await lookup.resolve_many([ident(f"88.1/{number}") for number in range(3)])
    assert [isinstance(outcome, Unavailable) for outcome in outcomes] == [False, False, True]


# What is found


async def test_targets_are_inherited_and_the_nearest_wins(lookup):
    reading = await lookup.resolve(ident(battery.PACK))
    assert [r.identifier.text for r in reading.parts.records] == [
        battery.PACK, "88.118.8/LOT-7", "88.118.8/PACK",
    ]  # fmt: skip
    assert reading.holder.organisation["name"] == "长江动力电池 Yangtze Power"


async def test_an_exact_record_overrides_the_rule(world, lookup):
    assert (await lookup.resolve(ident(battery.COVERED))).state is State.COVERED
    world.register(battery.COVERED)
    reading = await lookup.resolve(ident(battery.COVERED))
    assert reading.state is State.FOUND
    assert not reading.parts.covered


@pytest.mark.parametrize(
    ("text", "strict"),
    [
        (battery.PACK, False), (battery.COVERED, False), (battery.SUSPENDED, True),
        (battery.RETIRED, True), (battery.MISSING, True), (battery.FOREIGN, True),
        (battery.UNDER_SUSPENDED, True),
    ],
)  # fmt: skip
async def test_what_may_never_be_served_stale(lookup, text, strict):
    assert (await lookup.resolve(ident(text))).strict is strict


async def test_a_reading_tells_when_it_turns(clock):
    world = Authority()
    world.allocate("88")
    world.register("88/A", valid_from=100, valid_until=300)
    lookup = Lookup(world, Verifier(world.trust), Answers(1_000_000, clock), clock=clock)
    reading = await lookup.resolve(ident("88/A"))
    assert [reading.turns_at(now) for now in (0, 100, 299, 300)] == [100, 300, 300, None]
