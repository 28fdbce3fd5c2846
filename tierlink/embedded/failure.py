"""The one way in which the embedded PostgreSQL fails."""

from __future__ import annotations

from typing import ClassVar

from schemas.errors import TierlinkError


class EmbeddedFailed(TierlinkError):
    """The embedded PostgreSQL cannot be started or stopped; `fix` says what to do."""

    code = "embedded_failed"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Embedded PostgreSQL failed"

    def __str__(self) -> str:
        return f"{self.detail}. {self.fix}" if self.fix else self.detail


class InUse(EmbeddedFailed):
    """Another live process uses the folder."""
