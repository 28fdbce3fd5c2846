"""The second cache: whatever Redis does, an answer is fresh by our own rule or is not served."""

import asyncio
import shutil
import signal
import time
from math import inf
from urllib.parse import quote

import pytest
import redis
from hypothesis import given, strategies as st
from redis.asyncio import SSLConnection

from resolver.answers import Answer, Answers, Head
from resolver.metrics import Metrics
from resolver.redis_memory import open_memory
from resolver.shared import BREAK, LONGEST_BREAK, Breaker, Entry, Seal, Shared, _name
from schemas.errors import BadInput
from tests.clock import Clock
from tests.redis_servers import cluster, master_of, redis_server, secured_sentinel, sentinel
from tests.servers import free_port, wait_for

SECRET = b"a secret of these resolvers, thirty-two bytes"
HEAD = Head(200, [(b"content-type", b"application/json"), (b"vary", b"accept")])
TARGET = b"/88.118.8/A-1"
TAGS = (b"i88.118.8/A-1", b"p88.118")


def answer(body=b'{"a":1}', *, filled=10, tags=TAGS, **more):
    return Answer(HEAD, body, etag=b'"1.x"', filled=filled, tags=tags, **more)


class Process:
    """A resolver process as far as the second cache goes."""

    def __init__(self, memory, *, secret=SECRET, timeout=0.25, epoch="e", position=10, floor=5):
        self.metrics = Metrics()
        self.answers = Answers(1_000_000)
        self.answers.restart(epoch, floor)
        self.position = position
        self.renew()
        self.shared = Shared(memory, secret, self.answers, timeout=timeout, metrics=self.metrics)

    def renew(self, *, changed=False):
        self.answers.advance(self.position, self.answers.clock() + 60, changed=changed)

    def change(self, tag, position):
        self.answers.touch(tag, position)
        self.position = position + 1
        self.renew(changed=True)

    def fill(self, target=TARGET, **more):
        filled = answer(**more)
        assert self.answers.put(target, 1, filled, self.answers.epoch)
        self.shared.put(target, 1, filled, more.get("tags", TAGS), self.answers.epoch)
        return filled

    async def settle(self):
        while self.shared._tasks:
            await asyncio.gather(*self.shared._tasks)

    async def get(self, target=TARGET):
        return await self.shared.get(target, 1)

    def count(self, name):
        return self.metrics.counter(f"tierlink_shared_{name}_total", "").value


@pytest.fixture
def server(tmp_path):
    with redis_server(tmp_path) as port:
        yield port


@pytest.fixture
async def start(server):
    """Make processes that share the server."""
    made = []

    def process(**more):
        made.append(Process(open_memory(f"redis://127.0.0.1:{server}/0"), **more))
        return made[-1]

    yield process
    for one in made:
        await one.shared.close()


# One process fills, another serves


async def test_what_one_filled_another_serves(start):
    one, two = start(), start()
    filled = one.fill()
    await one.settle()
    found = await two.get()
    assert (found.body, found.headers, found.etag) == (filled.body, filled.headers, filled.etag)
    assert (found.filled, found.stale_for, found.expires) == (10, 0, inf)
    assert two.answers.get(TARGET, 1) is found
    assert (two.count("hits"), two.count("misses")) == (1, 0)
    assert await two.get(b"/88.118.8/other") is None
    assert two.count("misses") == 1


async def test_many_who_ask_at_once_make_one_command(start, server):
    one, two = start(), start()
    for number in range(50):
        one.fill(b"/88.118.8/%d" % number, body=b"%d" % number)
    await one.settle()
    await two.get()  # connected
    client = redis.Redis(port=server)
    before = client.info("commandstats")["cmdstat_mget"]["calls"]
    targets = [b"/88.118.8/%d" % (number % 50) for number in range(200)]
    found = await asyncio.gather(*(two.get(target) for target in targets))
    assert [item.body for item in found] == [b"%d" % (number % 50) for number in range(200)]
    assert client.info("commandstats")["cmdstat_mget"]["calls"] == before + 1
    client.close()


# The serve rule


async def test_a_change_that_we_know_of_outdates_what_was_read_before_it(start):
    one, two = start(), start()
    one.fill()
    await one.settle()
    two.change(TAGS[1], 12)
    assert await two.get() is None
    assert two.count("outdated") == 1


async def test_what_was_read_after_the_change_is_served(start):
    one, two = start(position=20), start()
    one.fill(filled=15)
    await one.settle()
    two.change(TAGS[0], 12)
    assert (await two.get()).filled == 15


