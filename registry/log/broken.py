"""The fault of a log that must not go on."""

from __future__ import annotations

from schemas.errors import TierlinkError


class LogBroken(TierlinkError):
    """An invariant of the log does not hold: signing anything more would make it worse.

    `invariant` is its number: I1 never shrinks, I2 the root follows from the entries, I3 dense
    indices, I4 full tiles never change, I5 signed only what is durable, I6 signed only what
    extends what was published, I7 one index an envelope, I8 shown only what is published, I9 one
    sequencer, I10 no restored database forks the log, I11 nothing lost or doubled by a crash, I12
    the maps follow from the entries.
    """

    code = "log_broken"
    title = "The transparency log is broken"

    def __init__(self, invariant: str, detail: str, *, fix: str | None = None) -> None:
        """Say which invariant does not hold, and what to do."""
        super().__init__(f"{invariant}: {detail}", fix=fix)
        self.invariant = invariant
