"""Train four coordinates of a box, by a Euclidean loss as in App. A, or by one that is not in the paper.

The paper says "a vector storing the box centre coordinates, width and height" and no more. Here:
- coordinates are relative to the crop, in units of its side (`localization.boxes.encode`), so that every position of a
  dense map predicts the box relative to its own window;
- the box of an object that a crop cuts is not cut: windows that see different parts of an object must predict one box.
  A crop that sees less than half of the box has weight 0. For a box that is larger than the crop, half of the crop
  counts;
- of an image's several boxes one is drawn by (seed, epoch, image), as crops are;
- the loss of an image is half the squared distance (Caffe's Euclidean loss), unless another one is chosen
  (`box_losses`). PCR learns the four outputs of the true class, the others get no gradient.

Shapes: n images of a batch, K classes.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vggnet.description import BoxKind
from vggnet.localization.boxes import CORRECT_IOU, Windows, area, encode, intersection
from vggnet.localization.objects import Objects
from vggnet.options.choices import BoxLoss
from vggnet.randomness import Stream, generator

COORDINATES = 4
SMOOTH = 0.1  # distance, in sides of the crop, below which smooth-l1 is squared
SEEN = 0.5  # least part of the box (or of the crop) that a crop must see of it


def outputs_of(kind: BoxKind, classes: int) -> int:
    """Return the number of outputs of the last layer: 4 (SCR) or 4 K (PCR)."""
    return COORDINATES if kind == "scr" else COORDINATES * classes


def draw_boxes(objects: Objects, seed: int, epoch: int, indices: np.ndarray) -> np.ndarray:
    """Return edges (n, 4): one box of each image at `indices`, drawn by (seed, epoch, index)."""
    chosen = objects.starts[indices].copy()
    counts = objects.counts[indices]
    for place in np.flatnonzero(counts > 1).tolist():
        chosen[place] += generator(seed, epoch, int(indices[place]), Stream.BOXES).integers(counts[place])
    return objects.edges[chosen]


def targets_of(edges: np.ndarray, labels: np.ndarray, windows: Windows) -> np.ndarray:
    """Return the targets of boxes in `windows`, float32 (n, 6): four coordinates, the class, the weight (0 or 1)."""
    inside = windows.enter(edges)
    frame = np.array([0.0, 0.0, windows.side, windows.side])
    visible = intersection(inside, frame) >= SEEN * np.minimum(area(inside), windows.side**2)
    return np.concatenate([encode(inside, windows.side), labels[:, None], visible[:, None]], 1).astype(np.float32)


def select(outputs: Tensor, labels: Tensor, kind: BoxKind) -> Tensor:
    """Return the coordinates (n, 4) of each image's class from outputs (n, 4 or 4 K)."""
    if kind == "scr":
        return outputs
    return outputs.unflatten(1, (-1, COORDINATES))[torch.arange(len(labels), device=outputs.device), labels]


def regression_losses(
    outputs: Tensor, targets: Tensor, kind: BoxKind, loss: BoxLoss = "euclidean"
) -> tuple[Tensor, Tensor]:
    """Return the loss of each image (n,), and whether its box is wrong (n,): outputs (n, 4 or 4 K), targets (n, 6)."""
    wanted, weights = targets[:, :COORDINATES], targets[:, COORDINATES + 1]
    given = select(outputs, targets[:, COORDINATES].long(), kind)
    losses = box_losses(given, wanted, loss) * weights
    # not `<=`: a NaN overlap is wrong, too
    wrong = ~(overlap(given.detach(), wanted) > CORRECT_IOU) & (weights > 0)
    return losses, wrong


def box_losses(given: Tensor, wanted: Tensor, loss: BoxLoss) -> Tensor:
    """Return the loss (n,) of encoded boxes (n, 4), unweighted.

    Only "euclidean" is the paper's. "smooth-l1" (Girshick, Fast R-CNN, 2015) grows linearly with large distances.
    "giou" adds 1 - generalised intersection over union (Rezatofighi et al., 2019), by which a distance counts more
    where the box is small; the squared distance moves boxes that have no width, which it alone would leave.
    """
    if loss == "smooth-l1":
        return F.smooth_l1_loss(given, wanted, reduction="none", beta=SMOOTH).sum(1)
    squared = 0.5 * (given - wanted).square().sum(1)
    if loss == "euclidean":
        return squared
    from torchvision.ops import generalized_box_iou_loss  # imports all of torchvision

    return squared + generalized_box_iou_loss(_edges(given), _edges(wanted))


def _edges(encoded: Tensor) -> Tensor:
    """Return the edges (n, 4) of encoded boxes (n, 4), in sides of the crop; a negative width or height becomes 0."""
    half = encoded[:, 2:].clamp(min=0) / 2
    return torch.cat([encoded[:, :2] - half, encoded[:, :2] + half], 1)


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """Return the intersection over union (n,) of encoded boxes (n, 4) and (n, 4); their common unit cancels out."""
    (low, high), (other_low, other_high) = (_edges(each).split(2, 1) for each in (first, second))
    common = (torch.minimum(high, other_high) - torch.maximum(low, other_low)).clamp(min=0).prod(1)
    areas = (high - low).prod(1) + (other_high - other_low).prod(1)
    return common / (areas - common).clamp(min=1e-12)
