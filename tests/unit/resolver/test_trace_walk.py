"""The decisions of a walk, without a source: order, room, cuts, cycles."""

import itertools
import random

import pytest

from resolver.traced import cycles
from resolver.walk import BUDGET, TIMEOUT, Broken, Budget, Only, Read, Stated, Walk
from schemas.link import DOWNSTREAM, UPSTREAM, Link
from schemas.source import Edge
from tests.network import node


def link(up, down, **more):
    return Link("CONTAINED_IN", node(up), node(down), **more)


def stated(*pairs):
    return tuple(Stated(link(up, down), ()) for up, down in pairs)


def names(nodes):
    return [item.suffix for item in nodes]


class TestAdvance:
    def test_upstream_goes_from_the_assembly_to_its_parts(self):
        walk = Walk(node("m"), UPSTREAM, Budget())
        level = walk.advance(Read(stated("bm", "am")))
        assert (level.depth, names(level.nodes)) == (1, ["a", "b"])
        assert walk.frontier == level.nodes

    def test_downstream_goes_from_the_part_to_its_assemblies(self):
        walk = Walk(node("a"), DOWNSTREAM, Budget())
        assert names(walk.advance(Read(stated("am", "an"))).nodes) == ["m", "n"]

    def test_a_link_to_a_visited_node_is_kept_and_not_followed(self):
        walk = Walk(node("a"), DOWNSTREAM, Budget())
        walk.advance(Read(stated("ab", "ac")))
        level = walk.advance(Read(stated("bc", "bd", "cd")))
        assert len(level.edges) == 3
        assert names(walk.frontier) == ["d"]

    @pytest.mark.parametrize("limit", [1, 2, 3, 4])
    def test_the_node_budget_cuts_at_the_first_names(self, limit):
        walk = Walk(node("a"), DOWNSTREAM, Budget(nodes=limit))
        level = walk.advance(Read(stated("ab", "ac", "ad")))
        assert names(level.nodes) == ["b", "c", "d"][: limit - 1]
        assert level.broken == ((Broken(node("a"), BUDGET),) if limit < 4 else ())

    def test_past_the_last_level_leaves_are_told_from_what_goes_on(self):
        walk = Walk(node("a"), DOWNSTREAM, Budget(depth=1))
        walk.advance(Read(stated("ab", "ac")))
        assert names(walk.frontier) == ["b", "c"]
        level = walk.advance(Read(stated("bx", "ca")))
        assert level.nodes == ()
        assert [item.link for item in level.edges] == [link("c", "a")]
        assert level.broken == (Broken(node("b"), BUDGET),)
        assert walk.frontier == ()

    def test_what_was_not_read_ends_the_walk_and_is_named(self):
        walk = Walk(node("a"), DOWNSTREAM, Budget())
        walk.advance(Read(stated("ab", "ac", "ad")))
        level = walk.advance(Read(stated("bx", "cy"), rest=node("c"), why=TIMEOUT))
        assert [(item.identifier.suffix, item.code) for item in level.broken] == [
            (suffix, TIMEOUT) for suffix in ("c", "d", "x", "y")
        ]
        assert walk.frontier == ()


class TestSelect:
    def edge(self, *ends, **more):
        return Edge(link(*ends, **more), ())

    def test_sorts_and_drops_what_was_not_asked_for(self):
        walk = Walk(node("a"), DOWNSTREAM, Budget(edges=10))
        read = [self.edge("a", "c"), self.edge("x", "y"), self.edge("a", "b"), self.edge("a", "c")]
        assert [item.link for item in walk.select(read)] == [link("a", "b"), link("a", "c")]
        assert walk.edges_left == 6

    def test_parallel_links_are_all_kept(self):
        walk = Walk(node("a"), DOWNSTREAM, Budget())
        read = [self.edge("a", "b", occurrence=text) for text in ("2", "1", "")]
        assert [item.link.occurrence for item in walk.select(read)] == ["", "1", "2"]

    @pytest.mark.parametrize(
        ("only", "kept"),
        [
            pytest.param(Only(), 2, id="everything"),
            pytest.param(Only(types=frozenset({"CONTAINED_IN"})), 2, id="type"),
            pytest.param(Only(types=frozenset({"SHIPPED_AS"})), 0, id="another type"),
            pytest.param(Only(lifecycles=frozenset({"asPlanned"})), 1, id="lifecycle"),
        ],
    )
    def test_types_and_lifecycles(self, only, kept):
        walk = Walk(node("a"), DOWNSTREAM, Budget(), only)
        read = [self.edge("a", "b"), self.edge("a", "b", lifecycle="asPlanned")]
        assert len(walk.select(read)) == kept


class TestCycles:
    def of(self, *pairs, depths=None):
        ends = [(node(near), node(far)) for near, far in pairs]
        # Depth 0 for all: every link is suspect, so the components themselves are looked at.
        flat = dict.fromkeys(itertools.chain.from_iterable(ends), 0)
        return [names(part) for part in cycles(ends, depths or flat)]

    @pytest.mark.parametrize(
        ("pairs", "found"),
        [
            pytest.param(["ab"], [], id="a link"),
            pytest.param(["ab", "ba"], ["ab"], id="a pair"),
            pytest.param(["ab", "bc", "ca"], ["abc"], id="a triangle"),
            pytest.param(["ab", "bc", "ac"], [], id="a short cut is no cycle"),
            pytest.param(["ab", "ac", "bd", "cd"], [], id="a diamond is no cycle"),
            pytest.param(["xy", "yx", "ab", "ba", "bx"], ["ab", "xy"], id="two, in order"),
            pytest.param(["ab", "bc", "cb", "cd", "da"], ["abcd"], id="one within another"),
        ],
    )
    def test_each(self, pairs, found):
        assert self.of(*pairs) == [list(part) for part in found]

    def test_levels_alone_rule_most_out(self):
        depths = {node("a"): 0, node("b"): 1}
        assert self.of("ab", depths=depths) == []

    def test_a_long_ring_needs_no_stack_of_the_interpreter(self):
        size = 5_000
        pairs = [(node(f"n{i:05}"), node(f"n{(i + 1) % size:05}")) for i in range(size)]
        [ring] = cycles(pairs, {near: number for number, (near, _) in enumerate(pairs)})
        assert len(ring) == size

    @pytest.mark.parametrize("seed", range(20))
    def test_against_the_definition(self, seed):
        chance = random.Random(seed)
        size = 8
        pairs = {(chance.randrange(size), chance.randrange(size)) for _ in range(14)}
        pairs = {(near, far) for near, far in pairs if near != far}
        reach = {near: {near} for near in range(size)}
        for _ in range(size):
            for near, far in pairs:
                reach[near] |= reach[far]
        expected = {
            frozenset(b for b in range(size) if b in reach[a] and a in reach[b])
            for a in range(size)
        }
        ends = [(node(str(near)), node(str(far))) for near, far in pairs]
        found = cycles(ends, dict.fromkeys(map(node, map(str, range(size))), 0))
        assert {frozenset(int(i.suffix) for i in part) for part in found} == {
            part for part in expected if len(part) > 1
        }
