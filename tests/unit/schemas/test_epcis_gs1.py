"""GS1 keys of EPC URNs and Digital Links, their canonical path, and the identifiers they become."""

import json

import pytest
from hypothesis import given, strategies as st

from schemas.epcis import gs1
from schemas.epcis.document import read_document
from schemas.epcis.naming import Naming
from schemas.errors import BadEvent
from schemas.identifier import Identifier, Prefix
from tests.third_party import third_party, third_party_json

HOLDER = Naming(Prefix.parse("88.118.8"))

# The URNs are those of the EPC Tag Data Standard and of the reference implementation of the hash.
PATHS = {
    "urn:epc:id:sgtin:4012345.011111.98%22": "01/04012345111118/21/98%22",
    "urn:epc:id:sgtin:415056789012.0.987654": "01/04150567890128/21/987654",
    "urn:epc:id:sgtin:0614141.812345.6789%2F%26%25%22!%3F()":
        "01/80614141123458/21/6789%2F%26%25%22%21%3F%28%29",
    "urn:epc:id:sscc:4012345.3111111111": "00/340123451111111111",
    "urn:epc:id:sgln:4012345.00005.122": "414/4012345000054/254/122",
    "urn:epc:id:sgln:4012345.00005.0": "414/4012345000054",
    "urn:epc:id:grai:4012345.00022.334455": "8003/04012345000221334455",
    "urn:epc:id:giai:4012345.ABC345": "8004/4012345ABC345",
    "urn:epc:id:gsrn:4012345.0000006765": "8018/401234500000067657",
    "urn:epc:id:gsrnp:4012345.0000000007": "8017/401234500000000074",
    "urn:epc:id:gdti:4012345.00009.PO-4711": "253/4012345000092PO-4711",
    "urn:epc:id:gdti:987659999999..9": "253/98765999999929",
    "urn:epc:id:sgcn:4012345.22222.1": "255/40123452222271",
    "urn:epc:id:cpi:0614141.11111111111111-A%23%2F.1234":
        "8010/061414111111111111111-A%23%2F/8011/1234",
    "urn:epc:id:ginc:0614141.xyz47%2F11": "401/0614141xyz47%2F11",
    "urn:epc:id:gsin:4012345.222333444": "402/40123452223334442",
    "urn:epc:id:itip:4012345.011111.01.02.987": "8006/040123451111180102/21/987",
    "urn:epc:id:upui:1234567.098765.51qIgY)%3C%26Jp3*j7SDB":
        "01/01234567987651/235/51qIgY%29%3C%26Jp3%2Aj7SDB",
    "urn:epc:id:pgln:999999999999.": "417/9999999999994",
    "urn:epc:class:lgtin:4012345.012345.Lot987": "01/04012345123456/10/Lot987",
    "urn:epc:idpat:sgtin:4012345.012345.*": "01/04012345123456",
    "urn:epc:idpat:itip:4012345.012345.01.02.*": "8006/040123451234560102",
    "https://example.com/some/gtin/09780345418913/21/765tz?abc=1": "01/09780345418913/21/765tz",
    "http://a.example/01/001122334455/ser/GHB": "01/00001122334455/21/GHB",
    "https://a.example/01/9780345418913/22/344/10/1223/21/765tz": "01/09780345418913/21/765tz",
    "https://a.example/01/09780345418913/22/V/10/L/": "01/09780345418913/22/V/10/L",
    "https://a.example/01/09780345418913/10/a%2fb!": "01/09780345418913/10/a%2Fb%21",
    "https://a.example/8006/040123451234560102/10/L/21/s": "8006/040123451234560102/21/s",
    "https://a.example/414/4280000000002/254/12#x": "414/4280000000002/254/12",
}  # fmt: skip

NONE = [
    "urn:epc:id:sgtin:4012345.011111.*"[:-2],  # a part is missing
    "urn:epc:id:sgtin:40123.0111111.1",
    "urn:epc:id:sgtin:4012345.011111.123456789012345678901",
    "urn:epc:idpat:sgtin:4012345.*.*",
    "urn:epc:id:gid:1.2.3",
    "urn:uuid:374d95fc-9457-4a51-bd6a-0bba133845a8",
    "https://a.example/01/97803",
    "https://a.example/01/09780345418913/21/",
    "https://a.example/01/09780345418913/21/a/10/b",  # out of order
    "https://a.example/01/09780345418913/10/a/235/b",
    "https://a.example/01/09780345418913/99/x",
    "https://a.example/99/09780345418913",
    "https://a.example/01/09780345418913/21/%zz",
    "https://a.example/01/09780345418913/21/%C3%BC",
    "https://a.example/8006/040123451234560002",
    "ftp://a.example/01/09780345418913",
    "42",
]


