"""The invariants of the log, I1 to I12, each a class; the whole log is checked after every step."""

import asyncio
import itertools
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncpg
import pytest

from registry.log import publishing
from registry.log.broken import LogBroken
from registry.log.maps import Maps
from registry.log.sequencer import Overtaken
from registry.log.tree import Tree
from registry.store import log as store
from registry.store.engine import Store
from registry.store.log import TileRow
from schemas.errors import TierlinkError, Unavailable
from schemas.keys import PrivateKey, b64decode
from schemas.leaf import Leaf, What, status_digest
from schemas.merkle import consistency_proof, leaf_hash, root_of, verify_consistency
from schemas.verifiable_map import VerifiableMap, map_value, prefix_key, prefix_value
from tests.fixtures_log import GEAR, digest_of
from tests.trees import Leaves

FOUNDED = 2  # changes of a founded log with its holder


async def leaves(log):
    size = (await log.state()).size
    return [row.leaf for row in await log.read(store.find_entries, 0, size)]


async def published(log, sequencer):
    """Take in everything, commit an epoch, publish; return the size."""
    while await sequencer.integrate():
        await log.checked()
    await sequencer.commit_epoch()
    await log.checked()
    assert await sequencer.publish()
    return await log.checked()


class Signer:
    """The log's key, and what was signed with it."""

    def __init__(self, signer):
        self.public = signer.public
        self._signer = signer
        self.signed = []

    def sign(self, message):
        self.signed.append(message)
        return self._signer.sign(message)


def watched(log):
    signer = Signer(log.identity.signer)
    return signer, replace(log, identity=replace(log.identity, signer=signer))


class TestI1TheTreeNeverShrinks:
    async def test_each_checkpoint_extends_the_one_before(self, log):
        sequencer = await log.opened()
        sizes = []
        for records in (1, 300, 1):
            await log.write(records)
            sizes.append(await published(log, sequencer))
        rows = await log.read(store.checkpoints, 0, 10)
        assert [row.size for row in rows] == sizes == sorted(set(sizes))
        subtree = Leaves(entries=await leaves(log))
        for old, new in itertools.pairwise(rows):
            proof = consistency_proof(old.size, new.size, subtree)
            verify_consistency(old.size, new.size, proof, old.root, new.root)

    async def test_a_shorter_log_than_was_published_is_refused(self, log):
        await published(log, await log.opened())
        log.copy.path.unlink()
        await log.sql("UPDATE log_state SET size = 1")
        with pytest.raises(LogBroken, match=r"^I1: 3 leaves were published, and the log has 1$"):
            await log.opened()


class TestI2TheRootIsAFunctionOfTheEntries:
    @pytest.mark.parametrize("batch", [1, 7, 256, 4096])
    async def test_whatever_the_batches(self, log, batch):
        await log.write(300)
        sequencer = await log.opened()
        while await sequencer.integrate(batch):
            if batch > 1:
                await log.checked()
        state = await log.state()
        assert state.size == await log.checked() == 300 + FOUNDED
        assert state.root == root_of(state.size, Leaves(entries=await leaves(log)))

    async def test_tiles_that_give_another_root_are_refused(self, log):
        sequencer = await log.opened()
        await sequencer.integrate()
        await log.sql("UPDATE log_tile SET data = sha256('other') || substr(data, 33)")
        with pytest.raises(LogBroken, match="I2"):
            await log.opened()


class TestI3DenseIndices:
    async def test_while_others_write(self, log):
        sequencer = await log.opened()

        async def writer():
            for _ in range(10):
                await log.write(3)

        writers = [asyncio.create_task(writer()) for _ in range(4)]
        while not all(task.done() for task in writers):
            await sequencer.integrate(16)
            await log.checked()
        while await sequencer.integrate():
            pass
        assert await log.checked() == 4 * 10 * 3 + FOUNDED

    async def test_a_write_that_is_still_open_comes_later_and_is_not_lost(self, log):
        sequencer = await log.opened()
        async with log.store.write() as tx:
            await log.write_in(tx)  # an older transaction than the next
            await log.write(2)
            assert await sequencer.integrate() == FOUNDED
            assert await sequencer.integrate() == 0
        assert await sequencer.integrate() == 3
        assert await log.checked() == 3 + FOUNDED


