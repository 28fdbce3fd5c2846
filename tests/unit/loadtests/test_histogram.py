"""Durations in buckets: never too small, at most 1.6 % too large, at every size."""

import random

import pytest

from loadtests.histogram import Histogram


@pytest.mark.parametrize("value", [0, 1, 127, 128, 129, 255, 256, 1000, 65_535, 10**6, 3 * 10**9])
def test_a_value_reads_back_within_a_bucket(value):
    histogram = Histogram([value, value * 2 + 1])
    found = histogram.percentile(0.5)
    assert value <= found <= value * (1 + 1 / 64)


def test_percentiles_are_those_of_the_sorted_values():
    chance = random.Random(3)
    values = sorted(int(chance.lognormvariate(7, 2)) for _ in range(20_000))
    histogram = Histogram(values)
    for share in (0.001, 0.1, 0.5, 0.9, 0.99, 0.999):
        exact = values[max(0, -(-int(share * 1_000_000) * len(values) // 1_000_000) - 1)]
        assert exact <= histogram.percentile(share) <= exact * (1 + 1 / 64) + 1
    assert histogram.percentile(1) == histogram.largest == values[-1]
    assert histogram.mean == pytest.approx(sum(values) / len(values))


def test_what_is_out_of_range_is_counted():
    histogram = Histogram([-5, 2.0**60])
    assert histogram.total == 2
    assert histogram.percentile(0.5) == 0
    assert histogram.largest == 2**60


def test_two_add_up():
    one, other = Histogram([1, 5000]), Histogram([300])
    one.add(other)
    assert (one.total, one.largest) == (3, 5000)
    assert list(one.buckets()) == list(Histogram([1, 300, 5000]).buckets())


def test_of_nothing():
    assert (Histogram().percentile(0.99), Histogram().mean) == (0, 0)
