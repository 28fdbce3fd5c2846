"""The front door and the application answer byte for byte alike, and no request is misread.

Two servers over one table of answers: at one the front door may answer, at the other `negotiate`
keeps every request from it. Whatever bytes a client sends, both must write the same.

Then two whole resolvers over one Redis and one authority, of which again only one has a fast path:
what the second cache has, what has to be read, and what there is not, they answer alike.
"""

import asyncio
import contextlib
import re
import socket
import struct
import threading
import time
from math import inf

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from resolver.answers import Answer, Answers, Head, target_of
from resolver.app import Resolver, create_app
from resolver.config import ResolverSettings
from resolver.edge import make_protocol
from resolver.limits import Limits
from resolver.native import negotiate as by_accept
from resolver.redis_memory import open_memory
from resolver.trust import Verifier
from tests.authority import Authority
from tests.redis_servers import redis_server
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


@pytest.mark.parametrize(
    "head",
    [
        b"get /88.1/A HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"GET /88.1/A HTTP/1.1\r\nHost: x\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"GET /88.1/A HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70_000 + b"\nY: z\r\n\r\n",
        b"GET /88.1/A" + b"y" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["no method", "a bare line feed", "one behind the limit", "a long target"],
)
def test_a_flaw_is_the_same_in_however_many_packets(ports, head):
    fast, _, _ = ports
    torn = [[head], [head[:5], head[5:]], [head[:-3], head[-3:]], [head[:69_000], head[69_000:]]]
    told = {exchange(fast, pieces).partition(b"\r\n")[0] for pieces in torn}
    assert len(told) == 1, told


# Two resolvers

SECRET = b"a secret of these resolvers, thirty-two bytes"
SHARED = 60  # identifiers whose answers are in Redis, at first; as many again are not
KNOWN = b"Host: x\r\nAccept: application/json\r\n"


class Running:
    """A resolver on a port, in a thread of its own; `fast` lets its front door answer."""

    def __init__(self, world, redis, *, fast):
        self.resolver = self.loop = self.protocol = None
        self.port = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(world, redis, fast))
        self._thread.start()
        wait_for(lambda: self.port, what="the resolver")

    def _run(self, world, redis, fast):
        async def main():
            memory = (open_memory(f"redis://127.0.0.1:{redis}/0"), SECRET)
            self.loop = asyncio.get_running_loop()
            settings = ResolverSettings(lease=30, redis_timeout=1)
            self.resolver = Resolver(world, Verifier(world.trust), settings, memory=memory)
            app = create_app(self.resolver)
            await self.resolver.start()
            negotiate = by_accept if fast else lambda _accept: None
            self.protocol = make_protocol(
                self.resolver.answers, negotiate, QUICK, ask=self.resolver.ask
            )
            sockets = server.listen("127.0.0.1", 0)

            async def wait():
                self.port = sockets[0].getsockname()[1]
                while not self._stop.is_set():  # noqa: ASYNC110  (set by another thread)
                    await asyncio.sleep(0.02)
                raise InterruptedError

            with contextlib.suppress(InterruptedError):
                await server.serve(app, self.protocol, sockets, wait)
            await self.resolver.stop()

        asyncio.run(main())

    def count(self, name):
        found = re.search(
            rf"^{re.escape(name)} (\d+)$", self.resolver.metrics.text().decode(), re.MULTILINE
        )
        return int(found[1]) if found else 0

    def forget(self):
        """Drop what this process keeps; the second cache, and what is known of changes, stay."""
        done = threading.Event()

        def work():
            answers = self.resolver.answers
            for table in answers._tables.values():
                table.clear()
            answers._ring, answers._absent = type(answers._ring)(), type(answers._ring)()
            answers.held = answers.absent_held = 0
            done.set()

        self.loop.call_soon_threadsafe(work)
        assert done.wait(10)

    def end(self):
        self._stop.set()
        self._thread.join()


@pytest.fixture(scope="module")
def resolvers(tmp_path_factory):
    """The fast one, and the other; Redis has half of what is registered."""
    world = Authority()
    world.allocate("88.1")
    world.allocate("88.2")
    for number in range(SHARED):
        world.register(f"88.1/S-{number}")
        world.register(f"88.1/C-{number}")
    world.register("88.1/\u7535")
    world.register("88.2/S")
    world.suspend("88.2")
    with redis_server(tmp_path_factory.mktemp("redis")) as redis:
        first = Running(world, redis, fast=False)
        for number in range(SHARED):
            exchange(first.port, [b"GET /88.1/S-%d HTTP/1.1\r\n%s\r\n" % (number, KNOWN)])
        wait_for(lambda: first.count("tierlink_shared_writes_total") >= SHARED, what="the writes")
        first.end()
        both = Running(world, redis, fast=True), Running(world, redis, fast=False)
        try:
            yield both
        finally:
            for one in both:
                one.end()


