"""The integrity of a container: each step of the walk, a fault in each place, and no more."""

import copy
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from schemas.errors import BadInput, TooLarge
from schemas.identifier import Prefix
from tests.catenax_twins import ISSUED, SERIAL
from tests.vouched import AXLE, BOM, CAR, INTEGRITY, MAKER, NUMBER, SEAT, SUPPLIER, WHEEL, Fleet
from tierlink.imports import catenax, integrity
from tierlink.imports.integrity import check, withhold
from tierlink.imports.rsa_key import read_key
from tierlink.imports.verdicts import INVALID, UNCHECKED, VALID

AWAY = "urn:uuid:e0000000-0000-4000-8000-000000000000"
OTHER_URN = "urn:samm:io.catenax.other:1.0.0#Other"


@pytest.fixture(scope="module")
def private():
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def other():
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def key(private):
    return read_key(f"{private.public_key().public_numbers().n:#x}".encode())


@pytest.fixture(scope="module")
def signed(private):
    return Fleet(private).vouch()


@pytest.fixture
def fleet(signed):
    made = Fleet(signed.key)
    made.twins = copy.deepcopy(signed.twins)
    return made


def faults(found):
    """(code, twin, name of the aspect) of all findings."""
    return sorted(
        (item.code, item.twin, item.aspect.rpartition("#")[2])
        for vehicle in found.vehicles
        for item in vehicle.findings
    )


def test_a_vehicle_is_valid(fleet, key):
    found = check(fleet.text(), key)
    (car,) = found.vehicles
    assert (car.twin, car.bpnl, car.verdict) == (CAR, MAKER, VALID)
    assert [f"urn:uuid:{uuid}" for uuid in car.parts] == [CAR, AXLE, SEAT, WHEEL]
    # of the axle SerialPart, bill of material and DataIntegrity; of seat and wheel SerialPart
    assert car.tally.document(with_key=True) == {"references": 5, "hashes": 5, "signatures": 5}
    assert (found.verdict, found.tally, found.unvouched) == (VALID, car.tally, ())
    assert NUMBER.encode() in fleet.text()


def test_without_a_key_nothing_is_valid(fleet):
    found = check(fleet.text())
    assert (found.verdict, found.vehicles[0].verdict) == (UNCHECKED, UNCHECKED)
    assert (found.vehicles[0].findings, found.proven) == ((), frozenset())
    assert found.document()["signatures"] is None
    fleet.payload(WHEEL, SERIAL)["few"] = 2
    assert check(fleet.text()).verdict == INVALID


def test_another_key_signed_nothing(fleet, other):
    key = read_key(f"{other.public_key().public_numbers().n:#x}".encode())
    found = check(fleet.text(), key)
    assert {code for code, *_ in faults(found)} == {"SIG"}
    assert (found.tally.hashes, found.tally.signatures) == (5, 0)


def seat_reference(fleet):
    return fleet.entry(CAR, SEAT)["references"][0]


def change_seat(fleet):
    fleet.payload(SEAT, SERIAL)["few"] = 2


def change_wheel(fleet):
    fleet.payload(WHEEL, SERIAL)["few"] = 2


def change_only_how_a_number_is_written(fleet):
    fleet.payload(SEAT, SERIAL)["few"] = 1.0


def reorder_members(fleet):
    fleet.twins[SEAT][SERIAL] = [dict(reversed(fleet.payload(SEAT, SERIAL).items()))]


def halve_a_surrogate_pair(fleet):
    fleet.payload(SEAT, SERIAL)["name"] = "\ud800"


def sign_with_another_key(fleet):
    another = rsa.generate_private_key(65537, 2048)
    (reference,) = fleet.entry(CAR, SEAT)["references"]
    reference |= fleet.reference(SERIAL, fleet.payload(SEAT, SERIAL), another)


def shorten_the_signature(fleet):
    seat_reference(fleet)["signature"] = seat_reference(fleet)["signature"][:-2]


