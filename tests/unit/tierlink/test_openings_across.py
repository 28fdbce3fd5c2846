"""Grants open further tiers across nodes: to whom they are, and to nobody on the way."""

import json
from dataclasses import replace

import httpx
import pytest
from sqlalchemy import text

from registry import received
from registry.app import create_app
from registry.reader import Reader
from resolver import hopping
from resolver.hops import PATH
from resolver.traced import encode
from resolver.walk import Budget
from schemas.canonical import decode_object
from schemas.errors import Unavailable
from schemas.grant import parse_grant
from schemas.hop import Hop, asked, parse_hop
from schemas.identifier import Identifier, Prefix
from schemas.keys import b64decode
from schemas.opening import MIN_BOX
from schemas.viewer import Viewer
from tests.companies import (
    BOX,
    CAR,
    CELL,
    CELLS,
    OEM,
    ORE,
    PACK,
    PACKS,
    SECRET,
    THIRD,
)
from tests.neighbours import CHILD, PARENT
from tierlink.client import AsyncClient

KNOWN = [CAR, PACK, BOX, CELL]  # without what the cell maker granted
EVERYTHING = {*KNOWN, ORE}


def names(trace):
    return [node.identifier.text for node in trace.nodes]


def token(body):
    return parse_hop(body["token"])[1]


async def everything_of(store):
    """All that a database holds, as text."""
    async with store.read() as tx:
        rows = await tx.connection.execute(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        )
        found = []
        for (table,) in rows.all():
            content = await tx.connection.execute(text(f"SELECT t::text FROM {table} AS t"))
            found += [row[0] for row in content]
    return "\n".join(found).encode()


class TestOpened:
    async def test_the_grantee_is_shown_it_and_nobody_on_the_way(self, companies):
        oem, packs, cells = companies
        await cells.grants("to-oem", OEM)
        await companies.deliver()
        assert await oem.received() == [
            (CELLS, "to-oem", 1, "granted"),
            (PACKS, "to-oem", 1, "granted"),
        ]
        trace = await oem.trace(CAR)
        assert set(names(trace)) == EVERYTHING
        assert trace.broken == ()
        depths = {node.identifier.text: (node.depth, node.home) for node in trace.nodes}
        assert (depths[CELL], depths[ORE]) == ((2, THIRD), (3, THIRD))
        assert all(stated.said and stated.envelopes for stated in trace.edges)
        assert len(trace.edges) == 4
        assert [item["node"] for item in trace.hops].count(THIRD) == 2
        # what went by the node between
        assert (await oem.trace(CAR, purpose="recall")).broken == ()
        by = [reply for origin in (PARENT, THIRD) for _, reply in companies.wire.traced(origin)]
        assert by
        assert not [reply for reply in by if SECRET in reply]
        assert SECRET not in await everything_of(packs.registry.store)
        assert set(names(await packs.trace(PACK))) == {PACK, CELL, BOX}
        assert set(names(await cells.trace(CELL))) == {CELL, ORE, BOX}

    async def test_nobody_learns_who_asks(self, companies):
        oem, _, cells = companies
        await cells.grants("to-oem", OEM)
        await companies.deliver()
        for _ in range(2):
            await oem.trace(CAR)
        first, second = (token(body) for body, _ in companies.wire.traced(THIRD))
        assert (first.subject, str(first.issuer)) == (None, PACKS)
        assert len(first.openings) == len(second.openings) == 8
        assert not set(first.openings) & set(second.openings)
        (at_packs, *_) = [
            token(body) for body, _ in companies.wire.traced(PARENT) if body["entries"] == [PACK]
        ]
        assert (at_packs.openings, at_packs.until) == (first.openings, first.until)
        assert first.deadline < at_packs.deadline < at_packs.until

    async def test_a_caller_who_signs_for_himself_is_known_by_it(self, companies):
        """His own node hosts no key of his, so that it asks in nobody's name."""
        oem, _, cells = companies
        await cells.grants("to-oem", OEM)
        await companies.deliver()
        await oem.registry.allocate("88.118.7", key=oem.key, opened=False)
        async with oem.registry.store.write() as tx:
            await tx.connection.execute(text("DELETE FROM hosted_keys WHERE prefix = '88.118'"))
        oem.speak._own = Prefix.parse("88.118.7")
        trace = await oem.trace(CAR)
        assert {token(body).subject for body, _ in companies.wire.traced(PARENT)} == {None}
        # Of the pack nobody in particular is shown nothing: it is the walk in the box that goes on.
        assert set(names(trace)) == EVERYTHING, trace.broken

    async def test_nobody_is_asked_twice_for_the_same(self, companies):
        oem, _, cells = companies
        await companies.deliver()
        await cells.grants("to-oem", OEM)
        await companies.deliver()
        before = len(companies.wire.sent)
        trace = await oem.trace(CAR)
        sent = [(origin, body["entries"]) for origin, path, body, _ in companies.wire.sent[before:]
                if path == PATH]  # fmt: skip
        assert sorted(sent) == [(PARENT, [BOX]), (PARENT, [PACK]), (THIRD, [CELL])]
        assert trace.broken == ()

    async def test_what_is_granted_blinded_is_counted(self, companies):
        oem, _, cells = companies
        await cells.grants("to-oem", OEM, show="blinded")
        await companies.deliver()
        trace = await oem.trace(CAR)
        assert set(names(trace)) == set(KNOWN)
        ((depth, blinded),) = trace.blinded
        assert (depth, blinded.near.text) == (3, CELL)
        # and in full in the place of a pseudonym that everybody sees
        await cells.grants("to-all", "*", 200, show="blinded")
        await cells.grants("to-oem", OEM, 200, show="full")
        await companies.deliver()
        trace = await oem.trace(CAR)
        assert (set(names(trace)), trace.blinded) == (EVERYTHING, ())

    async def test_a_stream_tells_it_too(self, companies):
        oem, _, cells = companies
        await cells.grants("to-oem", OEM)
        await companies.deliver()
        lines = [
            line
            async for line in oem.tracer.stream(
                Identifier.parse(CAR),
                "upstream",
                Budget(seconds=5.0),
                viewer=Viewer(Prefix.parse(OEM), "", "s" * 22),
            )
        ]
        told = [node["identifier"] for line in lines for node in line.get("nodes", [])]
        assert set(told) == EVERYTHING


