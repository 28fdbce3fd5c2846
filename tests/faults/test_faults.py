"""What is promised holds while processes die, stop, and lose each other: I1 to I6, live.

Each test breaks something under a load of writers and readers, lets it heal, waits until everybody
has seen the last of everything, and has the whole history checked (`tests.faults.history`). Every
test also shows that its fault was one: that somebody noticed it as it should be noticed.

TIERLINK_FAULT_ROUNDS multiplies how often each fault is repeated (1 in the suite).
"""

import asyncio
import os
import signal
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from functools import partial
from random import Random

import asyncpg
import httpx
import psutil
import pytest

from tests.faults.cluster import CREW, LONE, PREFIX, STANDBY, cluster as running_cluster
from tests.faults.history import PROMISED
from tests.faults.load import Load
from tests.faults.proxy import Cut, HalfClose, Lose, Refuse, Slow, Stall
from tests.fixtures_standby import DATABASE
from tests.servers import wait_for

ROUNDS = int(os.environ.get("TIERLINK_FAULT_ROUNDS", "1"))
SEED = 20_261_125
LONGER = PROMISED + 0.3  # than anything unmarked may be old
SECONDS = 60
BROKEN_OFF = {"ConnectionResetError", "ConnectionRefusedError", "IncompleteReadError",
              "BrokenPipeError", "Unavailable", "unavailable"}  # fmt: skip
SPARED = 0.05  # of the reads of a node that nothing was done to: a busy machine may be slow at them


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with running_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def random(request):
    """The same for each run of a test, and another for each test."""
    return Random(f"{SEED} {request.node.name}")


@contextmanager
def loaded(cluster, random, *, broken=frozenset()):
    """Load the cluster; in the end nothing may be amiss.

    The nodes that are not `broken` answer as if nothing were, and the others turn nobody away but
    for what a broken process or source is reason for.
    """
    with Load(cluster, random.randrange(2**32)) as load:
        try:
            yield load
        finally:
            cluster.heal()
    report(load)
    history = load.history
    assert history.violations() == []
    assert load.unexpected == []
    assert {refused.why for refused in history.refused} <= BROKEN_OFF
    for node in (LONE, CREW, STANDBY):
        answered = [read for read in history.reads if read.node == node]
        assert len(answered) > 20
        if node not in broken:
            amiss = [read for read in answered if read.marked]
            amiss += [refused for refused in history.refused if refused.node == node]
            assert len(amiss) <= SPARED * len(answered), amiss
    assert sum(write.attempts for write in history.writes) > 20


def report(load):
    """Tell what was seen, with -s."""
    history = load.history
    marked = Counter(read.node for read in history.reads if read.marked)
    refused = Counter((refused.node, refused.why) for refused in history.refused)
    retried = sum(write.attempts > 1 for write in history.writes)
    longest = max((age for _, age in history.open_writes), default=0)
    told = sum(len(batch.changes) for batch in history.stream)
    print(  # noqa: T201
        f"\n{len(history.reads)} reads, {sum(marked.values())} marked {dict(marked)}, "
        f"{len(history.refused)} refused {dict(refused)}; {len(history.writes)} writes, {retried} "
        f"sent again, {sum(map(len, (w.again for w in history.writes)))} asked once more; "
        f"{told} changes told; oldest open write {longest:.2f} s; "
        f"{len(history.stalls)} stalls of the observer, "
        f"{sum(end - start for start, end in history.stalls):.2f} s"
    )


def marked_of(load, node):
    return [read for read in list(load.history.reads) if read.marked and read.node == node]


def test_a_registry_killed_at_any_moment_loses_and_repeats_nothing(cluster, random):
    with loaded(cluster, random) as load:
        for _ in range(3 * ROUNDS):
            time.sleep(random.uniform(0.3, 0.9))
            cluster.revive(cluster.registry)
    assert sum(write.attempts > 1 for write in load.history.writes) >= 3


def test_a_resolver_or_a_worker_killed_at_any_moment_comes_back_knowing(cluster, random):
    with loaded(cluster, random, broken={LONE, CREW}) as load:
        for _ in range(ROUNDS):
            time.sleep(random.uniform(0.1, 0.5))
            busiest = max(cluster.workers(), key=lambda each: len(each.net_connections()))
            busiest.kill()
            cluster.revive(cluster.nodes[LONE])
            wait_for(cluster.all_up, SECONDS, "both workers")
    assert {refused.node for refused in load.history.refused} == {LONE, CREW}


