"""Answers: what signed parts mean together, and that nothing else can be said of them."""

import copy

import pytest

from schemas import canonical
from schemas.answer import (
    MAX_LINKS,
    compose,
    covers,
    parse_stated,
    rfc3339,
    targets,
    verify_answer,
    verify_record,
)
from schemas.envelope import digest
from schemas.link import Quantity
from schemas.record import MAX_ANCESTORS
from schemas.rule import Rule, TargetTemplate
from schemas.target import Target
from tests.parties import (
    DELEGATIONS,
    GEAR,
    GEAR_CLASS,
    GEAR_ITEM,
    GEAR_SAYS,
    GEAR_TOKEN,
    INDUSTRY as INDUSTRY_KEY,
    INDUSTRY_TOKEN,
    ISSUED,
    MADE_OF,
    NOW,
    STEEL,
    STEEL_SAYS,
    STRANGER,
    answer,
    assertion,
    delegation,
    golden_answer,
    identifier,
    parts,
    record,
    refusal,
    trust,
)

ITEM = GEAR_ITEM.identifier.text
SERIAL = "88.100/GEAR-2026-000777"
CLASS_TOKEN, ITEM_TOKEN = GEAR_CLASS.sign(GEAR), GEAR_ITEM.sign(GEAR)
GEAR_TOKENS = (ITEM_TOKEN, CLASS_TOKEN)
SAYS, SAYS_TOO = GEAR_SAYS.sign(GEAR), STEEL_SAYS.sign(STEEL)


def judged(document, now=NOW, known=None):
    """The verdict on a document as a verifier reads it from bytes."""

    def verify():
        read = canonical.decode_object(canonical.encode(document))
        return verify_answer(read, known or trust(), now)

    return refusal(verify)


def test_the_golden_answer_verifies_offline():
    document = golden_answer()
    found = verify_answer(document, trust(), NOW)
    assert found.current
    assert found.expired == ()
    assert found.view == {n: v for n, v in document.items() if n not in {"envelope", "proof"}}
    assert found.parts.identifier.text == ITEM


def test_what_the_golden_answer_says():
    document = golden_answer()
    assert [name for name in document if name not in {"envelope", "proof"}] == [
        "identifier",
        "version",
        "kind",
        "status",
        "parent",
        "targets",
        "attributes",
        "links",
        "issued_at",
        "valid_until",
    ]
    assert document["parent"] == "88.100/GEAR"
    assert document["issued_at"] == "2026-11-18T11:06:40Z"
    assert document["links"] == {
        "upstream": [
            {
                "identifier": "88.101/STEEL-0091",
                "type": "CONTAINED_IN",
                "state": "mutual",
                "quantity": {"value": "0.90", "unit": "KGM"},
                "lifecycle": "asBuilt",
                "asserted_by": ["downstream", "upstream"],
            }
        ],
        "downstream": [],
    }


# A1 the members


def broken(**members):
    return golden_answer() | members


A1 = {
    "no-identifier": ({"identifier": None}, "E_FORMAT"),
    "identifier-malformed": ({"identifier": "88.100"}, "E_ID"),
    "no-envelope": ({"envelope": None}, "E_FORMAT"),
    "envelope-an-object": ({"envelope": {}}, "E_FORMAT"),
    "proof-a-list": ({"proof": []}, "E_FORMAT"),
    "proof-null": ({"proof": None}, "E_FORMAT"),
    "proof-of-more": ({"proof": {"keys": []}}, "E_FORMAT"),
    "chain-a-text": ({"proof": {"chain": "x"}}, "E_FORMAT"),
    "chain-of-numbers": ({"proof": {"chain": [1]}}, "E_FORMAT"),
    "records-an-object": ({"proof": {"records": {}}}, "E_FORMAT"),
    "chain-endless": ({"proof": {"chain": ["x"] * 1_000}}, "E_LIMIT"),
    "records-endless": ({"proof": {"records": [CLASS_TOKEN] * 5}}, "E_LIMIT"),
    "links-null": ({"links": None}, "E_ANSWER"),
    "links-a-list": ({"links": []}, "E_ANSWER"),
    "unknown-member": ({"note": "x"}, "E_ANSWER"),
}