class TestCosts:
    async def test_nobody_and_who_has_no_grants_cost_what_they_did(self, companies, sql_recorder):
        """As many requests and statements: what a caller was granted comes with his key."""
        oem, packs, cells = companies
        await packs.revokes("to-oem")
        await packs.grants("to-all", "*")
        await oem.grants("to-all", "*")
        await companies.deliver()
        counted = {}
        for who in (None, OEM):
            await oem.trace(CAR, who)  # which node serves what is known from now on
            companies.wire.sent.clear()
            async with (
                sql_recorder(oem.registry.store.engine) as at_oem,
                sql_recorder(packs.registry.store.engine) as at_packs,
                sql_recorder(cells.registry.store.engine) as at_cells,
            ):
                trace = await oem.trace(CAR, who)
            assert set(names(trace)) == set(KNOWN)
            bodies = [body for _, path, body, _ in companies.wire.sent if path == PATH]
            assert len(bodies) == 3
            assert {(token(body).openings, token(body).until) for body in bodies} == {((), None)}
            assert not [s for s in (*at_oem, *at_packs, *at_cells) if "grantee <>" in s]
            counted[who] = (len(at_oem), len(at_packs), len(at_cells))
        # That a node speaks for nobody where it hosts no key of who asks, is one more as it was.
        assert counted[OEM][0] == counted[None][0], counted
        assert counted[OEM][1:] == (counted[None][1] + 1, counted[None][2]), counted
        assert sum("received_grants" in s for s in at_oem) == 1


