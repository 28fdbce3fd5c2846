"""Proofs of a real log: what stands, what does not, what stood; each one verified."""

import asyncio
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from sqlalchemy import text as sql

from registry.log import epochs as kept, founding
from registry.log.copy import Copy
from registry.log.maps import Maps
from registry.log.proofs import Proofs
from registry.log.publishing import Publisher
from registry.log.sequencer import Sequencer
from registry.store.engine import Store
from schemas import canonical
from schemas.chain import Trust, trust_document
from schemas.checkpoint import COSIGNATURE, NoteKey, cosign, split_note
from schemas.errors import (
    BadInput,
    NoLog,
    NotFound,
    PrefixNotFound,
    ProofPending,
    TierlinkError,
)
from schemas.identifier import Identifier
from schemas.keys import PrivateKey
from schemas.policy import LogPolicy
from schemas.proof import verify
from schemas.record import parse_record
from schemas.source import Proved
from schemas.verdict import VALID
from tests.fixtures_registry import Registry

ORIGIN = "registry.example/tierlink"
WITNESSES = {f"w{n}.example": PrivateKey.from_seed(bytes([n]) * 32) for n in (1, 2)}
KEYS = tuple(NoteKey(name, COSIGNATURE, key.public) for name, key in WITNESSES.items())
GEAR, CLASS = "88.100/GEAR-1", "88.100/GEAR"
COVERED = "88.100/SERIAL-0042"
RULE = {
    "pattern": "SERIAL-{n:digits:4}",
    "targets": [{"rel": "gs1:pip", "template": "https://gear.example/{n}"}],
}


@dataclass
class Ledger:
    """A registry with its log, and a holder of 88.100 whose key is hosted."""

    registry: Registry
    identity: founding.Identity
    sequencer: Sequencer
    proofs: Proofs
    industry: str = ""  # API key of 88
    key: str = ""  # of 88.100
    times: list = field(default_factory=list)  # of each publication

    @property
    def policy(self):
        return LogPolicy(self.identity.key, KEYS, quorum=2, max_age=3_600)

    async def epoch(self, *, publish=True, seconds=10):
        """Let time pass, take in what was accepted, and publish."""
        self.registry.clock.now += seconds
        while await self.sequencer.integrate():
            pass
        await self.sequencer.commit_epoch(idle=True)
        if publish:
            assert await self.sequencer.publish()
            self.times.append(self.registry.clock.now)

    async def register(self, identifier, kind="item", **members):
        body = {"identifier": identifier, "kind": kind, **members}
        answer = await self.registry.post("/v1/identifiers", body, key=self.key)
        assert answer.status_code == 201, answer.text
        return answer.json()["envelope"]

    async def update(self, identifier, version, **members):
        answer = await self.registry.put(
            f"/v1/identifiers/{identifier}", members, key=self.key, If_Match=f'"{version}"'
        )
        assert answer.status_code == 200, answer.text
        return answer.json()["envelope"]

    async def prove(self, identifier, at=None):
        proved = await self.proofs.bundle(Identifier.parse(identifier), at)
        # It survives the way to a resolver.
        assert Proved.from_json(json.loads(json.dumps(proved.to_json()))) == proved
        return proved

    async def trust(self):
        roots = (await self.registry.get("/v1/trust")).json()["roots"]
        return Trust.parse(canonical.encode(trust_document(roots, (), self.policy)))

    async def verdict(self, proved):
        return verify(proved.to_json(), await self.trust(), self.registry.clock.now)

    async def proven(self, identifier, at=None):
        """Prove and verify; return the proof and the verdict."""
        proved = await self.prove(identifier, at)
        return proved, await self.verdict(proved)

    async def execute(self, statement):
        async with self.registry.store.write() as tx:
            await tx.connection.execute(sql(statement))


