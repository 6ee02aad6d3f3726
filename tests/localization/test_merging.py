"""Merging against cases worked by hand, and what it must not depend on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vggnet.localization.merging import best_boxes, merge


def test_two_close_boxes_and_a_far_one():
    # sides 10; the first two are sqrt(1 + 1) / 10 = 0.14 apart: their mean, scores added. The third stays.
    edges = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [100, 100, 110, 110]], float)
    merged, rates = merge(edges, np.array([0.25, 0.5, 0.6]))
    np.testing.assert_allclose(merged, [[0.5, 0, 10.5, 10], [100, 100, 110, 110]])
    np.testing.assert_allclose(rates, [0.75, 0.6])


def test_many_weak_boxes_that_agree_beat_a_strong_one():
    edges = np.array([[0, 0, 10, 10]] * 4 + [[50, 50, 60, 60]], float)
    merged, rates = merge(edges, np.array([0.3, 0.3, 0.3, 0.3, 0.9]))
    np.testing.assert_allclose(merged[0], [0, 0, 10, 10])
    np.testing.assert_allclose(rates, [1.2, 0.9])


def test_the_mean_is_that_of_all_members():
    # 0 and 1 merge first (at 0.5), then 2.5 joins (2 away): the mean of three is 3.5 / 3, not (0.5 + 2.5) / 2
    shifts = np.array([0.0, 1.0, 2.5])[:, None]
    edges = np.array([[0, 0, 10, 10]]) + shifts * np.array([1, 0, 1, 0])
    merged, rates = merge(edges, np.array([0.1, 0.2, 0.3]))
    np.testing.assert_allclose(merged, [[3.5 / 3, 0, 10 + 3.5 / 3, 10]])
    np.testing.assert_allclose(rates, [0.6])


def test_greedy_the_closest_pair_first():
    # On a line of boxes with side 10 the threshold is a shift of 5 / sqrt(2) = 3.54. 0 and 3, 3 and 5: the closer pair
    # (3, 5) becomes 4, and 0 is then 4 away: it stays. First come, first merged would give 1.5 and 5.
    edges = np.array([[0, 0, 10, 10], [3, 0, 13, 10], [5, 0, 15, 10]], float)
    merged, rates = merge(edges, np.array([0.5, 0.2, 0.1]))
    np.testing.assert_allclose(merged, [[0, 0, 10, 10], [4, 0, 14, 10]])
    np.testing.assert_allclose(rates, [0.5, 0.3])


def test_merging_is_relative_to_the_size_of_the_boxes():
    edges = np.array([[0, 0, 10, 10], [3, 0, 13, 10], [30, 0, 40, 10]], float)
    for factor in (0.1, 1, 50):
        merged, _ = merge(edges * factor, np.array([0.5, 0.2, 0.1]))
        np.testing.assert_allclose(merged / factor, [[1.5, 0, 11.5, 10], [30, 0, 40, 10]])


def test_one_box_and_boxes_without_area():
    merged, rates = merge(np.array([[1.0, 2, 3, 4]]), np.array([0.5]))
    assert (merged.tolist(), rates.tolist()) == ([[1, 2, 3, 4]], [0.5])
    merged, rates = merge(np.zeros((3, 4)), np.array([0.1, 0.2, 0.3]))
    np.testing.assert_allclose(merged, [[0, 0, 0, 0]])
    np.testing.assert_allclose(rates, [0.6])


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(2, 30))
def test_the_order_of_the_input_does_not_matter(seed, count):
    generator = np.random.default_rng(seed)
    corner = generator.integers(0, 12, (count, 2)).astype(float)  # whole numbers: many pairs are equally far apart
    edges = np.concatenate([corner, corner + generator.integers(4, 9, (count, 2))], 1)
    scores = generator.permutation(count) / count + 0.01
    order = generator.permutation(count)
    merged, rates = merge(edges, scores)
    again, rates_again = merge(edges[order], scores[order])
    np.testing.assert_array_equal(merged, again)
    np.testing.assert_array_equal(rates, rates_again)
    assert rates.sum() == pytest.approx(scores.sum())
    assert (np.diff(rates) <= 0).all()


def test_each_class_is_merged_alone():
    edges = np.array([[[0, 0, 10, 10], [50, 0, 60, 10]], [[2, 0, 12, 10], [90, 0, 99, 10]]], float)  # (P, T, 4)
    boxes, rates = best_boxes(edges, np.array([[0.1, 0.2], [0.3, 0.4]]))
    np.testing.assert_allclose(boxes, [[1, 0, 11, 10], [90, 0, 99, 10]])
    np.testing.assert_allclose(rates, [0.4, 0.4])
