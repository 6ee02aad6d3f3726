"""VOC's average precisions against the devkit's own loops, written out."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vggnet.transfer_learning.average_precision import average_precisions


def devkit(scores: list[float], targets: list[int]) -> tuple[float, float]:
    """VOCevalcls.m (2007) and VOCap.m (2010), line by line."""
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    right = wrong = 0
    positives = sum(target > 0 for target in targets)
    recall, precision = [], []
    for index in order:
        right += targets[index] > 0
        wrong += targets[index] < 0
        recall.append(right / positives)
        precision.append(right / (right + wrong) if right + wrong else math.nan)
    eleven = 0.0
    for point in range(11):
        reached = [p for r, p in zip(recall, precision, strict=True) if r >= point / 10 and not math.isnan(p)]
        eleven += max(reached, default=0.0) / 11
    mrec, mpre = [0.0, *recall, 1.0], [0.0, *(0.0 if math.isnan(p) else p for p in precision), 0.0]
    for i in range(len(mpre) - 2, -1, -1):
        mpre[i] = max(mpre[i], mpre[i + 1])
    area = sum((mrec[i] - mrec[i - 1]) * mpre[i] for i in range(1, len(mrec)) if mrec[i] != mrec[i - 1])
    return eleven, area


ranked = st.lists(st.tuples(st.integers(0, 20), st.sampled_from([1, -1, 0])), min_size=1, max_size=40)


@given(ranked)
def test_both_forms_count_as_the_devkit_does(images: list[tuple[int, int]]) -> None:
    scores, targets = [float(score) for score, _ in images], [target for _, target in images]
    found = average_precisions(np.array(scores), np.array(targets))
    if 1 not in targets:
        assert all(math.isnan(each) for each in found)
    else:
        assert found == pytest.approx(devkit(scores, targets))


def test_by_hand() -> None:
    # right, wrong, right, and one difficult image that is as if it were not there: recall 1/2, 1; precision 1, 2/3
    eleven, area = average_precisions(np.array([4.0, 3.5, 3.0, 2.0]), np.array([1, 0, -1, 1]))
    assert area == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert eleven == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)


def test_a_perfect_ranking_is_one_and_the_worst_is_not_zero() -> None:
    targets = np.array([1, 1, -1, -1])
    assert average_precisions(np.array([4.0, 3, 2, 1]), targets) == pytest.approx((1, 1))
    assert average_precisions(np.array([1.0, 2, 3, 4]), targets)[1] == pytest.approx(0.5)
