"""Hot answers are read again before anybody asks, and 5,000 who ask at once cost one read."""

import asyncio

import pytest

from resolver.app import Resolver, create_app
from resolver.config import ResolverSettings
from resolver.render import Form
from resolver.trust import Verifier
from tests.authority import ISSUED, Authority
from tests.clock import Clock

TEXT = "88/A"


@pytest.fixture
def clock():
    return Clock(ISSUED + 1_000.0)


@pytest.fixture
def world():
    world = Authority()
    world.allocate("88")
    world.register(TEXT)
    world.register("88/B")
    return world


@pytest.fixture
async def node(world, clock):
    resolver = Resolver(world, Verifier(world.trust), ResolverSettings(), clock=clock, wall=clock)
    await resolver.freshness.poll()
    return resolver, create_app(resolver)


async def ask(app, text=TEXT):
    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": f"/{text}",
        "raw_path": f"/{text}".encode(),
        "query_string": b"",
        "headers": [],
    }
    await app(scope, None, send)
    return sent[0]["status"], sent[1]["body"]


async def turns(count=30):
    for _ in range(count):
        await asyncio.sleep(0)


async def test_five_thousand_on_one_outdated_answer_cost_one_read(world, node, clock):
    resolver, app = node
    await ask(app)
    world.update(TEXT, attributes={"n": "2"})
    resolver.freshness.heard = lambda _: None  # nothing is read ahead
    made, render = [], resolver.renderer.answer
    resolver.renderer.answer = lambda *given: made.append(render(*given)) or made[-1]
    await resolver.freshness.poll()
    world.fetches.clear()
    world.gate = asyncio.Event()
    asked = [asyncio.create_task(ask(app)) for _ in range(5_000)]
    await turns(5)
    assert len(world.fetches) == 1
    world.gate.set()
    answers = await asyncio.gather(*asked)
    assert len(world.fetches) == 1
    assert {status for status, _ in answers} == {200}
    assert all(b'"version":2' in body for _, body in answers)
    assert len(made) == 1  # nor is it rendered for each
    # And where the lease ran out: one as well.
    clock.move(10)
    world.fetches.clear()
    made.clear()
    answers = await asyncio.gather(*(ask(app) for _ in range(5_000)))
    assert (len(world.fetches), len(made)) == (1, 1)


async def test_a_change_of_a_hot_answer_is_read_at_once(world, node):
    resolver, app = node
    await ask(app)
    await ask(app)  # a hit
    await ask(app, "88/B")  # kept, and never served from there
    world.fetches.clear()
    world.update(TEXT, attributes={"n": "2"})
    world.update("88/B", attributes={"n": "2"})
    await resolver.freshness.poll()
    await turns()
    assert [[item.text for item in asked] for asked in world.fetches] == [[TEXT]]
    hits = resolver.answers.hits
    assert b'"version":2' in (await ask(app))[1]
    assert resolver.answers.hits == hits + 1
    assert len(world.fetches) == 1
    assert b"tierlink_prefetched_total 1" in resolver.metrics.text()


async def test_an_answer_that_turns_is_read_when_it_does(world, clock, node):
    resolver, app = node
    turn = int(clock.now) + 1
    world.register("88/C", valid_until=turn)
    await resolver.freshness.poll()
    clock.now = turn - 0.05
    await resolver.freshness.poll()
    assert b'"valid_until"' in (await ask(app, "88/C"))[1]
    await ask(app, "88/C")
    old = resolver.answers.table(Form.JSON)[b"/88/C"]
    world.fetches.clear()
    clock.now = turn + 0.01
    await asyncio.sleep(0.1)
    await turns()
    assert len(world.fetches) == 1
    assert resolver.answers.table(Form.JSON)[b"/88/C"] is not old


async def test_a_source_that_is_away_is_left_to_the_next_request(world, node):
    resolver, app = node
    await ask(app)
    await ask(app)
    world.update(TEXT, attributes={"n": "2"})
    await resolver.freshness.poll()
    world.away = True
    await turns()
    world.away = False
    assert (await ask(app))[0] == 200


async def test_what_a_change_is_about_need_not_be_an_identifier_of_ours(node):
    resolver, _ = node
    from schemas.change import Change, Op  # noqa: PLC0415

    resolver.freshness.heard([Change(1, Op.RECORD, "no identifier", 1)])
