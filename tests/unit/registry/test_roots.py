"""Root versions: an offline root, a registry founded with it, and the next version over HTTP."""

from dataclasses import replace

import httpx
import pytest

from registry.api.deps import Deps
from registry.app import create_app
from registry.bootstrap import Offline, found
from registry.keyring import Keyring
from registry.prefixes import ROOT
from registry.store.keys import hosted_kids
from schemas.chain import Trust
from schemas.delegation import (
    DELEGATE_USE,
    RECORD_USE,
    ROTATE_USE,
    DelegatedKey,
    Delegation,
    parse_root,
)
from schemas.envelope import digest
from schemas.errors import BadInput, TierlinkError, VerifyError
from schemas.identifier import Prefix
from tests.custodians import kid, named, offers, private
from tests.fixtures_registry import KEK, NOW, Clock, Registry
from tests.unit.registry.test_rotations import outbox, refused

KEYRING = Keyring(KEK)


def root(rotate=("r1", "r2", "r3"), delegate=("d1",), *, thr=None, before=None, **members):
    """A root of offline keys; the version after `before`, if that is given."""
    keys = [DelegatedKey(private(name).public, frozenset({ROTATE_USE})) for name in rotate]
    keys += [DelegatedKey(private(name).public, frozenset({DELEGATE_USE})) for name in delegate]
    version, prev = 1, None
    if before is not None:
        version, prev = parse_root(before)[1].sequence + 1, digest(before)
    made = Delegation(
        ROOT,
        None,
        version,
        NOW,
        tuple(keys),
        prev,
        thresholds={"rotate": 2} if thr is None else thr,
    )
    return replace(made, **members)


def signed(made, *names):
    return made.sign(*(private(name) for name in names))


V1 = signed(root(), "r1", "r2")


@pytest.fixture
async def offline(store):
    """A registry founded with a root of three offline rotate keys, of which two must sign."""
    clock = Clock()
    deps = Deps(store, KEYRING, clock)
    async with store.write() as tx:
        founded = await found(tx, KEYRING, NOW, Offline((V1,), private("d1")))
    transport = httpx.ASGITransport(create_app(deps))
    async with httpx.AsyncClient(transport=transport, base_url="http://registry") as client:
        yield Registry(deps, founded.operator_key, client, clock)


async def submit(registry, token=None, key=None):
    body = {} if token is None else {"root": token}
    return await registry.post("/v1/roots", body, key=key or registry.operator)


async def trust(registry):
    return (await registry.get("/v1/trust")).json()


