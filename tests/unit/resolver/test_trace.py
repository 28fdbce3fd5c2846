"""Traces over a signed network: shape, cost, budgets, and statements that do not verify."""

import copy
import json
from dataclasses import replace

import pytest

from resolver.trace import Tracer
from resolver.walk import BUDGET, CUT_SHORT, TIMEOUT, UNAVAILABLE, Budget, Only
from schemas.edges import verify_edges
from schemas.errors import (
    IdentifierNotFound,
    PrefixNotFound,
    PrefixSuspended,
    Unavailable,
    VerifyError,
)
from schemas.link import DOWNSTREAM, UPSTREAM
from tests.authority import ISSUED, rule
from tests.network import BOTH, Network, node


class Clock:
    """Seconds that move by `step` at each look."""

    def __init__(self, step=0.0):
        self.now = 0.0
        self.step = step

    def __call__(self):
        self.now += self.step
        return self.now


@pytest.fixture
def net():
    return Network()


async def trace(net, root, direction=UPSTREAM, only=None, clock=None, **budget):
    tracer = Tracer(net, net.verifier, clock or Clock())
    return await tracer.walk(node(root), direction, Budget(**budget), only or Only())


def depths(found):
    return {item.identifier.suffix: item.depth for item in found.nodes}


def pairs(found):
    return [item.link.upstream.suffix + item.link.downstream.suffix for item in found.edges]


def broken(found):
    return {(item.identifier.suffix, item.code) for item in found.broken}


def ladder(net, layers):
    """Two nodes a layer, each layer's crossed with the next's: 2^layers paths."""
    for layer in range(layers):
        for up in "ab":
            for down in "ab":
                net.grow((f"{layer:02}{up}", f"{layer + 1:02}{down}"))


class TestShape:
    async def test_fan_out(self, net):
        net.grow("am", "bm", "cm")
        found = await trace(net, "m")
        assert depths(found) == {"m": 0, "a": 1, "b": 1, "c": 1}
        assert pairs(found) == ["am", "bm", "cm"]
        assert (found.broken, found.cycles, found.truncated) == ((), (), False)

    async def test_direction_is_of_the_supply_chain(self, net):
        net.grow("ab", "bc")
        assert depths(await trace(net, "b", UPSTREAM)) == {"b": 0, "a": 1}
        assert depths(await trace(net, "b", DOWNSTREAM)) == {"b": 0, "c": 1}

    async def test_a_diamond_counts_each_node_and_link_once(self, net):
        net.grow("ab", "ac", "bd", "cd")
        found = await trace(net, "d")
        assert depths(found) == {"d": 0, "b": 1, "c": 1, "a": 2}
        assert sorted(pairs(found)) == ["ab", "ac", "bd", "cd"]
        assert found.cycles == ()

    async def test_links_that_skip_a_level_are_no_cycle(self, net):
        net.grow("ab", "bc", "ac", "cd", "ad")
        found = await trace(net, "a", DOWNSTREAM)
        assert depths(found) == {"a": 0, "b": 1, "c": 1, "d": 1}
        assert len(found.edges) == 5
        assert found.cycles == ()

    async def test_a_back_edge_is_marked_and_ends_nothing(self, net):
        net.grow("ab", "bc", "ca", "cd")
        view = (await trace(net, "a", DOWNSTREAM)).view()
        assert view["cycles"] == [["88.100/a", "88.100/b", "88.100/c"]]
        marked = {
            edge["upstream"][-1] + edge["downstream"][-1]
            for edge in view["edges"]
            if "cycle" in edge
        }
        assert marked == {"ab", "bc", "ca"}
        assert not view["truncated"]

    async def test_a_pair_that_contains_itself(self, net):
        # The shape of the published test case CXTM-657: two parts, each in the other, no root.
        net.grow("ab", "ba")
        for direction in BOTH:
            found = await trace(net, "a", direction)
            assert [[n.suffix for n in part] for part in found.cycles] == [["a", "b"]]
            assert len(found.edges) == 2

    @pytest.mark.parametrize("back", [False, True], ids=["ladder", "with a back edge"])
    async def test_25_layers_are_linear(self, net, back):
        ladder(net, 25)
        if back:
            net.grow(("25a", "00a"))
        found = await trace(net, "00a", DOWNSTREAM, depth=100)
        assert len(found.nodes) == 51
        assert len(found.edges) == 98 + back
        assert bool(found.cycles) == back
        assert net.count("edges") == 26

    async def test_the_order_is_that_of_levels_and_names(self, net):
        net.grow("zm", "am", "xz", "ya")
        found = await trace(net, "m")
        assert list(depths(found)) == ["m", "a", "z", "x", "y"]
        assert pairs(found) == ["am", "zm", "ya", "xz"]
        assert found == await trace(net, "m")


