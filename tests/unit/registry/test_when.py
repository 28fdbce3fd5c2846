"""Links of another time: what held then, what was known then, and nothing of it now.

88.1/LOT went into 88.2/PACK for 2025, and both ends took that back later; 88.2/PACK is in 88.2/CAR.
"""

from dataclasses import dataclass, field

import pytest

from registry.reader import Reader
from registry.store.tables import assertion_history, assertions
from resolver.trace import Tracer
from resolver.trust import Verifier
from resolver.walk import Budget, Only
from schemas.identifier import Identifier
from schemas.viewer import ANYBODY, Near
from schemas.when import NOW, When
from tierlink.resolving import trust

LOT, PACK, CAR = "88.1/LOT", "88.2/PACK", "88.2/CAR"
BEGAN, ENDED = 1_735_689_600, 1_767_225_600  # the year 2025
BODY = {"type": "CONSUMED_INTO", "upstream": LOT, "downstream": PACK}


@dataclass
class Book:
    """Two holders; `times` are between the writes, by the database's clock."""

    registry: object
    keys: dict
    times: list = field(default_factory=list)

    async def state(self, prefix, status=201, **body):
        answer = await self.registry.post("/v1/links", body, key=self.keys[prefix])
        assert answer.status_code == status, answer.text
        await self.tick()

    async def tick(self):
        async with self.registry.store.read() as tx:
            found = await (await tx.driver()).fetchval(
                "SELECT extract(epoch FROM clock_timestamp())::float8"
            )
        self.times.append(found)

    async def reached(self, when=NOW, root=LOT):
        reader = Reader(self.registry.store, self.registry.clock)
        tracer = Tracer(reader, Verifier(await trust(self.registry.store)))
        found = await tracer.walk(
            Identifier.parse(root), "downstream", Budget(), Only(when=when), viewer=ANYBODY
        )
        assert found.broken == ()
        assert found.view().get("at") == when.view().get("at")
        states = [stated.view()["state"] for stated in found.edges]
        return [item.identifier.suffix for item in found.nodes[1:]], states


@pytest.fixture
async def book(registry):
    keys = {prefix: (await registry.allocate(prefix)).api_key for prefix in ("88.1", "88.2")}
    for text in (LOT, PACK, CAR):
        body = {"identifier": text, "kind": "batch" if text == LOT else "item"}
        answer = await registry.post("/v1/identifiers", body, key=keys[text.partition("/")[0]])
        assert answer.status_code == 201, answer.text
    book = Book(registry, keys)
    inside = {"type": "CONTAINED_IN", "upstream": PACK, "downstream": CAR}
    await book.state("88.2", side="upstream", **inside)  # times[0]: the car alone is known
    await book.state("88.2", side="downstream", nbf=BEGAN, exp=ENDED, **BODY)  # [1]: proposed
    await book.state("88.1", side="upstream", nbf=BEGAN, exp=ENDED, **BODY)  # [2]: mutual
    for at, (prefix, side) in enumerate((("88.2", "downstream"), ("88.1", "upstream"))):
        body = BODY | {"side": side, "state": "withdrawn"}
        await book.state(prefix, 200, **body)  # [3]: one took it back, [4]: both did
        assert len(book.times) == at + 4
    return book


class TestAsOf:
    async def test_what_was_known_then(self, book):
        both = ["PACK", "CAR"]
        expected = [
            ([], []),
            (both, ["proposed", "proposed"]),
            (both, ["mutual", "proposed"]),
            (both, ["withdrawn", "proposed"]),
            ([], []),
        ]
        found = [await book.reached(When(as_of=moment)) for moment in book.times]
        assert found == expected
        assert await book.reached() == ([], [])

    async def test_nothing_of_a_withdrawn_link_is_shown_now(self, book):
        lot, reader = Identifier.parse(LOT), Reader(book.registry.store, book.registry.clock)
        assert (await reader.fetch([lot])).found[lot].assertions == ()
        for text, direction in ((LOT, "downstream"), (PACK, "upstream")):
            level = [Near.at(Identifier.parse(text))]
            assert (await reader.edges(level, direction, 9)).edges == ()
        page = await book.registry.get(f"/v1/links/{LOT}")
        assert page.json()["links"] == []

    async def test_a_link_that_was_not_known_yet_uses_up_no_limit(self, book):
        level = [Near.at(Identifier.parse(text)) for text in (LOT, PACK)]
        reader = Reader(book.registry.store, book.registry.clock)
        for moment, shown, more in zip(book.times, (1, 1, 1, 1, 1), (0, 1, 1, 1, 1), strict=True):
            found = await reader.edges(level, "downstream", 1, when=When(as_of=moment))
            assert (len(found.edges) <= shown, found.truncated) == (True, bool(more))

    async def test_what_was_kept_before_times_were_counts_from_its_issue(self, book):
        async with book.registry.store.write() as tx:
            for table in (assertions, assertion_history):
                await tx.connection.execute(table.update().values(recorded_at=None))
        issued = book.registry.clock.now
        assert (await book.reached(When(as_of=issued - 1)))[0] == []
        # All of it was issued in one second: the last versions count.
        assert (await book.reached(When(as_of=issued)))[0] == []

    async def test_asserted_again_it_is_there_again(self, book):
        await book.state("88.1", 200, side="upstream", **BODY)
        assert (await book.reached())[0] == ["PACK", "CAR"]
        assert (await book.reached(When(as_of=book.times[4])))[0] == []
        assert (await book.reached(When(as_of=book.times[2])))[1] == ["mutual", "proposed"]


class TestAt:
    @pytest.mark.parametrize(
        ("at", "reached"),
        [(BEGAN - 1, []), (BEGAN, ["PACK", "CAR"]), (ENDED - 1, ["PACK", "CAR"]), (ENDED, [])],
    )
    async def test_only_links_that_held_then(self, book, at, reached):
        assert (await book.reached(When(at, book.times[2])))[0] == reached

    async def test_the_interval_of_a_side_that_stands_counts(self, book):
        # The downstream end took it back; the upstream end still says so, for 2025.
        assert (await book.reached(When(BEGAN, book.times[3])))[0] == ["PACK", "CAR"]
        assert (await book.reached(When(ENDED, book.times[3])))[0] == []
        # What states no interval holds always.
        assert (await book.reached(When(1), PACK))[0] == ["CAR"]


def test_times_are_shown_as_they_were_asked_for():
    assert When(BEGAN, BEGAN + 0.25).view() == {
        "at": "2025-01-01T00:00:00Z",
        "as_of": "2025-01-01T00:00:00.250000Z",
    }
    assert NOW.view() == {}
