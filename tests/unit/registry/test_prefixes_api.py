"""Prefixes over HTTP: allocate, delegate anew, suspend, show, list, and the trust bundle."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import select, text

from registry.store.tables import changes, delegation_history
from schemas.chain import Trust
from schemas.change import Op
from schemas.delegation import (
    DELEGATE_USE,
    RECORD_USE,
    DelegatedKey,
    Delegation,
    parse_delegation,
    sign_possession,
)
from schemas.envelope import digest
from schemas.identifier import Prefix
from schemas.keys import ES256, PrivateKey, sha256
from schemas.leaf import status_digest

STEEL = PrivateKey.from_seed(sha256(b"steel"))
GEAR = PrivateKey.from_seed(sha256(b"gear"))
MILL = PrivateKey.generate(ES256)
USES = ["delegate", "record"]


async def offer(registry, prefix, private, caller, *, use=USES, **members):
    """A key as the API wants it: with its answer to a challenge."""
    body = {"prefix": prefix, "kid": private.public.kid}
    answer = await registry.post("/v1/challenges", body, key=caller)
    assert answer.status_code == 201, answer.text
    nonce = answer.json()["nonce"]
    proof = sign_possession(private, Prefix.parse(prefix), nonce, registry.clock())
    return {"jwk": dict(private.public.jwk), "use": use, "possession": proof} | members


async def allocated(registry, prefix, private, parent=None):
    """A prefix whose holder keeps the key."""
    caller = parent or registry.operator
    key = await offer(registry, prefix, private, caller)
    return await registry.allocate(prefix, key=caller, keys=[key])


async def wanted(registry, prefix, caller, **members):
    body = {"prefix": prefix, "organisation": {"name": "试验"}} | members
    return await registry.post("/v1/prefixes", body, key=caller)


async def outbox(registry):
    async with registry.store.read() as tx:
        query = select(changes.c.op, changes.c.about, changes.c.version, changes.c.digest)
        rows = await tx.connection.execute(query.order_by(changes.c.xid, changes.c.id))
        return [tuple(row) for row in rows]


class TestAllocate:
    async def test_with_a_hosted_key(self, registry):
        organisation = {"name": "试验集团", "uscc": "91310000MA1FL0B47X"}
        answer = await wanted(registry, "88.118", registry.operator, organisation=organisation)
        assert answer.status_code == 201
        body = answer.json()
        _, delegation = parse_delegation(body["delegation"])
        assert body == {
            "prefix": "88.118",
            "parent": ".",
            "organisation": organisation,
            "status": "active",
            "sequence": 1,
            "delegation": body["delegation"],
            "keys": [
                {
                    "kid": delegation.keys[0].key.kid,
                    "jwk": dict(delegation.keys[0].key.jwk),
                    "use": ["delegate", "record", "rotate"],
                }
            ],
            "hosted": True,
            "api_key": body["api_key"],
        }
        assert delegation.organisation == organisation
        assert body["api_key"].startswith("tierlink_live_")

    async def test_a_stranger_verifies_the_chain_from_the_trust_bundle_alone(self, registry):
        parent = await registry.allocate("88.118")
        await allocated(registry, "88.118.8", MILL, parent.api_key)
        trust = Trust.parse((await registry.get("/v1/trust")).content)
        chain = trust.chain(Prefix.parse("88.118.8"))
        assert chain.holder.keys[0].key == MILL.public

    async def test_writes_one_change_with_the_delegation(self, registry):
        made = await registry.allocate("88.118")
        *_, last = await outbox(registry)
        assert last == (Op.PREFIX, "88.118", 1, digest(made.body["delegation"]))

    async def test_its_first_api_key_is_the_holders(self, registry):
        made = await registry.allocate("88.118")
        answer = await registry.get("/v1/prefixes/88.118/api-keys", key=made.api_key)
        assert [key["label"] for key in answer.json()["api_keys"]] == ["first key"]

    async def test_several_labels_at_once(self, registry):
        made = await registry.allocate("88.118.7.1")
        assert made.body["parent"] == "."

    async def test_scope_is_label_wise(self, registry):
        holder = await registry.allocate("88.118")
        for prefix in ("88.1180", "88.11", "88.118", "88", "99.118.1"):
            answer = await wanted(registry, prefix, holder.api_key)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), prefix

    async def test_only_the_nearest_holder_allocates(self, registry):
        await registry.allocate("88.118")
        answer = await wanted(registry, "88.118.8", registry.operator)
        assert answer.status_code == 403
        assert "only the holder of 88.118" in answer.json()["detail"]

    async def test_taken(self, registry):
        await registry.allocate("88.118")
        answer = await wanted(registry, "88.118", registry.operator)
        assert (answer.status_code, answer.json()["code"]) == (409, "prefix_taken")

    async def test_never_between_a_holder_and_its_parent(self, registry):
        await registry.allocate("88.118.8")
        answer = await wanted(registry, "88.118", registry.operator)
        assert (answer.status_code, answer.json()["code"]) == (409, "prefix_taken")
        assert "cut it off" in answer.json()["detail"]
        await registry.allocate("88.11")  # a neighbour in text, not in labels

    @pytest.mark.parametrize(
        ("rivals", "refusals"),
        [
            pytest.param(("88.118", "88.118"), {409}, id="the same"),
            pytest.param(("88.118", "88.118.8"), {403, 409}, id="one inside the other"),
        ],
    )
    async def test_of_two_at_once_one_wins(self, registry, rivals, refusals):
        tasks = [wanted(registry, prefix, registry.operator) for prefix in rivals]
        won, lost = sorted(answer.status_code for answer in await asyncio.gather(*tasks))
        assert won == 201
        assert lost in refusals
        async with registry.store.read() as tx:
            count = await tx.connection.execute(text("SELECT count(*) FROM organisations"))
            assert count.scalar_one() == 2  # the operator and the winner

    async def test_not_below_a_suspended_prefix(self, registry):
        holder = await registry.allocate("88.118")
        await registry.post("/v1/prefixes/88.118/suspend", key=registry.operator)
        answer = await wanted(registry, "88.118.8", holder.api_key)
        assert (answer.status_code, answer.json()["code"]) == (403, "prefix_suspended")

    async def test_a_chain_of_eight_and_no_longer(self, registry):
        key, prefix = registry.operator, "88"
        for label in range(8):
            key = (await registry.allocate(prefix, key=key)).api_key
            prefix = f"{prefix}.{label}"
        answer = await wanted(registry, prefix, key)
        assert (answer.status_code, answer.json()["code"]) == (400, "E_LIMIT")

    async def test_node_and_organisation_are_signed(self, registry):
        made = await registry.allocate("88.118", node="https://node.example/")
        assert parse_delegation(made.body["delegation"])[1].node == "https://node.example/"


class TestOwnKeys:
    async def test_with_possession(self, registry):
        made = await allocated(registry, "88.118", STEEL)
        assert made.body["hosted"] is False
        assert made.body["keys"][0]["kid"] == STEEL.public.kid
        assert made.body["keys"][0]["use"] == USES

    async def test_validity_of_a_key(self, registry):
        key = await offer(registry, "88.118", STEEL, registry.operator, nbf=5, exp=9)
        made = await registry.allocate("88.118", keys=[key])
        assert (made.body["keys"][0]["nbf"], made.body["keys"][0]["exp"]) == (5, 9)

    async def test_proof_is_needed_fits_and_is_used_once(self, registry):
        async def refused(*keys):
            answer = await wanted(registry, "88.118", registry.operator, keys=list(keys))
            assert (answer.status_code, answer.json()["code"]) == (400, "E_KEY"), answer.text

        key = await offer(registry, "88.118", STEEL, registry.operator)
        await refused({"jwk": key["jwk"], "use": USES})
        await refused(key | {"possession": "a.b.c"})
        await refused(key | {"jwk": dict(GEAR.public.jwk)})
        await refused(await offer(registry, "88.119", STEEL, registry.operator))
        await registry.allocate("88.118", keys=[key])
        answer = await wanted(registry, "88.120", registry.operator, keys=[key])
        assert answer.status_code == 400

    async def test_a_challenge_ends_after_ten_minutes(self, registry):
        key = await offer(registry, "88.118", STEEL, registry.operator)
        registry.clock.now += 601
        answer = await wanted(registry, "88.118", registry.operator, keys=[key])
        assert (answer.status_code, answer.json()["code"]) == (400, "E_KEY")

    async def test_challenges_are_for_oneself_and_those_below(self, registry):
        holder = await registry.allocate("88.118")
        body = {"prefix": "88.119", "kid": STEEL.public.kid}
        answer = await registry.post("/v1/challenges", body, key=holder.api_key)
        assert answer.status_code == 403

    async def test_a_weak_key_is_refused(self, registry):
        weak = {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43}, "use": USES}
        answer = await wanted(registry, "88.118", registry.operator, keys=[weak])
        assert (answer.status_code, answer.json()["code"]) == (400, "E_KEY")

    async def test_one_key_twice(self, registry):
        key = await offer(registry, "88.118", STEEL, registry.operator)
        answer = await wanted(registry, "88.118", registry.operator, keys=[key, key])
        assert answer.status_code == 400


def signed(registry, private=STEEL, **members):
    """What the holder of 88.118 signs for 88.118.8, whose key is GEAR's."""
    delegation = Delegation(
        subject=Prefix.parse("88.118.8"),
        parent=Prefix.parse("88.118"),
        sequence=1,
        issued_at=registry.clock(),
        keys=(DelegatedKey(GEAR.public, frozenset(USES)),),
        organisation={"name": "试验"},
    )
    return replace(delegation, **members).sign(private)


