"""Need to know: what a grant opens, to whom, from where and how far, decided where links are read.

The chain that is walked, upstream:   88.1/CAR - 88.2/PACK - 88.2/MODULE - 88.3/CELL - 88.4/ORE
"""

import itertools
import time
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from registry.reader import Reader
from registry.store.tables import changes
from schemas.change import Op
from schemas.envelope import digest
from schemas.grant import Grant, parse_grant
from schemas.identifier import Identifier, Prefix
from schemas.leaf import What
from schemas.outline import Asked, Level
from schemas.viewer import ANYBODY, Near, Viewer
from tests.holders import hold

CHAIN = ("88.1/CAR", "88.2/PACK", "88.2/MODULE", "88.3/CELL", "88.4/ORE")
PACK = Identifier.parse("88.2/PACK")
OEM = Viewer(Prefix.parse("88.1"))


def identifier(text):
    return Identifier.parse(text)


@dataclass
class Market:
    """Four holders with hosted keys, whose links nobody else is shown."""

    registry: object
    keys: dict
    reader: Reader

    async def grant(self, iss="88.2", status=201, **members):
        draft = {"iss": iss, "id": "g", "to": "88.1", "depth": 9} | members
        draft = {name: value for name, value in draft.items() if value is not None}
        answer = await self.registry.post("/v1/grants", draft, key=self.keys[iss])
        assert answer.status_code == status, answer.text
        return answer.json()

    async def sees(self, viewer, *near, direction="upstream"):
        """The far ends that a viewer is shown of near ends, None for a pseudonym."""
        level = [item if isinstance(item, Near) else Near.at(identifier(item)) for item in near]
        found = await self.reader.edges(level, direction, 100, viewer)
        return [edge.link.end(direction).text for edge in found.edges] + [None] * len(found.blinded)


@pytest.fixture
async def market(registry):
    keys = {}
    for prefix in ("88.1", "88.2", "88.3", "88.4"):
        keys[prefix] = (await registry.allocate(prefix, opened=False)).api_key
    market = Market(registry, keys, Reader(registry.store, registry.clock))
    for text in CHAIN:
        body = {"identifier": text, "kind": "item"}
        answer = await registry.post("/v1/identifiers", body, key=keys[text.partition("/")[0]])
        assert answer.status_code == 201, answer.text
    for down, up in itertools.pairwise(CHAIN):
        body = {"side": "downstream", "type": "CONTAINED_IN", "upstream": up, "downstream": down}
        answer = await registry.post("/v1/links", body, key=keys[down.partition("/")[0]])
        assert answer.status_code == 201, answer.text
    return market


