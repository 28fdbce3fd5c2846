"""What a simulated partner takes for wrong: each kind of bad answer, and no good one."""

import json

import pytest

from loadtests.budgets import WRONG
from loadtests.checks import Checker
from schemas.chain import Trust
from tests import golden

NAME = "88.1/A"


def body(**members):
    return json.dumps({"identifier": NAME, "version": 3, **members}).encode()


def reply(checker, status=200, content=None, etag='"3"', **more):
    more = {"exists": True, **more}
    return checker.reply(NAME, status, body() if content is None else content, etag, **more)


@pytest.mark.parametrize(
    ("given", "wrong", "text"),
    [
        ({}, False, None),
        ({"status": 503}, False, "status 503"),
        ({"status": 404}, True, "404 for an identifier that exists"),
        ({"status": 410}, True, "410 for an identifier that exists"),
        ({"exists": False}, True, "200 for an identifier that nobody registered"),
        ({"content": body(identifier="88.1/B")}, True, "an answer about 88.1/B"),
        ({"content": body(version=2)}, True, "version went from 3 back to 2"),
        ({"content": body(version=4)}, False, None),
        ({"status": 304, "sent": '"3"'}, False, None),
        ({"status": 304, "sent": '"2"'}, True, '304 names "3", sent was "2"'),
        ({"status": 304}, True, "304 without a condition"),
        ({"status": 404, "exists": False, "content": b'{"value":"88.1/A"}'}, False, None),
        ({"status": 404, "exists": False, "content": b'{"value":"88.1/B"}'}, True, "about 88.1/B"),
    ],
)
def test_replies(given, wrong, text):
    checker = Checker(None)
    assert reply(checker) is None  # version 3 is known from now on
    found = reply(checker, **given)
    assert (found is not None and found.startswith(WRONG)) is wrong
    assert (found is None) if text is None else (text in found)


def test_the_tag_of_what_one_has():
    checker = Checker(None)
    assert checker.etag(NAME) is None
    reply(checker)
    assert checker.etag(NAME) == '"3"'


def test_versions_count_however_one_asks():
    checker = Checker(None)
    assert checker.lines([(NAME, True)], line(version=5)) is None
    assert "back to 3" in reply(checker)


def line(status=200, identifier=NAME, **members):
    answer = json.loads(body(identifier=identifier, **members))
    return json.dumps({"identifier": identifier, "status": status, "answer": answer}).encode()


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ([line(), line(404, "88.1/B")], None),
        ([line()], f"{WRONG}1 lines for 2 identifiers"),
        ([line(404, "88.1/B"), line()], f"{WRONG}an answer about 88.1/B"),
        ([line(), line(200, "88.1/B")], f"{WRONG}status 200, a line for 88.1/B"),
        ([line(404), line(404, "88.1/B")], f"{WRONG}status 404, a line for {NAME}"),
        ([line(503), line(404, "88.1/B")], f"status 503, a line for {NAME}"),
    ],
)
def test_batches(lines, text):
    asked = [(NAME, True), ("88.1/B", False)]
    assert Checker(None).lines(asked, b"\n".join(lines)) == text


def test_traces():
    edge = {"upstream": "88.1/B", "downstream": NAME}
    document = {"root": NAME, "direction": "upstream", "edges": [edge]}
    nodes = [{"identifier": NAME}, {"identifier": "88.1/B"}]
    whole = json.dumps({**document, "nodes": nodes}).encode()
    assert Checker(None).trace(NAME, "upstream", whole) is None
    assert "a trace of" in Checker(None).trace(NAME, "downstream", whole)
    partial = json.dumps({**document, "nodes": nodes[:1]}).encode()
    assert "no node of the trace" in Checker(None).trace(NAME, "upstream", partial)


@pytest.fixture
def vectors():
    return json.loads((golden.FOLDER / "answers.json").read_text(encoding="utf-8"))


def test_signatures_are_verified(vectors, monkeypatch):
    trust = Trust.parse(json.dumps(vectors["trust"]).encode())
    checked = {True: 0, False: 0}
    for row in vectors["answers"]:
        monkeypatch.setattr("loadtests.checks.time.time", lambda now=row["now"]: now)
        raw = json.dumps(row["document"], ensure_ascii=False).encode()
        checker = Checker(trust, sample=1)
        found = checker.answer(row["document"].get("identifier"), raw)
        good = row["code"] is None
        assert (found is None) is good, row["name"]
        assert checker.verified == good
        checked[good] += 1
    assert min(checked.values()) >= 1


def test_one_of_the_sample_is_verified(vectors):
    row = next(row for row in vectors["answers"] if row["code"] is not None)
    raw = json.dumps(row["document"]).encode()
    trust = Trust.parse(json.dumps(vectors["trust"]).encode())
    checker = Checker(trust, sample=5)
    found = [checker.answer(row["document"]["identifier"], raw) for _ in range(10)]
    assert [number for number, complaint in enumerate(found, 1) if complaint] == [1, 6]
