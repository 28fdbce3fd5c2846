"""Recursive resolution through two registries that joined: what they really say fits the walk."""

import json

import pytest

from registry import prefixes
from resolver.federated import Federated
from resolver.lookup import read
from resolver.nothing import Nothing
from resolver.referral import Place
from resolver.trust import Verifier
from schemas.chain import Trust, trust_document
from schemas.identifier import Identifier, Prefix
from schemas.source import Fetched, State
from tests.clock import Clock
from tests.neighbours import CHILD, HERE, PARENT
from tierlink.joining import Wish, join

MINE = Prefix.parse("88.118")
ITEM = "88.118/A-1"


class Net:
    """Stands where Peers stands, in front of the registries' own HTTP applications."""

    def __init__(self, nodes):
        self.nodes = nodes
        self.asked = []

    async def ask(self, origin, identifiers, *, whole=True):
        self.asked.append(origin)
        body = {"identifiers": [item.text for item in identifiers], "whole": whole}
        answer = await self.nodes[origin].post("/v1/source", body)
        assert answer.status_code == 200, answer.text
        return Fetched.from_json(answer.json(), len(identifiers))


@pytest.fixture
async def net(registry, child, parent, tmp_path):
    wish = Wish(MINE, "Child 有限公司", HERE)
    await join(child.store, child.keyring, parent, wish, data_dir=tmp_path, now=child.clock.now)
    key = json.loads((tmp_path / "operator.json").read_text())["api_key"]
    answer = await child.post("/v1/identifiers", {"identifier": ITEM, "kind": "item"}, key=key)
    assert answer.status_code == 201, answer.text
    below = await child.allocate("88.118.7", key=key)
    answer = await child.post(
        "/v1/identifiers", {"identifier": "88.118.7/B", "kind": "item"}, key=below.api_key
    )
    assert answer.status_code == 201, answer.text
    return Net({PARENT: registry, CHILD: child})


@pytest.fixture
async def source(net, registry):
    async with registry.store.read() as tx:
        versions = await prefixes.roots(tx)
    trust = Trust.parse(json.dumps(trust_document(versions, ())).encode())
    return Federated(
        Nothing(),
        Verifier(trust),
        net,
        Place(PARENT, "http://here"),
        clock=Clock(),
        wall=lambda: registry.clock.now,
    )


ASKED = {
    ITEM: (State.FOUND, CHILD),
    "88.118.7/B": (State.FOUND, CHILD),
    "88.118/NONE": (State.MISSING, CHILD),
    "88.118.5/X": (State.NOWHERE, CHILD),
    "88.119/X": (State.NOWHERE, PARENT),
    "77/X": (State.NOWHERE, PARENT),
}


async def test_each_state_is_told_by_who_may_tell_it(net, source):
    asked = [Identifier.parse(text) for text in ASKED]
    fetched = await source.fetch(asked)
    told = {
        item.text: (found.state, found.elsewhere.origin) for item, found in fetched.found.items()
    }
    assert told == ASKED
    assert net.asked == [PARENT, CHILD]
    for item in asked[:2]:  # and what was found verifies by what came with it
        found = fetched.found[item]
        offered = source._verifier.offered(found.elsewhere.delegations)
        assert read(found, offered, fetched, 0.0).parts.records[0].identifier == item


async def test_a_suspension_is_told_by_the_parent(net, source, registry):
    await registry.post(f"/v1/prefixes/{MINE}/suspend", key=registry.operator)
    fetched = await source.fetch([Identifier.parse(ITEM)])
    assert fetched.found[Identifier.parse(ITEM)].state is State.PREFIX_SUSPENDED
    assert net.asked == [PARENT]


async def test_the_holder_s_own_newer_delegation_is_no_hindrance(net, source, child, tmp_path):
    """The child exchanged its keys, of which its parent has not heard."""
    key = json.loads((tmp_path / "operator.json").read_text())["api_key"]
    answer = await child.post(f"/v1/prefixes/{MINE}/rotate", {}, key=key)
    assert answer.status_code == 200, answer.text
    fetched = await source.fetch([Identifier.parse(ITEM)])
    assert fetched.found[Identifier.parse(ITEM)].state is State.FOUND
