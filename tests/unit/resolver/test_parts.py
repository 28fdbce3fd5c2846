"""Parts of a trace from other nodes: what is believed of them, and what costs a node its say."""

import copy

import pytest

from resolver.hops import Arrived, Journey, _moments, reason, receive
from resolver.joined import joined
from resolver.parts import MAX_PARTS, Asking, Reader
from resolver.referral import Place
from resolver.statements import Statements
from resolver.traced import Described, Node, Trace
from resolver.trust import Verifier
from resolver.walk import Broken
from schemas import canonical
from schemas.errors import (
    BadInput,
    KeyNotHosted,
    PeerFailed,
    PeerUnreachable,
    Unavailable,
    VerifyError,
)
from schemas.hop import Hop, Seal, asked, digest_of
from schemas.opening import Walked, digest_of as digest_of_box, key_of, put
from schemas.when import When
from tests.parties import (
    GEAR,
    GEAR_SAYS,
    INDUSTRY,
    INDUSTRY_TOKEN,
    ISSUED,
    STEEL,
    STEEL_SAYS,
    STRANGER,
    delegation,
    identifier,
    prefix,
    trust,
)

TRACE = "t" * 22
MINE, THEIRS, OTHERS = "https://gear.example", "https://steel.example", "https://other.example"
GEAR_TOKEN = delegation("88.100", "88", GEAR, node=MINE).sign(INDUSTRY)
STEEL_TOKEN = delegation("88.101", "88", STEEL, node=THEIRS).sign(INDUSTRY)
CHAIN = [INDUSTRY_TOKEN, GEAR_TOKEN, STEEL_TOKEN]
STEEL_ITEM, GEAR_ITEM = "88.101/STEEL-0091", "88.100/GEAR-2026-000001"

KEY = key_of("a grant")
OPENING = Walked(TRACE, "upstream", "", 1000 * ISSUED + 2000).opening(KEY)
KEYS = {OPENING: KEY}

EDGE = {
    "type": "CONTAINED_IN",
    "upstream": STEEL_ITEM,
    "downstream": GEAR_ITEM,
    "lifecycle": "asBuilt",
    "assertions": [GEAR_SAYS.sign(GEAR), STEEL_SAYS.sign(STEEL)],
}


def part(node=THEIRS, **members):
    return {
        "trace": TRACE,
        "node": node,
        "nodes": [{"identifier": STEEL_ITEM, "depth": 0, "kind": "item", "status": "active"}],
        "edges": [],
        "broken": [],
    } | members


def reply(found=None, signer=STEEL, parts=(), trace=TRACE, issuer="88.101", **members):
    found = found or part()
    seal = Seal(trace, prefix(issuer), found["node"], ISSUED, digest_of(found)).sign(signer)
    return {"part": found, "delegations": CHAIN, "parts": list(parts), "seal": seal} | members


@pytest.fixture
def reader():
    return Reader(Verifier(trust()), Statements(), Place("", MINE))


def read(reader, given, origin=THEIRS):
    return reader.read(given, Asking(origin, TRACE, "upstream", KEYS))


def refused(reader, given, origin=THEIRS):
    with pytest.raises(VerifyError) as caught:
        read(reader, given, origin)
    return caught.value.code


