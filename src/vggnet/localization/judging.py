"""Count localisation errors as ILSVRC does, and run test 1.

A guess is a class and a box. It is right if its class is the image's and its box overlaps a true box by more than half
(intersection over union of inclusive pixels). An image is right if one of its guesses is. Test 1 takes the true class
and the box of the centre crop (App. A, Table 8).

Shapes: n images, G guesses an image, M boxes an image.
"""

from dataclasses import dataclass

import numpy as np

from vggnet.evaluation.computing import Computing
from vggnet.evaluation.metrics import Count
from vggnet.evaluation.ranks import gathered_results
from vggnet.localization.boxes import CORRECT_IOU, clip, decode, encode, iou
from vggnet.localization.dense import center_outputs, center_windows
from vggnet.localization.objects import Objects
from vggnet.network.vgg import VGG


@dataclass(frozen=True, eq=False)
class CenterResult:
    """Test 1 by image: `indices` (n,) of the images that could be read, and `overlaps` (n,) with the nearest true box.

    `losses` (n,) are the Euclidean losses for the image's first box, with weight 1. `edges` (n, 4) are the net's boxes.
    """

    indices: np.ndarray
    overlaps: np.ndarray
    losses: np.ndarray
    edges: np.ndarray

    @property
    def wrong(self) -> np.ndarray:
        """Whether the box of each image is wrong, bool (n,)."""
        result: np.ndarray = ~(self.overlaps > CORRECT_IOU)  # not `<=`: a NaN overlap is wrong, too
        return result

    @property
    def error(self) -> Count:
        """The wrong images among all."""
        return Count(int(self.wrong.sum()), len(self.wrong))

    @property
    def mean_iou(self) -> float:
        """The mean overlap, 0 to 1; not a number without images."""
        return float(self.overlaps.mean()) if len(self.overlaps) else float("nan")


def center_test(
    model: VGG, objects: Objects, labels: np.ndarray, scale: int, computing: Computing, indices: np.ndarray
) -> CenterResult:
    """Run test 1 at Q = `scale` on the images at `indices`; `labels` (N,) are true classes as the net numbers them.

    Where several ranks share the images, `indices` are ascending.
    """
    share = computing.ranks.share(indices)
    parts = gathered_results(
        computing.ranks, lambda: center_outputs(model, objects.split, labels, share, scale, computing)
    )
    outputs, readable = (np.concatenate(each) for each in zip(*parts, strict=True))
    if len(parts) > 1:
        order = np.argsort(readable, kind="stable")
        outputs, readable = outputs[order], readable[order]
    sizes = objects.sizes[readable]
    crop = model.architecture.crop_px
    windows = center_windows(sizes, scale, crop)
    boxes = clip(windows.leave(decode(outputs, crop)), sizes)
    overlaps = iou(boxes[:, None], objects.padded()[readable]).max(1)
    targets = encode(windows.enter(objects.edges[objects.starts[readable]]), crop)
    return CenterResult(readable, overlaps, 0.5 * ((outputs - targets) ** 2).sum(1), boxes)


@dataclass(frozen=True)
class LocalizationErrors:
    """Images wrong by localisation (`top1`, `top5`) and by class alone; top 1 is the best guess, top 5 all guesses."""

    top1: Count
    top5: Count
    class_top1: Count
    class_top5: Count
    mean_iou: float  # overlap of the box of the true class, over the images with that class among their guesses


def count_localization_errors(
    classes: np.ndarray, edges: np.ndarray, labels: np.ndarray, truth: np.ndarray
) -> LocalizationErrors:
    """Count the errors of guesses, the best first: `classes` (n, G), `edges` (n, G, 4).

    The truth is one class and some boxes of each image: `labels` (n,), `truth` (n, M, 4).
    """
    count = len(labels)
    overlaps = iou(edges[:, :, None], truth[:, None]).max(2)  # (n, G)
    of_class = classes == labels[:, None]
    right = of_class & (overlaps > CORRECT_IOU)
    known = of_class.any(1)
    iou_of_class = (overlaps * of_class).sum(1)[known]
    return LocalizationErrors(
        Count(int((~right[:, 0]).sum()), count),
        Count(int((~right.any(1)).sum()), count),
        Count(int((~of_class[:, 0]).sum()), count),
        Count(int((~known).sum()), count),
        float(iou_of_class.mean()) if len(iou_of_class) else float("nan"),
    )
