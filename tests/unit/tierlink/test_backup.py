"""Backup and restore: all that was accepted, another history, and a log that never forks.

The restored database is in the same server as the old one, so that system identifier, timeline and
transaction ids are the same: the name of the history is all that tells them apart.
"""

import json
from base64 import urlsafe_b64encode
from dataclasses import replace

import pytest

from registry.keyring import Keyring
from registry.log import founding
from registry.log.broken import LogBroken
from registry.log.check import check_log
from registry.log.copy import Copy
from registry.log.maps import Maps
from registry.log.publishing import Publisher
from registry.log.sequencer import Sequencer
from registry.reader import Reader
from registry.store import backup as store, log as log_store
from registry.store.engine import Store
from resolver.answers import Answer, Answers, Head
from resolver.freshness import Freshness
from resolver.redis_memory import open_memory
from resolver.shared import Shared
from schemas.errors import TierlinkError
from schemas.identifier import Identifier
from tests.fixtures_registry import KEK
from tests.redis_servers import redis_server
from tierlink.backup import tools
from tierlink.backup.failure import BackupFailed
from tierlink.backup.manifest import DUMP, MANIFEST, Manifest
from tierlink.backup.restoring import restore
from tierlink.backup.taking import take
from tierlink.log import COPY
from tierlink.settings import KEYRING

HEAD = Head(200, [(b"content-type", b"text/plain")])
TEXT_KEK = urlsafe_b64encode(KEK).decode()


@pytest.fixture
async def written(log):
    """Six records: three in the published log, two in the log alone, one waiting for it."""
    sequencer = await log.opened()
    await log.write(3)
    await sequencer.integrate()
    await sequencer.commit_epoch()
    assert await sequencer.publish()
    await log.write(2)
    await sequencer.integrate()
    await log.write(1)
    return sequencer


@pytest.fixture
def old_folder(tmp_path):
    return tmp_path  # where the log has its independent copy


@pytest.fixture
async def backup(log, written, fresh_database, old_folder):
    """The folder of a backup, and what its manifest says."""
    folder = old_folder / "backup"
    return folder, await take(fresh_database, old_folder, folder, kek=KEK)


@pytest.fixture
def new_folder(tmp_path):
    (tmp_path / "new").mkdir()
    return tmp_path / "new"


@pytest.fixture
async def target(empty_database):
    opened = Store.open(empty_database, pool=4)
    yield opened
    await opened.close()


@pytest.fixture
def again(backup, empty_database, new_folder, old_folder):
    """Restore, with the log's copy of the old folder unless told otherwise."""

    async def restoring(**options):
        options = {"log_copy": old_folder / COPY} | options
        return await restore(empty_database, new_folder, backup[0], **options)

    return restoring


async def sequencer_on(opened, log, folder):
    """The sequencer of a restored node, as its composition makes it."""
    async with opened.write() as tx:
        identity = await founding.found(tx, Keyring(KEK), None)
    assert identity.key == log.identity.key
    copy = Copy(folder / COPY, identity.key)
    return Sequencer(
        opened, Maps(), Publisher(opened, identity.signer, log.policy, copy, log.clock)
    )


async def rows_of(opened, *tables):
    found = {}
    async with opened.read() as tx:
        driver = await tx.driver()
        for table in tables:
            rows = await driver.fetch(f"SELECT t::text FROM {table} AS t")
            found[table] = sorted(row[0] for row in rows)
    return found


