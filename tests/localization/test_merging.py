"""Merging against cases worked by hand, and what it must not depend on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vggnet.localization.merging import best_boxes, merge
from vggnet.localization.overfeat_merging import THRESHOLD, match_scores


def test_two_close_boxes_and_a_far_one():
    # sides 10; the first two are sqrt(1 + 1) / 10 = 0.14 apart: their mean, scores added. The third stays.
    edges = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [100, 100, 110, 110]], float)
    merged, rates = merge(edges, np.array([0.25, 0.5, 0.6]), "centroid")
    np.testing.assert_allclose(merged, [[0.5, 0, 10.5, 10], [100, 100, 110, 110]])
    np.testing.assert_allclose(rates, [0.75, 0.6])


def test_many_weak_boxes_that_agree_beat_a_strong_one():
    edges = np.array([[0, 0, 10, 10]] * 4 + [[50, 50, 60, 60]], float)
    merged, rates = merge(edges, np.array([0.3, 0.3, 0.3, 0.3, 0.9]), "centroid")
    np.testing.assert_allclose(merged[0], [0, 0, 10, 10])
    np.testing.assert_allclose(rates, [1.2, 0.9])


def test_the_mean_is_that_of_all_members():
    # 0 and 1 merge first (at 0.5), then 2.5 joins (2 away): the mean of three is 3.5 / 3, not (0.5 + 2.5) / 2
    shifts = np.array([0.0, 1.0, 2.5])[:, None]
    edges = np.array([[0, 0, 10, 10]]) + shifts * np.array([1, 0, 1, 0])
    merged, rates = merge(edges, np.array([0.1, 0.2, 0.3]), "centroid")
    np.testing.assert_allclose(merged, [[3.5 / 3, 0, 10 + 3.5 / 3, 10]])
    np.testing.assert_allclose(rates, [0.6])


def test_greedy_the_closest_pair_first():
    # On a line of boxes with side 10 the threshold is a shift of 5 / sqrt(2) = 3.54. 0 and 3, 3 and 5: the closer pair
    # (3, 5) becomes 4, and 0 is then 4 away: it stays. First come, first merged would give 1.5 and 5.
    edges = np.array([[0, 0, 10, 10], [3, 0, 13, 10], [5, 0, 15, 10]], float)
    merged, rates = merge(edges, np.array([0.5, 0.2, 0.1]), "centroid")
    np.testing.assert_allclose(merged, [[0, 0, 10, 10], [4, 0, 14, 10]])
    np.testing.assert_allclose(rates, [0.5, 0.3])


def test_merging_is_relative_to_the_size_of_the_boxes():
    edges = np.array([[0, 0, 10, 10], [3, 0, 13, 10], [30, 0, 40, 10]], float)
    for factor in (0.1, 1, 50):
        merged, _ = merge(edges * factor, np.array([0.5, 0.2, 0.1]), "centroid")
        np.testing.assert_allclose(merged / factor, [[1.5, 0, 11.5, 10], [30, 0, 40, 10]])


@pytest.mark.parametrize("merging", ["centroid", "overfeat"])
def test_one_box_and_boxes_without_area(merging):
    merged, rates = merge(np.array([[1.0, 2, 3, 4]]), np.array([0.5]), merging)
    assert (merged.tolist(), rates.tolist()) == ([[1, 2, 3, 4]], [0.5])
    merged, rates = merge(np.zeros((3, 4)), np.array([0.1, 0.2, 0.3]), merging)
    np.testing.assert_allclose(merged, [[0, 0, 0, 0]])
    np.testing.assert_allclose(rates, [0.6])


def test_overfeats_match_score_is_the_sum_of_the_centres_distance_and_what_the_boxes_do_not_share():
    box = np.array([0.0, 0, 10, 10])
    others = np.array([[0, 0, 10, 10], [3, 4, 13, 14], [0, 0, 10, 20], [10, 0, 20, 10], [30, 40, 40, 50]], float)
    # distance 5, 7 x 6 of 100 px in common; 5 / sqrt(150) and 100 of 150; neighbours; 50 away
    expected = [0, 0.5 + 1 - 0.42, 5 / 150**0.5 + 1 - 100 / 150, 1 + 1, 5 + 1]
    np.testing.assert_allclose(match_scores(box, others), expected, atol=1e-12)
    np.testing.assert_allclose(match_scores(50 * others, 50 * box), expected, atol=1e-12)


def test_overfeat_averages_the_two_that_merge():
    # 0 and 1 become 0.5 (score 0.2); 2.5 is 2 away (0.4) and joins: (0.5 + 2.5) / 2, where centroid has 3.5 / 3
    shifts = np.array([0.0, 1.0, 2.5])[:, None]
    edges = np.array([[0, 0, 10, 10]]) + shifts * np.array([1, 0, 1, 0])
    merged, rates = merge(edges, np.array([0.1, 0.2, 0.3]), "overfeat")
    np.testing.assert_allclose(merged, [[1.5, 0, 11.5, 10]])
    np.testing.assert_allclose(rates, [0.6])


def test_overfeat_is_the_default_and_merges_each_class_alone():
    generator = np.random.default_rng(3)
    corner = generator.uniform(0, 60, (40, 3, 2))  # (P, T, 2)
    edges = np.concatenate([corner, corner + generator.uniform(10, 60, (40, 3, 2))], 2)
    edges[:, 1] = edges[:1, 1]  # one class whose boxes all merge, while the others go on
    scores = generator.uniform(0.1, 1, (40, 3))
    boxes, rates = best_boxes(edges, scores)
    for place in range(3):
        expected = _overfeat_by_its_steps(edges[:, place].tolist(), scores[:, place].tolist())[-1]
        np.testing.assert_allclose([rates[place], *boxes[place]], expected)


def test_overfeat_stops_where_the_smallest_score_exceeds_the_threshold():
    for shift, left in ((3.4, 1), (3.6, 2)):  # 0.68 and 0.72
        edges = np.array([[0, 0, 10, 10], [shift, 0, 10 + shift, 10]])
        merged, rates = merge(edges, np.array([0.5, 0.25]), "overfeat")
        assert (len(merged), rates.sum()) == (left, 0.75)
    # two boxes around one centre, of sides 10 and 20: the distance is 0, the score 1 - 100 / 250 = 0.6
    merged, _ = merge(np.array([[0.0, 0, 20, 20], [5, 5, 15, 15]]), np.array([0.5, 0.25]), "overfeat")
    np.testing.assert_allclose(merged, [[2.5, 2.5, 17.5, 17.5]])


def _overfeat_by_its_steps(edges: list, scores: list) -> list:
    """Steps (d) to (g) of OverFeat's Sect. 4.3, pair by pair in plain Python: sorted [rate, left, top, ...]."""

    def score(one, other):
        (l, t, r, b), (x, y, z, w) = one, other
        mean_area = ((r - l) * (b - t) + (z - x) * (w - y)) / 2
        common = max(0, min(r, z) - max(l, x)) * max(0, min(b, w) - max(t, y))
        distance = ((l + r - x - z) ** 2 + (t + b - y - w) ** 2) ** 0.5 / 2
        return distance / mean_area**0.5 + 1 - common / mean_area

    boxes = [(list(map(float, edge)), float(rate)) for edge, rate in zip(edges, scores, strict=True)]
    while len(boxes) > 1:
        pairs = [(score(boxes[i][0], boxes[j][0]), i, j) for j in range(len(boxes)) for i in range(j)]
        least, i, j = min(pairs)
        if least > THRESHOLD:
            break
        (one, first), (other, second) = boxes[i], boxes[j]
        merged = ([(a + b) / 2 for a, b in zip(one, other, strict=True)], first + second)
        boxes = [box for place, box in enumerate(boxes) if place not in (i, j)] + [merged]
    return sorted([rate, *edge] for edge, rate in boxes)


