"""Published Catena-X test data: figures counted by others, and relationships that they expect."""

import json

import pytest

from schemas.link import DOWNSTREAM, read_assertion
from schemas.record import read_record
from tests.catenax_twins import ISSUED, PARENT
from tests.third_party import third_party, third_party_json
from tierlink.imports import catenax
from tierlink.imports.plan import Agreement

PART_TYPE = "CX_Testdata_v.1.7.0_PartType.json"
COMPATIBILITY = "CX_Testdata_529_compatibility_{}.json".format
INTEGRITY = "dil/IRS_Testdata_v1.0.0-DataIntegrity-IntegrityAspect-with-invalid-vehicles.json"


def planned(name, **options):
    return catenax.plan(third_party("irs", name).read_bytes(), PARENT, ISSUED, **options)


def edges(plan, side=None):
    """(parent, child) of the links, of one side's or of all."""
    return {
        (item.link.downstream.suffix, item.link.upstream.suffix)
        for item in plan.assertions
        if side is None or item.side == side
    }


# companies, records; links that both ends, the downstream and the upstream end alone assert
FIGURES = {
    PART_TYPE: (12, 42, (42, 2, 6)),
    INTEGRITY: (8, 45, (41, 0, 0)),
    COMPATIBILITY("SingleLevelBomAsBuilt"): (4, 4, (0, 3, 0)),
    COMPATIBILITY("SingleLevelBomAsPlanned"): (1, 4, (0, 3, 0)),
    COMPATIBILITY("SingleLevelUsageAsBuilt"): (1, 3, (0, 0, 2)),
    COMPATIBILITY("SingleLevelUsageAsPlanned"): (1, 3, (0, 0, 2)),
    COMPATIBILITY("SingleLevelBomAsBuilt_digitalTwinType"): (1, 1, (0, 1, 0)),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures(name):
    plan, _ = planned(name)
    found = plan.reciprocity
    assert (
        len(plan.holders),
        len(plan.records),
        (found.mutual, found.downstream_only, found.upstream_only),
    ) == FIGURES[name]
    assert found.conflicting == 0


@pytest.mark.parametrize("name", FIGURES)
def test_everything_planned_can_be_registered(name):
    plan, _ = planned(name, usage_quantity=True)
    assert all(read_record(item.claims()) == item for item in plan.records)
    assert all(read_assertion(item.claims()) == item for item in plan.assertions)
    assert len({item.identifier for item in plan.records}) == len(plan.records)
    assert len({(item.link, item.side) for item in plan.assertions}) == len(plan.assertions)


def test_part_type_in_detail():
    """70 child rows are 44 edges; usage quantities are placeholders and contradict every BOM."""
    plan, notes = planned(PART_TYPE)
    assert len(edges(plan, DOWNSTREAM)) == 44
    assert len(edges(plan, "upstream")) == 48
    assert len(edges(plan)) == 50
    tally = {note.code for note in notes}
    assert tally == {"no_holder", "row_repeated", "target_refused"}
    assert sum(note.code == "row_repeated" for note in notes) == 70 - 44
    assert sum(note.code == "no_holder" for note in notes) == 1
    with_usage, _ = planned(PART_TYPE, usage_quantity=True)
    assert with_usage.reciprocity.conflicting == 42
    assert plan.agreement == with_usage.agreement == Agreement(compared=42, equal=0)


def test_a_document_of_43_twins_names_its_note_by_place():
    _, notes = planned(PART_TYPE)
    twins = third_party_json("irs", PART_TYPE)["https://catenax.io/schema/TestDataContainer/1.0.0"]
    assert len(twins) == 43
    assert twins[0]["bpnl"] == "null"
    assert notes[0].place.endswith("[0]")


def test_a_wrapped_aspect_is_unwrapped():
    plan, notes = planned(COMPATIBILITY("SingleLevelBomAsBuilt_digitalTwinType"))
    assert [note.code for note in notes] == ["far_holder_assumed"]
    (record,) = plan.records
    assert any(target.href.startswith("urn:uuid:") for target in record.targets)


# what others expect of a walk: oracle, input, start, and whether it goes down
WALKS = {
    "529-single-level-bom-as-built": (
        COMPATIBILITY("SingleLevelBomAsBuilt"),
        "bec0a457-4d6b-4c1c-88f7-125d04f04d68",
        True,
    ),
    "529-single-level-bom-as-planned": (
        COMPATIBILITY("SingleLevelBomAsPlanned"),
        "0bc18367-69c3-428f-925d-6f8a461edefd",
        True,
    ),
    "529-single-level-usage-as-built": (
        COMPATIBILITY("SingleLevelUsageAsBuilt"),
        "2ea93a69-7ecb-4747-94f4-960c2535dc7b",
        False,
    ),
    "529-single-level-usage-as-planned": (
        COMPATIBILITY("SingleLevelUsageAsPlanned"),
        "7fe9ac70-23c4-449a-88c1-3832a1cc6da6",
        False,
    ),
    "TRI-821": (PART_TYPE, "0733946c-59c6-41ae-9570-cb43a6e4c79e", True),
    "TRI-891": (PART_TYPE, "68904173-ad59-4a77-8412-3e73fcafbd8b", True),
    "TRI-893": (PART_TYPE, "65e1554e-e5cd-4560-bac1-1352582122fb", True),
}


def reached(found, start, *, down):
    """The edges that a walk from `start` passes."""
    passed, level = set(), {start}
    while level:
        step = {edge for edge in found if edge[0 if down else 1] in level} - passed
        passed |= step
        level = {edge[1 if down else 0] for edge in step}
    return passed


@pytest.mark.parametrize("oracle", WALKS)
def test_walks_find_what_others_expect(oracle):
    name, start, down = WALKS[oracle]
    plan, _ = planned(name)
    path = third_party("irs", "expected", f"{oracle}-expected-relationships.json")
    expected = {
        tuple(
            text.removeprefix("urn:uuid:")
            for text in (item["catenaXId"], item["linkedItem"]["childCatenaXId"])
        )
        for item in json.loads(path.read_bytes())["relationships"]
    }
    side = DOWNSTREAM if down else "upstream"
    assert reached(edges(plan, side), start, down=down) == expected