async def test_nothing_below_our_floor_and_nothing_of_another_history(start):
    one = start()
    one.fill()
    await one.settle()
    assert await start(floor=11, position=12).get() is None
    assert await start(epoch="f").get() is None


async def test_without_a_lease_nothing_is_served(start):
    one, two = start(), start()
    one.fill()
    await one.settle()
    two.answers.advance(10, two.answers.clock() - 1, changed=False)
    assert await two.get() is None


async def test_its_own_expiry_crosses_processes(start):
    one, two = start(), start()
    one.fill(expires=one.answers.clock() + 0.3)
    await one.settle()
    assert (await two.get()).expires == pytest.approx(two.answers.clock() + 0.3, abs=0.2)
    await asyncio.sleep(0.35)
    assert await two.get() is None


async def test_an_old_dump_costs_misses_and_never_freshness(start, server):
    one, two = start(), start()
    one.fill()
    await one.settle()
    client = redis.Redis(port=server)
    old = client.get(_name((TARGET, 1)))
    one.change(TAGS[0], 12)
    one.fill(body=b'{"a":2}', filled=13)
    await one.settle()
    two.change(TAGS[0], 12)
    client.set(_name((TARGET, 1)), old)  # what a restored dump brings back
    assert await two.get() is None
    client.flushall()
    assert await two.get() is None
    client.close()


# Seals


@pytest.mark.parametrize("secret", [b"another secret, just as long as the first"])
async def test_who_has_not_the_secret_forges_nothing(start, secret):
    thief, honest = start(secret=secret), start()
    thief.fill(body=b"forged")
    await thief.settle()
    assert await honest.get() is None
    assert honest.count("forged") == 1


async def test_an_entry_under_another_key_is_none(start, server):
    one, two = start(), start()
    one.fill()
    await one.settle()
    client = redis.Redis(port=server)
    client.copy(_name((TARGET, 1)), _name((b"/88.118.8/B", 1)))
    client.close()
    assert await two.get(b"/88.118.8/B") is None
    assert two.count("forged") == 1


NAMES = st.binary(min_size=1, max_size=20)
TEXT = st.text("abcdefghij-0123456789", max_size=20).map(str.encode)


@given(
    st.binary(max_size=200), NAMES, st.integers(0, 2**60), st.integers(0, 2**31),
    st.lists(TEXT.map(lambda text: b"i" + text), max_size=8), TEXT,
    st.sampled_from([200, 307, 404]),
)  # fmt: skip
def test_what_is_sealed_is_what_is_opened(body, name, filled, stale, tags, location, status):
    seal = Seal(SECRET, Clock(), Clock())
    head = Head(status, [(b"content-type", b"text/plain")])
    made = Answer(
        head, body, fields=[(b"location", b"/" + location)], etag=b'"a"' if status == 200 else b"",
        tags=tags, filled=filled, stale_for=stale,
    )  # fmt: skip
    raw = seal.pack(name, Entry(made, "epoch", tuple(tags)))
    entry = seal.unpack(name, raw)
    assert (entry.epoch, entry.tags) == ("epoch", tuple(tags))
    found = entry.answer
    assert (found.tail, found.headers, found.needs) == (made.tail, made.headers, made.needs)
    assert found.head is seal.unpack(name, raw).answer.head


@given(st.data())
def test_no_changed_byte_is_opened(data):
    seal = Seal(SECRET, Clock(), Clock())
    raw = bytearray(seal.pack(b"name", Entry(answer(), "e", TAGS)))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    assert seal.unpack(b"name", bytes(raw)) is None


@given(st.binary(max_size=300))
def test_nonsense_is_none(raw):
    assert Seal(SECRET).unpack(b"name", raw) is None
    assert Seal(SECRET).unpack(b"name", b"tl1" + raw) is None


# Faults


def test_the_breaker_opens_longer_after_each_failure_in_a_row():
    clock = Clock()
    breaker = Breaker(clock)
    pauses = []
    for _ in range(8):
        began = clock()
        breaker.failed()
        breaker.failed()  # of the same moment
        while breaker.open:
            clock.move(0.01)
        pauses.append(round(clock() - began, 1))
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert (BREAK, LONGEST_BREAK) == (0.1, 5.0)
    breaker.worked()
    breaker.failed()
    clock.move(0.11)
    assert not breaker.open


