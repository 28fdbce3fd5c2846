"""The end of a server, seen from its connections: nobody is cut off who was not told."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from resolver.answers import Answers
from resolver.edge import make_protocol
from tierlink import server
from tierlink.ending import Ending, Step

REQUEST = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"


class Running:
    """A server in this event loop; /slow begins its response and waits, /later waits before it."""

    def __init__(self, lame_duck):
        self.ending = Ending(lame_duck)
        self.go_on = asyncio.Event()
        self.asked = asyncio.Event()
        self.ready = asyncio.Event()
        self.sockets = server.listen("127.0.0.1", 0)
        self.port = self.sockets[0].getsockname()[1]

    async def __call__(self, scope, _receive, send):
        self.asked.set()
        if scope["path"] == "/later":
            await self.go_on.wait()
        body = (self.ending.unready() or "well").encode()
        length = (b"content-length", b"%d" % (len(body) + 1))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        if scope["path"] == "/slow":
            await self.go_on.wait()
        await send({"type": "http.response.body", "body": body + b"\n"})

    async def said(self):
        self.ready.set()


@asynccontextmanager
async def running(lame_duck=0.0):
    run = Running(lame_duck)
    door = make_protocol(Answers(1), lambda _: None)
    serving = asyncio.create_task(server.serve(run, door, run.sockets, run.said, ending=run.ending))
    await run.ready.wait()
    try:
        yield run
    finally:
        run.go_on.set()
        run.ending.reach(Step.CLOSING)
        async with asyncio.timeout(10):
            await serving


class Client:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def ask(self, path=b""):
        self.writer.write(REQUEST % path)
        return await self.read()

    async def read(self):
        """Return whether the response says that it is the last, and its body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        return b"connection: close" in head, await self.reader.readline()


@asynccontextmanager
async def client(run):
    reader, writer = await asyncio.open_connection("127.0.0.1", run.port)
    try:
        async with asyncio.timeout(10):
            yield Client(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_lame_duck_says_so_and_answers_as_before():
    async with running(lame_duck=60) as run, client(run) as kept:
        assert await kept.ask() == (False, b"well\n")
        run.ending.tell()
        last, body = await kept.ask()
        assert not last
        assert b"end" in body
        async with client(run) as late:
            assert not (await late.ask())[0]


async def test_an_idle_connection_gets_one_more_answer_which_says_that_it_is_the_last():
    async with running() as run, client(run) as kept:
        await kept.ask()
        run.ending.tell()
        await asyncio.sleep(0.3)
        assert (await kept.ask())[0]
        assert await kept.reader.read() == b""


async def test_a_response_that_has_not_begun_says_that_it_is_the_last():
    async with running() as run, client(run) as kept:
        kept.writer.write(REQUEST % b"later")
        await run.asked.wait()
        run.ending.tell()
        await asyncio.sleep(0.3)
        run.go_on.set()
        assert (await kept.read())[0]
        assert await kept.reader.read() == b""


async def test_one_that_has_begun_is_followed_by_one_that_does():
    """Its head is sent, and said nothing: to close after it would cut off the next request."""
    async with running() as run, client(run) as kept:
        kept.writer.write(REQUEST % b"slow")
        await run.asked.wait()
        run.ending.tell()
        await asyncio.sleep(0.3)
        run.go_on.set()
        assert not (await kept.read())[0]
        assert (await kept.ask())[0]
        assert await kept.reader.read() == b""


async def test_at_the_end_nobody_new_is_let_in():
    async with running() as run, client(run) as kept:
        await kept.ask()
        run.ending.tell()
        await asyncio.sleep(0.3)
        with pytest.raises(OSError, match="Connect"):
            await asyncio.open_connection("127.0.0.1", run.port)