def drop_the_integrity_of_the_axle(fleet):
    del fleet.twins[AXLE][INTEGRITY]


def drop_an_entry(fleet):
    fleet.payload(CAR, INTEGRITY)["childParts"].remove(fleet.entry(CAR, SEAT))


def drop_a_row(fleet):
    fleet.payload(CAR, BOM)["childItems"].pop()


def drop_a_twin(fleet):
    del fleet.twins[SEAT]


def drop_the_references(fleet):
    fleet.entry(CAR, SEAT)["references"] = []


def drop_the_integrity_of_the_car(fleet):
    del fleet.twins[CAR][INTEGRITY]


def empty_the_integrity_of_the_car(fleet):
    fleet.twins[CAR][INTEGRITY] = []


def refer_to_no_aspect(fleet):
    extra = fleet.reference(OTHER_URN, {})
    fleet.entry(CAR, SEAT)["references"].append(extra)


def add_an_aspect(fleet):
    fleet.twins[SEAT][OTHER_URN] = [{"x": 1}]


def add_an_aspect_to_the_vehicle(fleet):
    fleet.twins[CAR][OTHER_URN] = [{"x": 1}]


def repeat_an_aspect(fleet):
    fleet.twins[SEAT][SERIAL] *= 2


def repeat_an_aspect_changed(fleet):
    fleet.twins[SEAT][SERIAL].append({"few": 2})


def smuggle_a_row_in_behind(fleet):
    fleet.twins[AXLE][BOM].append({"childItems": [{"catenaXId": SEAT}]})


def repeat_a_row(fleet):
    fleet.payload(CAR, BOM)["childItems"] *= 2


def repeat_an_entry(fleet):
    fleet.payload(CAR, INTEGRITY)["childParts"] *= 2


def repeat_an_entry_changed(fleet):
    again = fleet.entry(CAR, SEAT) | {"references": []}
    fleet.payload(CAR, INTEGRITY)["childParts"].append(again)


def repeat_a_reference(fleet):
    fleet.entry(CAR, SEAT)["references"] *= 2


def repeat_a_reference_changed(fleet):
    fleet.entry(CAR, SEAT)["references"].append(fleet.reference(SERIAL, {"x": 1}))


def name_another_twin(fleet):
    fleet.payload(CAR, INTEGRITY)["catenaXId"] = AXLE


def contain_what_contains_it(fleet):
    fleet.twins[WHEEL][BOM] = [{"childItems": [{"catenaXId": AXLE}]}]


def contain_itself(fleet):
    fleet.payload(CAR, BOM)["childItems"].append({"catenaXId": CAR})


def replaced(path, value):
    """A change of one value below the integrity aspect of the car; None takes it away."""

    def change(fleet):
        *steps, last = path
        at = fleet.payload(CAR, INTEGRITY)
        for name in steps:
            at = at[name]
        if value is None:
            del at[last]
        else:
            at[last] = value

    return change