def tag_of(raw):
    return re.search(rb"\r\netag: ([^\r]*)", raw)[1]


def plain(target, method=b"GET", more=b""):
    return b"%s %s HTTP/1.1\r\n%s%s\r\n" % (method, target, KNOWN, more)


def learn(one):
    for more in (b"", b"", b"If-None-Match: x\r\n"):
        exchange(one.port, [plain(b"/88.1/S-0", more=more)])


def test_the_edge_answers_from_the_second_cache(resolvers):
    """GET, HEAD, conditions and pipelines: from Redis, without the application, byte for byte."""
    fast, slow = resolvers
    learn(fast)
    tag = tag_of(exchange(slow.port, [plain(b"/88.1/S-1")]))
    streams = [
        [plain(b"/88.1/S-2")],
        [plain(b"/88.1/S-3", b"HEAD")],
        [plain(b"/88.1/S-1", more=b"If-None-Match: %s\r\n" % tag)],
        [plain(b"/88.1/S-1", more=b'If-None-Match: "x", W/%s\r\n' % tag)],
        [plain(b"/88.1/S-1", b"HEAD", more=b"If-None-Match: *\r\n")],
        [plain(b"/88.1/S-1", more=b'If-None-Match: "other"\r\n')],
        [b"".join(plain(b"/88.1/S-%d" % number) for number in (4, 5, 4, 6, 7))],
        [plain(b"/88.1/S-8")[:20], plain(b"/88.1/S-8")[20:] + plain(b"/88.1/S-9", b"HEAD")],
    ]
    for stream in streams:
        fast.forget()
        slow.forget()
        shared = fast.count("tierlink_shared_hits_total")
        passed = fast.protocol.traffic.passed_on
        assert exchange(fast.port, stream) == exchange(slow.port, stream), stream
        assert fast.count("tierlink_shared_hits_total") > shared, stream
        assert fast.protocol.traffic.passed_on == passed, stream


def test_whoever_leaves_while_the_second_cache_is_asked_harms_nobody(resolvers):
    fast, slow = resolvers
    learn(fast)
    fast.forget()
    for number in range(40):
        with socket.create_connection(("127.0.0.1", fast.port), timeout=10) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(plain(b"/88.1/S-%d" % (number % SHARED)) * 2)
    stream = [plain(b"/88.1/S-2") + plain(b"/88.1/S-41")]
    assert exchange(fast.port, stream) == exchange(slow.port, stream)


def test_while_nobody_asks_the_second_cache_the_edge_reads(resolvers):
    """The breaker is open: what Redis has is read from the source, byte for byte the same."""
    fast, slow = resolvers
    learn(fast)
    fast.forget()
    fast.loop.call_soon_threadsafe(fast.resolver.shared._breaker.failed)
    skipped = fast.count("tierlink_shared_skipped_total")
    stream = [plain(b"/88.1/S-50") + plain(b"/88.1/S-51", b"HEAD") + plain(b"/88.1/NOBODY")]
    read = exchange(fast.port, stream)
    assert fast.count("tierlink_shared_skipped_total") > skipped
    assert read == exchange(slow.port, stream)
    wait_for(lambda: not fast.resolver.shared._breaker.open, what="the breaker")


@st.composite
def questions(draw):
    number = draw(st.integers(0, SHARED - 1))
    target = draw(
        st.sampled_from(
            [
                *[b"/88.1/S-%d" % number, b"/88.1/C-%d" % number] * 3,
                b"/88.1/NOBODY-%d" % number,
                b"/88.1/%E7%94%B5",
                b"/88.1/%53-1",  # not its own spelling
                b"/88.2/S",
                b"/99.9/X",
                b"/88.1/S-1?format=jose",
                b"/88..1/S",
                b"/88.1/%zz",
                b"/8",
            ]
        )
    )
    more = draw(st.sampled_from([b"", b"", b"If-None-Match: *\r\n", b'If-None-Match: "x"\r\n']))
    return plain(target, draw(st.sampled_from([b"GET", b"GET", b"HEAD"])), more)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(stream=st.lists(questions(), min_size=1, max_size=4), forgets=st.booleans())
def test_both_resolvers_give_the_same_bytes(resolvers, stream, forgets):
    fast, slow = resolvers
    learn(fast)
    if forgets:
        fast.forget()
    whole = [b"".join(stream)]
    assert exchange(fast.port, whole) == exchange(slow.port, whole)
