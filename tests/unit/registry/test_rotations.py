"""Rotations over HTTP: by the holder, hosted and not; revocations; what the parent may not do."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import insert, select, text

from registry.store.tables import changes, delegation_history, log_state, prefixes
from schemas.chain import Trust
from schemas.change import Op
from schemas.delegation import RECORD_USE, ROTATE_USE, Revocation, parse_delegation
from schemas.envelope import digest
from schemas.identifier import Prefix
from schemas.keys import KeyId
from schemas.leaf import What
from tests.custodians import keep, kid, named, offers, possession, private

PREFIX = Prefix.parse("88.118")
PATH = "/v1/prefixes/88.118"


async def outbox(registry):
    async with registry.store.read() as tx:
        columns = (changes.c.op, changes.c.about, changes.c.version, changes.c.what)
        query = select(*columns, changes.c.subject, changes.c.digest)
        rows = await tx.connection.execute(query.order_by(changes.c.xid, changes.c.id))
        return [tuple(row) for row in rows]


async def hosted(registry, prefix="88.118"):
    async with registry.store.read() as tx:
        query = text("SELECT uses FROM hosted_keys WHERE prefix = :prefix ORDER BY created_at")
        return [row.uses for row in await tx.connection.execute(query, {"prefix": prefix})]


async def trusted(registry):
    return Trust.parse((await registry.get("/v1/trust")).content)


async def grow_log(registry, size):
    """Let the log have some leaves, as far as revocations look at it."""
    async with registry.store.write() as tx:
        row = {"id": 1, "origin": "o", "size": size, "root": b"", "epoch": 0}
        await tx.connection.execute(insert(log_state).values(**row, cursor_xid=0, cursor_id=0))


def refused(answer, status, code):
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


class TestHosted:
    async def test_reveals_the_committed_key_and_commits_to_another(self, registry):
        first = await registry.allocate("88.118")
        before = parse_delegation(first.body["delegation"])[1]
        assert len(before.next_keys) == 1
        answer = await registry.post(f"{PATH}/rotate", {}, key=first.api_key)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        after = parse_delegation(body["delegation"])[1]
        assert body["run"] == [first.body["delegation"]]
        assert after.keys[0].key.kid == before.next_keys[0]
        assert after.next_keys != before.next_keys
        assert after.envelope.kids == (before.keys[0].key.kid, before.next_keys[0])
        assert await hosted(registry) == [["delegate", "record", "rotate"], ["next"]]

    async def test_again_and_again_until_the_parent_makes_one_of_all(self, registry):
        made = await registry.allocate("88.118")
        for _ in range(7):
            answer = await registry.post(f"{PATH}/rotate", {}, key=made.api_key)
            assert answer.status_code == 200, answer.text
        assert (await trusted(registry)).chain(PREFIX).holder.sequence == 8
        answer = await registry.post(f"{PATH}/rotate", {}, key=made.api_key)
        refused(answer, 400, "E_LIMIT")
        assert "delegates anew" in answer.json()["fix"]
        answer = await registry.put(f"{PATH}/delegation", {}, key=registry.operator)
        assert answer.status_code == 200, answer.text
        assert "run" not in answer.json()
        answer = await registry.post(f"{PATH}/rotate", {}, key=made.api_key)
        assert len(answer.json()["run"]) == 1

    async def test_whoever_is_below_must_still_reach_the_root(self, registry):
        made = await registry.allocate("88.118")
        key = made.api_key
        for prefix in ("88.118.1", "88.118.1.1", "88.118.1.1.1"):
            key = (await registry.allocate(prefix, key=key)).api_key
        for _ in range(4):
            answer = await registry.post(f"{PATH}/rotate", {}, key=made.api_key)
            assert answer.status_code == 200, answer.text
        refused(await registry.post(f"{PATH}/rotate", {}, key=made.api_key), 400, "E_LIMIT")
        chain = (await trusted(registry)).chain(Prefix.parse("88.118.1.1.1"))
        assert len(chain.delegations) == 9  # the root and eight

    async def test_what_was_signed_before_stays_valid_and_new_things_are_signed(self, registry):
        made = await registry.allocate("88.118")
        child = await registry.allocate("88.118.1", key=made.api_key)
        body = {"identifier": "88.118/A", "kind": "item"}
        old = await registry.post("/v1/identifiers", body, key=made.api_key)
        registry.clock.now += 1000
        await registry.post(f"{PATH}/rotate", {}, key=made.api_key)
        new = await registry.post(
            "/v1/identifiers", body | {"identifier": "88.118/B"}, key=made.api_key
        )
        chain = (await trusted(registry)).chain(PREFIX)
        for answer in (old, new):
            assert answer.status_code == 201, answer.text
        kids = {item.key.kid for item in chain.holder.keys}
        assert len(kids) == 2
        assert len((await trusted(registry)).chain(Prefix.parse("88.118.1")).delegations) == 4
        answer = await registry.post("/v1/prefixes/88.118.1/rotate", {}, key=child.api_key)
        assert answer.status_code == 200, answer.text

    async def test_goes_home_in_two_steps(self, registry):
        made = await registry.allocate("88.118")
        answer = await registry.post(f"{PATH}/rotate", {"next": [kid("r1")]}, key=made.api_key)
        assert answer.status_code == 200, answer.text
        token = answer.json()["delegation"]
        current = parse_delegation(token)[1]
        old = tuple(replace(k, valid_until=registry.clock() + 300) for k in current.keys)
        keys = named(["r1"], ["w1"], ended=old[:2])
        following = replace(
            current,
            sequence=current.sequence + 1,
            prev=digest(token),
            issued_at=registry.clock(),
            keys=keys,
            next_keys=(kid("r2"),),
        )
        proved = await offers(registry, "88.118", keys[:2], made.api_key, unproved=["r1"])
        body = {"delegation": following.sign(private("r1")), "keys": proved}
        answer = await registry.post(f"{PATH}/rotate", body, key=made.api_key)
        assert answer.status_code == 200, answer.text
        assert answer.json()["hosted"] is False
        assert await hosted(registry) == []
        assert len(parse_delegation(answer.json()["delegation"])[0].kids) == 2
        assert (await trusted(registry)).chain(PREFIX).holder.keys_for(RECORD_USE, 0)

    async def test_two_at_once_take_turns_or_ask_to_try_again(self, registry):
        made = await registry.allocate("88.118")
        both = [registry.post(f"{PATH}/rotate", {}, key=made.api_key) for _ in range(2)]
        answers = await asyncio.gather(*both)
        won = [answer for answer in answers if answer.status_code == 200]
        assert {answer.status_code for answer in answers} <= {200, 503}
        assert sorted(answer.json()["sequence"] for answer in won) == [2, 3][: len(won)]
        assert len((await trusted(registry)).chain(PREFIX).delegations) == 2 + len(won)


class TestOwn:
    async def test_exchanges_everything(self, registry):
        keeper = await keep(registry, "88.118")
        first = keeper.token
        assert (await keeper.register("A", "w1")).status_code == 201
        registry.clock.now += 60
        keys = named(["r2"], ["w2"], ended=keeper.ended("r1", "w1"))
        proved = await offers(registry, "88.118", keys[:2], keeper.api_key, unproved=["r2"])
        following = keeper.follow(keys=keys, next_keys=(kid("r3"),))
        answer = await keeper.rotate(following, "r1", "r2", offered=proved)
        assert answer.status_code == 200, answer.text
        assert answer.json()["run"] == [first]
        assert (await outbox(registry))[-1] == (
            Op.PREFIX,
            "88.118",
            2,
            What.DELEGATION,
            None,
            digest(keeper.token),
        )
        assert (await keeper.register("B", "w2")).status_code == 201
        registry.clock.now += 301
        refused(await keeper.register("C", "w1"), 400, "E_CHAIN")
        chain = (await trusted(registry)).chain(PREFIX)
        assert [item.sequence for item in chain.delegations[1:]] == [1, 2]

    async def test_only_the_record_key_leaves_the_commitment(self, registry):
        keeper = await keep(registry, "88.118")
        keys = named(["r1"], ["w2"], ended=keeper.ended("w1"))
        proved = await offers(registry, "88.118", keys[1:2], keeper.api_key)
        answer = await keeper.rotate(keeper.follow(keys=keys), "r1", offered=proved)
        assert answer.status_code == 200, answer.text

    async def test_several_rotate_keys_sign(self, registry):
        keeper = await keep(
            registry, "88.118", rotate=["r1", "r2"], committed=["r3"], thr={"rotate": 2}
        )
        keys = named(["r1", "r2"], ["w2"], ended=keeper.ended("w1"))
        proved = await offers(registry, "88.118", keys[2:3], keeper.api_key)
        following = keeper.follow(keys=keys)
        refused(await keeper.rotate(following, "r1", offered=proved), 400, "E_CHAIN")
        proved = await offers(registry, "88.118", keys[2:3], keeper.api_key)
        answer = await keeper.rotate(following, "r1", "r2", offered=proved)
        assert answer.status_code == 200, answer.text

    async def test_the_registry_signs_for_nobody_who_keeps_his_keys(self, registry):
        keeper = await keep(registry, "88.118")
        refused(
            await registry.post(f"{PATH}/rotate", {}, key=keeper.api_key), 409, "key_not_hosted"
        )

    async def test_two_at_once_one_wins(self, registry):
        keeper = await keep(registry, "88.118")
        one = keeper.follow(keys=named(["r1"], ["w1"], ended=()))
        other = replace(one, node="https://node.example")
        answers = await asyncio.gather(keeper.rotate(one, "r1"), keeper.rotate(other, "r1"))
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses[0] == 200
        assert statuses[1] in {412, 503}
        await keeper.refresh()
        assert keeper.delegation.sequence == 2

    async def test_by_nobody_else(self, registry):
        keeper = await keep(registry, "88.118")
        following = keeper.follow(keys=named(["r1"], ["w1"]))
        other = await registry.allocate("88.119")
        for caller in (registry.operator, other.api_key):
            refused(await keeper.rotate(following, "r1", caller=caller), 403, "forbidden")
        assert (await registry.post(f"{PATH}/rotate", {})).status_code == 401

    async def test_not_while_suspended(self, registry):
        keeper = await keep(registry, "88.118")
        await registry.post(f"{PATH}/suspend", key=registry.operator)
        answer = await keeper.rotate(keeper.follow(keys=named(["r1"], ["w1"])), "r1")
        refused(answer, 403, "prefix_suspended")

    async def test_the_root_has_versions_of_its_own(self, registry):
        answer = await registry.post("/v1/prefixes/root/rotate", {}, key=registry.operator)
        refused(answer, 400, "input_invalid")
        assert "/v1/roots" in answer.json()["fix"]


OLD = (("r1",), ("w1",))
FAULTS = [
    # what the delegation says, who signs, status and code
    pytest.param({"sequence": 3}, ["r1"], 412, "version_stale", id="a number too far"),
    pytest.param({"prev": digest("other")}, ["r1"], 412, "version_stale", id="after another"),
    pytest.param({"issued_at": 1_795_000_301}, ["r1"], 400, "E_TIME", id="of the future"),
    pytest.param({"issued_at": 1_794_999_999}, ["r1"], 400, "E_TIME", id="before the last"),
    pytest.param({}, ["w1"], 400, "E_CHAIN", id="by a record key"),
    pytest.param({}, ["r2"], 400, "E_CHAIN", id="by the committed key alone"),
    pytest.param({}, ["x1"], 400, "E_CHAIN", id="by a stranger"),
    pytest.param({}, ["r1", "x1"], 400, "E_CHAIN", id="by a stranger too"),
    pytest.param({"subject": Prefix.parse("88.119")}, ["r1"], 400, "E_SCOPE", id="of another"),
    pytest.param({"resources": (Prefix.parse("88"),)}, ["r1"], 400, "E_SCOPE", id="overclaims"),
    pytest.param({"organisation": {"name": "x"}}, ["r1"], 400, "E_SCOPE", id="another holder"),
    pytest.param({"reset": True}, ["r1"], 400, "E_SCOPE", id="a reset"),
    pytest.param({"next_keys": (kid("x1"),)}, ["r1"], 400, "E_CHAIN", id="another commitment"),
    pytest.param(
        {"keys": named(["r1", "x1"], ["w1"])}, ["r1", "x1"], 400, "E_CHAIN", id="not committed to"
    ),
    pytest.param(
        {"keys": named(["r2"], ["w1"]), "next_keys": (kid("r3"),)},
        ["r1"],
        400,
        "E_KEY",
        id="a new key that signs not",
    ),
    pytest.param({"keys": named(["r1"], ["w1", "x1"])}, ["r1"], 400, "E_KEY", id="not proved"),
]


@pytest.mark.parametrize(("members", "signers", "status", "code"), FAULTS)
async def test_a_faulty_rotation_leaves_everything_as_it_was(
    registry, members, signers, status, code
):
    keeper = await keep(registry, "88.118")
    token, before = keeper.token, await outbox(registry)
    following = replace(keeper.follow(keys=named(*OLD)), **members)
    refused(await keeper.rotate(following, *signers), status, code)
    assert await outbox(registry) == before
    view = await keeper.refresh()
    assert (keeper.token, view["sequence"], "run" in view) == (token, 1, False)
    async with registry.store.read() as tx:
        history = await tx.connection.execute(select(delegation_history.c.prefix))
        assert history.all() == []


async def test_a_forged_signature(registry):
    keeper = await keep(registry, "88.118")
    token = keeper.follow(keys=named(*OLD), node="https://node.example").sign(private("r1"))
    forged = token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB")
    answer = await registry.post(f"{PATH}/rotate", {"delegation": forged}, key=keeper.api_key)
    assert answer.status_code == 400
    assert answer.json()["code"] in {"E_SIG", "E_ENCODING"}


async def test_repeated_with_its_key_is_done_once(registry):
    made = await registry.allocate("88.118")
    send = {"key": made.api_key, "Idempotency_Key": "r"}
    answers = [await registry.post(f"{PATH}/rotate", {}, **send) for _ in range(2)]
    assert [answer.json()["sequence"] for answer in answers] == [2, 2]
    assert answers[1].headers["idempotency-replayed"] == "true"


class TestDelegateKeys:
    async def test_that_delegated_somebody_is_not_let_go(self, registry):
        keeper = await keep(registry, "88.118")
        key = named([], ["d1"])[0]
        child = replace(
            keeper.delegation,
            subject=Prefix.parse("88.118.1"),
            parent=PREFIX,
            sequence=1,
            prev=None,
            organisation={"name": "child"},
            keys=(key,),
            next_keys=(),
        ).sign(private("w1"))
        made = await registry.allocate(
            "88.118.1",
            key=keeper.api_key,
            name="child",
            keys=await offers(registry, "88.118.1", [key], keeper.api_key),
            delegation=child,
        )
        registry.clock.now += 1000
        keys = named(["r1"], ["w2"])
        proof = await offers(registry, "88.118", keys[1:], keeper.api_key)
        answer = await keeper.rotate(keeper.follow(keys=keys), "r1", offered=proof)
        refused(answer, 400, "E_CHAIN")
        assert answer.json()["value"] == kid("w1")
        keys = named(["r1"], ["w2"], ended=keeper.ended("w1"))
        proof = await offers(registry, "88.118", keys[1:2], keeper.api_key)
        answer = await keeper.rotate(keeper.follow(keys=keys), "r1", offered=proof)
        assert answer.status_code == 200, answer.text
        chain = (await trusted(registry)).chain(Prefix.parse(made.prefix))
        assert chain.holder.keys[0].key.kid == kid("d1")

    async def test_many_below_are_looked_at_page_by_page(self, registry, monkeypatch):
        monkeypatch.setattr("registry.rotations.PAGE", 2)
        made = await registry.allocate("88.118")
        for number in range(5):
            await registry.allocate(f"88.118.{number}", key=made.api_key)
        registry.clock.now += 1000
        answer = await registry.post(f"{PATH}/rotate", {}, key=made.api_key)
        assert answer.status_code == 200, answer.text


class TestParent:
    async def test_cannot_quietly_replace_committed_rotate_keys(self, registry):
        await keep(registry, "88.118")
        stolen = await offers(registry, "88.118", named(["x1"], ["x2"]), registry.operator)
        known = {"jwk": dict(private("r1").public.jwk), "use": ["rotate"]}
        for body in (
            {},
            {"keys": stolen},
            {"keys": stolen[1:]},
            {"keys": stolen[1:], "next": [kid("r2")]},
            {"keys": [known], "next": [kid("x3")]},
            {"keys": [known | {"exp": registry.clock() + 9}], "next": [kid("r2")]},
        ):
            answer = await registry.put(f"{PATH}/delegation", body, key=registry.operator)
            refused(answer, 409, "recovery_needed")
        body = {"keys": [known], "next": [kid("r2")]}
        answer = await registry.put(f"{PATH}/delegation", body, key=registry.operator)
        assert answer.status_code == 200, answer.text

    async def test_may_go_on_with_the_committed_ones(self, registry):
        keeper = await keep(registry, "88.118")
        offered = await offers(registry, "88.118", named(["r2"], ["w2"]), registry.operator)
        body = {"keys": offered, "next": [kid("r3")]}
        answer = await registry.put(f"{PATH}/delegation", body, key=registry.operator)
        assert answer.status_code == 200, answer.text
        assert "run" not in answer.json()
        await keeper.refresh()
        assert keeper.delegation.next_keys == (kid("r3"),)

    async def test_that_needs_two_keys_sends_two_signatures(self, registry):
        parent = await keep(registry, "88.118", record=["d1", "d2"], thr={"delegate": 2})
        key = named([], ["w5"])[0]
        child = replace(
            parent.delegation,
            subject=Prefix.parse("88.118.1"),
            parent=PREFIX,
            keys=(key,),
            next_keys=(),
            thresholds={},
            organisation={"name": "child"},
        )
        for signers, status in ((["d1"], 400), (["d1", "d2"], 201)):
            body = {
                "prefix": "88.118.1",
                "organisation": {"name": "child"},
                "keys": await offers(registry, "88.118.1", [key], parent.api_key),
                "delegation": child.sign(*map(private, signers)),
            }
            answer = await registry.post("/v1/prefixes", body, key=parent.api_key)
            assert answer.status_code == status, answer.text

    async def test_next_and_thr_stand_in_a_delegation_that_is_sent(self, registry):
        parent = await keep(registry, "88.118")
        body = {"delegation": parent.token, "next": [kid("r3")]}
        refused(
            await registry.post(f"{PATH}/rotate", body, key=parent.api_key), 400, "input_invalid"
        )

    async def test_a_threshold_that_nobody_can_meet(self, registry):
        body = {"prefix": "88.118", "organisation": {"name": "x"}, "thr": {"record": 2}}
        answer = await registry.post("/v1/prefixes", body, key=registry.operator)
        refused(answer, 400, "E_FORMAT")


class TestRevoke:
    async def test_of_a_hosted_key_exchanges_it(self, registry):
        await grow_log(registry, 40)
        made = await registry.allocate("88.118")
        stolen = made.body["keys"][0]["kid"]
        body = {"kid": stolen, "reason": "compromised"}
        answer = await registry.post(f"{PATH}/revoke", body, key=made.api_key)
        assert answer.status_code == 200, answer.text
        after = parse_delegation(answer.json()["delegation"])[1]
        assert after.revoked == (Revocation(KeyId(stolen), "compromised", 40),)
        assert answer.json()["keys"][0]["kid"] != stolen
        assert await hosted(registry) == [["delegate", "record", "rotate"], ["next"]]
        token = digest(answer.json()["delegation"])
        assert (await outbox(registry))[-2:] == [
            (Op.PREFIX, "88.118", 2, What.DELEGATION, None, token),
            (Op.LOGGED, "88.118", 40, What.REVOCATION, stolen, token),
        ]
        record = {"identifier": "88.118/A", "kind": "item"}
        answer = await registry.post("/v1/identifiers", record, key=made.api_key)
        assert answer.status_code == 201, answer.text

    async def test_by_the_holders_rotate_key(self, registry):
        keeper = await keep(registry, "88.118", record=["w1", "w2"])
        assert (await keeper.register("A", "w1")).status_code == 201
        entry = Revocation(kid("w1"), "compromised", 0)
        token = keeper.follow(revoked=(entry,)).sign(private("r1"))
        body = {"kid": kid("w1"), "reason": "compromised", "since": 0, "delegation": token}
        answer = await registry.post(f"{PATH}/revoke", body, key=keeper.api_key)
        assert answer.status_code == 200, answer.text
        assert answer.json()["run"] == [keeper.token]
        refused(await keeper.register("B", "w1"), 400, "E_REVOKED")
        assert (await keeper.register("B", "w2")).status_code == 201

    async def test_by_the_parent(self, registry):
        await grow_log(registry, 7)
        keeper = await keep(registry, "88.118", record=["w1", "w2"])
        body = {"kid": kid("w1")}
        answer = await registry.post(f"{PATH}/revoke", body, key=registry.operator)
        assert answer.status_code == 200, answer.text
        await keeper.refresh()
        assert keeper.delegation.revoked == (Revocation(kid("w1"), "unspecified", 7),)
        assert keeper.delegation.next_keys == (kid("r2"),)
        assert keeper.delegation.keys_for(ROTATE_USE, registry.clock())
        assert "run" not in answer.json()
        refused(await keeper.register("B", "w1"), 400, "E_REVOKED")

    async def test_the_parent_leaves_the_holder_a_rotate_key(self, registry):
        await keep(registry, "88.118")
        body = {"kid": kid("r1")}
        answer = await registry.post(f"{PATH}/revoke", body, key=registry.operator)
        refused(answer, 409, "recovery_needed")

    @pytest.mark.parametrize(
        ("since", "status"), [(5, 200), (4, 200), (0, 200), (6, 400), (41, 400)]
    )
    async def test_since_only_moves_back(self, registry, since, status):
        await grow_log(registry, 40)
        keeper = await keep(registry, "88.118", record=["w1", "w2"])
        for place in (5, since):
            body = {"kid": kid("w1"), "since": place}
            answer = await registry.post(f"{PATH}/revoke", body, key=registry.operator)
        assert answer.status_code == status, answer.text
        if status == 400:
            assert answer.json()["code"] == "E_REVOKED"
        told = [row for row in await outbox(registry) if row[3] == What.REVOCATION]
        assert [row[2] for row in told] == list(dict.fromkeys((5, min(5, since))))
        await keeper.refresh()
        assert keeper.delegation.revoked[0].since == min(5, since)

    async def test_never_beyond_the_log(self, registry):
        await keep(registry, "88.118", record=["w1", "w2"])
        body = {"kid": kid("w1"), "since": 1}
        answer = await registry.post(f"{PATH}/revoke", body, key=registry.operator)
        refused(answer, 400, "E_REVOKED")

    async def test_nothing_is_taken_back(self, registry):
        keeper = await keep(registry, "88.118", record=["w1", "w2"])
        await registry.post(f"{PATH}/revoke", {"kid": kid("w1")}, key=registry.operator)
        await keeper.refresh()
        refused(await keeper.rotate(keeper.follow(revoked=()), "r1"), 400, "E_REVOKED")
        answer = await registry.post(f"{PATH}/rotate", {}, key=keeper.api_key)
        refused(answer, 409, "key_not_hosted")

    async def test_a_delegation_that_does_not_say_so(self, registry):
        keeper = await keep(registry, "88.118", record=["w1", "w2"])
        token = keeper.follow(node="https://node.example").sign(private("r1"))
        body = {"kid": kid("w1"), "delegation": token}
        answer = await registry.post(f"{PATH}/revoke", body, key=keeper.api_key)
        refused(answer, 400, "input_invalid")

    async def test_an_unknown_key_a_strange_reason_a_stranger(self, registry):
        made = await registry.allocate("88.118")
        answer = await registry.post(f"{PATH}/revoke", {"kid": kid("x1")}, key=made.api_key)
        refused(answer, 400, "E_KEY")
        body = {"kid": kid("x1"), "reason": "lost"}
        answer = await registry.post(f"{PATH}/revoke", body, key=made.api_key)
        refused(answer, 400, "input_invalid")
        other = await registry.allocate("88.119")
        body = {"kid": made.body["keys"][0]["kid"]}
        refused(await registry.post(f"{PATH}/revoke", body, key=other.api_key), 403, "forbidden")

    async def test_a_delegate_key_that_is_revoked_delegates_no_more(self, registry):
        """What it delegated before stands by the log's order, which the registry asks."""
        made = await registry.allocate("88.118")
        child = await registry.allocate("88.118.1", key=made.api_key)
        await grow_log(registry, 3)
        async with registry.store.write() as tx:
            await tx.connection.execute(
                text("INSERT INTO log_index (digest, idx) VALUES (:digest, 2)"),
                {"digest": digest(child.body["delegation"])},
            )
        body = {"kid": made.body["keys"][0]["kid"], "reason": "compromised"}
        answer = await registry.post(f"{PATH}/revoke", body, key=made.api_key)
        assert answer.status_code == 200, answer.text
        record = {"identifier": "88.118.1/A", "kind": "item"}
        answer = await registry.post("/v1/identifiers", record, key=child.api_key)
        assert answer.status_code == 201, answer.text
        await registry.allocate("88.118.2", key=made.api_key)  # by the new key
        async with registry.store.write() as tx:
            await tx.connection.execute(text("UPDATE log_index SET idx = 3"))
        answer = await registry.post(
            "/v1/identifiers", record | {"identifier": "88.118.1/B"}, key=child.api_key
        )
        refused(answer, 400, "E_REVOKED")