SEATS = ("childParts", 1, "references", 0)
UNSEEN = ("MISSING", SEAT, "SerialPart")  # a reference that cannot be read vouches for nothing
MALFORMED = ("MALFORMED", SEAT, "DataIntegrity")
FAULTS = {
    "step 1: an aspect again, word for word": (repeat_an_aspect, []),
    "step 1: an aspect again": (
        repeat_an_aspect_changed,
        [("DUPLICATE", SEAT, "SerialPart")],
    ),
    "step 1: a bill of material again": (
        smuggle_a_row_in_behind,
        [("DUPLICATE", AXLE, "SingleLevelBomAsBuilt"), ("MISSING", SEAT, "")],
    ),
    "step 2: a row again": (repeat_a_row, []),
    "step 2: a row without a twin": (
        lambda fleet: fleet.payload(CAR, BOM)["childItems"].append({}),
        [("MALFORMED", CAR, "SingleLevelBomAsBuilt")],
    ),
    "step 2: no list of rows": (
        lambda fleet: fleet.payload(CAR, BOM).update(childItems="x"),
        [("MALFORMED", CAR, "SingleLevelBomAsBuilt"), *[("MISSING", t, "") for t in (AXLE, SEAT)]],
    ),
    "step 2: a circle": (
        contain_what_contains_it,
        [
            ("CYCLE", WHEEL, ""),
            ("MISSING", WHEEL, "DataIntegrity"),
            ("MISSING", WHEEL, "SingleLevelBomAsBuilt"),
        ],
    ),
    "step 2: a part of itself": (contain_itself, [("CYCLE", CAR, ""), ("MISSING", CAR, "")]),
    "step 3: no aspect, of a part": (
        drop_the_integrity_of_the_axle,
        [("MISSING", AXLE, "DataIntegrity")] * 2,  # its own is referred to, and it has parts
    ),
    "step 3: no aspect, of the vehicle": (
        drop_the_integrity_of_the_car,
        [("MISSING", CAR, "DataIntegrity")],
    ),
    "step 3: an aspect of no payload": (
        empty_the_integrity_of_the_car,
        [("MISSING", CAR, "DataIntegrity")],
    ),
    "step 3: of another twin": (name_another_twin, [("MALFORMED", CAR, "DataIntegrity")]),
    "step 3: no entry": (drop_an_entry, [("MISSING", SEAT, "")]),
    "step 3: no row": (drop_a_row, [("MISSING", SEAT, "")]),
    "step 3: no twin": (drop_a_twin, [("MISSING", SEAT, "")]),
    "step 3: no references": (drop_the_references, [("MISSING", SEAT, "DataIntegrity")]),
    "step 3: an entry again, word for word": (repeat_an_entry, []),
    "step 3: an entry again": (repeat_an_entry_changed, [("DUPLICATE", SEAT, "DataIntegrity")]),
    "step 3: no list of entries": (
        replaced(["childParts"], {}),
        [("MALFORMED", CAR, "DataIntegrity")],
    ),
    "step 3: an entry that is text": (
        replaced(["childParts", 1], "x"),
        [("MALFORMED", CAR, "DataIntegrity"), ("MISSING", SEAT, "")],
    ),
    "step 3: an entry without a twin": (
        replaced(["childParts", 1, "catenaXId"], None),
        [("MALFORMED", CAR, "DataIntegrity"), ("MISSING", SEAT, "")],
    ),
    "step 3: an entry without a list": (
        replaced(["childParts", 1, "references"], None),
        [("MALFORMED", CAR, "DataIntegrity"), ("MISSING", SEAT, "")],
    ),
    "step 4: a changed part": (change_seat, [("HASH", SEAT, "SerialPart")]),
    "step 4: a changed part of a part": (change_wheel, [("HASH", WHEEL, "SerialPart")]),
    "step 4: 1.0 for 1": (change_only_how_a_number_is_written, [("HASH", SEAT, "SerialPart")]),
    "step 4: another order": (reorder_members, [("HASH", SEAT, "SerialPart")]),
    "step 4: no Unicode": (halve_a_surrogate_pair, [MALFORMED]),
    "step 4: no such aspect": (refer_to_no_aspect, [("MISSING", SEAT, "Other")]),
    "step 4: another key": (sign_with_another_key, [("SIG", SEAT, "SerialPart")]),
    "step 4: a short signature": (shorten_the_signature, [("SIG", SEAT, "SerialPart")]),
    "step 4: a signature of zeros": (
        replaced([*SEATS, "signature"], "00" * 256),
        [("SIG", SEAT, "SerialPart")],
    ),
    "step 4: a signature over the modulus": (
        replaced([*SEATS, "signature"], "ff" * 256),
        [("SIG", SEAT, "SerialPart")],
    ),
    "step 4: a reference again, word for word": (repeat_a_reference, []),
    "step 4: a reference again": (
        repeat_a_reference_changed,
        [("DUPLICATE", SEAT, "SerialPart"), ("HASH", SEAT, "SerialPart")],
    ),
    "step 4: a reference that is text": (replaced(SEATS, "x"), [MALFORMED, UNSEEN]),
    "step 4: no hash": (replaced([*SEATS, "hash"], None), [MALFORMED, UNSEEN]),
    "step 4: a short hash": (replaced([*SEATS, "hash"], "ab" * 31), [MALFORMED, UNSEEN]),
    "step 4: a hash of other digits": (replaced([*SEATS, "hash"], "Ä" * 64), [MALFORMED, UNSEEN]),
    "step 4: a hash that is a number": (replaced([*SEATS, "hash"], 7), [MALFORMED, UNSEEN]),
    "step 4: no signature": (replaced([*SEATS, "signature"], None), [MALFORMED, UNSEEN]),
    "step 4: half an octet": (replaced([*SEATS, "signature"], "abc"), [MALFORMED, UNSEEN]),
    "step 4: an empty signature": (replaced([*SEATS, "signature"], ""), [MALFORMED, UNSEEN]),
    "step 4: no model": (replaced([*SEATS, "semanticModelUrn"], None), [MALFORMED, UNSEEN]),
    "step 5: an aspect more": (add_an_aspect, [("MISSING", SEAT, "Other")]),
    "step 5: the vehicle's own are its own": (add_an_aspect_to_the_vehicle, []),
}


