"""Compute the errors of boxes without a net, which a box net must beat.

The baselines are the whole image, the one box that is right for most training images, and each class's mean and best
box. Boxes are relative to their image, so that one box fits images of any size.

Shapes: B boxes, N images, K classes.
"""

from itertools import product

import numpy as np

from vggnet.evaluation.metrics import Count
from vggnet.localization.boxes import CORRECT_IOU, area, iou
from vggnet.localization.objects import Objects

_GRID = np.arange(0, 9) / 16  # distances of a side from its border, relative to the image
_SAMPLE = 4000  # training boxes that the grid is tried on
_STEPS = (1 / 32, 1 / 64, 1 / 128)  # of the search around the best of the grid


def baselines(train: Objects, val: Objects, classes: int) -> dict[str, Count]:
    """Return the wrong images of `val` by baseline; all boxes but the whole image follow from `train`."""
    boxes, labels = _relative(train)
    counts = np.maximum(np.bincount(labels, minlength=classes), 1)[:, None]
    means = np.stack([np.bincount(labels, boxes[:, side], classes) for side in range(4)], 1) / counts
    best, by_class = _best_boxes(boxes, labels, classes)
    every = np.ones(len(val), np.int64)[:, None]
    return {
        "whole image": _wrong(val, every * np.array([0.0, 0.0, 1.0, 1.0])),
        "best constant box": _wrong(val, every * best),
        "each class's mean box": _wrong(val, means[val.labels]),
        "each class's best box": _wrong(val, by_class[val.labels]),
    }


def _relative(objects: Objects) -> tuple[np.ndarray, np.ndarray]:
    """Return all boxes in units of their images, (B, 4), and their classes, (B,)."""
    sizes = np.repeat(objects.sizes, objects.counts, 0)
    return objects.edges / np.concatenate([sizes, sizes], 1), np.repeat(objects.labels, objects.counts)


def _wrong(val: Objects, boxes: np.ndarray) -> Count:
    """Count the images of `val` that `boxes` (N, 4), relative to the images, are wrong for."""
    edges = boxes * np.concatenate([val.sizes, val.sizes], 1)
    right = iou(edges[:, None], val.padded()).max(1) > CORRECT_IOU
    return Count(int((~right).sum()), len(val))


def _best_boxes(boxes: np.ndarray, labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the box (4,) that is right for most of `boxes`, and that of each class (K, 4): by a grid, then steps."""
    sample = np.random.default_rng(0).permutation(len(boxes))[:_SAMPLE]
    right, tries = _right_by_class(boxes[sample], labels[sample], classes)
    best = _refined(tries[right.sum(1).argmax()], boxes)
    by_class = np.tile(best, (classes, 1))
    for label in np.unique(labels).tolist():
        by_class[label] = _refined(tries[right[:, label].argmax()], boxes[labels == label])
    return best, by_class


def _right_by_class(boxes: np.ndarray, labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for how many boxes of each class each box of the grid is right, and the grid, (G, 4): (G, K).

    An intersection is the product of one in x and one in y, which are computed once for each pair of sides.
    """
    sides = np.array([(low, 1 - high) for low, high in product(_GRID, repeat=2) if 1 - high > low])
    member = np.zeros((len(labels), classes), np.float32)
    member[np.arange(len(labels)), labels] = 1
    common = []
    for axis in range(2):
        low, high = boxes[None, :, axis], boxes[None, :, axis + 2]
        along = np.minimum(sides[:, 1:], high) - np.maximum(sides[:, :1], low)
        common.append(np.clip(along, 0, None).astype(np.float32))
    lengths = (sides[:, 1] - sides[:, 0]).astype(np.float32)
    areas = area(boxes).astype(np.float32)
    right, grid = [], []
    for place, (left, end) in enumerate(sides.tolist()):  # one column of the grid at a time
        inner = common[0][place] * common[1]
        union = (lengths[place] * lengths)[:, None] + areas - inner
        right.append((inner > CORRECT_IOU * union).astype(np.float32) @ member)
        grid.append([(left, top, end, bottom) for top, bottom in sides.tolist()])
    return np.concatenate(right), np.array(grid).reshape(-1, 4)


def _refined(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return `box` after moving one side at a time, as long as it gets right for more of `boxes`."""
    most = (iou(box, boxes) > CORRECT_IOU).sum()
    for step in _STEPS:
        going = True
        while going:
            tries = np.clip(box + np.concatenate([np.eye(4), -np.eye(4)]) * step, 0, 1)
            right = (iou(tries[:, None], boxes) > CORRECT_IOU).sum(1)
            going = bool(right.max() > most)
            if going:
                most, box = right.max(), tries[right.argmax()]
    return box
