"""Links whose ends live at two nodes: proposed here, confirmed there, mutual at both."""

import json

import pytest

from registry.deliveries import again, due, settle
from registry.reader import Reader
from registry.store.tables import changes
from schemas.change import Op
from schemas.errors import BadInput, TierlinkError, Unavailable, VerifyError
from schemas.identifier import Identifier, Prefix
from schemas.link import parse_assertion
from schemas.viewer import Near, Viewer
from tests.neighbours import HERE
from tierlink.joining import Wish, join

PART, CAR = "88.118/PART", "77.1/CAR"
LINK = {"type": "CONTAINED_IN", "upstream": PART, "downstream": CAR}


class Pair:
    """A supplier on the child's node, and a customer on that of the root."""

    def __init__(self, registry, child, supplier, customer):
        self.nodes = {"supplier": child, "customer": registry}
        self.keys = {"supplier": supplier, "customer": customer}

    async def states(self, who, status=201, **members):
        side = "upstream" if who == "supplier" else "downstream"
        body = {"side": side} | LINK | members
        answer = await self.nodes[who].post("/v1/links", body, key=self.keys[who])
        assert answer.status_code == status, answer.text
        return answer.json()

    async def deliver(self, who, other):
        """Send what is due of one node to the other; return the results."""
        sender, receiver = self.nodes[who], self.nodes[other]
        results = []
        for bundle in await due(sender.store, sender.clock.now + 10**9):
            body = {
                "assertions": list(bundle.assertions),
                "delegations": list(bundle.delegations),
            }
            answer = await receiver.post("/v1/proposals", body)
            assert answer.status_code == 200, answer.text
            results += answer.json()["results"]
            await settle(sender.store, bundle, [None] * len(bundle.queued), sender.clock.now)
        return results

    async def sees(self, who, near, direction):
        """The state of each link that a holder is shown at his own node."""
        prefix = Prefix.parse(near.partition("/")[0])
        answer = await self.nodes[who].get(
            f"/v1/links/{near}?direction={direction}", key=self.keys[who]
        )
        level = [Near.at(Identifier.parse(near))]
        reader = Reader(self.nodes[who].store)
        edges = await reader.edges(level, direction, 9, Viewer(prefix))
        assert len(edges.edges) == len(answer.json()["links"])
        return [item["state"] for item in answer.json()["links"]]


@pytest.fixture
async def pair(registry, child, parent, tmp_path):
    await join(
        child.store,
        child.keyring,
        parent,
        Wish(Prefix.parse("88.118"), "Supplier", HERE),
        data_dir=tmp_path,
        now=child.clock.now,
    )
    key = json.loads((tmp_path / "operator.json").read_text())["api_key"]
    customer = await registry.allocate("77.1", opened=False)
    pair = Pair(registry, child, key, customer.api_key)
    for who, text in (("supplier", PART), ("customer", CAR)):
        body = {"identifier": text, "kind": "item"}
        answer = await pair.nodes[who].post("/v1/identifiers", body, key=pair.keys[who])
        assert answer.status_code == 201, answer.text
    return pair


class TestBothWays:
    async def test_proposed_then_mutual_at_both_nodes(self, pair):
        assert (await pair.states("supplier"))["link_state"] == "proposed"
        assert await pair.deliver("supplier", "customer") == [{"state": "proposed"}]
        assert await pair.sees("customer", CAR, "upstream") == ["proposed"]
        assert (await pair.states("customer"))["link_state"] == "mutual"
        assert await pair.sees("supplier", PART, "downstream") == ["proposed"]
        assert await pair.deliver("customer", "supplier") == [{"state": "proposed"}]
        assert await pair.sees("supplier", PART, "downstream") == ["mutual"]
        assert await pair.sees("customer", CAR, "upstream") == ["mutual"]

    async def test_edges_of_all_statements_are_kept_in_step_at_once(self, pair, sql_recorder):
        """In key order, as a holder's batch does it: one by one, the two waited for each other."""
        for occurrence in ("b", "a", "c"):
            await pair.states("supplier", occurrence=occurrence)
        store = pair.nodes["customer"].store
        async with sql_recorder(store.engine) as statements:
            assert await pair.deliver("supplier", "customer") == [{"state": "proposed"}] * 3
        assert sum("INSERT INTO edges" in statement for statement in statements) == 1
        assert await pair.sees("customer", CAR, "upstream") == ["proposed"] * 3

    async def test_what_is_taken_back_is_told_too(self, pair):
        await pair.states("supplier")
        await pair.deliver("supplier", "customer")
        await pair.states("customer")
        await pair.states("supplier", 200, state="withdrawn")
        assert await pair.deliver("supplier", "customer") == [{"state": "withdrawn"}]
        assert await pair.sees("customer", CAR, "upstream") == ["withdrawn"]

    async def test_it_is_told_of_under_our_own_prefix_and_not_to_the_log(self, registry, pair):
        await pair.states("supplier")
        await pair.deliver("supplier", "customer")
        async with registry.store.read() as tx:
            rows = await tx.connection.execute(
                changes.select().where(changes.c.op == Op.LINK).order_by(changes.c.id)
            )
            found = [(row.about, row.also, row.digest, row.what) for row in rows]
        assert found == [(CAR, PART, None, None)]


