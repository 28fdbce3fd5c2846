"""The schema can be spread over machines by the delegation unit, and stays so (ADR 10).

Three witnesses: the catalogue, whose keys carry the unit; every statement that a full scenario
sends, read by a parser; and the same scenario on tables that PostgreSQL itself partitions by the
unit, none of whose partitions may be looked into unless the scenario's prefixes live there.
"""

import ast
import inspect
import json
from pathlib import Path

import asyncpg
import httpx
import pytest
from sqlalchemy import MetaData, text
from sqlalchemy.ext.asyncio import create_async_engine

import registry.store
from registry import deliveries as on_their_way, handovers as handed_over, received as coming_in
from registry.api.deps import Deps
from registry.app import create_app
from registry.bootstrap import found
from registry.keyring import Keyring
from registry.log import founding
from registry.log.copy import Copy
from registry.log.maps import Maps
from registry.log.publishing import Publisher
from registry.log.sequencer import Sequencer
from registry.reader import Reader
from registry.store import (
    batch_statements,
    changes,
    deliveries,
    disclosures,
    epcis,
    express,
    feed,
    grants,
    handovers,
    identifier_batches,
    identifiers,
    links,
    log,
    notices,
    outlines,
    proofs,
    reads,
    received,
    rules,
    viewing,
)
from registry.store.engine import Store
from registry.store.tables import DISTRIBUTED, OWN, REFERENCE, metadata, unit_of
from schemas.batched import build
from schemas.envelope import RECORD
from schemas.errors import Unavailable
from schemas.grant import Grant
from schemas.identifier import Identifier, Prefix
from schemas.outline import Asked, Level
from schemas.policy import LogPolicy
from schemas.viewer import ANYBODY, Near
from schemas.when import When
from tests.distribution import NAMES, faults, touched
from tests.fixtures_registry import KEK, Clock, Registry
from tests.holders import hold

MAKER, SUPPLIER = "88.118.8", "88.118.9"  # hosted, and with a key of its own
PARTITIONS = 64
SPEAKING = (  # the modules that speak of distributed tables
    batch_statements,
    changes,
    deliveries,
    disclosures,
    epcis,
    express,
    feed,
    grants,
    handovers,
    identifier_batches,
    identifiers,
    links,
    notices,
    outlines,
    proofs,
    reads,
    received,
    rules,
    viewing,
)
RULE = {
    "pattern": "S-{n:digits:1-9}",
    "targets": [{"rel": "gs1:pip", "template": "https://maker.example/{n}"}],
}


