"""What verifiers are told of the log, from the settings."""

from pathlib import Path

import pytest

from registry.config import Settings
from registry.keyring import Keyring
from registry.log.witnesses import parse_members
from schemas.checkpoint import COSIGNATURE, NoteKey
from schemas.errors import BadInput
from schemas.keys import PrivateKey
from tests.fixtures_registry import KEK
from tierlink.log import keeping, policy_of

KEYS = tuple(
    NoteKey(f"w{n}.example", COSIGNATURE, PrivateKey.from_seed(bytes([n]) * 32).public)
    for n in range(3)
)


def settings(count=0, **given):
    witnesses = ",\n".join(f"https://{key.name} {key.vkey}" for key in KEYS[:count])
    return Settings(log_witnesses=witnesses, **given)


@pytest.mark.parametrize(
    ("count", "given", "quorum"),
    [(0, None, 0), (1, None, 1), (2, None, 2), (3, None, 2), (3, 0, 0), (3, 3, 3)],
    ids=str,
)
def test_quorum(log, count, given, quorum):
    found = settings(count, log_quorum=given, log_max_age=600)
    policy = policy_of(log.identity, parse_members(found.log_witnesses), found)
    assert policy.log == log.identity.key
    assert (policy.witnesses, policy.quorum, policy.max_age) == (KEYS[:count], quorum, 600)


def test_a_quorum_that_nobody_can_reach(log):
    found = settings(3, log_quorum=4)
    members = parse_members(found.log_witnesses)
    with pytest.raises(BadInput, match="TIERLINK_LOG_QUORUM is 4, and there are 3 witnesses"):
        policy_of(log.identity, members, found)


@pytest.mark.parametrize("origin", ["", "with space", "a+b", "zeile\n", "x" * 256, "name—dash"])
def test_names_that_no_note_can_carry(origin):
    with pytest.raises(BadInput, match="TIERLINK_LOG_ORIGIN"):
        Settings.load(log_origin=origin)


async def test_wired(log, tmp_path):
    vkey = Path(tmp_path) / "log.vkey"
    found = Settings(log_vkey_file=vkey, log_epoch_seconds=0.1)
    async with keeping(log.store, Keyring(KEK), found, Path(tmp_path), log.clock) as kept:
        assert NoteKey.parse(vkey.read_text().strip()) == kept.policy.log == log.identity.key
        while await kept.sequencer.integrate():
            pass
        await kept.sequencer.commit_epoch()
        assert await kept.sequencer.publish()
        assert (Path(tmp_path) / "log" / "published.note").exists()
        assert kept.amiss() == ""
