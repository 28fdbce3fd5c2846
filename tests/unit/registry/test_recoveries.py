"""Recoveries over HTTP: announced, waited for, objected to, completed; and nothing half-done."""

import asyncio

import pytest
from sqlalchemy import text

from registry.config import RECOVERY_SECONDS, Settings
from schemas.chain import Trust
from schemas.change import Op
from schemas.delegation import Delegation, parse_delegation
from schemas.envelope import digest
from schemas.errors import BadInput, VerifyError
from schemas.identifier import Prefix
from schemas.leaf import RECOVERY, What, recovery_digest
from schemas.objection import check_objection, sign_objection
from schemas.record import parse_record
from tests.custodians import keep, kid, named, offers, private
from tests.unit.registry.test_rotations import hosted, outbox, refused

PREFIX = Prefix.parse("88.118")
PATH = "/v1/prefixes/88.118"


@pytest.fixture
async def keeper(registry):
    return await keep(registry, "88.118")


async def announced(registry, *, rotate=("x1",), record=("x2",)):
    """A recovery by the parent to keys that its holder brought him."""
    offered = await offers(registry, "88.118", named(rotate, record), registry.operator)
    body = {"keys": offered, "next": [kid("x3")]}
    answer = await registry.post(f"{PATH}/recover", body, key=registry.operator)
    assert answer.status_code == 202, answer.text
    return answer.json()["recovery"]


async def complete(registry, key=None):
    return await registry.post(f"{PATH}/recover/complete", key=key or registry.operator)


async def cancel(registry, key, **body):
    return await registry.post(f"{PATH}/recover/cancel", body, key=key)


class TestAnnounce:
    async def test_is_seen_and_changes_nothing_yet(self, registry, keeper):
        recovery = await announced(registry)
        view = (await registry.get(PATH)).json()
        assert view["recovery"] == recovery
        assert recovery["sequence"] == 2
        assert recovery["effective_at"] == "2026-11-25T11:06:40Z"  # seven days after NOW
        assert view["delegation"] == keeper.token
        assert (await keeper.register("A", "w1")).status_code == 201
        refused(await keeper.register("B", "x2"), 400, "E_CHAIN")
        waiting = parse_delegation(recovery["delegation"])[1]
        assert waiting.reset
        assert waiting.prev == digest(keeper.token)
        trust = Trust.parse((await registry.get("/v1/trust")).content)
        assert trust.chain(PREFIX).holder.sequence == 1

    async def test_the_log_is_told_and_no_resolver(self, registry, keeper):
        recovery = await announced(registry)
        told = recovery_digest(digest(recovery["delegation"]), withdrawn=False)
        assert (await outbox(registry))[-1] == (
            Op.LOGGED,
            "88.118",
            2,
            What.REVOCATION,
            RECOVERY,
            told,
        )

    async def test_one_at_a_time(self, registry, keeper):
        await announced(registry)
        answer = await registry.post(f"{PATH}/recover", {}, key=registry.operator)
        refused(answer, 409, "recovery_waits")

    async def test_by_the_parent_alone(self, registry, keeper):
        other = await registry.allocate("88.119")
        for key in (keeper.api_key, other.api_key):
            refused(await registry.post(f"{PATH}/recover", {}, key=key), 403, "forbidden")
        answer = await registry.post("/v1/prefixes/root/recover", {}, key=registry.operator)
        refused(answer, 403, "forbidden")

    async def test_hosted_keys_do_not_act_before_their_time(self, registry, keeper):
        answer = await registry.post(f"{PATH}/recover", {}, key=registry.operator)
        assert answer.status_code == 202, answer.text
        assert answer.json()["hosted"] is False
        assert await hosted(registry) == [["recovery"], ["recovery"]]
        draft = {"identifier": "88.118/A", "kind": "item"}
        answer = await registry.post("/v1/identifiers", draft, key=keeper.api_key)
        refused(answer, 409, "key_not_hosted")
        registry.clock.now += RECOVERY_SECONDS
        answer = await complete(registry)
        assert answer.status_code == 200, answer.text
        assert answer.json()["hosted"] is True
        assert await hosted(registry) == [["delegate", "record", "rotate"], ["next"]]
        answer = await registry.post("/v1/identifiers", draft, key=keeper.api_key)
        assert answer.status_code == 201, answer.text
        assert (await registry.post(f"{PATH}/rotate", {}, key=keeper.api_key)).status_code == 200

    async def test_a_delegation_signed_elsewhere_says_reset(self, registry):
        parent = await keep(registry, "88.118")
        child = await keep_below(registry, parent)
        keys = named(["x1"], ["x2"])
        for reset, status in ((False, 400), (True, 202)):
            token = child.follow(
                keys=(*keys, *child.delegation.keys), next_keys=(kid("x3"),), reset=reset
            ).sign(private("w1"))
            proved = await offers(registry, "88.118.1", keys, parent.api_key)
            body = {"keys": proved, "delegation": token}
            answer = await registry.post("/v1/prefixes/88.118.1/recover", body, key=parent.api_key)
            assert answer.status_code == status, answer.text
        body["keys"] = await offers(registry, "88.118.1", keys, parent.api_key)
        answer = await registry.put("/v1/prefixes/88.118.1/delegation", body, key=parent.api_key)
        refused(answer, 400, "E_SCOPE")


