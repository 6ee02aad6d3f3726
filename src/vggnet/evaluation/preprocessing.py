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
    """Return an image as the net's input: float32 (1, 3, H, W) on the net's device.

    The image is read, rescaled and normalised as in the net's training and in `evaluate` and `predict`: EXIF
    orientation, 16-bit pixels, mean and deviation are the net's.

    Args:
        model: the net.
        image: a file, or an image of Pillow.
        scale: the image's smallest side becomes this many pixels (Q in the paper). (default: the net's S)

    Raises:
        UserError: for a scale below 1; BadImage for an image that cannot be used.

    Example:
        >>> model = vggnet.build("A", num_classes=3, width=0.1, crop=32)
        >>> vggnet.preprocess(model, "photograph.jpg", scale=64).shape
        torch.Size([1, 3, 64, 64])
    """
    side = default_scale(model.description) if scale is None else scale
    if side < 1:
        raise UserError(f"scale {side}: the image's smallest side in pixels, so at least 1")
    reading = model.description.policy.reading
    rgb = as_rgb(image, reading) if isinstance(image, Image.Image) else decode(str(image), reading)
    pixels = torch.from_numpy(np.array(rescale(rgb, side)))[None]
    return normalize(pixels.to(next(model.parameters()).device), model.description.preprocessing)