class Scenario:
    """What holders and their partners do with a node, each use of each large table once."""

    def __init__(self, registry, sequencer):
        self.registry = registry
        self.sequencer = sequencer
        self.reader = Reader(registry.store, registry.clock)

    async def run(self):
        self.maker = (await self.registry.allocate(MAKER, opened=False)).api_key
        self.supplier = await hold(self.registry, SUPPLIER)
        await self.sequencer.open()
        start = (await self.reader.changes(None)).watermark
        await self.records()
        await self.family()
        await self.batches()
        await self.statement()
        await self.links()
        await self.events()
        await self.grants()
        await self.deliveries()
        await self.handovers()
        await self.notices()
        await self.log()
        await self.listings()
        await self.reads()
        await self.forgetting(start)

    async def forgetting(self, start):
        async with self.registry.store.write() as tx:
            driver = await tx.driver()
            kept = await changes.kept(driver)
            [oldest, *_] = await changes.oldest(driver, kept.since, kept.logged, 1)
            await changes.keep_since(driver, oldest.xid + 1)
            assert await changes.forget(driver, kept.since, oldest.xid + 1) > 0
            assert await changes.kept_since(driver) == oldest.xid + 1
        told = await self.reader.changes(start)
        assert told.watermark.epoch == start.epoch
        told = await self.reader.changes_for(ANYBODY, start)
        assert told.watermark.epoch == start.epoch

    async def ask(self, method, path, body=None, *, key=None, expected=(200, 201), **headers):
        answer = await self.registry.send(
            method, f"/v1{path}", body, key=key or self.maker, **headers
        )
        assert answer.status_code in expected, answer.text
        return answer.json()

    async def draft(self, suffix, kind="item", **members):
        body = {"identifier": f"{MAKER}/{suffix}", "kind": kind} | members
        return await self.ask("POST", "/identifiers", body)

    async def update(self, suffix, version, kind="item", **members):
        body = {"identifier": f"{MAKER}/{suffix}", "kind": kind} | members
        path = f"/identifiers/{MAKER}/{suffix}"
        return await self.ask("PUT", path, body, If_Match=f'"{version}"')

    async def retire(self, suffix, version):
        path = f"/identifiers/{MAKER}/{suffix}"
        return await self.ask("DELETE", path, If_Match=f'"{version}"')

    async def send(self, path, *lines, key=None):
        answer = await self.registry.client.post(
            f"/v1{path}/batch",
            content="".join(json.dumps(line) + "\n" for line in lines),
            headers={"authorization": f"Bearer {key or self.maker}"},
        )
        assert answer.status_code == 200, answer.text
        results = [json.loads(line) for line in answer.text.splitlines()]
        assert {result["status"] for result in results} <= {200, 201}, results

    async def records(self):
        hidden = [{"audience": ["public"], "attributes": {"colour": "red"}}]
        await self.draft("C", "class", rule=RULE)
        await self.draft("A-1", parent=f"{MAKER}/C", hidden=hidden)
        await self.draft("A-1", parent=f"{MAKER}/C", hidden=hidden)  # the same again
        await self.update("A-1", 1, attributes={"n": 1}, parent=f"{MAKER}/C")
        holder = self.supplier
        await self.ask("POST", "/identifiers", holder.body("X-1"), key=holder.api_key)

    async def family(self):
        await self.draft("P", "class", rule=RULE | {"pattern": "T-{n:digits:3}"})
        await self.draft("Q", "class")
        await self.draft("GONE")
        await self.update("Q", 1, "class", parent=f"{MAKER}/P")
        await self.update("P", 1, "class")  # the rule goes
        await self.retire("GONE", 1)

    async def batches(self):
        items = [{"identifier": f"{MAKER}/B-{n}", "kind": "item"} for n in range(4)]
        await self.send("/identifiers", *items)
        holder = self.supplier
        first = [holder.record(f"V-{n}") for n in range(2)]
        tokens = [holder.sign(record) for record in first]
        second = [
            holder.sign(holder.after(record, token, attributes={"n": 2}))
            for record, token in zip(first, tokens, strict=True)
        ]
        # The second version of one comes with the first, of the other behind it.
        for batch in ([tokens[0]], [second[0], tokens[1], second[1]]):
            lines = ({"envelope": token} for token in batch)
            await self.send("/identifiers", *lines, key=holder.api_key)
        classes = [
            {"identifier": f"{MAKER}/K-{n}", "kind": "class", "parent": f"{MAKER}/C",
             "rule": RULE | {"pattern": f"K{n}-{{n:digits:3}}"}}
            for n in range(2)
        ]  # fmt: skip
        await self.send("/identifiers", *classes)

    async def statement(self):
        holder = self.supplier
        records = [holder.record(f"R-{n}") for n in range(3)]
        _, tokens = build(
            [record.claims() for record in records],
            RECORD,
            holder.private,
            issued_at=holder.now,
            prefix=Prefix.parse(SUPPLIER),
        )
        lines = [{"envelope": token} for token in tokens]
        await self.send("/identifiers", *lines, key=holder.api_key)

    async def links(self):
        def link(n, **members):
            ends = {"upstream": f"{SUPPLIER}/X-{n}", "downstream": f"{MAKER}/A-1"}
            kind = {"type": "CONTAINED_IN", "lifecycle": "asBuilt", "side": "downstream"}
            return kind | ends | members

        await self.ask("POST", "/links", link(1))
        await self.ask("POST", "/links", link(1, quantity={"value": "2", "unit": "H87"}))
        await self.send("/links", *(link(n) for n in range(2, 6)))
        await self.send("/links", *(link(n, state="withdrawn") for n in range(2, 4)))
        await self.ask("POST", "/links", link(4, state="withdrawn"))

    async def grants(self):
        draft = {"iss": MAKER, "id": "g", "to": "*", "depth": 2}
        await self.ask("POST", "/grants", draft)
        await self.ask("POST", "/grants", draft | {"depth": 1, "aspects": ["SAME_AS"]})
        assert len((await self.ask("GET", f"/grants?grantor={MAKER}"))["grants"]) == 1
        await self.ask("POST", f"/grants/{MAKER}/g/revoke")

    async def deliveries(self):
        """Two statements go to another node: one is accepted there, one fails."""
        await self.registry.allocate("77", node="https://elsewhere.example")
        for n in range(2):
            ends = {"upstream": f"{MAKER}/A-1", "downstream": f"77/CAR-{n}"}
            await self.ask("POST", "/links", {"side": "upstream", "type": "CONTAINED_IN"} | ends)
        store, now = self.registry.store, self.registry.clock.now
        (bundle,) = await on_their_way.due(store, now + 10**9)
        assert len(bundle.assertions) == 2
        await on_their_way.settle(store, bundle, [None, Unavailable("away")], now)
        assert len((await self.ask("GET", "/deliveries"))["deliveries"]) == 1

    async def handovers(self):
        """Two grants go to another node, of which one fails and goes to nobody; one comes in."""
        draft = {"iss": MAKER, "to": "77", "depth": 2}
        for name in ("h", "i"):
            await self.ask("POST", "/grants", draft | {"id": name})
        store, now = self.registry.store, self.registry.clock.now
        (parcel,) = await handed_over.due(store, now + 10**9)
        assert len(parcel.grants) == 2
        await handed_over.settle(store, parcel, [None, Unavailable("away")], now)
        listed = (await self.ask("GET", f"/grants?grantor={MAKER}"))["grants"]
        assert [item["id"] for item in listed if "handover" in item] == ["i"]
        await self.ask("POST", "/grants", draft | {"id": "i", "to": "*"})
        grantor, maker = Prefix.parse("77"), Prefix.parse(MAKER)
        grant = Grant(grantor, "g", now, maker)
        async with store.write() as tx:
            assert await received.find(tx, maker, grantor, "g") is None
            assert await received.count(tx, maker, grantor) == 0
            await received.put(tx, maker, grant, "digest", parcel.grants[0])
            signer, granted = await coming_in.speaking(
                tx, self.registry.keyring, maker, "upstream", ""
            )
        assert (signer is not None, granted) == (True, parcel.grants[:1])
        assert len((await self.ask("GET", "/grants/received"))["grants"]) == 1
        assert len(await self.reader.granted([maker], "upstream", "", 9)) == 1

    async def notices(self):
        """Issued, changed, listed and lifted."""
        draft = {"iss": MAKER, "id": "n", "of": [f"{MAKER}/A-1"], "reason": "It may tear."}
        await self.ask("POST", "/notices", draft)
        await self.ask("POST", "/notices", draft | {"of": [f"{MAKER}/C", f"{MAKER}/A-1"]})
        assert len((await self.ask("GET", f"/notices?prefix={MAKER}"))["notices"]) == 1
        asked = Identifier.parse(f"{MAKER}/A-1")
        assert len((await self.reader.fetch([asked])).found[asked].notices) == 1
        await self.ask("POST", f"/notices/{MAKER}/n/lift")
        await self.ask("GET", f"/notices/{MAKER}/n")

    async def events(self):
        """Captured, seen, taken out all at once, and declared wrong."""
        held = {"type": "AggregationEvent", "eventTimeZoneOffset": "+00:00",
                "parentID": f"https://id.example/{MAKER}/A-1"}  # fmt: skip
        child = {"childEPCs": [f"https://id.example/{SUPPLIER}/X-9"]}
        add = held | child | {"action": "ADD", "eventTime": "2026-11-17T08:10:00Z"}
        out = held | {"action": "DELETE", "eventTime": "2026-11-17T08:20:00Z"}
        wrong = {"eventID": "urn:uuid:1", "errorDeclaration": {"declarationTime": out["eventTime"]}}
        for event in (add, out | {"eventID": "urn:uuid:1"}, out | wrong):
            document = {
                "@context": "https://ref.gs1.org/standards/epcis/epcis-context.jsonld",
                "type": "EPCISDocument", "schemaVersion": "2.0",
                "creationDate": out["eventTime"], "epcisBody": {"eventList": [event]},
            }  # fmt: skip
            job = await self.ask("POST", "/epcis/capture", document, expected=(202,))
            assert job["outcomes"][0]["links"] in {1, 3}, job  # what was linked before leaves too
        await self.ask("GET", f"/epcis/capture/{job['captureID']}")
        assert len(await self.ask("GET", "/epcis/capture")) == 3
        hash_ = job["outcomes"][0]["hash"].partition(";")[2].partition("?")[0]
        await self.ask("GET", f"/epcis/events/{hash_}")

    async def log(self):
        registry = self.registry
        registry.clock.now += 10
        while await self.sequencer.integrate():
            pass
        await self.sequencer.commit_epoch(idle=True)
        assert await self.sequencer.publish()

    async def listings(self):
        for near in (f"{MAKER}/A-1", f"{SUPPLIER}/X-1"):
            await self.ask("GET", f"/links/{near}")
            await self.ask("GET", f"/links/{near}?direction=upstream")
            await self.ask("GET", f"/identifiers/{near}")
        versions = await self.ask("GET", f"/identifiers/{MAKER}/A-1/versions")
        assert len(versions["versions"]) == 2
        await self.ask("GET", f"/identifiers?prefix={MAKER}&limit=3")
        async with self.registry.store.read() as tx:
            assert await batch_statements.count(tx, unit_of(Prefix.parse(SUPPLIER))) == 1

    async def reads(self):
        names = ("A-1", "B-0", "S-42", "GONE", "NEVER", "C")
        asked = [*(Identifier.parse(f"{MAKER}/{name}") for name in names),
                 Identifier.parse(f"{SUPPLIER}/X-1"), Identifier.parse("99/ELSEWHERE")]  # fmt: skip
        for whole in (True, False):
            assert len((await self.reader.fetch(asked, whole=whole)).found) == len(asked)
        for direction in ("upstream", "downstream"):
            level = [Near.at(item) for item in asked]
            await self.reader.edges(level, direction, 100)
            await self.reader.edges(level, direction, 100, when=When(as_of=self.registry.clock.now))
            keys = [item.text for item in asked]
            await self.reader.sweep(asked[0], Asked(direction), 8)
            await self.reader.survey(Level(keys, keys, [0] * len(keys)), Asked(direction), 100)
        assert await self.reader.disclosures([(asked[0], 1)])
        for identifier in asked[:-2]:
            await self.reader.prove(identifier)
            await self.reader.prove(identifier, self.registry.clock.now)
        await self.update("A-1", 2, attributes={"n": 3})
        operator = self.registry.operator
        await self.ask("PUT", f"/prefixes/{MAKER}/delegation", {}, key=operator)
        forgetful = Reader(self.registry.store, self.registry.clock)
        await forgetful.prove(asked[0])  # of the version before, under the keys before
        async with self.registry.store.statement() as driver:
            await log.waiting(driver)