async def keep_below(registry, parent):
    """A holder below one who signs its delegation itself."""
    keys = named(["r5"], ["w5"])
    token = Delegation(
        Prefix.parse("88.118.1"),
        PREFIX,
        1,
        registry.clock(),
        keys,
        organisation={"name": "Test 有限公司"},
        next_keys=(kid("r6"),),
    ).sign(private("w1"))
    made = await registry.allocate(
        "88.118.1",
        key=parent.api_key,
        keys=await offers(registry, "88.118.1", keys, parent.api_key),
        delegation=token,
    )
    return type(parent)(registry, "88.118.1", made.api_key, token)


class TestComplete:
    @pytest.mark.parametrize(
        ("later", "status"), [(0, 409), (RECOVERY_SECONDS - 1, 409), (RECOVERY_SECONDS, 200)]
    )
    async def test_not_before_its_time(self, registry, keeper, later, status):
        recovery = await announced(registry)
        registry.clock.now += later
        answer = await complete(registry)
        assert answer.status_code == status, answer.text
        if status == 409:
            assert answer.json()["code"] == "recovery_waits"
            assert answer.json()["value"] == RECOVERY_SECONDS - later
            return
        assert answer.json()["delegation"] == recovery["delegation"]
        assert "recovery" not in answer.json()
        assert "run" not in answer.json()
        assert (await outbox(registry))[-1] == (
            Op.PREFIX,
            "88.118",
            2,
            What.DELEGATION,
            None,
            digest(recovery["delegation"]),
        )

    async def test_what_was_signed_while_it_waited_stays_valid(self, registry, keeper):
        await announced(registry)
        registry.clock.now += RECOVERY_SECONDS - 5
        assert (await keeper.register("A", "w1")).status_code == 201
        registry.clock.now += 5
        assert (await complete(registry)).status_code == 200
        assert (await keeper.register("B", "x2")).status_code == 201
        trust = Trust.parse((await registry.get("/v1/trust")).content)
        chain = trust.chain(PREFIX)
        view = (await registry.get("/v1/identifiers/88.118/A")).json()
        envelope, record = parse_record(view["envelope"])
        chain.check_speaker(envelope, PREFIX, record.issued_at, "item")
        registry.clock.now += 301
        refused(await keeper.register("C", "w1"), 400, "E_CHAIN")

    async def test_by_the_parent_alone_and_once(self, registry, keeper):
        await announced(registry)
        registry.clock.now += RECOVERY_SECONDS
        refused(await complete(registry, keeper.api_key), 403, "forbidden")
        both = await asyncio.gather(complete(registry), complete(registry))
        statuses = sorted(answer.status_code for answer in both)
        assert statuses[0] == 200
        assert statuses[1] in {404, 503}
        refused(await complete(registry), 404, "not_found")

    async def test_a_suspended_prefix_is_recovered_and_stays_suspended(self, registry, keeper):
        await registry.post(f"{PATH}/suspend", key=registry.operator)
        await announced(registry)
        registry.clock.now += RECOVERY_SECONDS
        answer = await complete(registry)
        assert (answer.status_code, answer.json()["status"]) == (200, "suspended")

    async def test_nothing_waits(self, registry, keeper):
        for answer in (await complete(registry), await cancel(registry, registry.operator)):
            refused(answer, 404, "not_found")