def paused(cluster):
    """Who is stopped in turn: a process, a worker, and the poller of the workers."""
    crew = psutil.Process(cluster.nodes[CREW].process.pid)
    lone = psutil.Process(cluster.nodes[LONE].process.pid)
    return [(LONE, lone), (CREW, cluster.workers()[0]), (CREW, crew)]


def test_stopped_for_longer_than_the_bound_they_say_nothing_old(cluster, random):
    with loaded(cluster, random, broken={LONE, CREW}) as load:
        for _ in range(ROUNDS):
            for node, process in paused(cluster):
                with ExitStack() as stack:
                    process.suspend()
                    stack.callback(process.resume)
                    time.sleep(LONGER)
                time.sleep(0.2)
                assert process.is_running(), node
    # Those who had asked lone were answered when it went on, with what was new by then.
    waited = [read for read in load.history.reads if read.end - read.start > PROMISED]
    assert LONE in {read.node for read in waited}


def test_redis_killed_flushed_and_stalled_costs_time_only(cluster, random):
    hits = sum(cluster.metric(node, "tierlink_shared_hits_total") for node in (LONE, CREW, STANDBY))
    with loaded(cluster, random):
        for _ in range(ROUNDS):
            time.sleep(0.3)
            cluster.redis.kill()
            time.sleep(0.7)
            cluster.redis.start()
            time.sleep(0.5)
            cluster.redis.ask("FLUSHALL")
            cluster.redis.send(signal.SIGSTOP)
            time.sleep(LONGER)
            cluster.redis.send(signal.SIGCONT)
            for fault in (Stall(), Cut(random.randrange(2_000)), HalfClose(), Refuse()):
                cluster.redis_proxy.breaks(fault)
                time.sleep(0.25)
            cluster.redis_proxy.heal()
    later = [cluster.metric(node, "tierlink_shared_hits_total") for node in (LONE, CREW, STANDBY)]
    assert sum(later) > hits  # it is of use, else nothing was tested
    assert cluster.metric(LONE, "tierlink_shared_failures_total") > 0


def test_an_old_dump_of_redis_is_never_believed(cluster, random):
    """What was kept, and then written: an empty process finds it there, and passes it over."""
    lone = cluster.nodes[LONE]
    headers = {"authorization": f"Bearer {cluster.api_key}"}
    with httpx.Client(base_url=cluster.registry.url, headers=headers, timeout=20) as registry:
        keys = cold(cluster, registry, 3)
        cluster.redis.ask("SAVE")
        old = [kept(cluster, key) for key in keys]
        with loaded(cluster, random, broken={LONE}):
            for key in keys:
                body = {"identifier": key, "kind": "item", "attributes": {"n": "newer"}}
                path, always = f"/v1/identifiers/{key}", {"if-match": "*"}
                assert registry.put(path, json=body, headers=always).status_code == 200
            for key in keys:
                wait_for(partial(shows, lone, key, 2), SECONDS, "the second version")
            time.sleep(0.5)
            cluster.redis.kill()
            cluster.redis.start()
            assert [kept(cluster, key) for key in keys] == old
            cluster.revive(lone)
            for key in keys:
                with lone.client() as client:
                    answer = client.get(f"/{key}")
                    assert (answer.status_code, answer.json()["version"]) == (200, 2)
                time.sleep(0.2)
    assert cluster.metric(LONE, "tierlink_shared_outdated_total") > 0


def cold(cluster, registry, wanted):
    """Return so many identifiers of which Redis keeps the answers.

    It may take a few more: a resolver for which Redis was slow does not write there for a while.
    """
    found = []
    for number in range(60):
        key = f"{PREFIX}/COLD-{number}"
        made = registry.post("/v1/identifiers", json={"identifier": key, "kind": "item"})
        assert made.status_code == 201, made.text
        wait_for(partial(shows, cluster.nodes[LONE], key, 1), SECONDS, "the first version")
        time.sleep(0.1)
        if kept(cluster, key) is not None:
            found.append(key)
        if len(found) == wanted:
            return found
    raise AssertionError("Redis keeps nothing")


def shows(node, key, version):
    with node.client() as client:
        answer = client.get(f"/{key}")
        return answer.status_code == 200 and answer.json()["version"] == version


def kept(cluster, key):
    """Return what Redis has of the JSON answer to a key, None where it has nothing."""
    names = cluster.redis.ask("KEYS", f"*{key}*")
    return cluster.redis.ask("GET", names[0]) if names else None


