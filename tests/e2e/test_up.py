"""`tierlink up` as its users run it: fresh, again, killed, as root and not, in odd places."""

import json
import os
import pwd
import signal
import stat
import subprocess
import threading
from pathlib import Path

import httpx
import pytest

from tests.e2e.node import TIERLINK, Node, node
from tests.fixtures_pg import short_folder

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: becomes another user")


@pytest.fixture(scope="module")
def battery():
    """A node with the sample loaded, shared by the tests that only read or add."""
    with short_folder() as folder, node(folder / "data", fresh=True) as running:
        yield running


def test_the_sample_is_there_as_promised(battery):
    path = battery.data_dir / "sample.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    sample = battery.sample()
    assert sample["parent"] == "88.118"
    assert len(sample["enterprises"]) >= 6
    for enterprise in sample["enterprises"]:
        assert {"prefix", "name", "api_key", "key_file"} <= set(enterprise)
        if enterprise["key_file"]:
            assert stat.S_IMODE(Path(enterprise["key_file"]).stat().st_mode) == 0o600
    wanted = {"pack", "vehicle", "material_batch", "suspended", "covered_serial"}
    assert wanted <= set(sample["examples"])


def test_ready_and_healthy(battery):
    with battery.client() as client:
        assert client.get("/readyz").status_code == 200
        assert client.get("/healthz").status_code == 200
        assert "tierlink_" in client.get("/metrics").text


def test_every_example_resolves_and_verifies(battery):
    examples = battery.sample()["examples"]
    with battery.client() as client:
        for name, identifier in examples.items():
            reply = client.get(f"/{identifier}")
            assert reply.status_code == 200, (name, reply.text)
            assert reply.json()["status"] == ("suspended" if name == "suspended" else "active")
            verdict = battery.cli("verify", "-", "--json", stdin=reply.content)
            assert verdict.returncode == 0, (name, verdict.stdout, verdict.stderr)


def test_a_changed_byte_does_not_verify(battery):
    identifier = battery.sample()["examples"]["pack"]
    with battery.client() as client:
        document = client.get(f"/{identifier}").json()
    document["targets"][0]["href"] += "x"
    verdict = battery.cli("verify", "-", "--json", stdin=json.dumps(document, ensure_ascii=False))
    assert verdict.returncode == 1
    assert json.loads(verdict.stdout)["code"] == "E_ANSWER"


def test_a_vehicle_traces_back_to_its_material(battery):
    examples = battery.sample()["examples"]
    up = battery.cli("trace", examples["vehicle"], "--direction", "upstream", "--json")
    assert up.returncode == 0, up.stderr
    trace = json.loads(up.stdout)
    assert max(item["depth"] for item in trace["nodes"]) >= 4
    assert {"mutual", "proposed"} & {edge["state"] for edge in trace["edges"]}
    down = battery.cli("trace", examples["material_batch"], "--direction", "downstream", "--json")
    assert examples["vehicle"].partition("/")[0] in {
        item["identifier"].partition("/")[0] for item in json.loads(down.stdout)["nodes"]
    }


def test_exit_codes(battery):
    assert battery.cli("resolve", battery.sample()["examples"]["pack"]).returncode == 0
    assert battery.cli("resolve", "88.118.1/NOBODY-REGISTERED-THIS").returncode == 1
    assert battery.cli("resolve", "88.118.1").returncode in (1, 2)
    assert battery.cli("resolve", "--no-such-option").returncode == 2


def test_a_write_is_resolved_within_the_bound(battery):
    enterprise = next(e for e in battery.sample()["enterprises"] if not e["key_file"])
    identifier = f"{enterprise['prefix']}/E2E-0001"
    with battery.client() as client:
        assert client.get(f"/{identifier}").status_code == 404
        made = client.post(
            "/v1/identifiers",
            json={"identifier": identifier, "kind": "item"},
            headers={"authorization": f"Bearer {enterprise['api_key']}"},
        )
        assert made.status_code == 201, made.text
        deadline = threading.Event()
        for _ in range(60):  # the bound is one second; a busy machine may be slower to ask
            if client.get(f"/{identifier}").status_code == 200:
                break
            deadline.wait(0.05)
        assert client.get(f"/{identifier}").status_code == 200


def test_trust_file_is_written(battery):
    document = json.loads((battery.data_dir / "trust.json").read_text())
    assert document["v"] == 1
    assert len(document["roots"]) == 1
    assert len(document["delegations"]) >= 7


