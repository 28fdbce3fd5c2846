"""What is kept of a statement of which one version stands at a time: of a grant, of a notice."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """The newest version, whatever its state."""

    id: str
    version: int
    digest: str
    envelope: str
