"""Several workers on one host, as their users run them: killed, stopped, renewed, orphaned."""

import http.client
import json
import signal
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import Self

import httpx
import psutil
import pytest

from tests import fixtures_pg
from tests.e2e.node import TIERLINK, Node, node
from tests.servers import wait_for

BOUND = 1.0  # seconds: lease 0.6, the rest for the open write and the poll
IDENTIFIER = "88.118.8/A-1"
WORKERS = [*TIERLINK, "resolver", "--workers", "2"]
LOST = (ConnectionError, http.client.BadStatusLine, http.client.IncompleteRead)


@pytest.fixture(scope="module")
def database(database_server, migrated_template):
    with fixtures_pg._database(database_server, migrated_template) as url:
        yield url


@pytest.fixture(scope="module")
def registry(database, tmp_path_factory):
    """A client that may write under 88.118.8, one identifier of which is there."""
    folder = tmp_path_factory.mktemp("registry")
    with (
        node(folder, command=[*TIERLINK, "registry"], TIERLINK_DATABASE_URL=database) as running,
        running.client() as client,
    ):
        operator = json.loads((folder / "operator.json").read_text())
        client.headers["authorization"] = f"Bearer {operator['api_key']}"
        body = {"prefix": "88.118.8", "organisation": {"name": "Maker"}}
        allocated = client.post("/v1/prefixes", json=body)
        assert allocated.status_code == 201, allocated.text
        client.headers["authorization"] = f"Bearer {allocated.json()['api_key']}"
        made = client.post("/v1/identifiers", json={"identifier": IDENTIFIER, "kind": "item"})
        assert made.status_code == 201, made.text
        yield client


def tell(measured: str) -> None:
    print(f"\n{measured}")  # noqa: T201  (figures, with -s)


def write(registry) -> int:
    """Write the next version of the one identifier and return its number."""
    version = registry.get(f"/v1/identifiers/{IDENTIFIER}").headers["etag"].strip('"')
    done = registry.put(
        f"/v1/identifiers/{IDENTIFIER}",
        json={"identifier": IDENTIFIER, "kind": "item", "attributes": {"n": version}},
        headers={"if-match": f'"{version}"'},
    )
    assert done.status_code == 200, done.text
    return int(version) + 1


@contextmanager
def resolver(folder, database, **settings):
    with node(folder, command=WORKERS, TIERLINK_DATABASE_URL=database, **settings) as running:
        yield running


@pytest.fixture(scope="module")
def host(registry, database, tmp_path_factory):
    time.monotonic()
    began = time.monotonic()
    with resolver(tmp_path_factory.mktemp("host"), database) as running:
        tell(f"two workers, from start to ready: {time.monotonic() - began:.2f} s")
        yield running


def workers(running: Node) -> list[psutil.Process]:
    return sorted(psutil.Process(running.process.pid).children(), key=lambda child: child.pid)


def all_up(running: Node) -> bool:
    with httpx.Client(timeout=5) as client:
        text = client.get(f"{running.url}/metrics").text
    return all(f'tierlink_worker_up{{worker="parent",place="{n}"}} 1' in text for n in (1, 2))


class Connection:
    """One kept-alive connection, and which worker answers on it."""

    def __init__(self, running: Node) -> None:
        self.http = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
        self.http.connect()
        self.get("/healthz")
        port = self.http.sock.getsockname()[1]
        self.worker = next(
            worker.pid
            for worker in workers(running)
            if any(link.raddr and link.raddr.port == port for link in worker.net_connections())
        )

    def get(self, path: str = f"/{IDENTIFIER}") -> tuple[http.client.HTTPResponse, bytes]:
        self.http.request("GET", path)
        return self.read()

    def read(self) -> tuple[http.client.HTTPResponse, bytes]:
        response = self.http.getresponse()
        return response, response.read()

    def version(self) -> int:
        response, body = self.get()
        assert response.status == 200, body
        return json.loads(body)["version"]


@contextmanager
def connections(running: Node, number: int = 0):
    """So many connections, or enough that each worker has some: whoever is idle accepts."""
    with ExitStack() as stack:
        made = []
        while len(made) < (number or 200):
            made.append(Connection(running))
            stack.callback(made[-1].http.close)
            if not number and len(made) >= 8 and len({link.worker for link in made}) == 2:
                break
        yield made


class Load:
    """Clients that ask over kept connections without a pause until the block ends."""

    def __init__(self, running: Node, *, retries: bool, clients: int = 8) -> None:
        self.port = running.port
        self.retries = retries
        self.answered = 0
        self.retried = 0
        self.failures: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        while not self._over.is_set():
            for attempt in (0, 1):
                try:
                    link.request("GET", f"/{IDENTIFIER}")
                    response = link.getresponse()
                    response.read()
                except (OSError, http.client.HTTPException) as err:
                    link.close()
                    if self.retries and attempt == 0 and isinstance(err, LOST):
                        self.retried += 1
                        continue  # a GET whose connection was dropped (RFC 9110, 9.2.2)
                    self.failures.append(repr(err))
                else:
                    self.answered += 1
                    if response.status != 200:
                        self.failures.append(str(response.status))
                break
        link.close()


