"""EPCIS documents: every published one judged as it should be, every fault told with its place."""

import json

import pytest

from schemas.epcis import document, jsonld
from schemas.epcis.document import read_document
from schemas.errors import BadEvent, TooLarge
from tests.third_party import third_party

CONTEXT = "https://ref.gs1.org/standards/epcis/epcis-context.jsonld"
EPC = "https://id.gs1.org/01/09521141012345/21/2017"

# What the schema of EPCIS refuses, or would if it asserted formats; event and member at fault.
REFUSED = {
    "Combination_of_events_with_missing_mandatory_fields": (0, "action"),
    "Combination_of_multiple_invalid_fields": (0, "bizStep"),
    "EPCISDocument_without_context": (None, "@context"),
    "ObjectEvent_with_ilmd_field_without_namespace": (0, "ilmd.materialType"),
    "ObjectEvent_with_invalid_action": (0, "action"),
    "ObjectEvent_with_invalid_eventTime_format": (0, "eventTime"),
    "ObjectEvent_with_non_standard_bizStep": (0, "bizStep"),
    "ObjectEvent_with_non_standard_bizStep_in_second_event": (1, "bizStep"),
    "ObjectEvent_with_quantity_as_text": (0, "quantityList[0].quantity"),
    "ObjectEvent_with_unknown_field_in_quantityList": (0, "quantityList[0].weight"),
    "ObjectEvent_without_action_and_eventTime": (0, "eventTime"),
    "ObjectEvent_without_identifier_list": (0, "epcList"),
}


def object_event(**members):
    found = {
        "type": "ObjectEvent",
        "eventTime": "2026-07-22T06:45:00+02:00",
        "eventTimeZoneOffset": "+02:00",
        "action": "ADD",
        "epcList": [EPC],
    } | members
    return {name: value for name, value in found.items() if value is not ...}


def whole(*events, **members):
    found = {
        "@context": [CONTEXT, {"ex": "https://ex.example/"}],
        "type": "EPCISDocument",
        "schemaVersion": "2.0",
        "creationDate": "2026-07-22T10:30:00Z",
        "epcisBody": {"eventList": list(events)},
    } | members
    return json.dumps({name: value for name, value in found.items() if value is not ...}).encode()


def refused(raw):
    with pytest.raises(BadEvent) as caught:
        list(read_document(raw).sound())
    return caught.value


def test_the_published_documents():
    folder = third_party("epcis", "documents")
    files = sorted(folder.glob("*.json"))
    assert len(files) == 26
    events = 0
    for path in files:
        if path.stem == "SensorData_with_combined_events":
            err = refused(path.read_bytes())
            assert (err.event, err.member) == (7, "sensorElementList[0].sensorReport[1].type")
            later = read_document(path.read_bytes()).events[8]
            assert isinstance(later, BadEvent)
            assert later.detail.endswith("type is missing")
        else:
            events += len(list(read_document(path.read_bytes()).sound()))
    assert events == 53 - 13


@pytest.mark.parametrize("name", REFUSED)
def test_the_published_faults(name):
    err = refused(third_party("epcis", "invalid", f"{name}.json").read_bytes())
    assert (err.event, err.member) == REFUSED[name]
    told = err.problem()
    assert told["fix"]
    assert told["member"] == err.member
    assert err.event is None or f"event {err.event}: " in told["detail"]


def test_all_the_faults_of_one_document_are_found():
    raw = third_party("epcis", "invalid", "Combination_of_multiple_invalid_fields.json")
    found = read_document(raw.read_bytes()).events
    assert [err.member for err in found] == [
        "bizStep", "disposition", "sourceList[0].type", "ilmd.materialType", "eventTime",
    ]  # fmt: skip


def test_the_generated_events():
    raw = third_party("epcis", "Generated Events.json").read_bytes()
    assert len(list(read_document(raw).sound())) == 932