@pytest.fixture
async def ledger(registry, tmp_path):
    async with registry.store.write() as tx:
        identity = await founding.found(tx, registry.keyring, ORIGIN)

    async def witness(note, _old, _proof):
        body, _ = split_note(note)
        return [cosign(body, name, key, registry.clock.now) for name, key in WITNESSES.items()]

    policy = LogPolicy(identity.key, KEYS, quorum=2)
    copy = Copy(Path(tmp_path) / "published.note", identity.key)
    publisher = Publisher(
        registry.store, identity.signer, policy, copy, registry.clock, witness=witness
    )
    sequencer = Sequencer(registry.store, Maps(), publisher)
    await sequencer.open()
    made = Ledger(registry, identity, sequencer, Proofs(registry.store))
    made.industry = (await registry.allocate("88")).api_key
    return made


@pytest.fixture
async def gears(ledger):
    """The holder of 88.100 with a class, an item of it and an epoch that covers them."""
    holder = await ledger.registry.allocate("88.100", key=ledger.industry)
    ledger.key = holder.api_key
    await ledger.register(CLASS, "class", rule=RULE)
    await ledger.register(GEAR, parent=CLASS, attributes={"teeth": 24})
    await ledger.epoch()
    return ledger


class TestWhatStands:
    async def test_a_record_its_ancestor_and_its_chain(self, gears):
        proved, verdict = await gears.proven(GEAR)
        assert (verdict.state, verdict.exists, verdict.codes) == (VALID, True, ())
        assert verdict.view["attributes"] == {"teeth": 24}
        assert [named(token) for token in (proved.envelope, *proved.records)] == [GEAR, CLASS]
        assert [len(proved.chain), len(proved.log.prefixes), len(proved.log.entries)] == [2, 2, 2]
        assert [item.commitment is None for item in proved.log.prefixes] == [True, False]
        assert (proved.log.absent, proved.log.issued) == (None, None)
        assert verdict.proved_at == gears.times[-1]

    async def test_a_class_answers_for_a_serial(self, gears):
        proved, verdict = await gears.proven(COVERED)
        assert (verdict.state, verdict.exists) == (VALID, True)
        assert verdict.view["covered_by"] == CLASS
        assert proved.log.absent is not None
        assert named(proved.envelope) == CLASS

    async def test_nobody_registered_it(self, gears):
        proved, verdict = await gears.proven("88.100/NOTHING")
        assert (verdict.state, verdict.exists) == (VALID, False)
        assert (proved.envelope, proved.records, proved.log.entries) == (None, (), ())

    async def test_a_retired_one_is_proven_by_its_tombstone(self, gears):
        answer = await gears.registry.delete(
            f"/v1/identifiers/{GEAR}", key=gears.key, If_Match='"1"'
        )
        assert answer.status_code == 200, answer.text
        await gears.epoch()
        proved, verdict = await gears.proven(GEAR)
        assert verdict.state == VALID
        assert verdict.view["status"] == "retired"
        assert (proved.records, len(proved.log.entries)) == ((), 1)

    async def test_a_suspended_prefix_is_proven_to_be(self, gears):
        await gears.registry.post("/v1/prefixes/88/suspend", key=gears.registry.operator)
        await gears.epoch()
        _, verdict = await gears.proven(GEAR)
        assert [code for code, _ in verdict.codes] == ["E_STATUS"]
        await gears.registry.post("/v1/prefixes/88/resume", key=gears.registry.operator)
        await gears.epoch()
        _, verdict = await gears.proven(GEAR)
        assert verdict.state == VALID

    async def test_more_records_than_a_tile_and_a_bucket_hold(self, gears):
        async with gears.registry.client.stream(
            "POST",
            "/v1/identifiers/batch",
            content=b"".join(
                json.dumps({"identifier": f"88.100/N-{n}", "kind": "item"}).encode() + b"\n"
                for n in range(700)
            ),
            headers={
                "authorization": f"Bearer {gears.key}",
                "content-type": "application/x-ndjson",
            },
        ) as answer:
            assert (await answer.aread()).count(b'"status":201') == 700
        await gears.epoch()
        for name in (GEAR, COVERED, "88.100/N-0", "88.100/N-255", "88.100/N-699", "88.100/N-700"):
            _, verdict = await gears.proven(name)
            assert verdict.state == VALID, name

    async def test_a_record_with_a_long_line_of_ancestors(self, gears):
        await gears.register("88.100/A", "class")
        await gears.register("88.100/B", "class", parent="88.100/A")
        await gears.register("88.100/C", "batch", parent="88.100/B")
        await gears.register("88.100/D", parent="88.100/C")
        await gears.epoch()
        proved, verdict = await gears.proven("88.100/D")
        assert verdict.state == VALID
        assert [named(token)[-1] for token in proved.records] == ["C", "B", "A"]


