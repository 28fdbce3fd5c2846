"""A node is backed up as it runs, lost, and restored: the same answers, and no second history."""

import json
import shutil
import time

import httpx
import pytest

from tests.e2e.node import TIERLINK, Node, node
from tests.fixtures_pg import short_folder

SETTINGS = {"TIERLINK_SAMPLE": "none", "TIERLINK_LOG_EPOCH_SECONDS": "0.1"}
PREFIX = "88.200"
NAMES = [f"{PREFIX}/GEAR-{n}" for n in range(8)]
ASKED = [*NAMES, f"{PREFIX}/SHAFT-7", f"{PREFIX}/NEVER", "99.1/ELSEWHERE"]


@pytest.fixture
def folder():
    with short_folder() as found:
        yield found


class Holder:
    """Who registers under a prefix of a node, by HTTP."""

    def __init__(self, running, client):
        self.client = client
        operator = json.loads((running.data_dir / "operator.json").read_text())["api_key"]
        body = {"prefix": PREFIX, "organisation": {"name": "Gear 齿轮"}}
        self.key = operator
        self.key = self.ask("POST", "/v1/prefixes", body)["api_key"]

    def ask(self, method, path, body=None, **headers):
        headers["authorization"] = f"Bearer {self.key}"
        reply = self.client.request(method, path, json=body, headers=headers)
        assert reply.status_code in (200, 201), reply.text
        return reply.json()

    def register(self, name, kind="item", **members):
        return self.ask("POST", "/v1/identifiers", {"identifier": name, "kind": kind} | members)

    def everything(self):
        """One of each: items, a next version, a retired one, a class with a rule, links."""
        for name in NAMES:
            self.register(name, attributes={"teeth": "41"})
        body = {"identifier": NAMES[1], "kind": "item", "attributes": {"teeth": "42"}}
        self.ask("PUT", f"/v1/identifiers/{NAMES[1]}", body, **{"if-match": '"1"'})
        self.ask("DELETE", f"/v1/identifiers/{NAMES[2]}", **{"if-match": '"1"'})
        rule = {
            "pattern": "SHAFT-{n:digits:1-9}",
            "targets": [{"rel": "gs1:pip", "template": "https://gear.example/{n}"}],
        }
        self.register(f"{PREFIX}/SHAFT", "class", rule=rule)
        for side in ("upstream", "downstream"):
            ends = {"upstream": NAMES[3], "downstream": NAMES[4]}
            self.ask("POST", "/v1/links", {"type": "CONTAINED_IN", "side": side} | ends)


def answers(running):
    """What everybody is told of every identifier: status, headers that say something, bytes."""
    with running.client() as client:
        replies = [client.get(f"/{name}") for name in ASKED]
    return [(reply.status_code, reply.headers.get("etag"), _timeless(reply)) for reply in replies]


def _timeless(reply):
    return reply.content if reply.status_code in (200, 410) else reply.json()["code"]


def published(running, size=0):
    """Wait until a checkpoint covers more leaves than that; return how many."""
    deadline = time.monotonic() + 20
    while True:
        reply = httpx.get(f"{running.url}/v1/log/checkpoint")
        found = int(reply.text.split("\n")[1]) if reply.status_code == 200 else 0
        if found > size:
            return found
        assert time.monotonic() < deadline, running.said
        time.sleep(0.05)


def at_rest(running):
    """Wait until the log has taken in and published everything."""
    size = published(running)
    while True:
        time.sleep(0.4)
        now = published(running)
        if now == size:
            return size
        size = now


def command(away, *arguments):
    """Run the command line against the folder of a node that does not run."""
    done = away.cli(*arguments, "--json")
    said = done.stdout.decode().strip()
    return done.returncode, json.loads(said.splitlines()[-1]) if said else {}


def test_a_node_is_lost_and_restored(folder):
    early, late = folder / "early", folder / "late"
    with node(folder / "old", **SETTINGS) as running, running.client() as client:
        holder = Holder(running, client)
        holder.everything()
        size = at_rest(running)
        told = answers(running)
        watermark = client.get("/v1/changes").json()["watermark"]
        code, made = command(running, "backup", str(early))
        assert (code, made["secrets"], made["log"]["size"]) == (0, False, size)
        holder.register(f"{PREFIX}/AFTER")  # accepted, published, and in no early backup
        after = published(running, size)
    running = Node(folder / "old", "127.0.0.1", SETTINGS)
    code, made = command(running, "backup", str(late), "--with-secrets")  # of a node at rest
    assert (code, made["secrets"], made["log"]["size"]) == (0, True, after)
    shutil.move(folder / "old" / "log" / "published.note", folder / "newest.note")
    shutil.rmtree(folder / "old")
    resolves_but_does_not_go_on(folder, early, told, after - size)
    goes_on(folder, late, told, watermark, after)


def resolves_but_does_not_go_on(folder, backup, told, lost):
    """The backup is older than what was signed: reading is fine, a second history is not.

    That `up` and `registry` refuse then is tested in test_log_of_a_node.py.
    """
    away = Node(folder / "new", "127.0.0.1", SETTINGS, [*TIERLINK, "resolver"])
    note = ("--log-copy", str(folder / "newest.note"))
    code, said = command(away, "restore", str(backup), *note)
    assert (code, said["lost"], said["may_go_on"]) == (1, lost, False)
    try:
        assert answers(away.start()) == told
    finally:
        away.stop()
        away.process.stdout.close()


def goes_on(folder, backup, told, watermark, size):
    """The backup has all that was signed: the node goes on, in a history of its own."""
    away = Node(folder / "last", "127.0.0.1", SETTINGS)
    note = ("--log-copy", str(folder / "newest.note"))
    code, said = command(away, "restore", str(backup), *note)
    assert (code, said["lost"], said["log"]["size"]) == (0, 0, size)
    with node(folder / "last", **SETTINGS) as running:
        assert answers(running) == told
        with running.client() as client:
            changes = client.get("/v1/changes", params={"after": watermark}).json()
            assert changes["changes"] == []
            assert changes["watermark"].split(".")[0] != watermark.split(".")[0]
            reply = client.get(f"/{PREFIX}/AFTER")
            assert reply.status_code == 200
        operator = json.loads((folder / "last" / "operator.json").read_text())["api_key"]
        body = {"prefix": "88.201", "organisation": {"name": "Next"}}
        headers = {"authorization": f"Bearer {operator}"}
        assert httpx.post(f"{running.url}/v1/prefixes", json=body, headers=headers).is_success
        assert published(running, size) > size
        with running.client() as client:
            assert client.get(f"/v1/proof/{NAMES[1]}").status_code == 200
