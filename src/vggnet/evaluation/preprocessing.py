"""Turn an image into a net's input, for those who call nets from Python."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vggnet.errors import UserError
from vggnet.evaluation.protocols import default_scale
from vggnet.images.decoding import as_rgb, decode
from vggnet.images.geometry import rescale
from vggnet.images.normalization import normalize
from vggnet.network.vgg import VGG


def preprocess(model: VGG, image: str | Path | Image.Image, scale: int | None = None) -> Tensor:
    """Return an image (a file, or an image of Pillow) as the net's input: float32 (1, 3, H, W) on the net's device.

    EXIF orientation and 16-bit pixels are treated as in the net's training. The image's smallest side becomes `scale`
    pixels (Q in the paper; by default the net's S), then the net's mean and deviation apply, as in `evaluate` and
    `predict`. Raises UserError (BadImage for an image that cannot be used).
    """
    side = default_scale(model.description) if scale is None else scale
    if side < 1:
        raise UserError(f"scale {side}: the image's smallest side in pixels, so at least 1")
    reading = model.description.policy.reading
    rgb = as_rgb(image, reading) if isinstance(image, Image.Image) else decode(str(image), reading)
    pixels = torch.from_numpy(np.array(rescale(rgb, side)))[None]
    return normalize(pixels.to(next(model.parameters()).device), model.description.preprocessing)
