"""The draw: Zipf's law over what exists, with a share of what does not."""

import random
from collections import Counter

import pytest

from loadtests.keys import Draw, Zipf, path_of

NAMES = [f"88.1/N-{number:04d}" for number in range(1000)]


def test_the_most_frequent_are_as_frequent_as_their_ranks_say():
    zipf, chance = Zipf(NAMES, skew=1.0), random.Random(7)
    drawn = Counter(zipf.draw(chance) for _ in range(60_000))
    whole = sum(1 / rank for rank in range(1, 1001))
    for rank in (1, 2, 3, 10):
        expected = 60_000 / rank / whole
        assert drawn[zipf.ranked[rank - 1]] == pytest.approx(expected, rel=0.12)
    top = sum(count for _, count in drawn.most_common(100)) / 60_000
    assert 0.65 < top < 0.73  # a tenth of the identifiers, seven tenths of the traffic


def test_the_hot_ones_are_not_the_first_ones_and_the_same_everywhere():
    assert Zipf(NAMES).ranked == Zipf(list(NAMES)).ranked
    assert Zipf(NAMES).ranked[:20] != NAMES[:20]


def test_without_skew_all_are_equal():
    zipf, chance = Zipf(NAMES[:10], skew=0), random.Random(5)
    drawn = Counter(zipf.draw(chance) for _ in range(20_000))
    assert min(drawn.values()) > 1_800


@pytest.mark.parametrize("misses", [0.0, 0.03])
def test_the_share_of_misses(misses):
    drawn = Draw(Zipf(NAMES), misses, seed=2).many(20_000)
    missed = [name for name, exists in drawn if not exists]
    assert len(missed) == pytest.approx(20_000 * misses, rel=0.15)
    assert not set(missed) & set(NAMES)
    assert {name for name, exists in drawn if exists} <= set(NAMES)


def test_a_seed_repeats_itself_and_no_other():
    zipf = Zipf(NAMES)
    one, again, other = (Draw(zipf, seed=seed).many(50) for seed in (1, 1, 2))
    assert one == again != other


def test_nothing_to_ask_for_is_refused():
    with pytest.raises(ValueError, match="no identifier"):
        Zipf([])


def test_paths_are_escaped():
    assert path_of("88.1/a b/电") == "/88.1/a%20b/%E7%94%B5"
