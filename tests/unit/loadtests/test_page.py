"""The page of figures: what is measured again replaces its section, all targets are on top."""

import argparse
from importlib import import_module
from pathlib import Path

import pytest

LOADTESTS = Path(__file__).parents[3] / "loadtests"
OPTIONS = argparse.Namespace(connections=64, identifiers=100_000, runs=2, seconds=5)


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(LOADTESTS)  # it is a script
    return import_module("bench")


def test_what_is_measured_again_replaces_its_section(bench):
    def result(title, actual):
        of = bench.harness
        row = of.Row("ours", samples=[of.Sample(actual, 2, 3, 4)])
        target = of.Target("ours / theirs", actual, 2.0)
        return bench.Result(title, [row], [target], ["a remark"])

    first = bench.page("", [result("Hot", 1.0), result("Cold", 3.0)], OPTIONS)
    assert list(bench.sections_of(first)) == ["Hot", "Cold"]
    again = bench.page(first, [result("Hot", 4.0), result("New", 5.0)], OPTIONS)
    sections = bench.sections_of(again)
    assert list(sections) == ["Hot", "Cold", "New"]
    assert sections["Cold"] == bench.sections_of(first)["Cold"]
    table = again.partition("## Targets\n")[2].partition("\n## ")[0].strip().splitlines()
    assert table == [
        "| of | ratio | measured | target | |",
        "|---|---|---|---|---|",
        "| Hot | ours / theirs | 4.00 | ≥ 2 | met |",
        "| Cold | ours / theirs | 3.00 | ≥ 2 | met |",
        "| New | ours / theirs | 5.00 | ≥ 2 | met |",
    ]
    assert bench.page(first, [], OPTIONS) == first