class TestNotYet:
    async def test_there_is_no_log(self, registry):
        await registry.allocate("88")
        with pytest.raises(NoLog):
            await Proofs(registry.store).bundle(Identifier.parse("88/A"))

    async def test_there_is_no_checkpoint(self, ledger):
        with pytest.raises(ProofPending) as caught:
            await ledger.prove("88/A")
        assert (caught.value.code, caught.value.status) == ("proof_pending", 503)
        assert caught.value.retry_after == 1

    async def test_no_such_prefix(self, gears):
        for name in ("99.1/A", "88.1/A", "88.100.1/A"):
            with pytest.raises(PrefixNotFound):
                await gears.prove(name)

    async def test_a_record_that_no_epoch_covers(self, gears):
        await gears.register("88.100/NEW")
        with pytest.raises(ProofPending):
            await gears.prove("88.100/NEW")
        await gears.epoch(publish=False)
        with pytest.raises(ProofPending):  # committed, and not shown to anybody yet
            await gears.prove("88.100/NEW")
        assert await gears.sequencer.publish()
        assert (await gears.proven("88.100/NEW"))[1].state == VALID

    async def test_an_ancestor_or_a_class_or_a_prefix_that_no_epoch_covers(self, gears):
        await gears.register("88.100/BOX", "class", rule=RULE | {"pattern": "BOX-{n:digits:4}"})
        with pytest.raises(ProofPending):
            await gears.prove("88.100/BOX-0001")
        await gears.registry.allocate("88.101", key=gears.industry)
        with pytest.raises(ProofPending):
            await gears.prove("88.101/A")

    async def test_the_record_of_the_epoch_is_shown_while_a_newer_one_waits(self, gears):
        before, _ = await gears.proven(GEAR)
        newer = await gears.update(GEAR, 1, kind="item", parent=CLASS, attributes={"teeth": 25})
        shown, verdict = await gears.proven(GEAR)
        assert (shown, verdict.state) == (before, VALID)
        await gears.epoch()
        shown, verdict = await gears.proven(GEAR)
        assert (shown.envelope, verdict.state) == (newer, VALID)
        assert verdict.view["version"] == 2

    async def test_the_delegation_of_the_epoch_is_shown_while_a_newer_one_waits(self, gears):
        before, _ = await gears.proven(GEAR)
        answer = await gears.registry.put("/v1/prefixes/88.100/delegation", {}, key=gears.industry)
        assert answer.status_code == 200, answer.text
        shown, verdict = await gears.proven(GEAR)
        assert (shown, verdict.state) == (before, VALID)
        await gears.epoch()
        shown, _ = await gears.proven(GEAR)
        assert shown.chain != before.chain

    async def test_the_rule_of_the_epoch_decides_whether_a_class_covers(self, gears):
        other = RULE | {"pattern": "OTHER-{n:digits:4}"}
        await gears.update(CLASS, 1, kind="class", rule=other)
        with pytest.raises(ProofPending):
            await gears.prove("88.100/OTHER-0042")
        await gears.epoch()
        assert (await gears.proven("88.100/OTHER-0042"))[1].view["covered_by"] == CLASS
        assert (await gears.proven(COVERED))[1].exists is False


