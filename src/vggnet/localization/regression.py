"""What a box net learns: four coordinates of one box, by a Euclidean loss (App. A).

The paper says "a vector storing the box centre coordinates, width and height" and no more. Here:
- coordinates are relative to the crop, in units of its side (`images.boxes.encode`), so that every position of a dense
  map predicts the box relative to its own window;
- a crop that cuts an object keeps the object's true, unclipped box: windows that see different parts of it are to
  agree on one box. A crop that sees less than half of what it could see (of the box, or, where the box is larger, of
  the crop) is not learnt from: it weighs nothing;
- of an image's several boxes one is drawn by (seed, epoch, image), as crops are;
- the loss of an image is half the squared distance (Caffe's Euclidean loss). PCR learns the four outputs of the true
  class, the others get no gradient.

Shapes: n images of a batch, K classes.
"""

import numpy as np
import torch
from torch import Tensor

from vggnet.description import BoxKind
from vggnet.localization.boxes import CORRECT_IOU, Windows, area, encode, intersection
from vggnet.localization.objects import Objects
from vggnet.randomness import Stream, generator

COORDINATES = 4
SEEN = 0.5  # least part of the box (or of the crop) that a crop must see of it


def outputs_of(kind: BoxKind, classes: int) -> int:
    """Outputs of the last layer: 4 (SCR) or 4 K (PCR)."""
    return COORDINATES if kind == "scr" else COORDINATES * classes


def draw_boxes(objects: Objects, seed: int, epoch: int, indices: np.ndarray) -> np.ndarray:
    """Return edges (n, 4): one box of each image at `indices`, drawn by (seed, epoch, index)."""
    chosen = objects.starts[indices].copy()
    counts = objects.counts[indices]
    for place in np.flatnonzero(counts > 1).tolist():
        chosen[place] += generator(seed, epoch, int(indices[place]), Stream.BOXES).integers(counts[place])
    return objects.edges[chosen]


def targets_of(edges: np.ndarray, labels: np.ndarray, windows: Windows) -> np.ndarray:
    """float32 (n, 6): four coordinates, the class, the weight (0 or 1), of boxes in their images seen in `windows`."""
    inside = windows.enter(edges)
    frame = np.array([0.0, 0.0, windows.side, windows.side])
    visible = intersection(inside, frame) >= SEEN * np.minimum(area(inside), windows.side**2)
    return np.concatenate([encode(inside, windows.side), labels[:, None], visible[:, None]], 1).astype(np.float32)


def select(outputs: Tensor, labels: Tensor, kind: BoxKind) -> Tensor:
    """Outputs (n, 4 or 4 K) -> the four coordinates (n, 4) of each image's class."""
    if kind == "scr":
        return outputs
    return outputs.unflatten(1, (-1, COORDINATES))[torch.arange(len(labels), device=outputs.device), labels]


def regression_losses(outputs: Tensor, targets: Tensor, kind: BoxKind) -> tuple[Tensor, Tensor]:
    """Outputs (n, 4 or 4 K), targets (n, 6) -> each image's loss (n,), and whether its box is wrong (n,)."""
    wanted, weights = targets[:, :COORDINATES], targets[:, COORDINATES + 1]
    given = select(outputs, targets[:, COORDINATES].long(), kind)
    losses = 0.5 * (given - wanted).square().sum(1) * weights
    # an overlap that is not a number is wrong, too
    wrong = ~(overlap(given.detach(), wanted) > CORRECT_IOU) & (weights > 0)
    return losses, wrong


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union (n,) of encoded boxes (n, 4) and (n, 4): their common unit cancels out."""
    low, high = [], []
    for box in (first, second):
        half = box[:, 2:].clamp(min=0) / 2
        low.append(box[:, :2] - half)
        high.append(box[:, :2] + half)
    common = (torch.minimum(*high) - torch.maximum(*low)).clamp(min=0).prod(1)
    areas = [(top - bottom).prod(1) for bottom, top in zip(low, high, strict=True)]
    return common / (areas[0] + areas[1] - common).clamp(min=1e-12)