async def test_a_run_costs_readers_no_further_statement(registry, sql_recorder):
    made = await registry.allocate("88.118")
    body = {"identifiers": ["88.118/A"]}
    await registry.post("/v1/source", body)  # a connection is prepared once
    counts = []
    for _ in range(2):
        async with sql_recorder(registry.store.engine) as statements:
            answer = await registry.post("/v1/source", body)
        counts.append(len(statements))
        await registry.post(f"{PATH}/rotate", {}, key=made.api_key)
    assert counts == [1, 1]
    fetched = (await registry.post("/v1/source", body)).json()
    stands = (await registry.get(PATH)).json()
    assert fetched["delegations"] == [*stands["run"], stands["delegation"]]
    assert answer.status_code == 200


async def test_the_run_is_that_of_the_row(registry):
    keeper = await keep(registry, "88.118")
    tokens = [keeper.token]
    for node in ("https://a.example", "https://b.example"):
        answer = await keeper.rotate(keeper.follow(node=node), "r1")
        assert answer.status_code == 200, answer.text
        tokens.append(keeper.token)
    async with registry.store.read() as tx:
        row = (
            await tx.connection.execute(
                select(prefixes.c.run, prefixes.c.delegation).where(prefixes.c.prefix == "88.118")
            )
        ).one()
        history = await tx.connection.execute(
            select(delegation_history.c.delegation).order_by(delegation_history.c.sequence)
        )
        assert [*row.run, row.delegation] == tokens
        assert list(history.scalars()) == tokens[:2]


async def test_a_challenge_is_not_needed_twice(registry):
    """A key that is known, or signs, needs no proof; any other does, for this prefix."""
    keeper = await keep(registry, "88.118")
    keys = named(["r1"], ["w1", "w2"])
    body = [{"jwk": dict(keys[2].key.jwk), "use": sorted(keys[2].uses)}]
    refused(await keeper.rotate(keeper.follow(keys=keys), "r1", offered=body), 400, "E_KEY")
    body[0]["possession"] = await possession(registry, "88.118", "w2", keeper.api_key)
    answer = await keeper.rotate(keeper.follow(keys=keys), "r1", offered=body)
    assert answer.status_code == 200, answer.text