@pytest.mark.parametrize(
    ("members", "member"),
    [
        ({"type": "QuantityEvent"}, "type"),
        ({"eventTime": "2026-02-30T06:45:00Z"}, "eventTime"),
        ({"eventTime": "2026-07-22T06:45:00"}, "eventTime"),
        ({"eventTimeZoneOffset": "+15:00"}, "eventTimeZoneOffset"),
        ({"epcList": [EPC, EPC]}, "epcList"),
        ({"epcList": ["urn:epc:idpat:sgtin:4012345.066666.*"]}, "epcList[0]"),
        ({"epcList": ["no address"]}, "epcList[0]"),
        ({"epcList": [None]}, "epcList[0]"),
        ({"epcList": EPC}, "epcList"),
        ({"epcList": None}, "epcList"),
        ({"bizStep": "urn:epcglobal:cbv:bizstep:shipping"}, "bizStep"),
        ({"note": "x"}, "note"),
        ({"action": "DELETE", "ilmd": {"ex:a": 1}}, "ilmd"),
        ({"parentID": EPC}, "parentID"),
        ({"quantityList": [{"epcClass": EPC, "quantity": True}]}, "quantityList[0].quantity"),
        ({"quantityList": [{"epcClass": EPC, "uom": "kg"}]}, "quantityList[0].uom"),
        ({"readPoint": {"id": EPC, "name": "x"}}, "readPoint.name"),
        ({"persistentDisposition": {}}, "persistentDisposition"),
        ({"errorDeclaration": {}}, "errorDeclaration.declarationTime"),
        ({"sensorElementList": [{"sensorReport": []}]}, "sensorElementList[0].sensorReport"),
        ({"bizTransactionList": [{"type": "po"}]}, "bizTransactionList[0].bizTransaction"),
        ({"@context": [7]}, "@context"),
        ({"type": "AggregationEvent", "epcList": ..., "childEPCs": [EPC]}, "parentID"),
        ({"type": "AggregationEvent", "epcList": ..., "parentID": EPC}, "childEPCs"),
        ({"type": "TransactionEvent"}, "bizTransactionList"),
        ({"type": "TransformationEvent", "epcList": ..., "action": ..., "inputEPCList": [EPC]},
         "outputEPCList"),
        ({"type": "TransformationEvent", "epcList": ..., "inputEPCList": [EPC],
          "outputEPCList": ["urn:x:1"]}, "action"),
    ],
    ids=str,
)  # fmt: skip
def test_faults_of_an_event(members, member):
    err = refused(whole(object_event(), object_event(**members)))
    assert (err.event, err.member) == (1, member)


@pytest.mark.parametrize(
    ("members", "member"),
    [
        ({"@context": "https://other.example/context"}, "@context"),
        ({"@context": [CONTEXT, {"a": 1}]}, "@context"),
        ({"@context": [CONTEXT, {"a": "x" * 8192}]}, "@context"),
        ({"type": "Document"}, "type"),
        ({"schemaVersion": "1.2"}, "schemaVersion"),
        ({"creationDate": ...}, "creationDate"),
        ({"epcisBody": []}, "epcisBody"),
        ({"epcisBody": {"event": {}}}, "epcisBody.eventList"),
        ({"comment": "x"}, "comment"),
        ({"type": "EPCISQueryDocument"}, "epcisBody.queryResults"),
    ],
    ids=lambda value: str(value)[-40:],
)
def test_faults_of_a_document(members, member):
    assert refused(whole(object_event(), **members)).member == member


def test_what_is_not_json_or_too_much():
    deep = {"ex:a": 1}
    for _ in range(40):
        deep = {"ex:a": deep}
    for raw, part in (
        (b"{", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"\xff", "not UTF-8"),
        (b"[" * 100_000, "nested deeper"),
        (whole(object_event(**{"ex:deep": deep})), "nested deeper"),
        (b'{"a":1,"a":2}', "there twice"),
        (b'{"a":NaN}', "not a number"),
        (b'{"a":1e999999999}', "longer or larger"),
        (b'{"a":%s}' % (b"9" * 5000), "longer or larger"),
        (b'{"a":"\\ud800"}', "lone surrogate"),
        (whole(object_event(epcList=[f"urn:x:{n}" for n in range(10_001)])), "over 10000"),
    ):
        assert part in refused(raw).detail
    with pytest.raises(TooLarge):
        read_document(b" " * (jsonld.MAX_BYTES + 1))
    with pytest.raises(TooLarge):
        read_document(whole(*[1] * (document.MAX_EVENTS + 1)))


def test_numbers_are_kept_as_they_were_written():
    text = '{"a":1.50,"b":[1E+3,-0.0,7,true,null,"\\u0000ü"],"c":{},"d":[]}'
    again = jsonld.encode(jsonld.decode(text.encode()))
    assert again == text