@pytest.mark.parametrize(("change", "wanted"), FAULTS.values(), ids=FAULTS)
def test_faults(fleet, key, change, wanted):
    change(fleet)
    found = check(fleet.text(), key)
    assert faults(found) == sorted(wanted)
    assert found.verdict == (INVALID if wanted else VALID)
    json.dumps(found.document(), ensure_ascii=False).encode()


def leaves(value, path=()):
    if isinstance(value, dict | list):
        for name, member in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(member, (*path, name))
    else:
        yield path


def test_no_value_of_a_part_can_be_changed_unseen(fleet, key):
    """Each value in each aspect of each part, and each of the vehicle's entries."""
    at = [(uuid, urn) for uuid in (AXLE, SEAT, WHEEL) for urn in fleet.twins[uuid] if "#" in urn]
    paths = [(uuid, urn, *leaf) for uuid, urn in at for leaf in leaves(fleet.twins[uuid][urn])]
    paths += [(CAR, INTEGRITY, *leaf) for leaf in leaves(fleet.twins[CAR][INTEGRITY])]
    assert len(paths) == 3 * 4 + 3 + 5 + 15
    for path in paths:
        changed = Fleet(fleet.key)
        changed.twins = copy.deepcopy(fleet.twins)
        value = changed.twins
        for name in path[:-1]:
            value = value[name]
        value[path[-1]] = "f" if value[path[-1]] != "f" else "0"
        assert check(changed.text(), key).verdict == INVALID, path


def test_a_part_dropped_from_bill_and_entries_is_one_that_nothing_vouches_for(fleet, key):
    drop_an_entry(fleet)
    drop_a_row(fleet)
    found = check(fleet.text(), key)
    assert (found.verdict, found.unvouched) == (VALID, (SEAT,))


def test_what_cannot_be_a_container_is_refused(fleet, key):
    for text in (b"", b"[]", b"{}", b"[" * 100_000, b'{"a": NaN}', fleet.text()[:-2]):
        with pytest.raises(BadInput):
            check(text, key)
    twice = fleet.text().replace(b'"few": 1', b'"few": 1, "few": 1')
    with pytest.raises(BadInput, match="'few' twice"):
        check(twice, key)


