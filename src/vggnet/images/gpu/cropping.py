"""Cut the crops of a batch of decoded images on their device, as `geometry.crop_of_rescaled` does for one image.

Two implementations give the same pixels. `crops_by_kernel` is one Triton launch for all images. `crops_by_matrices` is
plain PyTorch, image by image: the definition of the kernel, and its replacement where Triton is absent. Both use
Pillow's filter: a triangle around each output pixel's centre, at least one source pixel to each side, along rows first,
rounded to gray levels in between. Pillow may filter columns first and has weights of 22 bits, so a pixel may differ by
one gray level (rarely by two).
"""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vggnet.console import note
from vggnet.errors import reason_of
from vggnet.images.geometry import source_box

Cropper = Callable[[Sequence[Tensor], "CropBoxes", int], Tensor]
_MOST_DIFFERENCE = 1  # gray levels between the kernel and the matrices, where sums are rounded the other way


@dataclass(frozen=True)
class CropBoxes:
    """Where N crops lie in their images, in source pixels.

    `places` float64 (N, 4) rows are (left, columns per output pixel, top, rows per output pixel).
    """

    places: np.ndarray
    mirrored: np.ndarray  # bool (N,)

    @classmethod
    def of_views(cls, sizes: Sequence[tuple[int, int]], views: np.ndarray, crop: int) -> "CropBoxes":
        """Return the boxes of `views` (scale, left, top, mirrored; as `Batch.views`) in images of (width, height)."""
        pairs = zip(sizes, views[:, :3].astype(int).tolist(), strict=True)
        # in single precision, as Pillow stores a box
        corners = np.array(
            [source_box(*size, scale, left, top, crop) for size, (scale, left, top) in pairs], np.float32
        ).reshape(-1, 4)
        places = np.empty((len(corners), 4))
        places[:, 0::2] = corners[:, :2]
        places[:, 1::2] = (corners[:, 2:] - corners[:, :2]).astype(np.float64) / crop
        return cls(places, views[:, 3] != 0)


def crops_by_kernel(images: Sequence[Tensor], boxes: CropBoxes, crop: int) -> Tensor:
    """Cut crops, uint8 (N, crop, crop, 3), from N images, uint8 (3, H, W) of any strides, on their device.

    The work is queued on the device's current stream. The images must not be overwritten before it is done.
    """
    from vggnet.images.gpu.cropping_kernel import launch  # Triton may be absent

    device = images[0].device
    assert all(image.dtype == torch.uint8 and image.device == device for image in images)
    facts = [
        [image.data_ptr(), *image.stride(), *image.shape[1:], int(mirrored)]
        for image, mirrored in zip(images, boxes.mirrored, strict=True)
    ]
    table = torch.tensor(facts, dtype=torch.int64).to(device)
    return launch(table, torch.from_numpy(boxes.places).to(device), crop)


def crops_by_matrices(images: Sequence[Tensor], boxes: CropBoxes, crop: int) -> Tensor:
    """Cut crops as `crops_by_kernel`, with a matrix of weights (crop, source pixels) for each axis, in float64."""
    out = torch.empty((len(images), crop, crop, 3), dtype=torch.uint8, device=images[0].device)
    for place, image, box, mirrored in zip(out, images, boxes.places.tolist(), boxes.mirrored, strict=True):
        left, right, across = _weights(box[0], box[1], image.shape[2], crop)
        top, bottom, down = _weights(box[2], box[3], image.shape[1], crop)
        part = image[:, top:bottom, left:right].to(torch.float64)
        rows = (part @ across.to(image.device).T + 0.5).floor()
        pixels = (down.to(image.device) @ rows + 0.5).floor().to(torch.uint8).permute(1, 2, 0)
        place.copy_(pixels.flip(1) if mirrored else pixels)
    return out


def _weights(begin: float, step: float, size: int, crop: int) -> tuple[int, int, Tensor]:
    """Return the first and last (exclusive) source pixel with a weight along an axis, and weights float64 (crop, n)."""
    center = begin + (torch.arange(crop, dtype=torch.float64) + 0.5) * step
    reach = max(step, 1.0)
    first = (center - reach + 0.5).long().clamp(min=0)
    last = (center + reach + 0.5).long().clamp(max=size)
    start, end = int(first[0]), int(last[-1])
    pixel = torch.arange(start, end)
    weights = (1 - (pixel + 0.5 - center[:, None]).abs() / reach).clamp(min=0)
    weights[(pixel < first[:, None]) | (pixel >= last[:, None])] = 0
    return start, end, weights / weights.sum(1, keepdim=True)


def why_no_kernel(device: torch.device, kernel: Cropper = crops_by_kernel) -> str | None:
    """Return why `kernel` cannot be used on `device`; None where its crops equal those of the matrices."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    generator = np.random.default_rng(0)
    sizes = [(40, 31), (17, 23)]
    images = [
        torch.from_numpy(generator.integers(0, 256, (3, height, width), np.uint8)).to(device) for width, height in sizes
    ]
    boxes = CropBoxes.of_views(sizes, np.array([[24, 5, 3, 0], [21, 2, 7, 1]], np.float32), 16)
    exact = crops_by_matrices(images, boxes, 16)
    try:
        difference = (kernel(images, boxes, 16).int() - exact.int()).abs().max()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a compiler and a driver raise exceptions of any kind
        return reason_of(error)
    return None if difference <= _MOST_DIFFERENCE else "the kernel gives other pixels than PyTorch here"


def choose_cropper(device: torch.device, unusable: Callable[[torch.device], str | None] = why_no_kernel) -> Cropper:
    """Return the kernel on a GPU, else the matrices; also where `unusable` says why not, which is noted."""
    if device.type != "cuda":
        return crops_by_matrices
    if (reason := unusable(device)) is None:
        return crops_by_kernel
    note(f"crops are cut without the Triton kernel: {reason}")
    return crops_by_matrices