class TestPast:
    async def test_every_past_epoch_is_proven_as_it_was(self, gears):
        first = await gears.prove(GEAR)
        for version in (1, 2, 3):
            await gears.update(
                GEAR, version, kind="item", parent=CLASS, attributes={"teeth": version}
            )
            await gears.register(f"88.100/LATE-{version}")
            await gears.epoch()
        assert await gears.prove(GEAR, gears.times[0]) == first
        for n, at in enumerate(gears.times):
            # Whoever begins afresh proves the same as who saw it happen.
            for proofs in (gears.proofs, Proofs(gears.registry.store)):
                proved = await proofs.bundle(Identifier.parse(GEAR), at + 9)
                verdict = await gears.verdict(proved)
                assert (verdict.state, verdict.view["version"]) == (VALID, n + 1)
                assert verdict.epoch == n + 1
            late = [(await gears.proven(f"88.100/LATE-{v}", at))[1].exists for v in (1, 2, 3)]
            assert late == [v <= n for v in (1, 2, 3)]

    async def test_before_the_log_and_before_the_prefix(self, gears):
        with pytest.raises(NotFound) as caught:
            await gears.prove(GEAR, gears.times[0] - 1)
        assert caught.value.code == "not_found"
        await gears.registry.allocate("88.101", key=gears.industry)
        await gears.epoch()
        with pytest.raises(PrefixNotFound):
            await gears.prove("88.101/A", gears.times[0])
        assert (await gears.proven("88.101/A", gears.times[1]))[1].exists is False

    async def test_a_class_of_then_by_the_rules_of_today(self, gears):
        await gears.register(COVERED, attributes={"own": True})
        await gears.epoch()
        _, then = await gears.proven(COVERED, gears.times[0])
        _, now = await gears.proven(COVERED, gears.times[1])
        assert (then.view["covered_by"], then.state) == (CLASS, VALID)
        assert (now.view["attributes"], now.state) == ({"own": True}, VALID)
        await gears.update(CLASS, 1, kind="class")
        _, then = await gears.proven("88.100/SERIAL-0043", gears.times[0])
        assert then.exists is False  # the rule is gone, so it is not looked for

    async def test_the_delegation_of_then(self, gears):
        before = await gears.prove(GEAR)
        for _ in range(2):
            put = await gears.registry.put("/v1/prefixes/88.100/delegation", {}, key=gears.industry)
            assert put.status_code == 200
            await gears.epoch()
        assert await gears.prove(GEAR, gears.times[0]) == before
        chains = [(await gears.prove(GEAR, at)).chain for at in gears.times]
        assert len(set(chains)) == 3

    async def test_own_rotations_come_with_what_they_rest_on(self, gears):
        holder, parent = ("POST", "rotate", gears.key), ("PUT", "delegation", gears.industry)
        for method, call, key in (holder, holder, parent, holder):
            answer = await gears.registry.send(method, f"/v1/prefixes/88.100/{call}", {}, key=key)
            assert answer.status_code == 200, answer.text
            await gears.epoch()
        lengths = []
        for at in gears.times:
            proved, verdict = await gears.proven(GEAR, at)
            assert verdict.state == VALID, verdict.codes
            lengths.append(len(proved.chain) - 1)  # without that of 88
            assert len(proved.log.prefixes) == 2
        assert lengths == [1, 2, 3, 1, 2]


class TestIssued:
    async def test_the_first_checkpoint_that_covered_it_where_the_chain_expires(self, gears):
        signer = PrivateKey.from_seed(bytes(32))
        until = gears.registry.clock.now + 50
        key = await offered(gears, "88.102", signer, exp=until)
        holder = await gears.registry.allocate("88.102", key=gears.industry, keys=[key])
        record = signed("88.102/A", signer, gears.registry.clock.now)
        answer = await gears.registry.post(
            "/v1/identifiers", {"envelope": record}, key=holder.api_key
        )
        assert answer.status_code == 201, answer.text
        await gears.epoch()
        proved, verdict = await gears.proven("88.102/A")
        assert (verdict.state, proved.log.issued) == (VALID, None)  # its own is the first
        issued_at = gears.times[-1]
        await gears.epoch(seconds=60)
        proved, verdict = await gears.proven("88.102/A")
        assert proved.log.issued is not None
        assert (verdict.valid_at_issue, verdict.proved_at) == (VALID, issued_at)
        # Without it the key would seem to have signed after its end.
        later = replace(proved, log=replace(proved.log, issued=None))
        with pytest.raises(BadInput) as caught:
            await gears.verdict(later)
        assert caught.value.code in {"E_TIME", "E_CHAIN"}


