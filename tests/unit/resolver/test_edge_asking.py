"""A request that waits at the edge for what the store has not: order, ends, and who answers."""

import asyncio
import contextlib
import socket
import struct
from math import inf

import pytest
from uvicorn.server import ServerState

from resolver.answers import Answer, Answers, Head
from resolver.edge import make_protocol
from resolver.limits import Limits
from tierlink import server

HEAD = Head(200, [(b"content-type", b"application/json"), (b"vary", b"accept")])
TOLD = Answer(HEAD, b'{"by":"asking"}', etag=b'"1.a"', fields=[(b"link", b"<x>")])
KEPT = Answer(HEAD, b'{"by":"the store"}', etag=b'"1.k"', filled=1)
BY_APP = Answer(HEAD, b'{"by":"the application"}', etag=b'"1.p"')
LIMITS = Limits(held_bytes=2_000, idle_seconds=5, linger_seconds=0.05)


def request(target=b"/88/A", method=b"GET", more=b""):
    return b"%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n" % (method, target, more)


async def app(scope, _receive, send):
    condition = dict(scope["headers"]).get(b"if-none-match")
    for message in BY_APP.asgi(scope["method"], condition):
        await send(message)


class Door:
    """A front door whose questions the test answers."""

    def __init__(self):
        self.asked = []
        self.answers_any = True
        self.connections = []
        self.answers = Answers(1 << 20)
        self.answers.advance(1, inf, changed=False)
        self.answers.put(b"/88/KEPT", 0, KEPT, "")

    def ask(self, target, variant, told):
        if self.answers_any:
            self.asked.append((target, variant, told))
        return self.answers_any

    async def question(self, count=1):
        for _ in range(2_000):
            if len(self.asked) >= count:
                return self.asked[count - 1]
            await asyncio.sleep(0.001)
        raise AssertionError("nothing was asked")


@pytest.fixture
async def door():
    door = Door()
    protocol = make_protocol(door.answers, lambda _accept: 0, LIMITS, ask=door.ask)
    door.traffic = protocol.traffic
    config = server.configured(app, protocol)
    config.load()

    def connection():
        door.connections.append(protocol(config, ServerState(), {}))
        return door.connections[-1]

    listening = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
    door.port = listening.sockets[0].getsockname()[1]
    # Learned at the second sight.
    door.answers_any = False
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    for _ in range(2):
        writer.write(request(b"/88/FIRST"))
        await response(reader)
    writer.close()
    await writer.wait_closed()
    door.answers_any = True
    door.connections.clear()
    yield door
    listening.close()
    await listening.wait_closed()


async def response(reader, *, bodiless=False):
    head = await reader.readuntil(b"\r\n\r\n")
    if bodiless or b" 304 " in head:
        return head
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head + await reader.readexactly(length)


@pytest.fixture
async def client(door):
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    yield reader, writer
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("sent", "status", "body"),
    [
        (request(), b"200 OK", TOLD.body),
        (request(method=b"HEAD"), b"200 OK", b""),
        (request(more=b'If-None-Match: "1.a"\r\n'), b"304 Not Modified", b""),
        (request(more=b'If-None-Match: "0", W/"1.a"\r\n'), b"304 Not Modified", b""),
        (request(more=b"If-None-Match: *\r\n"), b"304 Not Modified", b""),
        (request(more=b'If-None-Match: "0"\r\n'), b"200 OK", TOLD.body),
    ],
    ids=["GET", "HEAD", "its tag", "in a list", "any", "another tag"],
)
async def test_what_is_told_is_what_the_application_would_write(door, client, sent, status, body):
    reader, writer = client
    passed = door.traffic.passed_on
    writer.write(sent)
    target, variant, told = await door.question()
    assert (target, variant) == (b"/88/A", 0)
    told(TOLD)
    got = await response(reader, bodiless=sent.startswith(b"HEAD"))
    assert got.startswith(b"HTTP/1.1 " + status)
    assert got.partition(b"\r\n\r\n")[2] == body
    # The connection goes on, and nothing came to the application.
    writer.write(request(b"/88/KEPT"))
    assert (await response(reader)).endswith(KEPT.body)
    assert door.traffic.passed_on == passed


