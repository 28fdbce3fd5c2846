"""The folder of a witness: the newest checkpoint of every origin, and evidence against logs.

    lock                                   held by the one process that may write here
    <origin's hash>.checkpoint             the newest note that was cosigned, byte for byte
    <origin's hash>.evidence/<kind>-<hash>.txt   notes that a log signed and cannot both be true

A checkpoint is durable before `keep` returns: written beside, flushed, renamed, and the folder
flushed, so that a machine that stops at any moment holds either the one before or this one, whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from schemas.checkpoint import Checkpoint, split_note
from schemas.errors import TierlinkError, Unavailable, VerifyError

MAX_EVIDENCE = 64  # files of one kind and origin; each further one is logged alone

_log = logging.getLogger("tierlink.witness")


class LedgerFault(TierlinkError):
    """The folder cannot be used: nothing is cosigned rather than something twice."""

    code = "ledger_unusable"
    title = "Witness folder unusable"


class Ledger:
    """What is kept, for one process. Threads may share it: `turn` lets one at a time at an origin.

    Memory follows the disk, never the other way round: what a write left behind that failed half
    way is read again before the next one.
    """

    def __init__(self, folder: Path) -> None:
        """Take the folder, made if need be; raise LedgerFault where another process has it."""
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock_file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as err:
            raise LedgerFault(f"{folder}: {err.strerror}", fix="set TIERLINK_WITNESS_DIR") from err
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock_file)
            raise LedgerFault(
                f"another witness runs in {folder}",
                fix="stop it, or set TIERLINK_WITNESS_DIR: two of them would contradict each other",
            ) from None
        self._newest: dict[str, Checkpoint | None] = {}
        self._turns: dict[str, threading.Lock] = {}

    def close(self) -> None:
        """Leave the folder to others."""
        os.close(self._lock_file)

    @contextlib.contextmanager
    def turn(self, origin: str) -> Iterator[None]:
        """Be the only one who looks at an origin and writes it."""
        # setdefault is one step for the interpreter, so two threads get the same lock.
        with self._turns.setdefault(origin, threading.Lock()):
            yield

    def newest(self, origin: str) -> Checkpoint | None:
        """Return the newest checkpoint of an origin, None before the first; raise LedgerFault."""
        if origin not in self._newest:
            self._newest[origin] = self._read(origin)
        return self._newest[origin]

    def keep(self, checkpoint: Checkpoint, note: str) -> None:
        """Make this the newest checkpoint of its origin, durably; only within a turn."""
        self._newest.pop(checkpoint.origin, None)
        try:
            _write(self._path(checkpoint.origin), note)
        except OSError as err:
            raise Unavailable(f"the checkpoint could not be kept: {err.strerror}") from err
        self._newest[checkpoint.origin] = checkpoint

    def accuse(self, kind: str, origin: str, submitted: str) -> None:
        """Keep a note that contradicts the newest one, beside it; only within a turn."""
        digest = hashlib.sha256(split_note(submitted)[0].encode()).hexdigest()
        folder = self._path(origin).with_suffix(".evidence")
        file = folder / f"{kind}-{digest[:32]}.txt"
        try:
            if file.exists():
                return  # the same thing again
            folder.mkdir(mode=0o700, exist_ok=True)
            held = self._path(origin).read_text(encoding="utf-8")
            if len(list(folder.glob(f"{kind}-*.txt"))) < MAX_EVIDENCE:
                _write(file, f"held\n\n{held}\nsubmitted\n\n{submitted}")
            _log.error("%s: evidence against the log: %s", origin, file)
        except OSError:
            _log.exception("%s: evidence (%s) that could not be kept", origin, kind)

    def _read(self, origin: str) -> Checkpoint | None:
        path = self._path(origin)
        try:
            note = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as err:
            raise LedgerFault(f"{path} cannot be read") from err
        try:
            checkpoint = Checkpoint.parse(split_note(note)[0])
        except VerifyError as err:
            raise LedgerFault(f"{path} is damaged: {err.detail}", fix="restore it") from err
        if checkpoint.origin != origin:
            raise LedgerFault(f"{path} is of another log", value=checkpoint.origin)
        return checkpoint

    def _path(self, origin: str) -> Path:
        return self._folder / f"{hashlib.sha256(origin.encode()).hexdigest()[:32]}.checkpoint"


def _write(path: Path, text: str) -> None:
    """Replace a file durably and whole."""
    beside = path.with_name(f".{path.name}.new")
    with beside.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
