"""What contradicts the shape of a container is refused with its place, before anything is sent."""

import json

import pytest
from hypothesis import given, settings, strategies as st

from schemas.errors import BadInput
from tests.catenax_twins import (
    BOM,
    CAR,
    ISSUED,
    MAKER,
    PARENT,
    SERIAL,
    SUPPLIER,
    USAGE,
    WHEEL,
    bom,
    container,
    row,
    twin,
    usage,
)
from tests.parties import GEAR
from tierlink.imports import catenax
from tierlink.imports.twins import CONTAINER, parse

PLACE = f"$['{CONTAINER}']"
NOT_JSON = {
    "empty": b"",
    "cut-off": b'{"a": [1, 2',
    "words": b"Catena-X",
    "trailing": b"{} {}",
    "not-utf-8": b'{"a": "\xff"}',
    "deep": b"[" * 100_000,
    "enormous-number": b'{"a": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("text", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_not_json(text):
    with pytest.raises(BadInput, match="not JSON"):
        catenax.plan(text, PARENT, ISSUED)


def test_a_syntax_error_names_line_and_column():
    with pytest.raises(BadInput, match="line 2, column 3") as caught:
        parse("{\n  x}")
    assert caught.value.position == 4


MALFORMED = {  # document, place and reason
    "array": ([], "$ is not an object"),
    "no-container": ({"policies": {}}, f"the document has no member {CONTAINER}"),
    "container-object": ({CONTAINER: {}}, f"{PLACE} is not an array"),
    "container-null": ({CONTAINER: None}, f"{PLACE} is not an array"),
    "twin-text": ({CONTAINER: ["x"]}, f"{PLACE}[0] is not an object"),
    "twin-without-id": ({CONTAINER: [{"bpnl": MAKER}]}, f"{PLACE}[0].catenaXId is missing"),
    "twin-id-number": ({CONTAINER: [{"catenaXId": 7}]}, f"{PLACE}[0].catenaXId is not a UUID"),
    "twin-id-short": (
        {CONTAINER: [twin("urn:uuid:0733946c")]},
        f"{PLACE}[0].catenaXId is not a UUID",
    ),
    "twin-id-newline": ({CONTAINER: [twin(CAR + "\n")]}, "catenaXId is not a UUID"),
    "two-holders": (
        {CONTAINER: [twin(CAR, MAKER), twin(CAR, SUPPLIER)]},
        f"{PLACE}[1] is the twin at {PLACE}[0] under another holder",
    ),
    "aspect-object": (
        {CONTAINER: [twin() | {SERIAL: {}}]},
        f"{PLACE}[0]['{SERIAL}'] is not an array",
    ),
    "aspect-of-texts": (
        {CONTAINER: [twin() | {SERIAL: ["x"]}]},
        f"{PLACE}[0]['{SERIAL}'][0] is not an object",
    ),
    "children-object": (
        {CONTAINER: [twin() | {BOM: [{"childItems": {}}]}]},
        f"{PLACE}[0]['{BOM}'][0].childItems is not an array",
    ),
    "child-text": (
        {CONTAINER: [twin() | {BOM: [{"childItems": ["x"]}]}]},
        f"{PLACE}[0]['{BOM}'][0].childItems[0] is not an object",
    ),
    "child-without-id": (
        {CONTAINER: [twin() | {BOM: [{"childItems": [{}]}]}]},
        "childItems[0].catenaXId is missing",
    ),
    "child-id-null": (
        {CONTAINER: [twin() | {BOM: [{"childItems": [{"catenaXId": None}]}]}]},
        "childItems[0].catenaXId is missing",
    ),
    "child-id-malformed": (
        {CONTAINER: [twin() | {BOM: [{"childItems": [{"catenaXId": "x"}]}]}]},
        "childItems[0].catenaXId is not a UUID",
    ),
    "customers-null": (
        {CONTAINER: [twin() | {USAGE: [{"customers": None}]}]},
        f"{PLACE}[0]['{USAGE}'][0].customers is not an array",
    ),
    "wrapped-and-malformed": (
        {CONTAINER: [twin() | {BOM: [{"submodelId": "x", "data": {"childItems": 7}}]}]},
        f"{PLACE}[0]['{BOM}'][0].data.childItems is not an array",
    ),
}


@pytest.mark.parametrize(("document", "why"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_documents(document, why):
    with pytest.raises(BadInput) as caught:
        catenax.plan(json.dumps(document), PARENT, ISSUED)
    assert why in caught.value.detail
    json.dumps(caught.value.problem())


GOOD = json.loads(
    container(
        twin(
            CAR,
            MAKER,
            **bom(row(businessPartner=SUPPLIER, validityPeriod={"validFrom": "2024-01-01"})),
            **{SERIAL: {"localIdentifiers": [{"key": "van", "value": "1"}], "xLink": "urn:x:1"}},
        ),
        twin(WHEEL, SUPPLIER, **usage(row(CAR))),
    )
)


def places(value, path=()):
    """The paths of all values of a document."""
    yield path
    if isinstance(value, dict | list):
        members = value.items() if isinstance(value, dict) else enumerate(value)
        for name, member in members:
            yield from places(member, (*path, name))


def replaced(value, path, other):
    if not path:
        return other
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], other)
    return copy


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.sampled_from([CAR, WHEEL, MAKER, "2024-01-01", "\ud800", "unit:piece"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=4,
)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(list(places(GOOD))), anything)
def test_a_changed_document_is_planned_or_refused_and_nothing_else(path, other):
    document = json.dumps(replaced(GOOD, path, other))
    try:
        plan, _ = catenax.plan(document, PARENT, ISSUED, usage_quantity=True)
    except BadInput as err:
        json.dumps(err.problem(), ensure_ascii=False).encode()
        return
    for item in (*plan.records, *plan.assertions):
        item.sign(GEAR)