class TestTakenBack:
    async def test_what_is_revoked_opens_nothing_before_anybody_is_told(self, companies):
        oem, _, cells = companies
        await cells.grants("to-oem", OEM)
        await companies.deliver()
        await cells.revokes("to-oem")
        assert set(names(await oem.trace(CAR))) == set(KNOWN)
        await companies.deliver()
        assert (CELLS, "to-oem", 2, "revoked") in await oem.received()
        companies.wire.sent.clear()
        assert set(names(await oem.trace(CAR))) == set(KNOWN)

    async def test_a_newer_version_makes_the_older_worthless(self, companies):
        oem, _, cells = companies
        await cells.grants("to-oem", OEM)
        await companies.deliver()
        await cells.grants("to-oem", OEM, 200, depth=2)
        assert set(names(await oem.trace(CAR))) == set(KNOWN)
        await companies.deliver()
        assert set(names(await oem.trace(CAR))) == EVERYTHING

    @pytest.mark.parametrize(
        "members",
        [{"exp": 1_700_000_000}, {"nbf": 4_000_000_000}, {"direction": "downstream"},
         {"purpose": "recall"}, {"root": ORE}],
    )  # fmt: skip
    async def test_what_does_not_fit_opens_nothing(self, companies, members):
        oem, _, cells = companies
        await cells.grants("to-oem", OEM, **members)
        await companies.deliver()
        assert set(names(await oem.trace(CAR))) == set(KNOWN)
        if "purpose" in members:
            assert set(names(await oem.trace(CAR, purpose="recall"))) == EVERYTHING

    async def test_of_another_grantee_there_is_nothing(self, companies):
        oem, _, cells = companies
        await cells.grants("to-oem", OEM)
        await companies.deliver()
        await cells.grants("to-oem", PACKS, 200)
        await companies.deliver()
        assert set(names(await oem.trace(CAR))) == set(KNOWN)


class TestReplayed:
    """What the node between does with what it carries."""

    async def asked_again(self, companies, **change):
        """Let the pack maker ask the cell maker with openings that came by, changed."""
        packs = companies.packs
        body, _ = companies.wire.traced(THIRD)[-1]
        seen = token(body)
        voice = await packs.speak(None)
        request = {"entries": [CELL], "delegations": list(voice.chain)}
        now = packs.now()
        # Another entry by the same trace is answered once: as if the node had forgotten the first.
        companies.cells.hops._seen.clear()
        hop = Hop(
            seen.trace, voice.issuer, THIRD, asked(request), seen.direction, 5, 100,
            int(now), seen.deadline, None, seen.purpose, seen.openings, seen.until,
        )  # fmt: skip
        hop = replace(hop, **change)
        return await companies.wire.post(THIRD, PATH, request | {"token": hop.sign(voice.signer)})

    @pytest.mark.parametrize(
        ("change", "boxes"),
        [
            ({}, 1),
            ({"trace": "u" * 22}, 0),
            ({"direction": "downstream"}, 0),
            ({"purpose": "recall"}, 0),
            ({"until": 1_795_000_060_000}, 0),
        ],
    )
    async def test_it_is_good_for_what_it_was_made_for(self, companies, change, boxes):
        await companies.cells.grants("to-oem", OEM)
        await companies.deliver()
        await companies.oem.trace(CAR)
        reply = await self.asked_again(companies, **change)
        assert len(reply.get("closed", [])) == boxes
        assert SECRET not in encode(reply)

    async def test_a_box_does_not_tell_whether_there_is_more(self, companies):
        """Two worlds, in one of which there is no ore: what is between them looks the same."""
        oem, _, cells = companies
        await cells.grants("to-oem", OEM)
        await companies.deliver()
        replies = []
        for _ in range(2):
            await oem.trace(CAR)
            replies.append(decode_object(companies.wire.traced(THIRD)[-1][1]))
            await cells.post("/v1/links", {"side": "downstream", "type": "CONTAINED_IN",
                "upstream": ORE, "downstream": CELL, "state": "withdrawn"}, 200)  # fmt: skip
        assert ORE not in names(await oem.trace(CAR))
        sizes, parts = [], []
        for reply in replies:
            part = {k: v for k, v in reply["part"].items() if k not in ("closed", "trace")}
            parts.append((part, reply["delegations"]))
            sizes.append([len(b64decode(item["box"])) for item in reply["closed"]])
        assert parts[0] == parts[1]
        assert sizes == [[MIN_BOX + 28]] * 2

    async def test_a_box_that_is_taken_away_or_changed_is_named(self, companies, monkeypatch):
        oem, packs, cells = companies
        await cells.grants("to-oem", OEM)
        await companies.deliver()
        honest = type(packs).hop

        async def without(company, request):
            reply = await honest(company, request)
            for part in reply["parts"] if company is packs else ():
                part.pop("closed", None)
            return reply

        monkeypatch.setattr(type(packs), "hop", without)
        trace = await oem.trace(CAR)
        assert set(names(trace)) == set(KNOWN)
        assert [(item.identifier.text, item.code, item.node) for item in trace.broken] == [
            (CELL, "E_BOX", THIRD)
        ]


