"""Greedy merging of boxes (App. A, after OverFeat): close ones become one, rated by the class scores they gather.

Of one class's boxes in one image the two closest become one, as long as they are closer than a threshold; a merged box
is the mean of all boxes in it. Its rate is the sum of their class scores, so that a box which many windows agree on is
rated higher than a stray one. Distance is Euclidean between (left, top, right, bottom), in units of the boxes' typical
side (the median of the roots of their areas), so that merging does not depend on the size of object or image.

Notable: this is agglomerative clustering with centroid linkage, which SciPy computes in C. Boxes are sorted first (by
score, then by place), so that the order of the input does not matter.

Shapes: n boxes, m merged ones, T classes of an image, P positions.
"""

import numpy as np
from scipy.cluster.hierarchy import linkage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from vggnet.images.boxes import area

# Two boxes of one size, moved against each other along one axis, are at 0.5 when they overlap by 0.48.
MERGING_DISTANCE = 0.5


def merge(edges: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merge boxes of one class: edges (n, 4), scores (n,) -> merged edges (m, 4) and rates (m,), the best first."""
    order = np.lexsort((*edges.T, -scores))
    edges, scores = edges[order], scores[order]
    group = _groups(edges)
    counts = np.bincount(group)
    merged = np.stack([np.bincount(group, edges[:, side]) for side in range(4)], 1) / counts[:, None]
    rates = np.bincount(group, scores)
    best = np.lexsort((*merged.T, -rates))
    return merged[best], rates[best]


def _groups(edges: np.ndarray) -> np.ndarray:
    """The merged box (0 to m - 1) that each of n boxes goes into, (n,)."""
    count = len(edges)
    if count < 2:
        return np.zeros(count, np.int64)
    unit = max(float(np.median(np.sqrt(area(edges)))), 1e-9)
    steps = linkage(edges / unit, "centroid")  # row i: which two became box n + i, at which distance
    far = np.flatnonzero(steps[:, 2] >= MERGING_DISTANCE)
    done = int(far[0]) if len(far) else len(steps)  # greedy: it ends at the first pair that is too far apart
    parents = np.repeat(np.arange(count, count + done), 2)
    children = steps[:done, :2].astype(np.int64).ravel()
    links = coo_array((np.ones(len(parents)), (parents, children)), shape=(count + done, count + done))
    _, group = connected_components(links, directed=False)
    return np.unique(group[:count], return_inverse=True)[1]


def best_boxes(edges: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best merged box of each class of an image: edges (P, T, 4), scores (P, T) -> (T, 4) and rates (T,)."""
    classes = edges.shape[1]
    result, rates = np.empty((classes, 4)), np.empty(classes)
    for place in range(classes):
        merged, rated = merge(edges[:, place], scores[:, place])
        result[place], rates[place] = merged[0], rated[0]
    return result, rates
