"""Links over HTTP: asserted from either end, withdrawn, listed; edges kept in step; races."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import select

from registry.store import links
from registry.store.tables import assertion_history, assertions, changes, edges
from schemas.change import Op
from schemas.delegation import sign_possession
from schemas.envelope import digest
from schemas.identifier import Identifier, Prefix
from schemas.keys import PrivateKey, sha256
from schemas.link import Assertion, Link, parse_assertion
from tests.parties import record

CELL, MODULE = "88.118.8/CELL-1", "88.118.9/MODULE-1"
OURS = PrivateKey.from_seed(sha256(b"module maker"))
DRAFT = {"type": "CONTAINED_IN", "upstream": CELL, "downstream": MODULE}


@pytest.fixture
async def makers(registry):
    """Who makes cells and who makes modules, both with hosted keys."""
    cells, modules = [await registry.allocate(p) for p in ("88.118.8", "88.118.9")]
    await register(registry, cells, CELL)
    await register(registry, modules, MODULE)
    return {"upstream": cells, "downstream": modules}


async def register(registry, maker, identifier, **members):
    body = {"identifier": identifier, "kind": "item"} | members
    answer = await registry.post("/v1/identifiers", body, key=maker.api_key)
    assert answer.status_code == 201, answer.text
    return answer


async def state(registry, makers, side, **members):
    body = {"side": side} | DRAFT | members
    return await registry.post("/v1/links", body, key=makers[side].api_key)


async def rows(registry, table, *columns):
    async with registry.store.read() as tx:
        query = select(*(table.c[name] for name in columns)).order_by(*table.primary_key)
        return [tuple(row) for row in await tx.connection.execute(query)]


async def listed(registry, identifier, query="", **options):
    answer = await registry.get(f"/v1/links/{identifier}{query}", **options)
    assert answer.status_code == 200, answer.text
    return answer.json()


class TestStating:
    async def test_the_answer_says_all_of_it(self, registry, makers):
        answer = await state(
            registry, makers, "downstream", quantity={"value": "12", "unit": "H87"}
        )
        assert answer.status_code == 201
        body = answer.json()
        said = parse_assertion(body["envelope"])[1]
        assert body == {
            "link_key": said.link.key,
            "side": "downstream",
            "version": 1,
            "state": "asserted",
            "link_state": "proposed",
            "upstream": CELL,
            "downstream": MODULE,
            "type": "CONTAINED_IN",
            "lifecycle": "asBuilt",
            "occurrence": "",
            "digest": digest(body["envelope"]),
            "envelope": body["envelope"],
        }
        assert said.issued_at == registry.clock()

    @pytest.mark.parametrize("first", ["upstream", "downstream"])
    async def test_either_end_may_speak_first(self, registry, makers, first):
        second = {"upstream": "downstream", "downstream": "upstream"}[first]
        assert (await state(registry, makers, first)).json()["link_state"] == "proposed"
        assert (await state(registry, makers, second)).json()["link_state"] == "mutual"

    @pytest.mark.parametrize(
        ("up", "down", "judged"),
        [("12", "12.0", "mutual"), ("12", "13", "conflicting"), (None, "12", "mutual")],
    )
    async def test_quantities(self, registry, makers, up, down, judged):
        for side, value in (("upstream", up), ("downstream", down)):
            quantity = {"quantity": {"value": value, "unit": "H87"}} if value else {}
            answer = await state(registry, makers, side, **quantity)
        assert answer.json()["link_state"] == judged

    async def test_the_same_again_changes_nothing(self, registry, makers):
        first = await state(registry, makers, "upstream")
        registry.clock.now += 60
        again = await state(registry, makers, "upstream")
        assert (again.status_code, again.json()) == (200, first.json())
        assert len(await rows(registry, changes, "about")) == len(makers) * 2 + 2  # no third link

    async def test_other_content_is_the_next_version(self, registry, makers):
        first = (await state(registry, makers, "upstream")).json()
        answer = await state(registry, makers, "upstream", quantity={"value": "3", "unit": "KGM"})
        said = parse_assertion(answer.json()["envelope"])[1]
        assert (answer.status_code, said.version, said.prev) == (200, 2, first["digest"])
        assert await rows(registry, assertion_history, "version", "digest") == [
            (1, first["digest"])
        ]
        assert await rows(registry, assertions, "version") == [(2,)]

    async def test_the_change_is_told_of(self, registry, makers):
        body = (await state(registry, makers, "downstream")).json()
        columns = ("op", "about", "also", "version", "digest")
        assert (await rows(registry, changes, *columns))[-1] == (
            Op.LINK,
            MODULE,
            CELL,
            1,
            body["digest"],
        )

    async def test_parallel_links_are_told_apart(self, registry, makers):
        keys = set()
        for members in ({}, {"occurrence": "2"}, {"lifecycle": "asPlanned"}, {"type": "SAME_AS"}):
            answer = await state(registry, makers, "upstream", **members)
            assert answer.status_code == 201
            keys.add(answer.json()["link_key"])
        assert len(keys) == 4
        assert len((await listed(registry, CELL))["links"]) == 4

    async def test_statements_of_one_new_link(self, registry, makers, sql_recorder):
        await state(registry, makers, "upstream")
        async with sql_recorder(registry.store.engine) as statements:
            await state(registry, makers, "upstream", occurrence="2")
        ours = [s for s in statements if s != "SELECT 1"]
        # key, chain, hosted key; near end, newest, insert, edges, change, home of the far end,
        # the other side
        assert len(ours) == 10, [s[:70] for s in ours]


class TestEdges:
    async def test_a_row_at_each_end_with_the_sides_that_stand(self, registry, makers):
        async def ends():
            return await rows(registry, edges, "near", "direction", "far", "sides")

        def both(sides):
            return sorted([(CELL, "downstream", MODULE, sides), (MODULE, "upstream", CELL, sides)])

        for side, then, sides in (
            ("upstream", "asserted", 1),
            ("downstream", "asserted", 3),
            ("upstream", "withdrawn", 2),
            ("upstream", "asserted", 3),
            ("downstream", "withdrawn", 1),
            ("upstream", "withdrawn", 0),
        ):
            answer = await state(registry, makers, side, state=then)
            assert answer.status_code in (200, 201), answer.text
            assert sorted(await ends()) == both(sides)  # kept without any side, for the past

    async def test_both_ends_of_one_holder(self, registry, makers):
        cells = makers["upstream"]
        await register(registry, cells, "88.118.8/CELL-2")
        both = {"upstream": cells, "downstream": cells}
        for side, judged in (("upstream", "proposed"), ("downstream", "mutual")):
            answer = await state(registry, both, side, downstream="88.118.8/CELL-2")
            assert answer.json()["link_state"] == judged


class TestWithdrawing:
    async def test_and_asserting_again(self, registry, makers):
        await state(registry, makers, "downstream")
        await state(registry, makers, "upstream")
        gone = await state(registry, makers, "upstream", state="withdrawn")
        assert gone.status_code == 200
        body = gone.json()
        told = (body["version"], body["state"], body["link_state"])
        assert told == (2, "withdrawn", "withdrawn")
        back = (await state(registry, makers, "upstream")).json()
        told = (back["version"], back["state"], back["link_state"])
        assert told == (3, "asserted", "mutual")

    async def test_it_is_shown_beside_what_the_other_end_still_says(self, registry, makers):
        down = (await state(registry, makers, "downstream")).json()
        await state(registry, makers, "upstream", quantity={"value": "2", "unit": "H87"})
        gone = (await state(registry, makers, "upstream", state="withdrawn")).json()
        for near in (CELL, MODULE):
            (link,) = (await listed(registry, near))["links"]
            assert link["state"] == "withdrawn"
            assert link["asserted_by"] == ["downstream"]
            assert link["quantity"] is None  # what was taken back counts no longer
            assert link["assertions"] == [down["envelope"], gone["envelope"]]
        # where the other end goes too, nobody stands behind the link
        await state(registry, makers, "downstream", state="withdrawn")
        assert (await listed(registry, MODULE))["links"] == []

    async def test_a_withdrawal_alone_is_not_shown(self, registry, makers):
        """Who stands is suspended, so that only the withdrawal would be left."""
        await state(registry, makers, "downstream")
        await state(registry, makers, "upstream")
        await state(registry, makers, "upstream", state="withdrawn")
        path = f"/v1/prefixes/{makers['downstream'].prefix}/suspend"
        assert (await registry.post(path, {}, key=registry.operator)).status_code == 200
        assert (await listed(registry, CELL))["links"] == []

    async def test_the_last_side_leaves_no_link(self, registry, makers):
        await state(registry, makers, "upstream")
        gone = await state(registry, makers, "upstream", state="withdrawn")
        assert gone.json()["link_state"] == "withdrawn"
        assert (await listed(registry, CELL))["links"] == []
        again = await state(registry, makers, "upstream", state="withdrawn")
        assert (again.status_code, again.json()) == (200, gone.json())

    async def test_what_was_never_asserted(self, registry, makers):
        answer = await state(registry, makers, "upstream", state="withdrawn")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")

    async def test_also_by_a_retired_end(self, registry, makers):
        await state(registry, makers, "upstream")
        key = makers["upstream"].api_key
        assert (await registry.delete(f"/v1/identifiers/{CELL}", key=key)).status_code == 200
        assert (await state(registry, makers, "upstream", occurrence="2")).status_code == 410
        assert (await state(registry, makers, "upstream", state="withdrawn")).status_code == 200


class TestRefusals:
    @pytest.mark.parametrize(
        ("members", "status", "code"),
        [
            pytest.param({"upstream": "88.118.8/NONE"}, 404, "identifier_not_found",
                         id="near end unknown"),
            pytest.param({"upstream": "88.118.9/X"}, 403, "forbidden",
                         id="near end of another"),
            pytest.param({"upstream": MODULE}, 400, "link_invalid", id="to itself"),
            pytest.param({"type": "EATEN_BY"}, 400, "link_invalid", id="type"),
            pytest.param({"state": "denied"}, 400, "link_invalid", id="state"),
            pytest.param({"version": 2}, 400, "link_invalid", id="unknown member"),
            pytest.param({"upstream": "88..8/X"}, 400, "identifier_invalid",
                         id="identifier"),
            pytest.param({"envelope": "a.b.c"}, 400, "link_invalid",
                         id="envelope and draft"),
        ],
    )  # fmt: skip
    async def test_each(self, registry, makers, members, status, code):
        answer = await state(registry, makers, "upstream", **members)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
        assert await rows(registry, assertions, "link_key") == []

    async def test_nobody(self, registry):
        answer = await registry.post("/v1/links", {"side": "upstream", **DRAFT})
        assert answer.status_code == 401

    async def test_a_suspended_holder(self, registry, makers):
        await registry.post("/v1/prefixes/88.118.8/suspend", key=registry.operator)
        answer = await state(registry, makers, "upstream")
        assert (answer.status_code, answer.json()["code"]) == (403, "prefix_suspended")

    async def test_the_far_end_is_unconstrained(self, registry, makers):
        answer = await state(registry, makers, "upstream", downstream="77.1.2/CAR")
        assert answer.status_code == 201
        key = makers["upstream"].api_key
        (link,) = (await listed(registry, "77.1.2/CAR", key=key))["links"]
        assert link["upstream"] == CELL

    async def test_a_covered_serial_may_speak(self, registry, makers):
        rule = {"pattern": "C-{n:digits:3}", "targets": []}
        await register(registry, makers["upstream"], "88.118.8/C", kind="class", rule=rule)
        answer = await state(registry, makers, "upstream", upstream="88.118.8/C-042")
        assert answer.status_code == 201
        answer = await state(registry, makers, "upstream", upstream="88.118.8/C-X42")
        assert answer.status_code == 404


class TestEnvelopes:
    @pytest.fixture
    async def maker(self, registry):
        """A maker of modules whose key we never see."""
        body = {"prefix": "88.118.9", "kid": OURS.public.kid}
        nonce = (await registry.post("/v1/challenges", body, key=registry.operator)).json()["nonce"]
        proof = sign_possession(OURS, Prefix.parse("88.118.9"), nonce, registry.clock())
        key = {"jwk": dict(OURS.public.jwk), "use": ["record"], "possession": proof}
        maker = await registry.allocate("88.118.9", keys=[key])

        token = record(MODULE, issued_at=registry.clock()).sign(OURS)
        answer = await registry.post("/v1/identifiers", {"envelope": token}, key=maker.api_key)
        assert answer.status_code == 201, answer.text
        return maker

    def said(self, registry, **members):
        link = Link("CONTAINED_IN", Identifier.parse(CELL), Identifier.parse(MODULE))
        return replace(Assertion(link, "downstream", registry.clock()), **members)

    async def send(self, registry, maker, assertion, signer=OURS):
        body = {"envelope": assertion.sign(signer)}
        return await registry.post("/v1/links", body, key=maker.api_key)

    async def test_the_whole_life(self, registry, maker):
        one = self.said(registry)
        answer = await self.send(registry, maker, one)
        assert (answer.status_code, answer.json()["envelope"]) == (201, one.sign(OURS))
        two = one.withdrawal(answer.json()["digest"], registry.clock() + 1)
        answer = await self.send(registry, maker, two)
        assert (answer.status_code, answer.json()["state"]) == (200, "withdrawn")
        three = replace(one, version=3, prev=answer.json()["digest"])
        answer = await self.send(registry, maker, three)
        assert (answer.status_code, answer.json()["version"]) == (200, 3)
        again = await self.send(registry, maker, replace(one, issued_at=one.issued_at - 5))
        assert (again.status_code, again.json()) == (200, answer.json())

    async def test_a_version_that_does_not_follow(self, registry, maker):
        one = self.said(registry)
        digest_of_one = (await self.send(registry, maker, one)).json()["digest"]
        other = replace(one, valid_until=2_000_000_000)
        for wrong in (
            other,
            replace(other, version=2, prev=sha_of("another")),
            replace(other, version=3, prev=digest_of_one),
        ):
            answer = await self.send(registry, maker, wrong)
            assert (answer.status_code, answer.json()["code"]) == (412, "version_stale")
            assert digest_of_one in answer.json()["fix"]

    async def test_a_first_that_is_not_the_first(self, registry, maker):
        answer = await self.send(registry, maker, self.said(registry, version=2, prev=sha_of("x")))
        assert answer.status_code == 412

    async def test_a_withdrawal_of_nothing(self, registry, maker):
        answer = await self.send(registry, maker, self.said(registry, state="withdrawn"))
        assert answer.status_code == 404

    async def test_a_foreign_key(self, registry, maker):
        answer = await self.send(registry, maker, self.said(registry), PrivateKey.generate())
        assert (answer.status_code, answer.json()["code"]) == (400, "E_CHAIN")

    async def test_from_the_future(self, registry, maker):
        late = registry.clock() + 301
        answer = await self.send(registry, maker, self.said(registry, issued_at=late))
        assert (answer.status_code, answer.json()["code"]) == (400, "E_TIME")
        answer = await self.send(registry, maker, self.said(registry, issued_at=late - 1))
        assert answer.status_code == 201

    async def test_no_key_is_hosted_for_a_draft(self, registry, maker):
        body = {"side": "downstream"} | DRAFT
        answer = await registry.post("/v1/links", body, key=maker.api_key)
        assert (answer.status_code, answer.json()["code"]) == (409, "key_not_hosted")


def sha_of(text):
    return digest(text)


class TestRaces:
    async def test_two_ends_at_the_same_moment_end_mutual(self, registry, makers):
        for turn in range(10):
            both = await asyncio.gather(
                *(state(registry, makers, side, occurrence=str(turn)) for side in makers)
            )
            assert [answer.status_code for answer in both] == [201, 201]
            assert "mutual" in [answer.json()["link_state"] for answer in both]
        assert set(await rows(registry, edges, "sides")) == {(3,)}

    async def test_one_side_many_times_at_once(self, registry, makers):
        answers = await asyncio.gather(*(state(registry, makers, "upstream") for _ in range(6)))
        assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
        assert len({answer.json()["digest"] for answer in answers}) == 1

    async def test_updates_at_once_follow_each_other(self, registry, makers):
        await state(registry, makers, "upstream")
        answers = await asyncio.gather(
            *(
                state(registry, makers, "upstream", quantity={"value": str(n), "unit": "H87"})
                for n in range(1, 4)
            )
        )
        accepted = [answer for answer in answers if answer.status_code == 200]
        assert {answer.status_code for answer in answers} <= {200, 503}
        versions = sorted(answer.json()["version"] for answer in accepted)
        assert versions == list(range(2, 2 + len(accepted)))
        assert await rows(registry, assertions, "version") == [(1 + len(accepted),)]
        assert len(await rows(registry, assertion_history, "version")) == len(accepted)

    async def test_one_end_withdraws_while_the_other_asserts(self, registry, makers):
        for turn in map(str, range(6)):
            await state(registry, makers, "upstream", occurrence=turn)
            gone, _ = await asyncio.gather(
                state(registry, makers, "upstream", occurrence=turn, state="withdrawn"),
                state(registry, makers, "downstream", occurrence=turn),
            )
            assert gone.status_code == 200
        assert set(await rows(registry, edges, "sides")) == {(2,)}


class TestListing:
    async def test_pages_are_stable_and_complete(self, registry, makers):
        for n in range(7):
            await state(registry, makers, "upstream", occurrence=str(n))
        await state(registry, makers, "downstream", occurrence="3")
        seen, cursor = [], ""
        while cursor is not None:
            page = await listed(
                registry, CELL, f"?limit=3&cursor={cursor}" if cursor else "?limit=3"
            )
            seen += [link.get("occurrence") for link in page["links"]]
            cursor = page["next"]
        assert seen == list("0123456")

    async def test_what_an_entry_says(self, registry, makers):
        up = (await state(registry, makers, "upstream")).json()
        down = (
            await state(registry, makers, "downstream", quantity={"value": "2", "unit": "H87"})
        ).json()
        assert await listed(registry, MODULE) == {
            "identifier": MODULE,
            "links": [
                {
                    "upstream": CELL,
                    "downstream": MODULE,
                    "type": "CONTAINED_IN",
                    "state": "mutual",
                    "quantity": {"value": "2", "unit": "H87"},
                    "lifecycle": "asBuilt",
                    "asserted_by": ["downstream", "upstream"],
                    "link_key": up["link_key"],
                    "assertions": [down["envelope"], up["envelope"]],
                }
            ],
            "next": None,
        }

    @pytest.mark.parametrize(
        ("query", "count"),
        [
            ("?direction=downstream", 2),
            ("?direction=upstream", 0),
            ("?type=SAME_AS", 1),
            ("?type=SAME_AS&direction=downstream", 1),
            ("?type=UNKNOWN", 0),
        ],
    )
    async def test_filters(self, registry, makers, query, count):
        await state(registry, makers, "upstream")
        await state(registry, makers, "upstream", type="SAME_AS")
        assert len((await listed(registry, CELL, query))["links"]) == count

    @pytest.mark.parametrize(
        "query",
        ["?direction=up", "?limit=0", "?limit=1001", "?cursor=!", "?cursor=W10", "?cursor=WzFd",
         "?what=1", "?limit=1&limit=2"],
    )  # fmt: skip
    async def test_bad_queries(self, registry, query):
        answer = await registry.get(f"/v1/links/{CELL}{query}")
        assert (answer.status_code, answer.json()["code"]) == (400, "query_invalid")

    async def test_suspension(self, registry, makers):
        await state(registry, makers, "upstream")
        await registry.post("/v1/prefixes/88.118.8/suspend", key=registry.operator)
        assert (await listed(registry, MODULE))["links"] == []
        assert (await registry.get(f"/v1/links/{CELL}")).status_code == 403

    async def test_a_page_costs_three_statements(self, registry, makers, sql_recorder):
        for n in range(5):
            await state(registry, makers, "upstream", occurrence=str(n))
        async with sql_recorder(registry.store.engine) as statements:
            await listed(registry, CELL)
        assert len([s for s in statements if s != "SELECT 1"]) == 3

    async def test_a_page_is_a_range_of_the_key(self, registry):

        async with registry.store.write() as tx:
            driver = await tx.driver()
            await driver.execute("SET LOCAL enable_seqscan = off")
            plan = await driver.fetch(
                "EXPLAIN " + links._PAGE,
                *(1, "a", None, None, "", "", "", "", "", 10),
                *(1, ["*"], ""),
            )
        lines = "\n".join(row[0] for row in plan)
        assert "Index Scan using pk_edges" in lines
        assert "Sort Key: e." not in lines  # but for the two directions of the viewer
        (condition,) = [line for line in lines.splitlines() if "ROW(direction, far" in line]
        assert "Index Cond: ((unit = " in condition


async def test_an_idempotency_key_gives_the_first_answer_again(registry, makers):
    headers = {"Idempotency_Key": "one"}
    body = {"side": "upstream"} | DRAFT
    key = makers["upstream"].api_key
    first = await registry.post("/v1/links", body, key=key, **headers)
    again = await registry.post("/v1/links", body, key=key, **headers)
    assert (again.status_code, again.json()) == (201, first.json())
