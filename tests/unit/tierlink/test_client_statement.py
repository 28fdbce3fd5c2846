"""Gathering under batch statements: what is signed together, and that nothing loses its place."""

import json

import pytest

from schemas import signed
from schemas.batched import parse_statement
from schemas.envelope import LINK, RECORD
from schemas.errors import BadInput
from schemas.link import parse_assertion
from schemas.record import parse_record
from tests.parties import GEAR, ISSUED, assertion, record
from tierlink.client import statement
from tierlink.client.context import Context
from tierlink.client.statement import Gathering

KEYS = {GEAR.public.kid: GEAR.public}
SIGNED = record("88.100/SIGNED").sign(GEAR)


@pytest.fixture
def clock():
    """Seconds that go on by one whenever they are asked for."""
    return iter(range(ISSUED, ISSUED + 10_000))


@pytest.fixture
def context(clock):
    return Context.of(None, GEAR, lambda: next(clock))


def gathered(context, items):
    """What comes out, all of it."""
    with Gathering(context) as gathering:
        out = [ready for item in items for ready in gathering.push(item)]
        return [*out, *gathering.end()]


def draft(name, prefix="88.100", **members):
    return {"identifier": f"{prefix}/{name}", "kind": "item"} | members


def line(item):
    return json.dumps(item, ensure_ascii=False).encode()


def statements(tokens):
    """The statements of tokens in order, each once."""
    return list(dict.fromkeys(token.split("~", 3)[3] for token in tokens))


def names(tokens):
    return [parse_record(token)[1].identifier.suffix for token in tokens]


def test_drafts_of_every_shape_go_under_one(context):
    items = [
        draft("A", attributes={"a": "标识"}),
        line(draft("B")),
        record("88.100/C", issued_at=1),
        record("88.100/D", version=2, prev="A" * 43),
    ]
    tokens = gathered(context, items)
    assert names(tokens) == ["A", "B", "C", "D"]
    (text,) = statements(tokens)
    found = parse_statement(text)
    assert (found.count, str(found.prefix), found.of) == (4, "88.100", RECORD)
    for token in tokens:
        assert signed.verify(token, RECORD, KEYS).claims["iat"] == found.issued_at
    assert parse_record(tokens[3])[1].version == 2


def test_nothing_comes_before_the_end(context):
    with Gathering(context) as gathering:
        assert [list(gathering.push(draft(f"A-{n}"))) for n in range(5)] == [[]] * 5
        assert len(list(gathering.end())) == 5
        assert list(gathering.end()) == []


def test_another_prefix_or_type_begins_another(context):
    said = assertion("downstream", "88.101/S", "88.100/G")
    items = [draft("A"), draft("B"), draft("C", "88.101"), said, said, draft("D")]
    tokens = gathered(context, items)
    assert [signed.type_of(token) for token in tokens] == [RECORD] * 3 + [LINK] * 2 + [RECORD]
    found = [parse_statement(text) for text in statements(tokens)]
    assert [(str(item.prefix), item.count) for item in found] == [
        ("88.100", 2),
        ("88.101", 1),
        ("88.100", 2),
        ("88.100", 1),
    ]
    assert parse_assertion(tokens[3])[1].link == said.link


def test_what_is_not_to_be_signed_keeps_its_place(context):
    bad = draft("", kind="item")
    large = draft("L", attributes={"a": "x" * 50_000})
    items = [b"", SIGNED, draft("A"), {"envelope": SIGNED}, line(bad), b"", large, draft("B"), b"{"]
    out = gathered(context, items)
    first, second = out[2], out[7]
    assert out == [b"", SIGNED, first, {"envelope": SIGNED}, line(bad), b"", large, second, b"{"]
    assert names([first, second]) == ["A", "B"]
    assert parse_statement(statements([first])[0]).count == 2
    assert statements([first]) == statements([second])


def test_only_what_is_not_to_be_signed(context):
    large = draft("L", attributes={"a": "x" * 50_000})
    assert gathered(context, [large, SIGNED, b""]) == [large, SIGNED, b""]


@pytest.mark.parametrize("name", ["MAX_RECORDS", "_MAX_OTHERS"])
def test_a_full_one_ends(context, monkeypatch, name):
    monkeypatch.setattr(statement, name, 3)
    items = [draft(f"A-{n}") for n in range(4)]
    if name == "_MAX_OTHERS":
        items = [items[0], *[SIGNED] * 3, *items[1:]]
    out = gathered(context, items)
    tokens = [item for item in out if item != SIGNED]
    assert names(tokens) == ["A-0", "A-1", "A-2", "A-3"]
    assert [parse_statement(text).count for text in statements(tokens)] in ([3, 1], [1, 3])


def test_many_lie_in_a_file(context, monkeypatch):
    monkeypatch.setattr(statement, "_IN_MEMORY", 1000)
    tokens = gathered(context, [draft(f"A-{n}") for n in range(500)])
    assert names(tokens) == [f"A-{n}" for n in range(500)]


def test_whoever_gives_up_leaves_no_file_open(context):
    with Gathering(context) as gathering:
        for number in range(10):
            assert list(gathering.push(draft(f"A-{number}"))) == []
        assert next(gathering.end())
    with Gathering(context) as gathering:
        assert list(gathering.push(draft("A"))) == []


def test_without_a_key():
    with pytest.raises(BadInput, match="no key"):
        Gathering(Context.of(None, None, lambda: ISSUED))