class TestGivenDelegation:
    @pytest.fixture
    async def parent(self, registry):
        return (await allocated(registry, "88.118", STEEL)).api_key

    async def test_the_registry_cannot_sign_for_who_keeps_his_key(self, registry, parent):
        answer = await wanted(registry, "88.118.8", parent)
        assert (answer.status_code, answer.json()["code"]) == (409, "key_not_hosted")

    async def test_is_stored_as_it_was_given(self, registry, parent):
        key = await offer(registry, "88.118.8", GEAR, parent)
        token = signed(registry)
        answer = await wanted(registry, "88.118.8", parent, keys=[key], delegation=token)
        assert answer.status_code == 201, answer.text
        assert answer.json()["delegation"] == token

    @pytest.mark.parametrize(
        ("members", "status", "code"),
        [
            pytest.param({"private": GEAR}, 400, "E_CHAIN", id="by a stranger"),
            pytest.param({"subject": Prefix.parse("88.118.9")}, 400, "E_SCOPE", id="of another"),
            pytest.param({"parent": Prefix.parse("88")}, 400, "E_SCOPE", id="by another"),
            pytest.param(
                {"sequence": 2, "prev": "x" * 42 + "A"}, 412, "version_stale", id="second"
            ),
            pytest.param({"issued_at": 1_795_000_301}, 400, "E_TIME", id="of the future"),
            pytest.param({"organisation": {"name": "x"}}, 400, "input_invalid", id="other holder"),
            pytest.param({"node": "https://x.example"}, 400, "input_invalid", id="other node"),
            pytest.param(
                {"keys": (DelegatedKey(MILL.public, frozenset(USES)),)},
                400,
                "E_KEY",
                id="other key",
            ),
            pytest.param(
                {"keys": (DelegatedKey(GEAR.public, frozenset({"rotate"})),)},
                400,
                "E_KEY",
                id="other uses",
            ),
            pytest.param(
                {
                    "keys": (
                        DelegatedKey(GEAR.public, frozenset(USES)),
                        DelegatedKey(MILL.public, frozenset(USES)),
                    )
                },
                400,
                "E_KEY",
                id="one key more",
            ),
            pytest.param(
                {"resources": (Prefix.parse("88.119"),)}, 400, "E_SCOPE", id="wider than the parent"
            ),
        ],
    )
    async def test_that_says_other_than_asked(self, registry, parent, members, status, code):
        key = await offer(registry, "88.118.8", GEAR, parent)
        token = signed(registry, **members)
        answer = await wanted(registry, "88.118.8", parent, keys=[key], delegation=token)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
        assert (await registry.get("/v1/prefixes/88.118.8")).status_code == 404


