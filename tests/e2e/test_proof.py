"""Proofs from end to end: fetched from a node, kept, and checked when the node is gone."""

import json
import time

import pytest

from schemas.chain import Trust
from schemas.proof import judge
from tests.e2e.node import node
from tests.fixtures_pg import short_folder
from tests.servers import wait_for
from tierlink import Client


@pytest.fixture(scope="module")
def battery():
    with short_folder() as folder, node(folder / "data") as running:
        yield running


def trust_of(running):
    return running.data_dir / "trust.json"


def test_every_example_is_proved(battery):
    trust = Trust.parse(trust_of(battery).read_bytes())
    with battery.client() as client:
        for name, identifier in battery.sample()["examples"].items():
            for target in (f"/v1/proof/{identifier}", f"/{identifier}?proof=full"):
                reply = client.get(target)
                assert reply.status_code == 200, (name, target, reply.text)
                found = judge(reply.content, trust, int(time.time()))
                assert (found.state, found.exists) == ("valid", True), (name, found.codes)


def test_that_nothing_is_registered_is_proved(battery):
    with Client(battery.url, trust=trust_of(battery)) as client:
        found = client.proof("88.118.108/NO-SUCH-PACK")
        assert (found.exists, found.record, found.verified.state) == (False, None, "valid")
        pack = client.proof(battery.sample()["examples"]["pack"])
        assert pack.exists
        assert pack.verified.logged.size > 1_000
        full = client.resolve(battery.sample()["examples"]["pack"], proof="full")
        assert full.verified.logged.epoch >= pack.verified.logged.epoch


def test_a_kept_proof_needs_no_node(battery, tmp_path):
    identifier, kept = battery.sample()["examples"]["pack"], tmp_path / "pack.json"
    made = battery.cli("proof", identifier, "--out", str(kept))
    assert made.returncode == 0, made.stderr
    asked = ("verify", str(kept), "--trust", str(trust_of(battery)), "--json")
    # The command has no address to ask: nothing listens at this port.
    port, battery.environment["TIERLINK_PORT"] = battery.environment["TIERLINK_PORT"], "1"
    try:
        verdict = battery.cli(*asked)
        assert verdict.returncode == 0, verdict.stdout
        found = json.loads(verdict.stdout)
        assert (found["state"], found["identifier"]) == ("valid", identifier)
        assert found["log"]["version"] == 1
        document = json.loads(kept.read_text())
        document["proof"]["log"]["epoch"]["number"] += 1
        kept.write_text(json.dumps(document))
        verdict = battery.cli(*asked)
        assert (verdict.returncode, json.loads(verdict.stdout)["code"]) == (1, "E_MAP")
    finally:
        battery.environment["TIERLINK_PORT"] = port


def test_of_a_new_version_there_is_a_new_proof(battery):
    prefix = "88.118.108"
    about = f"{prefix}/PROVED-{time.time_ns()}"
    steps = (
        ("register", about, "--kind", "document"),
        ("update", about, "--kind", "document", "--title", "second"),
        ("retire", about),
    )
    with Client(battery.url, trust=trust_of(battery)) as client:
        for version, step in enumerate(steps, 1):
            made = battery.cli(*step, "--as", prefix)
            assert made.returncode == 0, made.stderr
            # A proof is as of the newest epoch, which may be a second older than the write.
            wait_for(lambda: client.proof(about).record.version == version, what=f"{version}")  # noqa: B023
            assert client.proof(about).verified.state == "valid"
        assert client.proof(about).record.status == "retired"