# What is done to the connections to PostgreSQL, and to Redis; whether marks follow for certain.
CUTS = (
    ("slow", lambda _: Slow(0.04), None, False),
    ("too slow", lambda _: Slow(0.4), None, True),
    ("a blackhole", lambda _: Stall(), None, True),
    ("everything in a blackhole", lambda _: Stall(), Stall(), True),
    ("refused", lambda _: Refuse(), None, True),
    ("half closed", lambda _: HalfClose(), None, True),
    ("cut within an answer", lambda random: Cut(random.randrange(3_000)), None, False),
)


def test_cut_off_from_the_source_it_says_so_and_recovers(cluster, random):
    with loaded(cluster, random, broken={LONE}) as load:
        for name, fault, redis, cut_off in CUTS * ROUNDS:
            before = len(marked_of(load, LONE))
            cluster.proxies[LONE].breaks(fault(random))
            cluster.redis_proxy.breaks(redis)
            time.sleep(LONGER + 0.2)
            if cut_off:
                load.wait(
                    lambda before=before: len(marked_of(load, LONE)) > before, f"a mark: {name}"
                )
            print(f"\n{name}: {len(marked_of(load, LONE)) - before} marked")  # noqa: T201
            cluster.heal()
            load.recovers(LONE)


class Polls:
    """Knows the polls of the changes on a connection of the driver, and loses some of them.

    The driver names a statement when it is prepared, and by that name each time it is run.
    """

    def __init__(self, random, share):
        self.random = random
        self.share = share
        self.seen = self.lost = 0

    def __call__(self, link, piece):
        if piece[:1] == b"P" and b"FROM changes" in piece:
            link.noted.add(piece[5 : piece.index(b"\0", 5) + 1])
        elif not any(name in piece for name in link.noted):
            return False
        self.seen += 1
        loses = self.random.random() < self.share
        self.lost += loses
        return loses


def test_however_many_polls_are_lost_nothing_unmarked_is_old(cluster, random):
    """Nothing is pushed to resolvers: losing polls is what losing hints is elsewhere."""
    kinds = [Polls(random, share) for share in (0.03, 0.3, 1.0)]
    with loaded(cluster, random, broken={LONE, CREW}) as load:
        for polls in kinds:
            for proxy in (cluster.proxies[LONE], cluster.proxies[CREW]):
                proxy.upstream = cluster.primary.port  # new connections: their statements are seen
                proxy.breaks(Lose(polls))
            time.sleep((LONGER if polls.share == 1 else 1.0) * ROUNDS)
    assert all(polls.seen >= 5 for polls in kinds)
    assert 0 < kinds[1].lost < kinds[1].seen
    assert kinds[2].lost == kinds[2].seen
    # Without a lease answers are read anew: nobody need be told that they may be old.
    assert len(marked_of(load, LONE)) < 0.5 * len(load.history.reads)


def test_a_write_that_stays_open_is_told_of(cluster, random):
    """It holds back everybody: the age of answers grows by its own, and the metric says so."""
    metric = partial(cluster.metric, LONE, "tierlink_open_write_seconds")
    with loaded(cluster, random) as load:
        with holding(cluster):
            time.sleep(LONGER + 0.2)
            wait_for(lambda: metric() > 0.3, SECONDS, "the alarm")
        wait_for(lambda: metric() == 0, SECONDS, "its end")
    # The bound that was checked had this write in it. Without, something was older.
    load.history.open_writes = []
    assert {violation.invariant for violation in load.history.violations()} == {"I3"}


@contextmanager
def holding(cluster):
    """Hold a write transaction open on the primary."""
    begun, over = threading.Event(), threading.Event()

    async def hold():
        connection = await asyncpg.connect(cluster.primary.url_of("postgresql", DATABASE))
        await connection.execute("BEGIN")
        await connection.execute("SELECT pg_current_xact_id()")
        begun.set()
        await asyncio.to_thread(over.wait)
        await connection.close()

    thread = threading.Thread(target=lambda: asyncio.run(hold()))
    thread.start()
    try:
        assert begun.wait(SECONDS)
        yield
    finally:
        over.set()
        thread.join(SECONDS)


def test_a_primary_killed_and_its_standby_promoted_lose_nothing(cluster, random):
    """The last one: there is no standby to promote after it."""
    with loaded(cluster, random, broken={LONE, CREW, STANDBY}) as load:
        time.sleep(0.5)
        cluster.primary.kill()
        time.sleep(LONGER)
        cluster.promote()
    assert {read.node for read in load.history.reads if read.marked} == {LONE, CREW, STANDBY}
    assert len({batch.until[0] for batch in load.history.stream}) == 2
