"""Turn images into a net's input, for those who call nets from Python."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vggnet.data.image_files import File
from vggnet.description import ImageReading
from vggnet.errors import UserError
from vggnet.evaluation.protocols import default_scale
from vggnet.images.decoding import as_rgb, decode
from vggnet.images.geometry import center_crop_corner, rescale
from vggnet.images.normalization import normalize
from vggnet.network.vgg import VGG, refuse_path

AnyImage = str | Path | Image.Image | np.ndarray | Tensor


def preprocess(
    model: VGG, image: AnyImage | Sequence[AnyImage], scale: int | None = None, *, center_crop: bool = False
) -> Tensor:
    """Return images as the net's input: float32 (N, 3, H, W) on the net's device, N = 1 for a single image.

    An image is read, rescaled and normalised as in the net's training and in `evaluate` and `predict`: EXIF
    orientation, 16-bit pixels, mean and deviation are the net's.

    Args:
        model: the net.
        image: a file, an image of Pillow, or pixels of 0 to 255, uint8 (H, W, 3), as an array or a tensor; or a
            sequence of these. A gray array (H, W) and one with transparency (H, W, 4) become RGB.
        scale: the image's smallest side becomes this many pixels (Q in the paper). (default: the net's S)
        center_crop: return the square in the middle, whose side is the net's crop, in place of the whole image. Images
            of different shapes then fit into one batch.

    Raises:
        UserError: for a scale that is too small, for pixels of another type or shape, and for whole images that differ
            in size after they are rescaled; BadImage for an image that cannot be used.

    Example:
        >>> model = vggnet.build("A", num_classes=3, width=0.1, crop=32)
        >>> vggnet.preprocess(model, "photograph.jpg", scale=64).shape
        torch.Size([1, 3, 64, 64])
        >>> black = torch.zeros(90, 70, 3, dtype=torch.uint8)
        >>> vggnet.preprocess(model, ["photograph.jpg", black], center_crop=True).shape
        torch.Size([2, 3, 32, 32])
    """
    refuse_path(model, "preprocess")
    side = default_scale(model.description) if scale is None else scale
    crop = model.architecture.crop_px
    if side < 1:
        raise UserError(f"`scale` {side}: the image's smallest side in pixels, so at least 1")
    if center_crop and side < crop:
        raise UserError(f"`scale` {side}: the net's crop of {crop} does not fit: give at least {crop}")
    reading = model.description.policy.reading
    pixels = [np.array(rescale(open_rgb(each, reading), side)) for each in _several(image)]
    if center_crop:
        pixels = [center_square(each, crop) for each in pixels]
    if len(sizes := {each.shape[:2] for each in pixels}) > 1:
        raise UserError(
            f"the images have {len(sizes)} different sizes after rescaling, so they make no batch: give "
            "`center_crop` True, or call preprocess for each"
        )
    batch = torch.from_numpy(np.stack(pixels))
    return normalize(batch.to(next(model.parameters()).device), model.description.preprocessing)


def _several(image: AnyImage | Sequence[AnyImage]) -> Sequence[AnyImage]:
    """Return the images of a sequence or of a batch (N, H, W, 3), and a single image as a list of one."""
    if isinstance(image, (np.ndarray, Tensor)):
        return list(image) if image.ndim == 4 else [image]
    if isinstance(image, (str, Path, Image.Image)):
        return [image]
    if not isinstance(image, Sequence):
        raise UserError(
            f"preprocess takes a file, an image of Pillow, pixels (H, W, 3), or a sequence of these, not {image!r:.80}"
        )
    if not image:
        raise UserError("preprocess takes at least one image")
    return image


def open_rgb(image: AnyImage | File, reading: ImageReading) -> Image.Image:
    """Return a file, an image of Pillow or pixels uint8 (H, W, 3) as an image in mode RGB.

    Raises UserError for other pixels; BadImage for an image that cannot be used.
    """
    if isinstance(image, (np.ndarray, Tensor)):
        image = _from_pixels(image)
    if isinstance(image, Image.Image):
        return as_rgb(image, reading)
    return decode(str(image) if isinstance(image, Path) else image, reading)


def _from_pixels(pixels: np.ndarray | Tensor) -> Image.Image:
    """Return pixels, uint8 (H, W, 3), (H, W, 4), (H, W, 1) or (H, W), as an image of Pillow."""
    array = pixels.detach().cpu().numpy() if isinstance(pixels, Tensor) else pixels
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (3, 4)):
        turn = "permute(1, 2, 0)" if isinstance(pixels, Tensor) else "transpose(1, 2, 0)"
        hint = f": `.{turn}` brings the channels to the end" if array.ndim == 3 and array.shape[0] in (1, 3, 4) else ""
        raise UserError(f"preprocess takes pixels as (H, W, 3), not as {tuple(array.shape)}{hint}")
    if array.dtype != np.uint8:
        raise UserError(
            f"preprocess takes pixels of 0 to 255 as uint8, not {array.dtype}: multiply pixels of 0 to 1 by 255, round "
            "them and convert them to uint8"
        )
    if not array.size:
        raise UserError(f"preprocess takes an image with pixels, not {tuple(array.shape)}")
    return Image.fromarray(np.ascontiguousarray(array))


def center_square(pixels: np.ndarray, crop: int) -> np.ndarray:
    """Return the square of side `crop` in the middle of (H, W, 3)."""
    left, top = center_crop_corner(pixels.shape[1], pixels.shape[0], crop)
    return pixels[top : top + crop, left : left + crop]