class TestCost:
    @pytest.mark.parametrize("levels", [1, 2, 5, 9])
    async def test_calls_of_the_source(self, net, levels):
        net.add("n0")
        net.grow(*((f"n{i}", f"n{i + 1}") for i in range(levels - 1)))
        await trace(net, "n0", DOWNSTREAM)
        assert net.count("edges") == levels
        assert net.count("fetch") == (2 if levels > 1 else 1)

    async def test_one_look_up_describes_all_nodes(self, net):
        net.grow(*((f"p{i:04}", "m") for i in range(1_100)), sides=(DOWNSTREAM,))
        found = await trace(net, "m", nodes=2_000)
        assert len(found.nodes) == 1_101
        assert net.calls == [
            ("fetch", 1),
            ("edges", 1),
            ("edges", 1_100),
            ("fetch", 1_100),
        ]

    async def test_what_verified_once_is_remembered(self, net):
        net.grow("ab", "bc")
        verifier = net.verifier
        tracer = Tracer(net, verifier, Clock())
        first = await tracer.walk(node("c"), UPSTREAM, Budget())
        verified = verifier.verified
        assert verified == 3 + 4  # records and assertions
        assert await tracer.walk(node("c"), UPSTREAM, Budget()) == first
        assert verifier.verified == verified


class TestNodes:
    async def test_kinds_and_statuses(self, net):
        net.allocate("88.101")
        net.register("88.100/lot", "batch", status="suspended")
        net.register("88.100/K", "class", rule=rule("K-{n:digits:3}"))
        net.add("m", "old")
        for part in ("lot", "K-001", "old", "none", "88.101/x", "99/y"):
            net.tie(part, "m", (DOWNSTREAM,))
        net.retire("88.100/old")
        net.suspend("88.101")
        found = await trace(net, "m")
        told = {n.identifier.text: (n.described.kind, n.described.status) for n in found.nodes}
        assert told == {
            "88.100/m": ("item", "active"),
            "88.100/lot": ("batch", "suspended"),
            "88.100/K-001": ("item", "active"),
            "88.100/old": ("item", "retired"),
            "88.100/none": (None, "unknown"),
            "88.101/x": (None, "unknown"),
            "99/y": (None, "unknown"),
        }
        assert broken(found) == {("none", "identifier_not_found"), ("x", "prefix_suspended")}
        assert not found.truncated

    async def test_the_root_may_be_retired_or_covered(self, net):
        net.register("88.100/K", "class", rule=rule("K-{n:digits:3}"))
        net.grow("am")
        net.tie("K-001", "m", (UPSTREAM,))
        net.retire("88.100/m")
        found = await trace(net, "m")
        assert found.nodes[0].described.status == "retired"
        assert pairs(found) == ["K-001m", "am"]
        assert pairs(await trace(net, "K-001", DOWNSTREAM)) == ["K-001m"]

    @pytest.mark.parametrize(
        ("root", "error"),
        [
            pytest.param("none", IdentifierNotFound, id="not registered"),
            pytest.param("99.1/x", PrefixNotFound, id="prefix of another node"),
            pytest.param("88.101/x", PrefixSuspended, id="suspended prefix"),
        ],
    )
    async def test_a_root_that_is_not_there(self, net, root, error):
        net.allocate("88.101")
        net.suspend("88.101")
        with pytest.raises(error):
            await trace(net, root)
        assert net.count("edges") == 0

    async def test_a_record_that_does_not_verify(self, net):
        net.grow("am")
        record, token = net.records[node("a")]
        net.records[node("a")] = (record, tampered(token))
        found = await trace(net, "m")
        assert found.nodes[1].described.status == "unknown"
        assert broken(found) == {("a", "E_SIG")}


def verified(view, net):
    """The states that a verifier finds the links of a trace in, or its verdict."""
    try:
        return [shown.state for shown in verify_edges(view, net.trust)]
    except VerifyError as err:
        return err.code


