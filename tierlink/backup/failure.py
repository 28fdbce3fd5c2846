"""The one way in which backup and restore fail."""

from __future__ import annotations

from typing import ClassVar

from schemas.errors import TierlinkError


class BackupFailed(TierlinkError):
    """A backup cannot be made, read or restored; `fix` says what to do."""

    code = "backup_failed"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Backup failed"
