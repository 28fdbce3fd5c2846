"""Suffix rules: what a pattern covers, greedily and in linear time, and where its targets lead."""

import time

import pytest

from schemas.claims import Members
from schemas.errors import BadRecord
from schemas.rule import MAX_HEAD, Rule, TargetTemplate, compile_pattern, read_rule
from schemas.target import MAX_HREF
from tests.parties import identifier

MATCHES = {  # pattern, suffix, fields or None
    "fixed": ("PACK-{y:digits:4}-{n:digits:6}", "PACK-2026-000042", {"y": "2026", "n": "000042"}),
    "one-digit-less": ("PACK-{y:digits:4}-{n:digits:6}", "PACK-2026-00042", None),
    "one-digit-more": ("PACK-{y:digits:4}-{n:digits:6}", "PACK-2026-0000042", None),
    "something-after": ("A{n:digits:1}", "A1 ", None),
    "something-before": ("A{n:digits:1}", "XA1", None),
    "case-of-the-literal": ("A{n:digits:1}", "a1", None),
    "range-low": ("{n:digits:2-4}", "12", {"n": "12"}),
    "range-high": ("{n:digits:2-4}", "1234", {"n": "1234"}),
    "range-below": ("{n:digits:2-4}", "1", None),
    "range-above": ("{n:digits:2-4}", "12345", None),
    "upper": ("{n:upper:2}", "AB", {"n": "AB"}),
    "upper-is-not-lower": ("{n:upper:2}", "Ab", None),
    "lower": ("{n:lower:2}", "ab", {"n": "ab"}),
    "alpha": ("{n:alpha:2}", "aB", {"n": "aB"}),
    "alpha-has-no-digit": ("{n:alpha:2}", "a1", None),
    "alnum": ("{n:alnum:3}", "aB1", {"n": "aB1"}),
    "alnum-is-ascii": ("{n:alnum:1}", "é", None),
    "hex": ("{n:hex:4}", "09aF", {"n": "09aF"}),
    "hex-ends-at-f": ("{n:hex:1}", "g", None),
    "digits-are-ascii": ("{n:digits:1}", "\u0661", None),
    "digits-are-not-full-width": ("{n:digits:1}", "\uff11", None),
    "any": ("{n:any:1-9}", "电池 #1", {"n": "电池 #1"}),
    "any-is-no-slash": ("{n:any:3}", "a/b", None),
    "slash-as-literal": ("{a:any:1-3}/{b:any:1-3}", "a/b", {"a": "a", "b": "b"}),
    "literal-braces": ("{{{n:digits:1}}}", "{1}", {"n": "1"}),
    "literal-dot": ("a.{n:digits:1}", "ab1", None),
    "literal-star": ("a*{n:digits:1}", "a*1", {"n": "1"}),
    "literal-non-ascii": ("电{n:digits:1}", "电1", {"n": "1"}),
    # A field takes what it can and gives nothing back.
    "greedy-then-literal-of-the-same": ("{a:digits:1-3}5", "1235", {"a": "123"}),
    "greedy-eats-the-literal": ("{a:digits:1-3}5", "125", None),
    "greedy-eats-the-next-field": ("{a:digits:1-3}{b:digits:1}", "123", None),
    "greedy-stops-at-its-maximum": ("{a:digits:1-3}{b:digits:1}", "1234", {"a": "123", "b": "4"}),
    "greedy-stops-at-its-class": ("{a:digits:1-9}{b:upper:1-9}", "12AB", {"a": "12", "b": "AB"}),
    "hex-eats-letters": ("{a:hex:1-9}{b:upper:1-9}", "12AB", None),
}


@pytest.mark.parametrize(("pattern", "suffix", "fields"), MATCHES.values(), ids=MATCHES)
def test_matching(pattern, suffix, fields):
    assert Rule(pattern, ()).match(suffix) == fields


MALFORMED = {
    "empty": ("", None),
    "too-long": ("a" * 257, None),
    "no-field": ("abc", None),
    "open-brace": ("a{", 1),
    "closed-brace": ("a}", 1),
    "doubled-open": ("{{n:digits:1}", 12),
    "no-class": ("{n}", 0),
    "no-length": ("{n:digits}", 0),
    "unknown-class": ("x{n:word:1}", 1),
    "name-capital": ("{N:digits:1}", 0),
    "name-digit": ("{1:digits:1}", 0),
    "name-empty": ("{:digits:1}", 0),
    "name-too-long": ("{" + "n" * 33 + ":digits:1}", 0),
    "length-zero": ("{n:digits:0}", 0),
    "length-zero-low": ("{n:digits:0-3}", 0),
    "length-reversed": ("{n:digits:3-2}", 0),
    "length-too-large": ("{n:digits:257}", 0),
    "length-open": ("{n:digits:3-}", 0),
    "length-full-width": ("{n:digits:\uff13}", 0),
    "space": ("{n :digits:1}", 0),
    "name-twice": ("{n:digits:1}-{n:digits:1}", 13),
    "name-reserved": ("{suffix:digits:1}", 0),
    "nine-fields": ("".join(f"{{n{i}:digits:1}}" for i in range(9)), None),
}