class TestI4FullTilesNeverChange:
    async def test_their_bytes(self, log):
        sequencer = await log.opened()
        await log.write(600)
        await published(log, sequencer)
        full = await log.read(store.find_tiles, [(0, 0), (0, 1)])
        assert {tile.width for tile in full.values()} == {256}
        await log.write(700)
        await published(log, sequencer)
        assert await log.read(store.find_tiles, [(0, 0), (0, 1)]) == full

    async def test_nor_does_the_database_let_them(self, log):
        sequencer = await log.opened()
        await log.write(300)
        await sequencer.integrate()
        tiles = await log.read(store.find_tiles, [(0, 0), (0, 1)])
        full, edge = tiles[0, 0], tiles[0, 1]
        others = [
            full._replace(data=bytes(8192)),
            TileRow(0, 1, edge.width + 1, bytes(32) + edge.data),
            edge._replace(width=edge.width - 1, data=edge.data[:-32]),
        ]
        async with log.store.write() as tx:
            assert await store.put_tiles(await tx.driver(), others) == 0
        await log.checked()

    async def test_a_tile_that_does_not_continue_stops_the_log(self, log):
        sequencer = await log.opened()
        await sequencer.integrate()
        await log.sql("UPDATE log_tile SET data = sha256('other') || substr(data, 33)")
        await log.write()
        with pytest.raises(LogBroken, match="I4"):
            await sequencer.integrate()
        assert (await log.state()).size == FOUNDED


class TestI5SignedOnlyWhatIsDurable:
    async def test_nothing_before_the_commit(self, log, monkeypatch):
        signer, log = watched(log)
        sequencer = await log.opened()
        await sequencer.integrate()
        monkeypatch.setattr(Store, "write", fails_to_commit(Store.write))
        with pytest.raises(Unavailable):
            await sequencer.commit_epoch()
        monkeypatch.undo()
        assert signer.signed == []
        await sequencer.open()
        await sequencer.publish()
        assert signer.signed == []  # there is no epoch to publish
        await sequencer.commit_epoch()
        state = await log.state()
        await sequencer.publish()
        assert signer.signed[0].decode().split("\n")[1] == str(state.size)

    async def test_commits_wait_for_the_disk_whatever_the_server_thinks(self, log):
        async with log.store.write() as tx:
            driver = await tx.driver()
            await driver.execute("SET LOCAL synchronous_commit = off")
            await store.state(driver, lock=True)
            assert await driver.fetchval("SHOW synchronous_commit") == "local"


class TestI6SignedOnlyWhatExtendsThePublished:
    async def test_another_history_is_never_signed(self, log):
        signer, log = watched(log)
        await published(log, await log.opened())
        await rewrite_history(log)
        fork = await log.opened_unchecked()
        await log.write()
        await fork.integrate()
        await fork.commit_epoch()
        count = len(signer.signed)
        with pytest.raises(LogBroken, match="I10"):
            await fork.publish()
        log.copy.path.unlink()  # the database still knows
        with pytest.raises(LogBroken, match="I6"):
            await fork.publish()
        assert len(signer.signed) == count

    async def test_nor_opened(self, log):
        await published(log, await log.opened())
        await rewrite_history(log)
        log.copy.path.unlink()
        with pytest.raises(LogBroken, match="I6"):
            await log.opened()

    async def test_a_copy_of_another_log_is_refused(self, log):
        await published(log, await log.opened())
        stranger = PrivateKey.from_seed(bytes(32))
        identity = replace(log.identity, signer=stranger)
        other = replace(log, copy=replace(log.copy, key=identity.key))
        with pytest.raises(LogBroken, match="is not a checkpoint of the log"):
            await other.opened()


class TestI7OneIndexAnEnvelope:
    async def test_told_twice_logged_once(self, log):
        sequencer = await log.opened()
        await log.tell(What.RECORD, f"{GEAR}/X", said=digest_of("x"))
        await sequencer.integrate()
        await log.tell(What.RECORD, f"{GEAR}/X", said=digest_of("x"))
        await log.tell(What.RECORD, f"{GEAR}/Y", said=digest_of("y"))
        await log.tell(What.RECORD, f"{GEAR}/Y", said=digest_of("y"))
        assert await sequencer.integrate() == 3
        assert await log.checked() == FOUNDED + 2
        places = await log.read(store.find_index, [digest_of("x"), digest_of("y"), "none"])
        assert places == {digest_of("x"): FOUNDED, digest_of("y"): FOUNDED + 1}
        assert await sequencer.integrate() == 0

    async def test_nothing_but_repetitions_moves_the_cursor_on(self, log):
        sequencer = await log.opened()
        await sequencer.integrate()
        await log.tell(What.DELEGATION, str(GEAR), said=log.delegated)
        assert await sequencer.integrate() == 1
        assert await sequencer.integrate() == 0
        assert await log.checked() == FOUNDED

    async def test_statuses_and_revocations_repeat_the_delegations(self, log):
        sequencer = await log.opened()
        delegation = log.delegated
        suspended = status_digest(delegation, suspended=True)
        for digest in (suspended, delegation, suspended, delegation):
            await log.tell(What.STATUS, str(GEAR), said=digest)
        await log.tell(What.REVOCATION, str(GEAR), said=delegation, subject="a-kid")
        assert await published(log, sequencer) == FOUNDED + 5 + 1
        assert await log.read(store.find_index, [delegation, suspended]) == {delegation: 1}


