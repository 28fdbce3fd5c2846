"""What it costs that a chain crosses companies: a trace over three nodes, and answers of others.

The nodes are those of `tierlink federation`, each a process with a database of its own, all on
core 0; the load is on core 1. The chain is held by three companies at three of the nodes:

    vehicle      88.118.109   van <- 7 assemblies <- 42 parts
    secondary    88.118.1     14 modules <- 36 cells
    minerals     88.118.101   12 lots <- 38 ores

and the very same once more by three companies below 88.118.109, all at the node of the vehicle.
So both are traced at one process, in turns: the one is walked by it, the other by three. Nothing
is cached but what verified before; each link is signed by both ends, and all of it is asked for
with its proof. What a node asks others is counted by the nodes themselves (`/metrics`).
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import json
import re
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from schemas.link import DOWNSTREAM, UPSTREAM
from tierlink.client import Client
from tierlink.client.batch import Result as Line
from tierlink.sandbox.network import MINERALS, NAMES, ROOT, SECONDARY, VEHICLE, Network
from tierlink.sandbox.process import NodeProcess

from . import harness, parts
from .harness import Contestant, Result, Row, Sample, Settings, Target

LAYERS = (("V", 1), ("A", 7), ("P", 42), ("M", 14), ("C", 36), ("L", 12), ("O", 38))
HOLDERS = (0, 0, 0, 1, 1, 2, 2)  # which of the three companies has a layer
NODES = sum(count for _, count in LAYERS)
LINKS = sum(max(one[1], next_[1]) for one, next_ in itertools.pairwise(LAYERS))
HOPS = 3  # from a node that knows nothing but the root: root, secondary, vehicle

WARM_UP, TURNS, TRACES = 5, 5, 10
STARTS = 3  # of a recursive node that knows nothing
KNOWN = 100  # identifiers that are resolved warm
# Short and many, for neighbours that are alike: each turn is over before the machine has drifted.
SHORT, SECONDS = 9, 1
DELIVERED_SECONDS = 60.0
DEPTH, DEADLINE_MS = 20, 9_000

ACROSS, CRITICAL, WARM = 5.0, 3, 0.9  # targets


@dataclass(frozen=True)
class Company:
    """Who holds a part of the chain, and at which node."""

    prefix: str
    url: str
    api_key: str

    def client(self) -> Client:
        """Speak for it at its node."""
        return Client(self.url, api_key=self.api_key)


def measure(settings: Settings) -> list[Result]:
    """Start the nodes, spread the chain, then trace and resolve."""
    with parts.short_folder() as folder, asyncio.Runner() as runner:
        network = Network(folder / "federation", 0)
        with _running(runner, network):
            far, near = _companies(network)
            for companies in (far, near):
                _spread(companies)
            _register(far)
            traces = _traces(network, far, near)
            vehicle, _, minerals = far
            starts = _Starts(runner, network)
            return [traces, _cold(starts, vehicle), _warm(starts, vehicle, minerals, settings)]


@contextlib.contextmanager
def _running(runner: asyncio.Runner, node: Network | NodeProcess) -> Iterator[None]:
    """Run nodes on core 0 until the block ends."""
    try:
        with parts.on_core(0):
            runner.run(node.start())
        yield
    finally:
        runner.run(node.stop())


# The chain


def _companies(network: Network) -> tuple[list[Company], list[Company]]:
    """Return the companies that are at three nodes, and those at one."""

    def own(name: str) -> Company:
        address = network.address[name]
        return Company(str(address.prefix), address.url, address.api_key)

    far = [own(VEHICLE), _below(own(SECONDARY), 1), own(MINERALS)]
    near = [_below(own(VEHICLE), number) for number in range(1, len(far) + 1)]
    return far, near


def _below(parent: Company, number: int) -> Company:
    """Allocate a prefix below another's, whose key the node hosts."""
    prefix = f"{parent.prefix}.{number}"
    with parent.client() as client:
        api_key = client.allocate(prefix, f"Company {number}").api_key
    assert api_key is not None, "the client refuses a reply without one"
    return Company(prefix, parent.url, api_key)


