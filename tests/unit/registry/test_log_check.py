"""`check_log` finds every kind of damage, and names the invariant that it breaks."""

from dataclasses import replace

import pytest

from registry.log.broken import LogBroken
from registry.log.check import check_log
from registry.store import log as log_store
from schemas.checkpoint import COSIGNATURE, Checkpoint, NoteKey, sign_note
from schemas.keys import PrivateKey
from schemas.policy import LogPolicy

DAMAGE = {
    "entry-missing": ("DELETE FROM log_entry WHERE idx = 5", "I3"),
    "entry-beyond": (
        "INSERT INTO log_entry SELECT 999, leaf_hash, leaf FROM log_entry LIMIT 1",
        "I3",
    ),
    "leaf-changed": ("UPDATE log_entry SET leaf = 'x'::bytea WHERE idx = 5", "I2"),
    "leaf-and-hash-changed": (
        "UPDATE log_entry SET leaf = 'x'::bytea, leaf_hash = sha256('\\x0078') WHERE idx = 5",
        "I2",
    ),
    "root-changed": ("UPDATE log_state SET root = sha256('x')", "I2"),
    "full-tile-changed": (
        "UPDATE log_tile SET data = sha256('x') || substr(data, 33) WHERE width = 256",
        "I4",
    ),
    "edge-tile-shorter": (
        (
            "UPDATE log_tile SET width = width - 1, data = substr(data, 1, length(data) - 32)"
            " WHERE width < 256 AND level = 0"
        ),
        "I4",
    ),
    "tile-missing": ("DELETE FROM log_tile WHERE level = 1", "I4"),
    "tile-beyond": ("INSERT INTO log_tile VALUES (5, 0, 1, sha256('x'))", "I4"),
    "index-wrong": ("UPDATE log_index SET idx = idx + 1 WHERE idx = 7", "I7"),
    "index-missing": ("DELETE FROM log_index WHERE idx = 7", "I7"),
    "index-beyond": ("INSERT INTO log_index VALUES ('nothing', 7)", "I7"),
    "change-lost": ("UPDATE log_state SET cursor_id = cursor_id - 1", "I11"),
    "change-rewritten": ("UPDATE changes SET version = 9 WHERE id = 7", "I11"),
    "epoch-missing": ("DELETE FROM log_epoch WHERE epoch = 1", "I12"),
    "epoch-other-root": ("UPDATE log_epoch SET identifiers = sha256('x') WHERE epoch = 1", "I12"),
    "epoch-other-place": ("UPDATE log_epoch SET idx = idx - 1 WHERE epoch = 1", "I12"),
    "epoch-counted-on": ("UPDATE log_state SET epoch = 3", "I12"),
    "checkpoint-other-root": ("UPDATE log_checkpoint SET root = sha256('x') WHERE epoch = 1", "I6"),
    "checkpoint-other-note": (
        (
            "UPDATE log_checkpoint SET note = (SELECT note FROM log_checkpoint WHERE epoch = 2)"
            " WHERE epoch = 1"
        ),
        "I6",
    ),
    "checkpoint-unsigned": (
        "UPDATE log_checkpoint SET note = split_part(note, chr(8212), 1) WHERE epoch = 1",
        "I6",
    ),
    "checkpoint-not-behind-its-epoch": (
        "UPDATE log_checkpoint SET epoch = 2 WHERE epoch = 1",
        "I8",
    ),
}


@pytest.fixture
async def grown(log):
    sequencer = await log.opened()
    for _ in range(2):
        await log.write(150)
        await sequencer.integrate()
        await sequencer.commit_epoch()
        await sequencer.publish()
    await log.checked()
    return log


@pytest.mark.parametrize("damage", DAMAGE)
async def test_damage(grown, damage):
    statement, invariant = DAMAGE[damage]
    await grown.sql(statement)
    with pytest.raises(LogBroken) as found:
        await grown.checked()
    assert found.value.invariant == invariant, found.value


async def test_a_copy_of_another_tree(grown):
    row = await grown.read(log_store.first_checkpoint_covering, 0)
    grown.copy.write(row.note)
    await grown.checked()  # an older one is fine
    newest = await grown.read(log_store.newest_checkpoint)
    for size, root in ((newest.size + 1, newest.root), (newest.size, bytes(32))):
        head = Checkpoint(grown.identity.origin, size, root)
        grown.copy.write(sign_note(head, head.origin, grown.identity.signer))
        with pytest.raises(LogBroken, match="I10"):
            await grown.checked()


async def test_too_few_cosignatures(grown):
    witness = NoteKey("a.example", COSIGNATURE, PrivateKey.from_seed(bytes(32)).public)
    strict = replace(grown, policy=LogPolicy(grown.identity.key, (witness,), 1))
    with pytest.raises(LogBroken, match="I6"):
        await strict.checked()


async def test_an_unfounded_log(store, log):
    await log.sql("DELETE FROM log_state")
    async with store.read() as tx:
        with pytest.raises(LogBroken, match="never founded"):
            await check_log(tx, log.policy)
