"""The courses over time, and the one that stops where a budget breaks."""

import pytest

from loadtests.budgets import Budget
from loadtests.shapes import SHAPES, StepToBreak, Totals


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ramp", {0: 1, 25: 50, 50: 100, 99: 100, 100: None}),
        ("step", {0: 12, 13: 25, 99: 100, 100: None}),
        ("spike", {0: 10, 39: 10, 40: 100, 59: 100, 60: 10, 100: None}),
        ("soak", {0: 100, 99: 100, 100: None}),
        ("diurnal", {0: 10, 25: 55, 50: 100, 75: 55, 100: None}),
    ],
)
def test_users_over_time(name, expected):
    found = {at: SHAPES[name](at, 100, 100) for at in expected}
    assert {at: course and course[0] for at, course in found.items()} == expected


def test_nobody_ever_sends_no_user():
    assert all(shape(at, 3, 10)[0] >= 1 for shape in SHAPES.values() for at in (0, 4, 9.9))


def run(limit, users=80, seconds=80.0):
    """Step against a server whose latency grows with its users; one request per user and tick."""
    steps = StepToBreak(users, seconds, Budget(p99_ms=limit))
    requests, times, at = 0, {}, 0.0
    while (course := steps.tick(at, Totals(requests, 0, dict(times)))) is not None:
        requests += course[0]
        times[course[0]] = times.get(course[0], 0) + course[0]  # as many ms as users
        at += 1
    return steps, at


def test_it_ends_at_the_step_that_breaks():
    steps, at = run(limit=45)
    assert (steps.held, steps.broke) == (40, 50)
    assert at == 50  # and not at 80
    assert steps.held_rate == pytest.approx(40)
    assert steps.verdict == "held 40 users at 40 requests/s; broke at 50 users: p99 ms 50 > 45"


def test_it_may_hold_to_the_end_or_not_at_all():
    steps, at = run(limit=1000)
    assert (steps.held, steps.broke, at) == (80, 0, 80)
    steps, _ = run(limit=5)
    assert (steps.held, steps.broke) == (0, 10)
    assert "did not hold the first step" in steps.verdict


def test_a_step_is_judged_without_those_before_it():
    """A bad first second does not stay in the percentiles of every later step."""
    steps = StepToBreak(8, 80, Budget(p99_ms=50, errors=0.0))
    bad = Totals(100, 100, {9000: 100})
    assert steps.tick(0, Totals())
    assert steps.tick(4, bad)
    assert steps.tick(10, Totals(200, 100, {9000: 100, 10: 100}))
    assert (steps.held, steps.broke) == (1, 0)