@pytest.mark.parametrize("uri", PATHS)
def test_a_key_and_its_canonical_path(uri):
    key = gs1.find(uri)
    assert key.path == PATHS[uri]
    again = gs1.find(f"https://id.gs1.org/{key.path}")
    assert again.path == key.path
    assert key.pattern == uri.startswith("urn:epc:idpat")


@pytest.mark.parametrize("uri", NONE)
def test_no_key(uri):
    assert gs1.find(uri) is None


def test_the_keys_of_the_published_documents():
    for path in sorted(third_party("epcis", "documents").glob("*.json")):
        events = read_document(path.read_bytes()).events
        if any(isinstance(event, BadEvent) for event in events):
            continue
        for event in events:
            for uri in named(event.head.body):
                assert gs1.find(uri) is not None, (path.name, uri)


def named(body):
    for name in ("epcList", "childEPCs", "inputEPCList", "outputEPCList"):
        yield from body.get(name, ())
    for name in ("quantityList", "childQuantityList", "inputQuantityList", "outputQuantityList"):
        yield from (item["epcClass"] for item in body.get(name, ()))


@given(st.text("0123456789", min_size=1, max_size=30))
def test_one_wrong_digit_is_noticed(payload):
    right = gs1.check_digit(payload)
    assert gs1.check_digit("0" * 8 + payload) == right
    for at, digit in enumerate(payload):
        wrong = payload[:at] + str((int(digit) + 1) % 10) + payload[at + 1 :]
        assert gs1.check_digit(wrong) != right


def test_wrong_check_digits_are_told_and_may_be_taken():
    uri = "https://id.gs1.org/00/040123450000003339"
    with pytest.raises(BadEvent) as caught:
        HOLDER.name(uri, event=3, member="parentID")
    assert "is 9, and 8 belongs there" in caught.value.detail
    assert (caught.value.event, caught.value.member, caught.value.value) == (3, "parentID", uri)
    lenient = Naming(HOLDER.prefix, lenient=True).name(uri, event=3, member="parentID")
    assert lenient.identifier.text == "88.118.8/00/040123450000003339"


def test_wrong_check_digits_of_published_data():
    """Of 256 SSCCs 233 are wrong, of 360 keys with a GTIN none."""
    document = third_party_json("epcis", "Generated Events.json")
    wrong, right = set(), set()
    for event in document["epcisBody"]["eventList"]:
        for uri in (*named(event), *filter(None, [event.get("parentID")])):
            key = gs1.find(uri)
            (right if key.expected is None else wrong).add((key.ai, key.path))
    assert (len(wrong), len(right)) == (233, 23 + 360)
    assert {ai for ai, _ in wrong} == {"00"}


@pytest.mark.parametrize(
    ("uri", "text", "kind"),
    [
        ("https://any.host:8088/88.118.9/M%20%231?x=1", "88.118.9/M #1", "item"),
        ("https://a.example/88.118.9/01/09506000134352/21/A1",
         "88.118.9/01/09506000134352/21/A1", "item"),
        ("https://a.example/01/09506000134352/21/A1", "88.118.8/01/09506000134352/21/A1", "item"),
        ("https://a.example/x/01/09506000134352", "88.118.8/01/09506000134352", "class"),
        ("urn:epc:class:lgtin:4012345.012345.L", "88.118.8/01/04012345123456/10/L", "batch"),
        ("urn:epc:id:giai:4012345.ABC", "88.118.8/8004/4012345ABC", "asset"),
    ],
    ids=["native", "native-with-a-key", "key", "key-behind-a-stem", "lot", "asset"],
)  # fmt: skip
def test_identifiers(uri, text, kind):
    named_ = HOLDER.name(uri, event=0, member="epcList[0]")
    assert (named_.identifier, named_.kind) == (Identifier.parse(text), kind)


@pytest.mark.parametrize(
    "uri",
    [
        "urn:epc:idpat:sgtin:4012345.012345.*",
        "urn:uuid:374d95fc-9457-4a51-bd6a-0bba133845a8",
        "https://a.example/01/123",  # begins as a key does, and is none
        "https://a.example/88.118..9/X",
        "https://a.example/88.118.9/",
        "https://a.example/88.118.9/a%0Ab",
        "https://a.example/cells/1",
    ],
)
def test_what_has_no_identifier(uri):
    with pytest.raises(BadEvent) as caught:
        HOLDER.name(uri, event=2, member="epcList[0]")
    assert caught.value.detail.startswith("event 2: epcList[0]: ")
    assert caught.value.value == uri
    json.dumps(caught.value.problem())
