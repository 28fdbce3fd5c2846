"""GET /v1/trace/… over HTTP: the query, the representations, the errors."""

import json

import httpx
import pytest

from resolver import trace
from resolver.app import error_edge
from resolver.page import Pages
from resolver.question import Question
from resolver.render import Renderer
from resolver.trace import Tracer
from resolver.walk import Budget
from schemas.edges import verify_edges
from schemas.errors import BadQuery
from tests.network import Network

URL = "/v1/trace/88.100/m"


@pytest.fixture
def net():
    net = Network()
    net.grow("am", "bm", "xa", quantity=("2", "KGM"))
    return net


@pytest.fixture
async def client(net):
    app = error_edge(Tracer(net, net.verifier).handle, Renderer(Pages()))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://node.example") as client:
        yield client


class TestWhole:
    async def test_members_and_headers(self, client):
        answer = await client.get(URL)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["vary"] == "accept, authorization"
        assert answer.headers["access-control-allow-origin"] == "*"
        assert int(answer.headers["content-length"]) == len(answer.content)
        assert list(answer.json()) == [
            "root",
            "direction",
            "nodes",
            "edges",
            "broken",
            "cycles",
            "truncated",
            "proof",
        ]
        assert answer.json()["direction"] == "upstream"
        assert len(answer.json()["nodes"]) == 4

    async def test_parameters(self, client):
        answer = await client.get(
            "/v1/trace/88.100/x",
            params={
                "direction": "downstream",
                "depth": 1,
                "limit": 50,
                "types": "CONTAINED_IN,ATTACHED_TO",
                "lifecycle": "asBuilt",
                "deadline_ms": 30_000,
            },
        )
        assert [node["identifier"] for node in answer.json()["nodes"]] == ["88.100/x", "88.100/a"]
        assert answer.json()["broken"] == [{"identifier": "88.100/a", "code": "budget"}]
        assert answer.json()["truncated"] is True

    @pytest.mark.parametrize("short", [1, 1_000])
    async def test_without_proof(self, client, net, monkeypatch, short):
        monkeypatch.setattr(trace, "SHORT", short)
        whole, bare = await client.get(URL), await client.get(f"{URL}?proof=none")
        assert len(whole.json()["proof"]["chain"]) == 2
        assert all(len(edge["assertions"]) == 2 for edge in whole.json()["edges"])
        assert "proof" not in bare.json()
        assert not any("assertions" in edge for edge in bare.json()["edges"])

    async def test_a_long_one_comes_in_pieces(self, client, net, monkeypatch):
        monkeypatch.setattr(trace, "SHORT", 1)
        answer = await client.get(URL)
        assert "content-length" not in answer.headers
        assert len(answer.json()["nodes"]) == 4

    async def test_times_and_quantities(self, client):
        answer = await client.get(f"{URL}?at=2026-11-25T08:00:00%2B08:00&as_of=1795000000&rollup=1")
        document = answer.json()
        assert (document["at"], document["as_of"]) == (
            "2026-11-25T00:00:00Z",
            "2026-11-18T11:06:40Z",
        )
        assert document["rollup"]["amounts"][0] == {
            "identifier": "88.100/a",
            "value": "2",
            "unit": "KGM",
        }
        stream = await client.get(f"{URL}?rollup=1", headers={"accept": "application/x-ndjson"})
        last = json.loads(stream.text.splitlines()[-1])
        assert last["rollup"] == document["rollup"]

    async def test_a_percent_encoded_identifier(self, client, net):
        net.register("88.100/电池 1")
        answer = await client.get("/v1/trace/88.100/%E7%94%B5%E6%B1%A0%201")
        assert answer.json()["root"] == "88.100/电池 1"

    @pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
    async def test_head_has_no_body(self, client, accept):
        answer = await client.head(URL, headers={"accept": accept})
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-type"] == accept

    async def test_options_tells_the_methods(self, client):
        answer = await client.options(URL)
        assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS")


