"""The log of a node, wired: its name and key, its policy, its witnesses, its sequencer."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from registry.config import Settings
from registry.keyring import Keyring
from registry.log import founding, heads
from registry.log.copy import Copy
from registry.log.maps import Maps
from registry.log.publishing import Publisher
from registry.log.sequencer import Sequencer
from registry.log.witnesses import Member, Witnesses, parse_members
from registry.store.engine import Store
from schemas.errors import BadInput
from schemas.policy import LogPolicy

COPY = Path("log") / "published.note"  # below the data folder


@dataclass(frozen=True, slots=True)
class KeptLog:
    """What verifiers are told of the log, and who writes it."""

    policy: LogPolicy
    sequencer: Sequencer

    def amiss(self) -> str:
        """Say why the log does not go on, nothing where it does."""
        return f"log: {self.sequencer.amiss}" if self.sequencer.amiss else ""


@contextlib.asynccontextmanager
async def keeping(
    store: Store, keyring: Keyring, settings: Settings, data_dir: Path, clock: Callable[[], int]
) -> AsyncIterator[KeptLog]:
    """Found or find the log and check that it may go on; whoever is given it runs its sequencer.

    Raise TierlinkError where it must not: the node does not start then.
    """
    members = parse_members(settings.log_witnesses)
    async with store.write() as tx:
        identity = await founding.found(tx, keyring, settings.log_origin)
    policy = policy_of(identity, members, settings)
    if settings.log_vkey_file is not None:
        _write(settings.log_vkey_file, f"{policy.log.vkey}\n")
    prove = partial(heads.prove, store)
    async with Witnesses(members, policy.log, prove, clock, quorum=policy.quorum) as witnesses:
        publisher = Publisher(
            store,
            identity.signer,
            policy,
            Copy(data_dir / COPY, policy.log),
            clock,
            witness=witnesses.cosign if members else None,
        )
        sequencer = Sequencer(
            store,
            Maps(),
            publisher,
            epoch_seconds=settings.log_epoch_seconds,
            # Without witnesses a checkpoint carries no time that could grow old.
            heartbeat=settings.log_max_age / 2 if settings.log_max_age and members else None,
        )
        await sequencer.open()
        yield KeptLog(policy, sequencer)


def policy_of(
    identity: founding.Identity, members: tuple[Member, ...], settings: Settings
) -> LogPolicy:
    """Return what a checkpoint has to satisfy; raise BadInput where nobody could satisfy it."""
    quorum = settings.log_quorum
    if quorum is None:
        quorum = len(members) // 2 + 1 if members else 0
    if quorum > len(members):
        raise BadInput(
            f"TIERLINK_LOG_QUORUM is {quorum}, and there are {len(members)} witnesses",
            fix="name them in TIERLINK_LOG_WITNESSES",
        )
    keys = tuple(member.key for member in members)
    return LogPolicy(identity.key, keys, quorum, settings.log_max_age)


def _write(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.write_text(text, encoding="ascii")
    unfinished.replace(path)