@pytest.fixture
async def scenario(registry, tmp_path):
    return await of(registry, tmp_path)


async def of(registry, folder):
    async with registry.store.write() as tx:
        identity = await founding.found(tx, registry.keyring, "registry.example/spread")
    copy = Copy(Path(folder) / "published.note", identity.key)
    policy = LogPolicy(identity.key)
    publisher = Publisher(registry.store, identity.signer, policy, copy, registry.clock)
    return Scenario(registry, Sequencer(registry.store, Maps(), publisher))


class TestTables:
    def test_each_is_of_exactly_one_kind(self):
        kinds = [*DISTRIBUTED, *REFERENCE, *OWN]
        assert sorted(t.name for t in kinds) == sorted(metadata.tables)

    async def test_every_key_of_a_distributed_one_carries_the_unit(self, store):
        """Of the catalogue, as it was migrated: primary keys, unique indexes, and the others."""
        async with store.statement() as driver:
            rows = await driver.fetch(
                "SELECT i.indrelid::regclass::text AS table, i.indexrelid::regclass::text AS index,"
                " i.indisunique AS is_unique, i.indisprimary AS is_primary,"
                " (SELECT array_agg(a.attname::text ORDER BY k.place)"
                "  FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)"
                "  JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum"
                " ) AS columns FROM pg_index AS i WHERE i.indrelid::regclass::text = ANY($1)",
                sorted(NAMES),
            )
        assert {row["table"] for row in rows if row["is_primary"]} == NAMES
        for row in rows:
            # Only `changes` is read in another order than by unit: by position, of each machine.
            led = row["columns"][0] == "unit"
            assert led or (row["table"] == "changes" and "unit" in row["columns"]), row

    async def test_no_other_table_refers_to_a_distributed_one_nor_it_to_them(self, store):
        for table in metadata.tables.values():
            for key in table.foreign_keys:
                assert table not in DISTRIBUTED, table.name
                assert key.column.table in REFERENCE, table.name

    def test_the_modules_that_speak_of_them_are_known(self):
        known = {module.__name__.rpartition(".")[2] for module in SPEAKING}
        known |= {"log", "tables", "backup"}  # a backup reads whole tables, of each machine
        for path in Path(registry.store.__file__).parent.glob("*.py"):
            if path.stem not in known:
                tree = ast.parse(path.read_text())
                imported = {
                    alias.name
                    for node in ast.walk(tree)
                    if isinstance(node, ast.ImportFrom)
                    for alias in node.names
                }
                written = {
                    word
                    for node in ast.walk(tree)
                    if isinstance(node, ast.Constant) and "SELECT" in str(node.value)
                    for word in str(node.value).split()
                }
                assert not (imported | written) & NAMES, path.name


