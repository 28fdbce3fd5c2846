"""A file of drafts signed by one signature, registered and verified through a whole node."""

import json

import httpx
import pytest

from schemas.batched import parse_statement
from schemas.record import parse_record
from schemas.signed import type_of
from tests.e2e.node import node
from tests.fixtures_pg import short_folder
from tests.servers import wait_for
from tierlink import Client, keyfile

PREFIX = "88.200"
COUNT = 4_500  # several requests


@pytest.fixture(scope="module")
def running():
    with short_folder() as folder, node(folder / "data", TIERLINK_SAMPLE="none") as started:
        yield started


@pytest.fixture(scope="module")
def holder(running):
    """Who holds the prefix: the key file, and the environment of its commands."""
    key, api_key = running.data_dir / "maker.key", running.data_dir / "maker.api-key"
    made = running.cli("keygen", str(key))
    assert made.returncode == 0, made.stderr
    allocated = running.cli(
        *("allocate", PREFIX, "--organisation", "Maker", "--key", str(key)),
        *("--api-key-out", str(api_key)),
    )
    assert allocated.returncode == 0, allocated.stderr
    running.environment |= {"TIERLINK_API_KEY_FILE": str(api_key)}
    return key


def draft(number, **members):
    return {"identifier": f"{PREFIX}/P-{number:06d}", "kind": "item"} | members


@pytest.fixture(scope="module")
def registered(running, holder):
    """What the command said of a file: lines 3 and 7 are no drafts, line 9 is empty."""
    lines = [json.dumps(draft(number, attributes={"n": str(number)})) for number in range(COUNT)]
    lines[2], lines[6], lines[8] = '{"identifier":"88.200/","kind":"item"}', "{", ""
    path = running.data_dir / "records.ndjson"
    path.write_text("\n".join(lines) + "\n")
    done = running.cli(
        "register", "--batch", str(path), "--batch-statement", "--key", str(holder), "--json"
    )
    assert done.returncode == 1, done.stderr  # two lines are refused
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_line_has_its_result(registered):
    assert [item["line"] for item in registered] == [n for n in range(1, COUNT + 1) if n != 9]
    refused = {item["line"]: item["code"] for item in registered if item["status"] >= 400}
    assert set(refused) == {3, 7}
    assert refused[3] == "identifier_invalid"
    assert sum(item["status"] == 201 for item in registered) == COUNT - 3


@pytest.mark.usefixtures("registered")
def test_one_signature_is_under_them_all(running):
    with running.client() as client:
        answers = [client.get(f"/{PREFIX}/P-{number:06d}").json() for number in (0, 1, COUNT - 1)]
    statements = {answer["envelope"].split("~", 3)[3] for answer in answers}
    assert len(statements) == 1
    assert parse_statement(statements.pop()).count == COUNT - 3
    for number, answer in zip((0, 1, COUNT - 1), answers, strict=True):
        assert answer["attributes"] == {"n": str(number)}


@pytest.mark.usefixtures("registered")
def test_each_verifies_alone(running):
    for number in (0, 17, COUNT - 1):
        with running.client() as client:
            answer = client.get(f"/{PREFIX}/P-{number:06d}")
        for given in (answer.content, answer.json()["envelope"].encode()):
            verdict = running.cli("verify", "-", "--json", stdin=given)
            assert verdict.returncode == 0, (verdict.stdout, verdict.stderr)
            assert json.loads(verdict.stdout)["identifier"] == f"{PREFIX}/P-{number:06d}"


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    "target", [f"/{PREFIX}/P-000017?proof=full", f"/v1/proof/{PREFIX}/P-000017"]
)
def test_the_log_proves_them_like_others(running, target):
    with running.client() as client:
        wait_for(lambda: client.get(target).status_code == 200, what="a checkpoint")
        answer = client.get(target)
    assert "log" in answer.json()["proof"]
    verdict = running.cli("verify", "-", "--json", stdin=answer.content)
    assert verdict.returncode == 0, (verdict.stdout, verdict.stderr)


