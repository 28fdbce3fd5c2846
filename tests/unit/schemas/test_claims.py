"""Reading members: right type, in bounds, none missing, none unknown."""

import pytest

from schemas.claims import Members, without_empty
from schemas.errors import BadIdentifier, BadRecord


def members(**source):
    return Members(source, BadRecord, "target.")


REFUSED = {
    "missing": (lambda m: m.text("b", 9), "target.b is missing"),
    "null": (lambda m: m.maybe_text("nothing", 9), "target.nothing is null; leave it out"),
    "empty": (lambda m: m.text("empty", 9), "target.empty is not a non-empty string"),
    "no-text": (lambda m: m.text("one", 9), "target.one is not a non-empty string"),
    "too-long": (lambda m: m.text("word", 3), "target.word has 4 characters, the limit is 3"),
    "nul": (lambda m: m.text("nul", 9), "target.nul holds a control character"),
    "line": (lambda m: m.maybe_text("line", 9), "target.line holds a control character"),
    "next-line": (lambda m: m.maybe_text("c1", 9), "target.c1 holds a control character"),
    "no-integer": (lambda m: m.integer("word"), "target.word is not an integer"),
    "boolean": (lambda m: m.integer("yes"), "target.yes is not an integer"),
    "no-such-integer": (lambda m: m.integer("b"), "target.b is missing"),
    "below": (lambda m: m.integer("one", 2), "target.one is not an integer from 2"),
    "above": (lambda m: m.integer("one", 0, 0), "target.one is not an integer from 0 to 0"),
    "no-choice": (lambda m: m.choice("word", frozenset("ab")), "is not one of a, b"),
    "choice-missing": (lambda m: m.choice("b", frozenset("ab")), "is not one of a, b"),
    "choice-of-list": (lambda m: m.choice("list", frozenset("ab"), "a"), "is not one of a, b"),
    "no-array": (lambda m: m.array("word", 1, lambda i, _: i), "target.word is not an array"),
    "too-many": (lambda m: m.array("list", 1, lambda i, _: i), "has 2 items, the limit is 1"),
    "no-object": (lambda m: m.maybe_object("list"), "target.list is not an object"),
    "no-inner": (lambda m: m.inner([], "target.list[0]."), r"target.list\[0\] is not an object"),
    "identifier-missing": (lambda m: m.identifier("b"), "target.b is missing"),
    "identifier-no-text": (lambda m: m.identifier("one"), "target.one is not a string"),
    "prefix-missing": (lambda m: m.prefix("b"), "target.b is missing"),
}


@pytest.mark.parametrize(("read", "why"), REFUSED.values(), ids=REFUSED)
def test_refusals(read, why):
    source = members(
        nothing=None,
        empty="",
        one=1,
        word="word",
        nul="a\x00",
        line="a\nb",
        c1="a\x85",
        yes=True,
        list=["a", "b"],
    )
    with pytest.raises(BadRecord, match=why):
        read(source)


def test_an_identifier_keeps_its_position_and_its_cure():
    with pytest.raises(BadIdentifier, match=r"target\.id: U\+0041") as caught:
        members(id="88.A/x").identifier("id")
    assert (caught.value.position, caught.value.fix) == (3, "write the prefix in lower case")


def test_members_nobody_took_are_unknown():
    found = members(a="1", b="2", c="3")
    assert found.text("b", 1) == "2"
    with pytest.raises(BadRecord, match=r"target\.has unknown members: a, c"):
        found.done()


def test_absent_members_are_dropped_and_falsehoods_are_not():
    given = {"none": None, "text": "", "list": [], "object": {}, "zero": 0, "no": False}
    assert without_empty(given) == {"zero": 0, "no": False}