class TestFounding:
    async def test_hosts_only_the_delegate_key(self, offline):
        async with offline.store.read() as tx:
            assert await hosted_kids(tx, ROOT) == {kid("d1")}
            signer = await KEYRING.signer(tx, ROOT, DELEGATE_USE)
        assert signer.public.kid == kid("d1")
        assert (await trust(offline))["roots"] == [V1]
        made = await offline.allocate("88.118")
        bundle = Trust.parse((await offline.get("/v1/trust")).content)
        assert bundle.chain(Prefix.parse(made.prefix)).holder.sequence == 1
        assert (await offline.get("/v1/prefixes/root")).json()["hosted"] is True

    async def test_without_any_hosted_key_the_root_signs_elsewhere(self, store):
        async with store.write() as tx:
            founded = await found(tx, KEYRING, NOW, Offline((V1,)))
        clock = Clock()
        transport = httpx.ASGITransport(create_app(Deps(store, KEYRING, clock)))
        async with httpx.AsyncClient(transport=transport, base_url="http://registry") as client:
            registry = Registry(Deps(store, KEYRING, clock), founded.operator_key, client, clock)
            body = {"prefix": "88.118", "organisation": {"name": "试验"}}
            answer = await registry.post("/v1/prefixes", body, key=registry.operator)
            refused(answer, 409, "key_not_hosted")
            keys = named(["r7"], ["w1"])
            token = Delegation(
                Prefix.parse("88.118"), ROOT, 1, NOW, keys, organisation={"name": "试验"}
            ).sign(private("d1"))
            proved = await offers(registry, "88.118", keys, registry.operator)
            body |= {"keys": proved, "delegation": token}
            answer = await registry.post("/v1/prefixes", body, key=registry.operator)
            assert answer.status_code == 201, answer.text
            assert (await registry.get("/v1/prefixes/root")).json()["hosted"] is False
        async with store.write() as tx:  # the KEK cannot be wrong where nothing is hosted
            again = await found(tx, KEYRING, NOW, Offline((V1,)))
        assert again.roots == (V1,)

    async def test_with_several_versions(self, store):
        second = signed(root(before=V1), "r1", "r2")
        async with store.write() as tx:
            founded = await found(tx, KEYRING, NOW, Offline((V1, second)))
        assert founded.roots == (V1, second)
        async with store.write() as tx:
            assert (await found(tx, KEYRING, NOW)).roots == (V1, second)

    @pytest.mark.parametrize(
        ("versions", "key", "error"),
        [
            pytest.param((signed(root(), "r1"),), None, VerifyError, id="too few sign"),
            pytest.param((V1[:-8] + "AAAAAAAA",), None, VerifyError, id="forged"),
            pytest.param((), None, VerifyError, id="none"),
            pytest.param(
                (signed(root(valid_until=NOW), "r1", "r2"),), None, VerifyError, id="expired"
            ),
            pytest.param((V1,), "r1", BadInput, id="a rotate key to host"),
            pytest.param((V1,), "x1", BadInput, id="a key it does not name"),
        ],
    )
    async def test_refused_and_nothing_is_founded(self, store, versions, key, error):
        with pytest.raises(error):
            async with store.write() as tx:
                await found(tx, KEYRING, NOW, Offline(versions, private(key) if key else None))
        async with store.write() as tx:
            assert (await found(tx, KEYRING, NOW)).operator_key is not None

    async def test_another_root_than_it_was_founded_with(self, offline):
        other = signed(root(["r4", "r5"]), "r4", "r5")
        async with offline.store.write() as tx:
            with pytest.raises(TierlinkError, match="another root"):
                await found(tx, KEYRING, NOW, Offline((other,)))


