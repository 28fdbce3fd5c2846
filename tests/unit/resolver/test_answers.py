"""The store of answers: what is fresh, what may be served stale, what is dropped."""

import email.utils
import random
from math import inf

import pytest

from resolver.answers import Answer, Answers, Head, bucket, matches, target_of

HEAD = Head(200, [(b"content-type", b"application/json"), (b"vary", b"accept")])
TARGET = b"/88.1/A"
WALL = 1_800_000_000.25


class Clock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def answers(clock: Clock) -> Answers:
    """A store at position 10 with a lease until 1001."""
    store = Answers(1_000_000, clock, lambda: WALL + clock.now - 1000)
    store.restart("e", 5)
    store.advance(10, 1001, changed=False)
    return store


def answer(body: bytes = b"{}", *, filled: int = 10, **more) -> Answer:
    return Answer(HEAD, body, filled=filled, **more)


# Freshness


def test_an_answer_is_fresh_until_a_change_touches_one_of_its_tags(answers: Answers):
    kept = answer(tags=[b"iA", b"p88", b"p88.1"])
    assert answers.put(TARGET, 0, kept, "e")
    assert answers.get(TARGET, 0) is kept
    answers.touch(b"iB", 12)
    answers.advance(13, 1001, changed=True)
    assert answers.get(TARGET, 0) is kept
    answers.touch(b"p88", 14)
    answers.advance(15, 1001, changed=True)
    assert answers.get(TARGET, 0) is None
    assert (answers.hits, answers.misses, answers.outdated) == (2, 1, 1)


@pytest.mark.parametrize(
    ("filled", "fresh"), [(11, False), (12, False), (13, True)], ids=["below", "at", "above"]
)
def test_a_change_at_the_position_of_the_fill_was_not_seen_by_it(answers, filled, fresh):
    answers.put(TARGET, 0, answer(tags=[b"iA"], filled=filled), "e")
    answers.touch(b"iA", 12)
    answers.advance(13, 1001, changed=True)
    assert (answers.get(TARGET, 0) is not None) is fresh


def test_touches_of_one_bucket_in_any_order_leave_the_newest(answers: Answers):
    answers.put(TARGET, 0, answer(tags=[b"iA"], filled=20), "e")
    answers.touch(b"iA", 25)
    answers.touch(b"iA", 15)
    answers.advance(30, 1001, changed=True)
    assert answers.get(TARGET, 0) is None


def test_an_answer_that_was_outdated_before_it_came_is_refused(answers: Answers):
    answers.touch(b"iA", 12)
    answers.advance(13, 1001, changed=True)
    assert not answers.put(TARGET, 0, answer(tags=[b"iA"], filled=12), "e")
    assert answers.put(TARGET, 0, answer(tags=[b"iA"], filled=13), "e")
    assert answers.refused == 1


def test_the_lease_ends(answers: Answers, clock: Clock):
    answers.put(TARGET, 0, answer(), "e")
    clock.now = 1000.999
    assert answers.get(TARGET, 0)
    clock.now = 1001.0
    assert answers.get(TARGET, 0) is None
    assert answers.lapsed == 1
    answers.advance(10, 1002, changed=False)
    assert answers.get(TARGET, 0)


def test_its_own_expiry_is_hard(answers: Answers, clock: Clock):
    answers.put(TARGET, 0, answer(expires=1000.5, stale_for=100), "e")
    assert answers.get(TARGET, 0)
    clock.now = 1000.5
    assert answers.get(TARGET, 0) is None
    assert answers.stale(TARGET, 0) is None
    assert answers.expired == 1


def test_nothing_is_fresh_before_the_first_poll(clock: Clock):
    store = Answers(1_000_000, clock)
    store.put(TARGET, 0, answer(filled=1), "")
    assert store.get(TARGET, 0) is None


def test_variants_are_kept_apart(answers: Answers):
    one, two = answer(b"1"), answer(b"2")
    answers.put(TARGET, 0, one, "e")
    answers.put(TARGET, 1, two, "e")
    assert (answers.get(TARGET, 0), answers.get(TARGET, 1)) == (one, two)
    assert len(answers) == 2


# Another history


def test_a_restart_drops_everything_and_waits_for_a_poll(answers: Answers):
    table = answers.table(0)
    answers.put(TARGET, 0, answer(), "e")
    answers.restart("f", 3)
    assert len(answers) == 0
    assert answers.held == 0
    assert table == {}
    assert answers.table(0) is table, "the edge holds on to it"
    assert not answers.put(TARGET, 0, answer(filled=100), "e"), "a fill of the old history"
    assert not answers.put(TARGET, 0, answer(filled=2), "f"), "below the floor"
    fresh = answer(filled=3)
    assert answers.put(TARGET, 0, fresh, "f")
    assert answers.get(TARGET, 0) is None
    answers.advance(4, 1001, changed=False)
    assert answers.get(TARGET, 0) is fresh