class TestShown:
    async def test_one_up_and_one_down_without_any_grant(self, market):
        assert await market.sees(OEM, *CHAIN) == ["88.2/PACK"]
        assert await market.sees(Viewer(Prefix.parse("88.2")), *CHAIN) == [
            "88.2/PACK", "88.3/CELL", "88.2/MODULE",
        ]  # fmt: skip
        assert await market.sees(ANYBODY, *CHAIN) == []
        assert await market.sees(Viewer(Prefix.parse("88.3")), "88.3/CELL", direction="downstream")

    async def test_who_is_above_a_prefix_is_not_its_holder(self, market):
        assert await market.sees(Viewer(Prefix.parse("88")), *CHAIN) == []
        assert await market.sees(Viewer(Prefix.parse("88.1.1")), *CHAIN) == []

    @pytest.mark.parametrize(
        ("members", "viewer", "near", "shown"),
        [
            ({}, OEM, PACK, True),
            ({}, Viewer(Prefix.parse("88.4")), PACK, False),
            ({}, ANYBODY, PACK, False),
            ({"to": "*"}, ANYBODY, PACK, True),
            ({"direction": "upstream"}, OEM, PACK, True),
            ({"direction": "downstream"}, OEM, PACK, False),
            ({"depth": 1}, OEM, PACK, True),
            ({"depth": 1}, OEM, ("88.2/MODULE", "88.2/PACK", 1), False),
            ({"depth": 2}, OEM, ("88.2/MODULE", "88.2/PACK", 1), True),
            ({"depth": 1}, OEM, "88.2/MODULE", True),
            ({"root": "88.2/PACK"}, OEM, PACK, True),
            ({"root": "88.2/PACK"}, OEM, "88.2/MODULE", False),
            ({"root": "88.2/PACK"}, OEM, ("88.2/MODULE", "88.2/PACK", 1), True),
            ({"root": "88.2/MODULE"}, OEM, ("88.2/MODULE", "88.2/PACK", 1), True),
            ({"aspects": ["CONTAINED_IN"]}, OEM, PACK, True),
            ({"aspects": ["CONSUMED_INTO"]}, OEM, PACK, False),
            ({"aspects": ["CONSUMED_INTO", "CONTAINED_IN", "asBuilt"]}, OEM, PACK, True),
            ({"aspects": ["CONTAINED_IN", "asPlanned"]}, OEM, PACK, False),
            ({"purpose": "recall"}, OEM, PACK, False),
            ({"purpose": "recall"}, replace(OEM, purpose="recall"), PACK, True),
            ({}, replace(OEM, purpose="recall"), PACK, True),
            ({"exp": 1_795_000_000}, OEM, PACK, False),
            ({"nbf": 4_000_000_000}, OEM, PACK, False),
            ({"nbf": 1, "exp": 4_000_000_000}, OEM, PACK, True),
        ],
    )
    async def test_what_a_grant_opens(self, market, members, viewer, near, shown):
        await market.grant(**members)
        if isinstance(near, tuple):
            near = Near(identifier(near[0]), identifier(near[1]), near[2])
        elif isinstance(near, Identifier):
            near = near.text
        assert bool(await market.sees(viewer, near)) is shown

    async def test_a_class_opens_its_items(self, market):
        key = market.keys["88.2"]
        for body in (
            {"identifier": "88.2/MODEL", "kind": "class"},
            {"identifier": "88.2/PACK-2", "kind": "item", "parent": "88.2/MODEL"},
        ):
            answer = await market.registry.post("/v1/identifiers", body, key=key)
            assert answer.status_code == 201, answer.text
        body = {"side": "downstream", "type": "CONTAINED_IN", "upstream": "88.3/CELL"}
        body["downstream"] = "88.2/PACK-2"
        assert (await market.registry.post("/v1/links", body, key=key)).status_code == 201
        await market.grant(root="88.2/MODEL")
        assert await market.sees(OEM, "88.2/PACK-2", "88.2/PACK") == ["88.3/CELL"]

    async def test_the_most_that_is_open_counts(self, market):
        await market.grant(id="some", show="blinded")
        assert await market.sees(OEM, "88.2/PACK") == [None]
        await market.grant(id="more", aspects=["CONTAINED_IN"])
        assert await market.sees(OEM, "88.2/PACK") == ["88.2/MODULE"]
        await market.grant(id="more", aspects=["SAME_AS"], status=200)
        assert await market.sees(OEM, "88.2/PACK") == [None]

    async def test_what_is_taken_back_is_open_no_more(self, market):
        await market.grant()
        answer = await market.registry.post("/v1/grants/88.2/g/revoke", key=market.keys["88.2"])
        assert (answer.status_code, answer.json()["state"]) == (200, "revoked")
        assert await market.sees(OEM, "88.2/PACK") == []
        again = await market.registry.post("/v1/grants/88.2/g/revoke", key=market.keys["88.2"])
        assert again.json() == answer.json()