class TestI9OnlyOneSequencerCommits:
    async def test_the_second_notices(self, log):
        first, second = await log.opened(), await log.opened()
        await first.integrate()
        for attempt in (second.integrate, second.commit_epoch):
            with pytest.raises(Overtaken):
                await attempt()
        await log.checked()
        await second.open()
        await log.write()
        assert await second.integrate() == 1
        with pytest.raises(Overtaken):
            await first.integrate()
        assert await log.checked() == FOUNDED + 1

    async def test_two_at_the_same_time(self, log):
        await log.write(500)
        both = [await log.opened() for _ in range(2)]

        async def run(sequencer):
            overtaken = 0
            while (await log.state()).size < 500 + FOUNDED:
                try:
                    await sequencer.integrate(10)
                    await sequencer.commit_epoch()
                    await sequencer.publish()
                except Overtaken:
                    overtaken += 1
                    await sequencer.open()
            return overtaken

        overtaken = await asyncio.gather(*(run(sequencer) for sequencer in both))
        assert sum(overtaken) > 0
        assert await log.checked() > 500 + FOUNDED

    async def test_even_without_the_row_lock(self, log, monkeypatch):
        """The size is compared when the state is moved on, too."""
        sequencer = await log.opened()
        async with log.store.write() as tx:
            driver = await tx.driver()
            state = await store.state(driver)
            assert not await store.advance(driver, state.size + 1, state)
        monkeypatch.setattr(store, "advance", nothing_moved)
        with pytest.raises(Overtaken):
            await sequencer.integrate()
        await log.checked()


class TestI10ARestoredDatabaseDoesNotFork:
    async def test_an_earlier_state_of_it_is_refused(self, log):
        signer, log = watched(log)
        sequencer = await log.opened()
        await published(log, sequencer)
        backup = await log.state()
        await log.write(5)
        await published(log, sequencer)
        await restore(log, backup)
        with pytest.raises(LogBroken) as refused:
            await log.opened()
        assert refused.value.invariant == "I10"
        assert "has 3 leaves, and a checkpoint of 9 was signed" in str(refused.value)
        assert "recover the database up to its last write" in refused.value.fix
        count = len(signer.signed)
        with pytest.raises(TierlinkError):
            await sequencer.integrate()  # one that was running all the time
        assert len(signer.signed) == count

    async def test_grown_again_to_the_same_size_and_more(self, log):
        sequencer = await log.opened()
        await published(log, sequencer)
        backup = await log.state()
        await log.write(5)
        await published(log, sequencer)
        note = log.copy.path.read_text()
        await restore(log, backup)
        await log.write(20)
        fork = await log.opened_unchecked()
        await fork.integrate()
        await fork.commit_epoch()
        with pytest.raises(LogBroken, match="another root at size 9"):
            await fork.publish()
        with pytest.raises(LogBroken, match="another root at size 9"):
            await log.opened()
        assert log.copy.path.read_text() == note

    async def test_signed_and_not_yet_published_counts_as_well(self, log, monkeypatch):
        sequencer = await log.opened()
        await published(log, sequencer)
        backup = await log.state()
        await log.write()
        await sequencer.integrate()
        await sequencer.commit_epoch()
        monkeypatch.setattr(publishing.store, "put_checkpoint", crash)
        with pytest.raises(Crash):
            await sequencer.publish()
        monkeypatch.undo()
        await restore(log, backup)
        with pytest.raises(LogBroken, match="I10"):
            await log.opened()

    async def test_a_copy_that_cannot_be_read(self, log):
        log.copy.path.parent.mkdir()
        log.copy.path.write_text("nothing of ours")
        with pytest.raises(LogBroken, match="is not a checkpoint of the log"):
            await log.opened()

    async def test_recovered_to_the_last_write_goes_on(self, log):
        await published(log, await log.opened())
        await log.write()
        assert await published(log, await log.opened()) == FOUNDED + 1 + 1 + 1


