"""Joining the node of a parent prefix: two registries, each over a database of its own."""

import json
from dataclasses import replace

import pytest

from registry import adoption, prefixes, roots
from registry.accounts import Caller
from registry.reader import Reader
from registry.store.tables import changes
from schemas.chain import Trust, trust_document
from schemas.change import Op
from schemas.errors import Conflict, PrefixElsewhere, VerifyError
from schemas.identifier import Identifier, Prefix
from schemas.source import State
from tests.neighbours import CHILD, HERE
from tierlink.client import AsyncClient
from tierlink.joining import Follower, Wish, join

MINE = Prefix.parse("88.118")
ITEM = Identifier.parse("88.118/A-1")
WISH = Wish(MINE, "Child 有限公司", HERE)


async def joined(child, parent, folder, wish=WISH):
    return await join(
        child.store, child.keyring, parent, wish, data_dir=folder, now=child.clock.now
    )


async def told(store):
    async with store.read() as tx:
        rows = await tx.connection.execute(changes.select().order_by(changes.c.xid, changes.c.id))
        return [(row.op, row.about, row.version, row.what) for row in rows]


async def state(store, identifier=ITEM):
    fetched = await Reader(store).fetch([identifier])
    return fetched.found[identifier].state, fetched


class TestJoin:
    async def test_the_prefix_is_held_here_and_known_there(self, registry, child, parent, tmp_path):
        assert await joined(child, parent, tmp_path)
        key = json.loads((tmp_path / "operator.json").read_text())["api_key"]
        answer = await child.post(
            "/v1/identifiers", {"identifier": ITEM.text, "kind": "item"}, key=key
        )
        assert answer.status_code == 201, answer.text
        assert (await state(child.store))[0] is State.FOUND
        found, fetched = await state(registry.store)
        assert found is State.FOREIGN
        # What the node of the parent sends along leads to the child, by our root alone.
        async with registry.store.read() as tx:
            versions = await prefixes.roots(tx)
        trust = Trust.parse(json.dumps(trust_document(versions, fetched.delegations)).encode())
        assert trust.chain(MINE).holder.node == CHILD

    async def test_it_is_done_once(self, child, parent, tmp_path):
        assert await joined(child, parent, tmp_path)
        assert not await joined(child, parent, tmp_path)

    async def test_one_that_broke_off_goes_on_with_the_same_keys(
        self, child, parent, tmp_path, monkeypatch
    ):
        async def broken(*_, **__):
            raise ConnectionError

        with monkeypatch.context() as patch:
            patch.setattr(AsyncClient, "source", broken)
            with pytest.raises(ConnectionError):
                await joined(child, parent, tmp_path)
        assert await joined(child, parent, tmp_path)

    async def test_a_prefix_of_somebody_else_is_refused(self, registry, child, parent, tmp_path):
        await registry.allocate("88.118")
        with pytest.raises(Conflict, match="somebody else"):
            await joined(child, parent, tmp_path)

    async def test_the_parent_writes_nothing_under_it(self, registry, child, parent, tmp_path):
        made = await parent.allocate(MINE, "x", node=CHILD)
        answer = await registry.post(
            "/v1/identifiers", {"identifier": ITEM.text, "kind": "item"}, key=made.api_key
        )
        assert (answer.status_code, answer.json()["code"]) == (409, PrefixElsewhere.code)
        assert answer.json()["value"] == CHILD
        below = await registry.post(
            "/v1/prefixes",
            {"prefix": "88.118.1", "organisation": {"name": "x"}},
            key=made.api_key,
        )
        assert (below.status_code, below.json()["code"]) == (409, PrefixElsewhere.code)


class TestStates:
    @pytest.mark.parametrize(
        ("text", "there", "here"),
        [
            ("88.118/NONE", State.FOREIGN, State.MISSING),
            ("88.118.5/X", State.FOREIGN, State.NOWHERE),
            ("88.119/X", State.NOWHERE, State.FOREIGN),
            ("77/X", State.NOWHERE, State.FOREIGN),
        ],
    )
    async def test_who_is_to_be_asked(self, registry, child, parent, tmp_path, text, there, here):
        await joined(child, parent, tmp_path)
        identifier = Identifier.parse(text)
        assert (await state(registry.store, identifier))[0] is there
        assert (await state(child.store, identifier))[0] is here


class TestFollow:
    @pytest.fixture
    async def follower(self, child, parent, tmp_path):
        await joined(child, parent, tmp_path)
        return Follower(child.store, parent, MINE, HERE, child.clock)

    async def test_where_nothing_is_new_nothing_is_told(self, child, follower):
        before = await told(child.store)
        assert await follower.once() == []
        assert await told(child.store) == before

    async def test_a_suspension_is_mirrored_and_its_end_too(self, registry, child, follower):
        await registry.post("/v1/prefixes/88.118/suspend", key=registry.operator)
        assert await follower.once() == [MINE]
        assert (await state(child.store))[0] is State.PREFIX_SUSPENDED
        assert await follower.once() == []
        await registry.post("/v1/prefixes/88.118/resume", key=registry.operator)
        assert await follower.once() == [MINE]
        assert (await told(child.store))[-2:] == [
            (Op.PREFIX, "88.118", 1, "status"),
            (Op.PREFIX, "88.118", 1, "status"),
        ]

    async def test_a_newer_root_is_followed(self, registry, child, follower):
        async with registry.store.write() as tx:
            caller = Caller("op", prefixes.ROOT)
            await roots.rotate(tx, registry.keyring, caller, None, registry.clock.now)
        assert await follower.once() == [prefixes.ROOT]
        async with child.store.read() as tx, registry.store.read() as theirs:
            assert list(await prefixes.roots(tx)) == list(await prefixes.roots(theirs))


class TestAdopt:
    async def test_what_is_older_or_by_another_root_changes_nothing(
        self, registry, child, parent, tmp_path
    ):
        await joined(child, parent, tmp_path)
        fetched = await parent.source([ITEM])
        async with child.store.write() as tx:
            assert await adoption.adopt(tx, MINE, fetched.delegations, HERE) == ()
        stranger = replace(WISH, prefix=Prefix.parse("66"))
        async with child.store.write() as tx:
            with pytest.raises(VerifyError):
                await adoption.adopt(tx, stranger.prefix, fetched.delegations, HERE)