def test_positions_of_the_old_history_do_not_count_in_the_new_one(answers: Answers):
    answers.touch(b"iA", 1_000_000)
    answers.restart("f", 3)
    answers.advance(4, 1001, changed=False)
    answers.put(TARGET, 0, answer(tags=[b"iA"], filled=5), "f")
    assert answers.get(TARGET, 0)


# Degraded


def test_stale_needs_permission_and_ends(answers: Answers, clock: Clock):
    answers.put(TARGET, 0, answer(stale_for=60), "e")
    answers.put(b"/88.1/strict", 0, answer(), "e")
    clock.now = 1060.9
    assert answers.stale(TARGET, 0)
    assert answers.stale(b"/88.1/strict", 0) is None
    clock.now = 1061.0
    assert answers.stale(TARGET, 0) is None
    assert answers.served_stale == 1


def test_what_a_change_has_touched_is_never_served_stale(answers: Answers, clock: Clock):
    answers.put(TARGET, 0, answer(tags=[b"iA"], stale_for=60), "e")
    answers.touch(b"iA", 12)
    answers.advance(13, 1001, changed=True)
    clock.now = 1010.0
    assert answers.stale(TARGET, 0) is None


def test_holds_is_the_same_rule_for_what_is_not_kept(answers: Answers):
    answers.touch(b"iA", 12)
    assert answers.holds([b"iA"], 13, "e")
    assert not answers.holds([b"iA"], 12, "e")
    assert not answers.holds([b"iB"], 4, "e"), "below the floor"
    assert not answers.holds([b"iB"], 13, "other")


# Room


def fill(answers: Answers, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        answers.put(b"/88.1/%d" % number, number % 3, answer(b"x" * 500), "e")


def test_it_never_holds_more_than_its_capacity(clock: Clock):
    store = Answers(50_000, clock)
    store.advance(1, inf, changed=False)
    for number in range(500):
        store.put(b"/88.1/%d" % number, 0, answer(b"x" * 500), "")
        assert store.held <= 50_000
    assert store.evictions == 500 - len(store)
    assert sum(len(store.table(variant)) for variant in range(3)) == len(store)


def test_what_is_asked_for_stays(answers: Answers):
    answers.capacity = 50_000
    for number in range(1000):
        fill(answers, 1, number)
        answers.get(b"/88.1/0", 0)
    assert answers.get(b"/88.1/0", 0)
    assert answers.evictions > 900


def test_a_new_answer_is_not_the_first_to_go(answers: Answers):
    answers.capacity = 50_000
    fill(answers, 1000)
    assert answers.get(b"/88.1/999", 0)
    assert answers.get(b"/88.1/998", 2)


def test_one_eviction_looks_at_a_bounded_number_of_answers(answers: Answers):
    fill(answers, 200)
    for number in range(200):
        answers.get(b"/88.1/%d" % number, number % 3)
    answers.capacity = answers.held
    answers.put(b"/88.1/n", 0, answer(b"x" * 500), "e")
    given = sum(
        entry.seen == -1 for variant in range(3) for entry in answers.table(variant).values()
    )
    assert answers.evictions == 1
    assert given == 33, "32 second chances, and the new one"


def test_replacing_an_answer_counts_its_bytes_once(answers: Answers):
    for length in (100, 5000, 10):
        answers.put(TARGET, 0, answer(b"x" * length), "e")
    alone = Answers(1_000_000, answers.clock)
    alone.put(TARGET, 0, answer(b"x" * 10), "")
    assert len(answers) == 1
    assert answers.held == alone.held


def test_an_answer_larger_than_an_eighth_of_the_store_is_refused(answers: Answers):
    answers.capacity = 10_000
    assert not answers.put(TARGET, 0, answer(b"x" * 1250), "e")
    assert answers.put(TARGET, 0, answer(b"x" * 500), "e")


def test_random_puts_and_gets_keep_the_books(answers: Answers):
    answers.capacity = 20_000
    draw = random.Random(7)
    for _ in range(3000):
        target, variant = b"/88.1/%d" % draw.randrange(200), draw.randrange(4)
        if draw.random() < 0.5:
            answers.get(target, variant)
        else:
            answers.put(target, variant, answer(b"x" * draw.randrange(900)), "e")
    tables = [answers.table(variant) for variant in range(4)]
    kept = [(target, one) for table in tables for target, one in table.items()]
    assert len(answers) == len(kept)
    assert answers.held == sum(len(target) + len(one.tail) + 280 for target, one in kept)


# The bytes


def test_the_two_messages_carry_head_fields_tag_and_length_in_this_order():
    kept = answer(b"body", fields=[(b"link", b"<x>")], etag=b'"1.ab"')
    start, body = kept.asgi()
    assert start == {
        "type": "http.response.start",
        "status": 200,
        "headers": [
            (b"content-type", b"application/json"),
            (b"vary", b"accept"),
            (b"link", b"<x>"),
            (b"etag", b'"1.ab"'),
            (b"content-length", b"4"),
        ],
    }
    assert body == {"type": "http.response.body", "body": b"body"}
    assert kept.asgi("HEAD") == (start, {"type": "http.response.body", "body": b""})


def test_a_304_has_what_rfc_9110_asks_for_and_no_description_of_a_body():
    head = Head(
        200,
        [
            (b"content-type", b"a/b"),
            (b"cache-control", b"no-cache"),
            (b"content-location", b"/x"),
            (b"content-language", b"en"),
        ],
    )
    start, body = Answer(head, b"body", etag=b'"1"').asgi("GET", b'"1"')
    assert start["status"] == 304
    assert start["headers"] == [
        (b"cache-control", b"no-cache"),
        (b"content-location", b"/x"),
        (b"etag", b'"1"'),
    ]
    assert body["body"] == b""


def test_only_a_200_with_a_tag_is_conditional():
    redirect = Answer(Head(307, []), b"", fields=[(b"location", b"https://x")], etag=b'"1"')
    assert redirect.asgi("GET", b'"1"')[0]["status"] == 307
    assert redirect.etag == b""
    assert answer().asgi("GET", b"*")[0]["status"] == 200


def test_instead_replaces_and_adds():
    start, _ = answer().asgi("GET", None, [(b"vary", b"*"), (b"age", b"3")])
    assert start["headers"] == [
        (b"content-type", b"application/json"),
        (b"content-length", b"2"),
        (b"vary", b"*"),
        (b"age", b"3"),
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (b'"1.ab"', True),
        (b'W/"1.ab"', True),
        (b'"x", "1.ab"', True),
        (b'"x",W/"1.ab" , "y"', True),
        (b'"a,b", "1.ab"', True),
        (b"*", True),
        (b" * ", True),
        (b'"1.a"', False),
        (b"1.ab", False),
        (b'w/"1.abc"', False),
        (b'"x, 1.ab"', False),
        (b"", False),
        (b'"', False),
    ],
    ids=repr,
)
def test_if_none_match_is_compared_weakly(given: bytes, expected: bool):
    assert matches(given, b'"1.ab"') is expected


