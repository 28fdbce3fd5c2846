"""Records: what may be signed, what a version follows, what a tombstone keeps."""

import pytest

from schemas.envelope import digest
from schemas.errors import BadIdentifier, BadInput, BadRecord
from schemas.record import check_parent_kind, parse_record, read_draft, read_record
from schemas.rule import Rule, TargetTemplate
from schemas.target import Target
from tests.parties import GEAR, GEAR_CLASS, GEAR_ITEM, ISSUED, identifier, record, refusal

PREV = "A" * 43
CLAIMS = {"v": 1, "id": "88.1/A", "ver": 1, "iat": ISSUED, "kind": "item", "status": "active"}
TARGET = {"rel": "manual", "href": "https://a.example/"}
RULE = {"pattern": "A-{n:digits:3}", "targets": []}


def test_a_record_survives_its_envelope():
    full = record(
        "88.1/A",
        "class",
        version=3,
        prev=PREV,
        status="suspended",
        parent=identifier("88.1/B"),
        targets=(Target("manual", "https://a.example/", "text/html", "Manual", "en"),),
        attributes={"a": [1, {"b": None}], "c": True},
        rule=Rule("A-{n:digits:3}", (TargetTemplate("gs1:pip", "https://a.example/{n}"),)),
        valid_from=ISSUED,
        valid_until=ISSUED + 1,
    )
    for item in (full, GEAR_CLASS, GEAR_ITEM):
        envelope, found = parse_record(item.sign(GEAR))
        assert found == item
        assert found.claims() == envelope.claims


BAD_CLAIMS = {  # members changed (None: left out), what the refusal says
    "no-id": ({"id": None}, "id is missing"),
    "no-version": ({"ver": None}, "ver is missing"),
    "version-zero": ({"ver": 0}, "ver is not an integer from 1"),
    "version-true": ({"ver": True}, "ver is not an integer"),
    "prev-at-first": ({"prev": PREV}, "prev belongs to every version but the first"),
    "prev-missing": ({"ver": 2}, "prev belongs to every version but the first"),
    "prev-too-long": ({"ver": 2, "prev": PREV + "A"}, "prev has 44 characters"),
    "no-time": ({"iat": None}, "iat is missing"),
    "time-negative": ({"iat": -1}, "iat is not an integer"),
    "no-kind": ({"kind": None}, "kind is not one of"),
    "kind-unknown": ({"kind": "thing"}, "kind is not one of asset, batch, class"),
    "kind-a-list": ({"kind": ["item"]}, "kind is not one of"),
    "status-unknown": ({"status": "recalled"}, "status is not one of"),
    "ends-before-it-begins": ({"nbf": 10, "exp": 10}, "exp is not after nbf"),
    "parent-of-another": ({"parent": "88.2/B"}, "parent is not under 88.1"),
    "parent-below": ({"parent": "88.1.2/B"}, "parent is not under 88.1"),
    "parent-itself": ({"parent": "88.1/A"}, "parent is the record itself"),
    "parent-a-number": ({"parent": 1}, "parent is not a string"),
    "targets-an-object": ({"targets": {}}, "targets is not an array"),
    "targets-too-many": ({"targets": [TARGET] * 257}, "has 257 items, the limit is 256"),
    "target-a-text": ({"targets": ["x"]}, r"targets\[0\] is not an object"),
    "target-unknown-member": (
        {"targets": [TARGET, TARGET | {"audience": "x"}]},
        r"targets\[1\]\.has unknown members: audience",
    ),
    "attributes-a-list": ({"attributes": []}, "attributes is not an object"),
    "attributes-too-many": ({"attributes": {str(n): n for n in range(257)}}, "over 256 members"),
    "rule-on-an-item": ({"rule": RULE}, "rule belongs to records of kind class"),
    "rule-empty": ({"kind": "class", "rule": {}}, "rule.pattern is missing"),
    "rule-a-text": ({"kind": "class", "rule": "A"}, "rule is not an object"),
    "unknown-member": ({"owner": "x"}, "the object has unknown members: owner"),
    "retired-with-targets": ({"status": "retired", "targets": [TARGET]}, "keeps nothing"),
    "retired-with-attributes": ({"status": "retired", "attributes": {"a": 1}}, "keeps nothing"),
    "retired-with-parent": ({"status": "retired", "parent": "88.1/B"}, "keeps nothing"),
    "retired-with-rule": ({"status": "retired", "kind": "class", "rule": RULE}, "keeps nothing"),
}