class TestDelegateAnew:
    async def test_rotates_a_hosted_key(self, registry):
        first = await registry.allocate("88.118")
        registry.clock.now += 60
        answer = await registry.put(
            "/v1/prefixes/88.118/delegation", {"keys": []}, key=registry.operator
        )
        assert answer.status_code == 200, answer.text
        body = answer.json()
        envelope, delegation = parse_delegation(body["delegation"])
        assert (body["sequence"], delegation.sequence) == (2, 2)
        assert delegation.prev == digest(first.body["delegation"])
        new, old = body["keys"]
        assert "exp" not in new
        assert old == first.body["keys"][0] | {"exp": registry.clock() + 300}
        assert (await outbox(registry))[-1] == (Op.PREFIX, "88.118", 2, envelope.digest)
        async with registry.store.read() as tx:
            history = await tx.connection.execute(select(delegation_history.c.delegation))
            assert history.scalar_one() == first.body["delegation"]
            kid = await registry.keyring.signer(tx, Prefix.parse("88.118"), RECORD_USE)
            assert kid.public.kid == new["kid"]
            hosted = await tx.connection.execute(text("SELECT count(*) FROM hosted_keys"))
            assert hosted.scalar_one() == 3  # the root's, the new one, the next: the old is gone

    async def test_what_was_delegated_before_stays_valid(self, registry):
        parent = await registry.allocate("88.118")
        await registry.allocate("88.118.8", key=parent.api_key)
        registry.clock.now += 1000
        await registry.put("/v1/prefixes/88.118/delegation", {}, key=registry.operator)
        trust = Trust.parse((await registry.get("/v1/trust")).content)
        assert len(trust.chain(Prefix.parse("88.118.8")).delegations) == 3
        await registry.allocate("88.118.9", key=parent.api_key)  # by the new key

    async def test_from_hosted_to_own_and_a_key_that_stays_needs_no_proof(self, registry):
        await registry.allocate("88.118")
        path = "/v1/prefixes/88.118/delegation"
        key = await offer(registry, "88.118", STEEL, registry.operator)
        answer = await registry.put(path, {"keys": [key]}, key=registry.operator)
        assert answer.json()["hosted"] is False
        known = {"jwk": key["jwk"], "use": ["record"]}
        answer = await registry.put(path, {"keys": [known]}, key=registry.operator)
        assert answer.status_code == 200, answer.text
        assert answer.json()["keys"][0]["use"] == ["record"]

    async def test_many_rotations_keep_the_newest_keys(self, registry):
        await registry.allocate("88.118")
        for _ in range(20):
            registry.clock.now += 1
            answer = await registry.put("/v1/prefixes/88.118/delegation", {}, key=registry.operator)
        ends = [key.get("exp") for key in answer.json()["keys"]]
        assert len(ends) == 16
        assert ends[1:] == sorted(ends[1:], reverse=True)

    async def test_with_a_given_delegation(self, registry):
        parent = (await allocated(registry, "88.118", STEEL)).api_key
        key = await offer(registry, "88.118.8", GEAR, parent)
        first = signed(registry)
        await wanted(registry, "88.118.8", parent, keys=[key], delegation=first)
        path = "/v1/prefixes/88.118.8/delegation"
        stale = signed(registry, sequence=2, prev=digest("other"))
        answer = await registry.put(path, {"delegation": stale}, key=parent)
        assert (answer.status_code, answer.json()["code"]) == (412, "version_stale")
        assert digest(first) in answer.json()["fix"]
        good = signed(registry, sequence=2, prev=digest(first))
        answer = await registry.put(path, {"delegation": good}, key=parent)
        assert (answer.status_code, answer.json()["sequence"]) == (200, 2)

    async def test_only_by_who_delegated_it(self, registry):
        parent = await registry.allocate("88.118")
        child = await registry.allocate("88.118.8", key=parent.api_key)
        path = "/v1/prefixes/88.118.8/delegation"
        for key in (registry.operator, child.api_key):
            assert (await registry.put(path, {}, key=key)).status_code == 403
        assert (await registry.put(path, {}, key=parent.api_key)).status_code == 200

    async def test_two_at_once_take_turns(self, registry):
        await registry.allocate("88.118")
        path = "/v1/prefixes/88.118/delegation"
        both = [registry.put(path, {}, key=registry.operator) for _ in range(2)]
        answers = await asyncio.gather(*both)
        assert sorted(answer.json()["sequence"] for answer in answers) == [2, 3]