def test_both_answer_and_both_see_a_change(host, registry):
    with connections(host) as links:
        assert {link.worker for link in links} == {worker.pid for worker in workers(host)}
        before = {link.version() for link in links}
        version = write(registry)
        written = time.monotonic()
        assert before == {version - 1}
        waiting = set(links)
        while waiting:
            asked = time.monotonic()
            waiting = {link for link in waiting if link.version() != version}
            assert not waiting or asked - written < BOUND
        assert all(link.version() == version for link in links)


def test_the_metrics_are_those_of_all(host):
    with connections(host) as links:
        for link in links:
            link.version()
        pages = [link.get("/metrics")[1].decode() for link in links]
    for page in pages:
        assert page.count("# TYPE tierlink_resolve_requests_total counter") == 1
        for worker in ("1", "2"):
            assert f'tierlink_resolve_requests_total{{worker="{worker}",source="l1"}}' in page
            assert f'tierlink_polls_total{{worker="{worker}"}} 0\n' in page
        assert 'tierlink_worker_up{worker="parent",place="2"} 1' in page
        assert 'tierlink_polls_total{worker="parent"}' in page


def test_a_killed_worker_takes_only_its_connections_along(host):
    wait_for(lambda: all_up(host), what="both workers")
    before = {worker.pid for worker in workers(host)}
    with Load(host, retries=True) as load:
        time.sleep(0.5)
        busiest = max(workers(host), key=lambda worker: len(worker.net_connections()))
        victim = busiest.pid
        busiest.kill()
        killed = time.monotonic()
        wait_for(lambda: {w.pid for w in workers(host)} - before, 1, "another process")
        begun = time.monotonic() - killed
        wait_for(lambda: all_up(host), what="both workers")
        served = time.monotonic() - killed
        tell(f"killed; the next one began after {begun:.2f} s and served after {served:.2f} s")
        time.sleep(0.3)
    assert load.failures == []
    assert 0 < load.retried <= len(load._threads)
    assert load.answered > 100
    assert {worker.pid for worker in workers(host)} & before == before - {victim}


def test_renewed_under_load_no_request_fails(host):
    wait_for(lambda: all_up(host), what="both workers")
    before = {worker.pid for worker in workers(host)}
    with Load(host, retries=False) as load:
        time.sleep(0.3)
        host.process.send_signal(signal.SIGHUP)
        began = time.monotonic()
        wait_for(
            lambda: len(workers(host)) == 2 and not before & {w.pid for w in workers(host)},
            40,
            "every worker's successor",
        )
        tell(f"renewed after {time.monotonic() - began:.2f} s, {load.answered} answers meanwhile")
        time.sleep(0.3)
    assert load.failures == []
    assert load.answered > 100
    wait_for(lambda: all_up(host), what="both workers")


def test_stopped_for_longer_than_the_bound_it_says_nothing_old(host, registry):
    wait_for(lambda: all_up(host), what="both workers")
    with connections(host) as links:
        link = links[0]
        for each in links:
            each.version()
        worker = psutil.Process(link.worker)
        worker.suspend()
        try:
            version = write(registry)
            link.http.request("GET", f"/{IDENTIFIER}")  # it waits in the kernel
            other = next(each for each in links if each.worker != link.worker)
            wait_for(lambda: other.version() == version, 5, "the change at the other worker")
            with connections(host, 2) as fresh:
                assert {each.worker for each in fresh} == {other.worker}
            time.sleep(BOUND + 0.2)
        finally:
            worker.resume()
        response, body = link.read()
        assert response.status == 200
        assert response.getheader("tierlink-stale") is None
        assert json.loads(body)["version"] == version
        assert all(each.version() == version for each in links)


def test_told_to_end_it_first_says_so(database, registry, tmp_path):
    with resolver(tmp_path, database, TIERLINK_DRAIN_SECONDS="1.5") as running:
        with connections(running, 4) as links:
            links[0].version()
            assert links[0].get("/readyz")[0].status == 200
            running.process.send_signal(signal.SIGTERM)
            wait_for(lambda: links[0].get("/readyz")[0].status == 503, 1, "the lame duck")
            assert all(link.get("/readyz")[0].status == 503 for link in links)
            with connections(running, 1) as (late,):
                assert late.version() > 0  # still accepted, and answered
            last = {}
            while len(last) < len(links):
                for link in links:
                    if link not in last:
                        response, _ = link.get()
                        assert response.status == 200
                        if response.getheader("connection") == "close":
                            last[link] = response
        assert running.stop() == 0
        assert "Traceback" not in running.said


def test_a_second_signal_hurries(database, registry, tmp_path):
    with resolver(tmp_path, database, TIERLINK_DRAIN_SECONDS="60") as running:
        running.process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        began = time.monotonic()
        assert running.stop(signal.SIGTERM) == 0
        assert time.monotonic() - began < 10


def test_without_their_parent_they_end_and_the_port_is_free(database, registry, tmp_path):
    with resolver(tmp_path, database) as running:
        orphans = workers(running)
        running.process.kill()
        running.process.wait()
        _, alive = psutil.wait_procs(orphans, timeout=10)
        assert not alive
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(("127.0.0.1", running.port))


def test_workers_that_cannot_begin_end_the_node(database_server, tmp_path):
    """An unfounded database: each says why, and nobody tries for ever."""
    with fixtures_pg._database(database_server, "template0") as empty:
        running = Node(tmp_path, "127.0.0.1", {"TIERLINK_DATABASE_URL": empty}, WORKERS)
        with pytest.raises(AssertionError, match="no_workers"):
            running.start(30)
        assert running.process.wait(10) == 1
        running.process.stdout.close()
