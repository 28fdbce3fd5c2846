"""manifest.json: what a backup holds, and what the node was when it was made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from registry.store.backup import Sum
from schemas.checkpoint import NoteKey
from schemas.errors import VerifyError

from .failure import BackupFailed

FORMAT = "tierlink-backup/1"
MANIFEST = "manifest.json"
DUMP = "database.dump"
WAITING = "changes.copy"
NOTE = "published.note"
TRUST = "trust.json"
SECRETS = "secrets"

_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class LogHead:
    """How far the log was: leaves, root, epoch, and the key that its checkpoints verify with."""

    vkey: str
    size: int
    root: str  # hex
    epoch: int

    @property
    def key(self) -> NoteKey:
        """The key, read."""
        return NoteKey.parse(self.vkey)


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that is told of a backup."""

    made_at: int  # Unix seconds
    release: str  # of tierlink
    server: str  # version of the PostgreSQL server
    schema: str  # the newest migration
    incarnation: str  # the history that it was taken of
    log: LogHead
    waiting: int  # changes that the log had not taken in
    tables: Mapping[str, Sum]
    files: Mapping[str, str]  # SHA-256 of each, hex, by its path in the folder

    @property
    def has_secrets(self) -> bool:
        """Tell whether keys are in it."""
        return any(name.startswith(f"{SECRETS}/") for name in self.files)

    def write(self, folder: Path) -> None:
        """Write the file, whole or not at all."""
        document: dict[str, Any] = {"format": FORMAT} | asdict(self)
        document["tables"] = {name: item._asdict() for name, item in self.tables.items()}
        unfinished = folder / f".{MANIFEST}.new"
        unfinished.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        unfinished.replace(folder / MANIFEST)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read it, and check that every file is what it was; raise BackupFailed."""
        try:
            document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        except FileNotFoundError as err:
            raise BackupFailed(
                f"{folder} is no finished backup: it has no {MANIFEST}", value=str(folder)
            ) from err
        except ValueError as err:
            raise BackupFailed(f"{folder / MANIFEST} is not JSON: {err}") from err
        found = cls._parse(document, folder)
        for name, digest in found.files.items():
            if not (folder / name).is_file() or file_digest(folder / name) != digest:
                raise BackupFailed(
                    f"{name} is not what was backed up",
                    value=str(folder / name),
                    fix="take another copy of this backup, or another backup",
                )
        return found

    @classmethod
    def _parse(cls, document: object, folder: Path) -> Manifest:
        form = document.pop("format", None) if isinstance(document, dict) else None
        if not isinstance(document, dict) or form != FORMAT:
            raise BackupFailed(
                f"{folder / MANIFEST} is of no format that this release reads", value=form
            )
        try:
            tables = {name: Sum(**item) for name, item in document.pop("tables").items()}
            log = LogHead(**document.pop("log"))
            log.key  # noqa: B018  (raises)
            return cls(**document, log=log, tables=tables)
        except (AttributeError, KeyError, TypeError, VerifyError) as err:
            raise BackupFailed(f"{folder / MANIFEST} is malformed: {err}") from err


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, hex."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()
