"""Publishing: the copy before anybody sees the note, witnesses and their quorum, the row last."""

from dataclasses import replace

import pytest

from registry.log import heads
from registry.log.broken import LogBroken
from registry.store import log as store
from schemas.checkpoint import COSIGNATURE, Checkpoint, NoteKey, cosign, split_note, verify_note
from schemas.keys import PrivateKey
from schemas.merkle import verify_consistency
from tests.fixtures_registry import NOW

NAMES = ("a.example", "b.example", "c.example")
KEYS = {name: PrivateKey.from_seed(name.encode().ljust(32)) for name in NAMES}
WITNESSES = tuple(NoteKey(name, COSIGNATURE, key.public) for name, key in KEYS.items())


class Witnesses:
    """Those who are there cosign, at the times they are told."""

    def __init__(self, times):
        self.times = times  # name: seconds after NOW
        self.asked = []
        self.extra = []

    async def __call__(self, note, old_size, proof):
        body = split_note(note)[0]
        self.asked.append((Checkpoint.parse(body), old_size, proof))
        lines = [cosign(body, name, KEYS[name], NOW + at) for name, at in self.times.items()]
        return [*self.extra, *lines]


def witnessed(log, times, quorum=2):
    witness = Witnesses(times)
    policy = replace(log.policy, witnesses=WITNESSES, quorum=quorum)
    return witness, replace(log, policy=policy, witness=witness)


async def ready(log):
    """A sequencer whose epoch waits to be published."""
    sequencer = await log.opened()
    await sequencer.integrate()
    await sequencer.commit_epoch()
    return sequencer


async def test_without_witnesses_the_time_is_ours(log):
    sequencer = await ready(log)
    assert await sequencer.publish()
    row = await log.read(store.newest_checkpoint)
    assert (row.size, row.epoch, row.time) == (3, 1, NOW)
    checkpoint, _ = verify_note(row.note, log.identity.key)
    assert checkpoint == Checkpoint(log.identity.origin, 3, row.root)
    assert log.copy.read() == checkpoint


async def test_publishing_again_changes_nothing(log):
    sequencer = await ready(log)
    assert await sequencer.publish()
    log.clock.now += 5
    assert await sequencer.publish()
    assert (await log.read(store.newest_checkpoint)).time == NOW


async def test_the_copy_is_there_before_a_witness_is_asked(log):
    seen = []

    async def witness(note, *_):
        seen.append((log.copy.path.read_text() == note, await log.read(store.newest_checkpoint)))
        return []

    await (await ready(replace(log, witness=witness))).publish()
    assert seen == [(True, None)]
    assert [path.name for path in log.copy.path.parent.iterdir()] == ["published.note"]


async def test_the_time_is_when_the_quorum_had_seen_it(log):
    _, log = witnessed(log, {"a.example": 9, "b.example": 3, "c.example": 5})
    assert await (await ready(log)).publish()
    row = await log.read(store.newest_checkpoint)
    assert row.time == NOW + 5
    _, said = verify_note(row.note, log.identity.key, WITNESSES)
    assert {item.name for item in said} == set(NAMES)
    await log.checked()


async def test_witnesses_are_shown_that_it_extends_the_last(log):
    witness, log = witnessed(log, dict.fromkeys(NAMES, 0))
    sequencer = await ready(log)
    await sequencer.publish()
    await log.write(500)
    await sequencer.integrate()
    await sequencer.commit_epoch()
    await sequencer.publish()
    (first, old, proof), (second, older, longer) = witness.asked
    assert (old, proof, older) == (0, (), first.size)
    verify_consistency(first.size, second.size, longer, first.root, second.root)
    # and a witness that holds any other size gets a proof from there
    assert await heads.prove(log.store, first.size, second.size) == longer
    await log.checked()


