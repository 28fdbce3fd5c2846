"""A trace as an EPCIS document: read by our own reader, it says the same links again."""

import json

import httpx
from hypothesis import given, settings, strategies as st

from resolver import epcis_document
from resolver.app import error_edge
from resolver.page import Pages
from resolver.render import Renderer
from resolver.trace import Tracer
from resolver.traced import Trace
from resolver.walk import Broken, Stated
from schemas.epcis.document import read_document
from schemas.epcis.event import DELETE, Held
from schemas.epcis.moves import Act, plan
from schemas.epcis.naming import Naming
from schemas.identifier import Identifier, Prefix
from schemas.link import DOWNSTREAM, TYPES, UPSTREAM, Assertion, Link, Quantity
from tests.network import Network

PREFIX = Prefix.parse("88.100")
TOLD = ("CONTAINED_IN", "ATTACHED_TO", "CONSUMED_INTO")
SUFFIXES = ["A", "B", "transformation/T", "01/09506000134352/21/32a%2Fb", "x y?#ü/../"]

ends = st.sampled_from([Identifier(PREFIX, suffix) for suffix in SUFFIXES])
amounts = st.none() | st.builds(
    Quantity, st.sampled_from(["0", "0.1908", "12", "123456789012345678.123456789"]),
    st.sampled_from(["KGM", "H87"]),
)  # fmt: skip
moments = st.none() | st.integers(1_700_000_000, 1_700_000_009)


@st.composite
def statements(draw):
    up, down = draw(st.lists(ends, min_size=2, max_size=2, unique=True))
    lifecycle = draw(st.sampled_from(["asBuilt", "asBuilt", "asPlanned"]))
    link = Link(draw(st.sampled_from(sorted(TYPES))), up, down, lifecycle,
                draw(st.sampled_from(["", "2"])))  # fmt: skip
    began, ended = draw(moments), draw(moments)
    if began is not None and ended is not None and began >= ended:
        ended = None
    sides = draw(st.sampled_from([(UPSTREAM,), (DOWNSTREAM,), (UPSTREAM, DOWNSTREAM)]))
    said = tuple(
        Assertion(link, side, 1_700_000_005, quantity=draw(amounts),
                  valid_from=began, valid_until=ended)
        for side in sides
    )  # fmt: skip
    return Stated(link, said)


def written(edges, broken=()):
    root = Identifier(PREFIX, "A")
    trace = Trace(root, UPSTREAM, (), tuple(edges), tuple(broken), ())
    return b"".join(epcis_document.pieces(trace, "https://node.example:8088"))


def shown(stated):
    found = stated.view(proof=False)["quantity"]
    return None if found is None else Quantity(found["value"], found["unit"])


@settings(deadline=None, max_examples=200)
@given(st.lists(statements(), max_size=12, unique_by=lambda stated: stated.link))
def test_what_is_read_again_are_the_same_links(edges):
    raw = written(edges)
    document = read_document(raw)
    told = [edge for edge in edges if edge.link.type in TOLD and edge.link.lifecycle == "asBuilt"]
    again, ended = set(), set()
    for event in document.sound():
        assert event.head.error is None
        occurrence = str(event.head.body.get("tierlink:occurrence", ""))
        for move in plan(event, Naming(PREFIX)).moves:
            ends_ = (move.link.type, move.link.upstream, move.link.downstream, occurrence)
            if isinstance(event, Held) and event.action == DELETE:
                assert move.act is Act.CLOSE
                ended.add((ends_, event.time // 1000))
            else:
                again.add((ends_, move.quantity))
    keys = {
        edge.link: (edge.link.type, edge.link.upstream, edge.link.downstream, edge.link.occurrence)
        for edge in told
    }
    assert again == {(keys[edge.link], shown(edge)) for edge in told}
    assert ended == {
        (keys[edge.link], edge.said[0].valid_until)
        for edge in told
        if edge.said[0].valid_until is not None and edge.link.type != "CONSUMED_INTO"
    }
    others = json.loads(raw)["epcisBody"]["queryResults"]["tierlink:otherLinks"]
    assert len(others) == len(edges) - len(told)


async def test_over_http():
    net = Network()
    net.grow("am", "bm", quantity=("0.190", "KGM"))
    net.grow("xa")
    app = error_edge(Tracer(net, net.verifier).handle, Renderer(Pages()))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://node.example") as client:
        answer = await client.get("/v1/trace/88.100/m", headers={"accept": "application/ld+json"})
        assert answer.headers["content-type"] == "application/ld+json"
        (event, other) = sorted(
            read_document(answer.content).sound(), key=lambda e: e.head.body["parentID"]
        )
        assert event.head.body["parentID"] == "https://node.example/88.100/a"
        assert event.head.body["childEPCs"] == ["https://node.example/88.100/x"]
        assert [str(item.amount) for item in other.quantities] == ["0.190", "0.190"]
        assert other.head.body["tierlink:state"] == "mutual"
        assert other.head.body["tierlink:assertedBy"] == ["downstream", "upstream"]
        results = answer.json()["epcisBody"]["queryResults"]
        assert (results["tierlink:broken"], results["tierlink:truncated"]) == ([], False)
        cut = await client.get(
            "/v1/trace/88.100/m?depth=1", headers={"accept": "application/ld+json;q=1, */*;q=0.1"}
        )
        assert cut.json()["epcisBody"]["queryResults"]["tierlink:truncated"] is True
        head = await client.head("/v1/trace/88.100/m", headers={"accept": "application/ld+json"})
        assert (head.status_code, head.content) == (200, b"")
        plain = await client.get("/v1/trace/88.100/m", headers={"accept": "application/*"})
        assert plain.headers["content-type"] == "application/json"


def test_long_ones_in_pieces_and_what_is_lacking():
    edges = []
    for number in range(1050):
        link = Link("CONTAINED_IN", Identifier(PREFIX, f"C-{number}"),
                    Identifier(PREFIX, f"P-{number}"))  # fmt: skip
        edges.append(Stated(link, (Assertion(link, UPSTREAM, 1_700_000_000 + number),)))
    raw = written(edges, [Broken(Identifier(PREFIX, "P-9"), "budget")])
    assert len(list(read_document(raw).sound())) == 1050
    results = json.loads(raw)["epcisBody"]["queryResults"]
    assert results["tierlink:broken"] == [{"identifier": "88.100/P-9", "code": "budget"}]
    assert epcis_document.base_of(b"[::1]:80") == "https://localhost"
    assert epcis_document.base_of(b"a.example:8088") == "https://a.example:8088"
