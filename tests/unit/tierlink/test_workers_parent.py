"""What the parent decides: how long it waits, how it begins a worker, what its metrics say."""

import sys
from pathlib import Path

import pytest

from tierlink.workers.backoff import FIRST, LONGEST, SHORT_LIFE, Backoff
from tierlink.workers.process import MODULE, command
from tierlink.workers.scraping import merged

ONE = """\
# HELP tierlink_requests_total Requests, {by} source.
# TYPE tierlink_requests_total counter
tierlink_requests_total{source="l1"} 7
tierlink_requests_total{source="a b{c"} 1
# HELP tierlink_entries Answers kept.
# TYPE tierlink_entries gauge
tierlink_entries 12
"""


def test_the_first_death_of_a_long_life_is_repaired_at_once():
    patience = Backoff()
    assert patience.after(3_600) == 0
    assert patience.after(SHORT_LIFE) == 0


def test_deaths_in_a_row_are_repaired_later_and_later():
    patience = Backoff()
    pauses = [patience.after(0.1) for _ in range(12)]
    assert pauses[:3] == [FIRST, 2 * FIRST, 4 * FIRST]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST
    assert patience.after(SHORT_LIFE) == 0
    assert patience.after(0.1) == FIRST


def test_every_series_names_its_worker_and_every_family_comes_once():
    two = (
        ONE.replace("7", "8")
        + "# HELP tierlink_own More.\n# TYPE tierlink_own gauge\ntierlink_own 1\n"
    )
    assert merged({"1": ONE, "2": two}).splitlines() == [
        "# HELP tierlink_requests_total Requests, {by} source.",
        "# TYPE tierlink_requests_total counter",
        'tierlink_requests_total{worker="1",source="l1"} 7',
        'tierlink_requests_total{worker="1",source="a b{c"} 1',
        'tierlink_requests_total{worker="2",source="l1"} 8',
        'tierlink_requests_total{worker="2",source="a b{c"} 1',
        "# HELP tierlink_entries Answers kept.",
        "# TYPE tierlink_entries gauge",
        'tierlink_entries{worker="1"} 12',
        'tierlink_entries{worker="2"} 12',
        "# HELP tierlink_own More.",
        "# TYPE tierlink_own gauge",
        'tierlink_own{worker="2"} 1',
    ]
    assert merged({}) == ""


@pytest.mark.parametrize(
    ("first", "options"),
    [("", []), (str(Path.cwd()), []), ("/usr/bin", ["-P"])],
    ids=["empty", "working folder", "installed"],
)
def test_a_worker_finds_its_modules_where_its_parent_did(monkeypatch, first, options):
    """`python -m tierlink` in a checkout looks there first; the installed command never does."""
    monkeypatch.setattr(sys, "path", [first, *sys.path])
    assert command(7, [5, 6]) == [sys.executable, *options, "-m", MODULE, "7", "5,6"]
