"""The report of an import: figures, and a note for everything that was not taken as it stood."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from .plan import Agreement, Reciprocity
from .verdicts import Integrity


@dataclass(frozen=True, slots=True)
class Note:
    """One thing left out or assumed: a stable code, where in the file, and why."""

    code: str
    place: str
    reason: str


@dataclass(frozen=True, slots=True)
class Company:
    """A prefix that the import found or allocated.

    `api_key` is there when this import was the one that allocated it: the registry shows a key
    once, so whoever holds the report must keep it.
    """

    prefix: str
    name: str
    api_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Report:
    """What an import did; `integrity` is there where it was checked."""

    companies: tuple[Company, ...] = ()
    identifiers: int = 0
    assertions: int = 0
    reciprocity: Reciprocity = field(default_factory=lambda: Reciprocity(0, 0, 0, 0))
    notes: tuple[Note, ...] = ()
    refused: tuple[Note, ...] = ()
    agreement: Agreement = field(default_factory=Agreement)
    integrity: Integrity | None = None

    @property
    def complete(self) -> bool:
        """Tell whether everything was sent, and the service took it."""
        return not self.refused

    def tally(self) -> dict[str, int]:
        """Count the notes by code."""
        return dict(sorted(Counter(note.code for note in self.notes).items()))

    def document(self) -> dict[str, object]:
        """Return the report as JSON; API keys are in it."""
        document: dict[str, object] = {
            "companies": [
                {"prefix": item.prefix, "name": item.name}
                | ({"api_key": item.api_key} if item.api_key else {})
                for item in self.companies
            ],
            "identifiers": self.identifiers,
            "assertions": self.assertions,
            "links": {
                "mutual": self.reciprocity.mutual,
                "one_sided": self.reciprocity.one_sided,
                "downstream_only": self.reciprocity.downstream_only,
                "upstream_only": self.reciprocity.upstream_only,
                "conflicting": self.reciprocity.conflicting,
            },
            "quantities": {
                "compared": self.agreement.compared,
                "equal": self.agreement.equal,
            },
            "notes": [_note(item) for item in self.notes],
            "refused": [_note(item) for item in self.refused],
        }
        if self.integrity is not None:
            document["integrity"] = self.integrity.document()
        return document


def _note(note: Note) -> dict[str, str]:
    return {"code": note.code, "place": note.place, "reason": note.reason}
