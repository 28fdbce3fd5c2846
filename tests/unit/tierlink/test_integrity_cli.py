"""`tierlink integrity` and `tierlink import --integrity`: what they print, and how they end."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from typer.testing import CliRunner

from tests.catenax_twins import SERIAL
from tests.vouched import CAR, SEAT, Fleet
from tierlink.cli import app


@pytest.fixture(scope="module")
def private():
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture
def folder(private, tmp_path, monkeypatch):
    """A folder with the key, a document that is valid, and one that is not."""
    monkeypatch.chdir(tmp_path)
    fleet = Fleet(private).vouch()
    (tmp_path / "key.txt").write_text(f"{private.public_key().public_numbers().n:#x}\n")
    (tmp_path / "good.json").write_bytes(fleet.text())
    fleet.payload(SEAT, SERIAL)["few"] = 2
    (tmp_path / "bad.json").write_bytes(fleet.text())
    return tmp_path


def run(*arguments, exit_code=0):
    done = CliRunner().invoke(app, [*arguments])
    assert done.exit_code == exit_code, done.output
    return done


def test_a_valid_document(folder):
    shown = run("integrity", "good.json", "--key", "key.txt").stdout
    assert f"VALID        {CAR}  4 twins, 5 references" in shown
    assert "5 of 5 right" in shown
    found = json.loads(run("integrity", "good.json", "--key", "key.txt", "--json").stdout)
    assert (found["verdict"], found["references"], found["signatures"]) == ("VALID", 5, 5)
    assert len(found["key"]) == 64


def test_an_invalid_document(folder):
    shown = run("integrity", "bad.json", "--key", "key.txt", exit_code=1).stdout
    assert f"INVALID      {CAR}" in shown
    assert f"HASH SerialPart of {SEAT}: " in shown
    told = run("integrity", "bad.json", "--key", "key.txt", "--json", exit_code=1).stdout
    (vehicle,) = json.loads(told)["vehicles"]
    assert (vehicle["verdict"], vehicle["hashes"], vehicle["signatures"]) == ("INVALID", 4, 5)
    (finding,) = vehicle["findings"]
    assert finding.keys() == {"code", "twin", "aspect", "place", "reason"}
    run("integrity", "bad.json", exit_code=1)  # a hash needs no key


def test_without_a_key_it_cannot_be_told(folder):
    shown = run("integrity", "good.json", exit_code=3).stdout
    assert "UNCHECKED" in shown
    assert "signatures   unchecked" in shown


@pytest.mark.parametrize("name", ["bad.json", "none.txt"])
def test_what_is_no_key_is_refused(folder, name):
    done = run("integrity", "good.json", "--key", name, exit_code=1)
    assert done.stderr.startswith("tierlink: ")
    assert "VALID" not in done.stdout


IMPORT = ("--parent", "88.300", "--dry-run", "--json")


def test_an_import_reports_and_goes_on(folder):
    done = run("import", "bad.json", *IMPORT, "--integrity", "key.txt")
    report = json.loads(done.stdout)
    assert report["integrity"]["verdict"] == "INVALID"
    assert (report["identifiers"], report["refused"]) == (4, [])
    assert "integrity" not in json.loads(run("import", "bad.json", *IMPORT).stdout)
    shown = run("import", "good.json", *IMPORT[:-1], "--integrity", "key.txt").stdout
    assert "VALID" in shown
    assert "quantities" in shown


def test_an_import_that_requires_integrity_withholds_an_invalid_vehicle(folder):
    required = ("--integrity", "key.txt", "--require-integrity")
    done = run("import", "bad.json", *IMPORT, *required, exit_code=1)
    report = json.loads(done.stdout)
    assert (report["companies"], report["identifiers"], report["assertions"]) == ([], 0, 0)
    assert [(item["code"], item["place"]) for item in report["refused"]] == [
        ("vehicle_not_valid", CAR)
    ]
    good = json.loads(run("import", "good.json", *IMPORT, *required).stdout)
    assert (good["identifiers"], good["refused"]) == (4, [])


def test_to_require_integrity_is_to_name_a_key(folder):
    run("import", "good.json", *IMPORT, "--require-integrity", exit_code=2)