class TestStatements:
    async def test_each_of_a_full_scenario_names_the_unit(
        self, scenario, sql_recorder, monkeypatch
    ):
        called = watched(monkeypatch)
        async with sql_recorder(scenario.registry.store.engine) as statements:
            await scenario.run()
        assert [fault for statement in set(statements) for fault in faults(statement)] == []
        # Nothing that is to be read went unread:
        assert {name for s in set(statements) for name in touched(s)} == NAMES
        assert [name for name, calls in called.items() if not calls] == []

    @pytest.mark.parametrize(
        "statement",
        [
            "SELECT 1 FROM identifiers WHERE identifier = $1",
            "SELECT 1 FROM identifiers AS i WHERE i.unit = $1 OR i.identifier = $2",
            "SELECT 1 FROM identifiers AS i JOIN rules AS r ON r.unit = i.unit",
            (
                "SELECT 1 FROM identifiers AS i LEFT JOIN rules AS r ON r.unit = i.unit"
                " AND i.unit = $1 WHERE r.unit = $1"
            ),
            (
                "SELECT 1 FROM unnest($1::text[]) AS w (key) CROSS JOIN LATERAL ("
                " SELECT 1 FROM rules AS r WHERE r.head = w.key) AS x"
            ),
            "SELECT 1 FROM node WHERE EXISTS (SELECT FROM edges AS e WHERE e.near = $1)",
            "WITH old AS (SELECT * FROM rules) SELECT 1 FROM old WHERE old.unit = $1",
            "UPDATE identifiers SET version = 2 WHERE identifier = $1",
            "DELETE FROM edges AS e USING unnest($1::text[]) AS n (near) WHERE e.near = n.near",
            "DELETE FROM changes WHERE xid < $1::xid8",
            "SELECT 1 FROM changes WHERE xid >= $1::xid8",
            "INSERT INTO rules (identifier, head) SELECT $1, $2",
            "INSERT INTO rules VALUES ($1, $2, $3, $4)",
            (
                "INSERT INTO rules (unit, identifier) VALUES ($1, $2)"
                " ON CONFLICT (identifier) DO NOTHING"
            ),
            "COPY identifiers (identifier, version)",
        ],
    )
    def test_the_check_finds(self, statement):
        assert faults(statement) != []

    @pytest.mark.parametrize(
        "statement",
        [
            "SELECT 1 FROM identifiers WHERE unit = $1::bigint AND identifier = $2",
            "SELECT 1 FROM identifiers AS i JOIN rules AS r ON r.unit = i.unit WHERE i.unit = $1",
            "SELECT 1 FROM prefixes WHERE prefix = $1",
            "SELECT 1 FROM changes AS c WHERE (c.xid, c.id) > ($1::xid8, $2) AND c.xid < $3",
            "INSERT INTO rules (unit, identifier) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            "COPY identifiers (unit, identifier)",
            "COPY log_entry (idx, leaf)",
        ],
    )
    def test_the_check_lets_pass(self, statement):
        assert faults(statement) == []