class TestRotate:
    async def test_offline_by_old_and_new(self, offline):
        made = await offline.allocate("88.118")
        kept = DelegatedKey(private("d1").public, frozenset({DELEGATE_USE}), None, NOW + 300)
        following = root(["r3", "r4", "r5"], ["d2"], before=V1)
        following = replace(following, keys=(*following.keys, kept))
        second = signed(following, "r3", "r1", "r4")
        answer = await submit(offline, second)
        assert answer.status_code == 200, answer.text
        assert answer.json()["sequence"] == 2
        assert "run" not in answer.json()
        assert (await trust(offline))["roots"] == [V1, second]
        bundle = Trust.parse((await offline.get("/v1/trust")).content)
        assert bundle.root.holder.sequence == 2
        assert bundle.chain(Prefix.parse(made.prefix)).holder.sequence == 1
        assert (await outbox(offline))[-1][1:4] == (".", 2, "delegation")
        # d1 is ended in the new version and so is not hosted any more; d2 was never here
        async with offline.store.read() as tx:
            assert await hosted_kids(tx, ROOT) == frozenset()

    @pytest.mark.parametrize(
        ("made", "signers", "status", "code"),
        [
            pytest.param(root(before=V1), ["r1"], 400, "E_ROOT", id="too few"),
            pytest.param(
                root(["r4", "r5"], before=V1), ["r4", "r5"], 400, "E_ROOT", id="only the new"
            ),
            pytest.param(
                root(["r4", "r5"], before=V1), ["r1", "r2"], 400, "E_ROOT", id="only the old"
            ),
            pytest.param(
                root(before=V1, sequence=3), ["r1", "r2"], 412, "version_stale", id="two on"
            ),
            pytest.param(
                root(before=V1, prev=digest("x")), ["r1", "r2"], 412, "version_stale", id="fork"
            ),
            pytest.param(
                root(before=V1, issued_at=NOW + 301), ["r1", "r2"], 400, "E_TIME", id="future"
            ),
            pytest.param(
                root(before=V1, valid_until=NOW), ["r1", "r2"], 400, "E_ROOT", id="expired"
            ),
            pytest.param(
                root(before=V1), ["r1", "r2", "x1"], 400, "E_ROOT", id="a stranger signs too"
            ),
            pytest.param(
                root(delegate=["d2"], before=V1), ["r1", "r2"], 400, "E_CHAIN", id="lets 88.118 go"
            ),
            pytest.param(
                root(
                    before=V1, thresholds={"rotate": 2, "delegate": 1}, keys=named(["r1", "r2"], [])
                ),
                ["r1", "r2"],
                400,
                "E_FORMAT",
                id="a threshold without keys",
            ),
        ],
    )
    async def test_refused_and_nothing_changes(self, offline, made, signers, status, code):
        await offline.allocate("88.118")
        before = await outbox(offline)
        refused(await submit(offline, signed(made, *signers)), status, code)
        assert (await trust(offline))["roots"] == [V1]
        assert await outbox(offline) == before

    async def test_by_the_operator_alone(self, offline):
        made = await offline.allocate("88.118")
        second = signed(root(before=V1), "r1", "r2")
        refused(await submit(offline, second, made.api_key), 403, "forbidden")

    async def test_the_registry_makes_none_for_an_offline_root(self, offline):
        refused(await submit(offline), 409, "key_not_hosted")

    async def test_a_hosted_root(self, registry):
        first = (await trust(registry))["roots"]
        made = await registry.allocate("88.118")
        async with registry.store.write() as tx:
            log = await registry.keyring.create(tx, ROOT, {"log"})
        registry.clock.now += 1000
        for version in (2, 3):
            answer = await submit(registry)
            assert (answer.status_code, answer.json()["sequence"]) == (200, version), answer.text
            registry.clock.now += 1000
        bundle = await trust(registry)
        assert bundle["roots"][0] == first[0]
        assert len(bundle["roots"]) == 3
        parsed = Trust.parse((await registry.get("/v1/trust")).content)
        assert parsed.chain(Prefix.parse(made.prefix)).holder.sequence == 1
        async with registry.store.read() as tx:
            assert (await registry.keyring.signer(tx, ROOT, "log")).public == log
            assert len(await hosted_kids(tx, ROOT)) == 2
        await registry.allocate("88.119")
        body = {"identifier": "88.118/A", "kind": "item"}
        answer = await registry.post("/v1/identifiers", body, key=made.api_key)
        assert answer.status_code == 201, answer.text

    async def test_a_hosted_root_goes_offline(self, registry):
        made = await registry.allocate("88.118")
        token = (await trust(registry))["roots"][0]
        current = parse_root(token)[1]
        old = replace(current.keys[0], valid_until=registry.clock() + 300)
        following = root(["r1", "r2"], ["d1"], before=token)
        following = replace(following, keys=(*following.keys, old))
        answer = await submit(registry, signed(following, "r1", "r2"))
        assert answer.status_code == 200, answer.text
        assert answer.json()["hosted"] is False
        bundle = Trust.parse((await registry.get("/v1/trust")).content)
        assert bundle.chain(Prefix.parse(made.prefix)).holder.sequence == 1
        envelope, after = parse_root((await trust(registry))["roots"][1])
        assert len(envelope.kids) == 3
        assert after.threshold(ROTATE_USE) == 2
        body = {"prefix": "88.119", "organisation": {"name": "x"}}
        refused(
            await registry.post("/v1/prefixes", body, key=registry.operator), 409, "key_not_hosted"
        )

    async def test_repeated_with_its_key(self, registry):
        answers = [
            await registry.post("/v1/roots", {}, key=registry.operator, Idempotency_Key="1")
            for _ in range(2)
        ]
        assert [answer.json()["sequence"] for answer in answers] == [2, 2]


def test_a_root_has_no_record_key():
    assert RECORD_USE not in {use for item in root().keys for use in item.uses}
