"""The front door and the application answer byte for byte alike, and no request is misread.

Two servers over one table of answers: at one the front door may answer, at the other `negotiate`
keeps every request from it. Whatever bytes a client sends, both must write the same.
"""

import asyncio
import contextlib
import re
import socket
import threading
import time
from math import inf

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from resolver.answers import Answer, Answers, Head, target_of
from resolver.edge import make_protocol
from resolver.limits import Limits
from tests.servers import wait_for
from tierlink import server

# Patient enough for a busy machine, and what is left open does not hold the test up.
QUICK = Limits(
    head_seconds=0.5, idle_seconds=0.5, body_seconds=0.5, linger_seconds=0.05, drain_seconds=0.1
)
ETAG = b'"1.0123456789abcdef"'
TARGETS = [b"/88.1/A", b"/88.1/A?format=jose", b"/88.1/%E7%94%B5", b"/88.1/gone", b"/88.1/none"]


def kept(answers):
    found = Head(200, [(b"content-type", b"application/json"), (b"vary", b"accept")])
    gone = Head(410, [(b"content-type", b"application/problem+json")])
    moved = Head(307, [(b"cache-control", b"no-cache")])
    rows = [
        (TARGETS[0], Answer(found, b'{"a":1}' * 40, etag=ETAG, tags=[b"a"], filled=1)),
        (TARGETS[1], Answer(found, b"x.y.z", etag=b'"1.f"', tags=[b"a"], filled=1)),
        (TARGETS[2], Answer(moved, b"", fields=[(b"location", b"https://x.example/")], filled=1)),
        (TARGETS[3], Answer(gone, b'{"code":"retired"}', filled=1)),
    ]
    answers.advance(1, inf, changed=False)
    for target, answer in rows:
        answers.put(target, 0, answer, "")


@pytest.fixture(scope="module")
def ports():  # noqa: C901  (two servers, made alike)
    """Two running servers: the port with the fast path, and the one without."""
    answers = Answers(1 << 20, wall=lambda: 1_800_000_000.0)
    kept(answers)
    missing = Answer(Head(404, [(b"content-type", b"application/problem+json")]), b"{}")

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        target = target_of(scope["raw_path"], scope["query_string"])
        answer = answers.get(target, 0) or missing
        condition = b", ".join(v for k, v in scope["headers"] if k == b"if-none-match") or None
        for message in answer.asgi(scope["method"], condition):
            await send(message)

    stop, started, found = threading.Event(), [], []

    def run(negotiate):
        async def main():
            sockets = server.listen("127.0.0.1", 0)
            found.append(sockets[0].getsockname()[1])

            async def wait():
                started.append(True)
                while not stop.is_set():  # noqa: ASYNC110  (set by another thread)
                    await asyncio.sleep(0.05)
                raise InterruptedError

            with contextlib.suppress(InterruptedError):
                await server.serve(app, make_protocol(answers, negotiate, QUICK), sockets, wait)

        asyncio.run(main())

    threads = []
    for negotiate in (lambda _accept: 0, lambda _accept: None):
        thread = threading.Thread(target=run, args=(negotiate,))
        thread.start()
        threads.append(thread)
        wait_for(lambda: len(started) == len(threads), what="the server")
    yield found[0], found[1], answers
    stop.set()
    for thread in threads:
        thread.join()


def exchange(port: int, pieces: list[bytes]) -> bytes:
    """Send pieces one after the other, then close our side and read to the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for number, piece in enumerate(pieces):
                if number:
                    time.sleep(0.002)
                client.sendall(piece)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused before all was sent
        got = b""
        try:
            while chunk := client.recv(65_536):
                got += chunk
        except ConnectionError:
            pass
    return re.sub(rb"\r\ndate: [^\r]*", b"", got)


names = st.sampled_from([b"Accept", b"accept", b"ACCEPT", b"User-Agent", b"X-Thing", b"Cookie"])
values = st.sampled_from([b"*/*", b"application/json", b"text/html;q=0.5, */*", b"", b"a b"])
headers = st.lists(st.tuples(names, values), max_size=4)
conditions = st.sampled_from(
    [None, None, ETAG, b"W/" + ETAG, b"*", b'"other", ' + ETAG, b'"other"', b'"1.0123', b"x"]
)
methods = st.sampled_from([b"GET", b"GET", b"GET", b"HEAD", b"OPTIONS", b"POST", b"get"])
versions = st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0"])
oddities = st.sampled_from(
    [
        b"",
        b"",
        b"",
        b"",
        b"Connection: close\r\n",
        b"Connection: keep-alive\r\n",
        b"Content-Length: 0\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: 1\r\nContent-Length: 2\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b" folded: line\r\n",
        b"Host: two\r\n",
        b"Expect: 100-continue\r\n",
        b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
        b"Bad Name: x\r\n",
        b"X: " + b"y" * 20_000 + b"\r\n",
        b"Bare: line\n",
    ]
)


@st.composite
def requests(draw):
    target = draw(st.sampled_from([*TARGETS, b"http://x" + TARGETS[0], b"*", b"/88.1/A b"]))
    lines = [draw(methods), b" ", target, b" ", draw(versions), b"\r\nHost: x\r\n"]
    lines += [b"%s: %s\r\n" % pair for pair in draw(headers)]
    condition = draw(conditions)
    if condition is not None:
        lines.append(b"If-None-Match: %s\r\n" % condition)
    lines += [draw(oddities), b"\r\n", draw(st.sampled_from([b"", b"", b"", b"abc"]))]
    return b"".join(lines)


class Pieces(list):
    """What is sent, piece by piece; a long head is not shown whole."""

    def __repr__(self):
        return re.sub(r"y{100,}", "y…", super().__repr__())


@st.composite
def streams(draw):
    """Draw one or several requests, glued together or torn apart."""
    whole = b"".join(draw(st.lists(requests(), min_size=1, max_size=3)))
    cuts = sorted(draw(st.lists(st.integers(1, max(1, len(whole) - 1)), max_size=2)))
    return Pieces(whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True) if a < b)


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(pieces=streams())
def test_both_paths_give_the_same_bytes(ports, pieces):
    fast, slow, _ = ports
    exchange(fast, pieces)  # a block is learned at its second sight
    assert exchange(fast, pieces) == exchange(slow, pieces)


def test_the_fast_path_is_taken(ports):
    fast, _, answers = ports
    request = b"GET /88.1/A HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n"
    for _ in range(3):
        exchange(fast, [request])
    before = answers.hits
    assert exchange(fast, [request * 5]).count(b"HTTP/1.1 200 OK") == 5
    assert answers.hits == before + 5


def test_a_head_that_never_ends_is_cut(ports):
    fast, _, _ = ports
    answer = exchange(fast, [b"GET /88.1/A HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70_000])
    assert answer.startswith(b"HTTP/1.1 431 ")