class TestReads:
    async def test_statements(self, gears, sql_recorder):
        store = gears.registry.store
        fresh = Proofs(store)
        about = Identifier.parse(GEAR)
        await fresh.bundle(about)
        await gears.register("88.100/MORE")
        await gears.epoch()
        counts = []
        for proofs, name in (
            (Proofs(store), GEAR),  # begins with nothing: also tops, tiles, buckets
            (fresh, GEAR),  # a new epoch: what changed, the right edge of the log
            (fresh, GEAR),  # the same epoch: what may have changed this moment
            (fresh, "88.100/NOTHING"),  # another bucket at most
        ):
            async with sql_recorder(store.engine) as statements:
                await proofs.bundle(Identifier.parse(name))
            counts.append(len(ours(statements)))
        assert counts[:3] == [4, 3, 1]
        assert counts[3] <= 2  # the salt is random, and so is the bucket

    async def test_statements_of_the_past(self, gears, sql_recorder):
        for version in (1, 2):
            await gears.update(GEAR, version, kind="item", parent=CLASS)
            await gears.epoch()
        await gears.prove(GEAR, gears.times[0])
        async with sql_recorder(gears.registry.store.engine) as statements:
            await gears.prove(GEAR, gears.times[0])
        assert len(ours(statements)) == 2, statements  # the replaced version besides

    async def test_one_builds_what_many_ask_for(self, gears, sql_recorder):
        fresh = Proofs(gears.registry.store)
        names = [GEAR, CLASS, COVERED, "88.100/X", "88.100/Y", "88.100/Z"] * 3
        async with sql_recorder(gears.registry.store.engine) as statements:
            proved = await asyncio.gather(*(fresh.bundle(Identifier.parse(n)) for n in names))
        assert sum("WITH RECURSIVE place" in statement for statement in statements) == 1
        for each in proved:
            assert (await gears.verdict(each)).state == VALID

    async def test_whoever_waits_for_an_epoch_holds_no_connection(self, gears, fresh_database):
        narrow = Store.open(fresh_database, pool=1)
        proofs = Proofs(narrow)
        names = [GEAR, CLASS, COVERED, "88.100/X"] * 5
        await asyncio.gather(*(proofs.bundle(Identifier.parse(name)) for name in names))
        await narrow.close()

    async def test_an_epoch_is_built_to_the_end_though_nobody_waits(self, gears):
        fresh = Proofs(gears.registry.store)
        asking = asyncio.create_task(fresh.bundle(Identifier.parse(GEAR)))
        while not fresh._epochs._building:  # noqa: ASYNC110  (it begins after a statement)
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(*fresh._epochs._building.values())
        await asyncio.sleep(0)
        assert asking.cancelled()
        assert fresh._epochs.known(1) is not None

    async def test_small_memories_prove_the_same(self, gears, monkeypatch):
        monkeypatch.setattr(kept, "ENTRIES", 1)
        monkeypatch.setattr(kept, "VIEWS", 1)
        for n in range(5):
            await gears.register(f"88.100/M-{n}")
            await gears.epoch()
        small = Proofs(gears.registry.store)
        small._epochs._tiles._limit = 1
        for at in gears.times:
            for name in (GEAR, CLASS, "88.100/M-0", "88.100/M-4"):
                about = Identifier.parse(name)
                assert await small.bundle(about, at) == await gears.prove(name, at)
        assert len(small._epochs._views) == 1
        assert len(small._epochs._tiles) == 1

    async def test_the_large_tables_are_read_by_their_keys(self, gears):
        from registry.store import proofs as statements  # noqa: PLC0415
        from registry.store.tables import unit_of  # noqa: PLC0415

        about = Identifier.parse(COVERED)
        unit, names = unit_of(about.prefix), ["88.100", "88", "."]
        async with gears.registry.store.write() as tx:
            driver = await tx.driver()
            await driver.execute("SET LOCAL enable_seqscan = off")
            for query, given in (
                (statements.READ, (unit, about.text, about.suffix, names, None)),
                (statements.READ, (unit, about.text, about.suffix, names, 1)),
                (statements.VERSION, (unit, GEAR, 1)),
                (statements.DELEGATIONS, ("88.100",)),
            ):
                rows = await driver.fetch(f"EXPLAIN {query}", *given)
                plan = "\n".join(row[0] for row in rows)
                scanned = [line for line in plan.splitlines() if "Seq Scan" in line]
                assert all("log_state" in line for line in scanned), plan