def test_the_events_of_the_readme(battery):
    """Captured once however often, traced, and exported as events that can be captured again."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    document = readme.partition("cathode.json <<'EOF'\n")[2].partition("\nEOF\n")[0]
    (battery.data_dir / "cathode.json").write_text(document)
    call = ("epcis", "capture", str(battery.data_dir / "cathode.json"), "--as", "88.118.104")
    told = [battery.cli(*call).stdout.decode().splitlines()[1:] for _ in range(2)]
    assert told == [
        ["events       2 captured", "links        2"],
        ["events       2 known", "links        0"],
    ]
    lot = "88.118.104/LFP26-L26111801"
    done = battery.cli("trace", lot, "--json")
    assert done.returncode == 0, (done.stdout, done.stderr)
    trace = json.loads(done.stdout)
    assert trace["edges"][-1]["upstream"] == "88.118.101/LC995-L26080301"
    with battery.client() as client:
        answer = client.get(f"/v1/trace/{lot}", headers={"accept": "application/ld+json"})
    events = answer.json()["epcisBody"]["queryResults"]["resultsBody"]["eventList"]
    again = json.loads(document) | {"epcisBody": {"eventList": events}}
    done = battery.cli(
        *("epcis", "capture", "-", "--as", "88.118.104", "--proceed", "--json"),
        stdin=json.dumps(again),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["events"]["captured"] == len(events) == 2
    assert json.loads(battery.cli("trace", lot, "--json").stdout)["nodes"] == trace["nodes"]
    refused = battery.cli("epcis", "capture", "-", "--as", "88.118.106", stdin=document)
    assert refused.returncode == 1
    assert b"begins under the prefix of somebody else" in refused.stderr


def test_sigterm_ends_it_cleanly_and_a_second_start_finds_its_data():
    with short_folder() as folder:
        data = folder / "a path with spaces, and 标识"
        with node(data, TIERLINK_SAMPLE="none") as first:
            operator = json.loads((data / "operator.json").read_text())
            made = httpx.post(
                f"{first.url}/v1/prefixes",
                json={"prefix": "88.7", "organisation": {"name": "Seven"}},
                headers={"authorization": f"Bearer {operator['api_key']}"},
            )
            assert made.status_code == 201, made.text
            assert first.stop() == 0
            assert "Traceback" not in first.said
        with node(data, TIERLINK_SAMPLE="none") as second:
            assert httpx.get(f"{second.url}/v1/prefixes/88.7").status_code == 200
            assert second.stop(signal.SIGINT) == 0


def test_kill_9_loses_no_accepted_write():
    with short_folder() as folder:
        accepted: list[str] = []
        with node(folder / "data", TIERLINK_SAMPLE="none") as first:
            operator = json.loads((folder / "data" / "operator.json").read_text())
            made = httpx.post(
                f"{first.url}/v1/prefixes",
                json={"prefix": "88.9", "organisation": {"name": "Nine"}},
                headers={"authorization": f"Bearer {operator['api_key']}"},
            ).json()

            def produce() -> None:
                headers = {"authorization": f"Bearer {made['api_key']}"}
                with httpx.Client(base_url=first.url, headers=headers) as client:
                    for number in range(100_000):
                        identifier = f"88.9/N-{number:06d}"
                        try:
                            body = {"identifier": identifier, "kind": "item"}
                            reply = client.post("/v1/identifiers", json=body)
                        except httpx.HTTPError:
                            return
                        if reply.status_code == 201:
                            accepted.append(identifier)

            writer = threading.Thread(target=produce)
            writer.start()
            while len(accepted) < 50 and writer.is_alive():
                threading.Event().wait(0.01)
            first.process.kill()
            first.process.wait()
            writer.join()
        assert len(accepted) >= 50
        with node(folder / "data", TIERLINK_SAMPLE="none") as second, second.client() as client:
            found = [client.get(f"/{identifier}").status_code for identifier in accepted]
        assert set(found) == {200}


def test_over_ipv6():
    with (
        short_folder() as folder,
        node(folder / "d", host="::1", TIERLINK_SAMPLE="none") as running,
    ):
        assert running.url.startswith("http://[::1]:")
        assert httpx.get(f"{running.url}/readyz").status_code == 200


def test_a_taken_port_is_a_clear_error():
    with short_folder() as folder, node(folder / "d", TIERLINK_SAMPLE="none") as running:
        other = Node(folder / "other", "127.0.0.1", {"TIERLINK_SAMPLE": "none"})
        environment = {**other.environment, "TIERLINK_PORT": str(running.port)}
        refused = subprocess.run(
            [*TIERLINK, "up"], env=environment, capture_output=True, text=True, check=False
        )
    assert refused.returncode == 1
    assert str(running.port) in refused.stderr + refused.stdout
    assert "Traceback" not in refused.stderr + refused.stdout


@as_root
def test_as_root_a_folder_the_account_cannot_reach_is_named():
    with short_folder() as folder:
        closed = folder / "closed"
        closed.mkdir(mode=0o700)
        other = Node(closed / "data", "127.0.0.1", {"TIERLINK_SAMPLE": "none"})
        refused = subprocess.run(
            [*TIERLINK, "up"], env=other.environment, capture_output=True, text=True, check=False
        )
    assert refused.returncode == 1
    assert str(closed) in refused.stderr + refused.stdout
    assert "Traceback" not in refused.stderr + refused.stdout


@as_root
def test_as_a_normal_user():
    nobody = pwd.getpwnam("nobody")
    with short_folder() as folder:
        home = folder / "home"
        home.mkdir(mode=0o700)
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        command = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}"]
        command += ["--clear-groups", *TIERLINK]
        readable = subprocess.run([*command, "--help"], capture_output=True, check=False)
        if readable.returncode:
            # The checkout or its interpreter lies below a private home: nothing to run from.
            pytest.skip("needs a normal user who can read this checkout")
        with node(
            home / "d", command=[*command, "up"], TIERLINK_SAMPLE="none", HOME=str(home)
        ) as running:
            assert (home / "d" / "pg").stat().st_uid == nobody.pw_uid
            assert running.stop() == 0