class TestBelieved:
    def test_what_its_node_sealed(self, reader):
        (found,) = read(reader, reply(part(edges=[EDGE])))
        assert [node.identifier.text for node in found.nodes] == [STEEL_ITEM]
        assert [stated.link.upstream.text for stated in found.edges] == [STEEL_ITEM]
        assert (found.node, str(found.sealed.issuer), found.broken) == (THEIRS, "88.101", ())

    def test_further_parts_each_by_its_own_seal(self, reader):
        inner = reply(part(MINE), signer=GEAR, issuer="88.100")
        found = read(reader, reply(parts=[inner]))
        assert [item.node for item in found] == [THEIRS, MINE]

    def test_a_further_part_lies_below_what_the_part_around_it_came_to(self, reader):
        def at(item, depth):
            return {"identifier": item, "depth": depth}

        inmost = reply(part(nodes=[at("88.101/ORE", 0)]))
        further = part(MINE, nodes=[at("88.101/LOT", 0), at("88.101/ORE", 3)])
        inner = reply(further, signer=GEAR, issuer="88.100", parts=[inmost])
        outer = part(nodes=[at(STEEL_ITEM, 0), at("88.101/LOT", 2)])
        assert [item.below for item in read(reader, reply(outer, parts=[inner]))] == [0, 2, 5]
        # what nobody came to is nothing to go on from
        lost = part(nodes=[at(STEEL_ITEM, 0)])
        assert refused(reader, reply(lost, parts=[inner])) == "E_PART"

    def test_what_the_node_of_the_root_sealed_comes_back_to_it(self):
        """No delegation has to name a node for what is held there."""
        token = delegation("88.100", "88", GEAR).sign(INDUSTRY)
        inner = reply(part(MINE), signer=GEAR, issuer="88.100")
        inner["delegations"] = [INDUSTRY_TOKEN, token]
        reader = Reader(Verifier(trust()), Statements(), Place("", MINE))
        assert [item.node for item in read(reader, reply(parts=[inner]))] == [THEIRS, MINE]
        elsewhere = Reader(Verifier(trust()), Statements(), Place("", OTHERS))
        assert refused(elsewhere, reply(parts=[inner])) == "E_PART"

    def test_a_link_that_does_not_verify_is_left_out_and_named(self, reader):
        forged = EDGE | {"assertions": [GEAR_SAYS.sign(STRANGER), STEEL_SAYS.sign(STEEL)]}
        (found,) = read(reader, reply(part(edges=[forged])))
        assert [item.code for item in found.broken] == ["E_LINK"]
        assert [len(stated.said) for stated in found.edges] == [1]
        nobody = EDGE | {"assertions": [GEAR_SAYS.sign(STRANGER)]}
        (found,) = read(reader, reply(part(edges=[nobody])))
        assert found.edges == ()

    def test_an_assertion_of_another_link_counts_for_none(self, reader):
        other = EDGE | {"type": "DERIVED_FROM"}
        (found,) = read(reader, reply(part(edges=[other])))
        assert (found.edges, {item.code for item in found.broken}) == ((), {"E_LINK"})


class TestRefused:
    @pytest.mark.parametrize(
        ("given", "code"),
        [
            pytest.param(reply(signer=STRANGER), "E_CHAIN", id="sealed by a stranger"),
            pytest.param(reply(signer=GEAR), "E_CHAIN", id="sealed by another holder"),
            pytest.param(
                reply(signer=GEAR, issuer="88.100"), "E_PART", id="a prefix of another node"
            ),
            pytest.param(reply(trace="u" * 22), "E_PART", id="a seal of another trace"),
            pytest.param(
                reply(part(trace="u" * 22)), "E_PART", id="a part of another trace"
            ),
            pytest.param(
                reply(part(MINE), signer=GEAR, issuer="88.100"), "E_PART", id="another node's part"
            ),
            pytest.param(reply(delegations=[]), "E_CHAIN", id="no chain"),
            pytest.param(reply(seal="x.y.z"), "E_", id="no seal"),
            pytest.param(reply(part(nodes=[{"identifier": "x"}])), "E_FORMAT", id="no node"),
            pytest.param(reply(part(edges="none")), "E_FORMAT", id="edges are no array"),
            pytest.param(reply(parts=["x"]), "E_FORMAT", id="parts are no objects"),
            pytest.param(
                reply(parts=[reply()] * MAX_PARTS), "E_LIMIT", id="too many parts"
            ),
        ],
    )  # fmt: skip
    def test_the_whole_part(self, reader, given, code):
        assert refused(reader, given).startswith(code)

    def test_what_was_changed_after_it_was_sealed(self, reader):
        given = reply(part(edges=[EDGE]))
        for change in (
            lambda found: found["nodes"].append({"identifier": "88.101/X", "depth": 1}),
            lambda found: found["nodes"][0].update(depth=3),
            lambda found: found["edges"].clear(),
            lambda found: found["broken"].append({"identifier": STEEL_ITEM, "code": "timeout"}),
        ):
            other = copy.deepcopy(given)
            change(other["part"])
            assert refused(reader, other) == "E_PART"

    def test_a_further_part_that_is_not_from_where_it_says(self, reader):
        lied = part(OTHERS)
        inner = reply(lied, signer=GEAR, issuer="88.100")
        assert refused(reader, reply(parts=[inner])) == "E_PART"