class TestDamage:
    async def test_another_bucket_is_refused(self, gears):
        await gears.execute(
            "UPDATE map_bucket SET data = set_byte(data, 71, 255 - get_byte(data, 71))"
        )
        with pytest.raises(TierlinkError, match="contradicts itself"):
            await Proofs(gears.registry.store).bundle(Identifier.parse(GEAR))

    async def test_another_root_is_refused(self, gears):
        await gears.execute(
            "UPDATE map_bucket SET root = set_byte(root, 0, 255 - get_byte(root, 0))"
        )
        with pytest.raises(TierlinkError, match="contradicts itself"):
            await Proofs(gears.registry.store).bundle(Identifier.parse(GEAR))

    @pytest.mark.parametrize(
        "damage",
        [
            "DELETE FROM log_tile",
            "UPDATE log_tile SET width = 1, data = substr(data, 1, 32)",
        ],
    )
    async def test_missing_tiles_are_told(self, gears, damage):
        await gears.execute(damage)
        with pytest.raises(TierlinkError, match="tiles are missing"):
            await Proofs(gears.registry.store).bundle(Identifier.parse(GEAR))

    async def test_a_record_that_the_registry_lost_is_told(self, gears):
        await gears.execute(f"DELETE FROM identifiers WHERE identifier = '{GEAR}'")
        with pytest.raises(TierlinkError, match="does not have"):
            await gears.prove(GEAR)


class TestHttp:
    async def test_the_bundle(self, gears):
        answer = await gears.registry.get(f"/v1/source/proof?identifier={GEAR}")
        assert answer.status_code == 200, answer.text
        assert Proved.from_json(answer.json()) == await gears.prove(GEAR)

    @pytest.mark.parametrize(
        ("query", "status", "code"),
        [
            pytest.param("identifier=88.100", 400, "identifier_invalid", id="no suffix"),
            pytest.param("identifier=99.1/A", 404, "prefix_not_found", id="foreign"),
            pytest.param("identifier=88.100/A&at=x", 400, "query_invalid", id="no time"),
            pytest.param("identifier=88.100/A&at=5", 404, "not_found", id="before the log"),
            pytest.param("at=5", 400, "query_invalid", id="no identifier"),
        ],
    )
    async def test_refusals(self, gears, query, status, code):
        answer = await gears.registry.get(f"/v1/source/proof?{query}")
        assert (answer.status_code, answer.json()["code"]) == (status, code)

    async def test_pending_says_when_to_come_back(self, gears):
        await gears.register("88.100/NEW")
        answer = await gears.registry.get("/v1/source/proof?identifier=88.100/NEW")
        assert (answer.status_code, answer.json()["code"]) == (503, "proof_pending")
        assert answer.headers["retry-after"] == "1"


def ours(statements):
    """Leave out what the driver asks once per connection: about the types of arrays."""
    return [each for each in statements if "pg_type" not in each and "'jit'" not in each]


def _flipped(column, at):
    return f"{column} = set_byte({column}, {at}, 255 - get_byte({column}, {at}))"


def named(token):
    return parse_record(token)[1].identifier.text


def signed(name, signer, at):
    from schemas.record import ITEM, Record  # noqa: PLC0415

    return Record(Identifier.parse(name), ITEM, at).sign(signer)


async def offered(ledger, prefix, signer, **members):
    """A key for a new prefix, with its proof of possession."""
    from schemas.delegation import sign_possession  # noqa: PLC0415
    from schemas.identifier import Prefix  # noqa: PLC0415

    body = {"prefix": prefix, "kid": signer.public.kid}
    answer = await ledger.registry.post("/v1/challenges", body, key=ledger.industry)
    assert answer.status_code in {200, 201}, answer.text
    nonce, now = answer.json()["nonce"], ledger.registry.clock.now
    return {
        "jwk": dict(signer.public.jwk),
        "use": ["record"],
        "possession": sign_possession(signer, Prefix.parse(prefix), nonce, now),
        **members,
    }
