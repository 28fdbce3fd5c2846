"""The event hash of CBV 2.0, as the reference implementation computes it."""

import json

import pytest

from schemas.epcis.document import read_document
from schemas.epcis.eventhash import digest, event_hash, pre_hash
from schemas.epcis.fields import milliseconds
from tests.third_party import third_party

CONTEXT = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"

# First 16 digits of the hashes on which the reference implementation (1.9.3) agrees. It does not
# where it crashes (a transaction without type), keeps short names of the standard's own context
# and the context of an event, or spells true with a capital.
AGREED = {
    "AggregationEvent": ["96b6bf98742a60db"],
    "AggregationEvent_with_digitalLink": ["c6d04a3b2879ee8b"],
    "AssociationEvent": ["39141606ab0b3f78", "69e809bf262e056b"],
    "AssociationEvent_2": ["42f0abe66814b701"],
    "ObjectEvent": ["df6523665bc5e580", "32547b2344d525ea"],
    "ObjectEvent_with_custom_bizStep_uri": ["9ff1265840914be1"],
    "ObjectEvent_with_digitalLink": ["7542dcd055bf29e6"],
    "ObjectEvent_with_error_declaration": ["df6523665bc5e580", "32547b2344d525ea"],
    "ObjectEvent_with_userExtensions": ["6c26d38f92308024", "afe3304a52b11a7d"],
    "TransformationEvent": ["c794227acf3a4d9b"],
    "TransformationEvent_with_digitalLink": ["c794227acf3a4d9b"],
    "TransformationEvent_with_error_declaration": ["db50dd61ad0309f0", "e74d8397fb06e337"],
    "epcisDocWithAllGS1Keys": ["40744f32beff53a4"],
}

EVENT = {
    "type": "ObjectEvent",
    "eventTime": "2026-11-18T10:13:20.12351+08:00",
    "eventTimeZoneOffset": "+08:00",
    "eventID": "urn:uuid:1",
    "recordTime": "2026-11-18T10:13:21Z",
    "certificationInfo": "https://a.example/c/1",
    "action": "ADD",
    "bizStep": "commissioning",
    "disposition": "active",
    "persistentDisposition": {
        "unset": ["completeness_inferred"],
        "set": ["completeness_verified"],
    },
    "epcList": [
        "urn:epc:id:sgtin:4012345.011111.b",
        "https://x.example/some/01/4012345111118/10/L/21/a?17=261231",
        "https://id.example/88.118.8/CELL-1",
    ],
    "quantityList": [
        {"epcClass": "urn:epc:class:lgtin:4012345.012345.Lot987", "quantity": 200.5, "uom": "KGM"},
        {"epcClass": "urn:epc:idpat:sgtin:4012345.012345.*", "quantity": 10.0},
    ],
    "readPoint": {"id": "urn:epc:id:sgln:4012345.00001.0", "ex:gate": "  7  "},
    "bizLocation": {"id": "urn:epc:id:sgln:4012345.00001.5"},
    "bizTransactionList": [{"type": "po", "bizTransaction": "urn:epc:id:gdti:4012345.11111.123"}],
    "sourceList": [{"type": "owning_party", "source": "urn:epc:id:pgln:4012345.00000"}],
    "destinationList": [{"type": "location", "destination": "urn:epc:id:sgln:4012345.00002.0"}],
    "sensorElementList": [
        {
            "sensorMetadata": {
                "time": "2026-11-18T02:00:00Z",
                "deviceID": "urn:epc:id:giai:4000001.111",
            },
            "sensorReport": [
                {"type": "Temperature", "value": 26.0, "uom": "CEL"},
                {"type": "Speed", "value": 160, "uom": "KMH"},
            ],
        }
    ],
    "ilmd": {"ex:grade": "A", "ex:batch": "XYZ"},
    "ex:list": ["3", "1.50"],
    "ex:outer": {"ex:inner": "urn:epc:id:giai:4012345.ABC"},
}
EX = "{https://ns.example.com/epcis/}"
STRING = (
    "eventType=ObjectEvent"
    "eventTime=2026-11-18T02:13:20.124Z"
    "eventTimeZoneOffset=+08:00"
    "certificationInfo=https://a.example/c/1"
    "epcList"
    "epc=https://id.example/88.118.8/CELL-1"
    "epc=https://id.gs1.org/01/04012345111118/21/a"
    "epc=https://id.gs1.org/01/04012345111118/21/b"
    "quantityList"
    "quantityElementepcClass=https://id.gs1.org/01/04012345123456/10/Lot987quantity=200.5uom=KGM"
    "quantityElementepcClass=https://id.gs1.org/01/04012345123456quantity=10"
    "action=ADD"
    "bizStep=https://ref.gs1.org/cbv/BizStep-commissioning"
    "disposition=https://ref.gs1.org/cbv/Disp-active"
    "persistentDisposition"
    "set=https://ref.gs1.org/cbv/Disp-completeness_verified"
    "unset=https://ref.gs1.org/cbv/Disp-completeness_inferred"
    f"readPointid=https://id.gs1.org/414/4012345000016{EX}gate=7"
    "bizLocationid=https://id.gs1.org/414/4012345000016/254/5"
    "sensorElementListsensorElement"
    "sensorMetadatatime=2026-11-18T02:00:00.000ZdeviceID=https://id.gs1.org/8004/4000001111"
    "sensorReporttype=https://gs1.org/voc/Speedvalue=160uom=KMH"
    "sensorReporttype=https://gs1.org/voc/Temperaturevalue=26uom=CEL"
    "bizTransactionListtype=https://ref.gs1.org/cbv/BTT-po"
    "bizTransaction=https://id.gs1.org/253/4012345111118123"
    "destinationListtype=https://ref.gs1.org/cbv/SDT-location"
    "destination=https://id.gs1.org/414/4012345000023"
    f"ilmd{EX}batch=XYZ{EX}grade=A"
    "sourceListtype=https://ref.gs1.org/cbv/SDT-owning_party"
    "source=https://id.gs1.org/417/4012345000009"
    f"{EX}list=1.5{EX}list=3{EX}outer{EX}inner=https://id.gs1.org/8004/4012345ABC"
)
HASH = "ni:///sha-256;%s?ver=CBV2.0"