def closed(content, key=KEY, opening=OPENING, trace=TRACE, **members):
    """A reply that keeps something in a box beside its part."""
    if isinstance(content, dict):
        content = canonical.encode(content)
    box = put(key, trace, opening, content, b"n" * 12)
    found = part(closed=[digest_of_box(box)], **members)
    return reply(found, closed=[{"opening": opening, "box": box}])


ORE = {"identifier": "88.101/ORE", "depth": 1, "kind": "batch", "status": "active"}
MORE = part(nodes=[*part()["nodes"], ORE], edges=[EDGE])


class TestBoxes:
    def test_what_is_in_one_is_a_part_beside_it(self, reader):
        outer, inner = read(reader, closed(reply(MORE)))
        assert (outer.opened, outer.broken, inner.opened) == (True, (), False)
        assert [node.identifier.text for node in inner.nodes] == [STEEL_ITEM, "88.101/ORE"]
        assert [stated.link.upstream.text for stated in inner.edges] == [STEEL_ITEM]
        assert (inner.node, inner.below) == (THEIRS, 0)

    def test_of_a_further_part_it_lies_as_deep(self, reader):
        lot = {"identifier": GEAR_ITEM, "depth": 0}
        met = part(MINE, nodes=[lot, part()["nodes"][0] | {"depth": 3}])
        outer = reply(met, signer=GEAR, issuer="88.100", parts=[closed(reply(MORE))])
        found = read(reader, outer, MINE)
        assert [(item.node, item.below) for item in found] == [(MINE, 0), (THEIRS, 3), (THEIRS, 3)]

    def test_one_for_another_is_passed_over(self, reader):
        other = Walked(TRACE, "upstream", "recall", 1).opening(KEY)
        (found,) = read(reader, closed(reply(MORE), opening=other))
        assert (found.opened, found.broken) == (False, ())

    def test_a_node_on_the_way_keeps_it_whole_and_opens_nothing(self, reader):
        given = closed(reply(MORE))
        (found,) = reader.read(given, Asking(THEIRS, TRACE, "upstream"))
        assert (found.opened, found.broken) == (False, ())

    @pytest.mark.parametrize(
        ("given", "code"),
        [
            pytest.param(closed(reply(MORE), key=key_of("x")), "E_BOX", id="another key"),
            pytest.param(closed(reply(MORE), trace="u" * 22), "E_BOX", id="another trace"),
            pytest.param(closed(b"[]"), "E_FORMAT", id="no object"),
            pytest.param(closed(b"{}"), "E_FORMAT", id="no reply"),
            pytest.param(closed(reply(MORE, signer=STRANGER)), "E_CHAIN", id="by a stranger"),
            pytest.param(
                closed(reply(part(MINE), signer=GEAR, issuer="88.100")), "E_PART", id="elsewhere"
            ),
            pytest.param(closed(reply(part(nodes=[]))), "E_PART", id="begins nowhere"),
            pytest.param(closed(reply(part(nodes=[ORE | {"depth": 0}]))), "E_PART", id="beside"),
            pytest.param(
                closed(reply(MORE, parts=[reply()] * MAX_PARTS)), "E_LIMIT", id="too many parts"
            ),
            pytest.param(closed(reply(MORE)) | {"closed": []}, "E_BOX", id="taken away"),
            pytest.param(
                closed(reply(MORE)) | {"closed": closed(reply(part()))["closed"]},
                "E_BOX",
                id="exchanged",
            ),
            pytest.param(
                reply(closed=closed(reply(MORE))["closed"]), "E_BOX", id="put there on the way"
            ),
        ],
    )
    def test_one_that_does_not_open_costs_what_is_in_it_alone(self, reader, given, code):
        (found,) = read(reader, given)
        assert [(item.identifier.text, item.code, item.node) for item in found.broken] == [
            (STEEL_ITEM, code, THEIRS)
        ]
        assert ([node.identifier.text for node in found.nodes], found.opened) == (
            [STEEL_ITEM],
            False,
        )

    @pytest.mark.parametrize(
        "boxes",
        [
            "x",
            [1],
            [{"opening": OPENING}],
            [{"opening": "short", "box": "AA"}],
            [{"opening": OPENING, "box": "AA", "more": 1}],
            [{"opening": OPENING, "box": "AA"}] * 5,
            [{"opening": OPENING, "box": "A" * 3_000_000}],
        ],
    )
    def test_what_is_no_box_is_no_reply(self, reader, boxes):
        assert refused(reader, reply(closed=boxes)) == "E_FORMAT"


