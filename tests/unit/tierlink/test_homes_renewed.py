"""Which node serves a prefix is found out anew beside the traces that need to know."""

import asyncio

import pytest

from resolver.hops import HOME_RENEWED, HOME_SECONDS
from tests.companies import BOX, CAR, CELL, PACK


class Gated:
    """A source that answers once its gate is open."""

    def __init__(self, source):
        self.source, self.gate, self.asked = source, asyncio.Event(), 0

    async def fetch(self, *arguments, **options):
        self.asked += 1
        await self.gate.wait()
        return await self.source.fetch(*arguments, **options)


@pytest.fixture
async def oem(companies):
    """The node of the vehicle, which has traced: what it remembers can be made older."""
    oem, _, _ = companies
    await oem.trace(CAR)
    oem.hops._local = oem.gated = Gated(oem.hops._local)

    def age(seconds):
        known = oem.hops._homes
        known.update({prefix: (home, until - seconds) for prefix, (home, until) in known.items()})

    oem.age = age
    return oem


async def test_nobody_waits_for_what_was_known_a_moment_ago(oem):
    oem.age(HOME_SECONDS + 1)
    for _ in range(2):
        trace = await oem.trace(CAR)
        assert {node.identifier.text for node in trace.nodes} == {CAR, PACK, BOX, CELL}
    assert oem.gated.asked == len(oem.hops._renewing) > 0
    oem.gated.gate.set()
    await asyncio.gather(*oem.hops._renewing)
    assert min(until for _, until in oem.hops._homes.values()) > oem.hops.clock()
    assert (await oem.trace(CAR)).broken == ()


async def test_what_was_known_long_ago_is_found_out_first(oem):
    oem.age(HOME_SECONDS + HOME_RENEWED + 1)
    trace = asyncio.create_task(oem.trace(CAR))
    await asyncio.sleep(0.2)
    assert not trace.done()
    oem.gated.gate.set()
    assert (await trace).broken == ()