@pytest.mark.parametrize("count", [2, 9, 33, 40])
def test_overfeat_is_its_published_steps(count):
    for seed in range(5):
        generator = np.random.default_rng(seed)
        corner = generator.uniform(0, 60, (count, 2))
        edges = np.concatenate([corner, corner + generator.uniform(10, 60, (count, 2))], 1)
        scores = generator.uniform(0.1, 1, count)
        merged, rates = merge(edges, scores, "overfeat")
        found = sorted([rate, *edge] for edge, rate in zip(merged.tolist(), rates.tolist(), strict=True))
        np.testing.assert_allclose(found, _overfeat_by_its_steps(edges.tolist(), scores.tolist()))


def _centroid_by_its_steps(edges: np.ndarray, scores: np.ndarray) -> list:
    """Closest pair by pair, each merged box the mean of its members: sorted [rate, left, top, ...]."""
    sides = np.sqrt((edges[:, 2] - edges[:, 0]) * (edges[:, 3] - edges[:, 1]))
    groups = [[place] for place in range(len(edges))]
    while len(groups) > 1:
        means = [edges[group].mean(0) for group in groups]
        pairs = [(np.linalg.norm(means[i] - means[j]), i, j) for j in range(len(groups)) for i in range(j)]
        least, i, j = min(pairs)
        if least >= 0.5 * np.median(sides):
            break
        groups = [group for place, group in enumerate(groups) if place not in (i, j)] + [groups[i] + groups[j]]
    return sorted([scores[group].sum(), *edges[group].mean(0)] for group in groups)


