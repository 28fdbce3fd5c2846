"""What becomes of Catena-X twins: companies, records, assertions of both ends, and notes."""

import pytest

from schemas.errors import BadInput
from schemas.identifier import Prefix
from schemas.link import Quantity, read_assertion
from schemas.record import read_record
from tests.catenax_twins import (
    AWAY,
    BOM,
    CAR,
    ISSUED,
    MAKER,
    OTHER,
    PARENT,
    SERIAL,
    SUPPLIER,
    USAGE,
    WHEEL,
    bom,
    codes,
    container,
    planned,
    row,
    twin,
    usage,
)
from tierlink.imports import catenax
from tierlink.imports.report import Company, Note, Report

CAR_ID = "88.118.bpnl00000003ayre/0733946c-59c6-41ae-9570-cb43a6e4c79e"
WHEEL_ID = "88.118.bpnl00000003b0q0/1ae94880-e6b0-4bf3-ab74-8148b63c0640"
AWAY_ID = "88.118.bpnl00000003xxxx/2a0e62d4-3a3e-4bf4-9a29-1c4b4b8f5a10"


def only(plan):
    (record,) = plan.records
    return record


def test_companies_twins_and_links_of_both_ends():
    plan, notes = planned(twin(CAR, MAKER, **bom(row())), twin(WHEEL, SUPPLIER, **usage(row(CAR))))
    assert notes == ()
    assert [(str(item.prefix), item.organisation) for item in plan.holders] == [
        ("88.118.bpnl00000003ayre", MAKER),
        ("88.118.bpnl00000003b0q0", SUPPLIER),
    ]
    assert [item.identifier.text for item in plan.records] == [CAR_ID, WHEEL_ID]
    car_says, wheel_says = plan.assertions
    assert car_says.link == wheel_says.link
    assert (car_says.link.upstream.text, car_says.link.downstream.text) == (WHEEL_ID, CAR_ID)
    assert (car_says.side, car_says.quantity) == ("downstream", Quantity("4", "H87"))
    assert (wheel_says.side, wheel_says.quantity) == ("upstream", None)
    assert (plan.reciprocity.links, plan.reciprocity.mutual) == (1, 1)
    maker, supplier = plan.holders
    assert plan.assertions_of(maker) == (car_says,)
    assert [item.identifier.text for item in plan.records_of(supplier)] == [WHEEL_ID]


def test_what_is_planned_can_be_signed_and_read():
    plan, _ = planned(twin(CAR, MAKER, **bom(row())), twin(WHEEL, SUPPLIER, **usage(row(CAR))))
    assert all(read_record(item.claims()) == item for item in plan.records)
    assert all(read_assertion(item.claims()) == item for item in plan.assertions)


def test_a_plan_depends_on_the_document_alone():
    text = container(twin(CAR, MAKER, **bom(row())), twin(WHEEL, SUPPLIER))
    assert catenax.plan(text, PARENT, ISSUED) == catenax.plan(text.encode(), PARENT, ISSUED)


def test_the_companies_need_a_prefix_above_them():
    with pytest.raises(BadInput, match="not the root") as caught:
        catenax.plan(container(), Prefix.parse("."), ISSUED)
    assert "--parent" in caught.value.fix


KINDS = {
    "SerialPart": "item",
    "JustInSequencePart": "item",
    "Batch": "batch",
    "PartAsPlanned": "class",
    "PartAsSpecified": "class",
    "SingleLevelBomAsPlanned": "class",
    "SingleLevelBomAsBuilt": "item",
    "SomethingElse": "item",
}


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_kinds(name, kind):
    plan, _ = planned(twin(**{f"urn:samm:io.catenax.x:1.0.0#{name}": {}}))
    assert only(plan).kind == kind


def test_a_twin_without_aspects_is_an_item():
    assert only(planned(twin())[0]).kind == "item"


