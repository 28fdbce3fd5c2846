"""The check of histories finds each kind of violation, and none where there is none."""

from dataclasses import replace

import pytest

from tests.faults.history import PROMISED, Batch, History, Read, Standing, Told, Write

KEY = "88.118.8/A"


def read(start, version, *, client="c", session=1, **more):
    stamp = f"s{version}" if version else ""
    return Read(client, "node", session, KEY, start, start + 0.01, version, stamp, **more)


def written(version, end):
    return Write("w", f"t{version}", KEY, f"s{version}", end - 0.02, end, version, 1)


def sound():
    """Three versions, written at 1, 2 and 3 s; read and told as they should be."""
    changes = tuple(Told(100 + version, KEY, version) for version in (1, 2, 3))
    return History(
        reads=[
            read(0.5, 0),
            read(1.5, 1),
            read(2.5, 1),  # younger than the bound
            read(2.6, 2),
            read(3.5, 3),
            read(3.6, 2, client="mover", session=7),  # another node, within the bound
            read(9.0, 2, client="away", session=8, marked=True, age=6),
        ],
        writes=[*(written(version, float(version)) for version in (1, 2, 3)),
                Write("w", "t9", KEY, "s9", 3.5)],
        stream=[
            Batch(None, ("h", 100), ()),
            Batch(("h", 100), ("h", 102), changes[:1]),
            Batch(("h", 102), ("h", 110), changes[1:]),
        ],
        open_writes=[(0.0, 0.0), (5.0, 0.0)],
        standing=Standing({KEY: {1: "s1", 2: "s2", 3: "s3"}}, changes),
    )  # fmt: skip


def found(history):
    return [violation.invariant for violation in history.violations()]


def test_a_sound_history_has_none():
    assert sound().violations() == []


def test_an_unanswered_write_may_stand_or_not():
    history = sound()
    history.standing.versions[KEY][4] = "s9"
    history.standing.changes += (Told(120, KEY, 4),)  # beyond what was told so far
    assert history.violations() == []


def forget(history):
    del history.standing.versions[KEY][3]


def overwrite(history):
    history.standing.versions[KEY][2] = "somebody else's"


def go_back(history):
    history.reads.append(read(3.55, 2))


def go_back_marked(history):
    history.reads.append(read(3.55, 2, marked=True, age=0))


def stay_behind(history):
    history.reads.append(read(3.0 + PROMISED, 2, client="slow", session=9))


def move_to_what_is_old(history):
    """Nobody had been told of version 3, but the mover had seen it."""
    del history.writes[2]
    history.reads.append(read(3.6 + PROMISED, 2, client="c", session=2))


def be_denied(history):
    history.reads.append(read(3.0 + PROMISED, 0, client="slow", session=9))


def pretend_an_age(history):
    history.reads.append(read(9.0, 2, client="away", session=10, marked=True, age=3))


def invent(history):
    history.reads.append(replace(read(3.7, 3), stamp="never"))


def read_ahead(history):
    history.reads.append(read(3.7, 4))


def forge(history):
    history.reads.append(replace(read(3.7, 3), fault="E_SIG"))


def do_it_twice(history):
    history.standing.versions[KEY][4] = "s9"
    history.standing.versions[KEY][5] = "s9"


def answer_otherwise(history):
    history.writes[0].again.append(2)


def skip_a_change(history):
    history.stream[2] = replace(history.stream[2], changes=history.stream[2].changes[1:])


def tell_twice(history):
    history.stream[2].changes += (Told(103, KEY, 3),)


def tell_again_later(history):
    history.stream.append(Batch(("h", 110), ("h", 111), (Told(103, KEY, 3),)))


def tell_what_is_none(history):
    history.stream[2].changes += (Told(105, "88.118.8/B", 1),)


def jump(history):
    history.stream[2].after = ("h", 103)


def swap(history):
    history.stream[2].changes = history.stream[2].changes[::-1]


def miss_the_outbox(history):
    history.standing.changes = history.standing.changes[:2]
    history.stream[2].changes = history.stream[2].changes[:1]


@pytest.mark.parametrize(
    ("harm", "invariants"),
    [
        pytest.param(forget, {"I1", "I4"}, id="lost"),
        pytest.param(overwrite, {"I1", "I4"}, id="overwritten"),
        pytest.param(go_back, {"I2"}, id="back"),
        pytest.param(go_back_marked, {"I2"}, id="back-marked"),
        pytest.param(stay_behind, {"I3"}, id="old"),
        pytest.param(move_to_what_is_old, {"I3"}, id="old-for-who-saw-newer"),
        pytest.param(be_denied, {"I3"}, id="old-absence"),
        pytest.param(pretend_an_age, {"I3"}, id="older-than-its-age"),
        pytest.param(invent, {"I4"}, id="never-written"),
        pytest.param(read_ahead, {"I4"}, id="version-never-written"),
        pytest.param(forge, {"I4"}, id="unverified"),
        pytest.param(do_it_twice, {"I5"}, id="twice"),
        pytest.param(answer_otherwise, {"I5"}, id="answered-otherwise"),
        pytest.param(skip_a_change, {"I6"}, id="skipped"),
        pytest.param(tell_twice, {"I6"}, id="told-twice"),
        pytest.param(tell_again_later, {"I6"}, id="told-again"),
        pytest.param(tell_what_is_none, {"I6"}, id="told-and-none"),
        pytest.param(jump, {"I6"}, id="jumped"),
        pytest.param(swap, {"I6"}, id="swapped"),
        pytest.param(miss_the_outbox, {"I6"}, id="no-row"),
    ],
)
def test_each_kind_is_found(harm, invariants):
    history = sound()
    harm(history)
    assert set(found(history)) == invariants


def test_an_open_write_and_nothing_else_stretches_the_bound():
    history = sound()
    stay_behind(history)
    history.open_writes = [(3.0, 0.0), (3.5, 0.5), (5.0, 0.0)]
    assert found(history) == []
    history.open_writes = [(1.0, 0.5), (5.0, 0.0)]
    assert found(history) == ["I3"]


def test_what_came_while_the_observer_stood_still_is_dated_to_when_it_stopped():
    history = sound()
    stay_behind(history)
    history.reads[-1].start -= 0.5
    history.stalls = [(3.8, 4.2)]
    assert found(history) == []
    assert history.reads[-1].end == 3.8
    assert [each.end for each in history.reads[:-1]] == [each.end for each in sound().reads]


def test_another_history_of_the_source_begins_its_own_stream():
    history = sound()
    history.stream += [Batch(None, ("other", 200), ()), Batch(("other", 200), ("other", 203), ())]
    assert found(history) == []
    history.standing.changes += (Told(201, KEY, 4),)
    assert found(history) == ["I6"]