@pytest.mark.parametrize("count", [2, 9, 40])
def test_centroid_is_the_same_pair_by_pair(count):
    for seed in range(5):
        generator = np.random.default_rng(seed)
        corner = generator.uniform(0, 60, (count, 2))
        edges = np.concatenate([corner, corner + generator.uniform(10, 60, (count, 2))], 1)
        scores = generator.uniform(0.1, 1, count)
        merged, rates = merge(edges, scores, "centroid")
        found = sorted([rate, *edge] for edge, rate in zip(merged.tolist(), rates.tolist(), strict=True))
        np.testing.assert_allclose(found, _centroid_by_its_steps(edges, scores))


@pytest.mark.parametrize("merging", ["centroid", "overfeat"])
@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 30))
def test_the_order_of_the_input_does_not_matter(merging, seed, count):
    generator = np.random.default_rng(seed)
    corner = generator.integers(0, 12, (count, 2)).astype(float)  # whole numbers: many pairs are equally far apart
    edges = np.concatenate([corner, corner + generator.integers(4, 9, (count, 2))], 1)
    scores = generator.permutation(count) / count + 0.01
    order = generator.permutation(count)
    merged, rates = merge(edges, scores, merging)
    again, rates_again = merge(edges[order], scores[order], merging)
    np.testing.assert_array_equal(merged, again)
    np.testing.assert_array_equal(rates, rates_again)
    assert rates.sum() == pytest.approx(scores.sum())
    assert (np.diff(rates) <= 0).all()


def test_each_class_is_merged_alone():
    edges = np.array([[[0, 0, 10, 10], [50, 0, 60, 10]], [[2, 0, 12, 10], [90, 0, 99, 10]]], float)  # (P, T, 4)
    boxes, rates = best_boxes(edges, np.array([[0.1, 0.2], [0.3, 0.4]]), "centroid")
    np.testing.assert_allclose(boxes, [[1, 0, 11, 10], [90, 0, 99, 10]])
    np.testing.assert_allclose(rates, [0.4, 0.4])
    boxes, rates = best_boxes(edges, np.array([[0.1, 0.2], [0.3, 0.4]]))
    np.testing.assert_allclose(boxes, [[1, 0, 11, 10], [90, 0, 99, 10]])
