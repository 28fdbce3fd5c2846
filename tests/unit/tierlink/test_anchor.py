"""A node's anchor: the files it is founded with, and the root that its resolver follows."""

import asyncio
from contextlib import suppress

import pytest

from registry.bootstrap import Offline
from registry.config import Settings
from resolver.trust import Verifier
from schemas.chain import Trust
from schemas.delegation import parse_root
from schemas.errors import BadInput, VerifyError
from schemas.identifier import Prefix
from tests.custodians import private
from tests.unit.registry.test_roots import V1
from tierlink import anchor, keyfile
from tierlink.rootfile import read_versions, write_versions

PREFIX = Prefix.parse("88.118")


async def trust(registry):
    return Trust.parse((await registry.get("/v1/trust")).content)


async def test_a_resolver_follows_the_root(registry, monkeypatch):
    monkeypatch.setattr("tierlink.anchor.FOLLOW_SECONDS", 0.01)
    verifier = Verifier(await trust(registry))
    registry.clock.now += 1000
    await registry.post("/v1/roots", {}, key=registry.operator)
    made = await registry.allocate("88.118")  # by the key that only the new root names
    offered = verifier.offered([made.body["delegation"]])
    with pytest.raises(VerifyError, match="E_CHAIN"):
        offered.known(PREFIX)
    following = asyncio.create_task(anchor.follow_root(registry.store, verifier))
    try:
        async with asyncio.timeout(10):
            while verifier.root.sequence < 2:  # noqa: ASYNC110  (nothing tells)
                await asyncio.sleep(0.01)
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
    known = verifier.offered([made.body["delegation"]]).known(PREFIX)
    assert known.chain.holder.subject == PREFIX


async def test_it_never_goes_back(registry):
    first = await trust(registry)
    await registry.post("/v1/roots", {}, key=registry.operator)
    verifier = Verifier(await trust(registry))
    verifier.renew(first.root.holder)
    assert verifier.root.sequence == 2


class TestOffline:
    def test_a_root_with_and_without_a_key(self, tmp_path):
        file, key = tmp_path / "root.txt", tmp_path / "d1.pem"
        write_versions(file, [V1])
        keyfile.save(key, private("d1"))
        settings = Settings.load(root_file=file)
        assert anchor.offline(settings, {}) == Offline((V1,))
        both = Settings.load(root_file=file, root_key_file=key)
        assert anchor.offline(both, {}).key.public == private("d1").public
        key.unlink()  # it was taken in at the founding
        assert anchor.offline(both, {}) == Offline((V1,))

    def test_none(self):
        assert anchor.offline(Settings.load(), {}) is None

    def test_a_key_without_a_root(self, tmp_path):
        with pytest.raises(BadInput, match="TIERLINK_ROOT_FILE is not"):
            anchor.offline(Settings.load(root_key_file=tmp_path / "d1.pem"), {})


class TestFile:
    def test_remarks_and_empty_lines(self, tmp_path):
        file = tmp_path / "root.txt"
        file.write_text(f"# made on paper\n\n{V1}\n")
        assert read_versions(file) == [V1]
        assert parse_root(read_versions(file)[0])[1].sequence == 1

    def test_is_never_overwritten_by_accident(self, tmp_path):
        file = tmp_path / "root.txt"
        write_versions(file, [V1])
        with pytest.raises(BadInput, match="there already"):
            write_versions(file, ["x"])
        write_versions(file, [V1, V1], over=True)
        assert len(read_versions(file)) == 2

    @pytest.mark.parametrize("content", [b"", b"# nothing\n", "根".encode()])
    def test_not_one(self, tmp_path, content):
        file = tmp_path / "root.txt"
        file.write_bytes(content)
        with pytest.raises(BadInput, match="root file"):
            read_versions(file)
        with pytest.raises(BadInput):
            read_versions(tmp_path / "absent")