def _name(companies: Sequence[Company], layer: int, number: int) -> str:
    return f"{companies[HOLDERS[layer]].prefix}/{LAYERS[layer][0]}-{number:03d}"


def _spread(companies: Sequence[Company]) -> None:
    """Register the chain; both ends state each link; everybody is shown everything."""
    said: dict[int, list[dict[str, object]]] = {at: [] for at in range(len(companies))}
    for layer in range(len(LAYERS) - 1):
        low, high = LAYERS[layer][1], LAYERS[layer + 1][1]
        for number in range(max(low, high)):
            link = {
                "type": "CONTAINED_IN",
                "upstream": _name(companies, layer + 1, number % high),
                "downstream": _name(companies, layer, number % low),
                "quantity": {"value": "2", "unit": "H87"},
            }
            said[HOLDERS[layer]].append({**link, "side": DOWNSTREAM})
            said[HOLDERS[layer + 1]].append({**link, "side": UPSTREAM})
    for at, company in enumerate(companies):
        with company.client() as client:
            client.grant({"iss": company.prefix, "id": "all", "to": "*", "depth": 100})
            _accepted(
                client.register_many(
                    {"identifier": _name(companies, layer, number), "kind": "item"}
                    for layer, (_, count) in enumerate(LAYERS)
                    if HOLDERS[layer] == at
                    for number in range(count)
                )
            )
    for at, company in enumerate(companies):
        with company.client() as client:
            _accepted(client.link_many(said[at]))
    for company in companies:
        _delivered(company)


def _accepted(results: Iterable[Line]) -> None:
    for result in results:
        if result.error is not None:
            raise RuntimeError(f"line {result.line} was refused: {result.error}")


def _delivered(company: Company) -> None:
    """Wait until no statement of a company is on its way to another node."""
    until = time.monotonic() + DELIVERED_SECONDS
    with company.client() as client:
        while waiting := client.deliveries():
            if time.monotonic() > until:
                raise RuntimeError(f"{len(waiting)} are not delivered: {waiting[0]}")
            time.sleep(0.1)


# a) One trace, three nodes


def _traces(network: Network, far: Sequence[Company], near: Sequence[Company]) -> Result:
    across = Row(f"{NODES} identifiers of three nodes", unit="traces/s")
    alone = Row("the same, all at the node that is asked", unit="traces/s")
    with contextlib.ExitStack() as stack:
        stack.enter_context(parts.on_core(1))
        both = []
        for row, companies, told in ((across, far, 2), (alone, near, 0)):
            asking = _Asking(network, _name(companies, 0, 0), told)
            stack.callback(asking.close)
            both.append((row, asking, asking.once()))
            asking.verified(network.address[VEHICLE].folder / "trust.json")
            for _ in range(WARM_UP):
                asking.once()
        requests: list[int] = []
        for _ in range(TURNS):
            for row, asking, _first in both:
                counts, sample = asking.turn()
                row.samples.append(sample)
                if row is across:
                    requests += counts
                elif any(counts):
                    raise RuntimeError("a node asked others for what it has itself")
    first_across, first_alone = (first for _, _, first in both)
    critical = 1 + statistics.median(requests)
    return Result(
        "A trace across nodes",
        [across, alone],
        [
            Target(
                "over three nodes / at one, median",
                harness.ratio(across, alone, "p50_ms"),
                ACROSS,
                at_most=True,
            ),
            Target("requests one behind the other", critical, CRITICAL, at_most=True),
        ],
        [
            (
                f"{NODES} identifiers and {LINKS} links of seven tiers, each with both signatures;"
                f" the first trace took {first_across * 1000:.0f} ms over three nodes and"
                f" {first_alone * 1000:.0f} ms at one, where nothing had verified before"
            ),
            (
                f"requests of a trace as the nodes counted them, the caller's with them: median"
                f" {critical:.0f}, at most {1 + max(requests)}; the processor time is that of all"
                " four nodes"
            ),
        ],
    )