def watched(monkeypatch):
    """Count the calls of every function that speaks of a distributed table."""
    called = {}

    def watch(module, name, function):
        key = f"{module.__name__}.{name}"
        called[key] = 0

        async def counted(*args, **options):
            called[key] += 1
            return await function(*args, **options)

        monkeypatch.setattr(module, name, counted)

    for module in SPEAKING:
        for name, function in inspect.getmembers(module, inspect.iscoroutinefunction):
            if function.__module__ == module.__name__ and not name.startswith("_"):
                watch(module, name, function)
    return called


class TestPartitions:
    """PostgreSQL's own partitions: the nearest thing to several machines that one machine has."""

    @pytest.fixture
    async def spread(self, fresh_database, tmp_path):
        await spread_out(fresh_database)
        store = Store.open(fresh_database, pool=8)
        clock = Clock()
        deps = Deps(store, Keyring(KEK), clock)
        async with store.write() as tx:
            founded = await found(tx, deps.keyring, clock())
        transport = httpx.ASGITransport(create_app(deps))
        async with httpx.AsyncClient(transport=transport, base_url="http://registry") as client:
            made = Registry(deps, founded.operator_key, client, clock)
            yield await of(made, tmp_path)
        await store.close()

    async def test_the_scenario_looks_only_where_its_prefixes_live(self, spread, fresh_database):
        await spread.run()
        await spread.registry.store.close()  # so that everybody has reported what was looked at
        driver = await asyncpg.connect(fresh_database.replace("+asyncpg", "", 1))
        ours = await partitions_of(driver, [MAKER, SUPPLIER, "99", "77"])
        rows = await driver.fetch(
            "SELECT relname, seq_scan + coalesce(idx_scan, 0) AS scans"
            " FROM pg_stat_user_tables WHERE relname ~ '_p[0-9]+$' AND relname !~ '^changes'"
        )
        await driver.close()
        assert len(rows) == PARTITIONS * (len(DISTRIBUTED) - 1)
        looked = {row["relname"] for row in rows if row["scans"]}
        assert {name.rpartition("_p")[0] for name in looked} == NAMES - {"changes"}
        amiss = {name for name in looked if int(name.rpartition("_p")[2]) not in ours}
        assert amiss == set()


