"""Need to know, everywhere: what somebody may not see changes nothing of what he is told.

Two worlds that differ in links and grants alone which a caller may not see answer him alike, byte
for byte, on every way there is to ask: status, headers, entity tags, pages and cursors, changes,
errors, the number of SQL statements. Left out of the comparison are the watermark of now and dates.

    88.1/CAR - 88.2/PACK - 88.2/MODULE - 88.3/CELL, and whatever is called SECRET, which nobody
    registered: it is there as the end of a link or not at all

Which links a caller may see is judged by a few lines of Python, not by the statement under test.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import product
from types import SimpleNamespace

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st
from sqlalchemy import text

from registry import prefixes
from registry.reader import Reader
from registry.store.tables import unit_of
from resolver import trace
from resolver.app import Resolver, create_app
from resolver.config import ResolverSettings
from resolver.trust import Verifier
from schemas import canonical
from schemas.chain import Trust, trust_document
from schemas.identifier import Identifier, Prefix
from schemas.keys import b64encode
from schemas.viewer import Near, Viewer
from tierlink.resolving import routes

UP, DOWN = "upstream", "downstream"
OTHER = {UP: DOWN, DOWN: UP}
REGISTERED = ("88.1/CAR", "88.2/PACK", "88.2/MODULE", "88.3/CELL")
HOLDERS = ("88.1", "88.2", "88.3", "88.9")
CALLERS = ("88.1", "88.9")  # who holds one end, and a stranger
TABLES = ("edges", "assertions", "assertion_history", "changes", "grants")


@dataclass(frozen=True)
class Stated:
    """A link, the side that states it, and whether it was taken back since."""

    down: str
    up: str
    type: str = "CONTAINED_IN"
    side: str = DOWN
    lifecycle: str = "asBuilt"
    withdrawn: bool = False

    def end(self, side):
        return self.up if side == UP else self.down


LINKS = (
    Stated("88.1/CAR", "88.2/PACK"),
    Stated("88.2/PACK", "88.3/SECRET-1"),
    Stated("88.2/PACK", "88.2/MODULE"),
    Stated("88.2/PACK", "88.2/MODULE", "CONSUMED_INTO", lifecycle="asPlanned"),
    Stated("88.2/PACK", "88.4/SECRET-2", "SAME_AS"),
    Stated("88.2/MODULE", "88.3/CELL"),
    Stated("88.2/MODULE", "88.3/CELL", side=UP),
    Stated("88.2/MODULE", "88.3/SECRET-3", withdrawn=True),
    Stated("88.2/MODULE", "88.2/SECRET-4"),
    Stated("88.3/CELL", "88.4/SECRET-5"),
    Stated("88.5/SECRET-6", "88.2/PACK", side=UP),
    Stated("88.2/SECRET-7", "88.3/CELL", side=UP),
    Stated("88.9/SECRET-8", "88.2/MODULE", "SHIPPED_AS", side=UP),
    Stated("88.3/CELL", "88.1/CAR"),  # and so there may be a cycle
)
GRANTS = st.lists(
    st.fixed_dictionaries(
        {
            "iss": st.sampled_from(["88.2", "88.2", "88.3", "88.1"]),
            "to": st.sampled_from(["*", "88.1", "88.3", "88.9", "88.9"]),
            "root": st.sampled_from([None, None, "PACK", "MODULE", "MODEL", "SECRET-4"]),
            "direction": st.sampled_from(["", "", UP, DOWN]),
            "depth": st.integers(1, 3),
            "aspect": st.sampled_from(["", "", "CONTAINED_IN", "SAME_AS", "asPlanned"]),
            "purpose": st.sampled_from(["", "", "recall", "audit"]),
            "show": st.sampled_from(["full", "full", "blinded"]),
            "state": st.sampled_from(["granted", "granted", "granted", "revoked"]),
            "before": st.sampled_from(["", "", "88.9"]),
        }
    ),
    min_size=1,
    max_size=5,
)


def holder(identifier):
    return identifier.partition("/")[0]


def under(grant):
    return grant["root"] and f"{grant['iss']}/{grant['root']}"


def opens(grant, caller, link, near, purposes):
    """Tell whether a grant may open a link as seen from one of its ends, on whatever way there."""
    return (
        grant["iss"] == holder(near)
        and grant["to"] in ("*", caller)
        and grant["state"] == "granted"
        and grant["purpose"] in ("", *purposes)
        and grant["direction"] in ("", UP if near == link.down else DOWN)
        and grant["aspect"] in ("", link.type, link.lifecycle)
    )


def at_its_own_end(grant, near):
    """Tell the same of where a walk stands that begins there; PACK is of the class MODEL."""
    line = (near, "88.2/MODEL") if near == "88.2/PACK" else (near,)
    return grant["root"] is None or under(grant) in line


def sees(grants, caller, link, purposes=("recall",)):
    """Return "full", "blinded" or None: the most that a caller may ever be shown of a link."""
    if caller in (holder(link.up), holder(link.down)):
        return "full"
    shown = [
        grant["show"]
        for grant in grants
        for near in (link.up, link.down)
        if opens(grant, caller, link, near, purposes)
    ]
    return min(shown, default=None, key=["full", "blinded"].index)


def concerns(grant, caller):
    """Tell whether a caller is told of a grant."""
    return (caller is not None and grant["iss"] == caller) or (
        grant["to"] in ("*", caller) or grant["before"] == caller != None  # noqa: E711
    )


@dataclass(repr=False)
class World:
    """One registry whose links and grants are put there anew, behind a resolver of its own."""

    registry: object
    keys: dict
    trust: Trust
    since: str
    link_keys: dict
    sql_recorder: object
    envelopes: dict  # of some grant of each holder

    @property
    def store(self):
        return self.registry.store

    async def execute(self, *statements, **values):
        async with self.store.write() as tx:
            for statement in statements:
                names = set(re.findall(r"(?<!:):(\w+)", statement))
                await tx.connection.execute(text(statement), {name: values[name] for name in names})

    async def load(self, chosen, grants):
        """Put links and grants there, and a copy of it all aside."""
        every = list(self.link_keys.values())
        kept = [self.link_keys[link] for link in chosen]
        await self.execute(
            "DELETE FROM grants",
            *(f"DELETE FROM {table}" for table in TABLES[:-1]),
            *(
                f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM spare_{table} AS s"
                " WHERE NOT s.link_key = ANY (:every) OR s.link_key = ANY (:kept)"
                for table in TABLES[:-2]
            ),
            "INSERT INTO changes OVERRIDING SYSTEM VALUE SELECT * FROM spare_changes AS s"
            " WHERE s.op <> 2 OR split_part(s.subject, '/', 1) = ANY (:kept)",
            every=every,
            kept=kept,
        )
        for number, grant in enumerate(grants):
            aspect = grant["aspect"]
            await self.execute(
                "INSERT INTO grants (unit, id, version, state, grantee, root, direction, depth,"
                " types, lifecycles, purpose, show, digest, envelope) VALUES (:unit, :id, 1,"
                " :state, :to, :root, :direction, :depth, :types, :lifecycles, :purpose, :show,"
                " :id, :envelope)",
                "INSERT INTO changes (unit, op, about, also, version, digest, what, subject)"
                " VALUES (:unit, 4, :iss, :before, 1, :id, 'grant', :subject)",
                **grant
                | {
                    "unit": unit_of(Prefix.parse(grant["iss"])),
                    "id": f"g{number}",
                    "subject": f"grant/g{number}/x",
                    "root": under(grant) or "",
                    "types": [aspect] if aspect.isupper() else [],
                    "lifecycles": [aspect] if aspect.startswith("as") else [],
                    "envelope": self.envelopes[grant["iss"]],
                },
            )
        for table in TABLES:
            await self.execute(
                f"DELETE FROM whole_{table}", f"INSERT INTO whole_{table} SELECT * FROM {table}"
            )

    async def restore(self):
        for table in TABLES:
            await self.execute(
                f"DELETE FROM {table}",
                f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM whole_{table}",
            )

    async def forget(self, links, grants):
        """Take away links and grants, as if they had never been."""
        keys = [self.link_keys[link] for link in links]
        await self.execute(
            *(f"DELETE FROM {table} WHERE link_key = ANY (:keys)" for table in TABLES[:-2]),
            "DELETE FROM changes WHERE split_part(subject, '/', 1) = ANY (:keys)",
            "DELETE FROM grants WHERE id = ANY (:names)",
            "DELETE FROM changes WHERE what = 'grant' AND digest = ANY (:names)",
            keys=keys,
            names=[f"g{number}" for number in grants],
        )

    async def settled(self):
        """Wait until nobody in the server holds the watermark back."""
        reader = Reader(self.store, self.registry.clock)
        async with self.store.read() as tx:
            last = (
                await tx.connection.execute(
                    text("SELECT coalesce(max(xid::text::bigint), 0) FROM changes")
                )
            ).scalar_one()
        for _ in range(1000):
            if (await reader.changes(None)).watermark.position > last:
                return

    async def told(self, caller):
        """Ask everything there is to ask; return the answers, and the SQL statements it took."""
        await self.settled()
        reader = Reader(self.store, self.registry.clock, blinding=bytes(32))
        reading = Resolver(
            reader,
            Verifier(self.trust),
            ResolverSettings(),
            clock=lambda: 1000.0,
            wall=lambda: float(self.registry.clock.now),
        )
        await reading.freshness.poll()
        app = create_app(reading, routes=routes(reading))
        headers = {} if caller is None else {"authorization": f"Bearer {self.keys[caller]}"}
        async with (
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://node.example"
            ) as client,
            self.sql_recorder(self.store.engine) as statements,
        ):
            asker = Asker(client, self.registry.client, headers, self.since)
            await asker.ask_everything()
        # Not what the driver does the first time.
        counted = [one for one in statements if "pg_catalog" not in one and "'jit'" not in one]
        return asker.answers, Counter(counted)


@dataclass
class Asker:
    """Asks on behalf of one caller; `answers` are by what was asked, each once."""

    resolver: httpx.AsyncClient
    registry: httpx.AsyncClient
    headers: dict
    since: str
    answers: dict = field(default_factory=dict)

    async def send(self, client, method, path, body=None, **headers):
        sent = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await client.request(method, path, json=body, headers=sent)
        shown = [item for item in answer.headers.multi_items() if item[0] != "date"]
        told = re.sub(r'"watermark":\s*"[^"]*"', '"watermark": ""', answer.text)
        asked = (method, path, json.dumps(body), tuple(sorted(headers.items())))
        assert asked not in self.answers
        self.answers[asked] = (answer.status_code, tuple(shown), told)
        return answer

    async def ask_everything(self):
        for item in (*REGISTERED, "88.2/NONE", "88.4/NONE"):
            await self.resolve(item)
            await self.list_links(item)
        for item in ("88.1/CAR", "88.2/PACK", "88.3/CELL", "88.4/NONE"):
            await self.trace(item)
            await self.send(self.registry, "GET", f"/v1/identifiers/{item}")
        await self.many()
        await self.changes()
        await self.others()

    async def resolve(self, item):
        answer = await self.send(self.resolver, "GET", f"/{item}")
        tag = answer.headers.get("etag")
        await self.send(self.resolver, "GET", f"/{item}", if_none_match=tag or '"x"')
        await self.send(self.resolver, "HEAD", f"/{item}")
        await self.send(self.resolver, "GET", f"/{item}", accept="text/html")
        await self.send(self.resolver, "GET", f"/{item}", accept="text/html", accept_language="zh")
        for query in ("format=jose", "format=linkset", "proof=none", "proof=full",
                      "linkType=gs1:pip", "recursive=false", "purpose=recall",
                      "purpose=Re"):  # fmt: skip
            await self.send(self.resolver, "GET", f"/{item}?{query}")

    async def list_links(self, item):
        kinds = [*product((1, 2, 100), ("", "&purpose=recall"))]
        for limit, query in (*kinds, (1, "&direction=upstream"), (2, "&type=SAME_AS")):
            place = f"/v1/links/{item}?limit={limit}{query}"
            cursor = ""
            while cursor is not None:
                answer = await self.send(self.registry, "GET", place + cursor)
                following = answer.json().get("next")
                cursor = following and f"&cursor={following}"
        for place in (
            [UP, "88.3/SECRET-1", "CONTAINED_IN", "asBuilt", ""],
            [DOWN, "88", "", "", ""],
        ):
            cursor = b64encode(canonical.encode(place))
            await self.send(self.registry, "GET", f"/v1/links/{item}?limit=7&cursor={cursor}")

    async def trace(self, item):
        for direction, query in product((UP, DOWN), ("", "&limit=2", "&depth=1", "&proof=none",
                                                     "&proof=none&limit=2", "&purpose=recall",
                                                     "&proof=none&purpose=recall",
                                                     "&types=SAME_AS", "&rollup=1",
                                                     "&as_of=4000000000")):  # fmt: skip
            path = f"/v1/trace/{item}?direction={direction}{query}"
            await self.send(self.resolver, "GET", path)
            if query in ("", "&proof=none", "&depth=1"):
                await self.send(self.resolver, "GET", path, accept="application/x-ndjson")
        await self.send(self.resolver, "GET", f"/v1/trace/{item}", accept="application/ld+json")
        await self.send(self.resolver, "HEAD", f"/v1/trace/{item}")

    async def many(self):
        asked = [*REGISTERED, "88.2/NONE", "88.4/NONE"]
        await self.send(self.resolver, "POST", "/v1/resolve", {"identifiers": asked})
        for whole in (True, False):
            await self.send(
                self.registry, "POST", "/v1/source", {"identifiers": asked, "whole": whole}
            )
        for direction, limit in product((UP, DOWN), (1, 3, 100)):
            body = {"identifiers": asked, "direction": direction, "limit": limit}
            await self.send(self.registry, "POST", "/v1/source/edges", body)

    async def changes(self):
        for limit in (1, 2, 100):
            after, more = self.since, True
            while more:
                answer = await self.send(
                    self.registry, "GET", f"/v1/changes?limit={limit}&after={after}"
                )
                told = answer.json()
                after, more = told["watermark"], told["more"]
                assert len(told["changes"]) <= max(limit, 2)

    async def others(self):
        for path in ("/v1/grants?grantor=88.2", "/v1/grants?grantor=88.3&limit=1", "/v1/deliveries",
                     "/v1/identifiers?prefix=88.2", "/v1/prefixes?parent=88", "/v1/prefixes/88.2",
                     "/v1/trust", "/v1/epcis/capture", "/v1/grants/none",
                     "/v1/source/proof?identifier=88.2/PACK", "/v1/log/checkpoint"):  # fmt: skip
            await self.send(self.registry, "GET", path)
        await self.send(self.resolver, "GET", "/v1/proof/88.2/PACK")
        answer = await self.resolver.get("/metrics")
        names = re.sub(r" [0-9.e+-]+$", "", answer.text, flags=re.MULTILINE)
        self.answers["metrics"] = (answer.status_code, (), names)


@pytest.fixture
async def world(registry, sql_recorder, monkeypatch):
    monkeypatch.setattr(trace, "secrets", SimpleNamespace(token_bytes=bytes))
    keys = {prefix: (await registry.allocate(prefix, opened=False)).api_key for prefix in HOLDERS}

    async def post(path, body, prefix):
        answer = await registry.post(path, body, key=keys[prefix])
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    await post("/v1/identifiers", {"identifier": "88.2/MODEL", "kind": "class"}, "88.2")
    for item in REGISTERED:
        hidden = [{"audience": ["partner"], "attributes": {"mass": "2 kg"}}]
        more = {"parent": "88.2/MODEL", "hidden": hidden} if item == "88.2/PACK" else {}
        await post("/v1/identifiers", {"identifier": item, "kind": "item"} | more, holder(item))
    envelopes = {}
    for prefix in HOLDERS:
        draft = {"iss": prefix, "id": "g", "to": "*", "depth": 1}
        envelopes[prefix] = (await post("/v1/grants", draft, prefix))["envelope"]
    since = (await registry.get("/v1/changes")).json()["watermark"]
    link_keys = {link: await stated(post, link) for link in LINKS}
    async with registry.store.read() as tx:
        root = await prefixes.root(tx)
    trust = Trust.parse(canonical.encode(trust_document([root], [])))
    made = World(registry, keys, trust, since, link_keys, sql_recorder, envelopes)
    for name, table in product(("spare", "whole"), TABLES):
        await made.execute(f"CREATE TABLE {name}_{table} AS SELECT * FROM {table}")
    return made


async def stated(post, link):
    """State a link, and take it back where it was; return its key."""
    body = {"side": link.side, "type": link.type, "upstream": link.up, "downstream": link.down,
            "lifecycle": link.lifecycle}  # fmt: skip
    speaker = holder(link.end(link.side))
    key = (await post("/v1/links", body, speaker))["link_key"]
    if link.withdrawn:
        await post("/v1/links", body | {"state": "withdrawn"}, speaker)
    return key


def listed(answers, item, limit, query=""):
    """The links of all pages of one list, in order, as (direction, far end)."""
    place = f"/v1/links/{item}?limit={limit}{query}"
    found = []
    for asked, (_, _, body) in answers.items():
        following = asked[1] if asked != "metrics" else ""
        if following == place or following.startswith(f"{place}&cursor="):
            for one in json.loads(body)["links"]:
                direction = UP if one["downstream"] == item else DOWN
                found.append((direction, one[direction], one["type"], one["lifecycle"]))
    return found


class TestNothingChanges:
    @settings(
        max_examples=3,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],  # an example takes seconds
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(st.sets(st.sampled_from(LINKS), min_size=8), GRANTS, st.sampled_from(CALLERS))
    async def test_by_what_is_not_for_the_caller(self, world, chosen, grants, named):
        await world.load(chosen, grants)
        for caller in (None, named):
            await world.restore()
            before = await world.told(caller)
            visible = {link: sees(grants, caller, link) for link in chosen}
            hidden = [link for link, shown in visible.items() if shown is None]
            strange = [at for at, one in enumerate(grants) if not concerns(one, caller)]
            self._nothing_is_mentioned(world, before[0], visible)
            self._pages_are_whole(before[0], caller, chosen, grants)
            await world.forget(hidden, strange)
            after = await world.told(caller)
            assert before[0].keys() == after[0].keys()
            for asked, answer in before[0].items():
                assert answer == after[0][asked], (caller, asked)
            assert before[1] == after[1], caller

    def _nothing_is_mentioned(self, world, answers, visible):
        seen = {item for link, shown in visible.items() if shown == "full"
                for item in (link.up, link.down)}  # fmt: skip
        ends = {item for link in LINKS for item in (link.up, link.down)}
        unseen = {item.partition("/")[2] for item in ends - seen - set(REGISTERED)}
        keys = {world.link_keys[link] for link in LINKS if visible.get(link) != "full"}
        keys -= {world.link_keys[link] for link, shown in visible.items() if shown == "full"}
        for asked, (_, headers, body) in answers.items():
            told = body + str(headers)
            assert not [word for word in unseen | keys if word in told], asked

    def _pages_are_whole(self, answers, caller, chosen, grants):
        for item, limit, query in product(REGISTERED, (1, 2, 100), ("", "&purpose=recall")):
            purposes = ("recall",) if query else ()
            expected = {
                (side, link.end(side), link.type, link.lifecycle)
                for link in chosen
                for side in (UP, DOWN)
                if link.end(OTHER[side]) == item
                and not link.withdrawn
                and (
                    caller in (holder(link.up), holder(link.down))
                    or any(
                        opens(grant, caller, link, item, purposes)
                        and at_its_own_end(grant, item)
                        and grant["show"] == "full"
                        for grant in grants
                    )
                )
            }
            assert listed(answers, item, limit, query) == sorted(expected), (caller, item, limit)


class TestPseudonyms:
    @pytest.fixture
    async def blinded(self, world, monkeypatch):
        monkeypatch.undo()  # a trace has a name of its own
        grant = {"iss": "88.2", "root": None, "direction": "", "depth": 9, "aspect": "",
                 "purpose": "", "show": "blinded", "state": "granted", "before": ""}  # fmt: skip
        await world.load(LINKS, [grant | {"to": "88.1"}, grant | {"to": "*"}])
        return world

    async def test_tell_apart_in_a_trace_and_in_no_two(self, blinded, monkeypatch):
        reader = Reader(blinded.store, blinded.registry.clock)
        reading = Resolver(reader, Verifier(blinded.trust), ResolverSettings())
        transport = httpx.ASGITransport(create_app(reading, routes=routes(reading)))
        seen = []
        async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
            for caller, query in product(("88.1", "88.9", None, "88.1"), ("", "&proof=none")):
                key = blinded.keys.get(caller)
                headers = {} if key is None else {"authorization": f"Bearer {key}"}
                path = f"/v1/trace/88.2/PACK?direction=upstream{query}"
                answer = await client.get(path, headers=headers)
                names = [item["far"] for item in answer.json()["blinded"]]
                codes = {item["type"] + item["lifecycle"] for item in answer.json()["blinded"]}
                assert len(codes) == 3
                assert "SECRET" not in answer.text
                assert "MODULE" not in answer.text
                assert len(names) == 4  # two links lead to one end
                assert len(set(names)) == 3
                assert names == sorted(names)  # not as their codes are sorted
                seen.append(set(names))
        assert len(set().union(*seen)) == sum(map(len, seen))

    async def test_two_callers_who_agree_on_a_trace_have_nothing_to_compare(self, blinded):
        reader = Reader(blinded.store, blinded.registry.clock)
        level = [Near.at(Identifier.parse("88.2/PACK"))]

        async def names(prefix):
            viewer = Viewer(prefix and Prefix.parse(prefix), "", "agreed")
            return {item.far for item in (await reader.edges(level, UP, 9, viewer)).blinded}

        every = [await names(prefix) for prefix in (None, "88.1", "88.9")]
        assert [len(found) for found in every] == [3, 3, 3]
        assert len(set().union(*every)) == 9
        assert await names("88.1") == every[1]