@pytest.mark.parametrize(
    "headers",
    [
        [(b"X-Upper", b"1")],
        [(b"a b", b"1")],
        [(b"", b"1")],
        [(b"a", b"1\r\nset-cookie: x")],
        [(b"a", b"\x00")],
        [(b"a", b"\n")],
    ],
    ids=repr,
)
def test_what_would_split_a_response_is_refused(headers):
    with pytest.raises(ValueError, match="header"):
        Head(200, headers)
    with pytest.raises(ValueError, match="header"):
        Answer(HEAD, b"", fields=headers)


@pytest.mark.parametrize("etag", [b"1", b'W/"1"', b'"1', b'"a"b"', b'"\r\n"'], ids=repr)
def test_a_tag_is_strong_and_quoted(etag: bytes):
    with pytest.raises(ValueError, match="tag"):
        answer(etag=etag)


@pytest.mark.parametrize("status", [100, 199, 204, 304])
def test_an_answer_has_a_body(status: int):
    with pytest.raises(ValueError, match="body"):
        Head(status, [])


@pytest.mark.parametrize(
    "target", [b"88.1/A", b"", b"/a b", b"/a#b", b"/a\r\n", b"/\xc3\xa9", b"http://h/a"], ids=repr
)
def test_a_target_is_one_that_the_parser_passes_on(answers: Answers, target: bytes):
    with pytest.raises(ValueError, match="target"):
        answers.put(target, 0, answer(), "e")


def test_the_target_of_a_scope():
    assert target_of(b"/a%20b", b"") == b"/a%20b"
    assert target_of(b"/a", b"format=jose") == b"/a?format=jose"


def test_properties_read_what_was_given():
    kept = answer(b"body", tags=[b"a", b"b"], filled=2**63, stale_for=86_400, etag=b'"1"')
    assert (kept.status, kept.body, kept.etag) == (200, b"body", b'"1"')
    assert (kept.filled, kept.stale_for) == (2**63, 86_400)
    assert set(kept.buckets) == {bucket(b"a"), bucket(b"b")}
    assert "filled 9223372036854775808" in repr(kept)
    assert "200" in repr(HEAD)


# The date


def test_the_date_is_made_once_a_second(clock: Clock):
    asked = []

    def wall() -> float:
        asked.append(clock.now)
        return WALL + clock.now - 1000

    store = Answers(1000, clock, wall)
    first = store.today()
    clock.now = 1000.7
    assert store.today() is first
    clock.now = 1000.75
    second = store.today()
    assert len(asked) == 2
    for (name, value), seconds in ((first[0], WALL), (second[0], WALL + 1)):
        assert name == b"date"
        assert email.utils.parsedate_to_datetime(value.decode()).timestamp() == int(seconds)
    assert store.date == b"date: %s\r\n" % second[0][1]


def test_a_step_of_the_wall_clock_is_followed_within_a_second(clock: Clock):
    times = [WALL]
    store = Answers(1000, clock, lambda: times[0])
    store.today()
    times[0] -= 3600
    clock.now += 1
    assert email.utils.parsedate_to_datetime(store.today()[0][1].decode()).timestamp() == int(
        WALL - 3600
    )
