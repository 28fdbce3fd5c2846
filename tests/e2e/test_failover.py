"""A primary is killed and its standby promoted: real servers, a registry and a resolver."""

import json
import re
import time
from contextlib import ExitStack

import pytest

from tests.e2e.node import TIERLINK, node
from tests.fixtures_standby import DATABASE, replicated

SECONDS = 60
ITEM = "88.118.8/A-1"


def whichever_is_primary(pair):
    hosts = "&".join(f"host=127.0.0.1:{server.port}" for server in (pair.primary, pair.standby))
    url = pair.primary.url_of("postgresql+asyncpg", DATABASE, 1).replace("@127.0.0.1:1/", "@/")
    return f"{url}?{hosts}&target_session_attrs=read-write"


@pytest.fixture
def running(tmp_path):
    """A synchronous pair, a registry on whichever is the primary, a resolver on the standby."""
    with replicated(synchronous=True) as pair, ExitStack() as stack:
        either, clients = whichever_is_primary(pair), []
        for role, url in (("registry", either), ("resolver", pair.standby.url)):
            started = node(
                tmp_path / role,
                command=[*TIERLINK, role],
                TIERLINK_DATABASE_URL=url,
                TIERLINK_PRIMARY_URL=either,
            )
            clients.append(stack.enter_context(stack.enter_context(started).client()))
        operator = json.loads((tmp_path / "registry" / "operator.json").read_text())
        registry, resolver = clients
        registry.headers["authorization"] = f"Bearer {operator['api_key']}"
        body = {"prefix": "88.118.8", "organisation": {"name": "Maker"}}
        answer = registry.post("/v1/prefixes", json=body)
        assert answer.status_code == 201, answer.text
        registry.headers["authorization"] = f"Bearer {answer.json()['api_key']}"
        yield pair, registry, resolver


def until(wanted):
    deadline = time.monotonic() + SECONDS
    while (found := wanted()) is None or found is False:
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)
    return found


def write(registry, version):
    body = {"identifier": ITEM, "kind": "item", "attributes": {"n": str(version + 1)}}
    if version == 0:
        return registry.post("/v1/identifiers", json=body)
    headers = {"if-match": f'"{version}"'}
    return registry.put(f"/v1/identifiers/{ITEM}", json=body, headers=headers)


def test_what_was_read_before_a_promotion_is_void_and_nothing_is_lost(running):
    pair, registry, resolver = running
    assert write(registry, 0).status_code == 201

    def shows(version):
        answer = resolver.get(f"/{ITEM}")
        fresh = answer.status_code == 200 and "tierlink-stale" not in answer.headers
        return fresh and answer.json()["version"] == version

    def metric(name):
        return float(re.search(rf"^{name} (\S+)$", resolver.get("/metrics").text, re.MULTILINE)[1])

    until(lambda: shows(1))
    assert metric("tierlink_epochs_total") == 1
    until(lambda: metric("tierlink_staleness_seconds_count") >= 2)

    # Nobody replays: the lag is told, nothing is served as if it were fresh, all marked.
    pair.primary.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
    pair.primary.execute("SELECT pg_reload_conf()")
    pair.standby.execute("SELECT pg_wal_replay_pause()")
    assert write(registry, 1).status_code == 200
    until(lambda: "tierlink-stale" in resolver.get(f"/{ITEM}").headers)
    assert metric("tierlink_replay_lag_seconds") > 0.1
    assert resolver.get("/readyz").json()["degraded"]
    pair.standby.execute("SELECT pg_wal_replay_resume()")
    until(lambda: shows(2))
    pair.caught_up()

    pair.primary.kill()
    until(lambda: "tierlink-stale" in resolver.get(f"/{ITEM}").headers)
    pair.standby.promote()
    until(lambda: shows(2))
    assert metric("tierlink_epochs_total") == 2
    assert metric("tierlink_replay_lag_seconds") == 0
    until(lambda: write(registry, 2).status_code == 200)
    until(lambda: shows(3))


def test_a_standby_whose_primary_nobody_named_is_no_source(running, tmp_path):
    pair, registry, _ = running
    assert write(registry, 0).status_code == 201
    alone = node(
        tmp_path / "alone",
        command=[*TIERLINK, "resolver"],
        TIERLINK_DATABASE_URL=pair.standby.url,
    )
    with alone as started, started.client() as client:
        assert "TIERLINK_PRIMARY_URL" in client.get("/readyz").text
        assert client.get(f"/{ITEM}").status_code == 503
