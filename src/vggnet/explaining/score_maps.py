"""The class score map of an image (Sect. 3.2): what the net answers for each window of the image.

Notable: the positions of a dense map lie 32 pixels apart, and an image of the net's crop has one. With a smaller `step`
the windows between them are judged, too, each as a crop of its own. (In the dense map a window's border sees the pixels
around it; in a crop it sees zeros.)

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
WANTED_POSITIONS = 5  # a side of a map that is drawn
WINDOWS_AT_ONCE = 32


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
    with torch.no_grad(), evaluating(model):
        if step == TOTAL_STRIDE_PX or min(height, width) < crop:
            scores = model(image)[0].float()
        else:
            windows = image.unfold(2, crop, step).unfold(3, crop, step)[0]  # (3, rows, columns, crop, crop)
            rows, columns = windows.shape[1:3]
            each = windows.permute(1, 2, 0, 3, 4).reshape(-1, 3, crop, crop)
            scores = torch.cat([model(part).flatten(1).float() for part in each.split(WINDOWS_AT_ONCE)])
            scores = scores.T.unflatten(1, (rows, columns))
    return ScoreMap(scores.cpu().numpy(), step, crop, height, width)


def fitting_step(crop: int, height: int, width: int) -> int:
    """Return the largest step at which the shorter side of an image has at least WANTED_POSITIONS positions.

    It is the smallest step of STEPS where none has.
    """
    room = min(height, width) - crop
    return next((step for step in STEPS if room // step + 1 >= WANTED_POSITIONS), STEPS[-1])