def test_attributes_come_from_the_part_aspect():
    part = {
        "localIdentifiers": [
            {"key": "partInstanceID", "value": "SN-1"},
            {"key": "manufacturerId", "value": MAKER},
            {"key": "van", "value": "V 7"},
            {"key": "van", "value": "again"},
            {"key": "größe", "value": "x"},
            {"key": "number", "value": 7},
            "no object",
        ],
        "partTypeInformation": {
            "nameAtManufacturer": "Wheel  19\u2033\n alloy",
            "manufacturerPartId": "W-19",
            "nameAtCustomer": "caf e\u0301".replace(" ", ""),
            "classification": "",
            "customerPartId": None,
        },
        "manufacturingInformation": {"date": "2022-02-04T14:48:54", "country": "HUR"},
        "futureAddedField": [1.5],
    }
    plan, notes = planned(twin(**{SERIAL: part}))
    assert notes == ()
    assert only(plan).attributes == {
        "catenaXId": CAR,
        "bpnl": MAKER,
        "name": "Wheel 19\u2033 alloy",
        "manufacturerPartId": "W-19",
        "nameAtCustomer": "caf\u00e9",
        "partInstanceId": "SN-1",
        "van": "V 7",
        "manufacturedOn": "2022-02-04T14:48:54",
        "manufacturedIn": "HUR",
    }


@pytest.mark.parametrize("text", ["x" * 1025, "\ud800"])
def test_text_that_cannot_be_signed_is_left_out(text):
    part = {"partTypeInformation": {"nameAtManufacturer": text}}
    plan, notes = planned(twin(**{SERIAL: part}))
    assert "name" not in only(plan).attributes
    assert codes(notes) == ["text_refused"]
    assert notes[0].place.endswith("[0].partTypeInformation.nameAtManufacturer")


def test_aspects_and_documents_become_targets():
    wrapped = {
        "submodelId": "urn:uuid:aa0f5a8e-6c1a-4a3b-9a4e-0f9b1c2d3e4f",
        "digitalTwinId": CAR,
        "data": {"certificateLink": "https://a.example/c", "certificateName": "Cert\n7"},
    }
    certificates = "urn:samm:io.catenax.certificates:2.1.0#Certificates"
    plan, notes = planned(
        twin(**{SERIAL: {}, certificates: [wrapped, wrapped | {"data": {"xLink": "telnet://a"}}]})
    )
    assert [(item.rel, item.href, item.title) for item in only(plan).targets] == [
        ("samm:SerialPart", SERIAL, "SerialPart 1.0.0"),
        ("samm:Certificates", wrapped["submodelId"], "Certificates 2.1.0"),
        ("related", "https://a.example/c", "Cert 7"),
    ]
    assert codes(notes) == ["target_refused"]
    assert notes[0].place.endswith("[1].data.xLink")


def test_documents_of_a_twin_are_bounded():
    links = [{"aLink": f"https://a.example/{n}"} for n in range(40)]
    plan, _ = planned(twin(**{SERIAL: {"documents": links}}))
    assert sum(item.rel == "related" for item in only(plan).targets) == 16


# links


def links(plan):
    return [(item.link.upstream.text, item.link.downstream.text) for item in plan.assertions]


OLDER = {  # aspect and payload, in every form in which rows are published
    "bom-1.0.0": (
        "urn:bamm:io.catenax.single_level_bom_as_built:1.0.0#SingleLevelBomAsBuilt",
        {"childItems": [{"catenaXId": WHEEL}]},
    ),
    "relationship-1.1.0": (
        "urn:bamm:io.catenax.assembly_part_relationship:1.1.0#AssemblyPartRelationship",
        {"childParts": [{"childCatenaXId": WHEEL, "lifecycleContext": "AsBuilt"}]},
    ),
    "relationship-without-context": (
        "urn:bamm:io.catenax.assembly_part_relationship:1.1.0#AssemblyPartRelationship",
        {"childParts": [{"childCatenaXId": WHEEL}]},
    ),
}


@pytest.mark.parametrize(("urn", "payload"), OLDER.values(), ids=OLDER)
def test_bills_of_material(urn, payload):
    plan, notes = planned(twin(CAR, MAKER, **{urn: payload}), twin(WHEEL, SUPPLIER))
    assert (links(plan), notes) == ([(WHEEL_ID, CAR_ID)], ())
    assert {(item.side, item.link.lifecycle) for item in plan.assertions} == {
        ("downstream", "asBuilt")
    }