@pytest.mark.parametrize(("members", "code"), A1.values(), ids=A1)
def test_a1_the_members_of_an_answer(members, code):
    assert judged(broken(**members)) == code


def test_a1_nothing_at_all():
    assert judged({}) == "E_FORMAT"


# A2 the records


def with_parts(about=ITEM, records=GEAR_TOKENS, links=(), chain=DELEGATIONS):
    """An answer with other signed parts; its plain members are those of the golden one."""
    proof = {"chain": list(chain), "records": list(records[1:]), "links": list(links)}
    return golden_answer() | {"identifier": about, "envelope": records[0], "proof": proof}


A2 = {
    "signed-by-another-company": (with_parts(records=(GEAR_ITEM.sign(STEEL),)), "E_CHAIN"),
    "signed-by-a-stranger": (with_parts(records=(GEAR_ITEM.sign(STRANGER),)), "E_CHAIN"),
    "ancestor-by-a-stranger": (
        with_parts(records=(ITEM_TOKEN, GEAR_CLASS.sign(STRANGER))),
        "E_CHAIN",
    ),
    "spoiled": (with_parts(records=(ITEM_TOKEN[:-86] + SAYS[-86:], CLASS_TOKEN)), "E_SIG"),
    "a-link": (with_parts(records=(SAYS,)), "E_TYP"),
    "a-delegation": (with_parts(records=(GEAR_TOKEN,)), "E_TYP"),
    "no-chain": (with_parts(chain=()), "E_CHAIN"),
    "middle-missing": (with_parts(chain=(GEAR_TOKEN,)), "E_CHAIN"),
    "chain-of-another": (with_parts(chain=(INDUSTRY_TOKEN, DELEGATIONS[2])), "E_CHAIN"),
    "chain-expired-at-issue": (
        with_parts(
            chain=(
                INDUSTRY_TOKEN,
                delegation("88.100", "88", GEAR, valid_until=ISSUED).sign(STRANGER),
            )
        ),
        "E_CHAIN",
    ),
}


@pytest.mark.parametrize(("document", "code"), A2.values(), ids=A2)
def test_a2_each_record_under_the_chain_of_its_prefix(document, code):
    assert judged(document) == code


# A3 the right records in the right order

OTHER = record("88.100/OTHER").sign(GEAR)
OTHER_CLASS = record("88.100/OTHER", "class").sign(GEAR)
STEEL_CLASS = record("88.101/STEEL", "class", rule=GEAR_CLASS.rule).sign(STEEL)
GONE_CLASS = GEAR_CLASS.tombstone(digest(CLASS_TOKEN), ISSUED).sign(GEAR)
A3 = {
    "another-record": (with_parts(records=(OTHER,)), "E_ID"),
    "parent-instead": (with_parts("88.100/X", records=(CLASS_TOKEN,)), "E_ID"),
    "class-that-does-not-cover": (with_parts("88.100/GEAR-1", (CLASS_TOKEN,)), "E_ID"),
    "class-of-another-prefix": (with_parts(SERIAL, (STEEL_CLASS,)), "E_ID"),
    "class-that-is-retired": (with_parts(SERIAL, (GONE_CLASS,)), "E_ID"),
    "not-the-parent": (with_parts(records=(ITEM_TOKEN, OTHER_CLASS)), "E_ID"),
    "parent-twice": (with_parts(records=(ITEM_TOKEN, CLASS_TOKEN, CLASS_TOKEN)), "E_ID"),
    "swapped": (with_parts("88.100/GEAR", records=(CLASS_TOKEN, ITEM_TOKEN)), "E_ID"),
    "parent-left-out": (with_parts(records=(ITEM_TOKEN,)), "E_ID"),
}


@pytest.mark.parametrize(("document", "code"), A3.values(), ids=A3)
def test_a3_records_are_the_identifiers_own_and_its_ancestors(document, code):
    assert judged(document) == code


def test_a3_nothing_inherited_is_left_out():
    """Consistent in itself: only the class, and so the manual that is inherited, is missing."""
    document = answer(ITEM, (ITEM_TOKEN,), (SAYS, SAYS_TOO))
    assert [item["rel"] for item in document["targets"]] == ["gs1:pip"]
    assert judged(document) == "E_ID"
    del document["proof"]
    assert judged(document, known=trust(*DELEGATIONS)) == "E_ID"