class TestSuspend:
    async def test_and_resume(self, registry):
        parent = await registry.allocate("88.118")
        child = await registry.allocate("88.118.8", key=parent.api_key)
        before = len(await outbox(registry))
        answer = await registry.post("/v1/prefixes/88.118/suspend", key=registry.operator)
        assert (answer.status_code, answer.json()["status"]) == (200, "suspended")
        refused = await wanted(registry, "88.118.8.1", child.api_key)
        assert refused.json()["code"] == "prefix_suspended"
        assert refused.json()["value"] == "88.118"
        answer = await registry.post("/v1/prefixes/88.118/resume", key=registry.operator)
        assert answer.json()["status"] == "active"
        await registry.allocate("88.118.8.1", key=child.api_key)
        written = (await outbox(registry))[before:-1]
        stands = digest(parent.body["delegation"])
        assert written == [
            (Op.PREFIX, "88.118", 1, status_digest(stands, suspended=True)),
            (Op.PREFIX, "88.118", 1, stands),
        ]

    async def test_twice_is_one_change(self, registry):
        await registry.allocate("88.118")
        for _ in range(2):
            answer = await registry.post("/v1/prefixes/88.118/suspend", key=registry.operator)
            assert answer.status_code == 200
        assert len(await outbox(registry)) == 3

    async def test_only_from_above(self, registry):
        parent = await registry.allocate("88.118")
        child = await registry.allocate("88.118.8", key=parent.api_key)
        for key in (child.api_key, parent.api_key):
            answer = await registry.post("/v1/prefixes/88.118/suspend", key=key)
            assert answer.status_code == 403

    async def test_who_is_suspended_resumes_nobody(self, registry):
        parent = await registry.allocate("88.118")
        await registry.allocate("88.118.8", key=parent.api_key)
        await registry.post("/v1/prefixes/88.118.8/suspend", key=registry.operator)
        await registry.post("/v1/prefixes/88.118/suspend", key=registry.operator)
        answer = await registry.post("/v1/prefixes/88.118.8/resume", key=parent.api_key)
        assert answer.json()["code"] == "prefix_suspended"

    async def test_nobody(self, registry):
        answer = await registry.post("/v1/prefixes/88.5/suspend", key=registry.operator)
        assert (answer.status_code, answer.json()["code"]) == (404, "prefix_not_found")


