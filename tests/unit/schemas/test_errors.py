"""The exception tree: drawn as it is, and fit to be shown to whoever asks."""

import json
import re

import pytest

from schemas import errors
from schemas.errors import BadIdentifier, TierlinkError, Unavailable, VerifyError


def tree(kind, depth=0):
    yield depth, kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child, depth + 1)


def test_the_tree_is_drawn_as_it_is():
    drawn = re.findall(r"^    ([│ ├└─]*)(\w+) +(\d{3}) (\S+)", errors.__doc__, re.MULTILINE)
    assert [(len(lead) // 4, name, int(status), code) for lead, name, status, code in drawn] == [
        (depth, kind.__name__, kind.status, "E_…" if kind is VerifyError else kind.code)
        for depth, kind in tree(TierlinkError)
    ]


def test_codes_are_unique():
    codes = [kind.code for _, kind in tree(TierlinkError)]
    assert len(set(codes)) == len(codes)


def test_a_problem_document():
    err = BadIdentifier("no slash", value="88.1", position=4, fix="append one")
    assert err.problem() == {
        "title": "Invalid identifier",
        "status": 400,
        "code": "identifier_invalid",
        "detail": "no slash",
        "value": "88.1",
        "position": 4,
        "fix": "append one",
    }
    assert TierlinkError("x").problem() == {
        "title": "Internal error",
        "status": 500,
        "code": "internal",
        "detail": "x",
    }


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 200 + "…"),
        (7, 7),
        (False, False),
        ([1], "[1]"),
        ("a\ud800", "a\\ud800"),
        ({"a": "\udfff"}, "{'a': '\\udfff'}"),
    ],
)
def test_values_are_shown_short_and_encodable(value, shown):
    problem = VerifyError("E_CANON", "x", value=value).problem()
    assert problem["value"] == shown
    json.dumps(problem, ensure_ascii=False).encode()


def test_a_verdict_names_its_code():
    assert str(VerifyError("E_SIG", "does not verify")) == "E_SIG: does not verify"
    assert Unavailable("away", retry_after=7).retry_after == 7
