"""The pair of sockets between the parent and a worker: messages in order, then the end.

A message is its length in four bytes (big-endian), a byte that tells its kind, and JSON. Parent
and worker run the same release, or do not speak: START carries the number of this format.
"""

from __future__ import annotations

import asyncio
import enum
import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

from schemas.change import Batch, Canary, Change, Op, Watermark

FORMAT = 1
MOST = 64 * 1024 * 1024  # bytes of a message; more is none of ours

_HEAD = 5


class Kind(enum.IntEnum):
    """What a message is."""

    START = 1  # to a worker: {"format", "worker", "database_url"}
    JOIN = 2  # of a worker: it follows the changes from now on
    CHANGES = 3  # to a worker: Handed
    HINT = 4  # of a worker: something is said to have changed
    READY = 5  # of a worker: it serves
    STOP = 6  # to a worker: the step that its ending is to reach
    SCRAPE = 7  # of a worker: a number; it wants the metrics of all
    REPORT = 8  # to a worker: a number; its own metrics are wanted
    REPORTED = 9  # of a worker: [the number, text]
    SCRAPED = 10  # to a worker: [its number, text]


@dataclass(frozen=True, slots=True)
class Message:
    """One message, read."""

    kind: Kind
    body: object


def pack(kind: Kind, body: object = None) -> bytes:
    """Return the bytes of a message."""
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    return b"%b%c%b" % (len(text).to_bytes(4, "big"), kind, text)


class Reader:
    """Cuts what a socket gives into messages; raise ValueError on what is none."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Take what came, and give each message that is whole."""
        self._held += data
        while len(self._held) >= _HEAD:
            length = int.from_bytes(self._held[:4], "big")
            if length > MOST:
                raise ValueError(f"a message of {length} bytes")
            end = _HEAD + length
            if len(self._held) < end:
                return
            kind, text = Kind(self._held[4]), bytes(self._held[_HEAD:end])
            del self._held[:end]
            yield Message(kind, json.loads(text))


@dataclass(frozen=True, slots=True)
class Handed:
    """A batch on its way from the parent to the workers.

    `after` is the watermark of the batch handed on before it, None where there is none in this
    history: by it a worker notices that it missed one. `asked_at` is when the parent sent the poll,
    on the clock that all processes of a host share. `floor`: where a history begins, or a worker,
    the batch has every change from this position on.
    """

    after: Watermark | None
    batch: Batch
    asked_at: float
    floor: int | None = None

    def pack(self) -> bytes:
        """Return the message; a row for each change, for a worker reads them between requests."""
        batch = self.batch
        rows = [
            (change.position, change.op, change.about, change.version, change.also)
            for change in batch.changes
        ]
        after = None if self.after is None else str(self.after)
        canary = None if batch.canary is None else (batch.canary.position, batch.canary.age)
        how = (batch.more, self.asked_at, self.floor, canary)
        return pack(Kind.CHANGES, (after, str(batch.watermark), *how, rows))

    @classmethod
    def read(cls, body: object) -> Handed:
        """Read the body of a message."""
        assert isinstance(body, list)
        after, watermark, more, asked_at, floor, canary, rows = body
        changes = tuple(
            Change(position, Op(op), about, version, also)
            for position, op, about, version, also in rows
        )
        told = None if canary is None else Canary(*canary)
        return cls(
            None if after is None else Watermark.parse(after),
            Batch(changes, Watermark.parse(watermark), more=more, canary=told),
            asked_at,
            floor,
        )


class Channel(asyncio.Protocol):
    """One end of the pair, in an event loop.

    `heard` is called with each message, `ended` once, when the other end is gone.
    """

    def __init__(self) -> None:
        self.heard: Callable[[Message], None] = lambda _: None
        self.ended: Callable[[], None] = lambda: None
        self._reader = Reader()
        self._transport: asyncio.Transport | None = None

    async def open(self, end: socket.socket) -> None:
        """Take over one end of the pair."""
        end.setblocking(False)  # noqa: FBT003  (its only form)
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=end)

    @property
    def pending(self) -> int:
        """Bytes that the other end has not taken and the kernel would not hold."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def send(self, message: bytes) -> None:
        """Send one packed message; never waits, and says nothing to an end that is gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(message)

    def close(self) -> None:
        """Close this end, and forget what was not taken."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Give on what is whole."""
        for message in self._reader.feed(data):
            self.heard(message)

    def connection_lost(self, exc: Exception | None) -> None:
        """Say that the other end is gone."""
        del exc
        self.ended()
