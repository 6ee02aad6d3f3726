"""How an image is seen in one epoch: a function of (seed, epoch, index) and of nothing else (Sect. 3.1).

The draws come from Philox, a counter-based generator: (seed, epoch) is its key and the image its counter, so any image
of any epoch can be drawn alone, in any worker, in any order, after any restart.
"""

from dataclasses import dataclass

import numpy as np

from vggnet.images.color import ColorStatistics, color_shift
from vggnet.images.geometry import rescaled_size
from vggnet.paper.recipes import Recipe

_WORD = (1 << 64) - 1
_VIEWS, _ORDER = 0, 1  # separate streams of one (seed, epoch)
_NO_SHIFT = np.zeros(3, np.float32)


@dataclass(frozen=True)
class TrainingView:
    """One crop: the image rescaled to smallest side `scale`, cut at (left, top), maybe mirrored, colours shifted."""

    scale: int
    left: int
    top: int
    mirrored: bool
    shift: np.ndarray  # float32 (3,), gray levels


def _generator(seed: int, epoch: int, index: int, stream: int) -> np.random.Generator:
    key = np.array([seed & _WORD, epoch & _WORD], np.uint64)
    counter = np.array([0, 0, index, stream], np.uint64)  # the lowest word counts the draws
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


@dataclass(frozen=True)
class Augmentation:
    """What the views of a training are drawn from.

    `train_scale` is S in the paper: (256,) fixed, (256, 512) uniform over the integers of both ends included; each at
    least `crop`. All crop positions are equally likely; half of the views are mirrored (none where `mirror` is off);
    the colour shift is zero without `statistics`. Switching one of these off leaves the other draws as they are.
    """

    seed: int
    train_scale: tuple[int, ...]
    crop: int
    statistics: ColorStatistics | None
    mirror: bool = True
    color_deviation: float = Recipe.color_deviation

    def view(self, epoch: int, index: int, width: int, height: int) -> TrainingView:
        """The view of image `index` (width x height pixels) in `epoch`."""
        generator = _generator(self.seed, epoch, index, _VIEWS)
        for_scale, for_left, for_top, for_mirror = generator.random(4).tolist()
        smallest, largest = self.train_scale[0], self.train_scale[-1]
        scale = smallest + int(for_scale * (largest - smallest + 1))
        full_width, full_height = rescaled_size(width, height, scale)
        left = int(for_left * (full_width - self.crop + 1))
        top = int(for_top * (full_height - self.crop + 1))
        shift = _NO_SHIFT
        if self.statistics is not None:
            shift = color_shift(self.statistics, generator.standard_normal(3), self.color_deviation)
        return TrainingView(scale, left, top, self.mirror and for_mirror < 0.5, shift)


def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """int64 (count,): a permutation of the images for `epoch`."""
    return _generator(seed, epoch, 0, _ORDER).permutation(count).astype(np.int64, copy=False)
