"""Merge close boxes greedily (App. A, after OverFeat), and rate a merged box by the class scores of its members.

The boxes are those of one class in one image. The two closest boxes are merged, until the closest ones are too far
apart. The rate of a merged box is the sum of the class scores of its members, so that a box which many windows agree on
is rated higher than a single one. The ways of merging differ in the distance and in the merged box:

    centroid   distance: Euclidean between (left, top, right, bottom), in units of the boxes' typical side (the median
               of the roots of their areas); a merged box is the mean of all boxes in it
    overfeat   Sermanet et al. (2013, arXiv 1312.6229, Sect. 4.3), which App. A refers to: the match score is the sum of
               the centres' distance and the boxes' intersection; a merged box is the mean of the two that merge

Notable:
- OverFeat names no unit, no threshold, and no sign: taken by its words, boxes that share much are far apart. Here the
  match score of two boxes is d / s + (1 - I / s^2): d the distance of the centres, I the intersection, s^2 the mean of
  the two areas. It is 0 for equal boxes, 1 and more for separate ones, and 2 x for boxes of one size that are moved by
  the part x of their side along one axis.
- centroid is agglomerative clustering with centroid linkage, which SciPy computes in C. overfeat's match score depends
  on more than the places of two points, so it has a loop of its own.
- Boxes are sorted first (by score, then by place), so that the order of the input does not matter.

Shapes: n boxes, m merged ones, T classes of an image, P positions.
"""

import numpy as np

from vggnet.errors import is_installed, missing_package
from vggnet.localization.boxes import area
from vggnet.localization.overfeat_merging import merge_pairs
from vggnet.options.choices import Merging

# Two boxes of one size, moved against each other along one axis, are at 0.5 when they overlap by 0.48.
MERGING_DISTANCE = 0.5


def check_installed(merging: Merging) -> None:
    """Raise UserError where the package that a way of merging needs is not installed."""
    if merging == "centroid" and not is_installed("scipy"):
        raise missing_package("`merging` centroid", "scipy", "localize")


def merge(edges: np.ndarray, scores: np.ndarray, merging: Merging = "overfeat") -> tuple[np.ndarray, np.ndarray]:
    """Merge boxes of one class: edges (n, 4), scores (n,) -> merged edges (m, 4) and rates (m,), the best first."""
    return _merge_classes(edges[None], scores[None], merging)[0]


def best_boxes(edges: np.ndarray, scores: np.ndarray, merging: Merging = "overfeat") -> tuple[np.ndarray, np.ndarray]:
    """Return the best merged box of each class of an image: edges (P, T, 4), scores (P, T) -> (T, 4), rates (T,)."""
    merged = _merge_classes(edges.swapaxes(0, 1), scores.T, merging)
    return np.stack([boxes[0] for boxes, _ in merged]), np.array([rates[0] for _, rates in merged])


def _merge_classes(edges: np.ndarray, scores: np.ndarray, merging: Merging) -> list[tuple[np.ndarray, np.ndarray]]:
    """Merge the boxes of each class separately: edges (T, n, 4), scores (T, n) -> for each what `merge` returns."""
    order = np.stack([np.lexsort((*each.T, -rated)) for each, rated in zip(edges, scores, strict=True)])
    edges, scores = np.take_along_axis(edges, order[..., None], 1), np.take_along_axis(scores, order, 1)
    if merging == "overfeat":
        found = merge_pairs(edges, scores)
    else:
        found = [_by_centroid(each, rated) for each, rated in zip(edges, scores, strict=True)]
    result = []
    for merged, rates in found:
        best = np.lexsort((*merged.T, -rates))
        result.append((merged[best], rates[best]))
    return result


def _by_centroid(edges: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    group = _groups(edges)
    counts = np.bincount(group)
    merged = np.stack([np.bincount(group, edges[:, side]) for side in range(4)], 1) / counts[:, None]
    return merged, np.bincount(group, scores)


def _groups(edges: np.ndarray) -> np.ndarray:
    """Return the merged box (0 to m - 1) that each of n boxes goes into, (n,)."""
    count = len(edges)
    if count < 2:
        return np.zeros(count, np.int64)
    unit = max(float(np.median(np.sqrt(area(edges)))), 1e-9)
    from scipy.cluster.hierarchy import linkage  # not above: only this way of merging needs SciPy

    steps = linkage(edges / unit, "centroid")  # row i: which two became box n + i, at which distance
    far = np.flatnonzero(steps[:, 2] >= MERGING_DISTANCE)
    done = int(far[0]) if len(far) else len(steps)  # greedy: it ends at the first pair that is too far apart
    box = np.arange(count + done)  # from the last step back: the merged box that each box ends in
    for step in range(done - 1, -1, -1):
        box[steps[step, :2].astype(np.int64)] = box[count + step]
    return np.unique(box[:count], return_inverse=True)[1]