async def restore(log, backup):
    """Bring the database back to an earlier state, as a restored base backup does."""
    size, epoch = backup.size, backup.epoch
    edge = await log.read(store.find_entries, 0, size)
    tree, tiles = Tree().append([leaf_hash(row.leaf) for row in edge])
    assert tree.root == backup.root
    await log.sql(
        f"DELETE FROM log_entry WHERE idx >= {size}",
        f"DELETE FROM log_index WHERE idx >= {size}",
        f"DELETE FROM log_epoch WHERE epoch > {epoch}",
        f"DELETE FROM log_checkpoint WHERE size > {size}",
        f"DELETE FROM map_bucket WHERE epoch > {epoch}",
        f"DELETE FROM changes WHERE (xid, id) > ('{backup.cursor_xid}', {backup.cursor_id})",
        "DELETE FROM log_tile",
        f"UPDATE log_state SET size = {size}, cursor_xid = '{backup.cursor_xid}',"
        f" cursor_id = {backup.cursor_id}, epoch = {epoch}",
    )
    async with log.store.write() as tx:
        driver = await tx.driver()
        await driver.execute("UPDATE log_state SET root = $1", backup.root)
        await store.put_tiles(driver, tiles)


async def rewrite_history(log):
    """Make the last entry before the epoch another one, consistently, but for what was signed."""
    rows = await log.read(store.find_entries, 0, (await log.state()).size)
    entries = [row.leaf for row in rows]
    entries[1] = entries[1].replace(b"\n1\n", b"\n2\n")
    tree, tiles = Tree().append([leaf_hash(entry) for entry in entries])
    async with log.store.write() as tx:
        driver = await tx.driver()
        await driver.execute("DELETE FROM log_tile")
        await store.put_tiles(driver, tiles)
        update = "UPDATE log_entry SET leaf = $1, leaf_hash = $2 WHERE idx = 1"
        await driver.execute(update, entries[1], leaf_hash(entries[1]))
        await driver.execute("UPDATE log_state SET root = $1", tree.root)


class Crash(Exception):
    pass


async def crash(*_, **__):
    raise Crash


async def nothing_moved(*_):
    return False


def after(work):
    async def done(*arguments, **options):
        await work(*arguments, **options)
        raise Crash

    return done


def fails_to_commit(write):
    @asynccontextmanager
    async def failing(self):
        async with write(self) as tx:
            yield tx
            raise Unavailable("the database went away before the commit")

    return failing


def loses_the_answer(write):
    @asynccontextmanager
    async def losing(self):
        async with write(self) as tx:
            yield tx
        raise Unavailable("the database went away after the commit")

    return losing


STEPS = {
    "state": (store, "state"),
    "pending": (store, "pending"),
    "append": (store, "append"),
    "put-index": (store, "put_index"),
    "put-tiles": (store, "put_tiles"),
    "advance": (store, "advance"),
    "find-entries": (store, "find_entries"),
    "stage": (Maps, "stage"),
    "put-epoch": (store, "put_epoch"),
    "put-checkpoint": (store, "put_checkpoint"),
    "sign": (publishing.Publisher, "_signed"),
    "cosign": (publishing.Publisher, "_cosigned"),
}


