"""The log of a whole node: published as things are registered, and never forked by a restore."""

import json
import shutil
import time

import httpx
import pytest

from schemas.chain import Trust
from schemas.checkpoint import verify_note
from tests.e2e.node import Node, node
from tests.fixtures_pg import short_folder


def head(running):
    """The newest checkpoint, verified with the key of the node's trust.json."""
    trust = Trust.parse((running.data_dir / "trust.json").read_bytes())
    with running.client() as client:
        note = client.get("/v1/log/checkpoint").raise_for_status().text
        assert client.get("/v1/trust").json()["log"]["vkey"] == trust.policy.log.vkey
    return verify_note(note, trust.policy.log)[0]


def allocate(running, prefix):
    operator = json.loads((running.data_dir / "operator.json").read_text())["api_key"]
    body = {"prefix": prefix, "organisation": {"name": "Gear"}}
    headers = {"authorization": f"Bearer {operator}"}
    reply = httpx.post(f"{running.url}/v1/prefixes", json=body, headers=headers)
    assert reply.status_code == 201, reply.text


def grown(running, size):
    """Wait until a checkpoint covers more leaves."""
    deadline = time.monotonic() + 20
    while True:
        if httpx.get(f"{running.url}/v1/log/checkpoint").status_code == 200:
            now = head(running).size
            if now > size:
                return now
        assert time.monotonic() < deadline, running.said
        time.sleep(0.05)


@pytest.fixture
def folder():
    with short_folder() as found:
        yield found / "data"


def settled(**settings):
    return {"TIERLINK_SAMPLE": "none", "TIERLINK_LOG_EPOCH_SECONDS": "0.1"} | settings


def test_what_is_registered_is_in_the_log_soon(folder):
    vkey = folder.parent / "log.vkey"
    settings = settled(TIERLINK_LOG_ORIGIN="gear.example/log", TIERLINK_LOG_VKEY_FILE=str(vkey))
    with node(folder, **settings) as running:
        first = grown(running, 0)
        allocate(running, "88.200")
        assert grown(running, first) == first + 2
        assert head(running).origin == "gear.example/log"
        assert vkey.read_text().startswith("gear.example/log+")
        ready = httpx.get(f"{running.url}/readyz").json()
        assert ready["degraded"] == []
    with node(folder, **settings) as running:
        assert head(running).size == first + 2
        allocate(running, "88.201")
        assert grown(running, first + 2) == first + 4


def test_a_restored_database_is_refused_and_why_is_said(folder):
    with node(folder, **settled()) as running:
        size = grown(running, 0)
    shutil.copytree(folder / "pg", folder / "backup", symlinks=True)
    keep_owners(folder / "pg", folder / "backup")
    with node(folder, **settled()) as running:
        allocate(running, "88.200")
        later = grown(running, size)
    shutil.rmtree(folder / "pg")
    (folder / "backup").rename(folder / "pg")
    restored = Node(folder, "127.0.0.1", settled())
    with pytest.raises(AssertionError):
        restored.start()
    assert restored.stop() != 0
    assert f"has {size} leaves, and a checkpoint of {later} was signed" in restored.said
    assert "recover the database up to its last write" in restored.said
    restored.process.stdout.close()


def keep_owners(source, target):
    """The database runs as an account of its own where the tests run as root."""
    for path in (source, *source.rglob("*")):
        found = path.lstat()
        copied = target / path.relative_to(source)
        if copied.lstat().st_uid != found.st_uid:
            shutil.chown(copied, found.st_uid, found.st_gid)