USAGES = {
    "usage-1.0.1": (
        "urn:bamm:io.catenax.single_level_usage_as_built:1.0.1#SingleLevelUsageAsBuilt",
        {"parentParts": [{"parentCatenaXId": CAR}]},
        "asBuilt",
    ),
    "usage-2.0.0": (
        "urn:samm:io.catenax.single_level_usage_as_built:2.0.0#SingleLevelUsageAsBuilt",
        {"customers": [{"businessPartner": OTHER, "parentItems": [{"catenaXId": CAR}]}]},
        "asBuilt",
    ),
    "usage-3.0.0": (
        "urn:samm:io.catenax.single_level_usage_as_built:3.0.0#SingleLevelUsageAsBuilt",
        {"customers": [MAKER], "parentItems": [{"catenaXId": CAR, "businessPartner": OTHER}]},
        "asBuilt",
    ),
    "usage-as-planned": (
        "urn:samm:io.catenax.single_level_usage_as_planned:2.0.0#SingleLevelUsageAsPlanned",
        {"parentItems": [{"catenaXId": CAR}]},
        "asPlanned",
    ),
}


@pytest.mark.parametrize(("urn", "payload", "lifecycle"), USAGES.values(), ids=USAGES)
def test_usages(urn, payload, lifecycle):
    plan, notes = planned(twin(CAR, MAKER), twin(WHEEL, SUPPLIER, **{urn: payload}))
    assert (links(plan), notes) == ([(WHEEL_ID, CAR_ID)], ())
    assert {(item.side, item.link.lifecycle) for item in plan.assertions} == {
        ("upstream", lifecycle)
    }


def test_the_holder_of_a_far_twin_is_its_own_and_not_what_a_row_says():
    plan, notes = planned(
        twin(CAR, MAKER, **bom(row(businessPartner=OTHER))), twin(WHEEL, SUPPLIER)
    )
    assert (links(plan), notes) == ([(WHEEL_ID, CAR_ID)], ())


def test_the_holder_of_a_twin_that_is_not_there_is_assumed():
    plan, notes = planned(twin(CAR, MAKER, **bom(row(AWAY, businessPartner=OTHER))))
    assert links(plan) == [(AWAY_ID, CAR_ID)]
    assert codes(notes) == ["far_holder_assumed"]
    assert OTHER in notes[0].reason


def test_the_first_assumption_stands():
    """Two rows name two holders for one twin: it keeps one identifier."""
    again = row(AWAY, businessPartner=SUPPLIER)
    plan, notes = planned(twin(CAR, MAKER, **bom(row(AWAY, businessPartner=OTHER), again)))
    assert links(plan) == [(AWAY_ID, CAR_ID)]
    assert codes(notes) == ["far_holder_assumed", "far_holder_assumed", "row_repeated"]


LEFT_OUT = {  # rows of the car's bill of material, codes of the notes, links that remain
    "nobody-holds-it": ([row(AWAY)], ["far_holder_unknown"], 0),
    "holder-malformed": ([row(AWAY, businessPartner="BPNL1")], ["far_holder_unknown"], 0),
    "itself": ([row(CAR)], ["self_link"], 0),
    "potential-parent": ([row(isOnlyPotentialParent=True)], ["potential_parent"], 0),
    "no-potential-parent": ([row(isOnlyPotentialParent=False)], [], 1),
    "twice": ([row(), row()], ["row_repeated"], 1),
    "twice-and-other-partner": ([row(), row(businessPartner=OTHER)], ["row_repeated"], 1),
    "contradicted": (
        [row(), row(quantity={"value": 5, "unit": "unit:piece"})],
        ["row_contradicted"],
        1,
    ),
    "unit-unknown": (
        [row(quantity={"value": 5, "unit": "unit:furlong"})],
        ["quantity_left_out"],
        1,
    ),
    "quantity-no-object": ([row(quantity=5)], ["quantity_left_out"], 1),
    "no-quantity": ([{"catenaXId": WHEEL}], [], 1),
}


