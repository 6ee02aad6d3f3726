"""Draw the training crop of an image in an epoch, and the order of an epoch's images (Sect. 3.1).

Both depend on (seed, epoch, image) only: see `vggnet.randomness`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vggnet.images.color import ColorStatistics, color_shift
from vggnet.images.geometry import Reduction, crop_of_rescaled, rescaled_size
from vggnet.paper.recipes import Recipe
from vggnet.randomness import Stream, generator

_NO_SHIFT = np.zeros(3, np.float32)


@dataclass(frozen=True)
class TrainingView:
    """One crop: where it lies in the image rescaled to smallest side `scale`, is it mirrored, its colour shift."""

    scale: int
    left: int
    top: int
    mirrored: bool
    shift: np.ndarray  # float32 (3,), gray levels


@dataclass(frozen=True)
class Augmentation:
    """The distribution of the training crops.

    `train_scale` is S in the paper: (256,) is fixed; (256, 512) is uniform over the integers from 256 to 512, both
    included. No scale may be below `crop`. All crop positions are equally likely. Half of the crops are mirrored; none
    with `mirror` False. Without `statistics` the colour shift is zero. Switching one of these off does not change the
    other draws.
    """

    seed: int
    train_scale: tuple[int, ...]
    crop: int
    statistics: ColorStatistics | None
    mirror: bool = True
    color_deviation: float = Recipe.color_deviation

    def view(self, epoch: int, index: int, width: int, height: int) -> TrainingView:
        """Return the crop of image `index`, of width x height pixels, in `epoch`."""
        return self.draw(generator(self.seed, epoch, index, Stream.VIEWS), width, height)

    def pixels(self, image: Image.Image, view: TrainingView, reduction: Reduction | None = None) -> Tensor:
        """Return the crop's pixels, uint8 (crop, crop, 3), mirrored where the view is; without its colour shift.

        The view is one of the whole image, also where its decoder has reduced `image` (`reduction`).
        """
        pixels = torch.from_numpy(crop_of_rescaled(image, view.scale, view.left, view.top, self.crop, reduction))
        return pixels.flip(1) if view.mirrored else pixels  # NumPy takes 25 times as long to copy [:, ::-1] of bytes

    def draw(self, draws: np.random.Generator, width: int, height: int) -> TrainingView:
        """Return a crop of an image of width x height pixels by the next draws of a generator."""
        for_scale, for_left, for_top, for_mirror = draws.random(4).tolist()
        smallest, largest = self.train_scale[0], self.train_scale[-1]
        scale = smallest + int(for_scale * (largest - smallest + 1))
        full_width, full_height = rescaled_size(width, height, scale)
        left = int(for_left * (full_width - self.crop + 1))
        top = int(for_top * (full_height - self.crop + 1))
        shift = _NO_SHIFT
        if self.statistics is not None:
            shift = color_shift(self.statistics, draws.standard_normal(3), self.color_deviation)
        return TrainingView(scale, left, top, self.mirror and for_mirror < 0.5, shift)


def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """Return the order of `count` images in `epoch`: a permutation, int64 (count,)."""
    return generator(seed, epoch, 0, Stream.ORDER).permutation(count).astype(np.int64, copy=False)