class TestI11ACrashAtAnyStepIsMadeGood:
    @pytest.mark.parametrize("when", ["before", "after"])
    @pytest.mark.parametrize("step", STEPS)
    async def test_inside_a_transaction_or_between(self, log, monkeypatch, step, when):
        sequencer = await log.opened()
        await log.write(300)
        await published(log, sequencer)
        await log.write(300)
        owner, name = STEPS[step]
        work = getattr(owner, name)
        monkeypatch.setattr(owner, name, crash if when == "before" else after(work))
        with pytest.raises(Crash):
            await published(log, sequencer)
        monkeypatch.undo()
        assert await log.checked() >= 300 + FOUNDED
        again = await log.opened()
        assert await published(log, again) == 600 + FOUNDED + 2
        row = await log.read(store.newest_checkpoint)
        assert (row.size, row.epoch) == (600 + FOUNDED + 2, 2)

    @pytest.mark.parametrize("broken", [fails_to_commit, loses_the_answer])
    async def test_at_the_commit_whose_outcome_nobody_knows(self, log, monkeypatch, broken):
        sequencer = await log.opened()
        await log.write(300)
        for work in (sequencer.integrate, sequencer.commit_epoch, sequencer.publish):
            for transaction in ("write", "driving"):
                monkeypatch.setattr(Store, transaction, broken(getattr(Store, transaction)))
            with pytest.raises(Unavailable):
                await work()
            monkeypatch.undo()
            await log.checked()
            await sequencer.open()
            await work()
            await log.checked()
        assert await log.checked() == 300 + FOUNDED + 1
        assert (await log.read(store.newest_checkpoint)).size == 300 + FOUNDED + 1

    async def test_between_commit_and_publication_publishes_what_is_there(self, log):
        sequencer = await log.opened()
        await sequencer.integrate()
        await sequencer.commit_epoch()
        again = await log.opened()
        assert not await again.commit_epoch()
        assert await again.publish()
        assert (await log.read(store.newest_checkpoint)).size == FOUNDED + 1
        await log.checked()

    async def test_or_what_is_there_below_newer_leaves(self, log):
        sequencer = await log.opened()
        await sequencer.integrate()
        await sequencer.commit_epoch()
        await log.write(300)
        await sequencer.integrate()
        again = await log.opened()
        assert await again.publish()
        assert (await log.read(store.newest_checkpoint)).size == FOUNDED + 1
        await log.checked()

    @pytest.mark.parametrize("step", ["append", "put_epoch", "put_checkpoint"])
    async def test_with_the_backend_killed(self, log, monkeypatch, step):
        sequencer = await log.opened()
        await log.write(300)
        work = getattr(store, step)

        async def killed(driver, *arguments):
            await work(driver, *arguments)
            await log.sql(f"SELECT pg_terminate_backend({driver.get_server_pid()})")

        monkeypatch.setattr(store, step, killed)
        with pytest.raises((Unavailable, asyncpg.PostgresError, asyncpg.InterfaceError)):
            await published(log, sequencer)
        monkeypatch.undo()
        await log.checked()
        assert await published(log, await log.opened()) == 300 + FOUNDED + 1


class TestI12TheMapsAreAFunctionOfTheEntries:
    async def test_of_every_epoch(self, log):
        sequencer = await log.opened()
        for turn in range(4):
            await log.write(turn * 50)
            await log.tell(What.LINK, f"{GEAR}/A-1", turn + 1, subject="key/upstream")
            await log.tell(What.STATUS, str(GEAR), said=digest_of(f"status {turn}"))
            await published(log, sequencer)
        for row in await log.read(store.epochs, 0, 10):
            identifiers, prefixes = contents((await leaves(log))[: row.idx])
            assert row.size == row.idx
            assert row.identifiers == VerifiableMap(list(identifiers.items())).root
            assert row.prefixes == VerifiableMap(list(prefixes.items())).root

    async def test_the_highest_version_counts_whatever_the_order(self, log):
        """Who began first may have waited for the lock of who began second."""
        sequencer = await log.opened()
        for version in (3, 2):
            await log.tell(What.RECORD, f"{GEAR}/X", version)
        await published(log, sequencer)
        before = await log.read(store.find_epoch, 1)
        await log.tell(What.RECORD, f"{GEAR}/X", 1)
        await published(log, sequencer)
        assert (await log.read(store.find_epoch, 2)).identifiers == before.identifiers
        identifiers, _ = contents(await leaves(log))
        assert [value[:8] for value in identifiers.values()] == [(3).to_bytes(8, "big")]

    async def test_an_epoch_only_where_there_is_something_new(self, log):
        sequencer = await log.opened()
        assert not await sequencer.commit_epoch()
        await sequencer.integrate()
        assert await sequencer.commit_epoch()
        assert not await sequencer.commit_epoch()
        assert await sequencer.commit_epoch(idle=True)
        assert await log.checked() == FOUNDED + 2
        rows = await log.read(store.epochs, 0, 10)
        assert rows[0].identifiers == rows[1].identifiers


def contents(entries):
    identifiers, prefixes = {}, {}
    for index, entry in enumerate(entries):
        if not entry.startswith(b"tierlink-leaf/"):
            continue
        leaf = Leaf.parse(entry)
        subject, digest = (b64decode(text) for text in (leaf.subject, leaf.digest))
        if leaf.what in (What.RECORD, What.LINK):
            value = map_value(leaf.version, digest)
            identifiers[subject] = max(value, identifiers.get(subject, b""))
        elif leaf.what in (What.DELEGATION, What.STATUS):
            prefixes[prefix_key(str(leaf.prefix))] = prefix_value(index, subject, digest)
    return identifiers, prefixes