async def test_marks_replace_headers(door, client):
    reader, writer = client
    writer.write(request())
    _, _, told = await door.question()
    told(TOLD, [(b"tierlink-stale", b"1"), (b"vary", b"*")])
    got = await response(reader)
    assert b"\r\ntierlink-stale: 1\r\n" in got
    assert got.count(b"vary:") == 1
    assert got.endswith(TOLD.body)


async def test_where_there_is_nothing_to_tell_the_application_answers(door, client):
    reader, writer = client
    writer.write(request())
    _, _, told = await door.question()
    told(None)
    assert (await response(reader)).endswith(BY_APP.body)
    door.answers_any = False
    writer.write(request())
    assert (await response(reader)).endswith(BY_APP.body)


async def test_pipelined_requests_are_answered_in_their_order(door, client):
    reader, writer = client
    writer.write(request() + request(b"/88/KEPT") + request(b"/88/B", b"HEAD") + request(b"/none"))
    _, _, told = await door.question()
    writer.write(request(b"/88/KEPT"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.02)
    assert len(door.asked) == 1
    told(TOLD)
    assert (await response(reader)).endswith(TOLD.body)
    assert (await response(reader)).endswith(KEPT.body)
    target, _, told = await door.question(2)
    assert target == b"/88/B"
    told(TOLD)
    assert (await response(reader, bodiless=True)).startswith(b"HTTP/1.1 200 ")
    assert (await response(reader)).endswith(BY_APP.body)
    assert (await response(reader)).endswith(KEPT.body)


async def test_who_left_while_he_waited_is_not_told(door, client):
    _, writer = client
    writer.write(request())
    _, _, told = await door.question()
    # A reset: an end of what is sent alone could still be a client that wants its answer.
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    for _ in range(2_000):
        if door.connections[0].waiting is None:
            break
        await asyncio.sleep(0.001)
    assert door.connections[0].waiting is None
    passed = door.traffic.passed_on
    told(TOLD)
    told(None)
    assert door.traffic.passed_on == passed


async def test_who_closed_his_side_still_gets_the_answer(door, client):
    reader, writer = client
    writer.write(request() + request(b"/88/KEPT"))
    writer.write_eof()
    _, _, told = await door.question()
    await asyncio.sleep(0.01)
    told(TOLD)
    assert (await response(reader)).endswith(TOLD.body)
    assert (await response(reader)).endswith(KEPT.body)
    assert await reader.read() == b""


async def test_at_shutdown_the_application_says_that_the_connection_ends(door, client):
    reader, writer = client
    writer.write(request())
    _, _, told = await door.question()
    door.connections[0].shutdown()
    got = await response(reader)
    assert b"connection: close" in got
    assert got.endswith(BY_APP.body)
    told(TOLD)  # too late
    assert await reader.read() == b""


async def test_too_much_behind_what_waits_ends_the_connection(door, client):
    reader, writer = client
    writer.write(request() + request(b"/88/KEPT") * 100)
    await door.question()
    got = await response(reader)
    assert b"connection: close" in got
    assert got.endswith(BY_APP.body)
    assert await reader.read() == b""


@pytest.mark.parametrize(
    "sent",
    [
        request(b"/88/A?format=json"),
        request(b"/v1/resolve"),
        request(b"/88/" + b"A" * 4_000),
        request(b"/88/A\x00"),
        request(more=b"X-New: 1\r\n"),
        request(more=b"If-None-Match: \x01\r\n"),
        request(method=b"POST"),
        request().replace(b"1.1", b"1.0"),
    ],
    ids=["query", "not a digit", "long", "control", "block", "condition", "method", "version"],
)
async def test_only_plain_requests_are_asked_for(door, client, sent):
    reader, writer = client
    writer.write(sent)
    assert (await reader.read(12)).startswith(b"HTTP/1.1 ")
    assert not door.asked
