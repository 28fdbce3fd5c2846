"""A node that answers over a real socket, as it should or as badly as a test says.

async with Wicked() as node: …       node.origin; `node.manner = reply(b"…")` what it does next
"""

import asyncio
import contextlib
import json

from schemas.identifier import Identifier


class Wicked:
    """Reads requests, all kept in `requests`; what it answers is up to `manner(body, writer)`."""

    def __init__(self, manner=None, *, context=None) -> None:
        self.manner = manner
        self.requests: list[tuple[str, dict[str, str], dict]] = []
        self.connections = 0
        self.open = 0
        self.most_open = 0
        self._context = context

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        self.origin = f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}"
        self._tasks: set[asyncio.Task] = set()
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def reached(self, requests):
        """Wait until so many requests are being answered."""
        while self.open < requests:  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        self.connections += 1
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    line, *fields = head.decode().rstrip().split("\r\n")
                    headers = {
                        name.lower(): value
                        for name, _, value in (f.partition(": ") for f in fields)
                    }
                    body = await reader.readexactly(int(headers.get("content-length", 0)))
                    self.requests.append((line, headers, json.loads(body)))
                    self.open += 1
                    self.most_open = max(self.most_open, self.open)
                    try:
                        if await self.manner(json.loads(body), writer) == "close":
                            return
                    finally:
                        self.open -= 1
        finally:
            self._tasks.discard(task)
            writer.close()


def http(body: bytes, status="200 OK", *, length=None, fields=()) -> bytes:
    lines = [f"HTTP/1.1 {status}", "content-type: application/json", *fields]
    lines.append(f"content-length: {len(body) if length is None else length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def reply(raw: bytes, *, close=False):
    """A manner that writes these bytes."""

    async def manner(_asked, writer):
        writer.write(raw)
        await writer.drain()
        return "close" if close else None

    return manner


def honest(node, lie=None):
    """A manner that answers as a node in memory does (tests.federation), or lies about it."""

    async def manner(asked, writer):
        fetched = node.fetch([Identifier.parse(text) for text in asked["identifiers"]])
        value = (lie(fetched) if lie else fetched).to_json()
        writer.write(http(json.dumps(value).encode()))
        await writer.drain()

    return manner


async def stalls(_asked, _writer):
    await asyncio.sleep(60)


def drips(raw: bytes, seconds: float):
    """A manner that writes a byte at a time."""

    async def manner(_asked, writer):
        for at in range(len(raw)):
            writer.write(raw[at : at + 1])
            await writer.drain()
            await asyncio.sleep(seconds)

    return manner


async def floods(_asked, writer):
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    with contextlib.suppress(OSError):
        while True:
            writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
            await writer.drain()


async def floods_headers(_asked, writer):
    writer.write(b"HTTP/1.1 200 OK\r\n")
    with contextlib.suppress(OSError):
        while True:
            writer.write(b"x: " + b"y" * 1000 + b"\r\n")
            await writer.drain()