class TestRead:
    async def test_show_needs_no_key_and_shows_no_secret(self, registry):
        made = await registry.allocate("88.118")
        answer = await registry.get("/v1/prefixes/88.118")
        assert answer.json() == {k: v for k, v in made.body.items() if k != "api_key"}

    async def test_the_root_by_name(self, registry):
        answer = await registry.get("/v1/prefixes/root")
        assert (answer.json()["prefix"], answer.json()["parent"]) == (".", None)

    async def test_not_allocated(self, registry):
        answer = await registry.get("/v1/prefixes/88.5")
        assert (answer.status_code, answer.json()["code"]) == (404, "prefix_not_found")

    async def test_a_broken_prefix_names_the_position(self, registry):
        answer = await registry.get("/v1/prefixes/88.A")
        assert answer.status_code == 400
        assert answer.json()["code"] == "identifier_invalid"
        assert answer.json()["position"] == 3

    async def test_pages_are_stable_while_others_write(self, registry):
        parent = await registry.allocate("88")
        names = [f"88.{n}" for n in (1, 10, 11, 2, 3)]  # byte order
        for name in reversed(names):
            await registry.allocate(name, key=parent.api_key)
        await registry.allocate("89")
        seen, cursor = [], ""
        while cursor is not None:
            query = f"?parent=88&limit=2{cursor and '&cursor=' + cursor}"
            page = (await registry.get(f"/v1/prefixes{query}")).json()
            seen += [item["prefix"] for item in page["prefixes"]]
            cursor = page["next"]
            if seen == names[:2]:
                await registry.allocate("88.0", key=parent.api_key)  # before: never seen
                await registry.allocate("88.20", key=parent.api_key)
        assert seen == ["88.1", "88.10", "88.11", "88.2", "88.20", "88.3"]

    async def test_list_everything(self, registry):
        await registry.allocate("88")
        page = (await registry.get("/v1/prefixes")).json()
        assert [item["prefix"] for item in page["prefixes"]] == [".", "88"]
        assert page["next"] is None

    @pytest.mark.parametrize(
        "query", ["limit=0", "limit=x", "limit=501", "cursor=%21", "colour=red", "limit=1&limit=2"]
    )
    async def test_bad_queries(self, registry, query):
        answer = await registry.get(f"/v1/prefixes?{query}")
        assert (answer.status_code, answer.json()["code"]) == (400, "query_invalid"), answer.text

    async def test_trust_bundle_comes_page_by_page(self, registry, monkeypatch):
        monkeypatch.setattr("registry.prefixes.PAGE", 2)
        for n in range(5):
            await registry.allocate(f"88{n}")
        trust = Trust.parse((await registry.get("/v1/trust")).content)
        assert len(trust.delegations) == 5
        assert trust.chain(Prefix.parse("884")).holder.keys_for(DELEGATE_USE, registry.clock())