def lineage(count):
    """Tokens of `count` classes, each the parent of the one before it."""
    return tuple(
        record(
            f"88.100/C{n}",
            "class",
            parent=identifier(f"88.100/C{n + 1}") if n + 1 < count else None,
        ).sign(GEAR)
        for n in range(count)
    )


def test_a3_five_records_are_the_most():
    longest = lineage(MAX_ANCESTORS + 1)
    assert judged(answer("88.100/C0", longest)) is None
    too_long = lineage(MAX_ANCESTORS + 2)
    assert judged(with_parts("88.100/C0", too_long)) == "E_LIMIT"
    assert judged(answer("88.100/C0", too_long[:-1])) is None


# A4 the assertions

FAR = assertion("upstream", "88.101/A", "88.100/B").sign(STEEL)
BY_ANOTHER = GEAR_SAYS.sign(STEEL)
FOR_THE_OTHER_END = STEEL_SAYS.sign(GEAR)
WITHDRAWN = GEAR_SAYS.withdrawal(digest(SAYS), ISSUED).sign(GEAR)
WITHDRAWN_TOO = STEEL_SAYS.withdrawal(digest(SAYS_TOO), ISSUED).sign(STEEL)
PLANNED = assertion("upstream", *MADE_OF, lifecycle="asPlanned").sign(STEEL)
A4 = {
    "of-others": (with_parts(links=(FAR,)), "E_LINK"),
    "by-another-key": (with_parts(links=(BY_ANOTHER,)), "E_LINK"),
    "for-the-other-end": (with_parts(links=(FOR_THE_OTHER_END,)), "E_LINK"),
    "twice": (with_parts(links=(SAYS, SAYS)), "E_LINK"),
    "one-side-twice": (
        with_parts(links=(SAYS, assertion("downstream", *MADE_OF).sign(GEAR))),
        "E_LINK",
    ),
    "withdrawn-alone": (with_parts(links=(WITHDRAWN,)), "E_LINK"),
    "withdrawn-and-before": (with_parts(links=(SAYS, WITHDRAWN)), "E_LINK"),
    "withdrawn-by-both": (with_parts(links=(WITHDRAWN, WITHDRAWN_TOO)), "E_LINK"),
    "withdrawn-beside-another-link": (with_parts(links=(WITHDRAWN, PLANNED)), "E_LINK"),
    "withdrawn-by-another-key": (
        with_parts(links=(GEAR_SAYS.withdrawal(digest(SAYS), ISSUED).sign(STEEL), SAYS_TOO)),
        "E_LINK",
    ),
    "a-record": (with_parts(links=(CLASS_TOKEN,)), "E_TYP"),
    "far-chain-missing": (with_parts(links=(SAYS_TOO,), chain=DELEGATIONS[:2]), "E_LINK"),
}


@pytest.mark.parametrize(("document", "code"), A4.values(), ids=A4)
def test_a4_assertions_stand_and_touch_the_identifier(document, code):
    assert judged(document) == code


def test_a4_two_keys_make_no_mutual_link():
    """Assertions over two link keys are two proposed links, however alike."""
    document = answer(ITEM, GEAR_TOKENS, (SAYS, PLANNED))
    listed = document["links"]["upstream"]
    assert [(item["lifecycle"], item["state"]) for item in listed] == [
        ("asBuilt", "proposed"),
        ("asPlanned", "proposed"),
    ]
    assert judged(document) is None
    # shown as one, or as two that are mutual
    for shown in (listed[:1], listed):
        forged = copy.deepcopy(document)
        forged["links"]["upstream"] = [dict(item, state="mutual") for item in shown]
        assert judged(forged) == "E_LINK"


