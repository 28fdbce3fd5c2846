"""The reader: every state, links of both ends, one statement per call, and its plans."""

import json
from dataclasses import replace

import pytest
from sqlalchemy import text as sql

from registry.reader import MAX_IDENTIFIERS, Reader
from registry.store import reads
from registry.store.engine import Store
from schemas.answer import MAX_LINKS, compose, parse_parts
from schemas.errors import BadQuery, Unavailable
from schemas.keys import b64decode
from schemas.rule import Rule, TargetTemplate
from schemas.source import Edges, Fetched, State
from schemas.viewer import Near
from tests import parties
from tests.parties import assertion, identifier, record
from tests.parts_store import Stock

GEAR = "88.100/GEAR-2026-000001"
STEEL = "88.101/STEEL-0091"
GONE = replace(record("88.100/GONE"), status="retired")
HALTED = replace(record("88.100/HALTED"), status="suspended")


@pytest.fixture
async def stock(store):
    stock = await Stock.of(store)
    await stock.register(parties.GEAR_CLASS, parties.GEAR_ITEM, GONE, HALTED, record(STEEL))
    return stock


@pytest.fixture
def reader(stock):
    return Reader(stock.store)


def at(text):
    return Near.at(identifier(text))


def rule(pattern):
    return Rule(pattern, (TargetTemplate("gs1:pip", "https://gear.example/{n}"),))


async def one(reader, text, **options):
    return (await reader.fetch([identifier(text)], **options)).found[identifier(text)]


class TestStates:
    @pytest.mark.parametrize(
        ("text", "state", "records"),
        [
            pytest.param(GEAR, State.FOUND, [GEAR, "88.100/GEAR"], id="a record and its class"),
            pytest.param("88.100/GEAR", State.FOUND, ["88.100/GEAR"], id="a class itself"),
            pytest.param("88.100/HALTED", State.FOUND, ["88.100/HALTED"], id="suspended record"),
            pytest.param("88.100/GONE", State.RETIRED, ["88.100/GONE"], id="tombstone"),
            pytest.param("88.100/GEAR-2026-7", State.MISSING, [], id="no rule fits"),
            pytest.param("88.100/GEAR-2026-000002", State.COVERED, ["88.100/GEAR"], id="covered"),
            pytest.param("88.101/GEAR-2026-000002", State.MISSING, [], id="rule of another prefix"),
            pytest.param("88.102/X", State.NOWHERE, [], id="prefix of nobody"),
            pytest.param("88.100.1/X", State.NOWHERE, [], id="below one that is here"),
            pytest.param("99/X", State.NOWHERE, [], id="another branch"),
        ],
    )
    @pytest.mark.parametrize("whole", [True, False])
    async def test_each(self, reader, text, state, records, whole):
        found = await one(reader, text, whole=whole)
        assert found.state is state
        names = [named(token) for token in found.records]
        assert names == (records if whole else records[:1])

    @pytest.mark.parametrize("above", [".", "88", "88.100"])
    async def test_a_suspended_prefix_hides_all_below(self, reader, stock, above):
        await stock.switch(above, "suspended")
        for text in (GEAR, "88.100/GONE", "88.100/NONE", "88.100/GEAR-2026-000002"):
            found = await one(reader, text)
            assert (found.state, found.records) == (State.PREFIX_SUSPENDED, ())
        beside = await one(reader, STEEL)
        assert (beside.state is State.FOUND) == (above == "88.100")

    async def test_the_longest_head_answers_then_the_smallest_class(self, reader, stock):
        await stock.register(
            record("88.100/C1", "class", rule=rule("{n:any:1-40}")),
            record("88.100/C3", "class", rule=rule("AX-{n:digits:4}")),
            record("88.100/C2", "class", rule=rule("AX-{n:any:4}")),
            record("88.100/C0", "class", rule=rule("A{n:any:1-9}")),
            record("88.100/C9", "class", rule=rule("AX-00{n:digits:2}")),
        )
        expected = {
            "AX-0012": "88.100/C9",
            "AX-1234": "88.100/C2",
            "AX-12345": "88.100/C0",
            "BX-1234": "88.100/C1",
        }
        for suffix, answering in expected.items():
            found = await one(reader, f"88.100/{suffix}")
            assert named(found.records[0]) == answering

    async def test_a_retired_class_covers_nothing(self, reader, stock):
        await stock.execute(sql("UPDATE identifiers SET status = 'retired' WHERE kind = 'class'"))
        assert (await one(reader, "88.100/GEAR-2026-000002")).state is State.MISSING

    async def test_a_head_longer_than_the_index_keeps(self, reader, stock):
        head = "H" * 80
        await stock.register(record("88.100/LONG", "class", rule=rule(head + "{n:digits:1-4}")))
        assert (await one(reader, f"88.100/{head}12")).state is State.COVERED
        assert (await one(reader, f"88.100/{head[:70]}12")).state is State.MISSING

    async def test_ancestors_end_where_the_format_ends(self, reader, stock):
        names = [f"88.100/L{n}" for n in range(7)]
        line = [
            record(name, "class", parent=identifier(above))
            for name, above in zip(names, [*names[1:], names[0]], strict=True)
        ]
        await stock.register(*line)  # even a circle, which registering refuses
        found = await one(reader, "88.100/L0")
        assert [named(token) for token in found.records] == names[:5]


