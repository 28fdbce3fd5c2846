"""Walks without proof against walks over statements: the same graph, budget and choices."""

import json

import pytest
from hypothesis import given, settings, strategies as st

from resolver.outline import Course, Outliner, last, whole
from resolver.walk import BUDGET, TIMEOUT, UNAVAILABLE, Budget, Only, Read, Stated, Walk
from schemas.errors import Unavailable
from schemas.identifier import Identifier
from schemas.link import Link
from schemas.outline import Outline, Sweep
from schemas.source import Edge
from schemas.viewer import ANYBODY


def name(node):
    """Two prefixes, so that walks cross between holdings."""
    return f"88.{node % 2}/N-{node}"


def text(near, far):
    """As the store makes it, but for the near end, which a sweep leaves out."""
    return json.dumps(far) + ',"type":"CONTAINED_IN","lifecycle":"asBuilt"'


class Authority:
    """Links in memory; `sweeps` tells whether one call can tell all."""

    def __init__(self, pairs, *, sweeps=False, limit=10_000, away=None):
        self.pairs = sorted(pairs)
        self.sweeps = sweeps
        self.limit = limit
        self.away = away or {}
        self.levels = []
        self.calls = 0
        self.fails = None

    async def sweep(self, root, asked, depth):
        if not self.sweeps:
            return Sweep(registered=True, links=None)
        met, ahead = {root.text}, [root.text]
        for near in ahead:
            for far in [f for n, f in self.pairs if n == near and f not in met]:
                met.add(far)
                ahead.append(far)
        links = [(n, f, text(n, f)) for n, f in self.pairs if n in met]
        return Sweep(registered=True, links=links)

    async def survey(self, level, asked, limit):
        self.calls += 1
        if self.fails:
            raise self.fails
        self.levels.append(level)
        places = {key: at for at, key in enumerate(level.keys)}
        found = sorted((places[n], f) for n, f in self.pairs if n in places)
        limit = min(limit, self.limit)
        rest = found[limit][0] if len(found) > limit else None
        found = found[: limit + 1]
        texts = [f'{{"downstream":{json.dumps(level.keys[at])},"upstream":{text("", far)}}}'
                 for at, far in found]  # fmt: skip
        return Outline([at for at, _ in found], [far for _, far in found],
                       "\n".join(texts).encode(), rest, away=self.away)  # fmt: skip


async def outlined(authority, budget, root=0):
    course = Course(Identifier.parse(name(root)), "upstream", budget)

    async def answers():
        raise AssertionError

    outliner = Outliner(authority, lambda: 0.0)
    steps = [step async for step in outliner.steps(course, ANYBODY, Only(), answers)]
    document = json.loads(b"".join(whole(steps, course)))
    lines = [json.loads(step.line()) for step in steps] + [json.loads(last(steps, course))]
    assert [n for line in lines[:-1] for n in line["nodes"]] == document["nodes"]
    assert [e for line in lines[:-1] for e in line["edges"]] == document["edges"]
    assert lines[-1]["cycles"] == document["cycles"]
    assert document["verified"] is False
    return document


def walked(pairs, budget, root=0):
    """The same by `walk`, as (identifier, depth), (upstream, downstream), broken."""
    walk = Walk(Identifier.parse(name(root)), "upstream", budget)
    nodes, edges, broken = [(name(root), 0)], [], {}
    while walk.frontier:
        frontier = {node.text for node in walk.frontier}
        found = [Edge(Link("CONTAINED_IN", Identifier.parse(f), Identifier.parse(n)), ())
                 for n, f in pairs if n in frontier]  # fmt: skip
        level = walk.advance(Read(tuple(Stated(e.link, ()) for e in walk.select(found))))
        nodes += [(node.text, level.depth) for node in level.nodes]
        edges += [(item.link.upstream.text, item.link.downstream.text) for item in level.edges]
        broken |= {item.identifier.text: item.code for item in level.broken}
    return nodes, edges, broken


