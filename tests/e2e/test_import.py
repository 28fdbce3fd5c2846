"""Published traceability data imported and traced through a node: its oracles must reproduce."""

import json
from pathlib import Path

import pytest

from tests.e2e.node import node
from tests.fixtures_pg import short_folder

IRS = Path(__file__).parents[3] / "shared" / "vectors" / "irs"

pytestmark = pytest.mark.skipif(not IRS.exists(), reason="../shared/vectors is absent")

PART_TYPE = "CX_Testdata_v.1.7.0_PartType.json"
COMPATIBILITY = "CX_Testdata_529_compatibility_SingleLevel"

# oracle, input, the twin at which the walk begins, our direction
ORACLES = [
    ("TRI-821", PART_TYPE, "0733946c-59c6-41ae-9570-cb43a6e4c79e", "upstream"),
    ("TRI-891", PART_TYPE, "68904173-ad59-4a77-8412-3e73fcafbd8b", "upstream"),
    ("TRI-893", PART_TYPE, "65e1554e-e5cd-4560-bac1-1352582122fb", "upstream"),
    (
        "529-single-level-bom-as-built",
        f"{COMPATIBILITY}BomAsBuilt.json",
        "bec0a457-4d6b-4c1c-88f7-125d04f04d68",
        "upstream",
    ),
    (
        "529-single-level-bom-as-planned",
        f"{COMPATIBILITY}BomAsPlanned.json",
        "0bc18367-69c3-428f-925d-6f8a461edefd",
        "upstream",
    ),
    (
        "529-single-level-usage-as-built",
        f"{COMPATIBILITY}UsageAsBuilt.json",
        "2ea93a69-7ecb-4747-94f4-960c2535dc7b",
        "downstream",
    ),
    (
        "529-single-level-usage-as-planned",
        f"{COMPATIBILITY}UsageAsPlanned.json",
        "7fe9ac70-23c4-449a-88c1-3832a1cc6da6",
        "downstream",
    ),
]
INPUTS = sorted({item[1] for item in ORACLES})


@pytest.fixture(scope="module")
def imported():
    """A node with every input imported, each under a parent prefix of its own, and the reports."""
    with short_folder() as folder, node(folder / "data", TIERLINK_SAMPLE="none") as running:
        reports = {}
        for number, name in enumerate(INPUTS):
            done = running.cli(
                *("import", "--format", "catenax", str(IRS / name)),
                *("--parent", f"88.2{number}", "--open", "--json"),
            )
            assert done.returncode == 0, done.stderr.decode()
            reports[name] = json.loads(done.stdout)
        yield running, reports


def start_of(report: dict, twin: str, running) -> str:
    """Find the identifier of a twin: each company has a prefix, the suffix is the twin."""
    with running.client() as client:
        for company in report["companies"]:
            identifier = f"{company['prefix']}/{twin}"
            if client.get(f"/{identifier}").status_code == 200:
                return identifier
    raise AssertionError(f"no company has {twin}")


def pairs_of(trace: dict) -> set[tuple[str, str]]:
    """Return the edges as (parent, child), the way the oracles state them."""
    return {
        (edge["downstream"].partition("/")[2], edge["upstream"].partition("/")[2])
        for edge in trace["edges"]
    }


@pytest.mark.parametrize(("oracle", "name", "start", "direction"), ORACLES)
def test_an_oracle_reproduces(imported, oracle, name, start, direction):
    running, reports = imported
    expected = json.loads((IRS / "expected" / f"{oracle}-expected-relationships.json").read_text())
    wanted = {
        (
            row["catenaXId"].removeprefix("urn:uuid:"),
            row["linkedItem"]["childCatenaXId"].removeprefix("urn:uuid:"),
        )
        for row in expected["relationships"]
    }
    root = start_of(reports[name], start, running)
    done = running.cli("trace", root, "--direction", direction, "--depth", "10", "--json")
    assert done.returncode == 0, done.stderr.decode()
    trace = json.loads(done.stdout)
    lifecycle = {edge["lifecycle"] for edge in trace["edges"]}
    assert lifecycle <= {"asBuilt", "asPlanned"}
    assert pairs_of(trace) == wanted
    assert not trace["truncated"]


def test_the_reciprocity_of_the_largest_input(imported):
    _, reports = imported
    links = reports[PART_TYPE]["links"]
    assert (links["mutual"], links["downstream_only"], links["upstream_only"]) == (42, 2, 6)
    assert reports[PART_TYPE]["identifiers"] == 42


def test_vehicles_that_are_not_whole_are_withheld(imported):
    """Four vehicles, of which one is as its parts were signed: nothing of the others arrives."""
    running, _ = imported
    folder = IRS / "dil"
    (document,) = folder.glob("*DataIntegrity*.json")
    done = running.cli(
        *("import", str(document), "--parent", "88.28", "--json"),
        *("--integrity", str(folder / "dil_n.txt"), "--require-integrity"),
    )
    assert done.returncode == 1, done.stderr.decode()
    report = json.loads(done.stdout)
    verdicts = {item["twin"][9:]: item["verdict"] for item in report["integrity"]["vehicles"]}
    assert sorted(verdicts.values()) == ["INVALID", "INVALID", "INVALID", "VALID"]
    assert [item["code"] for item in report["refused"]] == ["vehicle_not_valid"] * 3
    assert (report["identifiers"], report["assertions"]) == (15, 28)
    with running.client() as client:
        for twin, verdict in verdicts.items():
            found = client.get(f"/88.28.bpnl00000003azqp/{twin}")
            assert found.status_code == (200 if verdict == "VALID" else 404)


def test_a_second_import_changes_nothing(imported):
    running, reports = imported
    done = running.cli(
        *("import", "--format", "catenax", str(IRS / PART_TYPE)),
        *("--parent", f"88.2{INPUTS.index(PART_TYPE)}", "--json"),
    )
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["identifiers"] == reports[PART_TYPE]["identifiers"]


def test_an_imported_twin_verifies_offline(imported):
    running, reports = imported
    root = start_of(reports[PART_TYPE], ORACLES[0][2], running)
    with running.client() as client:
        answer = client.get(f"/{root}").content
    verdict = running.cli("verify", "-", stdin=answer)
    assert verdict.returncode == 0, verdict.stdout


def test_what_is_not_the_format_is_refused_before_anything_is_sent(imported):
    running, _ = imported
    done = running.cli("import", "--format", "catenax", "-", "--parent", "88.29")
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