class TestReceived:
    PLACE = Place("", THEIRS)

    def request(self, signer=GEAR, audience=THEIRS, trace=TRACE, **members):
        body = {"entries": [STEEL_ITEM], "delegations": [INDUSTRY_TOKEN, GEAR_TOKEN]} | members
        hop = Hop(
            trace, prefix("88.100"), audience, asked(body), "upstream", 3, 50,
            ISSUED, 1000 * ISSUED + 1500, prefix("88.100"),
        )  # fmt: skip
        return body | {"token": hop.sign(signer)}

    def receive(self, request, now=ISSUED + 0.5):
        return receive(request, Verifier(trust()), self.PLACE, now)

    def test_a_good_one_and_what_is_left_for_it(self):
        found = self.receive(self.request(types=["CONTAINED_IN"]))
        assert found.entries == (identifier(STEEL_ITEM),)
        walk = found.walk(found.entries)
        assert (walk.depth_left, walk.nodes_left) == (3, 49)
        assert walk.viewer.prefix == prefix("88.100")
        assert found.seconds(ISSUED + 0.5) == pytest.approx(0.9)
        assert found.seconds(ISSUED + 5) == 0.0

    def test_times_go_along(self):
        found = self.receive(self.request(at="1700000000", as_of="2026-11-25T10:00:00.5Z"))
        assert found.only.when == When(1_700_000_000, 1_795_600_800.5)
        assert self.receive(self.request(**_moments(found.only.when))).only == found.only

    @pytest.mark.parametrize(
        ("members", "code"),
        [
            ({"signer": STEEL}, "E_CHAIN"),
            ({"signer": STRANGER}, "E_CHAIN"),
            ({"audience": OTHERS}, "E_HOP"),
            ({"delegations": []}, "E_CHAIN"),
        ],
    )
    def test_who_may_not_ask(self, members, code):
        with pytest.raises(VerifyError) as caught:
            self.receive(self.request(**members))
        assert caught.value.code == code

    def test_another_request_than_was_signed(self):
        request = self.request()
        with pytest.raises(VerifyError) as caught:
            self.receive(request | {"entries": [STEEL_ITEM, "88.101/OTHER"]})
        assert caught.value.code == "E_HOP"

    @pytest.mark.parametrize(
        "members",
        [
            {"entries": []},
            {"entries": [STEEL_ITEM, STEEL_ITEM]},
            {"entries": ["nonsense"]},
            {"entries": [f"88.101/N-{n}" for n in range(1001)]},
            {"types": ["NONE"]},
            {"at": "yesterday"},
            {"more": 1},
        ],
    )
    def test_what_is_no_request(self, members):
        with pytest.raises(BadInput) as caught:
            self.receive(self.request(**members))
        assert caught.value.status == 400


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (VerifyError("E_SIG", "x"), "E_SIG"),
        (PeerUnreachable(THEIRS, "x", reason="timeout"), "timeout"),
        (PeerFailed(THEIRS, "x", reason="denied"), "denied"),
        (PeerFailed(THEIRS, "x", reason="malformed"), "unreachable"),
        (PeerUnreachable(THEIRS, "x", reason="breaker"), "unreachable"),
        (Unavailable("x"), "unreachable"),
        (KeyNotHosted("x"), "key_not_hosted"),
    ],
)
def test_why_a_part_is_missing(error, word):
    assert reason(error) == word


