"""A network of four nodes as `tierlink federation` runs it, and a recursive node beside them.

The sample is spread over them: the vehicle maker and the maker of lithium salts have nodes of their
own, everybody else is at the secondary node. Tests follow each other on the one network.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from resolver.trace import Tracer
from resolver.trust import Verifier
from resolver.walk import Budget
from schemas.chain import Trust
from schemas.edges import verify_edges
from schemas.grant import BLINDED, Grant
from schemas.identifier import Identifier, Prefix
from schemas.link import UPSTREAM
from tests.authority import ISSUED, Authority
from tests.e2e.node import TIERLINK, Node
from tests.fixtures_pg import _memory, short_folder
from tests.servers import wait_for
from tierlink import keyfile
from tierlink.client import Client
from tierlink.sample.battery import DEFAULT_SEED, plan
from tierlink.sandbox.chain import RECALL, spread
from tierlink.sandbox.network import MINERALS, NAMES, ROOT, SECONDARY, VEHICLE, Network

PACKS, MODULES, CATHODES = "88.118.108", "88.118.107", "88.118.104"
VANS, SALTS = "88.118.109", "88.118.101"


class Running:
    """The network, asked from outside as partners and operators ask it."""

    def __init__(self, folder: Path, runner: asyncio.Runner) -> None:
        self.network = Network(folder / "federation", 0)
        self.run = runner.run

    def start(self):
        async def begin():
            await self.network.start()
            return await spread(self.network, lambda _: None)

        self.named = self.run(begin())
        book = self.network.address[SECONDARY].folder / "sample.json"
        self.keys = {
            item["prefix"]: item["api_key"] for item in json.loads(book.read_text())["enterprises"]
        }
        for name in (VEHICLE, MINERALS):
            address = self.network.address[name]
            self.keys[str(address.prefix)] = address.api_key

    def url(self, name):
        return self.network.url(name)

    def folder(self, name):
        return self.network.address[name].folder

    def get(self, name, path, **params):
        return httpx.get(f"{self.url(name)}{path}", params=params, timeout=10)

    def client(self, name, prefix):
        return Client(
            self.url(name), api_key=self.keys[prefix], trust=self.folder(name) / "trust.json"
        )

    def walked(self, name, prefix, root, deadline_ms=9_000, **more):
        """A trace as a company sees it at a node, every statement verified."""
        with self.client(name, prefix) as client:
            found = client.trace(root, named=True, deadline_ms=deadline_ms, **more)
        assert found.verified
        return found

    def requests(self, url):
        """How many requests a node sent to others so far, whatever came of them."""
        text = httpx.get(f"{url}/metrics", timeout=10).text
        found = re.findall(r"^tierlink_peer_requests_total\{[^}]*\} (\d+)", text, re.MULTILINE)
        return sum(map(int, found))

    def sent(self):
        return {name: self.requests(self.url(name)) for name in NAMES}


@pytest.fixture(scope="module")
def net():
    with short_folder(_memory()) as folder, asyncio.Runner() as runner:
        running = Running(folder, runner)
        try:
            running.start()
            yield running
        finally:
            running.run(running.network.stop())


@pytest.fixture(scope="module")
def made(net):
    return plan(Prefix.parse("88.118"), DEFAULT_SEED, ISSUED)


@pytest.fixture(scope="module")
def recursive(net):
    node = Node(
        net.network.folder / "recursive",
        "127.0.0.1",
        {
            "TIERLINK_ROOT_FILE": str(net.network.root_file),
            "TIERLINK_ROOT_URL": net.url(ROOT),
            "TIERLINK_PEERS_PRIVATE": "1",
            "TIERLINK_DRAIN_SECONDS": "0",
        },
        [*TIERLINK, "up", "--role", "recursive"],
    )
    try:
        yield node.start()
    finally:
        node.stop()
        node.process.stdout.close()


# Resolving


def test_cold_hops_cost_one_request_each_and_warm_ones_none(net, recursive):
    van = net.named["vehicle"]
    counts = [net.requests(recursive.url)]
    for path in (van, van, f"{VANS}/E5V-700002", net.named["pack"]):
        found = httpx.get(f"{recursive.url}/{path}", timeout=10)
        assert (found.status_code, found.json()["identifier"]) == (200, path)
        counts.append(net.requests(recursive.url))
    # root, secondary, vehicle; nothing; straight to the node of the vans; to that of the packs
    assert [after - before for before, after in pairwise(counts)] == [
        3,
        0,
        1,
        1,
    ]


def test_every_node_resolves_every_identifier(net, made, recursive):
    names = [record.identifier.text for record in made.records]
    urls = [*(net.url(name) for name in NAMES), recursive.url]
    # all of them at one node that holds few of them, of every company some at the others
    some = names[::31]
    for url, asked in zip(urls, (some, some, names, some, some), strict=True):
        found = {}
        for at in range(0, len(asked), 1_000):
            body = {"identifiers": asked[at : at + 1_000]}
            reply = httpx.post(f"{url}/v1/resolve", json=body, timeout=20)
            for line in reply.text.splitlines():
                item = json.loads(line)
                found[item["identifier"]] = item["status"]
        assert found == dict.fromkeys(asked, 200), url
    referral = net.get(MINERALS, f"/{net.named['vehicle']}", recursive="false").json()["referral"]
    assert referral in (
        {"prefix": VANS, "node": net.url(VEHICLE)},
        {"prefix": "88.118", "node": net.url(SECONDARY)},
    )


def test_a_recursive_node_holds_nothing(net, recursive):
    assert httpx.get(f"{recursive.url}/readyz").status_code == 200
    for path in ("/v1/prefixes", "/v1/links/88.118.109/X", "/v1/source", "/v1/trace/88/X", "/docs"):
        refused = httpx.get(f"{recursive.url}{path}")
        assert (refused.status_code, refused.json()["code"]) == (404, "not_found"), path
        assert "recursive" in refused.json()["detail"]
    assert not (recursive.data_dir / "pg").exists()


def test_a_prefix_that_its_parent_suspends_answers_nowhere(net):
    asked = iter(f"{VANS}/E5V-8{number:05d}" for number in range(100_000))

    def status(name):
        return net.get(name, f"/{next(asked)}").status_code

    with Client(net.url(SECONDARY), api_key=net.network.address[SECONDARY].api_key) as parent:
        parent.suspend(VANS)
        for name in NAMES:
            wait_for(lambda name=name: status(name) == 403, 10, f"{name} to refuse")
        parent.resume(VANS)
        for name in NAMES:
            wait_for(lambda name=name: status(name) == 200, 10, f"{name} to answer again")


# Tracing


def shown(trace):
    """What a trace shows, without where it was found and what proves it."""
    nodes = {
        (item["identifier"], item["depth"], item["kind"], item["status"]) for item in trace["nodes"]
    }
    edges = {
        tuple(
            json.dumps(edge.get(name), sort_keys=True)
            for name in (
                "upstream",
                "downstream",
                "type",
                "state",
                "quantity",
                "lifecycle",
                "asserted_by",
            )
        )
        for edge in trace["edges"]
    }
    return nodes, edges


def of_one_node(made, root):
    """The same trace by a node that holds the whole sample and shows it to everybody."""
    world = Authority()
    for prefix in ("88", "88.118", *(str(item.prefix) for item in made.holders)):
        world.allocate(prefix)
    for record in made.records:
        world._put(record, None)
    for said in made.assertions:
        token = said.sign(world.keys[said.asserter.prefix])
        world.links[said.link, said.side] = (said, token)
    tracer = Tracer(world, Verifier(world.trust))
    walk = tracer.walk(Identifier.parse(root), UPSTREAM, Budget(depth=20, seconds=30))
    return asyncio.run(walk).view()


@pytest.fixture(scope="module")
def whole(net, made):
    return of_one_node(made, net.named["vehicle"])


def test_a_trace_over_three_nodes_asks_each_once(net, whole):
    before = net.sent()
    found = net.walked(VEHICLE, VANS, net.named["vehicle"], purpose=RECALL, depth=20)
    asked = {name: count - before[name] for name, count in net.sent().items()}
    # one behind the other, however many levels: van, then pack to cathode, then the salts
    assert asked == {ROOT: 0, SECONDARY: 1, VEHICLE: 1, MINERALS: 0}
    document = json.loads(found.raw)
    for here, there in zip(shown(document), shown(whole), strict=True):
        assert here ^ there == set()
    assert (document["broken"], document["truncated"]) == ([], False)
    trust = Trust.parse((net.folder(VEHICLE) / "trust.json").read_bytes())
    assert len(verify_edges(document, trust)) == len(whole["edges"]) > 100
    # the last answers nobody in particular, and in a box the maker of the van, who was granted it
    assert [(part.node, part.by) for part in found.parts] == [
        (net.url(SECONDARY), "88.118"),
        (net.url(MINERALS), SALTS),
        (net.url(MINERALS), SALTS),
    ]
    assert {node.node for node in found.nodes if node.identifier.startswith(VANS)} == {""}
    assert {node.node for node in found.nodes if node.identifier.startswith(SALTS)} == {
        net.url(MINERALS)
    }
    # from somewhere else: where the van lives nobody knows the pack maker, who signs for himself;
    # by what his own node was told he sees what he is an end of, which is a tier either way
    elsewhere = net.walked(SECONDARY, PACKS, net.named["vehicle"], depth=20)
    assert tiers(elsewhere) == ({VANS: 1, PACKS: 1, MODULES: 4, "88.118.106": 1}, 0)


def test_a_short_walk_says_where_it_was_cut(net):
    van, pack = net.named["vehicle"], net.named["pack"]
    before = net.sent()
    found = net.walked(VEHICLE, VANS, van, purpose=RECALL, depth=1)
    assert net.sent()[SECONDARY] == before[SECONDARY]
    assert [(item.identifier, item.kind) for item in found.nodes] == [(van, "item"), (pack, "item")]
    assert {(item.identifier, item.code, item.node) for item in found.broken} == {
        (pack, "budget", net.url(SECONDARY))
    }
    assert found.truncated


def test_a_stream_has_a_line_for_each_part(net, whole):
    headers = {
        "Accept": "application/x-ndjson",
        "Authorization": f"Bearer {net.keys[VANS]}",
    }
    now = int(time.time())  # times go along as well
    params = {"purpose": RECALL, "depth": 20, "deadline_ms": 9_000, "at": now, "as_of": now}
    url = f"{net.url(VEHICLE)}/v1/trace/{net.named['vehicle']}"
    reply = httpx.get(url, params=params, headers=headers, timeout=10)
    lines = [json.loads(line) for line in reply.text.splitlines()]
    assert [line.get("node") for line in lines] == [
        None,
        None,
        net.url(SECONDARY),
        net.url(MINERALS),
        net.url(MINERALS),
        None,
    ]
    nodes = {item["identifier"]: item["depth"] for line in lines for item in line.get("nodes", ())}
    assert nodes == {item["identifier"]: item["depth"] for item in whole["nodes"]}


def test_a_recall_goes_downstream_over_three_nodes(net):
    lot = net.named["material_batch"]
    found = net.walked(MINERALS, SALTS, lot, direction="downstream", purpose=RECALL, depth=20)
    vans = {item.identifier for item in found.nodes if item.identifier.startswith(f"{VANS}/")}
    assert net.named["vehicle"] in vans
    assert {item.status for item in found.nodes} == {"active"}
    assert found.broken == ()


def tiers(found):
    """How many identifiers of each company a trace names, and how many it has pseudonyms for."""
    names = [item.identifier.partition("/")[0] for item in found.nodes]
    return {prefix: names.count(prefix) for prefix in names}, len({b.far for b in found.blinded})


def test_who_needs_to_know(net, whole):
    van = net.named["vehicle"]
    own = {VANS: 1}

    def seen(**more):
        return tiers(net.walked(VEHICLE, VANS, van, **more))

    # nobody in particular, and a competitor
    with Client(net.url(VEHICLE)) as anybody:
        assert [item.identifier for item in anybody.trace(van).nodes] == [van]
    assert tiers(net.walked(SECONDARY, CATHODES, van)) == ({VANS: 1}, 0)
    # as granted: the pack maker opened his tier, the module maker blinded his
    opened, pseudonyms = seen()
    assert opened == own | {PACKS: 1, MODULES: 4, "88.118.106": 1}
    assert pseudonyms == 4 * (16 + 1)  # cells and a board of each module
    given = Grant(Prefix.parse(PACKS), "opened", ISSUED, Prefix.parse(VANS), direction=UPSTREAM)
    with pack_maker(net) as client:
        client.grant(replace(given, show=BLINDED))
        assert seen() == (own | {PACKS: 1}, 5)  # four modules and the management unit
        client.revoke_grant(PACKS, "opened")
        assert seen() == (own | {PACKS: 1}, 0)
        client.grant(given)
    assert seen() == (opened, pseudonyms)
    assert tiers(net.walked(VEHICLE, VANS, van, across=False)) == (own | {PACKS: 1}, 0)


def pack_maker(net):
    folder = net.folder(SECONDARY)
    return Client(
        net.url(SECONDARY),
        api_key=net.keys[PACKS],
        signer=keyfile.load(folder / "keys" / f"{PACKS}.pem", None),
        trust="fetch",
    )


# Nodes that are away


def recall(net, **more):
    return net.walked(VEHICLE, VANS, net.named["vehicle"], purpose=RECALL, depth=20, **more)


def lacks(found):
    return {(item.identifier.partition("/")[0], item.code, item.node) for item in found.broken}


def test_a_node_that_stands_still_is_named_and_the_rest_is_there(net, whole):
    everything = {item["identifier"] for item in whole["nodes"]}
    process = net.network.nodes[MINERALS]
    os.kill(process.pid, signal.SIGSTOP)
    try:
        found = recall(net, deadline_ms=3_000)
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert lacks(found) == {(SALTS, "timeout", net.url(MINERALS))}
    # what it would have told: kind and status of its lots
    assert {item.identifier for item in found.nodes} == everything
    untold = {item.identifier for item in found.nodes if item.kind is None}
    assert untold == {item for item in everything if item.startswith(SALTS)} != set()
    assert len(found.edges) == len(whole["edges"])
    wait_for(lambda: recall(net).broken == (), 10, "the trace to be whole again")


def test_a_link_becomes_mutual_at_both_nodes_once_the_other_is_back(net):
    lot, cathode = f"{SALTS}/LOT-NEW", f"{CATHODES}/LFP-NEW"
    process = net.network.nodes[MINERALS]
    with net.client(MINERALS, SALTS) as client:
        client.register({"identifier": lot, "kind": "batch"})
    with net.client(SECONDARY, CATHODES) as buyer:
        buyer.register({"identifier": cathode, "kind": "batch"})
        net.run(process.stop(signal.SIGKILL))
        said = buyer.link(
            {"side": "downstream", "type": "CONSUMED_INTO", "upstream": lot, "downstream": cathode}
        )
        assert said.link_state == "proposed"
        wait_for(lambda: waiting(buyer, lot), 10, "an attempt to fail")
        assert lacks(recall(net)) == {(SALTS, "unreachable", net.url(MINERALS))}
        net.run(process.start())
        wait_for(lambda: buyer.deliveries() == (), 20, "the statement to be delivered")
    with net.client(MINERALS, SALTS) as seller:
        (listed,) = seller.links(lot, named=True)
        assert (listed.state, listed.link.downstream.text) == ("proposed", cathode)
        said = seller.link(
            {"side": "upstream", "type": "CONSUMED_INTO", "upstream": lot, "downstream": cathode}
        )
        assert said.link_state == "mutual"
        wait_for(lambda: seller.deliveries() == (), 20, "the confirmation to be delivered")
    for name, prefix, near in ((MINERALS, SALTS, lot), (SECONDARY, CATHODES, cathode)):
        with net.client(name, prefix) as client:
            (listed,) = client.links(near, named=True)
            assert (listed.state, len(listed.envelopes)) == ("mutual", 2), name


def waiting(client, far):
    found = client.deliveries()
    return [(item.far, item.attempts > 0) for item in found] == [(far, True)] and (
        "peer_unreachable" in (found[0].failure or "")
    )


# The command line


def test_the_command_line_tells_of_nodes(net):
    def told(*asked):
        ran = subprocess.run(
            [*TIERLINK, *asked, "--url", net.url(VEHICLE), "--as", VANS],
            env={
                **os.environ,
                "TIERLINK_DATA_DIR": str(net.folder(VEHICLE)),
                "NO_COLOR": "1",
                "COLUMNS": "200",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def trace(*more):
        return told("trace", net.named["vehicle"], *more)

    across = trace()
    assert f"{net.url(SECONDARY)} told of 6 identifiers (88.118)" in across
    assert "hidden 68 more" in across
    alone = trace("--no-across")
    assert f"goes on at {net.url(SECONDARY)}" in alone
    came = told("grant", "received")
    assert f"{SALTS} {RECALL}-upstream, version 1, granted" in came
    assert f"{PACKS} opened" in came


def test_the_whole_network_ends_and_starts_again(net):
    net.run(net.network.stop())
    ran = subprocess.Popen(
        [*TIERLINK, "federation"],
        env={**os.environ, "TIERLINK_DATA_DIR": str(net.network.folder.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said = []
        for line in ran.stdout:
            said.append(line)
            if line == "federation ready\n":
                break
        assert "federation ready\n" in said, said
        assert net.get(ROOT, f"/{net.named['vehicle']}").status_code == 200
        ran.send_signal(signal.SIGINT)
        assert ran.wait(30) == 0
    finally:
        ran.kill()
        ran.stdout.close()
    for name in NAMES:
        with pytest.raises(httpx.ConnectError):
            net.get(name, "/healthz")
