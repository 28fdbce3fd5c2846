"""Links: one key for both ends, each end's own words, and what the two make together."""

from dataclasses import replace

import pytest

from schemas.envelope import digest
from schemas.errors import BadIdentifier, BadInput, BadLink
from schemas.link import (
    Evidence,
    Link,
    Quantity,
    link_state,
    parse_assertion,
    read_assertion,
    read_draft_assertion,
    stands,
)
from tests.parties import (
    GEAR,
    GEAR_SAYS,
    ISSUED,
    MADE_OF,
    STEEL_SAYS,
    assertion,
    identifier,
    refusal,
)

CLAIMS = {
    "v": 1,
    "side": "downstream",
    "ver": 1,
    "iat": ISSUED,
    "state": "asserted",
    "type": "CONTAINED_IN",
    "upstream": "88.101/STEEL",
    "downstream": "88.100/GEAR",
    "lifecycle": "asBuilt",
    "occurrence": "",
}
PLANNED = replace(GEAR_SAYS.link, lifecycle="asPlanned")
DRAFT = {n: CLAIMS[n] for n in ("side", "type", "upstream", "downstream")}


def test_an_assertion_survives_its_envelope():
    full = assertion(
        "upstream",
        *MADE_OF,
        type="CONSUMED_INTO",
        lifecycle="asPlanned",
        occurrence="slot 7",
        version=2,
        prev="A" * 43,
        quantity=Quantity("0.900", "KGM"),
        valid_from=ISSUED,
        valid_until=ISSUED + 1,
        evidence=(
            Evidence("epcis", "ni:///sha-256;abc", "https://a.example/e"),
            Evidence("doc", "7"),
        ),
    )
    for item in (full, GEAR_SAYS, STEEL_SAYS):
        envelope, found = parse_assertion(item.sign(GEAR))
        assert found == item
        assert found.claims() == envelope.claims


def test_both_ends_speak_of_one_link():
    assert GEAR_SAYS.link.key == STEEL_SAYS.link.key
    assert (GEAR_SAYS.asserter, GEAR_SAYS.far) == (STEEL_SAYS.far, STEEL_SAYS.asserter)
    assert GEAR_SAYS.asserter == identifier("88.100/GEAR-2026-000001")


def test_everything_under_the_key_counts():
    base = ("CONTAINED_IN", identifier("88.1/A"), identifier("88.1/B"), "asBuilt", "")
    others = (
        ("ATTACHED_TO", *base[1:]),
        (base[0], base[2], base[1], *base[3:]),
        (*base[:3], "asPlanned", ""),
        (*base[:4], "1"),
    )
    assert len({Link(*row).key for row in (base, *others)}) == 5


BAD_CLAIMS = {
    "no-side": ({"side": None}, "side is not one of downstream, upstream"),
    "no-type": ({"type": None}, "type is not one of"),
    "type-unknown": ({"type": "PART_OF"}, "type is not one of"),
    "lifecycle-unknown": ({"lifecycle": "asbuilt"}, "lifecycle is not one of"),
    "state-missing": ({"state": None}, "state is not one of"),
    "version-zero": ({"ver": 0}, "ver is not an integer"),
    "prev-at-first": ({"prev": "A" * 43}, "prev belongs to every version but the first"),
    "prev-missing": ({"ver": 2}, "prev belongs to every version but the first"),
    "no-upstream": ({"upstream": None}, "upstream is missing"),
    "no-downstream": ({"downstream": None}, "downstream is missing"),
    "to-itself": ({"upstream": "88.100/GEAR"}, "downstream is the upstream itself"),
    "occurrence-long": ({"occurrence": "x" * 129}, "occurrence has 129 characters"),
    "occurrence-nul": ({"occurrence": "a\x00"}, "occurrence holds a control character"),
    "occurrence-number": ({"occurrence": 1}, "occurrence is not a non-empty string"),
    "ends-before": ({"nbf": 2, "exp": 1}, "exp is not after nbf"),
    "quantity-number": ({"quantity": 1}, "quantity is not an object"),
    "quantity-no-unit": ({"quantity": {"value": "1"}}, "quantity.unit is missing"),
    "quantity-no-value": ({"quantity": {"unit": "H87"}}, "quantity.value is missing"),
    "quantity-more": ({"quantity": {"value": "1", "unit": "H87", "x": "y"}}, "unknown members: x"),
    "evidence-object": ({"evidence": {}}, "evidence is not an array"),
    "evidence-many": ({"evidence": [{"type": "a", "id": "b"}] * 17}, "has 17 items"),
    "evidence-no-id": ({"evidence": [{"type": "a"}]}, r"evidence\[0\]\.id is missing"),
    "evidence-script": (
        {"evidence": [{"type": "a", "id": "b", "href": "javascript:alert(1)"}]},
        r"evidence\[0\]\.href is not an absolute URI",
    ),
    "evidence-relative": (
        {"evidence": [{"type": "a", "id": "b", "href": "/x"}]},
        r"evidence\[0\]\.href is not an absolute URI",
    ),
    "unknown-member": ({"weight": 1}, "unknown members: weight"),
}


@pytest.mark.parametrize(("changes", "why"), BAD_CLAIMS.values(), ids=BAD_CLAIMS)
def test_refused_claims(changes, why):
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    with pytest.raises(BadLink, match=why):
        read_assertion(claims)


