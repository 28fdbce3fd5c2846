"""Batch statements: what one prefix says, signed together and once, before the first of it is sent.

Records, or assertions, that follow each other under one prefix gather under one statement, up to a
million; then each comes out as it is registered, in order. What waits lies in a temporary file, so
that memory holds the hashes alone. All that is gathered is issued at one time.

What is not to be signed here (an envelope, a draft that will be refused, an empty line) comes out
in its place, as it came.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import IO, Self

from schemas.batched import MAX_RECORDS, Batch
from schemas.envelope import LINK, RECORD
from schemas.errors import BadInput, TierlinkError
from schemas.identifier import Prefix
from schemas.keys import Signer
from schemas.link import Assertion
from schemas.record import Record

from .batch import Item, opened, read
from .context import Context

_IN_MEMORY = 4 * 1024 * 1024
_MAX_OTHERS = 10_000  # held in memory; the statement ends behind them

_OTHER = b"\n"  # in the place of such an item; no payload is empty


@dataclass(slots=True)
class _Group:
    """What goes under one statement: a line of the file for each item."""

    batch: Batch
    file: IO[bytes]
    others: deque[Item] = field(default_factory=deque)

    def takes(self, typ: str, prefix: Prefix) -> bool:
        return (self.batch.typ, self.batch.prefix) == (typ, prefix) and (
            self.batch.count < MAX_RECORDS and len(self.others) < _MAX_OTHERS
        )

    def signed(self, signer: Signer) -> Iterator[Item]:
        statement = self.batch.sign(signer)
        self.file.seek(0)
        index = 0
        for line in self.file:
            if line == _OTHER:
                yield self.others.popleft()
            else:
                yield self.batch.token(index, line[:-1], statement)
                index += 1


class Gathering:
    """Takes items and gives them back signed; a context manager, for the file. Not thread-safe."""

    def __init__(self, context: Context) -> None:
        if context.signer is None:
            raise BadInput(
                "a batch statement is signed where the records are, and there is no key",
                fix="name a key file with --key, or give the client a signer",
            )
        self._context = context
        self._signer = context.signer
        self._group: _Group | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._close()

    def push(self, item: Item) -> Iterator[Item]:
        """Take the next item; give what is ready: nothing mostly, at times a whole statement."""
        said = self._said(item)
        if said is None:
            if self._group is None:
                yield item
            else:
                self._group.file.write(_OTHER)
                self._group.others.append(item)
            return
        typ, prefix = _speaks(said)
        if self._group is None or not self._group.takes(typ, prefix):
            yield from self.end()
            self._group = self._opened(typ, prefix)
        group = self._group
        said = replace(said, issued_at=group.batch.issued_at)
        try:
            payload = group.batch.add(said.claims())
        except TierlinkError:  # too large, say: whoever sends it refuses it
            group.file.write(_OTHER)
            group.others.append(item)
        else:
            group.file.write(payload + b"\n")

    def end(self) -> Iterator[Item]:
        """Give what has gathered, signed."""
        group = self._group
        if group is not None:
            yield from group.signed(self._signer) if group.batch.count else group.others
        self._close()

    def _said(self, item: Item) -> Record | Assertion | None:
        try:
            found = opened(item)
            return None if isinstance(found, str) else read(found, self._context.seconds)
        except TierlinkError:
            return None

    def _opened(self, typ: str, prefix: Prefix) -> _Group:
        # closed by `_close`: it lives until the statement is given
        file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
        return _Group(Batch(typ, prefix, self._context.seconds), file)

    def _close(self) -> None:
        if self._group is not None:
            self._group.file.close()
        self._group = None


def _speaks(said: Record | Assertion) -> tuple[str, Prefix]:
    if isinstance(said, Record):
        return RECORD, said.identifier.prefix
    return LINK, said.asserter.prefix