def named(token):
    return payload(token)["id"]


def payload(token):
    return json.loads(b64decode(token.split(".")[1]))


class TestLinks:
    async def test_what_is_read_verifies_and_composes(self, reader, stock):
        await stock.state(parties.GEAR_SAYS, parties.STEEL_SAYS)
        fetched = await reader.fetch([identifier(GEAR)])
        found = fetched.found[identifier(GEAR)]
        chains = parties.trust(*fetched.delegations)

        def check(envelope, speaker, at, kind):
            chains.chain(speaker).check_speaker(envelope, speaker, at, kind)

        parts = parse_parts(identifier(GEAR), found.records, found.assertions, check)
        view = compose(parts)
        golden = parties.golden_answer()
        assert view == {name: golden[name] for name in view}
        assert set(fetched.delegations) == set(parties.DELEGATIONS)

    async def test_both_ends_see_it_proposed_or_mutual(self, reader, stock):
        (gear_says,) = await stock.state(parties.GEAR_SAYS)
        for text in (GEAR, STEEL):
            assert (await one(reader, text)).assertions == (gear_says,)
        (steel_says,) = await stock.state(parties.STEEL_SAYS)
        for text in (GEAR, STEEL):
            assert (await one(reader, text)).assertions == (gear_says, steel_says)

    async def test_a_record_without_its_links_when_not_whole(self, reader, stock):
        await stock.state(parties.GEAR_SAYS)
        fetched = await reader.fetch([identifier(GEAR)], whole=False)
        assert fetched.found[identifier(GEAR)].assertions == ()
        assert set(fetched.delegations) == {parties.INDUSTRY_TOKEN, parties.GEAR_TOKEN}

    async def test_a_withdrawal_is_shown_beside_what_stands(self, reader, stock):
        both = await stock.state(parties.GEAR_SAYS, replace(parties.STEEL_SAYS, state="withdrawn"))
        for text in (GEAR, STEEL):
            assert (await one(reader, text)).assertions == tuple(both)
        read = await reader.edges([at(GEAR)], "upstream", 10)
        assert read.edges[0].assertions == tuple(both)
        assert set(read.delegations) == set(parties.DELEGATIONS)

    async def test_a_withdrawal_alone_is_not_shown(self, reader, stock):
        await stock.state(parties.GEAR_SAYS, replace(parties.STEEL_SAYS, state="withdrawn"))
        await stock.switch("88.100", "suspended")
        assert (await one(reader, STEEL)).assertions == ()
        assert (await reader.edges([at(STEEL)], "downstream", 10)).edges == ()

    async def test_a_covered_serial_has_links(self, reader, stock):
        says = assertion("downstream", STEEL, "88.100/GEAR-2026-000009")
        (token,) = await stock.state(says)
        found = await one(reader, "88.100/GEAR-2026-000009")
        assert (found.state, found.assertions) == (State.COVERED, (token,))

    async def test_missing_and_retired_ones_show_none(self, reader, stock):
        await stock.state(assertion("upstream", STEEL, "88.100/NONE"))
        await stock.state(assertion("upstream", STEEL, "88.100/GONE"))
        assert (await one(reader, "88.100/NONE")).assertions == ()
        assert (await one(reader, "88.100/GONE")).assertions == ()

    async def test_who_is_suspended_is_not_heard(self, reader, stock):
        gear_says, _ = await stock.state(parties.GEAR_SAYS, parties.STEEL_SAYS)
        await stock.switch("88.101", "suspended")
        assert (await one(reader, GEAR)).assertions == (gear_says,)

    async def test_a_far_end_of_another_node(self, reader, stock):
        (token,) = await stock.state(assertion("downstream", "77.1.2/ORE", GEAR))
        assert (await one(reader, GEAR)).assertions == (token,)
        assert (await one(reader, "77.1.2/ORE")).state is State.NOWHERE

    async def test_many_links_of_one_direction_do_not_hide_the_other(self, reader, stock):
        uses = [assertion("upstream", STEEL, f"88.100/U{n:04}") for n in range(MAX_LINKS + 20)]
        made_of = [assertion("downstream", f"88.100/ORE{n}", STEEL) for n in range(3)]
        await stock.state(*uses, *made_of)
        found = await one(reader, STEEL)
        assert len(found.assertions) == MAX_LINKS
        assert found.more_links
        shown = [payload(token) for token in found.assertions]
        keys = [(item["upstream"], item["downstream"]) for item in shown]
        assert keys == sorted(keys)
        assert [up for up, down in keys if down == STEEL] == [f"88.100/ORE{n}" for n in range(3)]
        assert [down for up, down in keys if up == STEEL] == [
            f"88.100/U{n:04}" for n in range(MAX_LINKS - 3)
        ]

    async def test_exactly_as_many_as_an_answer_holds(self, reader, stock):
        await stock.state(
            *(assertion("upstream", STEEL, f"88.100/U{n:04}") for n in range(MAX_LINKS))
        )
        found = await one(reader, STEEL)
        assert (len(found.assertions), found.more_links) == (MAX_LINKS, False)