class TestBlinded:
    async def test_pseudonyms_are_of_one_trace_and_tell_apart(self, market):
        await market.grant(show="blinded")
        level = [Near.at(identifier(text)) for text in ("88.2/PACK", "88.2/MODULE")]

        async def names(trace):
            found = await market.reader.edges(level, "upstream", 9, replace(OEM, trace=trace))
            assert found.edges == ()
            assert b"MODULE" not in str(found.blinded[0].far).encode()
            return {item.near.text: item.far for item in found.blinded}

        first, second = await names("one"), await names("two")
        assert first == await names("one")
        assert len(set(first.values()) | set(second.values())) == 4
        assert all(len(name) == 24 for name in first.values())

    async def test_a_page_is_as_long_as_if_there_were_no_others(self, market):
        key = market.keys["88.2"]
        for number in range(6):
            kind = "CONSUMED_INTO" if number % 2 else "CONTAINED_IN"
            body = {"side": "downstream", "type": kind, "upstream": f"88.3/P-{number}"}
            body["downstream"] = "88.2/MODULE"
            assert (await market.registry.post("/v1/links", body, key=key)).status_code == 201
        await market.grant(to="*", aspects=["CONSUMED_INTO"])
        everything = []
        for limit in (1, 2, 3, 9):
            cursor, found = "", []
            while cursor is not None:
                path = f"/v1/links/88.2/MODULE?direction=upstream&limit={limit}"
                page = (await market.registry.get(path + cursor)).json()
                found += [item["upstream"] for item in page["links"]]
                assert len(page["links"]) == limit or page["next"] is None
                cursor = None if page["next"] is None else f"&cursor={page['next']}"
            everything.append(found)
        assert everything == [["88.3/P-1", "88.3/P-3", "88.3/P-5"]] * 4
        level = [Near.at(identifier("88.2/MODULE"))]
        assert not (await market.reader.edges(level, "upstream", 3)).truncated
        assert (await market.reader.edges(level, "upstream", 2)).truncated


class TestAnswers:
    async def test_an_answer_has_the_links_that_its_caller_is_shown(self, market):
        module = identifier("88.2/MODULE")

        async def links(viewer):
            fetched = await market.reader.fetch([module], viewer=viewer)
            return len(fetched.found[module].assertions)

        assert [await links(viewer) for viewer in (ANYBODY, OEM)] == [0, 0]
        assert await links(Viewer(Prefix.parse("88.2"))) == 2
        assert await links(Viewer(Prefix.parse("88.3"))) == 1
        await market.grant(show="blinded")
        assert await links(OEM) == 0
        await market.grant(direction="upstream", status=200)
        assert await links(OEM) == 1

    @pytest.mark.parametrize(
        ("members", "turns"),
        [
            pytest.param({"exp": 500}, 500, id="ends"),
            pytest.param({"nbf": 1000}, 1000, id="begins"),
            pytest.param({"nbf": 1000, "exp": 2000}, 1000, id="begins first"),
            pytest.param({"nbf": -1000, "exp": 2000}, 2000, id="has begun"),
            pytest.param({"nbf": -1000, "exp": -10}, None, id="has ended"),
            pytest.param({}, None, id="at no time"),
            pytest.param({"exp": 500, "to": "88.1"}, None, id="not to everybody"),
            pytest.param({"exp": 500, "purpose": "recall"}, None, id="not for everything"),
            pytest.param({"exp": 500, "iss": "88.3"}, None, id="another's"),
        ],
    )
    async def test_an_answer_ends_when_a_grant_to_everybody_begins_or_ends(
        self, market, members, turns
    ):
        now = int(time.time())
        times = {name: now + members[name] for name in ("nbf", "exp") if name in members}
        await market.grant(**{"to": "*"} | members | times)
        await market.grant(id="later", to="*", exp=now + 9_000)
        module = identifier("88.2/MODULE")
        for ttl in (30, 100_000):
            reader = Reader(market.registry.store, market.registry.clock, ttl=ttl)
            fetched = await reader.fetch([module])
            within = fetched.found[module].turns_in
            expected = 9_000 if turns is None else turns
            assert expected - 100 < within <= expected
            assert fetched.ttl == min(ttl, int(within))
            bare = await reader.fetch([module], whole=False)
            assert (bare.found[module].turns_in, bare.ttl) == (None, ttl)
        for name in ("g", "later"):
            key = market.keys[members.get("iss", "88.2") if name == "g" else "88.2"]
            iss = members.get("iss", "88.2") if name == "g" else "88.2"
            answer = await market.registry.post(f"/v1/grants/{iss}/{name}/revoke", key=key)
            assert answer.status_code == 200
        assert (await market.reader.fetch([module])).found[module].turns_in is None


