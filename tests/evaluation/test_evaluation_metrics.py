"""Errors, intervals and the paired test, against arithmetic by hand."""

import math

import numpy as np
import pytest

from vggnet.errors import UserError
from vggnet.evaluation.metrics import Count, Errors, combine, compare, count_errors, ranks, wilson


def test_places_by_hand():
    posteriors = np.array([[0.1, 0.6, 0.3], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]], np.float32)
    assert ranks(posteriors, np.array([1, 2, 0])).tolist() == [0, 2, 1]


def test_equal_posteriors_are_at_chance():
    posteriors = np.full((10, 10), 0.1, np.float32)
    errors = count_errors(posteriors, np.arange(10))
    assert errors == Errors(Count(9, 10), Count(5, 10))


def test_diverged_nets_are_not_right():
    with pytest.raises(UserError, match="diverged"):
        ranks(np.full((2, 3), np.nan, np.float32), np.array([0, 1]))


def test_counts_of_shards_add_up():
    rng = np.random.default_rng(0)
    posteriors, labels = rng.random((100, 12)), rng.integers(0, 12, 100)
    parts = [count_errors(posteriors[s], labels[s]) for s in (slice(0, 7), slice(7, 60), slice(60, 100))]
    whole = count_errors(posteriors, labels)
    assert sum(part.top1.wrong for part in parts) == whole.top1.wrong
    assert sum(part.top5.wrong for part in parts) == whole.top5.wrong
    assert sum(part.top1.images for part in parts) == whole.top1.images == 100


def test_fewer_than_five_classes_have_no_top5():
    assert count_errors(np.eye(4), np.arange(4)) == Errors(Count(0, 4), None)


def test_wilson_by_hand():
    # 10 of 100: (0.1 + z^2/200 -+ z sqrt(0.0009 + z^2/40000)) / (1 + z^2/100), z = 1.96: 0.0552 to 0.1744
    low, high = wilson(10, 100)
    assert (round(low, 4), round(high, 4)) == (0.0552, 0.1744)
    assert wilson(0, 50)[0] == 0
    assert wilson(50, 50)[1] == 1
    assert wilson(0, 0) == (0, 1)


def test_a_count_in_words():
    assert Count(570, 2000).describe() == "28.5 % (95 % interval 26.6 to 30.5), 570 of 2,000 images wrong"
    assert math.isnan(Count().rate)


def test_paired_test_by_hand():
    # only the first wrong: 8 images, only the second: 1. Two-sided binomial of 1 in 9: 2 * (1 + 9) / 512
    first = np.array([True] * 8 + [False] + [True] * 5 + [False] * 5)
    second = np.array([False] * 8 + [True] + [True] * 5 + [False] * 5)
    test = compare(first, second)
    assert (test.only_first_wrong, test.only_second_wrong) == (8, 1)
    assert test.p_value == pytest.approx(20 / 512)
    assert test.significant
    assert compare(first, first).p_value == 1
    assert compare(np.array([True, False]), np.array([False, True])).p_value == 1  # as many on both sides


def test_combination_is_the_mean():
    assert combine(iter([np.array([[0.0, 1.0]]), np.array([[0.5, 0.5]])])).tolist() == [[0.25, 0.75]]


def test_a_count_is_written_in_one_way():
    assert Count(570, 2000).cell() == "28.5 [26.6, 30.5]"
    assert Count().cell() == "-"
    values = Count(570, 2000).to_dict()
    assert (round(values["error"], 9), values["wrong"], values["images"]) == (28.5, 570, 2000)
    assert [round(values[end], 1) for end in ("low", "high")] == [26.6, 30.5]
    assert Count().to_dict() == {"error": None, "low": 0.0, "high": 100.0, "wrong": 0, "images": 0}
    assert Errors(Count(1, 2), None).to_dict() == {"top1": Count(1, 2).to_dict(), "top5": None}
