"""Quantities along walks: what multiplies, what adds up, and what nobody knows."""

import pytest

from resolver.quantities import Flow, roll_up, rolled_view, stated
from resolver.trace import Tracer
from resolver.walk import Budget
from schemas.link import DOWNSTREAM, UPSTREAM, Quantity
from tests.network import Network, node
from tests.parties import assertion


def flow(near, far, amount="", lifecycle="asBuilt"):
    """`near far amount unit`, the amount left out where nobody states one."""
    value, _, unit = amount.partition(" ")
    quantity = Quantity(value, unit or "H87") if value else None
    return Flow(node(near), node(far), lifecycle, quantity, "" if value else "missing")


def rolled(*flows, direction=UPSTREAM, cycles=()):
    """Amounts by suffix as `value unit`, and what is unknown as `?why`."""
    found = roll_up(node("r"), direction, flows, [[node(item) for item in part] for part in cycles])
    amounts = {
        item.suffix: f"{amount.value} {amount.unit}" for item, amount in found.amounts.items()
    }
    return amounts | {item.suffix: f"?{why}" for item, why in found.unknown.items()}


@pytest.mark.parametrize(
    ("flows", "expected"),
    [
        pytest.param(
            [("r", "a", "2"), ("a", "b", "0.5 KGM")], {"a": "2 H87", "b": "1.0 KGM"}, id="path"
        ),
        pytest.param(
            [("r", "a", "2"), ("r", "b", "3"), ("a", "c", "5 GRM"), ("b", "c", "7 GRM")],
            {"a": "2 H87", "b": "3 H87", "c": "31 GRM"},
            id="diamond",
        ),
        pytest.param(
            [("r", "a", "2"), ("r", "c", "4 GRM"), ("a", "c", "5 GRM")],
            {"a": "2 H87", "c": "14 GRM"},
            id="a link that skips a level",
        ),
        pytest.param(
            [("r", "a", "2 KGM"), ("a", "b", "1 KGM"), ("b", "c", "1")],
            {"a": "2 KGM", "b": "?units", "c": "?beyond"},
            id="of a weight of something nobody knows the parts",
        ),
        pytest.param(
            [("r", "a", "1"), ("r", "b", "1"), ("a", "c", "1 KGM"), ("b", "c", "1 LTR")],
            {"a": "1 H87", "b": "1 H87", "c": "?units"},
            id="units that do not add up",
        ),
        pytest.param(
            [("r", "a"), ("r", "b", "1"), ("b", "a", "1"), ("a", "c", "1")],
            {"a": "?missing", "b": "1 H87", "c": "?beyond"},
            id="one of two is missing",
        ),
        pytest.param(
            [("r", "a", "0"), ("a", "b", "5")], {"a": "0 H87", "b": "0 H87"}, id="nothing"
        ),
        pytest.param(
            [("r", "a", "2"), ("r", "a", "2", "asPlanned")],
            {"a": "?lifecycles"},
            id="planned and built are not two",
        ),
        pytest.param(
            [("r", "a", "2"), ("r", "a", "3")], {"a": "5 H87"}, id="parallel links add up"
        ),
        pytest.param([("x", "y", "1")], {"y": "?beyond"}, id="not from the root"),
    ],
)
def test_upstream(flows, expected):
    assert rolled(*(flow(*item) for item in flows)) == expected


@pytest.mark.parametrize(
    ("flows", "expected"),
    [
        pytest.param(
            [("r", "a", "2 KGM"), ("a", "b", "3")], {"a": "2 KGM", "b": "6 KGM"}, id="path"
        ),
        pytest.param(
            [("r", "a", "2 KGM"), ("r", "b", "1 KGM"), ("a", "c", "1"), ("b", "c", "4")],
            {"a": "2 KGM", "b": "1 KGM", "c": "6 KGM"},
            id="diamond",
        ),
        pytest.param(
            [("r", "a", "2 KGM"), ("a", "b", "0.1 KGM")],
            {"a": "2 KGM", "b": "?units"},
            id="a part of a batch of unknown size",
        ),
    ],
)
def test_downstream(flows, expected):
    assert rolled(*(flow(*item) for item in flows), direction=DOWNSTREAM) == expected


def test_cycles_are_left_out_and_named():
    flows = [flow("r", "a", "2"), flow("a", "b", "3"), flow("b", "a", "1"), flow("b", "c", "1 KGM")]
    assert rolled(*flows, cycles=["ab"]) == {"a": "?cycle", "b": "?cycle", "c": "?beyond"}
    found = roll_up(node("r"), UPSTREAM, flows, [[node("a"), node("b")]])
    assert [(item.near.suffix, item.far.suffix) for item in found.excluded] == [
        ("a", "b"),
        ("b", "a"),
    ]
    # Also where the root is part of it.
    flows = [flow("r", "a", "2"), flow("a", "r", "1"), flow("a", "c", "1")]
    assert rolled(*flows, cycles=["ra"]) == {"a": "?cycle", "c": "?beyond"}


def test_a_ladder_is_linear_and_exact():
    """Two nodes for each of 60 layers, all crossed: 2^60 paths, 238 links."""
    flows = [flow("r", f"0{a}", "1") for a in "ab"]
    for layer in range(59):
        flows += [flow(f"{layer}{a}", f"{layer + 1}{b}", "1") for a in "ab" for b in "ab"]
    found = rolled(*flows)
    assert (len(found), found["59a"]) == (120, f"{2**59} H87")


@pytest.mark.parametrize(
    ("up", "down", "expected"),
    [
        (None, None, (None, "missing")),
        ("2 KGM", None, (Quantity("2", "KGM"), "")),
        ("2 KGM", "2.0 KGM", (Quantity("2.0", "KGM"), "")),
        ("2 KGM", "3 KGM", (None, "conflict")),
        ("2 KGM", "2 H87", (None, "conflict")),
    ],
)
def test_what_the_ends_state(up, down, expected):
    said = [
        assertion(side, "88.1/A", "88.2/B", quantity=text and Quantity(*text.split()))
        for side, text in (("upstream", up), ("downstream", down))
    ]
    assert stated(said) == expected


async def test_of_a_trace():
    net = Network()
    net.grow("ar", quantity=("2", "H87"))
    net.grow("ba", quantity=("1.50", "KGM"))
    found = await Tracer(net, net.verifier).walk(node("r"), UPSTREAM, Budget())
    assert rolled_view(found) == {
        "amounts": [
            {"identifier": "88.100/a", "value": "2", "unit": "H87"},
            {"identifier": "88.100/b", "value": "3", "unit": "KGM"},
        ],
        "unknown": [],
        "excluded": [],
        "partial": False,
    }