@pytest.mark.parametrize(("rows", "expected", "remain"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_what_is_left_out_is_noted(rows, expected, remain):
    plan, notes = planned(twin(CAR, MAKER, **bom(*rows)), twin(WHEEL, SUPPLIER))
    assert (codes(notes), len(plan.assertions)) == (expected, remain)


def test_an_unknown_lifecycle_is_noted():
    urn = OLDER["relationship-1.1.0"][0]
    rows = [{"childCatenaXId": WHEEL, "lifecycleContext": value} for value in ("asDreamt", 7)]
    plan, notes = planned(twin(CAR, **{urn: {"childParts": rows}}), twin(WHEEL, SUPPLIER))
    assert codes(notes) == ["lifecycle_unknown", "lifecycle_unknown"]
    assert plan.assertions == ()


PERIODS = {  # period, (nbf, exp), codes
    "both": (
        {"validFrom": "2023-03-21T08:17:29.187+01:00", "validTo": "2024-07-01T16:10:00+01:00"},
        (1_679_383_049, 1_719_846_600),
        [],
    ),
    "without-offset-is-utc": ({"validFrom": "1970-01-02T00:00:00"}, (86_400, None), []),
    "from-alone": ({"validFrom": "1970-01-01T00:00:01Z"}, (1, None), []),
    "to-alone": ({"validTo": "1970-01-01T00:00:01Z"}, (None, 1), []),
    "empty": ({}, (None, None), []),
    "no-object": ("always", (None, None), []),
    "reversed": (
        {"validFrom": "2024-01-01T00:00:00Z", "validTo": "2023-01-01T00:00:00Z"},
        (None, None),
        ["validity_left_out"],
    ),
    "no-time": ({"validFrom": "soon"}, (None, None), ["validity_left_out"]),
    "a-number": ({"validFrom": 7}, (None, None), ["validity_left_out"]),
    "before-1970": ({"validFrom": "1969-12-31T23:59:59Z"}, (None, None), ["validity_left_out"]),
    "first-day-of-all": (
        {"validFrom": "0001-01-01T00:00:00+14:00"},
        (None, None),
        ["validity_left_out"],
    ),
}


@pytest.mark.parametrize(("period", "expected", "noted"), PERIODS.values(), ids=PERIODS)
def test_validity(period, expected, noted):
    plan, notes = planned(
        twin(CAR, MAKER, **bom(row(validityPeriod=period))), twin(WHEEL, SUPPLIER)
    )
    (found,) = plan.assertions
    assert (found.valid_from, found.valid_until) == expected
    assert codes(notes) == noted


def test_quantities_of_usages_are_taken_on_demand():
    twins = (twin(CAR, MAKER, **bom(row())), twin(WHEEL, SUPPLIER, **usage(row(CAR))))
    other = row(CAR, quantity={"value": 1, "unit": "unit:piece"})
    differing = (twins[0], twin(WHEEL, SUPPLIER, **usage(other)))
    assert planned(*twins, usage_quantity=True)[0].reciprocity.conflicting == 0
    assert planned(*differing)[0].reciprocity.conflicting == 0
    found = planned(*differing, usage_quantity=True)[0].reciprocity
    assert (found.mutual, found.conflicting, found.links) == (1, 1, 1)


AGREEMENTS = {  # rows of the usage aspect, and whether its quantity can be and is the same
    "equal": ([row(CAR)], (1, 1)),
    "another": ([row(CAR, quantity={"value": 1, "unit": "unit:piece"})], (1, 0)),
    "another unit": ([row(CAR, quantity={"value": 4, "unit": "unit:gram"})], (1, 0)),
    "the first row counts": ([row(CAR), row(CAR, quantity=None)], (1, 1)),
    "none": ([row(CAR, quantity=None)], (0, 0)),
    "unusable": ([row(CAR, quantity={"value": 1, "unit": "unit:handful"})], (0, 0)),
    "one end": ([], (0, 0)),
}


@pytest.mark.parametrize(("rows", "figures"), AGREEMENTS.values(), ids=AGREEMENTS)
def test_quantities_of_both_ends_are_compared_also_where_one_is_not_taken(rows, figures):
    twins = (twin(CAR, MAKER, **bom(row())), twin(WHEEL, SUPPLIER, **usage(*rows)))
    plan, notes = planned(*twins)
    assert (plan.agreement.compared, plan.agreement.equal) == figures
    assert "quantity_left_out" not in codes(notes)
    assert planned(*twins, usage_quantity=True)[0].agreement == plan.agreement


# twins


def test_a_twin_without_holder_is_noted():
    plan, notes = planned(twin(CAR, "null"), twin(WHEEL, SUPPLIER))
    assert [item.identifier.text for item in plan.records] == [WHEEL_ID]
    assert codes(notes) == ["no_holder"]


def test_an_older_twin_names_its_holder_among_its_local_identifiers():
    entry = twin(**{SERIAL: {"localIdentifiers": [{"key": "manufacturerID", "value": MAKER}]}})
    del entry["bpnl"]
    assert only(planned(entry)[0]).identifier.text == CAR_ID


def test_one_company_in_two_spellings_is_one():
    plan, notes = planned(twin(CAR, MAKER), twin(WHEEL, "BPNL00000003ayre"))
    assert (len(plan.holders), notes) == (1, ())


def test_two_entries_of_one_twin_are_taken_together():
    plan, notes = planned(
        twin(CAR, MAKER, **{SERIAL: {}}),
        twin(CAR.upper().replace("URN:UUID:", ""), MAKER, **bom(row())),
        twin(WHEEL, SUPPLIER),
    )
    assert codes(notes) == ["twin_repeated"]
    assert (len(plan.records), links(plan)) == (2, [(WHEEL_ID, CAR_ID)])


def test_the_newest_part_aspect_counts():
    old, new = ({"partTypeInformation": {"nameAtManufacturer": name}} for name in ("old", "new"))
    plan, _ = planned(
        twin(
            **{
                "urn:bamm:io.catenax.serial_part:9.0.0#SerialPart": old,
                "urn:samm:io.catenax.serial_part:10.0.0#SerialPart": new,
            }
        )
    )
    assert only(plan).attributes["name"] == "new"


def test_members_that_are_no_aspects_are_let_be():
    plan, notes = planned(
        twin(
            **{
                "PlainObject": {"a": 1},
                "urn:other:x:1.0.0#SerialPart": {},
                "urn:samm:x:1.0.0": {},
                "urn:samm:x:" + "9" * 5000 + "#SerialPart": {},
            }
        )
    )
    assert (only(plan).targets, notes) == ((), ())


# the report


def test_a_report_tells_all_and_shows_no_key():
    plan, notes = planned(
        twin(CAR, MAKER, **bom(row(), row(AWAY))), twin(WHEEL, SUPPLIER, **usage(row(CAR)))
    )
    report = Report(
        companies=(Company("88.118.a", MAKER, "tierlink_live_x"), Company("88.118.b", SUPPLIER)),
        identifiers=2,
        assertions=2,
        reciprocity=plan.reciprocity,
        notes=notes,
    )
    assert "tierlink_live_x" not in repr(report)
    assert report.complete
    assert report.tally() == {"far_holder_unknown": 1}
    found = report.document()
    assert found["companies"] == [
        {"prefix": "88.118.a", "name": MAKER, "api_key": "tierlink_live_x"},
        {"prefix": "88.118.b", "name": SUPPLIER},
    ]
    assert found["links"] == {
        "mutual": 1,
        "one_sided": 0,
        "downstream_only": 0,
        "upstream_only": 0,
        "conflicting": 0,
    }
    assert found["notes"][0].keys() == {"code", "place", "reason"}
    assert not Report(refused=(Note("conflict", "$", "taken"),)).complete
    assert Report().document()["identifiers"] == 0


def test_the_place_of_a_note_is_a_path_into_the_document():
    _, notes = planned(twin(CAR, MAKER, **bom(row(), row(AWAY))))
    container_path = "$['https://catenax.io/schema/TestDataContainer/1.0.0'][0]"
    assert notes[1].place == f"{container_path}['{BOM}'][0].childItems[1]"
    assert USAGE not in notes[1].place
