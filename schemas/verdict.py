"""Verdicts: what verification came to, as three words, stable codes and what was proved.

    valid_at_issue   was it right when it was made, by whom it says, under a prefix of theirs
    current          is it what holds at the time asked about
    state            the worse of the two: invalid before indeterminate before valid

A code is stable, the detail beside it is for people.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from .answer import Parts
from .canonical import JsonObject
from .chain import Chain
from .identifier import Identifier

VALID, INVALID, INDETERMINATE = "valid", "invalid", "indeterminate"


class Finding(NamedTuple):
    """Something that is amiss, by its verdict code."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was proved. Times are Unix seconds; what did not come to light is None.

    `exists` is False where the identifier has no record of its own and no class was shown to
    answer for it; `view` is what the parts compose to. `proved_at` is when the log had the nearest
    record; `newest_at` when the quorum had last seen the checkpoint, so as of when all of this is
    the newest; `checked_at` the time asked about.
    """

    state: str
    codes: tuple[Finding, ...]
    valid_at_issue: str
    current: str
    checked_at: int
    identifier: Identifier | None = None
    exists: bool | None = None
    parts: Parts | None = None
    view: JsonObject = field(default_factory=dict)
    chain: Chain | None = None
    origin: str | None = None
    size: int | None = None
    epoch: int | None = None
    witnesses: tuple[str, ...] = ()
    proved_at: int | None = None
    newest_at: int | None = None


class Findings:
    """What is amiss without being false, and what that leaves of the two verdicts."""

    def __init__(self) -> None:
        self.listed: list[Finding] = []
        self.at_issue = self.current = VALID

    @property
    def state(self) -> str:
        """The worse of the two verdicts."""
        verdicts = (self.at_issue, self.current)
        return next((word for word in (INVALID, INDETERMINATE) if word in verdicts), VALID)

    def over(self, code: str, detail: str) -> None:
        """Note what was so and is so no longer, or not yet."""
        self._list(code, detail)
        self.current = INVALID

    def untold(self, code: str, detail: str, *, at_issue: bool = True) -> None:
        """Note what cannot be told: of now alone, or also of when it was made."""
        self._list(code, detail)
        self.current = INVALID if self.current == INVALID else INDETERMINATE
        self.at_issue = INDETERMINATE if at_issue else self.at_issue

    def _list(self, code: str, detail: str) -> None:
        if code not in {item.code for item in self.listed}:
            self.listed.append(Finding(code, detail))
