"""The published integrity set: four vehicles, three of them with a fault that was put in."""

import pytest

from tests.third_party import third_party
from tierlink.imports.integrity import check
from tierlink.imports.rsa_key import read_key

SET = "IRS_Testdata_v1.0.0-DataIntegrity-IntegrityAspect-with-invalid-vehicles.json"
FINGERPRINT = "29ba9b1958d6c2328499f55cf888d5d643e7322b2755c60d0f28b248f00cdc7d"
# vehicle: references, verdict, and (kind, twin, aspect) of what is found
EXPECTED = {
    "a1fa0f85-697d-4c9d-982f-2501af8e8636": (52, "VALID", []),
    "05abf6ff-8c78-4b72-948b-40e08e9b83f3": (
        34,
        "INVALID",
        [("HASH", "dc60fc50-c875-4ce6-a1b9-d59c4c1e0b17", "SerialPart")],
    ),
    "17e11d67-0315-4504-82cd-8e70a8c33a6a": (
        34,
        "INVALID",
        [
            ("SIG", "8c437b9d-f1b8-4397-b030-c3637eaf9b53", name)
            for name in (
                "DataIntegrity",
                "SerialPart",
                "SingleLevelBomAsBuilt",
                "SingleLevelUsageAsBuilt",
            )
        ],
    ),
    "5672e8ff-8a73-425e-b2a5-5561b5b21d7a": (
        32,
        "INVALID",
        [("MISSING", "ef3865b8-6811-4659-a1b5-e186f8e42258", "DataIntegrity")] * 2,
    ),
}


@pytest.fixture(scope="module")
def key():
    return read_key(third_party("irs", "dil", "dil_n.txt").read_bytes())


@pytest.fixture(scope="module")
def text():
    return third_party("irs", "dil", SET).read_bytes()


def test_the_verdicts_and_findings_of_its_authors(text, key):
    found = check(text, key)
    assert {
        vehicle.twin.removeprefix("urn:uuid:"): (
            vehicle.tally.references,
            vehicle.verdict,
            sorted(
                (item.code, item.twin.removeprefix("urn:uuid:"), item.aspect.rpartition("#")[2])
                for item in vehicle.findings
            ),
        )
        for vehicle in found.vehicles
    } == EXPECTED
    assert found.tally.document(with_key=True) == {
        "references": 152,
        "hashes": 150,
        "signatures": 148,
    }
    assert (found.key, found.unvouched) == (FINGERPRINT, ())
    assert {vehicle.bpnl for vehicle in found.vehicles} == {"BPNL00000003AZQP"}


def test_without_a_key_the_other_faults_are_found(text):
    found = check(text)
    assert [vehicle.verdict for vehicle in found.vehicles] == [
        "UNCHECKED",
        "INVALID",
        "UNCHECKED",  # whose fault is one of signatures
        "INVALID",
    ]
    assert (found.tally.hashes, found.document()["signatures"]) == (150, None)