PAIRS = st.sets(
    st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda pair: pair[0] != pair[1]),
    max_size=24,
)


@settings(max_examples=120, deadline=None)
@given(PAIRS, st.integers(1, 12), st.integers(1, 6), st.booleans())
async def test_the_same_walk(pairs, nodes, depth, sweeps):
    pairs = {(name(near), name(far)) for near, far in pairs}
    budget = Budget(depth=depth, nodes=nodes)
    found = await outlined(Authority(pairs, sweeps=sweeps), budget)
    expected = walked(pairs, budget)
    assert [(n["identifier"], n["depth"]) for n in found["nodes"]] == expected[0]
    assert [(e["upstream"], e["downstream"]) for e in found["edges"]] == expected[1]
    assert {item["identifier"]: item["code"] for item in found["broken"]} == expected[2]
    assert found["truncated"] is bool(expected[2])


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("sweeps", [False, True])
async def test_a_ladder_of_25_layers_is_linear(back, sweeps):
    pairs = {(name(2 * layer + a), name(2 * layer + 2 + b))
             for layer in range(25) for a in (0, 1) for b in (0, 1)}  # fmt: skip
    pairs |= {(name(50), name(0))} if back else set()
    authority = Authority(pairs, sweeps=sweeps)
    found = await outlined(authority, Budget(depth=100))
    assert len(found["nodes"]) == 51
    assert len(found["edges"]) == 98 + back
    assert bool(found["cycles"]) is back
    assert authority.calls == (0 if sweeps else 26)


async def test_a_thing_in_itself_and_ten_thousand_links():
    loop = await outlined(Authority({(name(0), name(0))}), Budget())
    assert (len(loop["nodes"]), len(loop["edges"]), loop["cycles"]) == (1, 1, [])
    wide = {(name(0), name(node)) for node in range(1, 10_001)}
    found = await outlined(Authority(wide), Budget(nodes=500, edges=20_000))
    assert (len(found["nodes"]), len(found["edges"])) == (500, 499)
    assert found["broken"] == [{"identifier": name(0), "code": BUDGET}]


async def test_where_reading_ends_early():
    pairs = {(name(0), name(node)) for node in range(1, 6)}
    pairs |= {(name(1), name(7)), (name(2), name(8))}
    found = await outlined(Authority(pairs, limit=3), Budget())
    assert {item["code"] for item in found["broken"]} == {BUDGET}
    assert name(0) in {item["identifier"] for item in found["broken"]}
    authority = Authority(pairs)
    authority.fails = Unavailable("away")
    assert (await outlined(authority, Budget()))["broken"][0]["code"] == UNAVAILABLE
    authority.fails = TimeoutError()
    assert (await outlined(authority, Budget()))["broken"][0]["code"] == TIMEOUT


async def test_what_other_nodes_serve_is_where_to_walk_on():
    pairs = {(name(0), name(1)), (name(0), name(2)), (name(1), name(4))}
    authority = Authority(pairs, away={"88.1": "https://other.example"})
    found = await outlined(authority, Budget(depth=5))
    assert found["continuations"] == [
        {"identifier": name(1), "node": "https://other.example", "depth": 4}
    ]
    assert name(4) not in {node["identifier"] for node in found["nodes"]}


async def test_how_the_walk_came_to_each_is_told():
    """0 - 2 - 4 are of one prefix, 1 and 3 of the other."""
    pairs = {(name(0), name(2)), (name(2), name(4)), (name(2), name(1)), (name(1), name(3))}
    authority = Authority(pairs)
    await outlined(authority, Budget())
    came = {}
    for level in authority.levels:
        ways = zip(level.entries, level.steps, strict=True)
        came |= dict(zip(level.keys, ways, strict=True))
    assert came == {
        name(0): (name(0), 0), name(2): (name(0), 1), name(4): (name(0), 2),
        name(1): (name(1), 0), name(3): (name(1), 1),
    }  # fmt: skip
