"""The class score map of an image (Sect. 3.2): what the net answers for each window of the image.

Notable: the positions of a dense map lie 32 pixels apart, and an image of the net's crop has one. `step` computes
positions in between: the net runs on the image cut at 0, step, 2 step, ... pixels from the left and from the top, and
the maps are interleaved. A window is judged as in the dense map of the cut image.

Shapes: K classes, H x W pixels of the rescaled image, rows x columns positions.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vggnet.errors import UserError
from vggnet.network.vgg import VGG, evaluating
from vggnet.paper.configurations import TOTAL_STRIDE_PX

STEPS = (32, 16, 8, 4)  # pixels between positions: divisors of the net's stride
WANTED_POSITIONS = 7  # a side of a map that is drawn


@dataclass(frozen=True, eq=False)
class ScoreMap:
    """Class scores of the windows of an image: float32 (K, rows, columns), before the soft-max.

    Window (i, j) is the square of `window` pixels at (left, top) = (j step, i step) of an image of `height` x `width`.
    """

    scores: np.ndarray
    step: int
    window: int
    height: int
    width: int

    @property
    def posteriors(self) -> np.ndarray:
        """Return the soft-max of each window's scores, (K, rows, columns): the net's answer for that window alone."""
        powers = np.exp(self.scores - self.scores.max(0, keepdims=True))
        result: np.ndarray = powers / powers.sum(0, keepdims=True)
        return result

    def on_image(self, values: np.ndarray) -> np.ndarray:
        """Return values of the windows (rows, columns) for each pixel of the image, (H, W).

        Values stand in the middle of their window, and are interpolated linearly in between. Pixels that are nearer to
        the border than every window's middle have the value of the nearest one.
        """
        rows, columns = (self.window / 2 + self.step * np.arange(count) for count in values.shape)
        wide = np.stack([np.interp(np.arange(self.width) + 0.5, columns, row) for row in values])
        return np.stack([np.interp(np.arange(self.height) + 0.5, rows, column) for column in wide.T], 1)


def score_map(model: VGG, image: Tensor, step: int = TOTAL_STRIDE_PX) -> ScoreMap:
    """Return the class score map of a preprocessed image (1, 3, H, W); with a `step` of 32 the net's own.

    Raises UserError for a step that is no divisor of 32, and for an image that is smaller than the net's crop.
    """
    if step < 1 or TOTAL_STRIDE_PX % step:
        raise UserError(f"`step` {step}: a divisor of the net's stride of {TOTAL_STRIDE_PX} pixels, such as 8")
    crop = model.architecture.crop_px
    height, width = image.shape[2:]
    rows, columns = (max(0, side - crop) // step + 1 for side in (height, width))
    scores = np.zeros((model.architecture.outputs, rows, columns), np.float32)
    stride = TOTAL_STRIDE_PX // step
    with torch.no_grad(), evaluating(model):
        for row in range(min(stride, rows)):
            for column in range(min(stride, columns)):
                part = model(image[:, :, row * step :, column * step :])[0].float().cpu().numpy()
                scores[:, row::stride, column::stride] = part
    return ScoreMap(scores, step, crop, height, width)


def fitting_step(crop: int, height: int, width: int) -> int:
    """Return the largest step at which the shorter side of an image has at least WANTED_POSITIONS positions.

    It is the smallest step of STEPS where none has.
    """
    room = min(height, width) - crop
    return next((step for step in STEPS if room // step + 1 >= WANTED_POSITIONS), STEPS[-1])
