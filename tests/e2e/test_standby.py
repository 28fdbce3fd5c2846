"""A registry on the primary and a resolver on its streaming standby: real processes throughout."""

import json
import time
from contextlib import ExitStack
from itertools import count

import pytest

from tests.e2e.node import TIERLINK, node
from tests.fixtures_standby import replicated

SECONDS = 30  # to wait for what takes about the lease on a machine that has nothing else to do

_numbers = count(1)


@pytest.fixture(scope="module")
def replication():
    """One pair for all: whoever stops one of its servers starts it again."""
    with replicated() as pair:
        yield pair


@pytest.fixture(scope="module")
def nodes(replication, tmp_path_factory):
    """Clients of a registry on the primary, and of a resolver that reads the standby."""
    folder = tmp_path_factory.mktemp("nodes")
    with ExitStack() as stack:
        command, url = [*TIERLINK, "registry"], replication.primary.url
        running = stack.enter_context(
            node(folder / "registry", command=command, TIERLINK_DATABASE_URL=url)
        )
        registry = stack.enter_context(running.client())
        replication.caught_up()
        running = stack.enter_context(reading(folder / "resolver", replication))
        resolver = stack.enter_context(running.client())
        operator = json.loads((folder / "registry" / "operator.json").read_text())
        registry.headers["authorization"] = f"Bearer {operator['api_key']}"
        body = {"prefix": "88.118.8", "organisation": {"name": "Maker"}}
        answer = registry.post("/v1/prefixes", json=body)
        assert answer.status_code == 201, answer.text
        registry.headers["authorization"] = f"Bearer {answer.json()['api_key']}"
        yield registry, resolver


def reading(folder, replication, standby=None):
    """A resolver whose database is a standby; of the primary it asks only how far it has come."""
    return node(
        folder,
        command=[*TIERLINK, "resolver"],
        TIERLINK_DATABASE_URL=(standby or replication.standby).url,
        TIERLINK_PRIMARY_URL=replication.primary.url,
    )


class Item:
    """An identifier of the test's own: written through the registry, read from resolvers."""

    def __init__(self, registry):
        self.registry = registry
        self.name = f"88.118.8/A-{next(_numbers)}"
        self.version = 0

    def put(self, **attributes):
        """Register it, or write its next version."""
        body = {"identifier": self.name, "kind": "item", "attributes": attributes}
        if self.version:
            path, headers = f"/v1/identifiers/{self.name}", {"if-match": f'"{self.version}"'}
            answer = self.registry.put(path, json=body, headers=headers)
        else:
            answer = self.registry.post("/v1/identifiers", json=body)
        assert answer.status_code in (200, 201), answer.text
        self.version += 1

    def retire(self):
        headers = {"if-match": f'"{self.version}"'}
        answer = self.registry.delete(f"/v1/identifiers/{self.name}", headers=headers)
        assert answer.status_code == 200, answer.text

    def ask(self, resolver):
        return resolver.get(f"/{self.name}")

    def is_current(self, resolver):
        answer = self.ask(resolver)
        return answer.status_code == 200 and answer.json()["version"] == self.version

    def becomes_current(self, resolver):
        eventually(lambda: self.is_current(resolver))


@pytest.fixture
def item(nodes):
    return Item(nodes[0])


@pytest.fixture
def resolver(nodes):
    return nodes[1]


def eventually(wanted):
    deadline = time.monotonic() + SECONDS
    while not wanted():
        assert time.monotonic() < deadline, "not as wanted"
        time.sleep(0.01)


def test_what_the_primary_accepts_the_resolver_serves(item, resolver):
    eventually(lambda: item.ask(resolver).status_code == 404)
    assert item.ask(resolver).status_code == 404  # out of its cache
    for teeth in range(5):
        item.put(teeth=teeth)
        item.becomes_current(resolver)
        assert item.ask(resolver).json()["attributes"] == {"teeth": teeth}
    item.retire()
    eventually(lambda: item.ask(resolver).status_code == 410)


def test_a_standby_that_stops_replaying_is_followed_when_it_goes_on(item, resolver, replication):
    item.put()
    item.becomes_current(resolver)
    replication.standby.execute("SELECT pg_wal_replay_pause()")
    item.put(n=2)
    assert not item.is_current(resolver)
    replication.standby.execute("SELECT pg_wal_replay_resume()")
    item.becomes_current(resolver)


def test_a_resolver_outlives_its_standby_and_follows_it_again(item, resolver, replication):
    item.put()
    item.becomes_current(resolver)
    replication.standby.stop()
    item.put(n=2)
    assert item.ask(resolver).status_code in (200, 503)  # as the lease runs
    replication.standby.start()
    replication.streaming()
    item.becomes_current(resolver)


def test_two_standbys_serve_alike(item, resolver, replication, tmp_path):
    item.put()
    second = replication.add_standby()
    with (
        reading(tmp_path / "2", replication, second) as running,
        running.client() as other,
    ):
        item.becomes_current(other)
        item.put(n=2)
        item.becomes_current(other)
        item.becomes_current(resolver)
        answers = [item.ask(client) for client in (other, resolver)]
    assert answers[0].content == answers[1].content
    assert answers[0].headers["etag"] == answers[1].headers["etag"]


def test_a_registry_on_a_standby_ends_and_says_why(replication, tmp_path):
    wrong = node(
        tmp_path / "wrong",
        command=[*TIERLINK, "registry"],
        TIERLINK_DATABASE_URL=replication.standby.url,
    )
    with pytest.raises(AssertionError, match=r"(?i)read-only|does not answer"), wrong:
        pass