class TestARestoredNode:
    async def test_has_every_row_and_a_history_of_its_own(self, log, backup, again, target):
        _, manifest = backup
        done = await again()
        assert (done.lost, done.may_go_on, done.keyring_here) == (0, True, False)
        assert await rows_of(target, *store.SUMMED) == await rows_of(log.store, *store.SUMMED)
        assert {"identifiers", "prefixes", "log_entry", "hosted_keys"} <= set(store.SUMMED)
        assert manifest.tables["log_entry"].rows == manifest.log.size == 6 + 2
        old, new = Reader(log.store), Reader(target)
        before, after = await old.changes(None), await new.changes(None)
        assert before.watermark.epoch != after.watermark.epoch
        told = await new.changes(before.watermark)
        assert (told.changes, told.watermark.epoch) == ((), after.watermark.epoch)
        asked = [Identifier.parse("88.100/A-1"), Identifier.parse("88.100/NEVER")]
        assert (await old.fetch(asked)).found == (await new.fetch(asked)).found

    async def test_goes_on_with_its_log(self, log, backup, again, target, new_folder):
        await again()
        sequencer = await sequencer_on(target, log, new_folder)
        await sequencer.open()
        assert sequencer.size == 8
        assert await sequencer.integrate() == 1  # what had waited
        await sequencer.commit_epoch()
        assert await sequencer.publish()
        async with target.read() as tx:
            assert await check_log(tx, log.policy, Copy(new_folder / COPY, log.policy.log)) == 10
        # The old one would have written the same leaf there.
        old = await log.opened()
        await old.integrate()
        assert (await log.read(log_store.find_hashes, 8, 9)) == [
            row[0] for row in await _hashes(target, 8, 9)
        ]

    async def test_nothing_that_was_kept_of_the_old_one_is_served(
        self, log, backup, again, target, tmp_path
    ):
        """Neither what a process keeps, nor what it finds in the second cache."""
        answers = Answers(1_000_000)
        follower = Freshness(Reader(log.store), answers)
        await follower.poll()
        with redis_server(tmp_path / "redis") as port:
            memory = open_memory(f"redis://127.0.0.1:{port}/0")
            shared = Shared(memory, b"s" * 32, answers, timeout=2)
            kept = Answer(HEAD, b"old", tags=[b"i88.100/A-1"], filled=follower.watermark.position)
            assert answers.put(b"/88.100/A-1", 1, kept, answers.epoch)
            shared.put(b"/88.100/A-1", 1, kept, [b"i88.100/A-1"], answers.epoch)
            while shared._tasks:
                await next(iter(shared._tasks))
            assert (await shared.get(b"/88.100/A-1", 1)).body == b"old"
            await again()
            follower._source = Reader(target)
            await follower.poll()
            assert follower.current
            assert answers.get(b"/88.100/A-1", 1) is None
            assert await shared.get(b"/88.100/A-1", 1) is None
            follower._source = Reader(log.store)
            await follower.poll()
            assert (await shared.get(b"/88.100/A-1", 1)).body == b"old"  # it was there all along
            await shared.close()


async def _hashes(opened, first, end):
    async with opened.statement() as driver:
        return [(item,) for item in await log_store.find_hashes(driver, first, end)]


class TestTheLogDoesNotFork:
    async def test_who_cannot_tell_how_far_it_was_signed(self, again, target, new_folder):
        with pytest.raises(BackupFailed, match="nothing tells up to where"):
            await again(log_copy=None)
        with pytest.raises(BackupFailed, match="there is no"):
            await again(log_copy=new_folder / "missing.note")
        async with target.statement() as driver:
            assert await store.is_empty(driver)

    async def test_nothing_was_signed_since(self, again, backup, new_folder):
        done = await again(log_copy=None, nothing_signed_since=True)
        assert done.may_go_on
        assert (new_folder / COPY).read_bytes() == (backup[0] / "published.note").read_bytes()

    async def test_what_was_signed_since_bars_the_way(
        self, log, written, again, target, new_folder, old_folder
    ):
        await log.write(5)
        await written.integrate()
        await written.commit_epoch()
        assert await written.publish()
        with pytest.raises(BackupFailed, match="was signed after this backup"):
            await again(nothing_signed_since=True)
        done = await again()
        assert (done.lost, done.may_go_on) == (6 + 1, False)
        assert (new_folder / COPY).read_text() == (old_folder / COPY).read_text()
        sequencer = await sequencer_on(target, log, new_folder)
        with pytest.raises(LogBroken, match="I10"):
            await sequencer.open()

    async def test_the_copy_in_the_data_folder_counts_too(
        self, log, written, backup, again, new_folder, old_folder
    ):
        older = (old_folder / COPY).read_text()
        await written.commit_epoch()
        assert await written.publish()
        (new_folder / COPY).parent.mkdir()
        (new_folder / COPY).write_text((old_folder / COPY).read_text())
        (old_folder / "older.note").write_text(older)
        done = await again(log_copy=old_folder / "older.note")
        assert done.lost == 1
        assert (new_folder / COPY).read_text() != older

    async def test_a_copy_of_another_log(self, again, old_folder, target):
        other = (old_folder / COPY).read_text().replace("registry.example", "another.example")
        (old_folder / "other.note").write_text(other)
        with pytest.raises(LogBroken, match="I10"):
            await again(log_copy=old_folder / "other.note")
        async with target.statement() as driver:
            assert await store.is_empty(driver)