class TestStating:
    async def test_a_grant_is_a_change_of_its_prefix_and_in_the_log(self, market):
        made = await market.grant()
        async with market.registry.store.read() as tx:
            rows = await tx.connection.execute(changes.select().order_by(changes.c.id.desc()))
            row = rows.first()
        assert (row.op, row.about, row.what) == (Op.PREFIX, "88.2", What.GRANT)
        assert row.subject.startswith("grant/g/")
        assert (row.version, row.digest) == (1, made["digest"])
        assert parse_grant(made["envelope"])[1].grantor == Prefix.parse("88.2")

    async def test_the_same_again_changes_nothing_and_another_is_the_next_version(self, market):
        first = await market.grant()
        assert await market.grant(status=200) == first
        second = await market.grant(status=200, depth=3)
        assert (second["version"], second["depth"]) == (2, 3)
        assert parse_grant(second["envelope"])[1].prev == first["digest"]

    async def test_only_the_grantor_grants(self, market):
        body = {"iss": "88.2", "id": "g", "to": "*", "depth": 1}
        answer = await market.registry.post("/v1/grants", body, key=market.keys["88.1"])
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert (await market.registry.post("/v1/grants", body)).status_code == 401

    async def test_an_envelope_has_to_be_the_next_version(self, registry):
        holder = await hold(registry, "88.9")
        grant = Grant(Prefix.parse("88.9"), "g", registry.clock.now, depth=2)

        async def send(grant):
            body = {"envelope": grant.sign(holder.private)}
            answer = await registry.post("/v1/grants", body, key=holder.api_key)
            return answer.status_code, answer.json()

        status, first = await send(grant)
        assert status == 201
        assert await send(grant) == (200, first)
        assert (await send(replace(grant, depth=3)))[0] == 412
        following = replace(grant, depth=3, version=2, prev=first["digest"])
        assert (await send(following))[0] == 200
        assert (await send(following.revocation(digest(following.sign(holder.private)), 1)))[0] == (
            200
        )
        status, body = await send(replace(grant, id="h", issued_at=registry.clock.now + 301))
        assert (status, body["code"]) == (400, "E_TIME")

    @pytest.mark.parametrize(
        ("members", "code"),
        [
            ({"depth": 0}, "grant_invalid"),
            ({"root": "88.3/CELL"}, "grant_invalid"),
            ({"to": "88..1"}, "identifier_invalid"),
            ({"show": "none"}, "grant_invalid"),
            ({"more": 1}, "grant_invalid"),
        ],
    )
    async def test_what_is_no_grant(self, market, members, code):
        assert (await market.grant(status=400, **members))["code"] == code

    async def test_who_is_told_of_grants(self, market):
        for name, to in (("a", "88.1"), ("b", "88.3"), ("c", "*")):
            await market.grant(id=name, to=to)

        async def listed(prefix, query=""):
            answer = await market.registry.get(
                f"/v1/grants?grantor=88.2{query}", key=market.keys[prefix]
            )
            return [item["id"] for item in answer.json()["grants"]], answer.json()["next"]

        assert await listed("88.2") == (["a", "b", "c"], None)
        assert await listed("88.2", "&limit=2") == (["a", "b"], "b")
        assert await listed("88.2", "&limit=2&cursor=b") == (["c"], None)
        assert await listed("88.1") == (["a"], None)
        assert await listed("88.4") == ([], None)


