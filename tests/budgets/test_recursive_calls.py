"""An answer of another node, once it is kept, costs what one of this node costs: no more calls."""

import asyncio

from uvicorn.server import ServerState

from resolver.app import Resolver, create_app
from resolver.config import ResolverSettings
from resolver.edge import make_protocol
from resolver.native import negotiate
from tests.budgets.test_edge_calls import MOST, Wire, calls_of
from tests.clock import Clock
from tests.federation import ROOT, Federation, recursive
from tierlink import server

NODE = "https://a.example"
REQUEST = b"GET /88.1/PART HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n"


async def test_a_hit_on_an_answer_of_another_node_costs_at_most_four_calls():
    world = Federation()
    world.add("88.1", node=NODE)
    world.register("88.1/PART")
    net, clock = world.net(), Clock()
    settings = ResolverSettings()
    resolver = Resolver(recursive(world, net, clock), world.verifier(), settings, clock=clock)
    await resolver.freshness.poll()
    app = create_app(resolver)
    config = server.configured(app, make_protocol(resolver.answers, negotiate, ask=resolver.ask))
    config.load()
    protocol = config.http_protocol_class(config, ServerState(), {})
    wire = Wire()
    protocol.connection_made(wire)
    for _ in range(3):
        protocol.data_received(REQUEST)
        await asyncio.sleep(0.05)
    assert net.origins == [ROOT, NODE]
    wire.written.clear()
    resolver.answers.today()
    hits = resolver.answers.hits
    calls = calls_of(lambda: protocol.data_received(REQUEST))
    ours = [name for name in calls if not name.startswith(("Wire.", "test_", "calls_of"))]
    assert b"".join(wire.written).startswith(b"HTTP/1.1 200")
    assert resolver.answers.hits == hits + 1
    # The clock of this test is a Python function: one call that the real one does not cost.
    assert len([name for name in ours if name != "Clock.__call__"]) <= MOST, ours
    assert len(net.asked) == 2
    protocol.connection_lost(None)