async def spread_out(url):
    """Lay the distributed tables anew, each in partitions by its unit."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.execute(text("DROP SCHEMA public CASCADE"))
        await connection.execute(text("CREATE SCHEMA public"))
        laid = MetaData(naming_convention=metadata.naming_convention)
        for table in metadata.sorted_tables:
            copied = table.to_metadata(laid)
            if table in DISTRIBUTED:
                copied.dialect_options["postgresql"]["partition_by"] = "HASH (unit)"
        await connection.run_sync(laid.create_all)
        for table in DISTRIBUTED:
            for part in range(PARTITIONS):
                await connection.execute(
                    text(
                        f"CREATE TABLE {table.name}_p{part} PARTITION OF {table.name}"
                        f" FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {part})"
                    )
                )
        # A plan for a handful of rows reads whole tables at once; one for 10^9 does not.
        name = engine.url.database
        for setting in ("enable_seqscan", "enable_hashjoin", "enable_mergejoin"):
            await connection.execute(text(f'ALTER DATABASE "{name}" SET {setting} = off'))
    async with engine.begin() as connection:
        await connection.execute(text("SELECT pg_stat_force_next_flush()"))
    async with engine.begin() as connection:
        await connection.execute(text("SELECT pg_stat_reset()"))  # making an index is a scan too
    await engine.dispose()


async def partitions_of(driver, prefixes):
    """Return the numbers of the partitions in which these prefixes live."""
    return {
        await driver.fetchval(
            f"SELECT n FROM generate_series(0, {PARTITIONS - 1}) AS n WHERE"
            f" satisfies_hash_partition('identifiers'::regclass, {PARTITIONS}, n::int, $1::bigint)",
            unit_of(Prefix.parse(prefix)),
        )
        for prefix in prefixes
    }
