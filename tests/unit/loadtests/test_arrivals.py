"""The open loop over real sockets: what a closed loop hides, and what becomes of failures."""

import asyncio
import itertools
import random
from contextlib import asynccontextmanager, suppress

from loadtests.arrivals import Asked, Load, Plan, intervals

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
REQUEST = Asked("x", b"GET /x HTTP/1.1\r\nHost: h\r\n")


@asynccontextmanager
async def served(respond):
    """A server that gives each request to `respond(number, writer, head)`; yields its port."""
    numbers, connected = itertools.count(), set()

    async def connection(reader, writer):
        connected.add(asyncio.current_task())
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await respond(next(numbers), writer, head)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(connection, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await asyncio.wait_for(asyncio.gather(*connected), 5)


def plan(port, rate=200, seconds=0.5, **more):
    more = {"connections": 4, "poisson": False, "timeout": 5, **more}
    return Plan("127.0.0.1", port, rate, seconds, **more)


async def run(given, request=REQUEST):
    return await Load(given, itertools.repeat(request)).run()


async def test_a_stall_counts_for_all_who_would_have_waited():
    stalled = asyncio.Lock()

    async def respond(number, writer, _head):
        if number == 20:
            async with stalled:
                await asyncio.sleep(0.3)
        async with stalled:
            writer.write(ANSWER)

    async with served(respond) as port:
        figures = await run(plan(port))
    assert figures.failed == 0
    assert 98 <= figures.offered <= 100
    # 60 requests were due during the stall. Four of them were on a connection: all that a closed
    # loop would have seen. The rest were not even sent, and yet they waited.
    slow_from = {
        name: sum(count for value, count in histogram.buckets() if value > 25_000)
        for name, histogram in (("due", figures.latency), ("sent", figures.service))
    }
    assert slow_from["sent"] <= 8
    assert slow_from["due"] >= 45
    assert figures.latency.percentile(0.5) > 10_000
    assert 250_000 < figures.latency.largest < 450_000


async def test_a_server_slower_than_the_rate_is_seen_as_a_growing_queue():
    async def respond(_number, writer, _head):
        await asyncio.sleep(0.02)  # so at most 4 / 0.02 = 200 per second
        writer.write(ANSWER)

    async with served(respond) as port:
        figures = await run(plan(port, rate=400))
    assert figures.in_time < 0.6 * figures.offered
    assert figures.latency.total == figures.offered  # they are answered in the end, and count
    assert figures.latency.largest > 5 * figures.service.percentile(0.5)


async def test_the_warm_up_does_not_count():
    async def respond(number, writer, _head):
        await asyncio.sleep(0.1 if number < 4 else 0)
        writer.write(ANSWER)

    async with served(respond) as port:
        figures = await run(plan(port, seconds=0.3, warm_up=0.3))
    assert 58 <= figures.offered <= 60
    assert figures.latency.total == figures.offered
    assert figures.latency.largest < 90_000


async def test_a_lost_connection_is_a_failure_and_is_opened_again():
    async def respond(number, writer, _head):
        if number % 10 == 9:
            writer.transport.abort()
            raise ConnectionError
        writer.write(ANSWER)

    async with served(respond) as port:
        figures = await run(plan(port))
    assert figures.latency.total == figures.offered
    assert 7 <= figures.failed <= 11
    assert figures.statuses["200"] == figures.offered - figures.failed


async def test_what_is_never_answered_ends_by_its_time_out():
    async def respond(_number, _writer, _head):
        pass

    async with served(respond) as port:
        figures = await run(plan(port, rate=50, seconds=0.2, timeout=0.2))
    assert figures.failed == figures.offered == figures.latency.total
    assert figures.achieved == 0
    assert {"timed out", "timed out before it was sent"} >= set(figures.failures)
    assert figures.latency.percentile(0.5) >= 190_000


async def test_another_status_is_a_failure():
    async def respond(number, writer, _head):
        writer.write(ANSWER if number % 2 else ANSWER.replace(b"200 OK", b"503 No"))

    async with served(respond) as port:
        figures = await run(plan(port, rate=100, seconds=0.2))
    assert figures.failures["status 503"] == figures.statuses["503"] > 5


async def test_an_entity_tag_is_sent_back():
    seen = []

    async def respond(_number, writer, head):
        seen.append(b'If-None-Match: "7"\r\n' in head)
        if seen[-1]:
            writer.write(b'HTTP/1.1 304 Not Modified\r\netag: "7"\r\n\r\n')
        else:
            writer.write(ANSWER.replace(b"content", b'etag: "7"\r\ncontent', 1))

    request = Asked("x", REQUEST.head, conditional=True)
    async with served(respond) as port:
        figures = await run(plan(port, rate=100, seconds=0.2, connections=1), request)
    assert seen[0] is False
    assert all(seen[1:])
    assert figures.failed == 0
    assert figures.statuses["304"] == figures.offered - 1


def test_poisson_arrivals_have_the_rate_and_vary_constant_ones_do_not():
    gaps = list(itertools.islice(intervals(100, poisson=True, chance=random.Random(1)), 20_000))
    mean = sum(gaps) / len(gaps)
    assert 0.0098 < mean < 0.0102
    # an exponential distribution: its deviation is its mean, and 1 - 1/e lie below it
    assert 0.0095 < (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5 < 0.0105
    assert 0.62 < sum(gap < mean for gap in gaps) / len(gaps) < 0.645
    even = itertools.islice(intervals(100, poisson=False, chance=random.Random(1)), 5)
    assert set(even) == {0.01}
