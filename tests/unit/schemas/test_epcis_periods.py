"""What a side states after events, in whatever order they come: pure."""

from hypothesis import given, settings, strategies as st

from schemas.epcis.moves import Act, Move
from schemas.epcis.periods import EPCIS, Seen, after, rests_on, without
from schemas.identifier import Identifier
from schemas.link import (
    DOWNSTREAM,
    MAX_EVIDENCE,
    WITHDRAWN,
    Assertion,
    Evidence,
    Link,
    Quantity,
    read_draft_assertion,
)

UP, DOWN = (Identifier.parse(text) for text in ("88.1/C", "88.2/M"))
LINK = Link("CONTAINED_IN", UP, DOWN)
NOW = 1_795_000_000


def seen(second, name=None):
    return Seen(f"ni:///sha-256;{name or second:0>64}?ver=CBV2.0", second * 1000 + 500)


def told(events, standing=()):
    """Tell events (act, second) in order; return the periods."""
    periods = {item.link.occurrence: item for item in standing}
    for act, second in events:
        said = after([*periods.values()], DOWNSTREAM, Move(act, LINK), seen(second), NOW)
        if said is not None:
            periods[said.link.occurrence] = said
    return periods


acts = st.sampled_from([Act.OPEN, Act.CLOSE, Act.SEE])


@settings(deadline=None)
@given(st.lists(st.tuples(acts, st.integers(1, 60)), max_size=20, unique_by=lambda item: item[1]))
def test_periods_in_the_order_of_time(events):
    """They do not overlap, are signed as they are, and are what a plain reading of events gives."""
    events.sort(key=lambda item: item[1])
    periods = told(events)
    expected, inside = [], False
    for act, second in events:
        if act is Act.OPEN and not inside:
            expected.append([second, None])
            inside = True
        elif act is Act.CLOSE and inside:
            expected[-1][1] = second + 1
            inside = False
    found = [[item.valid_from, item.valid_until] for item in periods.values()]
    assert found == expected
    assert list(periods) == [str(n) if n > 1 else "" for n in range(1, len(found) + 1)]
    for item in periods.values():
        claims = {k: v for k, v in item.claims().items() if k not in {"v", "ver", "iat", "state"}}
        assert read_draft_assertion(claims, NOW) == item
        assert all(one.kind == EPCIS for one in item.evidence)


@settings(deadline=None)
@given(
    st.lists(st.tuples(acts, st.integers(1, 30)), min_size=1, max_size=10,
             unique_by=lambda item: item[1]),
    st.data(),
)  # fmt: skip
def test_without_an_event_all_is_as_if_it_never_was(events, data):
    """Of the events that a period rests on: those it does not rest on said nothing of it."""
    events.sort(key=lambda item: item[1])
    gone = data.draw(st.sampled_from(events))
    for period in told(events).values():
        wrong = seen(gone[1])
        if not rests_on(period, wrong):
            continue
        ids = {item.id for item in period.evidence} - {wrong.hash}
        left = {
            seen(second).hash: (Move(act, LINK), seen(second))
            for act, second in events
            if seen(second).hash in ids
        }
        found = without(period, wrong, left)
        again = told((act, second) for act, second in events if seen(second).hash in left)
        if not again:
            assert found.state == WITHDRAWN
        else:
            first = next(iter(again.values()))
            assert (found.valid_from, found.valid_until) == (first.valid_from, first.valid_until)
            assert found.link == period.link
            assert not rests_on(found, wrong)


def test_what_was_stated_without_events_keeps_all_but_the_evidence():
    plain = Assertion(
        LINK, DOWNSTREAM, 1, quantity=Quantity("2", "KGM"), evidence=(Evidence("report", "R-1"),)
    )
    move = Move(Act.OPEN, LINK, Quantity("2", "KGM"))
    said = after([plain], DOWNSTREAM, move, seen(10), NOW)
    assert (said.quantity, said.valid_from, len(said.evidence)) == (plain.quantity, None, 2)
    assert after([said], DOWNSTREAM, move, seen(10), NOW) == said
    again = after([said], DOWNSTREAM, move, seen(11), NOW)
    assert again.quantity == Quantity("4", "KGM")  # now it rests on events, which add up
    assert without(said, seen(10), {}) == plain


def test_the_evidence_is_bounded():
    periods = told([(Act.OPEN, 1), *((Act.SEE, second) for second in range(2, 50))])
    evidence = [item.id for item in periods[""].evidence]
    assert len(evidence) == MAX_EVIDENCE
    assert evidence[0] == seen(1).hash
    assert evidence[1:] == [seen(second).hash for second in range(35, 50)]


def test_one_that_comes_late():
    """What opened before, and ended before, is a period of its own; later ones stay."""
    late = told([(Act.OPEN, 5), (Act.CLOSE, 8)], told([(Act.OPEN, 20)]).values())
    assert [(item.valid_from, item.valid_until) for item in late.values()] == [(20, None), (5, 9)]
    made = [Move(Act.MAKE, LINK, Quantity("1.5", "KGM"))] * 2
    first = after([], DOWNSTREAM, made[0], seen(9), NOW)
    second = after([first], DOWNSTREAM, made[1], seen(4), NOW)
    assert (second.valid_from, second.valid_until, second.quantity.value) == (4, None, "3")
