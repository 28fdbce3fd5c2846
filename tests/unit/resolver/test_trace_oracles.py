"""Published relationships without published inputs: loaded as links, walked, and compared."""

import pytest

from resolver.trace import Tracer
from resolver.walk import Budget
from schemas.link import DOWNSTREAM, UPSTREAM
from tests.network import Network, node
from tests.third_party import third_party_json

# oracle: links, hops
ORACLES = {
    "TRI-892": (7, 3),
    "TRI-894": (2, 2),
    "TRI-1070": (44, 3),
    "TRI-1598": (4, 2),
    "TRI-528": (3, 1),
    "TRI-704": (4, 2),
    "CXTM-660": (1, 1),
    "TRI-1009": (1, 1),
}
CXTM_657 = [f"0733946c-59c6-41ae-9570-cb43a6e4{end}01" for end in ("da", "eb")]


async def walked(pairs, start, direction=UPSTREAM):
    net = Network()
    net.grow(*((child, parent) for parent, child in pairs), sides=(DOWNSTREAM,))
    tracer = Tracer(net, net.verifier)
    return await tracer.walk(node(start), direction, Budget(depth=10))


def edges(found):
    return {(item.link.downstream.suffix, item.link.upstream.suffix) for item in found.edges}


@pytest.mark.parametrize("oracle", ORACLES)
async def test_a_walk_finds_what_is_listed(oracle):
    rows = third_party_json("irs", "expected", f"{oracle}-expected-relationships.json")
    pairs = {
        tuple(
            text.removeprefix("urn:uuid:")
            for text in (row["catenaXId"], row["linkedItem"]["childCatenaXId"])
        )
        for row in rows["relationships"]
    }
    parents, children = ({pair[end] for pair in pairs} for end in (0, 1))
    # A list of usage begins at the part that has none itself, and goes the other way.
    usage = {row["aspectType"] for row in rows["relationships"]} == {"SingleLevelUsageAsBuilt"}
    (start,) = children - parents if usage else parents - children
    found = await walked(pairs, start, DOWNSTREAM if usage else UPSTREAM)
    links, hops = ORACLES[oracle]
    assert edges(found) == pairs
    assert len(pairs) == links
    assert max(item.depth for item in found.nodes) == hops
    assert (found.cycles, found.broken, found.truncated) == ((), (), False)


async def test_two_parts_that_contain_each_other_are_flagged():
    """CXTM-657, by its ids: it has no root, and the walk ends from either."""
    one, two = CXTM_657
    for start in CXTM_657:
        found = await walked({(one, two), (two, one)}, start)
        assert edges(found) == {(one, two), (two, one)}
        assert [[item.suffix for item in part] for part in found.cycles] == [CXTM_657]
        assert (len(found.nodes), found.truncated) == (2, False)
