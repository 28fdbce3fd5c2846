"""Rounds of cosignatures that follow each other at once; witnesses themselves are in tests/e2e."""

import asyncio
from itertools import product

import pytest

from registry.log.witnesses import Member, Witnesses
from schemas.checkpoint import COSIGNATURE, NoteKey
from tests.parties import GEAR, STEEL, STRANGER
from tests.witnesses import LOG, Growing

GROWING = Growing(9)
MEMBERS = [
    Member(f"http://{name}.example", NoteKey(f"{name}.example", COSIGNATURE, signer.public))
    for name, signer in (("a", GEAR), ("b", STEEL), ("c", STRANGER))
]


class Turning(Witnesses):
    """Has each witness answer after so many turns of the loop."""

    turns: dict[str, int]

    async def _ask(self, member, round_):
        for _ in range(self.turns[member.kid]):
            await asyncio.sleep(0)
        return f"{member.key.name}\n"


@pytest.mark.parametrize("quorum", [1, 2, 3])
async def test_whoever_has_answered_is_asked_in_the_next_round(quorum):
    for turns in product(range(3), repeat=3):
        async with Turning(MEMBERS, LOG, None, lambda: 0, quorum=quorum) as asked:
            asked.turns = dict(zip([m.kid for m in MEMBERS], turns, strict=True))
            for size in (3, 5, 7):
                found = await asked.cosign(GROWING.note(size), 0, ())
                assert found == [f"{m.key.name}\n" for m in MEMBERS], turns
