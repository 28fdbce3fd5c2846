"""The independent copy: the last checkpoint that was signed, kept outside of the database.

A database that is restored to an earlier moment has forgotten what its log told the world, and
would tell it otherwise the second time. It cannot know that by itself; this file does (I10). The
file is written, and is on the disk, before anybody else sees the signature.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from schemas.checkpoint import Checkpoint, NoteKey, verify_note
from schemas.errors import VerifyError

from .broken import LogBroken


@dataclass(frozen=True, slots=True)
class Copy:
    """The file, and the key of the log whose checkpoint it holds. One process writes it."""

    path: Path
    key: NoteKey

    def read(self) -> Checkpoint | None:
        """Return the checkpoint, None where none was ever signed; raise LogBroken."""
        try:
            note = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as err:
            raise LogBroken("I10", f"{self.path} cannot be read: {err}") from err
        try:
            return verify_note(note, self.key)[0]
        except VerifyError as err:
            raise LogBroken(
                "I10",
                f"{self.path} is not a checkpoint of the log {self.key.name}: {err}",
                fix="start with the TIERLINK_DATA_DIR that belongs to this database",
            ) from err

    def write(self, note: str) -> None:
        """Replace the file, whole or not at all; it is on the disk when this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        unfinished = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(note)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name, too
        finally:
            os.close(folder)