class TestDamage:
    async def test_a_byte_of_any_file(self, backup, again):
        folder, manifest = backup
        assert set(manifest.files) == {DUMP, "changes.copy", "published.note"}
        for name in manifest.files:
            content = (folder / name).read_bytes()
            (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            with pytest.raises(BackupFailed, match=f"{name} is not what was backed up"):
                await again()
            (folder / name).write_bytes(content)

    async def test_rows_that_are_not_those_of_the_manifest(self, backup, again, target):
        folder, manifest = backup
        entries = manifest.tables["log_entry"]
        replace(
            manifest, tables=dict(manifest.tables) | {"log_entry": entries._replace(sum="1")}
        ).write(folder)
        with pytest.raises(BackupFailed, match="the rows of log_entry are not those"):
            await again()
        # It is loaded, and has no name: nobody answers from it.
        with pytest.raises(TierlinkError, match="never founded"):
            await Reader(target).changes(None)

    @pytest.mark.parametrize("spoil", ["another format", "no log", "unfinished", "no JSON"])
    async def test_no_manifest(self, backup, spoil):
        folder, _ = backup
        path = folder / MANIFEST
        document = json.loads(path.read_text())
        if spoil == "another format":
            document["format"] = "tierlink-backup/9"
        elif spoil == "no log":
            del document["log"]
        path.write_text("{" if spoil == "no JSON" else json.dumps(document))
        if spoil == "unfinished":
            path.unlink()
        with pytest.raises(BackupFailed):
            Manifest.read(folder)

    async def test_a_schema_of_a_later_release(self, backup, again):
        folder, manifest = backup
        replace(manifest, schema="9999").write(folder)
        with pytest.raises(BackupFailed, match="does not know"):
            await again()

    async def test_a_database_that_is_not_empty(self, backup, fresh_database, new_folder):
        with pytest.raises(BackupFailed, match="not empty"):
            await restore(fresh_database, new_folder, backup[0], nothing_signed_since=True)


class TestSecrets:
    async def test_are_left_out_unless_asked_for(
        self, log, written, backup, fresh_database, empty_database, old_folder, new_folder
    ):
        (old_folder / KEYRING).write_text(TEXT_KEK)
        (old_folder / "operator.json").write_text('{"api_key": "of the operator"}')
        assert not backup[1].has_secrets
        plain = await take(fresh_database, old_folder, old_folder / "plain")
        assert not plain.has_secrets
        whole = await take(fresh_database, old_folder, old_folder / "whole", secrets=True)
        assert whole.has_secrets
        found = sorted(path.name for path in (old_folder / "whole" / "secrets").iterdir())
        assert found == [KEYRING, "operator.json"]
        for path in (old_folder / "whole").rglob("*"):
            assert path.stat().st_mode & 0o077 == 0 or path.parent.stat().st_mode & 0o077 == 0
        (new_folder / "operator.json").write_text("mine")
        done = await restore(
            empty_database, new_folder, old_folder / "whole", log_copy=old_folder / COPY
        )
        assert done.keyring_here
        assert (new_folder / KEYRING).read_text() == TEXT_KEK
        assert (new_folder / "operator.json").read_text() == "mine"

    async def test_a_backup_of_which_nobody_has_the_keys(self, written, fresh_database, tmp_path):
        with pytest.raises(BackupFailed, match="keyring key of this node is not here"):
            await take(fresh_database, tmp_path, tmp_path / "b")
        with pytest.raises(TierlinkError, match="key"):
            await take(fresh_database, tmp_path, tmp_path / "c", kek=bytes(32))
        assert not (tmp_path / "c" / MANIFEST).exists()

    async def test_a_folder_in_use(self, written, fresh_database, tmp_path):
        with pytest.raises(BackupFailed, match="not empty"):
            await take(fresh_database, tmp_path, tmp_path, kek=KEK)

    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            (
                "postgresql+asyncpg://u:p%40ss@db.example:5433/tier?ssl=require",
                {"PGHOST": "db.example", "PGPORT": "5433", "PGUSER": "u", "PGPASSWORD": "p@ss",
                 "PGDATABASE": "tier", "PGSSLMODE": "require"},
            ),
            (
                "postgresql+asyncpg://tierlink@/tierlink?host=/a/b%20c",
                {"PGHOST": "/a/b c", "PGUSER": "tierlink", "PGDATABASE": "tierlink"},
            ),
            (
                "postgresql+asyncpg://u@/t?host=a:5432&host=b&target_session_attrs=read-write",
                {"PGHOST": "a,b", "PGPORT": "5432,5432", "PGUSER": "u", "PGDATABASE": "t",
                 "PGTARGETSESSIONATTRS": "read-write"},
            ),
        ],
    )  # fmt: skip
    def test_the_tools_are_told_by_the_environment(self, url, expected):
        found = tools.environment(url)
        told = {name for name in found if name.startswith("PG")} - {"PGAPPNAME"}
        assert {name: found[name] for name in told} == expected
