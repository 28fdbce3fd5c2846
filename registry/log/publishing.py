"""Publishing a checkpoint: signed only when durable, only as an extension of all that was signed.

    P1  read what is committed: the newest epoch, the tree at its end, the last checkpoint    I5
    P2  it extends the last published checkpoint and the independent copy, by proof      I6, I10
    P3  sign, and have the copy on the disk before anybody sees the signature
    P4  the witnesses cosign; too few, and it stays unpublished
    P5  the row that makes it published: tiles, proofs and answers up to its size are shown   I8

A crash between any two of them is made good by taking the steps again (I11).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from registry.store import log as store
from registry.store.engine import Store
from registry.store.log import CheckpointRow, Driver, EpochRow, StateRow
from schemas.checkpoint import Checkpoint, Cosignature, quorum, sign_note, verify_note
from schemas.errors import VerifyError
from schemas.keys import Signer
from schemas.merkle import verify_consistency
from schemas.policy import LogPolicy

from . import heads
from .broken import LogBroken
from .copy import Copy

Witness: TypeAlias = "Callable[[str, int, tuple[bytes, ...]], Awaitable[list[str]]]"
"""(note, old size, proof from there) -> cosignature lines, each ended by a newline."""

_log = logging.getLogger("tierlink.log")


@dataclass(frozen=True, slots=True)
class _Head:
    """What is about to be published, and from where the witnesses are shown that it extends."""

    checkpoint: Checkpoint
    epoch: int
    old_size: int
    proof: tuple[bytes, ...]


class Publisher:
    """Publishes the checkpoints of one log; used by the leading sequencer alone, from one task."""

    def __init__(
        self,
        opened: Store,
        signer: Signer,
        policy: LogPolicy,
        copy: Copy,
        clock: Callable[[], int],
        *,
        witness: Witness | None = None,
    ) -> None:
        """Take the key of `policy.log`; `clock` gives Unix seconds."""
        self._store = opened
        self._signer = signer
        self._policy = policy
        self._copy = copy
        self._clock = clock
        self._witness = witness
        self.last: CheckpointRow | None = None  # as of the last look

    @property
    def age(self) -> int | None:
        """Seconds since the last checkpoint was cosigned, None where there was none."""
        return None if self.last is None else self._clock() - self.last.time

    async def check(self, driver: Driver) -> None:
        """Check the log against all that was signed of it; raise LogBroken I1, I6 or I10."""
        await heads.check_copy(driver, self._copy)
        self.last = await store.newest_checkpoint(driver)
        await _check_extends(driver, self.last)

    async def publish(self) -> bool:
        """Publish the newest epoch's checkpoint; False where too few witnesses cosign it.

        True also where it is published already. Raise LogBroken where that would be a fork.
        """
        # P1, P2
        async with self._store.read() as tx:
            head = await self._next(await tx.driver())
        if head is None:
            return True
        # P3
        note = await self._signed(head.checkpoint)
        # P4
        lines, cosignatures = await self._cosigned(note, head)
        try:
            time = quorum(cosignatures, self._policy.quorum, self._clock())
        except VerifyError as err:
            _log.warning("checkpoint %d stays unpublished: %s", head.checkpoint.size, err.detail)
            return False
        # P5
        text = note + "".join(lines)
        row = CheckpointRow(head.checkpoint.size, head.checkpoint.root, head.epoch, time, text)
        async with self._store.write() as tx:
            await store.put_checkpoint(await tx.driver(), row)
        self.last = row
        return True

    async def _next(self, driver: Driver) -> _Head | None:
        """Return what is to be published, proven to extend everything that was (P1, P2)."""
        # P1
        state = await store.state(driver)
        self.last = await store.newest_checkpoint(driver)
        epoch = None if state is None else await store.find_epoch(driver, state.epoch)
        if state is None or epoch is None:
            return None
        size = epoch.idx + 1
        if self.last is not None and self.last.size == size:
            return None
        new = Checkpoint(self._policy.log.name, size, await _root(driver, state, epoch))
        # P2
        copied = await heads.check_copy(driver, self._copy)
        if copied is not None:
            await _extended(driver, copied.size, copied.root, new)
        old, root = (0, b"") if self.last is None else (self.last.size, self.last.root)
        proof = await _extended(driver, old, root, new) if self.last is not None else ()
        return _Head(new, epoch.epoch, old, proof)

    async def _signed(self, checkpoint: Checkpoint) -> str:
        """Sign, and keep what was signed (P3). Signing again gives the same note."""
        note = sign_note(checkpoint, checkpoint.origin, self._signer)
        await asyncio.to_thread(self._copy.write, note)
        return note

    async def _cosigned(
        self, note: str, head: _Head
    ) -> tuple[Sequence[str], Sequence[Cosignature]]:
        """Return the lines of known witnesses that verify, and what they say (P4)."""
        if self._witness is None:
            return (), ()
        lines: list[str] = []
        said: list[Cosignature] = []
        for line in await self._witness(note, head.old_size, head.proof):
            try:
                _, found = verify_note(note + line, self._policy.log, self._policy.witnesses)
            except VerifyError as err:
                _log.warning("a cosignature does not verify: %s", err)
                continue
            # One bad line spoils a whole note: none is taken unseen.
            if found and found[0].name not in {item.name for item in said}:
                lines.append(line)
                said += found
        return lines, said


async def _root(driver: Driver, state: StateRow, epoch: EpochRow) -> bytes:
    root = await heads.root_at(driver, epoch.idx + 1)
    if state.size == epoch.idx + 1 and state.root != root:
        raise LogBroken("I2", f"the tiles do not give the root of size {state.size}")
    return root


async def _check_extends(driver: Driver, last: CheckpointRow | None) -> None:
    state = await store.state(driver)
    size = 0 if state is None else state.size
    if last is not None and last.size > size:
        raise LogBroken("I1", f"{last.size} leaves were published, and the log has {size}")
    if last is not None and await heads.root_at(driver, last.size) != last.root:
        raise LogBroken("I6", f"the tree has another root at {last.size} than was published")


async def _extended(driver: Driver, old: int, root: bytes, new: Checkpoint) -> tuple[bytes, ...]:
    """Return the proof that a checkpoint extends what was signed before; raise LogBroken I6."""
    if old > new.size:
        raise LogBroken("I1", f"size {old} was signed before, and now it is {new.size}")
    proof = await heads.proof(driver, old, new.size)
    try:
        verify_consistency(old, new.size, proof, root, new.root)
    except VerifyError as err:
        raise LogBroken(
            "I6",
            f"the tree of {new.size} does not extend the checkpoint of {old} that was published: "
            f"{err.detail}",
            fix=heads.RESTORED,
        ) from None
    return proof
