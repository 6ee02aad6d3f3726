"""Whole images, or the regions of a split, decoded in worker processes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from vggnet.data.splits import Split
from vggnet.errors import BadImage
from vggnet.images.decoding import contradiction, decode
from vggnet.images.silence import in_words
from vggnet.images.workers import Workers


def cut_region(image: Image.Image, path: str, region: np.ndarray) -> Image.Image:
    """Return the part of an image within inclusive corners xmin, ymin, xmax, ymax, clipped to the image.

    Raises BadImage where the region lies outside the image.
    """
    left, top, right, bottom = (int(value) for value in region)
    left, top = max(0, left), max(0, top)
    right, bottom = min(image.width, right + 1), min(image.height, bottom + 1)
    if right <= left or bottom <= top:
        raise BadImage(path, f"its region {region.tolist()} lies outside the {image.width}x{image.height} image")
    return image.crop((left, top, right, bottom))


def read_whole(split: Split, index: int) -> Image.Image:
    """Return image `index` of the split, or its region where the split has regions. Raises BadImage."""
    image = decode(split.file(index), split.reading)
    if split.regions is None:
        return image
    if split.stated_sizes is not None:
        stated = tuple(split.stated_sizes[index].tolist())
        if all(stated) and stated != image.size:
            raise BadImage(split.path(index), contradiction(stated, image.size, split.reading))
    return cut_region(image, split.path(index), split.regions[index])


@dataclass(frozen=True)
class _ImageReader:
    """Read one whole image, in a worker."""

    split: Split
    prepare: Callable[[Image.Image], Any]

    def describe(self, index: int) -> str:
        return in_words(self.split, [index])

    def __call__(self, index: int) -> Any:
        try:
            prepared = self.prepare(read_whole(self.split, index))
        except BadImage as error:
            return error
        return torch.from_numpy(prepared) if isinstance(prepared, np.ndarray) else prepared


def whole_images(
    split: Split,
    indices: Sequence[int] | np.ndarray,
    workers: int,
    prepare: Callable[[Image.Image], Any] = np.array,
) -> Iterator[tuple[int, Any] | BadImage]:
    """Yield (index, what `prepare` returns) for each image in order, or its BadImage.

    `prepare` runs on the decoded image in the worker, so that rescaling, for example, costs the main process nothing.
    By default it returns the pixels, uint8 (H, W, 3).
    """
    wanted = [int(index) for index in indices]
    with Workers(_ImageReader(split, prepare), min(workers, len(wanted)), ahead=4) as pool:
        for index, result in zip(wanted, pool.map(wanted), strict=True):
            if isinstance(result, BadImage):
                yield result
            else:
                yield index, result.numpy() if isinstance(result, torch.Tensor) else result