class TestBounds:
    async def test_what_is_too_much_for_a_box_is_named(self, companies, monkeypatch):
        oem, _, cells = companies
        await cells.grants("to-oem", OEM)
        await companies.deliver()
        monkeypatch.setattr(hopping, "MAX_CONTENT", 1_000)
        trace = await oem.trace(CAR)
        assert set(names(trace)) == set(KNOWN)
        assert (CELL, "budget", THIRD) in [
            (item.identifier.text, item.code, item.node) for item in trace.broken
        ]

    async def test_without_the_grants_it_is_answered_as_to_anybody(self, companies, monkeypatch):
        oem, _, cells = companies
        await cells.grants("to-oem", OEM)
        await companies.deliver()

        async def away(*_):
            raise Unavailable("every connection to the database is busy")

        monkeypatch.setattr(Reader, "granted", away)
        trace = await oem.trace(CAR)
        assert (set(names(trace)), trace.broken) == (set(KNOWN), ())

    async def test_so_many_of_one_grantor_are_kept(self, companies, monkeypatch):
        oem, _, cells = companies
        monkeypatch.setattr(received, "KEPT", 1)
        for number in range(3):
            await cells.grants(f"g{number}", OEM)
        await companies.deliver()
        assert [name for iss, name, *_ in await oem.received() if iss == CELLS] == ["g0"]
        listed = (await cells.get(f"/v1/grants?grantor={CELLS}"))["grants"]
        left = {item["id"]: item["handover"] for item in listed if "handover" in item}
        assert left.keys() == {"g1", "g2"}
        assert [item["due_at"] for item in left.values()] == [None, None]
        await cells.revokes("g0")  # of one that is there a newer version is taken
        await companies.deliver()
        assert (CELLS, "g0", 2, "revoked") in await oem.received()

    async def test_of_very_many_each_grantor_has_his_share(self, companies, monkeypatch):
        oem, _, cells = companies
        for number in range(9):
            await cells.grants(f"g{number}", OEM)
        await companies.deliver()
        monkeypatch.setattr(received, "MAX_OPENINGS", 4)
        voice = await oem.speak(Prefix.parse(OEM), "upstream")
        grantors = sorted(str(parse_grant(text)[1].grantor) for text in voice.received)
        assert grantors == [CELLS, CELLS, CELLS, PACKS]