async def test_too_few_and_it_stays_unpublished_until_there_are_enough(log, caplog):
    witness, log = witnessed(log, {"a.example": 0})
    sequencer = await ready(log)
    assert not await sequencer.publish()
    assert await log.read(store.newest_checkpoint) is None
    assert "1 witnesses cosigned, 2 are needed" in caplog.text
    await log.checked()
    await log.write()
    await sequencer.integrate()
    await sequencer.commit_epoch()
    witness.times = {"a.example": 1, "c.example": 2}
    assert await sequencer.publish()
    assert (await log.read(store.newest_checkpoint)).size == 5
    await log.checked()


async def test_lines_that_are_no_use_are_left_out(log):
    witness, log = witnessed(log, {"a.example": 0, "b.example": 0})
    body = Checkpoint(log.identity.origin, 1, bytes(32)).body
    witness.extra = [
        cosign(body, "c.example", KEYS["c.example"], NOW),  # of something else
        cosign(body, "stranger.example", KEYS["c.example"], NOW),
        "no line at all",
        "— a.example AAAA\n",
    ]
    witness.times = {"a.example": 0, "b.example": 0}
    assert await (await ready(log)).publish()
    row = await log.read(store.newest_checkpoint)
    assert len(split_note(row.note)[1]) == 3
    await log.checked()


async def test_one_witness_twice_is_one(log):
    _witness, log = witnessed(log, {"a.example": 0})
    sequencer = await ready(log)
    note = {}

    async def twice(text, *_):
        note["body"] = split_note(text)[0]
        return [cosign(note["body"], "a.example", KEYS["a.example"], NOW + at) for at in (0, 1)]

    sequencer._publisher._witness = twice
    assert not await sequencer.publish()


async def test_a_clock_far_ahead_is_no_witness(log):
    _, log = witnessed(log, {"a.example": 0, "b.example": 100_000})
    assert not await (await ready(log)).publish()


async def test_a_published_checkpoint_behind_the_log_stops_it(log):
    sequencer = await ready(log)
    await sequencer.publish()
    await log.sql("UPDATE log_checkpoint SET size = 100")
    with pytest.raises(LogBroken, match="I1"):
        await sequencer.publish()


class TestReads:
    """What proofs are made from (pinned for `registry.log.proofs`)."""

    async def test_checkpoints_by_size_and_time(self, log):
        sequencer = await log.opened()
        for _ in range(3):
            await log.write(2)
            await sequencer.integrate()
            await sequencer.commit_epoch()
            await sequencer.publish()
            log.clock.now += 10
        assert [row.size for row in await log.read(store.checkpoints, 0, 9)] == [5, 8, 11]
        covering = store.first_checkpoint_covering
        found = {index: await log.read(covering, index) for index in (0, 4, 5, 10, 11)}
        sizes = {index: row and row.size for index, row in found.items()}
        assert sizes == {0: 5, 4: 5, 5: 8, 10: 11, 11: None}
        at = {late: await log.read(store.checkpoint_at, NOW + late) for late in (-1, 0, 9, 10)}
        sizes = {late: row and row.size for late, row in at.items()}
        assert sizes == {-1: None, 0: 5, 9: 5, 10: 8}
        assert (await log.read(store.find_epoch, 2)).idx == 7
        assert await log.read(store.find_epoch, 4) is None

    async def test_one_statement_each(self, log, sql_recorder):
        await (await ready(log)).publish()
        calls = [
            (store.find_tiles, [(0, 0), (1, 0)]),
            (store.find_entries, 0, 3),
            (store.find_index, ["a", "b"]),
            (store.newest_checkpoint,),
            (store.checkpoint_at, NOW),
            (store.first_checkpoint_covering, 1),
            (store.find_epoch, 1),
        ]
        for function, *arguments in calls:
            async with sql_recorder(log.store.engine) as statements:
                await log.read(function, *arguments)
            assert len(statements) == 1, function

    async def test_statements_of_a_batch_and_of_an_epoch(self, log, sql_recorder):
        sequencer = await log.opened()
        await sequencer.integrate()  # the driver learns about a type of each new connection
        for records in (1, 500):
            await log.write(records)
            async with sql_recorder(log.store.engine) as statements:
                await sequencer.integrate()
            assert len(statements) == 6, statements  # lock, changes, 2 COPY, tiles, state