def test_two_parts_that_contain_each_other_and_no_vehicle(private, key):
    """The ids of the published test case CXTM-657, which has no root."""
    one, two = (f"urn:uuid:0733946c-59c6-41ae-9570-cb43a6e4{end}01" for end in ("da", "eb"))
    fleet = Fleet(private)
    fleet.twins = {}
    fleet.add(one, MAKER, two)
    fleet.add(two, SUPPLIER, one)
    found = check(fleet.text(), key)
    assert [vehicle.twin for vehicle in found.vehicles] == [one]
    assert [code for code, *_ in faults(found)] == ["CYCLE", "MISSING", "MISSING"]
    plan, _ = catenax.plan(fleet.text(), Prefix.parse("88.118"), ISSUED)
    assert len(plan.assertions) == 2


def test_a_ladder_is_walked_once_and_not_once_a_path(private, key):
    """25 layers of two, each part in both of the layer above: 2^25 paths."""
    fleet = Fleet(private)
    fleet.twins = {}
    layers = [
        [f"urn:uuid:{layer:08x}-0000-4000-8000-{n:012x}" for n in (0, 1)] for layer in range(25)
    ]
    for above, below in zip(layers, [*layers[1:], []], strict=True):
        for uuid in above:
            fleet.add(uuid, MAKER, *below)
    found = check(fleet.text(), key)
    assert [len(vehicle.parts) for vehicle in found.vehicles] == [49, 49]
    assert found.verdict == INVALID


def test_walks_are_bounded(fleet, key, monkeypatch):
    # twins, their rows and their findings: 4 + 3
    monkeypatch.setattr(integrity, "MAX_STEPS", 7)
    assert check(fleet.text(), key).verdict == VALID
    monkeypatch.setattr(integrity, "MAX_STEPS", 6)
    with pytest.raises(TooLarge, match="over 6 steps"):
        check(fleet.text(), key)


VAN = "urn:uuid:f0000000-0000-4000-8000-000000000000"
TYRE_MAKER = "BPNL00000003XXXX"


class TestWithholding:
    def test_only_what_a_valid_vehicle_vouches_for_is_left(self, fleet, key):
        """A van without entries has the car's seat and a part of a third company; one is alone."""
        fleet.add(AWAY, TYRE_MAKER)
        fleet.add(VAN, MAKER, SEAT, AWAY)
        alone = VAN.replace("f0", "f1")
        fleet.add(alone, TYRE_MAKER)
        found = check(fleet.text(), key)
        assert [vehicle.verdict for vehicle in found.vehicles] == [VALID, INVALID]
        whole, _ = catenax.plan(fleet.text(), Prefix.parse("88.118"), ISSUED)
        plan, notes = withhold(whole, found)
        kept = {f"urn:uuid:{record.identifier.suffix}" for record in plan.records}
        assert kept == {CAR, AXLE, SEAT, WHEEL}
        assert len(plan.assertions) == 3
        assert [holder.organisation for holder in plan.holders] == [MAKER, SUPPLIER]
        assert [(note.code, note.place) for note in notes] == [
            ("vehicle_not_valid", VAN),
            ("not_vouched_for", alone),
        ]
        assert notes[0].reason == "INVALID: 1 MISSING"

    def test_without_a_key_nothing_is_left(self, fleet):
        whole, _ = catenax.plan(fleet.text(), Prefix.parse("88.118"), ISSUED)
        plan, (note,) = withhold(whole, check(fleet.text()))
        assert (plan.holders, plan.records, plan.assertions) == ((), (), ())
        assert note.reason == "UNCHECKED: signatures are unchecked"

    def test_the_aspect_itself_is_a_target_like_the_others(self, fleet):
        plan, _ = catenax.plan(fleet.text(), Prefix.parse("88.118"), ISSUED)
        assert {target.rel for target in plan.records[0].targets} == {
            "samm:SerialPart",
            "samm:SingleLevelBomAsBuilt",
            "samm:DataIntegrity",
        }
