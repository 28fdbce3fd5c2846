"""How a node ends: each step, each skipped, none back."""

from tests.clock import Clock
from tierlink.ending import Ending, Step


def test_a_lame_duck_closes_after_its_time():
    clock = Clock()
    ending = Ending(5, clock)
    assert (ending.step, ending.unready()) == (Step.SERVING, "")
    ending.tell()
    assert ending.step is Step.LAME_DUCK
    assert "end" in ending.unready()
    clock.move(4.9)
    assert ending.step is Step.LAME_DUCK
    clock.move(0.1)
    assert ending.step is Step.CLOSING
    assert ending.unready()


def test_told_again_it_skips_what_it_is_in():
    ending = Ending(60, Clock())
    steps = []
    ending.heard = lambda: steps.append(ending.step)
    for _ in range(4):
        ending.tell()
    assert steps == [Step.LAME_DUCK, Step.CLOSING, Step.AT_ONCE]


def test_without_a_lame_duck_it_closes_at_once():
    ending = Ending(0, Clock())
    ending.tell()
    assert ending.step is Step.CLOSING
    ending.tell()
    assert ending.step is Step.AT_ONCE


def test_it_goes_back_for_nobody():
    """A worker hears of the same end by a signal to all processes and from its parent."""
    clock = Clock()
    ending = Ending(5, clock)
    ending.reach(Step.LAME_DUCK)
    clock.move(3)
    ending.reach(Step.LAME_DUCK)
    clock.move(2)
    assert ending.step is Step.CLOSING
    ending.reach(Step.LAME_DUCK)
    assert ending.step is Step.CLOSING