class TestJoined:
    def trace(self):
        root = identifier(GEAR_ITEM)
        nodes = (
            Node(root, 0, Described("item", "active")),
            Node(identifier(STEEL_ITEM), 1, Described()),
        )
        return Trace(root, "upstream", nodes, (), (), ())

    def test_its_own_node_describes_and_depths_add_up(self, reader):
        parts = tuple(
            read(
                reader,
                reply(
                    part(
                        nodes=[
                            {"identifier": STEEL_ITEM, "depth": 0, "kind": "batch"},
                            {"identifier": "88.101/ORE", "depth": 1, "status": "active"},
                        ],
                        edges=[EDGE],
                        broken=[{"identifier": "88.101/ORE", "code": "budget"}],
                    )
                ),
            )
        )
        journey = Journey(None, 0.0)
        journey.arrived = [Arrived(1, parts, {})]
        journey.broken = [Broken(identifier("88.101/Z"), "timeout", OTHERS)]
        whole = joined(self.trace(), journey)
        assert [(n.identifier.text, n.depth, n.described.kind) for n in whole.nodes] == [
            (GEAR_ITEM, 0, "item"),
            (STEEL_ITEM, 1, "batch"),
            ("88.101/ORE", 2, None),
        ]
        assert [stated.link.downstream.text for stated in whole.edges] == [GEAR_ITEM]
        assert [(item.code, item.node) for item in whole.broken] == [
            ("timeout", OTHERS),
            ("budget", THEIRS),
        ]
        assert [item["node"] for item in whole.hops] == [THEIRS]
        assert [node.home for node in whole.nodes] == ["", THEIRS, ""]
        journey.arrived *= 2
        again = joined(self.trace(), journey)
        assert (len(again.nodes), len(again.edges)) == (3, 1)

    def test_who_met_a_node_does_not_describe_it_and_nobody_describes_ours(self, reader):
        met = {"identifier": "88.101/ORE", "depth": 1}
        ours = {"identifier": GEAR_ITEM, "depth": 2, "kind": "batch", "status": "recalled"}
        told = {"identifier": "88.101/ORE", "depth": 0, "kind": "batch", "status": "active"}
        cycle = [{"identifier": item, "code": "cycle"} for item in ("88.101/ORE", STEEL_ITEM)]
        journey = Journey(None, 0.0)
        for nodes, broken in (([told], []), ([met, ours], cycle)):
            parts = tuple(read(reader, reply(part(nodes=nodes, broken=broken))))
            journey.arrived.append(Arrived(1, parts, {}))
        whole = joined(self.trace(), journey)
        assert {n.identifier.text: (n.described.kind, n.home) for n in whole.nodes} == {
            GEAR_ITEM: ("item", ""),
            STEEL_ITEM: (None, ""),
            "88.101/ORE": ("batch", THEIRS),
        }
        # that it was asked for twice is a lack of what nobody told, and of nothing else
        assert [(item.identifier.text, item.code) for item in whole.broken] == [
            (STEEL_ITEM, "cycle")
        ]