class TestQueue:
    async def test_only_what_another_node_serves_is_queued(self, registry, child, pair):
        await pair.states("supplier", upstream=PART, downstream="88.118/BOX")
        assert await due(child.store, child.clock.now + 10**9) == ()
        await pair.states("supplier")
        (bundle,) = await due(child.store, child.clock.now + 10**9)
        assert (str(bundle.far), len(bundle.assertions)) == ("77.1", 1)

    async def test_a_newer_version_takes_the_place_of_the_one_on_its_way(self, child, pair):
        await pair.states("supplier")
        (first,) = await due(child.store, child.clock.now + 10**9)
        await pair.states("supplier", 200, quantity={"value": "2", "unit": "H87"})
        await settle(child.store, first, [None], child.clock.now)
        (second,) = await due(child.store, child.clock.now + 10**9)
        assert parse_assertion(second.assertions[0])[1].version == 2

    async def test_a_failure_is_shown_and_tried_again(self, child, pair):
        await pair.states("supplier")
        now = child.clock.now + 10**9
        (bundle,) = await due(child.store, now)
        await settle(child.store, bundle, [Unavailable("nobody answers")], now)
        assert await due(child.store, now) == ()
        (again,) = await due(child.store, now + 1.1)
        assert again.queued[0].attempts == 1
        answer = await child.get("/v1/deliveries", key=pair.keys["supplier"])
        (shown,) = answer.json()["deliveries"]
        assert (shown["far"], shown["attempts"]) == (CAR, 1)
        assert shown["failure"].startswith("unavailable: nobody answers")
        await settle(child.store, again, [VerifyError("E_SIG", "no")], now)
        assert await due(child.store, now + 10**9) == ()
        answer = await child.get("/v1/deliveries", key=pair.keys["supplier"])
        assert answer.json()["deliveries"][0]["due_at"] is None

    @pytest.mark.parametrize(
        ("attempts", "error", "seconds"),
        [
            (0, Unavailable("x"), 1),
            (1, Unavailable("x"), 2),
            (3, TierlinkError("x"), 8),
            (60, Unavailable("x"), 3600),
            (0, BadInput("x"), None),
            (5, VerifyError("E_SIG", "x"), None),
        ],
    )
    def test_when_again(self, attempts, error, seconds):
        found = again(attempts, error, 1_000.0)
        assert (None if found is None else found.timestamp() - 1_000) == seconds


class TestRefused:
    async def bundle(self, pair, **members):
        await pair.states("supplier", **members)
        child = pair.nodes["supplier"]
        (bundle,) = await due(child.store, child.clock.now + 10**9)
        return list(bundle.assertions), list(bundle.delegations)

    async def send(self, pair, assertions, delegations):
        body = {"assertions": assertions, "delegations": delegations}
        answer = await pair.nodes["customer"].post("/v1/proposals", body)
        assert answer.status_code == 200, answer.text
        return [item.get("code") or item["state"] for item in answer.json()["results"]]

    async def test_each_for_itself(self, pair):
        assertions, delegations = await self.bundle(pair)
        token = assertions[0]
        flipped = token[:-3] + ("A" if token[-3] != "A" else "B") + token[-2:]
        codes = await self.send(pair, [flipped, token, token], delegations)
        assert codes == ["E_SIG", "proposed", "proposed"]
        assert await pair.sees("customer", CAR, "upstream") == ["proposed"]

    async def test_without_its_chain(self, pair):
        assertions, _ = await self.bundle(pair)
        assert await self.send(pair, assertions, []) == ["E_CHAIN"]

    async def test_an_end_that_is_not_here(self, registry, pair):
        await registry.allocate("66", node="http://elsewhere.example")
        assertions, delegations = await self.bundle(pair, downstream="66/X")
        assert await self.send(pair, assertions, delegations) == ["prefix_elsewhere"]

    async def test_an_end_that_nobody_registered(self, pair):
        assertions, delegations = await self.bundle(pair, downstream="77.1/NONE")
        assert await self.send(pair, assertions, delegations) == ["identifier_not_found"]

    async def test_an_older_version_changes_nothing_and_our_own_is_not_taken(self, pair):
        first, delegations = await self.bundle(pair)
        await self.send(pair, first, delegations)
        second, _ = await self.bundle(pair, status=200, quantity={"value": "2", "unit": "H87"})
        assert await self.send(pair, second, delegations) == ["proposed"]
        assert await self.send(pair, first, delegations) == ["proposed"]
        near = [Near.at(Identifier.parse(CAR))]
        level = await Reader(pair.nodes["customer"].store).edges(
            near, "upstream", 9, Viewer(Prefix.parse("77.1"))
        )
        assert level.edges[0].assertions == tuple(second)
        child = pair.nodes["supplier"]
        answer = await child.post("/v1/proposals", {"assertions": second, "delegations": []})
        assert answer.json()["results"][0]["code"] == "prefix_elsewhere"

    async def test_what_is_no_bundle(self, pair):
        for body in ({"assertions": "x"}, {"assertions": [1]}, {"more": []}):
            answer = await pair.nodes["customer"].post("/v1/proposals", body)
            assert (answer.status_code, answer.json()["code"]) == (400, "query_invalid") or (
                answer.json()["code"] == "input_invalid"
            )
