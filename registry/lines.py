"""NDJSON in pieces: lines split from a stream of bytes, and what is said of each.

A line that cannot be read is refused by its number, and the next one begins behind its newline,
whatever it held. Blank lines say nothing and get no result, but they count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeVar

from schemas.errors import TierlinkError, TooLarge

MAX_LINE = 128 * 1024  # bytes
CHUNK_LINES = 2_000
CHUNK_BYTES = 4 * 1024 * 1024

_BLANK = b" \t\r"
_NOTHING: Mapping[str, object] = MappingProxyType({})

P = TypeVar("P")


class Line(NamedTuple):
    """One line of a batch, numbered from 1; with `error` its bytes are gone."""

    number: int
    raw: bytes = b""
    error: TierlinkError | None = None


class Written(NamedTuple):
    """The usual outcome: this version of the identifier stands now, or stood before."""

    identifier: str
    status: int
    version: int


class Result(NamedTuple):
    """What is answered to a line: members of a success, or what refuses it.

    `about` names the thing the line is about as far as that is known, such as
    `{"identifier": …}`.
    """

    line: int
    outcome: Written | Mapping[str, object] | TierlinkError
    about: Mapping[str, object] = _NOTHING


class Work(Protocol[P]):
    """What is done with the lines of a batch, a chunk at a time.

    `prepare` of one chunk runs beside `write` of the chunk before it; the chunks are written one
    after the other, in order. `write` has committed what it returns; a chunk that raises has
    written nothing, and all of its lines are refused alike.
    """

    async def prepare(self, lines: Sequence[Line]) -> P:
        """Read, verify and sign: whatever can be done without the rows."""
        ...

    async def write(self, prepared: P) -> Sequence[Result]:
        """Decide and write in one transaction; return a result for each line, in order."""
        ...


class Splitter:
    """Splits a stream into lines without ever holding more than one that is too long."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._number = 0
        self._too_long = False

    def feed(self, data: bytes) -> list[Line]:
        """Take the next bytes; return the lines that end in them."""
        *ends, rest = data.split(b"\n")
        found = []
        for end in ends:
            if self._too_long or self._rest or len(end) > MAX_LINE:
                self._add(end)
                line = self._line()
            else:  # nearly every line: whole in these bytes
                self._number += 1
                raw = end.strip(_BLANK)
                line = Line(self._number, raw) if raw else None
            if line is not None:
                found.append(line)
        self._add(rest)
        return found

    def end(self) -> list[Line]:
        """Return the last line where no newline follows it."""
        line = self._line()
        return [line] if line is not None else []

    def _add(self, piece: bytes) -> None:
        if self._too_long or len(self._rest) + len(piece) > MAX_LINE:
            self._too_long = True
            self._rest.clear()
        else:
            self._rest += piece

    def _line(self) -> Line | None:
        self._number += 1
        raw, too_long = bytes(self._rest.strip(_BLANK)), self._too_long
        self._rest.clear()
        self._too_long = False
        if too_long:
            error = TooLarge(f"the line has more than {MAX_LINE} bytes", value=MAX_LINE)
            return Line(self._number, error=error)
        return Line(self._number, raw) if raw else None