class _Asking:
    """Asks the node of the vehicle for one trace, again and again, and looks at each answer."""

    def __init__(self, network: Network, root: str, told: int) -> None:
        """`told` is how many other nodes have to tell something of it."""
        self._network = network
        self._url = network.url(VEHICLE)
        self._root = root
        self._told = told
        self._connection = http.client.HTTPConnection(urlsplit(self._url).netloc, timeout=30)
        self._path = f"/v1/trace/{root}?depth={DEPTH}&deadline_ms={DEADLINE_MS}"

    def close(self) -> None:
        self._connection.close()

    def once(self) -> float:
        """Return the seconds that an answer took; raise where it is not whole."""
        began = time.perf_counter()
        body = _get(self._connection, self._path)
        seconds = time.perf_counter() - began
        document = json.loads(body)
        mutual = sum(edge["state"] == "mutual" for edge in document["edges"])
        told = {hop["node"] for hop in document.get("hops", ())}
        found = (len(document["nodes"]), mutual, document["broken"], len(told))
        if found != (NODES, LINKS, [], self._told) or document["truncated"]:
            raise RuntimeError(f"{self._root}: nodes, links, what is broken, nodes asked: {found}")
        untold = [item["identifier"] for item in document["nodes"] if item["kind"] != "item"]
        if untold:
            raise RuntimeError(f"{self._root}: nobody tells of {untold}")
        return seconds

    def verified(self, trust: Path) -> None:
        """Let the client verify all that the ends of the links signed."""
        with Client(self._url, trust=trust) as client:
            found = client.trace(self._root, depth=DEPTH, deadline_ms=DEADLINE_MS)
        if not found.verified or len(found.nodes) != NODES:
            raise RuntimeError(f"{self._root}: the trace does not verify")

    def turn(self) -> tuple[list[int], Sample]:
        """Trace several times; return how many requests each made nodes send to others."""
        processes = [self._network.nodes[name].pid for name in NAMES]
        times: list[float] = []
        counts: list[int] = []
        spent = 0.0
        sent = self._sent()
        for _ in range(TRACES):
            before = sum(map(harness.cpu_seconds, processes))
            times.append(self.once())
            spent += sum(map(harness.cpu_seconds, processes)) - before
            before_it, sent = sent, self._sent()
            counts.append(sent - before_it)
        times.sort()
        return counts, Sample(
            len(times) / sum(times),
            statistics.median(times) * 1000,
            times[len(times) * 99 // 100] * 1000,
            spent * 1e6 / len(times),
        )

    def _sent(self) -> int:
        return sum(_asked_others(self._network.url(name)) for name in NAMES)


def _asked_others(url: str) -> int:
    """Return how many requests a node sent to others so far, whatever came of them."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    text = _get(connection, "/metrics").decode()
    connection.close()
    name = r"^tierlink_peer_requests_total\{[^}]*\} (\d+)"
    return sum(map(int, re.findall(name, text, re.MULTILINE)))


# b) Answers of other nodes


def _register(companies: Iterable[Company]) -> None:
    """Register what is resolved: records alike, at each node."""
    for company in companies:
        with company.client() as client:
            _accepted(
                client.register_many(
                    {"identifier": name, "kind": "item", "attributes": {"plant": "2"}}
                    for name in _resolved(company)
                )
            )


def _resolved(company: Company) -> list[str]:
    return [f"{company.prefix}/W-{number:03d}" for number in range(KNOWN)]


@dataclass
class _Starts:
    """Starts recursive nodes beside a network: no database, and nothing known but the root."""

    runner: asyncio.Runner
    network: Network
    count: int = 0

    @contextlib.contextmanager
    def one_more(self) -> Iterator[Contestant]:
        """Run another on core 0 until the block ends."""
        self.count += 1
        port = harness.free_port()
        env = {
            "TIERLINK_ROLE": "recursive",
            "TIERLINK_PORT": str(port),
            "TIERLINK_ROOT_FILE": str(self.network.root_file),
            "TIERLINK_ROOT_URL": self.network.url(ROOT),
            "TIERLINK_PEERS_PRIVATE": "1",
            "TIERLINK_DRAIN_SECONDS": "0",
        }
        name, url = f"recursive-{self.count}", f"http://127.0.0.1:{port}"
        node = NodeProcess(name, url, self.network.folder / name, env)
        with _running(self.runner, node):
            parts.wait_ready(url)
            yield Contestant(Row(name), url, node.pid)


def _cold(starts: _Starts, company: Company) -> Result:
    """Ask recursive nodes that know nothing yet."""
    found = [_first_answers(starts, company) for _ in range(STARTS)]
    return Result(
        "Resolving at a recursive node, cold",
        [
            _single("root, secondary, vehicle: three hops", [first for first, _, _ in found]),
            _single("the next of that prefix: one hop", [second for _, second, _ in found]),
        ],
        [Target("requests per hop", max(each for _, _, each in found), 1, at_most=True)],
        [f"{STARTS} starts of a node that has nothing but the versions of the root"],
    )


def _first_answers(starts: _Starts, company: Company) -> tuple[float, float, float]:
    """Return the seconds of two first answers, over all hops and over one; requests per hop."""
    first, second = _resolved(company)[:2]
    with starts.one_more() as node, parts.on_core(1):
        connection = http.client.HTTPConnection(urlsplit(node.url).netloc, timeout=30)
        connection.connect()
        over_all = _answered(connection, first)
        hops = 1 + int(parts.counters(node.url)["tierlink_referrals_total"])
        requests = _asked_others(node.url)
        over_one = _answered(connection, second)
        connection.close()
        if hops != HOPS or _asked_others(node.url) != requests + 1:
            raise RuntimeError(f"{first} is {HOPS} hops away, and took {hops}")
        return over_all, over_one, requests / hops


def _answered(connection: http.client.HTTPConnection, name: str) -> float:
    """Return the seconds that an answer took; raise where it is another."""
    began = time.perf_counter()
    body = _get(connection, f"/{name}")
    seconds = time.perf_counter() - began
    document = json.loads(body)
    if (document["identifier"], document["status"]) != (name, "active"):
        raise RuntimeError(f"{name}: {body[:300]!r}")
    return seconds


def _single(name: str, times: Sequence[float]) -> Row:
    samples = [Sample(1 / one, one * 1000, one * 1000, 0.0) for one in times]
    return Row(name, samples, unit="answers/s")


def _warm(starts: _Starts, vehicle: Company, minerals: Company, settings: Settings) -> Result:
    """Compare what is kept of another node with one's own: both are finished bytes."""
    own = Row("at the vehicle's node, its own")
    foreign = Row("there, of the node of the minerals")
    elsewhere = Row("the same at a recursive node")
    short = Settings(SHORT, SECONDS, settings.connections)
    with starts.one_more() as recursive:
        node = Contestant(own, vehicle.url, starts.network.nodes[VEHICLE].pid)
        plans = []
        for row, asked, names in (
            (own, node, _resolved(vehicle)),
            (foreign, node, _resolved(minerals)),
            (elsewhere, recursive, _resolved(minerals)),
        ):
            connection = http.client.HTTPConnection(urlsplit(asked.url).netloc, timeout=30)
            for name in names:
                _answered(connection, name)
            connection.close()
            draws = settings.scratch / f"resolved-{len(plans)}.txt"
            draws.write_text("".join(f"/{name}\t\n" for name in names))
            plans.append((row, asked, draws))
        for _ in range(short.runs):
            for row, asked, draws in plans:
                asked.row = row
                row.samples.append(harness.wrk(asked, draws, short))
    return Result(
        "Resolving what another node serves, warm",
        [own, foreign, elsewhere],
        [
            Target("another node's / its own, at one node", harness.ratio(foreign, own), WARM),
            Target("at a recursive node / a node's own", harness.ratio(elsewhere, own), WARM),
        ],
        [
            (
                f"{KNOWN} identifiers each, {SHORT} x {SECONDS} s in turns; what is of others is"
                " asked for anew every 30 s; by the processor time of the servers"
                f" {harness.ratio(own, foreign, 'cpu_ms'):.2f} and"
                f" {harness.ratio(own, elsewhere, 'cpu_ms'):.2f}"
            )
        ],
    )


def _get(connection: http.client.HTTPConnection, path: str) -> bytes:
    connection.request("GET", path, headers={"accept": "application/json"})
    reply = connection.getresponse()
    body = reply.read()
    if reply.status != http.client.OK:
        raise RuntimeError(f"{path}: {reply.status}: {body[:600]!r}")
    return body