@pytest.mark.parametrize("who", ["gear", "steel"])
def test_a4_a_withdrawal_is_shown_beside_what_stands(who):
    said = (WITHDRAWN, SAYS_TOO) if who == "gear" else (SAYS, WITHDRAWN_TOO)
    document = answer(ITEM, GEAR_TOKENS, said)
    (listed,) = document["links"]["upstream"]
    stands = "upstream" if who == "gear" else "downstream"
    assert (listed["state"], listed["asserted_by"]) == ("withdrawn", [stands])
    assert judged(document) is None
    # mutual, or merely proposed, after one end's withdrawal
    for state in ("mutual", "proposed", "conflicting", None, True):
        forged = copy.deepcopy(document)
        forged["links"]["upstream"][0]["state"] = state
        assert judged(forged) == "E_LINK"
    # the answer of before, with the withdrawal in the place of what it took back
    before = answer(ITEM, GEAR_TOKENS, (SAYS, SAYS_TOO))
    before["proof"]["links"] = list(said)
    assert judged(before) == "E_LINK"


def test_a_statement_verifies_alone():
    chain = trust(*DELEGATIONS)

    def check(envelope, speaker, at, kind):
        chain.chain(speaker).check_speaker(envelope, speaker, at, kind)

    assert parse_stated(SAYS, check) == GEAR_SAYS
    assert parse_stated(WITHDRAWN, check).state == "withdrawn"
    assert refusal(parse_stated, BY_ANOTHER, check) == "E_LINK"


# A5 the plain members


def changes():
    """Copies of the golden answer, each with one plain member changed, added or removed."""
    golden = golden_answer()

    def change(name, edit):
        document = copy.deepcopy(golden)
        edit(document)
        return name, document

    for name in golden:
        if name not in {"envelope", "proof", "identifier"}:
            yield change(f"{name}-removed", lambda d, n=name: d.pop(n))
            yield change(f"{name}-null", lambda d, n=name: d.update({n: None}))
    yield change("parent-empty", lambda d: d.update(parent=""))
    yield change("version-higher", lambda d: d.update(version=2))
    yield change("version-true", lambda d: d.update(version=True))
    yield change("version-text", lambda d: d.update(version="1"))
    yield change("status-suspended", lambda d: d.update(status="suspended"))
    yield change("covered", lambda d: d.update(covered_by="88.100/GEAR"))
    yield change("covered-null", lambda d: d.update(covered_by=None))
    yield change("target-removed", lambda d: d["targets"].pop())
    yield change("target-added", lambda d: d["targets"].append(d["targets"][0]))
    yield change("targets-swapped", lambda d: d["targets"].reverse())
    yield change("href", lambda d: d["targets"][1].update(href="https://evil.example/"))
    yield change("title", lambda d: d["targets"][1].update(title="x"))
    yield change("source", lambda d: d["targets"][1].update(source=ITEM))
    yield change("target-member", lambda d: d["targets"][0].update(audience="all"))
    yield change("attribute", lambda d: d["attributes"].update(teeth=25))
    yield change("attribute-true-as-one", lambda d: d["attributes"].update(hardened=1))
    yield change("attribute-added", lambda d: d["attributes"].update(x=1))
    yield change("quantity", lambda d: d["links"]["upstream"][0].update(quantity=None))
    yield change("asserted-by", lambda d: d["links"]["upstream"][0]["asserted_by"].pop())
    yield change("far-end", lambda d: d["links"]["upstream"][0].update(identifier="88.101/X"))
    yield change("link-removed", lambda d: d["links"]["upstream"].clear())
    yield change("direction", lambda d: d["links"]["downstream"].extend(d["links"]["upstream"]))
    yield change("truncated-one", lambda d: d["links"].update(truncated=1))
    yield change("truncated-false", lambda d: d["links"].update(truncated=False))
    yield change("time", lambda d: d.update(issued_at="2026-11-18T11:06:41Z"))
    yield change("time-zone", lambda d: d.update(issued_at="2026-11-18T11:06:40+00:00"))


A5 = dict(changes())


@pytest.mark.parametrize("document", A5.values(), ids=A5)
def test_a5_plain_members_are_what_the_parts_compose_to(document):
    assert judged(document) == "E_ANSWER"


def test_a5_says_how_to_get_the_whole_proof():
    item = record("88.100/PLAIN").sign(GEAR)
    says = assertion("upstream", "88.100/PLAIN", "88.101/X").sign(GEAR)
    document = answer("88.100/PLAIN", (item,), (says,))
    del document["proof"]
    with pytest.raises(Exception, match="E_ANSWER: links") as caught:
        verify_answer(document, trust(*DELEGATIONS), NOW)
    assert caught.value.fix == "ask again without ?proof=none"