WORDS = st.sampled_from(["*", "88.1", "88.3"])
GRANTS = st.lists(
    st.fixed_dictionaries(
        {
            "iss": st.sampled_from(["88.2", "88.3"]),
            "to": WORDS,
            "depth": st.sampled_from([1, 2, 3, 20]),
            "direction": st.sampled_from([None, "upstream", "downstream"]),
            "root": st.sampled_from([None, "PACK", "MODULE", "CELL"]),
            "aspects": st.sampled_from([None, ["CONTAINED_IN"], ["SAME_AS"], ["asBuilt"]]),
            "show": st.sampled_from(["full", "blinded"]),
        }
    ),
    max_size=4,
)


class TestAgainstAModel:
    """Every choice of the statement against a few lines of Python."""

    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(GRANTS, st.sampled_from([None, "88.1", "88.2", "88.3"]), st.integers(0, 2))
    async def test_shown_is_what_the_grants_say(self, market, drafts, viewer, steps):
        await self._clear(market)
        for number, draft in enumerate(drafts):
            root = draft["root"] and f"{draft['iss']}/{draft['root']}"
            await market.grant(**draft | {"id": f"g{number}", "root": root})
        for down, up in itertools.pairwise(CHAIN):
            for near, far, direction in ((down, up, "upstream"), (up, down, "downstream")):
                entry = "88.2/PACK" if near.startswith("88.2") else near
                level = [Near(identifier(near), identifier(entry), steps)]
                asker = Viewer(None if viewer is None else Prefix.parse(viewer))
                found = await market.reader.edges(level, direction, 9, asker)
                shown = [2] * sum(e.link.end(direction).text == far for e in found.edges)
                shown += [1] * len(found.blinded)
                expected = self._expected(drafts, viewer, near, far, direction, entry, steps)
                assert shown == ([expected] if expected else []), (near, far)
                # What needs no statement is decided the same.
                asked = Asked(direction, asker)
                outline = await market.reader.survey(Level([near], [entry], [steps]), asked, 9)
                shown = [2] * outline.far.count(far) if outline.far else []
                shown += [1] * len(outline.blinded)
                assert shown == ([expected] if expected else []), (near, far)
        await self._sweeps_are_walks(market, viewer)

    async def _sweeps_are_walks(self, market, viewer):
        """Whatever a sweep tells is what a walk level by level finds."""
        asked = Asked("upstream", Viewer(None if viewer is None else Prefix.parse(viewer)))
        for _ in CHAIN:  # each learns whom it meets
            swept = await market.reader.sweep(identifier(CHAIN[0]), asked, 8)
        if swept.links is None:
            return
        keys, entries, steps, found = [CHAIN[0]], [CHAIN[0]], [0], []
        while keys:
            outline = await market.reader.survey(Level(keys, entries, steps), asked, 9)
            assert outline.blinded == ()
            within = [far.partition("/")[0] == keys[0].partition("/")[0] for far in outline.far]
            found += [(keys[0], far) for far in outline.far]
            entries = [
                entries[0] if same else far for same, far in zip(within, outline.far, strict=True)
            ]
            steps = [steps[0] + 1 if same else 0 for same in within]
            keys = list(outline.far)
        assert [(near, far) for near, far, _ in swept.links] == found

    async def _clear(self, market):
        async with market.registry.store.write() as tx:
            await tx.connection.exec_driver_sql("DELETE FROM grants")

    def _expected(self, drafts, viewer, near, far, direction, entry, steps):
        holders = {near.partition("/")[0], far.partition("/")[0]}
        if viewer in holders:
            return 2
        best = 0
        for draft in drafts:
            root = draft["root"] and f"{draft['iss']}/{draft['root']}"
            if (
                draft["iss"] == near.partition("/")[0]
                and draft["to"] in ("*", viewer)
                and draft["direction"] in (None, direction)
                and draft["depth"] > steps
                and root in (None, near, entry)
                and (draft["aspects"] is None or draft["aspects"][0] != "SAME_AS")
            ):
                best = max(best, 2 if draft["show"] == "full" else 1)
        return best
