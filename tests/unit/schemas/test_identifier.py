"""Identifiers and prefixes: what is refused and where, who covers whom, paths."""

import pytest

from schemas.errors import BadIdentifier
from schemas.identifier import MAX_BYTES, Identifier, Prefix

LABEL = "a" * 128

ACCEPTED = {
    "plain": "88.118.8/ABC-0001",
    "deepest": "1" + ".a" * 15 + "/x",
    "leading-zeros": "88.101.0042/x",
    "hyphen": "88.steel-works/x",
    "longest-label": f"88.{LABEL}/x",
    "chinese": "88.118.8/电池-0001",
    "composed": "88.118.8/caf\u00e9",
    "inner-space": "88.118.8/A B",
    "two-inner-spaces": "88.118.8/A  B",
    "slashes": "88.118.8/a//b/",
    "dots": "88.118.8/..",
    "percent": "88.118.8/50%",
    "emoji": "88.118.8/\U0001f529",
    "longest": "88/" + "x" * (MAX_BYTES - 3),
    "longest-in-bytes": "88/" + "\u6807" * ((MAX_BYTES - 3) // 3),
    "gs1-path": "01/09506000134352/21/A1",
}

REFUSED_IDENTIFIERS = {  # text, position of the fault
    "empty": ("", 0),
    "no-slash": ("88.118.8", 8),
    "no-prefix": ("/x", 0),
    "root": ("./x", 0),
    "no-suffix": ("88.118/", 7),
    "control": ("88/a\tb", 4),
    "nul": ("88/\x00", 3),
    "delete": ("88/ab\x7f", 5),
    "c1-control": ("88/a\x85", 4),
    "line-feed-at-end": ("88/a\n", 4),
    "zero-width-space": ("88/a\u200bb", 4),
    "zero-width-joiner": ("88/a\u200d", 4),
    "right-to-left-override": ("88/\u202eabc", 3),
    "byte-order-mark": ("88/\ufeffabc", 3),
    "soft-hyphen": ("88/a\u00adb", 4),
    "lone-surrogate": ("88/a\ud800", 4),
    "private-use": ("88/a\ue000", 4),
    "line-separator": ("88/a\u2028b", 4),
    "paragraph-separator": ("88/a\u2029b", 4),
    "no-break-space": ("88/a\u00a0b", 4),
    "ideographic-space": ("88/a\u3000b", 4),
    "space-first": ("88/ a", 3),
    "space-last": ("88/a ", 4),
    "space-only": ("88/ ", 3),
    "decomposed": ("88/cafe\u0301", 6),
    "not-nfc-singleton": ("88/\u212b", 3),
    "not-nfc-shorter": ("88/ab\u1100\u1161", 5),
    "too-long": ("88/" + "x" * (MAX_BYTES - 2), MAX_BYTES),
    "too-long-in-bytes": ("88/" + "\u6807" * 341, 344),
    "prefix-fault": ("88.A/x", 3),
    "prefix-space": ("88 /x", 2),
    "full-width-digit": ("8\uff18/x", 1),
}

REFUSED_PREFIXES = {
    "empty": ("", 0),
    "first-dot": (".88", 0),
    "last-dot": ("88.", 3),
    "two-dots": ("88..1", 3),
    "word-first": ("abc.1", 0),
    "letter-in-first": ("8a.1", 1),
    "capital": ("88.1.Abc", 5),
    "hyphen-first": ("88.-a", 3),
    "hyphen-last": ("88.a-", 4),
    "hyphen-doubled": ("88.a--b", 4),
    "underscore": ("88.a_b", 4),
    "slash": ("88/1", 2),
    "line-feed": ("88.1\n", 4),
    "full-width": ("88.\uff11", 3),
    "arabic-digit": ("88.\u0661", 3),
    "accent": ("88.caf\u00e9", 6),
    "label-too-long": (f"88.{LABEL}a", 3 + 128),
    "seventeen-labels": ("1" + ".a" * 16, 31),
    "too-long": ("1" * (MAX_BYTES + 1), MAX_BYTES),
}


@pytest.mark.parametrize("text", ACCEPTED.values(), ids=ACCEPTED)
def test_an_identifier_is_its_text(text):
    found = Identifier.parse(text)
    assert (found.text, str(found), found.key) == (text, text, text.encode())
    assert Identifier.from_path(found.path.encode("ascii")) == found


@pytest.mark.parametrize(
    ("text", "position"), REFUSED_IDENTIFIERS.values(), ids=REFUSED_IDENTIFIERS
)
def test_a_refusal_names_the_position(text, position):
    with pytest.raises(BadIdentifier) as caught:
        Identifier.parse(text)
    assert (caught.value.position, caught.value.value) == (position, text)


@pytest.mark.parametrize(("text", "position"), REFUSED_PREFIXES.values(), ids=REFUSED_PREFIXES)
def test_a_prefix_refusal_names_the_position(text, position):
    with pytest.raises(BadIdentifier) as caught:
        Prefix.parse(text)
    assert (caught.value.position, caught.value.value) == (position, text)


def test_a_refusal_names_the_character():
    with pytest.raises(BadIdentifier, match=r"U\+200B at position 4 is an invisible format"):
        Identifier.parse("88/a\u200bb")


@pytest.mark.parametrize(
    ("text", "cure"),
    [("88.118", "append '/'"), ("88.A/x", "lower case"), ("88..1/x", "extra dot")],
)
def test_a_refusal_may_name_the_cure(text, cure):
    with pytest.raises(BadIdentifier) as caught:
        Identifier.parse(text)
    assert cure in caught.value.fix


@pytest.mark.parametrize(
    ("above", "below", "expected"),
    [
        ("88", "88", True),
        ("88", "88.100", True),
        (".", "88.100", True),
        (".", ".", True),
        ("88.100", "88.1001", False),
        ("88.100", "88.1001.2", False),
        ("88.100", "88", False),
        ("88.100", "88.101", False),
        ("88.101.0042", "88.101.42", False),
        ("8", "88", False),
    ],
)
def test_prefixes_cover_by_label(above, below, expected):
    assert Prefix.parse(above).covers(Prefix.parse(below)) is expected


def test_ancestors_run_up_to_the_root():
    found = Prefix.parse("88.100.7")
    assert [str(item) for item in found.ancestors()] == ["88.100", "88", "."]
    assert str(found.parent) == "88.100"
    assert Prefix.parse("88").parent.is_root
    assert Prefix.parse(".").ancestors() == ()
    assert Prefix.parse(".").parent == Prefix.parse(".")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"88.1/a", "88.1/a"),
        (b"88.1/a%20b", "88.1/a b"),
        (b"88.1/%E7%94%B5", "88.1/电"),
        (b"88.1/\xe7\x94\xb5", "88.1/电"),
        (b"88.1%2Fa%2fb", "88.1/a/b"),
        (b"88.1/50%25", "88.1/50%"),
        (b"88.1/%2525", "88.1/%25"),
        (b"88.1/a+b", "88.1/a+b"),
        (b"%38%38/a", "88/a"),
    ],
)
def test_a_path_is_decoded_once(raw, text):
    assert Identifier.from_path(raw).text == text


@pytest.mark.parametrize(
    ("raw", "position"),
    [
        (b"88.1/50%", 7),
        (b"88.1/%2", 5),
        (b"88.1/%zz", 5),
        (b"88.1/%-1", 5),
        (b"88.1/%\xe7\x94", 5),
        (b"88.1/\xff", 5),
        (b"88.1/%C3", 5),
        (b"88.1/%ED%A0%80", 5),
        (b"88.1/%00", 5),
        (b"88.1/%C0%AF", 5),
        (b"88.1", 4),
    ],
)
def test_a_broken_path_is_refused(raw, position):
    with pytest.raises(BadIdentifier) as caught:
        Identifier.from_path(raw)
    assert caught.value.position == position


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("88.1/a b", "88.1/a%20b"),
        ("88.1/50%", "88.1/50%25"),
        ("88.1/?#[]", "88.1/%3F%23%5B%5D"),
        ("88.1/电", "88.1/%E7%94%B5"),
        ("88.1/a/b:c@d", "88.1/a/b:c@d"),
    ],
)
def test_a_path_is_percent_encoded(text, path):
    assert Identifier.parse(text).path == path