@pytest.mark.usefixtures("registered")
def test_a_record_of_another_place_does_not(running):
    with running.client() as client:
        one, other = (client.get(f"/{PREFIX}/P-{number:06d}").json() for number in (0, 1))
    parts = one["envelope"].split("~", 3)
    parts[1] = other["envelope"].split("~")[1]
    one["envelope"] = "~".join(parts)
    verdict = running.cli("verify", "-", "--json", stdin=json.dumps(one, ensure_ascii=False))
    assert verdict.returncode == 1
    assert json.loads(verdict.stdout)["code"] == "E_INCLUSION"


@pytest.mark.usefixtures("registered")
def test_every_representation_but_jose(running):
    with running.client() as client:
        path = f"/{PREFIX}/P-000000"
        assert client.get(path, headers={"accept": "text/html"}).status_code == 200
        assert client.get(f"{path}?format=linkset").status_code == 200
        for refused in (
            client.get(f"{path}?format=jose"),
            client.get(path, headers={"accept": "application/jose"}),
        ):
            assert (refused.status_code, refused.json()["code"]) == (406, "not_acceptable")
            assert "envelope" in refused.json()["fix"]
            assert refused.headers["content-type"] == "application/problem+json"


@pytest.fixture(scope="module")
def client(running, holder, registered):
    api_key = (running.data_dir / "maker.api-key").read_text().strip()
    with Client(running.url, api_key=api_key, signer=keyfile.load(holder), trust="fetch") as made:
        yield made


def test_the_client_reads_and_updates_them(client):
    identifier = f"{PREFIX}/P-000100"
    read = client.resolve(identifier)
    assert read.verified.current
    assert client.envelope(identifier).envelope == read.envelope
    done = client.update(draft(100, attributes={"n": "more"}))
    assert done.version == 2
    first, second = sorted(client.versions(identifier), key=lambda item: item.record.version)
    assert (first.envelope, second.record.prev) == (read.envelope, first.digest)


def test_the_client_signs_records_and_links_together(running, client):
    drafts = [draft(number) for number in range(900_000, 900_050)]
    ends = [item["identifier"] for item in drafts]
    said = {"side": "downstream", "type": "CONTAINED_IN"}
    links = [
        said | {"upstream": f"88.201/B-{number}", "downstream": end}
        for number, end in enumerate(ends)
    ]
    seen = []
    results = list(client.load_many([*drafts, *links], statement=True, progress=seen.append))
    assert [result.status for result in results] == [201] * 100
    assert seen == [50, 100]
    (standing,) = client.links(ends[0], named=True)
    (token,) = standing.envelopes
    assert type_of(token) == "tierlink-link+jws"
    assert parse_statement(token.split("~", 3)[3]).count == 50
    verdict = running.cli("verify", "-", "--json", stdin=token)
    assert json.loads(verdict.stdout)["thing"] == "link", verdict.stderr
    envelope, _ = parse_record(client.resolve(ends[0]).envelope)
    assert envelope.statement is not None


def test_the_same_file_again_changes_nothing(running, holder, registered):
    path = running.data_dir / "records.ndjson"
    done = running.cli(
        "register", "--batch", str(path), "--batch-statement", "--key", str(holder), "--json"
    )
    again = [json.loads(line) for line in done.stdout.splitlines()]
    assert {item["status"] for item in again if item["status"] < 300} == {200}


def test_without_a_key_nothing_is_sent(running, holder):
    done = running.cli("register", "--batch", "-", "--batch-statement", stdin="{}\n")
    assert done.returncode == 1
    assert b"--key" in done.stderr
    alone = running.cli("register", f"{PREFIX}/X", "--batch-statement", "--key", str(holder))
    assert alone.returncode == 2
    with httpx.Client(base_url=running.url) as client:
        assert client.get(f"/{PREFIX}/X").status_code == 404