@pytest.mark.parametrize(("changes", "why"), BAD_CLAIMS.values(), ids=BAD_CLAIMS)
def test_refused_claims(changes, why):
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    with pytest.raises(BadRecord, match=why):
        read_record(claims)


@pytest.mark.parametrize("name", ["id", "ver", "iat", "kind", "status", "parent", "nbf", "rule"])
def test_null_is_never_a_value(name):
    with pytest.raises(BadInput, match=f"{name} is null; leave it out"):
        read_record(CLAIMS | {name: None})


@pytest.mark.parametrize(("name", "position"), [("id", 5), ("parent", 5)])
def test_a_bad_identifier_names_its_member_and_position(name, position):
    with pytest.raises(BadIdentifier, match=f"{name}: .*control character") as caught:
        read_record(CLAIMS | {name: "88.1/\x07"})
    assert caught.value.position == position


def test_a_draft_is_version_one():
    draft = {"identifier": "88.1/A", "kind": "item", "attributes": {"a": 1}}
    assert read_draft(draft, ISSUED) == record("88.1/A", attributes={"a": 1})
    for extra in ({"ver": 1}, {"id": "88.1/A"}, {"v": 1}, {"iat": ISSUED}):
        with pytest.raises(BadRecord, match="unknown members"):
            read_draft(draft | extra, ISSUED)
    with pytest.raises(BadRecord, match="identifier is missing"):
        read_draft({"kind": "item"}, ISSUED)


def test_versions_follow_each_other():
    prev = digest(GEAR_ITEM.sign(GEAR))
    following = GEAR_ITEM.next(prev, ISSUED + 9)
    assert (following.version, following.prev, following.issued_at) == (2, prev, ISSUED + 9)
    assert following.attributes == GEAR_ITEM.attributes
    gone = following.tombstone(digest(following.sign(GEAR)), ISSUED + 10)
    assert (gone.version, gone.status, gone.kind) == (3, "retired", "item")
    assert gone.claims().keys() == {"v", "id", "ver", "prev", "iat", "kind", "status"}
    assert parse_record(gone.sign(GEAR))[1] == gone


def test_the_same_content_at_another_time():
    later = record("88.1/A", issued_at=ISSUED + 5)
    assert later.same_content(record("88.1/A"))
    assert not later.same_content(record("88.1/A", attributes={"a": 1}))
    assert not record("88.1/A", attributes={"a": 1}).same_content(
        record("88.1/A", attributes={"a": 2})
    )
    assert not later.next(PREV, ISSUED).same_content(later)


PARENTS = {
    ("item", "batch"),
    ("item", "class"),
    ("batch", "class"),
    ("class", "class"),
    ("document", "class"),
    ("document", "document"),
    ("asset", "class"),
    ("asset", "batch"),
    ("asset", "asset"),
}
KINDS = ("class", "batch", "item", "document", "asset")


@pytest.mark.parametrize("child", KINDS)
@pytest.mark.parametrize("parent", KINDS)
def test_a_parent_is_of_a_broader_kind(child, parent):
    below = (child, "88.1/B")
    if (child, parent) in PARENTS:
        check_parent_kind(*below, parent)
    else:
        with pytest.raises(BadRecord, match=f"the parent of a {child} is of kind"):
            check_parent_kind(*below, parent)


def test_a_link_is_no_record():
    assert refusal(parse_record, "x") == "E_FORMAT"