class TestHandedOver:
    async def test_again_and_again_while_the_node_is_down(self, companies):
        oem, _, cells = companies
        companies.wire.down.add(CHILD)
        await cells.grants("to-oem", OEM)
        await companies.deliver()
        listed = {g["id"]: g for g in (await cells.get(f"/v1/grants?grantor={CELLS}"))["grants"]}
        assert listed["to-oem"]["handover"]["attempts"] == 1
        assert "unreachable" in listed["to-oem"]["handover"]["failure"] or (
            listed["to-oem"]["handover"]["failure"].startswith("peer")
        )
        assert "handover" not in listed["to-all"]
        await companies.deliver()  # it is not due yet
        companies.wire.down.clear()
        await companies.deliver()
        assert await oem.received() == []
        for company in companies:
            company.wall.move(3.0)
        await companies.deliver()
        assert len(await oem.received()) == 2
        listed = (await cells.get(f"/v1/grants?grantor={CELLS}"))["grants"]
        assert not [item for item in listed if "handover" in item]

    async def test_the_same_again_and_an_older_one_change_nothing(self, companies):
        oem, _, cells = companies
        first = (await cells.grants("to-oem", OEM))["envelope"]
        await companies.deliver()
        (_, _, body, _), *_ = [
            item for item in companies.wire.sent
            if item[1] == "/v1/grants/received" and item[2]["grants"] == [first]
        ]  # fmt: skip
        second = (await cells.grants("to-oem", OEM, 200, depth=2))["envelope"]
        await companies.deliver()
        for grant in (first, second, first):
            answer = await oem.registry.post("/v1/grants/received", body | {"grants": [grant]})
            assert answer.json() == {"results": [{"state": "granted"}]}
        assert (CELLS, "to-oem", 2, "granted") in await oem.received()

    async def test_what_is_refused(self, companies):
        oem, packs, cells = companies
        await cells.grants("to-oem", OEM)
        await cells.grants("to-packs", PACKS)
        await companies.deliver()
        sent = {
            item["grants"][0]: item
            for _, path, item, _ in companies.wire.sent
            if path == "/v1/grants/received"
        }
        by_id = {parse_grant(text)[1].id + str(parse_grant(text)[1].to): body
                 for text, body in sent.items()}  # fmt: skip
        good, for_packs = by_id["to-oem" + OEM], by_id["to-packs" + PACKS]

        async def results(company, body):
            answer = await company.registry.post("/v1/grants/received", body)
            assert answer.status_code == 200, answer.text
            return [item.get("code") or item["state"] for item in answer.json()["results"]]

        token = good["grants"][0]
        flipped = token[:-3] + ("A" if token[-3] != "A" else "B") + token[-2:]
        assert await results(oem, good | {"grants": [flipped, token]}) == ["E_SIG", "granted"]
        assert await results(oem, for_packs) == ["prefix_elsewhere"]
        assert await results(cells, good) == ["prefix_elsewhere"]
        everybody = (await cells.get(f"/v1/grants?grantor={CELLS}"))["grants"]
        to_all = next(item["envelope"] for item in everybody if item["id"] == "to-all")
        assert await results(oem, good | {"grants": [to_all]}) == ["grant_invalid"]
        own = (await oem.grants("own", OEM))["envelope"]
        assert await results(oem, good | {"grants": [own]}) == ["forbidden"]
        async with cells.registry.store.read() as tx:
            signer = await cells.registry.keyring.signer(tx, Prefix.parse(CELLS), "record")
        said = parse_grant(token)[1]
        other = replace(said, depth=9).sign(signer)
        future = replace(said, id="later", issued_at=said.issued_at + 301).sign(signer)
        assert await results(oem, good | {"grants": [other, future]}) == ["version_stale", "E_TIME"]
        assert await results(oem, good | {"grants": [token], "delegations": []}) == ["E_CHAIN"]
        for body in ({"grants": "x"}, {"grants": [1]}, {"more": []}):
            answer = await oem.registry.post("/v1/grants/received", body)
            assert answer.status_code == 400
        assert packs.prefix == PACKS

    async def test_only_the_grantee_is_shown_what_came(self, companies):
        oem, _, cells = companies
        await cells.grants("to-oem", OEM)
        await companies.deliver()
        below = await oem.registry.allocate("88.118.7", key=oem.key, opened=False)
        answer = await oem.registry.get("/v1/grants/received", key=below.api_key)
        assert answer.json() == {"grants": [], "next": None}
        assert (await oem.registry.get("/v1/grants/received")).status_code == 401
        page = await oem.get("/v1/grants/received?limit=1")
        assert page["next"] == f"{CELLS}/to-oem"
        page = await oem.get(f"/v1/grants/received?limit=1&cursor={page['next']}")
        assert [item["iss"] for item in page["grants"]] == [PACKS]
        assert page["next"] is None

    async def test_the_client_lists_what_came_and_what_is_on_its_way(self, companies):
        oem, _, cells = companies
        await cells.grants("to-oem", OEM)

        def client(company):
            return AsyncClient(
                company.origin,
                api_key=company.key,
                now=company.registry.clock,
                transport=httpx.ASGITransport(create_app(company.registry.deps)),
            )

        async with client(cells) as granting, client(oem) as granted:
            listed = {item.grant.id: item.handover for item in await granting.grants(CELLS)}
            assert listed == {"to-oem": "", "to-all": None}
            assert await granted.received_grants() == ()
            await companies.deliver()
            listed = {item.grant.id: item.handover for item in await granting.grants(CELLS)}
            assert listed == {"to-oem": None, "to-all": None}
            came = [(str(g.grant.grantor), g.grant.id) for g in await granted.received_grants()]
            assert came == [(CELLS, "to-oem"), (PACKS, "to-oem")]

    async def test_a_grant_to_somebody_here_or_to_anybody_stays_here(self, companies):
        _, packs, _ = companies
        await companies.deliver()
        companies.wire.sent.clear()
        await packs.grants("to-all", "*")
        await packs.registry.allocate("77.1", key=packs.key, opened=False)
        await packs.grants("to-below", "77.1")
        await companies.deliver()
        assert [path for _, path, _, _ in companies.wire.sent if "received" in path] == []
        assert json.dumps(await packs.get(f"/v1/grants?grantor={PACKS}")).count("handover") == 0