async def test_nobody_there(tmp_path):
    process = Process(open_memory(f"redis://127.0.0.1:{free_port()}/0"))
    process.fill()
    began = time.monotonic()
    assert await process.get() is None
    assert process.count("failures") >= 1
    assert await process.get() is None
    assert process.count("skipped") >= 1
    assert time.monotonic() - began < 5
    await process.shared.close()


async def test_a_stalled_server_costs_one_time_out_and_then_nothing(server, start, tmp_path):
    """SIGSTOP: connections stay open and nobody answers."""
    process = start(timeout=0.03)
    process.fill()
    await process.settle()
    assert await process.get() is not None
    client = redis.Redis(port=server)
    pid = client.info("server")["process_id"]
    client.close()
    import os  # noqa: PLC0415

    os.kill(pid, signal.SIGSTOP)
    try:
        assert await process.get() is None
        assert process.count("failures") == 1
        for _ in range(20):
            assert await process.get() is None
        assert process.count("failures") == 1
        assert process.count("skipped") == 20
    finally:
        os.kill(pid, signal.SIGCONT)
    await asyncio.sleep(2 * BREAK)
    assert await process.get() is not None


async def test_a_server_that_comes_back_empty(tmp_path):
    port = free_port()
    process = Process(open_memory(f"redis://127.0.0.1:{port}/0"))
    with redis_server(tmp_path / "a", port=port):
        process.fill()
        await process.settle()
        assert await process.get() is not None
    assert await process.get() is None
    with redis_server(tmp_path / "b", port=port):
        await asyncio.sleep(0.5)
        assert await process.get() is None  # a miss
        process.fill()
        await process.settle()
        assert await process.get() is not None
    await process.shared.close()


async def test_writes_that_pile_up_are_dropped(start, monkeypatch):
    from resolver import shared  # noqa: PLC0415

    monkeypatch.setattr(shared, "WRITES", 3)
    process = start()
    for number in range(5):
        process.fill(b"/88.118.8/%d" % number)
    await process.settle()
    assert (process.count("writes"), process.count("dropped")) == (3, 2)


async def test_where_scripts_are_forbidden_entries_are_written_one_by_one(server, start):
    client = redis.Redis(port=server)
    client.acl_setuser("plain", enabled=True, passwords=["+secret"], keys=["*"],
                       commands=["+@all", "-@scripting"])  # fmt: skip
    client.close()
    process = Process(open_memory(f"redis://plain:secret@127.0.0.1:{server}/0"))
    for number in range(20):
        process.fill(b"/88.118.8/%d" % number, body=b"%d" % number)
    await process.settle()
    assert (process.count("writes"), process.count("failures")) == (20, 0)
    other = start()
    found = [await other.get(b"/88.118.8/%d" % number) for number in range(20)]
    assert [item.body for item in found] == [b"%d" % number for number in range(20)]
    await process.shared.close()


# Who asks while a command is under way


async def test_what_is_asked_for_meanwhile_leaves_in_the_next_command(start, server):
    one, two = start(), start(timeout=5)
    for number in range(30):
        one.fill(b"/88.118.8/%d" % number)
    await one.settle()
    await two.get()  # connected
    client = redis.Redis(port=server)
    before = client.info("commandstats")["cmdstat_mget"]["calls"]
    client.client_pause(50)  # milliseconds
    asked = []
    for number in range(30):
        asked.append(asyncio.create_task(two.get(b"/88.118.8/%d" % number)))
        await asyncio.sleep(0)
    assert all(await asyncio.gather(*asked))
    assert client.info("commandstats")["cmdstat_mget"]["calls"] <= before + 2
    client.close()


async def test_who_waits_behind_a_command_that_fails_does_not_wait_for_one_of_his_own(server):
    process = Process(open_memory(f"redis://127.0.0.1:{server}/0"), timeout=0.2)
    await process.get()  # connected
    client = redis.Redis(port=server)
    client.client_pause(2_000)
    told = []
    assert process.shared.ask(b"/88.118.8/1", 1, told.append)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert process.shared._aloft == 1
    assert process.shared.ask(b"/88.118.8/2", 1, told.append)
    assert process.shared.ask(b"/88.118.8/2", 1, told.append)
    await process.settle()
    assert told == [None, None, None]
    assert process.count("failures") == 1
    await process.shared.close()
    assert not process.shared.ask(b"/88.118.8/1", 1, told.append)
    client.close()


async def test_without_a_lease_nobody_is_asked(start):
    process = start()
    process.fill()
    await process.settle()
    process.answers.advance(10, process.answers.clock() - 1, changed=False)
    assert not process.shared.ask(TARGET, 1, lambda _answer: pytest.fail("nothing may be served"))