def test_a5_truncation_is_the_servers_word():
    document = golden_answer()
    document["links"]["truncated"] = True
    found = verify_answer(document, trust(), NOW)
    assert found.parts.more_links


# A6 now


@pytest.mark.parametrize(
    ("members", "chain", "expired"),
    [
        ({}, {}, ()),
        ({"valid_from": NOW + 1}, {}, ("E_TIME",)),
        ({"valid_until": NOW}, {}, ("E_TIME",)),
        ({"valid_from": NOW, "valid_until": NOW + 1}, {}, ()),
        ({}, {"valid_until": NOW}, ("E_TIME",)),
        ({"valid_until": NOW}, {"valid_until": NOW}, ("E_TIME",)),
    ],
)
def test_a6_what_is_true_no_longer(members, chain, expired):
    """Valid when it was issued, so it verifies; and it says that it is so no more."""
    token = record("88.100/A", **members).sign(GEAR)
    industry = delegation("88.100", "88", GEAR, **chain).sign(INDUSTRY_KEY)
    document = answer("88.100/A", (token,), chain=(INDUSTRY_TOKEN, industry))
    found = verify_answer(document, trust(), NOW)
    assert found.expired == expired
    assert found.current is (expired == ())


def test_a6_a_chain_that_was_not_valid_at_issue_verifies_nothing():
    industry = delegation("88.100", "88", GEAR, valid_from=ISSUED + 1).sign(INDUSTRY_KEY)
    document = with_parts(records=(OTHER,), chain=(INDUSTRY_TOKEN, industry))
    assert judged(document) == "E_TIME"


# what parts mean together


def composed(about, *records, assertions=()):
    return compose(parts(about, tuple(item.sign(GEAR) for item in records), assertions))


def rels(view):
    return [(item["rel"], item["href"], item["source"]) for item in view["targets"]]


def test_the_nearest_record_answers_for_a_relation():
    url = "https://gear.example/{}".format
    above = record(
        "88.100/CLASS",
        "class",
        targets=(Target("manual", url("c")), Target("pip", url("c")), Target("cert", url("c"))),
        attributes={"of": "class"},
    )
    batch = record(
        "88.100/BATCH",
        "batch",
        parent=above.identifier,
        targets=(Target("pip", url("b1")), Target("pip", url("b2")), Target("cert", url("b"))),
    )
    item = record("88.100/ITEM", parent=batch.identifier, targets=(Target("cert", url("i")),))
    view = composed("88.100/ITEM", item, batch, above)
    assert rels(view) == [
        ("cert", url("i"), "88.100/ITEM"),
        ("pip", url("b1"), "88.100/BATCH"),
        ("pip", url("b2"), "88.100/BATCH"),
        ("manual", url("c"), "88.100/CLASS"),
    ]
    assert view["attributes"] == {}  # targets are inherited, attributes are not
    assert view["parent"] == "88.100/BATCH"


def test_a_class_answers_for_the_serials_it_covers():
    view = composed(SERIAL, GEAR_CLASS)
    assert {n: view[n] for n in ("identifier", "kind", "parent", "covered_by", "attributes")} == {
        "identifier": SERIAL,
        "kind": "item",
        "parent": "88.100/GEAR",
        "covered_by": "88.100/GEAR",
        "attributes": {"year": "2026", "serial": "000777"},
    }
    assert rels(view) == [
        (
            "gs1:pip",
            "https://gear.example/2026/000777?identifier=88.100%2FGEAR-2026-000777",
            "88.100/GEAR",
        ),
        ("manual", "https://gear.example/manual.pdf", "88.100/GEAR"),
    ]
    assert judged(answer(SERIAL, (CLASS_TOKEN,))) is None


