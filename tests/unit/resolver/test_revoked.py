"""What a key signed before it was revoked is served still; the log's order says what that is."""

import pytest

from resolver.app import Resolver
from resolver.config import ResolverSettings
from resolver.places import Places
from resolver.trust import Verifier
from schemas.delegation import Revocation
from schemas.envelope import digest
from schemas.errors import NoLog, Unavailable
from schemas.identifier import Identifier, Prefix
from schemas.source import State
from tests.unit.resolver.test_proof_full import Logged

GEAR, STEEL = Identifier.parse("88.100/GEAR-1"), Identifier.parse("88.101/STEEL-1")
CLASS = Identifier.parse("88.100/GEAR")


class Counting(Logged):
    """Counts what it is asked to prove."""

    def __init__(self):
        super().__init__()
        self.proved = []
        self.keeps_a_log = True

    async def prove(self, identifier, at=None):
        self.proved.append(identifier)
        if not self.keeps_a_log:
            raise NoLog("no log is kept here")
        return await super().prove(identifier, at)

    def revoke(self, prefix, since):
        """Delegate a prefix anew, with its one key revoked; publish."""
        kid = self.keys[Prefix.parse(prefix)].public.kid
        self.allocate(prefix, sequence=2, revoked=(Revocation(kid, "compromised", since),))
        self.publish()

    def place(self, identifier):
        """The leaf of a record."""
        return self.book._index[digest(self.records[identifier][1])]


@pytest.fixture
def source():
    source = Counting()
    for prefix in ("88", "88.100", "88.101"):
        source.allocate(prefix)
    source.register(CLASS.text, "class")
    source.register(GEAR.text, parent=CLASS.text)
    source.register(STEEL.text)
    source.link(STEEL.text, GEAR.text, "upstream")
    source.publish()
    return source


async def read(source, *identifiers):
    resolver = Resolver(source, Verifier(source.trust), ResolverSettings(fetch_timeout=0.3))
    await resolver.freshness.poll()
    return await resolver.lookup.resolve_many(identifiers or [GEAR])


async def test_nothing_is_asked_of_the_log_while_no_key_is_revoked(source):
    reading, _ = await read(source, GEAR, STEEL)
    assert reading.state is State.FOUND
    assert source.proved == []


async def test_what_was_logged_before_is_served(source):
    source.revoke("88.100", since=len(source.book.entries))
    reading, other = await read(source, GEAR, STEEL)
    assert (reading.state, other.state) == (State.FOUND, State.FOUND)
    assert source.proved == [GEAR]  # the other's key is nobody's concern


async def test_its_place_is_asked_for_once(source):
    source.revoke("88.100", since=len(source.book.entries))
    resolver = Resolver(source, Verifier(source.trust), ResolverSettings(fetch_timeout=0.3))
    await resolver.freshness.poll()
    for _ in range(3):
        (reading,) = await resolver.lookup.resolve_many([GEAR])
        assert reading.state is State.FOUND
    assert source.proved == [GEAR]


@pytest.mark.parametrize("of", [GEAR, CLASS], ids=["record", "ancestor"])
async def test_what_was_logged_after_is_not(source, of):
    source.revoke("88.100", since=source.place(of))
    (outcome,) = await read(source)
    assert isinstance(outcome, Unavailable)
    assert "E_REVOKED" in outcome.detail


async def test_nor_what_nobody_can_place(source):
    source.revoke("88.100", since=1000)
    source.keeps_a_log = False
    (outcome,) = await read(source)
    assert isinstance(outcome, Unavailable)


async def test_what_a_parent_delegated_before_its_key_was_revoked_stands(source):
    source.revoke("88", since=len(source.book.entries))
    found = await read(source, GEAR, STEEL)
    assert [reading.state for reading in found] == [State.FOUND] * 2
    source.allocate("88", sequence=3, revoked=_since(source, "88", 0))
    source.publish()
    assert all(isinstance(outcome, Unavailable) for outcome in await read(source, GEAR, STEEL))


def _since(source, prefix, since):
    return (Revocation(source.keys[Prefix.parse(prefix)].public.kid, "compromised", since),)


async def test_a_link_by_a_revoked_key_is_left_out(source):
    """No proof covers it: the holder's own record is served without it."""
    (before,) = await read(source)
    source.revoke("88.101", since=1000)
    (after,) = await read(source)
    assert (len(before.parts.assertions), len(after.parts.assertions)) == (1, 0)
    assert source.proved == []


async def test_places_are_those_of_the_bundle(source):
    proved = await source.prove(GEAR)
    found = Places.of(proved)
    assert found.records == {
        digest(source.records[item][1]): source.place(item) for item in (GEAR, CLASS)
    }
    assert found.prefixes.keys() == {Prefix.parse("88"), Prefix.parse("88.100")}
    assert found.prefixes[Prefix.parse("88.100")] == proved.log.prefixes[0].index