# Sentinel and Cluster, live


async def test_sentinel_names_the_master_and_the_next_one(tmp_path):
    with sentinel(tmp_path) as (sentinels, name, members):
        hosts = ",".join(f"127.0.0.1:{port}" for port in sentinels)
        process = Process(open_memory(f"sentinel://{hosts}/{name}"), timeout=1.0)
        process.fill()
        await process.settle()
        assert await process.get() is not None
        client = redis.Redis(port=members[0])
        pid = client.info("server")["process_id"]
        client.close()
        import os  # noqa: PLC0415

        os.kill(pid, signal.SIGSTOP)
        try:
            assert await process.get() is None  # and no error
            await asyncio.to_thread(
                wait_for, lambda: master_of(sentinels, name) == members[1], 30, "the fail-over"
            )
            for _ in range(40):
                process.fill()
                await process.settle()
                if await process.get() is not None:
                    break
                await asyncio.sleep(0.5)
            assert await process.get() is not None
        finally:
            os.kill(pid, signal.SIGCONT)
        await process.shared.close()


async def test_cluster_spreads_and_survives_a_shard(tmp_path):
    if shutil.which("redis-cli") is None:
        pytest.skip("redis-cli is not installed")
    with cluster(tmp_path) as ports:
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        process = Process(open_memory(f"cluster://{hosts}"), timeout=1.0)
        targets = [b"/88.118.8/%d" % number for number in range(60)]
        for target in targets:
            process.fill(target, body=target)
        await process.settle()
        found = await asyncio.gather(*(process.get(target) for target in targets))
        assert [item.body for item in found] == targets
        sizes = []
        for port in ports:
            client = redis.Redis(port=port)
            sizes.append(client.dbsize())
            client.close()
        assert all(sizes[:3])
        await process.shared.close()


async def test_sentinel_behind_passwords_and_tls(tmp_path):
    """A password with every character that a URL would take for something else."""
    password, own = "p@ss:/?#%+&", "own@%&"
    with secured_sentinel(tmp_path, password, own) as (port, name, authority):
        url = (
            f"sentinels://default:{quote(password, safe='')}@127.0.0.1:{port}/{name}"
            f"?sentinel_password={quote(own, safe='')}&ssl_ca_certs={quote(str(authority))}"
        )
        process = Process(open_memory(url), timeout=1.0)
        process.fill()
        await process.settle()
        assert await process.get() is not None
        await process.shared.close()
        for wrong in (
            url.replace("sentinels://", "sentinel://"),
            url.partition("&ssl_ca_certs")[0],  # an authority that nobody trusts
            url.replace(quote(password, safe=""), "wrong"),
            url.replace(quote(own, safe=""), "wrong"),
        ):
            process = Process(open_memory(wrong), timeout=1.0)
            assert await process.get() is None
            assert process.count("failures") == 1
            await process.shared.close()


@pytest.mark.parametrize(
    ("url", "username", "password", "tls"),
    [
        ("redis://h", None, None, False),
        ("rediss://u:p%40%2F@h:1/0", "u", "p@/", True),
        ("sentinel://:p%25@h1:1,h2/name?db=3", None, "p%", False),
        ("sentinels://u:p@h1,h2:2/name?ssl_ca_certs=/ca.pem", "u", "p", True),
        ("cluster://u:p%3A@h1:1,h2", "u", "p:", False),
        ("clusters://:p@[::1]:1", None, "p", True),
    ],
)
async def test_what_a_url_says(url, username, password, tls):
    memory = open_memory(url)
    client = memory._client
    pool = getattr(client, "connection_pool", None)
    given = client.connection_kwargs if pool is None else pool.connection_kwargs
    assert (given.get("username"), given.get("password")) == (username, password)
    kind = given.get("connection_class", object) if pool is None else pool.connection_class
    assert issubclass(kind, SSLConnection) == tls
    if url.startswith("sentinel"):
        asked = [other.connection_pool for other in memory._others]
        assert [one.connection_kwargs["host"] for one in asked] == ["h1", "h2"]
        assert {issubclass(one.connection_class, SSLConnection) for one in asked} == {tls}
        assert {one.connection_kwargs.get("password") for one in asked} == {None}
    await memory.close()


@pytest.mark.parametrize(
    "url",
    ["http://h", "h:6379", "sentinel://h:1/", "cluster://", "redis://h:x/0", ""],
)
def test_urls_that_are_none(url):
    with pytest.raises(BadInput):
        open_memory(url)
