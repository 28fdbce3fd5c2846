"""Nothing a source sends is believed; what verified once costs a look-up."""

import pytest

from resolver import trust as trust_module
from resolver.trust import Verifier
from schemas.errors import VerifyError
from schemas.identifier import Identifier, Prefix
from schemas.keys import PrivateKey
from schemas.record import Record
from tests.authority import ISSUED, Authority


@pytest.fixture
def world():
    world = Authority()
    for prefix in ("88", "88.1", "88.2"):
        world.allocate(prefix, name=f"holder of {prefix}")
    world.register("88.1/A")
    world.link("88.2/B", "88.1/A", "upstream")
    world.link("88.2/B", "88.1/A", "downstream")
    return world


def parts_of(world, verifier, text="88.1/A"):
    found = world._find(Identifier.parse(text), whole=True)
    offered = verifier.offered(world.delegations.values())
    return offered.parts(found.identifier, found.records, found.assertions)


def test_a_second_look_at_the_same_envelope_checks_no_signature(world, monkeypatch):
    verifier = Verifier(world.trust)
    parts_of(world, verifier)
    assert verifier.verified == 3

    def never(*_):
        raise AssertionError("a chain was validated again")

    monkeypatch.setattr(trust_module, "assemble", never)
    parts, standing = parts_of(world, verifier)
    assert verifier.verified == 3
    assert len(parts.assertions) == len(standing) == 2


def test_another_chain_is_another_check(world):
    verifier = Verifier(world.trust)
    parts_of(world, verifier)
    world.allocate("88.1", sequence=2, name="renamed")
    parts_of(world, verifier)
    assert verifier.verified == 5  # the record and one assertion again


def test_a_record_signed_by_somebody_else_fails(world):
    forged = Record(Identifier.parse("88.1/A"), "item", ISSUED).sign(PrivateKey.generate())
    verifier = Verifier(world.trust)
    with pytest.raises(VerifyError) as caught:
        verifier.offered(world.delegations.values()).parts(Identifier.parse("88.1/A"), [forged], [])
    assert caught.value.code == "E_CHAIN"
    assert verifier.failed == 1


def test_an_assertion_that_does_not_verify_is_left_out(world):
    world.keys[Prefix.parse("88.2")] = PrivateKey.generate()
    world.link("88.2/C", "88.1/A", "upstream")
    parts, standing = parts_of(world, Verifier(world.trust))
    assert len(parts.assertions) == len(standing) == 2
    assert all(item.link.upstream.text == "88.2/B" for item in parts.assertions)


def test_the_highest_sequence_wins(world):
    old = dict(world.delegations)
    world.keys[Prefix.parse("88.1")] = PrivateKey.generate()
    world.allocate("88.1", sequence=2)
    world.register("88.1/NEW")
    found = world._find(Identifier.parse("88.1/NEW"), whole=True)
    for tokens in (
        [*old.values(), *world.delegations.values()],
        [*world.delegations.values(), *old.values()],
    ):
        Verifier(world.trust).offered(tokens).parts(found.identifier, found.records, [])


def test_a_malformed_delegation_is_not_considered(world):
    verifier = Verifier(world.trust)
    offered = verifier.offered(["a.b.c", *world.delegations.values()])
    assert offered.known(Prefix.parse("88.1")).chain.holder.subject == Prefix.parse("88.1")
    assert verifier.failed == 1


def test_no_chain_reaches_a_prefix_that_was_not_delegated(world):
    with pytest.raises(VerifyError) as caught:
        Verifier(world.trust).offered([]).known(Prefix.parse("88.1"))
    assert caught.value.code == "E_CHAIN"


def test_the_evidence_names_each_delegation_once(world):
    offered = Verifier(world.trust).offered(world.delegations.values())
    tokens = offered.evidence([Prefix.parse("88.1"), Prefix.parse("88.2"), Prefix.parse("88.1")])
    prefixes = [Prefix.parse(text) for text in ("88", "88.1", "88.2")]
    assert tokens == tuple(world.delegations[prefix] for prefix in prefixes)


def test_memories_are_bounded(world):
    verifier = Verifier(world.trust, chains=1, envelopes=1)
    for _ in range(3):
        parts_of(world, verifier)
    assert len(verifier._chains._items) == 1
    assert len(verifier._verified._items) == 1