class TestStream:
    async def test_a_line_per_level_and_one_for_the_whole(self, client, net):
        answer = await client.get(URL, headers={"accept": "application/x-ndjson"})
        assert answer.headers["content-type"] == "application/x-ndjson"
        *levels, last = [json.loads(line) for line in answer.text.splitlines()]
        assert [len(level["nodes"]) for level in levels] == [1, 2, 1, 0]
        assert last["truncated"] is False
        edges = [edge for level in levels for edge in level["edges"]]
        shown = verify_edges({"edges": edges, "proof": last["proof"]}, net.trust)
        assert [item.state for item in shown] == ["mutual"] * 3

    async def test_the_root_is_looked_up_before_the_answer_begins(self, client):
        headers = {"accept": "application/x-ndjson"}
        answer = await client.get("/v1/trace/88.100/none", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (404, "identifier_not_found")


class TestRefusals:
    @pytest.mark.parametrize(
        ("query", "value"),
        [
            pytest.param("direction=up", "up", id="a column name is no direction"),
            pytest.param("direction=upstream&direction=upstream", "direction", id="twice"),
            pytest.param("levels=3", "levels", id="unknown"),
            pytest.param("depth=0", "0", id="depth too small"),
            pytest.param("depth=101", "101", id="depth too large"),
            pytest.param("depth=%2B5", "+5", id="depth with a sign"),
            pytest.param("depth=5.0", "5.0", id="depth with a point"),
            pytest.param("depth=%D9%A3", "٣", id="depth in other digits"),
            pytest.param("limit=100001", "100001", id="limit too large"),
            pytest.param("limit=", "", id="limit empty"),
            pytest.param("deadline_ms=60001", "60001", id="deadline too late"),
            pytest.param("types=CONTAINED_IN,NONE", "NONE", id="unknown type"),
            pytest.param("lifecycle=asbuilt", "asbuilt", id="lifecycle in lower case"),
            pytest.param("depth", "depth", id="no value"),
            pytest.param("at=yesterday", "yesterday", id="at is no time"),
            pytest.param("as_of=2026-11-25", "2026-11-25", id="as_of is a date alone"),
            pytest.param("rollup=yes", "yes", id="rollup is 1"),
            pytest.param("proof=full", "full", id="no such proof"),
        ],
    )
    async def test_query(self, client, net, query, value):
        answer = await client.get(f"{URL}?{query}")
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (400, "query_invalid")
        assert problem.get("value", "") == value
        assert net.calls == []

    @pytest.mark.parametrize(
        ("path", "status", "code"),
        [
            pytest.param("/v1/trace/88.100/none", 404, "identifier_not_found", id="missing"),
            pytest.param("/v1/trace/99.1/x", 404, "prefix_not_found", id="foreign"),
            pytest.param("/v1/trace/88.100", 400, "identifier_invalid", id="no suffix"),
            pytest.param("/v1/trace/88.10O/x", 400, "identifier_invalid", id="not canonical"),
            pytest.param("/v1/trace/88.100/%zz", 400, "identifier_invalid", id="broken escape"),
        ],
    )
    async def test_path(self, client, path, status, code):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["content-type"] == "application/problem+json"

    async def test_method(self, client):
        answer = await client.post(URL)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")

    async def test_accept(self, client):
        answer = await client.get(URL, headers={"accept": "text/csv"})
        assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")

    async def test_too_many_at_a_time(self, client, monkeypatch):
        monkeypatch.setattr(trace, "MAX_TRACES", 0)
        answer = await client.get(URL)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")

    async def test_a_source_that_is_away(self, client, net):
        net.away = True
        answer = await client.get(URL)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


class TestQuestion:
    PATH = b"/v1/trace/88.100/m"

    def test_defaults(self):
        question = Question.read(self.PATH, b"", None)
        assert question.budget == Budget(depth=8, nodes=1_000, edges=10_000, seconds=2.0)
        assert (question.direction, question.streamed) == ("upstream", False)

    def test_edges_grow_with_nodes_up_to_what_a_source_reads(self):
        assert Question.read(self.PATH, b"limit=1", None).budget.edges == 10_000
        assert Question.read(self.PATH, b"limit=100000", None).budget.edges == 100_000

    @pytest.mark.parametrize(
        ("accept", "streamed"),
        [
            (b"*/*", False),
            (b"application/*", False),
            (b"application/x-ndjson", True),
            (b"application/x-ndjson, application/json;q=0.5", True),
            (b"application/x-ndjson;q=0.5, application/json", False),
            (b"application/x-ndjson, */*;q=0.1", True),
        ],
        ids=str,
    )
    def test_accept(self, accept, streamed):
        assert Question.read(self.PATH, b"", accept).streamed is streamed

    def test_the_first_fault_is_named(self):
        with pytest.raises(BadQuery, match="whole number from 1 to 100"):
            Question.read(self.PATH, b"depth=x", None)