def read(*events, context=None):
    whole = {
        "@context": [CONTEXT, context or {"ex": "https://ns.example.com/epcis/"}],
        "type": "EPCISDocument",
        "schemaVersion": "2.0",
        "creationDate": "2026-11-18T10:13:20Z",
        "epcisBody": {"eventList": list(events)},
    }
    return list(read_document(json.dumps(whole).encode()).sound())


def test_the_string_and_its_hash():
    (event,) = read(EVENT)
    assert pre_hash(event) == STRING
    assert event_hash(event) == HASH % digest(event)


@pytest.mark.parametrize("name", AGREED)
def test_published_documents(name):
    raw = third_party("epcis", "documents", f"{name}.json").read_bytes()
    assert [digest(event)[:16] for event in read_document(raw).sound()] == AGREED[name]


def test_spellings_of_one_event():
    """Other order, other offset, other names, other identifiers of the event: one hash."""
    (event,) = read(EVENT)
    other = dict(reversed(EVENT.items())) | {
        "eventTime": "2026-11-18T02:13:20.1235Z",
        "eventID": "urn:uuid:2",
        "errorDeclaration": {"declarationTime": "2026-11-19T00:00:00Z"},
        "bizStep": "cbv:BizStep-commissioning",
        "disposition": "https://ref.gs1.org/cbv/Disp-active",
        "rdfs:comment": "a remark",
        "epcList": [
            "https://id.example/88.118.8/CELL-1",
            "https://id.gs1.org/01/04012345111118/21/b",
            "urn:epc:id:sgtin:4012345.011111.a",
        ],
    }
    del other["recordTime"]
    text = json.dumps(other).replace("ex:", "my:").replace("200.5", "200.500")
    (again,) = read(json.loads(text), context={"my": "https://ns.example.com/epcis/"})
    assert pre_hash(again) == STRING
    (within,) = read(json.loads(text) | {"@context": {"my": "https://ns.example.com/epcis/"}})
    assert digest(within) == digest(event)


@pytest.mark.parametrize(
    ("text", "rounded"),
    [
        ("2023-01-18T11:04:03.1415Z", 142),
        ("2023-01-18T11:04:03.1414999Z", 141),
        ("2023-01-18T11:04:03.9995Z", 1000),
        ("2023-01-18T11:04:03.5Z", 500),
        ("2023-01-18T11:04:03Z", 0),
        ("1969-12-31T23:59:59.9Z", 900 - 1000 - 1_674_039_843_000),
    ],
    ids=str,
)
def test_times_are_rounded_half_up_on_the_fourth_decimal(text, rounded):
    assert milliseconds(text) == 1_674_039_843_000 + rounded


@pytest.mark.parametrize(
    "text", ["2023-02-29T00:00:00Z", "0001-01-01T00:00:00+14:00x", "2023-01-18", "x"]
)
def test_what_is_no_time(text):
    assert milliseconds(text) is None