class TestBatches:
    async def test_order_and_repeats(self, reader):
        asked = [identifier(t) for t in (STEEL, "99/X", GEAR, STEEL, "88.100/NONE", GEAR)]
        fetched = await reader.fetch(asked)
        assert list(fetched.found) == list(dict.fromkeys(asked))
        assert [found.identifier for found in fetched.found.values()] == list(fetched.found)

    async def test_of_nothing(self, reader):
        fetched = await reader.fetch([])
        assert (dict(fetched.found), fetched.delegations) == ({}, ())

    async def test_a_thousand_in_one_statement(self, reader, stock, sql_recorder):
        items = [record(f"88.100/I{n:03}", parent=identifier("88.100/GEAR")) for n in range(400)]
        await stock.register(*items)
        asked = [item.identifier for item in items]
        asked += [identifier(f"88.100/GEAR-2026-{n:06}") for n in range(100, 500)]
        asked += [identifier(f"88.101/NONE{n}") for n in range(MAX_IDENTIFIERS - 800)]
        await reader.fetch(asked[:1])  # a new connection asks for the array types once
        async with sql_recorder(stock.store.engine) as statements:
            fetched = await reader.fetch(asked)
        assert statements == [reads.FETCH_WHOLE]
        states = [found.state for found in fetched.found.values()]
        assert states == [State.FOUND] * 400 + [State.COVERED] * 400 + [State.MISSING] * 200
        assert all(len(found.records) == 2 for found in list(fetched.found.values())[:400])

    async def test_one_more_is_refused(self, reader):
        asked = [identifier(f"88.100/{n}") for n in range(MAX_IDENTIFIERS + 1)]
        with pytest.raises(BadQuery, match="the limit is 1000"):
            await reader.fetch(asked)


class TestEdges:
    async def test_a_level_in_order(self, reader, stock, sql_recorder):
        tokens = await stock.state(
            parties.GEAR_SAYS,
            parties.STEEL_SAYS,
            assertion("downstream", STEEL, "88.100/A"),
            assertion("downstream", STEEL, GEAR, type="DERIVED_FROM"),
            assertion("downstream", STEEL, GEAR, occurrence="2"),
            assertion("downstream", "88.101/A", GEAR),
        )
        level = [at(text) for text in (GEAR, "88.100/A", STEEL)]
        async with sql_recorder(stock.store.engine) as statements:
            found = await reader.edges(level, "upstream", 100)
        assert statements == [reads.EDGES]
        assert [(e.link.downstream.text, e.link.upstream.text, e.link.type, e.link.occurrence)
                for e in found.edges] == [
            ("88.100/A", STEEL, "CONTAINED_IN", ""),
            (GEAR, "88.101/A", "CONTAINED_IN", ""),
            (GEAR, STEEL, "CONTAINED_IN", ""),
            (GEAR, STEEL, "CONTAINED_IN", "2"),
            (GEAR, STEEL, "DERIVED_FROM", ""),
        ]  # fmt: skip
        assert found.edges[2].assertions == (tokens[0], tokens[1])
        assert not found.truncated
        assert set(found.delegations) == set(parties.DELEGATIONS)

    async def test_the_other_way(self, reader, stock):
        await stock.state(parties.GEAR_SAYS)
        level = [at(STEEL)]
        assert [e.link for e in (await reader.edges(level, "downstream", 10)).edges] == [
            parties.GEAR_SAYS.link
        ]
        assert (await reader.edges(level, "upstream", 10)).edges == ()

    @pytest.mark.parametrize(("limit", "truncated"), [(1, True), (5, True), (6, False)])
    async def test_a_cut_keeps_the_first(self, reader, stock, limit, truncated):
        await stock.state(
            *(
                assertion("downstream", f"88.101/{part}", f"88.100/{whole}")
                for whole in "BA"
                for part in "321"
            )
        )
        level = [at("88.100/B"), at("88.100/A")]
        found = await reader.edges(level, "upstream", limit)
        order = [f"88.101/{part}" for _ in "AB" for part in "123"]
        assert [edge.link.upstream.text for edge in found.edges] == order[:limit]
        assert found.truncated is truncated

    async def test_who_is_suspended_is_not_heard(self, reader, stock):
        gear_says, _ = await stock.state(parties.GEAR_SAYS, parties.STEEL_SAYS)
        await stock.state(assertion("upstream", "88.101/B", GEAR))
        await stock.switch("88.101", "suspended")
        found = await reader.edges([at(GEAR)], "upstream", 10)
        assert [edge.assertions for edge in found.edges] == [(gear_says,)]

    @pytest.mark.parametrize(
        ("direction", "limit"), [("sideways", 10), ("upstream", 0), ("upstream", 10**9)]
    )
    async def test_nonsense_is_refused(self, reader, direction, limit):
        with pytest.raises(BadQuery):
            await reader.edges([at(GEAR)], direction, limit)


