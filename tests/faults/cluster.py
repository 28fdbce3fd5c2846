"""A whole installation of real processes, every part of which a test may break.

primary and synchronous standby (two PostgreSQL servers), Redis, a registry on whichever is the
primary, and three resolvers:

lone       one process, PostgreSQL and Redis through a proxy each
crew       two workers under one poller, PostgreSQL through a proxy, Redis directly
standby    one process that reads the standby, by way of the primary
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import redis

from tests.e2e.node import TIERLINK, Node
from tests.faults.proxy import Proxy
from tests.fixtures_standby import DATABASE, Replication, Server, replicated
from tests.redis_servers import redis_server
from tests.servers import free_port, wait_for
from tierlink import Client

PREFIX = "88.118.8"
LONE, CREW, STANDBY = "lone", "crew", "standby"
FETCH = 0.5  # seconds that lone waits for its source
SECONDS = 60  # for anything that a busy machine may be slow at


@dataclass
class Redis:
    """One Redis server that may die and come back."""

    folder: Path
    port: int = field(default_factory=free_port)
    pid: int = 0
    _running: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        """Start with whatever dump there is."""
        server = redis_server(self.folder, "--dbfilename", "dump.rdb", port=self.port)
        self._running.enter_context(server)
        self.pid = self.ask("INFO", "server")["process_id"]

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self._running.close()

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def ask(self, *command: object):
        with redis.Redis(port=self.port, socket_timeout=10) as client:
            return client.execute_command(*command)

    def close(self) -> None:
        self._running.close()


@dataclass
class Cluster:
    """What runs; made by `running`."""

    pair: Replication
    redis: Redis
    registry: Node
    nodes: dict[str, Node]
    proxies: dict[str, Proxy]  # before PostgreSQL, by node
    redis_proxy: Proxy
    api_key: str = ""
    trust: Path = Path()
    primary: Server | None = None  # the one that writes now

    def revive(self, node: Node) -> None:
        """Kill a node with SIGKILL, where it is not dead already, and start it again."""
        if node.process.poll() is None:
            node.process.kill()
        node.process.wait()
        node.reader.join(5)
        node.process.stdout.close()
        node.lines.clear()
        node.start()

    def workers(self) -> list[psutil.Process]:
        """Return the workers of the crew, in order."""
        found = psutil.Process(self.nodes[CREW].process.pid).children()
        return sorted(found, key=lambda child: child.pid)

    def all_up(self) -> bool:
        """Tell whether both workers of the crew serve."""
        text = httpx.get(f"{self.nodes[CREW].url}/metrics", timeout=10).text
        return all(f'worker_up{{worker="parent",place="{n}"}} 1' in text for n in (1, 2))

    def metric(self, name: str, series: str) -> float:
        """Return the sum of a node's series whose line begins so."""
        text = httpx.get(f"{self.nodes[name].url}/metrics", timeout=10).text
        lines = [line for line in text.splitlines() if line.startswith(series)]
        assert lines, f"{series} is not among the metrics of {name}"
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def promote(self) -> None:
        """Make the standby the primary, and let everybody find it there."""
        self.pair.standby.promote()
        self.primary = self.pair.standby
        for proxy in self.proxies.values():
            proxy.upstream = self.primary.port

    def heal(self) -> None:
        """Let every proxy pass everything on."""
        for proxy in (*self.proxies.values(), self.redis_proxy):
            proxy.heal()


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Run everything until the block ends."""
    with replicated(synchronous=True) as pair, ExitStack() as stack:
        memory = Redis(folder / "redis")
        memory.start()
        stack.callback(memory.close)
        proxies = {name: stack.enter_context(Proxy(pair.primary.port)) for name in (LONE, CREW)}
        redis_proxy = stack.enter_context(Proxy(memory.port))
        either = _either(pair)
        urls = {
            name: pair.primary.url_of("postgresql+asyncpg", DATABASE, proxies[name].port)
            for name in (LONE, CREW)
        }
        ports = {LONE: redis_proxy.port, CREW: memory.port, STANDBY: memory.port}
        registry = _node(folder / "registry", ["registry"], TIERLINK_DATABASE_URL=either)
        nodes = {
            name: _node(
                folder / name,
                ["resolver", "--workers", "2"] if name == CREW else ["resolver"],
                TIERLINK_DATABASE_URL=urls.get(name, pair.standby.url),
                TIERLINK_REDIS_URL=f"redis://127.0.0.1:{ports[name]}/0",
                TIERLINK_CACHE_KEY="a secret of these resolvers, thirty-two bytes",
                **({"TIERLINK_PRIMARY_URL": either} if name == STANDBY else {}),
                **({"TIERLINK_FETCH_TIMEOUT": str(FETCH)} if name == LONE else {}),
            )
            for name in (LONE, CREW, STANDBY)
        }
        made = Cluster(pair, memory, registry, nodes, proxies, redis_proxy, primary=pair.primary)
        for node in (registry, *nodes.values()):
            stack.callback(_end, node)
        registry.start()
        _found(made, folder)
        pair.caught_up()
        with ThreadPoolExecutor() as pool:
            list(pool.map(Node.start, nodes.values()))
        wait_for(made.all_up, SECONDS, "both workers")
        stack.callback(_kill, pair)
        yield made


def _node(folder: Path, command: list[str], **settings: str) -> Node:
    common = {
        "TIERLINK_DATABASE_POOL": "6",
        "TIERLINK_DRAIN_SECONDS": "0",
    }
    return Node(folder, "127.0.0.1", {**common, **settings}, [*TIERLINK, *command])


def _either(pair: Replication) -> str:
    """Spell the URL of whichever server is the primary."""
    hosts = "&".join(f"host=127.0.0.1:{server.port}" for server in (pair.primary, pair.standby))
    url = pair.primary.url_of("postgresql+asyncpg", DATABASE, 1).replace("@127.0.0.1:1/", "@/")
    return f"{url}?{hosts}&target_session_attrs=read-write"


def _found(made: Cluster, folder: Path) -> None:
    """Allocate the prefix that everything is written under, and keep the trust bundle."""
    operator = json.loads((folder / "registry" / "operator.json").read_text())
    with made.registry.client() as client:
        client.headers["authorization"] = f"Bearer {operator['api_key']}"
        body = {"prefix": PREFIX, "organisation": {"name": "Maker"}}
        answer = client.post("/v1/prefixes", json=body)
        assert answer.status_code == 201, answer.text
        made.api_key = answer.json()["api_key"]
    made.trust = folder / "trust.json"
    with Client(made.registry.url) as client:
        made.trust.write_bytes(client.trust_document())


def _kill(pair: Replication) -> None:
    """End both servers at once: nobody needs what they hold any more."""
    for server in (pair.primary, pair.standby):
        if server.process is not None:
            server.kill()


def _end(node: Node) -> None:
    if node.process is None:
        return
    if node.process.poll() is None:
        node.stop(signal.SIGKILL)
    node.process.stdout.close()
