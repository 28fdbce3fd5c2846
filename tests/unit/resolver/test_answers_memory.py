"""What a kept answer costs besides its body, counted object by object."""

import sys
from math import inf

from resolver.answers import Answer, Answers, Head

GC_HEADER = 16
COUNT = 20_000
HEAD = Head(200, [(b"content-type", b"application/json")])


def size(thing: object) -> int:
    """The allocation of an object, rounded as the allocator does."""
    return -(-sys.getsizeof(thing) // 16) * 16


def overhead(store: Answers) -> float:
    """Bytes per answer beyond its body: objects, key, table and ring, nothing shared."""
    table, ring = store.table(0), store._ring
    total = sys.getsizeof(table) + sys.getsizeof(ring._targets) + sys.getsizeof(ring._variants)
    for target, answer in table.items():
        total += sum(map(size, (target, answer.tail, answer.needs))) - len(answer.body)
        total += size(answer)  # with its GC header, which getsizeof counts
        total += 0 if answer.expires == inf else size(answer.expires)
        assert answer.body_at <= 256, "a small number is no object of its own"
        assert answer.seen is store.generation or answer.seen == -1
    return total / len(table)


def test_an_answer_costs_at_most_400_bytes_beyond_its_body():
    store = Answers(1 << 30)
    store.advance(1, inf, changed=False)
    for number in range(COUNT):
        tags = [b"%d.%d" % (number, nth) for nth in range(7)]  # record, class, rules, four prefixes
        target = b"/88.100.1234/BAT.2026.%08d" % number
        kept = Answer(HEAD, b"x" * 600, etag=b'"12.0123456789abcdef"', tags=tags, filled=2**40)
        store.put(target, 0, kept, "")
    assert len(store) == COUNT
    assert overhead(store) <= 400


def test_with_an_expiry_and_a_path_as_long_as_they_come_it_is_a_few_bytes_more():
    store = Answers(1 << 30)
    for number in range(COUNT):
        tags = [b"%d.%d" % (number, nth) for nth in range(6)]
        kept = Answer(
            HEAD, b"x", etag=b'"1.0123456789abcdef"', tags=tags, filled=1, expires=number + 0.5
        )
        store.put(b"/88.100.1234/BAT.2026.%08d" % number, 0, kept, "")
    assert overhead(store) <= 420


def test_the_books_are_near_the_truth():
    store = Answers(1 << 30)
    for number in range(COUNT):
        tags = [b"%d.%d" % (number, nth) for nth in range(6)]
        kept = Answer(HEAD, b"x" * 600, etag=b'"1.0123456789abcdef"', tags=tags, filled=1)
        store.put(b"/88.100.1234/BAT.2026.%08d" % number, 0, kept, "")
    true = COUNT * (600 + overhead(store))
    assert 0.95 < store.held / true < 1.05
