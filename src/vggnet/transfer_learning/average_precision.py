"""Average precision as the PASCAL VOC devkit counts it, in both of its forms.

    11 points   VOC 2007: the mean, over recalls 0, 0.1, ..., 1, of the largest precision at that recall or a higher one
    area        VOC 2010 on: the area under the precision made monotonous, summed where recall changes

Notable: images marked difficult (target 0) count neither as right nor as wrong. Ties are broken by place, as the
devkit's stable sort does. Neither form is scikit-learn's average_precision_score, which does not interpolate.
"""

import math

import numpy as np

POINTS = 11


def average_precisions(scores: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """(11-point, area) average precision, 0 to 1, of scores (n,) and targets (n,) of 1, -1, or 0 for difficult.

    Not a number where there is no positive image.
    """
    recall, precision = precision_recall(scores, targets)
    if not len(recall):
        return math.nan, math.nan
    return eleven_points(recall, precision), area(recall, precision)


def precision_recall(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(recall, precision) after each image that counts, the best scored first; empty without a positive image."""
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    ranked = np.asarray(targets)[order]
    ranked = ranked[ranked != 0]
    positives = int((ranked > 0).sum())
    if not positives:
        return np.empty(0), np.empty(0)
    right = np.cumsum(ranked > 0)
    return right / positives, right / np.arange(1, len(ranked) + 1)


def eleven_points(recall: np.ndarray, precision: np.ndarray) -> float:
    """VOC 2007's."""
    reached = [precision[recall >= point / (POINTS - 1)] for point in range(POINTS)]
    return sum(float(each.max()) if len(each) else 0.0 for each in reached) / POINTS


def area(recall: np.ndarray, precision: np.ndarray) -> float:
    """VOC 2010's."""
    recall = np.concatenate([[0.0], recall, [1.0]])
    precision = np.concatenate([[0.0], precision, [0.0]])
    monotonous = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.flatnonzero(recall[1:] != recall[:-1])
    return float(((recall[steps + 1] - recall[steps]) * monotonous[steps + 1]).sum())
