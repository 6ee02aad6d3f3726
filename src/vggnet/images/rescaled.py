"""Read whole images in worker processes, rescale them to every test scale and copy them to the device (Sect. 3.2).

A worker writes all scales of an image, as bytes, into a place in shared memory. The places are reused, because new
shared memory costs more than the copy (a file handle, zeroed pages). From there the pixels go through page-locked
memory to a GPU, which computes in the meantime.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vggnet.data.splits import Split
from vggnet.errors import BadImage
from vggnet.images.geometry import rescale, rescaled_size
from vggnet.images.silence import in_words
from vggnet.images.whole_images import read_whole
from vggnet.images.workers import Workers, places_for

# Of one rescaled image: 2048 x 2048, or 512 x 8192. Net D at full width then takes 3.0 GB in bf16 and 4.3 GB in fp32,
# weights and libraries included (measured, Linux on x86).
LARGEST_IMAGE_PX = 2**22
_AHEAD = 4  # images that a worker may be ahead of the reader
_USUAL_ASPECT = 2  # a longer image does not fit into its place in shared memory
Size = tuple[int, int]  # rows, columns


def size_limit(width: int, height: int, scale: int) -> str | None:
    """Return why an image of width x height pixels is too large when rescaled to `scale`; None where it is not."""
    wide, high = rescaled_size(width, height, scale)
    if wide * high <= LARGEST_IMAGE_PX:
        return None
    return (
        f"{width}x{height} becomes {wide}x{high} when its smallest side is {scale}, more than the "
        f"{LARGEST_IMAGE_PX:,} pixels that one image may have in evaluation: cut it into parts, or leave it out"
    )


def rescaled_arrays(image: Image.Image, path: str, scales: Sequence[int]) -> list[np.ndarray]:
    """Return the pixels, uint8 (H, W, 3), of an image at each scale.

    Raises BadImage, which names `path`, for an image that is too large at one of them.
    """
    for scale in scales:
        if (reason := size_limit(*image.size, scale)) is not None:
            raise BadImage(path, reason)
    return [np.asarray(rescale(image, scale)) for scale in scales]


def rescaled_images(
    split: Split, indices: Sequence[int] | np.ndarray, scales: Sequence[int], *, workers: int, device: torch.device
) -> Iterator[tuple[int, list[Tensor]] | BadImage]:
    """Yield (index, one uint8 (H, W, 3) on the device for each scale) of each image in order, or its BadImage.

    An image is decoded once. The smallest side of each result is its scale. An image of more than LARGEST_IMAGE_PX
    pixels at any scale is bad.
    """
    wanted = [int(index) for index in indices]
    workers = min(workers, len(wanted))
    room = sum(3 * min(_USUAL_ASPECT * scale * scale, LARGEST_IMAGE_PX) for scale in scales)
    places = places_for(workers, _AHEAD, (room,))
    count = len(places) if places is not None else 1
    with Workers(_Reader(split, tuple(scales), places), workers, ahead=_AHEAD) as pool:
        results = pool.map([(index, number % count) for number, index in enumerate(wanted)])
        for index, result in zip(wanted, results, strict=True):
            if isinstance(result, BadImage):
                yield result
                continue
            sizes, found = result
            flat = places[found] if isinstance(found, int) and places is not None else found
            assert isinstance(flat, Tensor)
            lengths = [3 * rows * columns for rows, columns in sizes]
            parts = _on_device(flat[: sum(lengths)], device).split(lengths)
            yield index, [part.view(*size, 3) for part, size in zip(parts, sizes, strict=True)]


def _on_device(pixels: Tensor, device: torch.device) -> Tensor:
    """Return a copy on the device; on a GPU the copy is queued, not awaited."""
    if device.type != "cuda":
        return pixels.to(device, copy=True)  # shared memory is reused, or costs a file handle while it exists
    return torch.empty_like(pixels, pin_memory=True).copy_(pixels).to(device, non_blocking=True)


@dataclass(frozen=True)
class _Reader:
    """Read one image at all scales into one piece of memory, in a worker."""

    split: Split
    scales: tuple[int, ...]
    places: Tensor | None  # uint8 (places, room), shared with the reading process

    def describe(self, item: tuple[int, int]) -> str:
        return in_words(self.split, [item[0]])

    def __call__(self, item: tuple[int, int]) -> tuple[list[Size], Tensor | int] | BadImage:
        """Return each scale's size, and the number of the place with the pixels, or the pixels if they do not fit."""
        index, place = item
        try:
            arrays = rescaled_arrays(read_whole(self.split, index), self.split.path(index), self.scales)
        except BadImage as error:
            return error
        sizes = [(array.shape[0], array.shape[1]) for array in arrays]
        flat = [array.ravel() for array in arrays]
        length = sum(map(len, flat))
        if self.places is None or length > self.places.shape[1]:
            return sizes, torch.from_numpy(np.concatenate(flat))
        np.concatenate(flat, out=self.places[place, :length].numpy())
        return sizes, place