def test_a_covered_serial_inherits_from_above_the_class():
    top = record("88.100/TOP", "class", targets=(Target("cert", "https://gear.example/cert"),))
    below = record("88.100/T", "class", parent=top.identifier, rule=GEAR_CLASS.rule)
    view = composed(SERIAL, below, top)
    assert [item["rel"] for item in view["targets"]] == ["gs1:pip", "cert"]
    assert judged(answer(SERIAL, (below.sign(GEAR), top.sign(GEAR)))) is None
    assert judged(answer(SERIAL, (below.sign(GEAR),))) == "E_ID"


def test_a_class_does_not_answer_for_itself_by_its_rule():
    itself = record(
        "88.100/G1", "class", rule=Rule("G{n:digits:1}", (TargetTemplate("a", "urn:x"),))
    )
    view = composed("88.100/G1", itself)
    assert (view["kind"], view["targets"], "covered_by" in view) == ("class", [], False)


def test_a_template_that_grows_too_long_is_left_out_by_everybody():
    wordy = Rule(
        "{n:any:1-200}",
        (TargetTemplate("a", "https://a.example/" + "{n}" * 20), TargetTemplate("b", "urn:{n}")),
    )
    token = record("88.100/WORDY", "class", rule=wordy).sign(GEAR)
    document = answer("88.100/" + "x" * 200, (token,))
    assert [item["rel"] for item in document["targets"]] == ["b"]
    assert judged(document) is None


@pytest.mark.parametrize(
    ("about", "status", "covered"),
    [
        (SERIAL, "active", True),
        (SERIAL, "suspended", True),
        (SERIAL, "retired", False),
        ("88.100/GEAR-1", "active", False),
        ("88.101/GEAR-2026-000777", "active", False),
        ("88.100.1/GEAR-2026-000777", "active", False),
    ],
)
def test_covering(about, status, covered):
    above = record("88.100/GEAR", "class", rule=GEAR_CLASS.rule, status=status)
    assert covers(above, identifier(about)) is covered


def test_links_are_listed_by_their_far_end_in_a_stable_order():
    says = [
        assertion("downstream", "88.101/B", ITEM, quantity=Quantity("2", "H87")).sign(GEAR),
        assertion("upstream", "88.101/B", ITEM, quantity=Quantity("3", "H87")).sign(STEEL),
        assertion("upstream", ITEM, "88.101/CAR", occurrence="left").sign(GEAR),
        assertion("downstream", "88.101/A", ITEM).sign(GEAR),
    ]
    view = compose(parts(ITEM, GEAR_TOKENS, says))
    assert view == compose(parts(ITEM, GEAR_TOKENS, says[::-1]))
    upstream, downstream = view["links"]["upstream"], view["links"]["downstream"]
    assert [item["identifier"] for item in upstream] == ["88.101/A", "88.101/B"]
    assert [item["state"] for item in upstream] == ["proposed", "conflicting"]
    assert upstream[1]["quantity"] == {"value": "2", "unit": "H87"}  # the containing side's
    assert [(item["identifier"], item["occurrence"]) for item in downstream] == [
        ("88.101/CAR", "left")
    ]
    assert "occurrence" not in upstream[0]


def test_many_links_fit_an_answer():
    says = [
        assertion(side, f"88.101/S-{n}", ITEM).sign(signer)
        for n in range(MAX_LINKS)
        for side, signer in (("downstream", GEAR), ("upstream", STEEL))
    ]
    assert judged(answer(ITEM, GEAR_TOKENS, says)) is None


def test_one_record_verifies_by_what_is_known():
    found = verify_record(ITEM_TOKEN, trust(*DELEGATIONS), NOW)
    assert found.current
    assert [item.target.rel for item in targets(found.parts)] == ["gs1:pip"]
    assert refusal(verify_record, ITEM_TOKEN, trust(), NOW) == "E_CHAIN"
    assert refusal(verify_record, SAYS, trust(*DELEGATIONS), NOW) == "E_TYP"
    assert verify_record(ITEM_TOKEN, trust(*DELEGATIONS), NOW * 2).expired == ("E_TIME",)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_795_000_000, "2026-11-18T11:06:40Z"),
        (253_402_300_799, "9999-12-31T23:59:59Z"),
        (253_402_300_800, "@253402300800"),
        (2**53 - 1, "@9007199254740991"),
    ],
)
def test_times(seconds, text):
    assert rfc3339(seconds) == text