def tampered(token):
    """The same envelope with another signature."""
    head, _, signature = token.rpartition(".")
    return f"{head}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


class TestStatements:
    @pytest.mark.parametrize(
        ("sides", "state"),
        [
            pytest.param((UPSTREAM,), "proposed", id="supplier alone"),
            pytest.param((DOWNSTREAM,), "proposed", id="customer alone"),
            pytest.param(BOTH, "mutual", id="both"),
        ],
    )
    async def test_who_states_it(self, net, sides, state):
        net.grow("am", sides=sides, quantity=("2", "KGM"))
        [edge] = (await trace(net, "m")).view()["edges"]
        assert edge == {
            "upstream": "88.100/a",
            "downstream": "88.100/m",
            "type": "CONTAINED_IN",
            "state": state,
            "quantity": {"value": "2", "unit": "KGM"},
            "lifecycle": "asBuilt",
            "asserted_by": sorted(sides),
            "assertions": [net.token("a", "m", side) for side in sides],
        }

    async def test_two_amounts_are_one_conflict(self, net):
        net.grow("am", sides=(UPSTREAM,), quantity=("5", "KGM"))
        net.tie("a", "m", (DOWNSTREAM,), quantity=("4", "KGM"))
        [edge] = (await trace(net, "m")).view()["edges"]
        assert edge["state"] == "conflicting"
        assert edge["quantity"] == {"value": "4", "unit": "KGM"}

    async def test_one_side_that_fails_leaves_the_other(self, net):
        net.grow("am")
        net.replace("a", "m", UPSTREAM, tampered(net.token("a", "m", UPSTREAM)))
        found = await trace(net, "m")
        assert found.view()["edges"][0]["state"] == "proposed"
        assert found.view()["edges"][0]["asserted_by"] == [DOWNSTREAM]
        assert found.view()["broken"] == [{"identifier": "88.100/a", "code": "E_SIG"}]
        assert not found.truncated

    async def test_a_link_that_nobody_vouches_for_is_not_walked(self, net):
        net.grow("xa", "am", sides=(DOWNSTREAM,))
        net.replace("a", "m", DOWNSTREAM, tampered(net.token("a", "m", DOWNSTREAM)))
        found = await trace(net, "m")
        assert depths(found) == {"m": 0}
        assert broken(found) == {("m", "E_SIG")}

    @pytest.mark.parametrize(
        ("spoil", "code"),
        [
            pytest.param(tampered, "E_SIG", id="signature"),
            pytest.param(lambda _: "no envelope", "E_FORMAT", id="no envelope at all"),
            pytest.param(lambda token: token[:-2] + "__", "E_ENCODING", id="not canonical"),
        ],
    )
    async def test_verdicts(self, net, spoil, code):
        net.grow("am", sides=(DOWNSTREAM,))
        net.replace("a", "m", DOWNSTREAM, spoil(net.token("a", "m", DOWNSTREAM)))
        found = await trace(net, "m")
        assert (found.edges, broken(found)) == ((), {("m", code)})

    async def test_an_assertion_of_another_link_counts_for_nothing(self, net):
        net.grow("am", "bm", sides=(DOWNSTREAM,))
        net.replace("a", "m", DOWNSTREAM, net.token("b", "m", DOWNSTREAM))
        found = await trace(net, "m")
        assert pairs(found) == ["bm"]
        assert broken(found) == {("m", "E_LINK")}

    async def test_a_side_that_speaks_twice_is_heard_once(self, net):
        net.grow("am")
        net.replace("a", "m", UPSTREAM, net.token("a", "m", DOWNSTREAM))
        found = await trace(net, "m")
        assert found.view()["edges"][0]["state"] == "proposed"
        assert broken(found) == {("m", "E_LINK")}

    async def test_a_stranger_speaks_for_nobody(self, net):
        net.allocate("88.101")
        net.grow("am", sides=(DOWNSTREAM,))
        forged = replace(net.link("88.100/a", "88.100/m", DOWNSTREAM), issued_at=ISSUED + 1)
        key = net.keys[node("88.101/x").prefix]
        net.replace("a", "m", DOWNSTREAM, forged.sign(key))
        assert broken(await trace(net, "m")) == {("m", "E_LINK")}

    async def test_a_withdrawal_alone_states_no_link(self, net):
        net.grow("am", sides=(DOWNSTREAM,))
        net.replace("a", "m", DOWNSTREAM, net.withdrawal("a", "m", DOWNSTREAM))
        found = await trace(net, "m")
        assert (found.edges, broken(found)) == ((), {("m", "E_LINK")})

    @pytest.mark.parametrize("side", BOTH)
    async def test_a_withdrawal_is_shown_beside_what_stands(self, net, side):
        net.grow("am")
        other = next(item for item in BOTH if item != side)
        net.replace("a", "m", side, net.withdrawal("a", "m", side))
        view = (await trace(net, "m")).view()
        [edge] = view["edges"]
        assert (edge["state"], edge["asserted_by"]) == ("withdrawn", [other])
        assert edge["assertions"] == [net.token("a", "m", item) for item in BOTH]
        assert verified(view, net) == ["withdrawn"]
        edge["state"] = "mutual"
        assert verified(view, net) == "E_LINK"

    async def test_a_withdrawal_that_does_not_verify_takes_nothing_back(self, net):
        net.grow("am")
        net.replace("a", "m", UPSTREAM, tampered(net.withdrawal("a", "m", UPSTREAM)))
        found = await trace(net, "m")
        assert found.view()["edges"][0]["state"] == "proposed"
        assert broken(found) == {("a", "E_SIG")}

    async def test_what_it_shows_is_proved(self, net):
        net.allocate("88.101")
        net.grow("am", "bm", "xa", quantity=("2", "KGM"))
        net.grow(("88.101/s", "x"), sides=(UPSTREAM,))
        view = (await trace(net, "m")).view()
        assert verified(view, net) == ["mutual", "mutual", "mutual", "proposed"]
        for edit, code in (
            (lambda e: e.update(quantity={"value": "3", "unit": "KGM"}), "E_ANSWER"),
            (lambda e: e.update(upstream="88.100/z"), "E_ANSWER"),
            (lambda e: e.update(occurrence="1"), "E_ANSWER"),
            (lambda e: e.update(state="conflicting"), "E_LINK"),
            (lambda e: e["assertions"].pop(), "E_LINK"),
            (lambda e: e["assertions"].clear(), "E_LINK"),
            (lambda e: e["assertions"].append(e["assertions"][0]), "E_LINK"),
            (lambda e: e.pop("assertions"), "E_LINK"),
            (lambda e: e.update(assertions=[tampered(e["assertions"][0])]), "E_SIG"),
        ):
            forged = copy.deepcopy(view)
            edit(forged["edges"][0])
            assert verified(forged, net) == code
        del view["proof"]
        assert verified(view, net) == "E_FORMAT"

    async def test_only_some_types(self, net):
        net.grow("am")
        net.grow("bm", type="ATTACHED_TO")
        assert pairs(await trace(net, "m", only=Only(types=frozenset({"ATTACHED_TO"})))) == ["bm"]