@pytest.mark.parametrize(("pattern", "position"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_patterns(pattern, position):
    with pytest.raises(BadRecord) as caught:
        compile_pattern(pattern)
    assert caught.value.position == position


def test_a_match_takes_linear_time():
    pattern = "".join(f"{{n{i}:any:1-256}}" for i in range(8)) + "!"
    begun = time.perf_counter()
    assert Rule(pattern, ()).match("a" * 1020) is None
    assert Rule("{a:alnum:1-256}{b:alnum:1-256}{c:alnum:1-256}-", ()).match("a" * 768) is None
    assert time.perf_counter() - begun < 1


@pytest.mark.parametrize(
    ("pattern", "head"),
    [
        ("PACK-{n:digits:1}-X{m:digits:1}", "PACK-"),
        ("{n:digits:1}PACK", ""),
        ("{{a}}{n:digits:1}", "{a}"),
        ("x" * 100 + "{n:digits:1}", "x" * MAX_HEAD),
    ],
)
def test_the_head_is_the_literal_start(pattern, head):
    assert Rule(pattern, ()).head == head


def read(template="https://a.example/{n}", **members):
    target = {"rel": "manual", "template": template} | members
    return read_rule(Members({"pattern": "A{n:digits:3}", "targets": [target]}, BadRecord, "rule."))


def test_a_rule_survives_its_claims():
    rule = Rule(
        "A{n:digits:3}",
        (TargetTemplate("gs1:pip", "https://a.example/{n}", "text/html", "Title", "en"),),
    )
    assert read_rule(Members(rule.claims(), BadRecord)) == rule


@pytest.mark.parametrize(
    ("template", "href"),
    [
        ("https://a.example/{n}", "https://a.example/042"),
        ("https://a.example/x{/n}{?suffix}", "https://a.example/x/042?suffix=A042"),
        ("https://a.example/{+identifier}", "https://a.example/88.1/A042"),
        ("https://a.example/{identifier}", "https://a.example/88.1%2FA042"),
        ("https://a.example?{prefix}", "https://a.example?88.1"),
        ("urn:x:{n}", "urn:x:042"),
        ("mailto:{suffix}@a.example", "mailto:A042@a.example"),
        ("https://a.example/fixed", "https://a.example/fixed"),
    ],
)
def test_targets_are_expanded(template, href):
    rule = read(template)
    about = identifier("88.1/A042")
    assert rule.expand(about, rule.match(about.suffix)) == ((rule.targets[0], href),)


@pytest.mark.parametrize(
    "template",
    [
        "https://{n}.example/",
        "https://a.example{n}",
        "https://a.example{/n}",
        "https://a.example:{n}/",
        "https://{n}@a.example/",
        "https://user@a.example/{n}",
        "{n}://a.example/",
        "{+suffix}",
        "javascript:{n}",
        "/x/{n}",
        "https:{n}",
        "https://a.example/{unknown}",
        "https://a.example/{n",
        "https://a.example/\\{n}",
    ],
)
def test_no_serial_chooses_the_host(template):
    with pytest.raises(BadRecord):
        read(template)


def test_a_target_that_grows_too_long_is_left_out():
    rule = Rule(
        "{n:any:1-256}",
        (
            TargetTemplate("a", "https://a.example/{n}"),
            TargetTemplate("b", "https://a.example/" + "{identifier}" * 150),
        ),
    )
    short, long = identifier("88.1/x"), identifier("88.1/" + "电" * 256)
    assert [target.rel for target, _ in rule.expand(short, {"n": "x"})] == ["a", "b"]
    assert rule.expand(long, {"n": long.suffix}) == ()
    fitting = MAX_HREF - len("https://a.example/")
    exact = Rule("A", (TargetTemplate("a", "https://a.example/{n}"),))
    assert exact.expand(short, {"n": "x" * fitting})
    assert not exact.expand(short, {"n": "x" * (fitting + 1)})