class TestObject:
    async def test_by_rotating(self, registry, keeper):
        recovery = await announced(registry)
        answer = await keeper.rotate(keeper.follow(node="https://a.example"), "r1")
        assert answer.status_code == 200, answer.text
        assert "recovery" not in answer.json()
        told = recovery_digest(digest(recovery["delegation"]), withdrawn=True)
        rows = await outbox(registry)
        assert [row[3] for row in rows[-2:]] == [What.REVOCATION, What.DELEGATION]
        assert rows[-2][4:] == (RECOVERY, told)
        registry.clock.now += RECOVERY_SECONDS
        refused(await complete(registry), 404, "not_found")

    async def test_by_a_signed_word(self, registry, keeper):
        recovery = await announced(registry)
        word = sign_objection(PREFIX, recovery["delegation"], registry.clock(), private("r1"))
        refused(await cancel(registry, keeper.api_key), 409, "key_not_hosted")
        answer = await cancel(registry, keeper.api_key, objection=word)
        assert answer.status_code == 200, answer.text
        assert "recovery" not in answer.json()
        assert answer.json()["delegation"] == keeper.token
        told = recovery_digest(digest(recovery["delegation"]), withdrawn=True)
        assert (await outbox(registry))[-1][3:] == (What.REVOCATION, RECOVERY, told)
        registry.clock.now += 1
        again = await announced(registry)
        refused(await cancel(registry, keeper.api_key, objection=word), 400, "E_ID")
        assert (await registry.get(PATH)).json()["recovery"] == again

    async def test_while_suspended(self, registry, keeper):
        recovery = await announced(registry)
        await registry.post(f"{PATH}/suspend", key=registry.operator)
        word = sign_objection(PREFIX, recovery["delegation"], registry.clock(), private("r1"))
        answer = await cancel(registry, keeper.api_key, objection=word)
        assert answer.status_code == 200, answer.text

    async def test_a_hosted_holder_by_his_api_key(self, registry):
        made = await registry.allocate("88.118")
        await registry.post(f"{PATH}/recover", {}, key=registry.operator)
        assert len(await hosted(registry)) == 4
        answer = await cancel(registry, made.api_key)
        assert answer.status_code == 200, answer.text
        assert len(await hosted(registry)) == 2

    async def test_the_parent_gives_up(self, registry, keeper):
        await announced(registry)
        answer = await cancel(registry, registry.operator)
        assert answer.status_code == 200, answer.text
        other = await registry.allocate("88.119")
        await announced(registry)
        refused(await cancel(registry, other.api_key), 403, "forbidden")

    @pytest.mark.parametrize(
        ("signers", "about", "at", "code"),
        [
            pytest.param(["w1"], None, 0, "E_CHAIN", id="by a record key"),
            pytest.param(["x1"], None, 0, "E_CHAIN", id="by the recovering key"),
            pytest.param(["r2"], None, 0, "E_CHAIN", id="by the committed key"),
            pytest.param(["r1"], "other", 0, "E_ID", id="to another recovery"),
            pytest.param(["r1"], None, -601, "E_TIME", id="of long ago"),
            pytest.param(["r1"], None, 601, "E_TIME", id="of the future"),
        ],
    )
    async def test_an_objection_that_does_not_count(
        self, registry, keeper, signers, about, at, code
    ):
        recovery = await announced(registry)
        word = sign_objection(
            PREFIX,
            about or recovery["delegation"],
            registry.clock() + at,
            *map(private, signers),
        )
        answer = await cancel(registry, keeper.api_key, objection=word)
        refused(answer, 400, code)
        assert (await registry.get(PATH)).json()["recovery"] == recovery

    async def test_the_threshold_counts(self, registry):
        keeper = await keep(
            registry, "88.118", rotate=["r1", "r2"], committed=["r3"], thr={"rotate": 2}
        )
        recovery = await announced(registry)
        now = registry.clock()
        one = sign_objection(PREFIX, recovery["delegation"], now, private("r1"))
        with pytest.raises(VerifyError, match="needs 2"):
            check_objection(one, keeper.delegation, recovery["delegation"], now)
        two = sign_objection(PREFIX, recovery["delegation"], now, private("r1"), private("r2"))
        check_objection(two, keeper.delegation, recovery["delegation"], now)


class TestTheWait:
    def test_a_week_unless_set_and_a_day_at_least_in_production(self, monkeypatch):
        given = {"database_url": "postgresql://x/y", "keyring_key": "A" * 43}
        assert Settings.load().recovery_seconds == 7 * 24 * 3600
        assert Settings.load(recovery_seconds=5).recovery_seconds == 5
        production = given | {"profile": "production"}
        assert Settings.load(**production, recovery_seconds=86_400).recovery_seconds == 86_400
        for seconds in (0, 86_399):
            with pytest.raises(BadInput, match="RECOVERY_SECONDS"):
                Settings.load(**production, recovery_seconds=seconds)
        with pytest.raises(BadInput, match="RECOVERY_SECONDS"):
            Settings.load(recovery_seconds=0)


async def test_a_recovery_over_a_run(registry, keeper):
    """Also where the holder's own delegations lie between: the reset begins anew."""
    await keeper.rotate(keeper.follow(node="https://a.example"), "r1")
    recovery = await announced(registry)
    registry.clock.now += RECOVERY_SECONDS
    answer = await complete(registry)
    assert (answer.json()["sequence"], "run" in answer.json()) == (3, False)
    trust = Trust.parse((await registry.get("/v1/trust")).content)
    assert trust.chain(PREFIX).holder.envelope.token == recovery["delegation"]
    async with registry.store.read() as tx:
        left = await tx.connection.execute(text("SELECT count(*) FROM recoveries"))
        assert left.scalar_one() == 0
