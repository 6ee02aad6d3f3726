"""Isotropic rescaling and positions of crops (Sect. 3.1 and 3.2), in integer pixels, halves rounded up.

Rescaling is Pillow's antialiased bilinear filter. Training needs one crop of a rescaled image: `crop_of_rescaled`
computes the crop's pixels only, which is about twice as fast as rescaling the whole image.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from vggnet.errors import UserError


@dataclass(frozen=True)
class Reduction:
    """How an image was reduced by its decoder, so that crops of the whole image can be cut from the reduced one.

    Attributes:
        width: Of the whole image, in pixels.
        height: Of the whole image, in pixels.
        factor: A pixel of the reduced image stands for factor x factor pixels of the whole image.
        left: Where the whole image begins in the reduced one, in its pixels, from 0 to below 1. The last column of a
            JPEG may stand for less than `factor` columns. It is the first one where the image was turned.
        top: The same of the rows.
    """

    width: int
    height: int
    factor: int
    left: float = 0.0
    top: float = 0.0

    def in_reduced(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """Return a box (left, top, right, bottom) of the whole image in pixels of the reduced image."""
        left, top, right, bottom = (side / self.factor for side in box)
        return left + self.left, top + self.top, right + self.left, bottom + self.top


def _rounded(numerator: int, denominator: int) -> int:
    """Return numerator / denominator rounded to the nearest integer, halves up (Python's `round` goes to even)."""
    return (2 * numerator + denominator) // (2 * denominator)


def rescaled_size(width: int, height: int, scale: int) -> tuple[int, int]:
    """Return (width, height) with the smallest side at `scale` pixels (S or Q in the paper) and the same ratio."""
    if width <= height:
        return scale, max(scale, _rounded(height * scale, width))
    return max(scale, _rounded(width * scale, height)), scale


def rescale(image: Image.Image, scale: int) -> Image.Image:
    """Return the whole image with its smallest side at `scale` pixels: bilinear, antialiased."""
    size = rescaled_size(*image.size, scale)
    return image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)


def crop_of_rescaled(
    image: Image.Image, scale: int, left: int, top: int, crop: int, reduction: Reduction | None = None
) -> np.ndarray:
    """Return the square of side `crop` at (left, top) of `rescale(image, scale)`, uint8 (crop, crop, 3).

    With `reduction`, `image` was reduced by its decoder. The crop then shows the same region of the whole image.

    Only the crop's pixels are computed. Pillow may filter rows first in one case and columns first in the other, and
    rounds in between, so a pixel may differ by one gray level (rarely by two, in pure noise).
    """
    width, height = image.size if reduction is None else (reduction.width, reduction.height)
    full_width, full_height = rescaled_size(width, height, scale)
    if left < 0 or top < 0 or left + crop > full_width or top + crop > full_height:
        raise UserError(f"a crop of {crop} at ({left}, {top}) is not inside {full_width}x{full_height}")
    if (full_width, full_height) == image.size:
        return np.array(image.crop((left, top, left + crop, top + crop)))
    box = source_box(width, height, scale, left, top, crop)
    if reduction is not None:
        box = reduction.in_reduced(box)
    return np.array(image.resize((crop, crop), Image.Resampling.BILINEAR, box=box))


def source_box(
    width: int, height: int, scale: int, left: int, top: int, crop: int
) -> tuple[float, float, float, float]:
    """Return (left, top, right, bottom) of that crop in pixels of the image before it is rescaled."""
    full_width, full_height = rescaled_size(width, height, scale)
    return (
        left * width / full_width,
        top * height / full_height,
        min(width, (left + crop) * width / full_width),
        min(height, (top + crop) * height / full_height),
    )


def center_crop_corner(width: int, height: int, crop: int) -> tuple[int, int]:
    """Return (left, top) of the centre crop; an odd remainder leaves the extra pixel right and below."""
    _check_fits(width, height, crop)
    return (width - crop) // 2, (height - crop) // 2


def crop_grid(width: int, height: int, crop: int, n: int = 5) -> list[tuple[int, int]]:
    """Return (left, top) of a regular n x n grid of crops, row by row, the corners included (Sect. 3.2: 5 x 5).

    Column i stands at i (width - crop) / (n - 1), rounded half up; n = 1 is the centre crop.
    """
    _check_fits(width, height, crop)
    if n == 1:
        return [center_crop_corner(width, height, crop)]
    lefts = [_rounded(i * (width - crop), n - 1) for i in range(n)]
    tops = [_rounded(i * (height - crop), n - 1) for i in range(n)]
    return [(left, top) for top in tops for left in lefts]


def ten_crop_corners(width: int, height: int, crop: int) -> list[tuple[int, int]]:
    """Return (left, top) of Krizhevsky's five crops: the corners row by row, then the centre; ten with mirrors."""
    return [*crop_grid(width, height, crop, n=2), center_crop_corner(width, height, crop)]


def _check_fits(width: int, height: int, crop: int) -> None:
    if crop > min(width, height):
        raise UserError(f"a crop of {crop} does not fit in {width}x{height}: choose a scale of at least {crop}")
