"""Compute average precision in both forms of the PASCAL VOC devkit.

    11 points   VOC 2007: the mean, over recalls 0, 0.1, ..., 1, of the largest precision at that recall or a higher one
    area        VOC 2010 on: the area under the precision made monotonous, summed where recall changes

Images marked difficult (target 0) count neither as right nor as wrong. Equal scores keep the order of the images, as in
the devkit. Neither form is scikit-learn's average_precision_score, which does not interpolate.
"""

import math

import numpy as np

POINTS = 11


def average_precisions(scores: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Return the average precision in both forms (11 points, area), 0 to 1; NaN without a positive image.

    `scores` (n,) are any numbers; `targets` (n,) are 1, -1, or 0 for difficult.
    """
    recall, precision = precision_recall(scores, targets)
    if not len(recall):
        return math.nan, math.nan
    return eleven_points(recall, precision), area(recall, precision)


def precision_recall(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return recall and precision after each image that counts, by falling score; empty without a positive image."""
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    ranked = np.asarray(targets)[order]
    ranked = ranked[ranked != 0]
    positives = int((ranked > 0).sum())
    if not positives:
        return np.empty(0), np.empty(0)
    right = np.cumsum(ranked > 0)
    return right / positives, right / np.arange(1, len(ranked) + 1)


def eleven_points(recall: np.ndarray, precision: np.ndarray) -> float:
    """Return the form of VOC 2007: the mean of the interpolated precision at recalls 0, 0.1, ..., 1."""
    reached = [precision[recall >= point / (POINTS - 1)] for point in range(POINTS)]
    return sum(float(each.max()) if len(each) else 0.0 for each in reached) / POINTS


def area(recall: np.ndarray, precision: np.ndarray) -> float:
    """Return the form of VOC 2010 and later: the area under the interpolated precision."""
    recall = np.concatenate([[0.0], recall, [1.0]])
    precision = np.concatenate([[0.0], precision, [0.0]])
    monotonous = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.flatnonzero(recall[1:] != recall[:-1])
    return float(((recall[steps + 1] - recall[steps]) * monotonous[steps + 1]).sum())
