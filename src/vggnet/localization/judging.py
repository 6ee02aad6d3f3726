"""Right and wrong as ILSVRC counts them, and test 1.

An image's error is the least over its (class, box) guesses: a guess is right when its class is and its box overlaps
one of the image's boxes of that class by more than half (intersection over union of inclusive pixels). Test 1 takes
the true class and the centre crop's box (App. A, Table 8).

Shapes: n images, G guesses an image, M boxes an image.
"""

from dataclasses import dataclass

import numpy as np

from vggnet.evaluation.computing import Computing
from vggnet.evaluation.metrics import Count
from vggnet.localization.boxes import CORRECT_IOU, clip, decode, encode, iou
from vggnet.localization.dense import center_outputs, center_windows
from vggnet.localization.objects import Objects
from vggnet.network.vgg import VGG


@dataclass(frozen=True, eq=False)
class CenterResult:
    """Test 1, image by image: `indices` (n,) of the images judged, their `overlaps` (n,) with the nearest true box.

    `losses` (n,) are the Euclidean losses of the first true box, with every weight 1.
    """

    indices: np.ndarray
    overlaps: np.ndarray
    losses: np.ndarray

    @property
    def wrong(self) -> np.ndarray:
        result: np.ndarray = ~(self.overlaps > CORRECT_IOU)  # an overlap that is not a number is wrong, too
        return result

    @property
    def error(self) -> Count:
        return Count(int(self.wrong.sum()), len(self.wrong))

    @property
    def mean_iou(self) -> float:
        return float(self.overlaps.mean()) if len(self.overlaps) else float("nan")


def center_test(
    model: VGG, objects: Objects, labels: np.ndarray, scale: int, computing: Computing, indices: np.ndarray
) -> CenterResult:
    """Test 1 at Q = `scale`: `labels` (N,) are the true classes among the net's, `indices` the images to judge."""
    outputs, kept = center_outputs(model, objects.split, labels, indices, scale, computing)
    sizes = objects.sizes[kept]
    crop = model.architecture.crop_px
    windows = center_windows(sizes, scale, crop)
    boxes = clip(windows.leave(decode(outputs, crop)), sizes)
    overlaps = iou(boxes[:, None], objects.padded()[kept]).max(1)
    targets = encode(windows.enter(objects.edges[objects.starts[kept]]), crop)
    return CenterResult(kept, overlaps, 0.5 * ((outputs - targets) ** 2).sum(1))


@dataclass(frozen=True)
class LocalizationErrors:
    """Wrong images by localisation and by classification alone, of the best guess and of all (up to five)."""

    top1: Count
    top5: Count
    class_top1: Count
    class_top5: Count
    mean_iou: float  # of the true class's box, over the images that have it among their guesses


def judge_guesses(
    classes: np.ndarray, edges: np.ndarray, labels: np.ndarray, truth: np.ndarray
) -> tuple[LocalizationErrors, np.ndarray]:
    """Errors of guesses: classes (n, G), edges (n, G, 4), true classes (n,) and boxes (n, M, 4); and top-5 wrong (n,).

    Guesses are in order, the best first.
    """
    count = len(labels)
    overlaps = iou(edges[:, :, None], truth[:, None]).max(2)  # (n, G)
    of_class = classes == labels[:, None]
    right = of_class & (overlaps > CORRECT_IOU)
    known = of_class.any(1)
    iou_of_class = (overlaps * of_class).sum(1)[known]
    wrong = ~right.any(1)
    return LocalizationErrors(
        Count(int((~right[:, 0]).sum()), count),
        Count(int(wrong.sum()), count),
        Count(int((~of_class[:, 0]).sum()), count),
        Count(int((~known).sum()), count),
        float(iou_of_class.mean()) if len(iou_of_class) else float("nan"),
    ), wrong
