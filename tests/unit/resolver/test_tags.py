"""A change that alters an answer must touch one of its tags: otherwise it is stale for ever."""

import asyncio
from contextlib import suppress

import pytest

from resolver import tags
from resolver.lookup import read
from resolver.page import Pages
from resolver.render import Form, Renderer, Wanted
from resolver.trust import Verifier
from schemas.change import Change, Op
from schemas.errors import VerifyError
from schemas.identifier import Identifier, Prefix
from schemas.keys import PrivateKey
from tests import battery
from tests.authority import rule, target

WATCHED = [
    battery.PACK, battery.COVERED, battery.SUSPENDED, battery.RETIRED, battery.MISSING,
    battery.FOREIGN, battery.UNDER_SUSPENDED, "88.118.8/LOT-7", "88.118.8/PACK", "88.118.7/CELL-1",
    "88.118.9/CAR-1", "88.118.8/NOBODY-7",
]  # fmt: skip


def rotate(world):
    world.keys[Prefix.parse("88.118.7")] = PrivateKey.generate()
    world.allocate("88.118.7", sequence=2)


CHANGES = {
    "register what was missing": lambda w: w.register(battery.MISSING),
    "register what was covered": lambda w: w.register(battery.COVERED),
    "update": lambda w: w.update(battery.PACK, attributes={"a": "b"}),
    "suspend": lambda w: w.update(battery.PACK, status="suspended"),
    "retire": lambda w: w.retire(battery.PACK),
    "update the batch": lambda w: w.update(
        "88.118.8/LOT-7", targets=(target("gs1:pip", "https://lot.example/"),)
    ),
    "update the class": lambda w: w.update(
        "88.118.8/PACK", targets=(target("gs1:pip", "https://new.example/"),)
    ),
    "a rule that covers more": lambda w: w.register(
        "88.118.8/ALL", "class", rule=rule("NOBODY-{n:digits:1-6}", ("item", "https://n.example/{n}"))
    ),
    "a rule with a longer head": lambda w: w.register(
        "88.118.8/LONGER", "class", rule=rule("PACK-2026-{n:digits:6}")
    ),
    "a rule that goes": lambda w: w.update("88.118.8/PACK", rule=None),
    "a class that is retired": lambda w: w.retire("88.118.8/PACK"),
    "the other side of a link": lambda w: w.link(battery.PACK, "88.118.9/CAR-1", "downstream"),
    "a first link": lambda w: w.link(battery.COVERED, "88.118.9/CAR-1", "downstream"),
    "suspend the prefix": lambda w: w.suspend("88.118.8"),
    "suspend a prefix above": lambda w: w.suspend("88"),
    "resume": lambda w: w.suspend("88.118.66", resume=True),
    "allocate": lambda w: w.allocate("99"),
    "another key for a partner": rotate,
    "another name of the holder": lambda w: w.allocate("88.118.8", sequence=2, name="New Name"),
    "another name of the node above": lambda w: w.allocate("88.118", sequence=2, name="New Name"),
}  # fmt: skip


def readings(world):
    identifiers = [Identifier.parse(text) for text in WATCHED]
    fetched = asyncio.run(world.fetch(identifiers))
    offered = Verifier(world.trust).offered(fetched.delegations)
    found = {}
    for each in identifiers:
        with suppress(VerifyError):  # after a key is gone; then there is no answer
            found[each.text] = read(fetched.found[each], offered, fetched, 0.0)
    return found


def bodies(found):
    renderer = Renderer(Pages())
    return {
        (text, form): renderer.answer(reading, Wanted(form), ()).answer.tail
        for text, reading in found.items()
        for form in (Form.JSON, Form.HTML_EN)
    }


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_touches_whatever_it_alters(name):
    world = battery.battery()
    before = readings(world)
    seen = len(world.log)
    CHANGES[name](world)
    after = readings(world)
    touched = {tag for change in world.log[seen:] for tag in tags.of_change(change)}
    old, new = bodies(before), bodies(after)
    altered = {text for (text, form), body in old.items() if body != new.get((text, form))}
    assert altered
    for text in altered:
        assert touched & set(tags.of_reading(before[text])), text


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (Change(1, Op.RECORD, "88.1/A", 1), {b"i88.1/A"}),
        (Change(1, Op.LINK, "88.1/A", 1, also="88.2/B"), {b"i88.1/A", b"i88.2/B"}),
        (Change(1, Op.RULE, "88.1/A", 1), {b"i88.1/A", b"r88.1"}),
        (Change(1, Op.PREFIX, "88.1", 1), {b"p88.1"}),
        (Change(1, Op.PREFIX, ".", 1), {b"p."}),
    ],
    ids=lambda value: value.op.name if isinstance(value, Change) else None,
)
def test_tags_of_a_change(change, expected):
    assert set(tags.of_change(change)) == expected


def test_tags_of_a_reading():
    found = readings(battery.battery())
    assert set(tags.of_reading(found[battery.PACK])) == {
        b"i88.118.8/PACK-2026-000042", b"i88.118.8/LOT-7", b"i88.118.8/PACK",
        b"p.", b"p88", b"p88.118", b"p88.118.8", b"p88.118.7",
    }  # fmt: skip
    assert set(tags.of_reading(found[battery.MISSING])) == {
        b"i88.118.8/NOBODY", b"r88.118.8", b"p.", b"p88", b"p88.118", b"p88.118.8",
    }  # fmt: skip