class TestBudgets:
    async def whole(self, net, root):
        return await trace(net, root, DOWNSTREAM, depth=100, nodes=10_000)

    @pytest.mark.parametrize(
        "budget",
        [{"depth": n} for n in (1, 2, 3, 7)]
        + [{"nodes": n} for n in (1, 2, 3, 5, 10)]
        + [{"edges": n} for n in (1, 2, 5, 11)],
        ids=str,
    )
    async def test_what_is_cut_is_named_and_can_be_had(self, net, budget):
        ladder(net, 10)
        net.grow("xy")
        whole = await self.whole(net, "00a")
        cut = await trace(net, "00a", DOWNSTREAM, **budget)
        assert cut == await trace(net, "00a", DOWNSTREAM, **budget)
        assert cut.truncated
        assert {item.code for item in cut.broken} == {BUDGET}
        assert {item.identifier for item in cut.broken} <= {n.identifier for n in cut.nodes}
        assert len(cut.nodes) <= budget.get("nodes", 100)
        assert len(cut.edges) <= budget.get("edges", 100)
        # The walks from what was cut short, with the cut walk itself, are the whole.
        resumed = [await self.whole(net, item.identifier.suffix) for item in cut.broken]
        walks = [cut, *resumed]
        assert {n.identifier for w in walks for n in w.nodes} == {n.identifier for n in whole.nodes}
        assert {e.link for w in walks for e in w.edges} == {e.link for e in whole.edges}

    @pytest.mark.parametrize("budget", [{"depth": 2}, {"nodes": 4}], ids=str)
    async def test_what_fits_exactly_is_whole(self, net, budget):
        net.grow("ab", "bc", "ac", "ad")
        assert not (await trace(net, "a", DOWNSTREAM, **budget)).truncated

    async def test_the_deadline_cuts_between_levels(self, net):
        net.grow("ab", "bc", "cd", "de")
        # One look for the deadline, then two a level: the fourth level begins too late.
        found = await trace(net, "a", DOWNSTREAM, clock=Clock(step=0.3), seconds=2.0)
        assert found.truncated
        [last] = found.broken
        assert (last.code, last.identifier) == (TIMEOUT, found.nodes[-1].identifier)

    async def test_the_deadline_cuts_within_a_level(self, net):
        net.grow(*((f"p{i:02}", "m") for i in range(64)), sides=(DOWNSTREAM,))
        found = await trace(net, "m", clock=Clock(step=0.1), seconds=0.45)
        assert 0 < len(found.edges) < 64
        assert ("m", TIMEOUT) in broken(found)
        assert found.truncated

    async def test_a_source_that_is_too_slow(self, net):
        net.grow("am")
        net.delay = 0.02
        found = await trace(net, "m", seconds=0.01)
        assert (depths(found), broken(found)) == ({"m": 0}, {("m", TIMEOUT)})

    async def test_a_source_that_goes_away(self, net):
        net.grow("ab", "bc", "cd")
        net.away_after = 3
        found = await trace(net, "a", DOWNSTREAM)
        assert depths(found) == {"a": 0, "b": 1, "c": 2}
        assert broken(found) == {("c", UNAVAILABLE), ("b", UNAVAILABLE)}
        assert found.truncated
        assert {code for _, code in broken(found)} <= CUT_SHORT

    async def test_a_source_that_is_away(self, net):
        net.grow("ab")
        net.away = True
        with pytest.raises(Unavailable):
            await trace(net, "a")


