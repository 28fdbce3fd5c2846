"""Proofs from end to end: fetched from a node, kept, and checked when the node is gone."""

import json
import time

import pytest

from schemas.chain import Trust
from schemas.proof import judge
from tests.e2e.node import node
from tests.fixtures_pg import short_folder
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
    battery_url = battery.environment.pop("TIERLINK_PORT")
    try:
        asked = ("verify", str(kept), "--trust", str(trust_of(battery)), "--json")
        verdict = battery.cli(*asked)
        assert verdict.returncode == 0, verdict.stdout
        found = json.loads(verdict.stdout)
        assert (found["state"], found["identifier"]) == ("valid", identifier)
        assert found["log"]["version"] == 1
        spoiled = (
            kept.read_text().replace('"version"', '"version"').replace('"salt":"', '"salt":"A')
        )
        kept.write_text(spoiled)
        assert battery.cli(*asked).returncode == 1
    finally:
        battery.environment["TIERLINK_PORT"] = battery_url


def test_of_a_new_version_the_old_proof_is_of_the_past(battery):
    """A proof of before is still what it was; a proof of now shows the new version alone."""
    prefix = "88.118.108"
    with Client(battery.url, trust=trust_of(battery), api_key=battery.key_of(prefix)) as client:
        about = f"{prefix}/PROVED-{time.time_ns()}"
        client.register({"identifier": about, "kind": "document"})
        before = client.proof(about)
        client.update({"identifier": about, "kind": "document", "attributes": {"title": "2"}})
        after = client.proof(about)
        assert (before.record.version, after.record.version) == (1, 2)
        gone = client.retire(about)
        assert gone.status == "retired"
        last = client.proof(about)
        assert (last.record.version, last.record.status) == (3, "retired")
