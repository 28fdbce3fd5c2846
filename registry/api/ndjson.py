"""NDJSON in, NDJSON out: results leave while lines still come in, and memory stays flat.

Three tasks for each exchange: one reads lines and gathers them into chunks, one writes the chunks
in order, one sends results. Chunks are few at any moment: one is written, one prepared, one
gathered. Results that the client does not take yet wait in a spool, which is a file beyond a
mebibyte: many clients send everything before they read anything, and waiting for those would be
waiting for ever.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from json.encoder import encode_basestring
from typing import Generic

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from registry.api.problems import problem
from registry.lines import CHUNK_BYTES, CHUNK_LINES, Line, P, Result, Splitter, Work, Written
from schemas.errors import TierlinkError, Unavailable

MEDIA_TYPE = "application/x-ndjson"

IDLE_SECONDS = 0.2  # without a byte: what is gathered is written, for somebody may wait for it
GIVE_UP = 2  # chunks in a row that found no database; the rest is refused at once

_SPOOL_MEMORY = 1024 * 1024
_SPOOL_LIMIT = 256 * 1024 * 1024  # beyond it the client is waited for
_PIECE = 64 * 1024


class Exchange(Response, Generic[P]):
    """The answer to a streamed batch: does the work while it is sent."""

    media_type = MEDIA_TYPE

    def __init__(self, work: Work[P]) -> None:
        super().__init__()
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read, work and answer until the request ends or its client is gone."""
        del scope
        spool = _Spool()
        chunks: asyncio.Queue[_Chunk[P] | None] = asyncio.Queue(1)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._gather(receive, chunks, group))
                group.create_task(self._answer(chunks, spool))
                await _deliver(spool, send)
        finally:
            spool.close()

    async def _gather(
        self, receive: Receive, chunks: asyncio.Queue[_Chunk[P] | None], group: asyncio.TaskGroup
    ) -> None:
        with suppress(ClientDisconnect):  # what did arrive whole is still written
            async for lines in _gathered(receive):
                await chunks.put(_Chunk(self._work, lines, group))
        await chunks.put(None)

    async def _answer(self, chunks: asyncio.Queue[_Chunk[P] | None], spool: _Spool) -> None:
        failed = 0
        while (chunk := await chunks.get()) is not None:
            if failed >= GIVE_UP:
                await spool.write(chunk.refused(Unavailable("the database does not answer")))
                continue
            try:
                results = await chunk.written(self._work)
            except Exception as err:  # noqa: BLE001  (each line is answered, whatever happened)
                failed = failed + 1 if isinstance(err, Unavailable) else 0
                await spool.write(chunk.refused(err))
            else:
                failed = 0
                await spool.write(b"".join(map(_rendered, results)))
        await spool.finish()


class _Chunk(Generic[P]):
    """Some lines, and what comes of preparing them."""

    def __init__(self, work: Work[P], lines: Sequence[Line], group: asyncio.TaskGroup) -> None:
        self.numbers = [line.number for line in lines]
        self._value: P | None = None
        self._error: Exception | None = None
        self._preparing = group.create_task(self._prepare(work, lines))

    async def _prepare(self, work: Work[P], lines: Sequence[Line]) -> None:
        try:
            self._value = await work.prepare(lines)
        except Exception as err:  # noqa: BLE001  (raised again where the chunk is answered)
            self._error = err

    async def written(self, work: Work[P]) -> Sequence[Result]:
        """Write it once it is prepared."""
        await self._preparing
        if self._error is not None:
            raise self._error
        assert self._value is not None
        return await work.write(self._value)

    def refused(self, err: Exception) -> bytes:
        """Refuse every line alike."""
        said = problem(err)
        return b"".join(_line({"line": number, **said}) for number in self.numbers)


async def _gathered(receive: Receive) -> AsyncIterator[list[Line]]:
    """Gather the lines of a request into chunks; raise ClientDisconnect when it breaks off."""
    splitter, lines, size = Splitter(), list[Line](), 0
    async for data in _bodies(receive):
        for line in splitter.feed(data):
            lines.append(line)
            size += len(line.raw)
            if len(lines) == CHUNK_LINES or size >= CHUNK_BYTES:
                yield lines
                lines, size = [], 0
        if not data and lines:
            yield lines
            lines, size = [], 0
    if lines := lines + splitter.end():
        yield lines


async def _bodies(receive: Receive) -> AsyncIterator[bytes]:
    """Give a request's body piece by piece, and an empty one whenever it pauses."""
    waiting: asyncio.Future[Message] | None = None
    try:
        more = True
        while more:
            waiting = waiting or asyncio.ensure_future(receive())
            done, _ = await asyncio.wait({waiting}, timeout=IDLE_SECONDS)
            if not done:
                yield b""
                continue
            message, waiting = waiting.result(), None
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            more = message.get("more_body", False)
            yield message.get("body", b"")
    finally:
        if waiting is not None:
            waiting.cancel()


async def _deliver(spool: _Spool, send: Send) -> None:
    """Send the spool as it fills; the status is sent with the first result."""
    piece = await spool.read()
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while piece:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        piece = await spool.read()
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _rendered(result: Result) -> bytes:
    said = result.outcome
    if isinstance(said, Written):
        about = encode_basestring(said.identifier)
        return (
            f'{{"line":{result.line},"identifier":{about},'
            f'"status":{said.status},"version":{said.version}}}\n'
        ).encode()
    members = problem(said) if isinstance(said, TierlinkError) else said
    return _line({"line": result.line, **result.about, **members})


def _line(members: object) -> bytes:
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


class _Spool:
    """Bytes between the task that writes results and the one that sends them."""

    def __init__(self) -> None:
        # closed by `close`: it lives as long as the exchange
        self._file = tempfile.SpooledTemporaryFile(_SPOOL_MEMORY)  # noqa: SIM115
        self._begin = self._end = 0
        self._finished = False
        self._moved = asyncio.Condition()

    async def write(self, data: bytes) -> None:
        async with self._moved:
            await self._moved.wait_for(lambda: self._end - self._begin < _SPOOL_LIMIT)
            self._file.seek(self._end)
            self._file.write(data)
            self._end += len(data)
            self._moved.notify_all()

    async def finish(self) -> None:
        async with self._moved:
            self._finished = True
            self._moved.notify_all()

    async def read(self) -> bytes:
        """Return what comes next, nothing at the end."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._finished or self._begin < self._end)
            self._file.seek(self._begin)
            piece = self._file.read(_PIECE)
            self._begin += len(piece)
            if self._begin == self._end:
                self._file.seek(0)
                self._file.truncate()
                self._begin = self._end = 0
            self._moved.notify_all()
            return piece

    def close(self) -> None:
        self._file.close()