class TestStream:
    async def lines(self, net, root, **budget):
        tracer = Tracer(net, net.verifier, Clock())
        return [line async for line in tracer.stream(node(root), DOWNSTREAM, Budget(**budget))]

    async def test_says_what_the_whole_says(self, net):
        net.grow("ab", "bc", "ca", "bd")
        net.tie("d", "none", (UPSTREAM,))
        whole = (await trace(net, "a", DOWNSTREAM)).view()
        *levels, last = await self.lines(net, "a")
        assert [level["depth"] for level in levels] == [0, 1, 2, 3, 4]
        assert [n for level in levels for n in level["nodes"]] == whole["nodes"]
        unmarked = [
            {name: value for name, value in edge.items() if name != "cycle"}
            for edge in whole["edges"]
        ]
        assert [edge for level in levels for edge in level["edges"]] == unmarked
        assert [item for level in levels for item in level["broken"]] == whole["broken"]
        names = ("root", "direction", "cycles", "truncated", "proof")
        assert last == {name: whole[name] for name in names}

    async def test_tells_of_a_cut(self, net):
        net.grow("ab", "bc")
        *levels, last = await self.lines(net, "a", depth=1)
        assert levels[-1]["broken"] == [{"identifier": "88.100/b", "code": BUDGET}]
        assert last["truncated"] is True


async def test_a_long_trace_is_written_in_pieces_of_the_same_bytes(net):
    net.grow(*((f"p{i:04}", "m") for i in range(1_200)), sides=(DOWNSTREAM,))
    found = await trace(net, "m", nodes=2_000, seconds=30.0)
    pieces = list(found.pieces())
    assert len(pieces) == 13
    assert json.loads(b"".join(pieces)) == found.view()
    assert list(json.loads(b"".join(pieces))) == list(found.view())


async def test_an_empty_trace_in_pieces(net):
    net.add("a")
    found = await trace(net, "a")
    assert json.loads(b"".join(found.pieces())) == found.view()
    assert found.view() == {
        "root": "88.100/a",
        "direction": "upstream",
        "nodes": [{"identifier": "88.100/a", "depth": 0, "kind": "item", "status": "active"}],
        "edges": [],
        "broken": [],
        "cycles": [],
        "truncated": False,
        "proof": {"chain": []},
    }