@pytest.mark.parametrize("name", ["side", "upstream", "quantity", "occurrence", "evidence"])
def test_null_is_never_a_value(name):
    with pytest.raises(BadInput, match=f"{name} is null"):
        read_assertion(CLAIMS | {name: None})


def test_a_bad_end_names_its_position():
    with pytest.raises(BadIdentifier, match=r"upstream: U\+002D") as caught:
        read_assertion(CLAIMS | {"upstream": "88.-1/x"})
    assert caught.value.position == 3


@pytest.mark.parametrize(
    "value", ["0", "1", "0.5", "20.000000000", "999999999999999999.999999999", "0.0"]
)
def test_quantities(value):
    found = read_assertion(CLAIMS | {"quantity": {"value": value, "unit": "KGM"}})
    assert found.quantity == Quantity(value, "KGM")


REFUSED_QUANTITIES = [
    "",
    "01",
    ".5",
    "5.",
    "-1",
    "-0",
    "+1",
    "1e3",
    "1,5",
    " 1",
    "1\n",
    "\uff11",
    "NaN",
]


@pytest.mark.parametrize("value", [*REFUSED_QUANTITIES, "0.1234567890", "1" * 19])
def test_refused_quantities(value):
    with pytest.raises(BadLink, match=r"quantity\.value"):
        read_assertion(CLAIMS | {"quantity": {"value": value, "unit": "KGM"}})


@pytest.mark.parametrize("unit", ["", "kgm", "KGMX", "K M", "千克"])
def test_refused_units(unit):
    with pytest.raises(BadLink, match=r"quantity\.unit"):
        read_assertion(CLAIMS | {"quantity": {"value": "1", "unit": unit}})


def test_a_draft_is_version_one_and_stands():
    found = read_draft_assertion(DRAFT, ISSUED)
    assert found == assertion("downstream", "88.101/STEEL", "88.100/GEAR")
    assert read_draft_assertion(DRAFT | {"occurrence": ""}, ISSUED) == found
    for extra in ({"ver": 1}, {"state": "asserted"}, {"iat": ISSUED}, {"v": 1}):
        with pytest.raises(BadLink, match="unknown members"):
            read_draft_assertion(DRAFT | extra, ISSUED)


def test_a_withdrawal_takes_back_and_keeps_the_key():
    prev = digest(GEAR_SAYS.sign(GEAR))
    gone = GEAR_SAYS.withdrawal(prev, ISSUED + 1)
    assert (gone.link, gone.side, gone.version, gone.state) == (
        GEAR_SAYS.link,
        "downstream",
        2,
        "withdrawn",
    )
    assert gone.quantity is None
    assert parse_assertion(gone.sign(GEAR))[1] == gone


def test_the_same_content_in_another_version():
    again = assertion(
        "downstream", *MADE_OF, quantity=Quantity("0.90", "KGM"), version=3, prev="A" * 43
    )
    assert again.same_content(GEAR_SAYS)
    assert not assertion("downstream", *MADE_OF).same_content(GEAR_SAYS)
    assert not STEEL_SAYS.same_content(GEAR_SAYS)


# Quantity of the downstream side, of the upstream side; "-": it has never spoken; "x": it withdrew.
JUDGED = {
    "downstream": (None, "-", "proposed"),
    "upstream": ("-", ("1", "KGM"), "proposed"),
    "downstream-withdrew": ("x", ("1", "KGM"), "withdrawn"),
    "upstream-withdrew": (("1", "KGM"), "x", "withdrawn"),
    "both-withdrew": ("x", "x", "withdrawn"),
    "the-only-one-withdrew": ("x", "-", "withdrawn"),
    "both-without": (None, None, "mutual"),
    "one-quantity": (("1", "KGM"), None, "mutual"),
    "other-quantity": (None, ("1", "KGM"), "mutual"),
    "same": (("1", "KGM"), ("1", "KGM"), "mutual"),
    "same-number": (("1.0", "KGM"), ("1.000", "KGM"), "mutual"),
    "other-number": (("1", "KGM"), ("1.000000001", "KGM"), "conflicting"),
    "other-unit": (("1", "KGM"), ("1", "GRM"), "conflicting"),
}


@pytest.mark.parametrize(("down", "up", "state"), JUDGED.values(), ids=JUDGED)
def test_the_state_of_a_link(down, up, state):
    statements = []
    for side, said in (("downstream", down), ("upstream", up)):
        if said == "x":
            statements.append(assertion(side, *MADE_OF).withdrawal("A" * 43, ISSUED))
        elif said != "-":
            amount = Quantity(*said) if said else None
            statements.append(assertion(side, *MADE_OF, quantity=amount))
    assert link_state(statements) == link_state(reversed(statements)) == state
    assert stands(statements) is any(said not in ("x", "-") for said in (down, up))


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param([], id="of nobody"),
        pytest.param([GEAR_SAYS, GEAR_SAYS], id="one side twice"),
        pytest.param([GEAR_SAYS, replace(STEEL_SAYS, link=PLANNED)], id="over two keys"),
        pytest.param(
            [GEAR_SAYS, replace(STEEL_SAYS, link=PLANNED, state="withdrawn")],
            id="over two keys, one withdrawn",
        ),
    ],
)
def test_statements_that_make_no_state(statements):
    assert refusal(link_state, statements) == "E_LINK"