class TestJson:
    async def test_what_crosses_the_seam_is_the_same_over_http(self, reader, stock):
        await stock.state(parties.GEAR_SAYS, parties.STEEL_SAYS)
        asked = [identifier(t) for t in (GEAR, STEEL, "99/X", "88.100/GEAR-2026-000002")]
        fetched = await reader.fetch(asked)
        assert Fetched.from_json(json.loads(json.dumps(fetched.to_json()))) == fetched
        edges = await reader.edges([Near.at(item) for item in asked], "upstream", 10)
        assert Edges.from_json(json.loads(json.dumps(edges.to_json()))) == edges


VIEWING = (7, ["*", "88.100"], "recall")


class TestPlans:
    """Every look-up in a large table is by index, and the unit leads its condition."""

    LARGE = ("identifiers", "rules", "edges", "assertions", "grants")

    @pytest.mark.parametrize(
        ("statement", "extra"),
        [
            pytest.param(reads.FETCH_WHOLE, (101, *VIEWING), id="whole"),
            pytest.param(reads.FETCH_RECORDS, (), id="records"),
            pytest.param(
                reads.EDGES, (100, "upstream", *VIEWING, [GEAR, STEEL], [0, 0]), id="edges"
            ),
        ],
    )
    async def test_by_index_with_the_unit(self, store, stock, statement, extra):
        await stock.state(parties.GEAR_SAYS, parties.STEEL_SAYS)
        async with store.write() as tx:
            driver = await tx.driver()
            await driver.execute("SET LOCAL enable_seqscan = off")  # the tables are tiny here
            asked = reads._asked([identifier(GEAR), identifier(STEEL)])
            plan = await driver.fetchval("EXPLAIN (FORMAT JSON) " + statement, *asked, *extra)
        scans = [node for node in nodes(plan[0]["Plan"]) if node.get("Relation Name") in self.LARGE]
        assert {node["Relation Name"] for node in scans} == {
            name for name in self.LARGE if f"FROM {name} " in statement
        }
        for node in scans:
            assert node["Node Type"] in ("Index Scan", "Index Only Scan"), node
            assert "(unit = " in node["Index Cond"], node

    async def test_a_poll_is_a_range_of_the_key(self, store):
        async with store.write() as tx:
            driver = await tx.driver()
            await driver.execute("SET LOCAL enable_seqscan = off")
            plan = await driver.fetchval("EXPLAIN (FORMAT JSON) " + reads.CHANGES, 700, 100)
        (scan,) = [n for n in nodes(plan[0]["Plan"]) if n.get("Index Name") == "pk_changes"]
        assert "xid >= " in scan["Index Cond"]
        assert "xid < " in scan["Index Cond"]


def nodes(plan):
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


class TestAway:
    async def test_nobody_there(self):
        store = Store.open("postgresql+asyncpg://nobody@127.0.0.1:1/none")
        with pytest.raises(Unavailable):
            await Reader(store).fetch([identifier(GEAR)])
        with pytest.raises(Unavailable):
            await Reader(store).changes(None)
        await store.close()

    async def test_a_lost_connection_is_replaced(self, store, reader):
        await reader.fetch([identifier(GEAR)])
        async with store.engine.connect() as other:
            await other.execute(
                sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE pid <> pg_backend_pid() AND datname = current_database()"
                )
            )
        for _ in range(store.engine.pool.size()):
            try:
                await reader.fetch([identifier(GEAR)])
            except Unavailable:
                continue
        assert (await one(reader, GEAR)).state is State.FOUND
