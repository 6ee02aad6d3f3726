"""Crops of decoded images on the device that holds them: `geometry.crop_of_rescaled` for a whole batch.

Two ways to the same pixels: `crops_by_kernel`, one Triton launch for all images, and `crops_by_matrices`, plain PyTorch
image by image, which says what the kernel computes and stands in where Triton is absent. Both follow Pillow's filter:
triangles of at least one source pixel's half width around each output pixel's centre, along rows first, rounded to gray
levels in between. Pillow may take columns first and has weights of 22 bits, so a pixel may be off by one gray level (by
two, rarely).
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
        """Of images of `sizes` (width, height), from rows (scale, left, top, mirrored) as `Batch.views` has them."""
        pairs = zip(sizes, views[:, :3].astype(int).tolist(), strict=True)
        # in single precision, since that is how Pillow takes a box
        corners = np.array(
            [source_box(*size, scale, left, top, crop) for size, (scale, left, top) in pairs], np.float32
        ).reshape(-1, 4)
        places = np.empty((len(corners), 4))
        places[:, 0::2] = corners[:, :2]
        places[:, 1::2] = (corners[:, 2:] - corners[:, :2]).astype(np.float64) / crop
        return cls(places, views[:, 3] != 0)


def crops_by_kernel(images: Sequence[Tensor], boxes: CropBoxes, crop: int) -> Tensor:
    """uint8 (N, crop, crop, 3) of N images, uint8 (3, H, W) of any strides, on their device.

    The work is queued on the device's current stream: the images must not be written to before it is done.
    """
    from vggnet.images.gpu.cropping_kernel import launch  # only where Triton is

    device = images[0].device
    assert all(image.dtype == torch.uint8 and image.device == device for image in images)
    facts = [
        [image.data_ptr(), *image.stride(), *image.shape[1:], int(mirrored)]
        for image, mirrored in zip(images, boxes.mirrored, strict=True)
    ]
    table = torch.tensor(facts, dtype=torch.int64).to(device)
    return launch(table, torch.from_numpy(boxes.places).to(device), crop)


def crops_by_matrices(images: Sequence[Tensor], boxes: CropBoxes, crop: int) -> Tensor:
    """As `crops_by_kernel`: along each axis a matrix of weights (crop, source pixels), in double precision."""
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
    """First and last (exclusive) of the source pixels that count along an axis, and their weights float64 (crop, n)."""
    center = begin + (torch.arange(crop, dtype=torch.float64) + 0.5) * step
    reach = max(step, 1.0)
    first = (center - reach + 0.5).long().clamp(min=0)
    last = (center + reach + 0.5).long().clamp(max=size)
    start, end = int(first[0]), int(last[-1])
    pixel = torch.arange(start, end)
    weights = (1 - (pixel + 0.5 - center[:, None]).abs() / reach).clamp(min=0)
    weights[(pixel < first[:, None]) | (pixel >= last[:, None])] = 0
    return start, end, weights / weights.sum(1, keepdim=True)


def why_no_kernel(device: torch.device) -> str | None:
    """Why the kernel cannot be used on `device`; None where it gives there what the matrices give."""
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
        difference = (crops_by_kernel(images, boxes, 16).int() - exact.int()).abs().max()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a compiler and a driver raise
        return reason_of(error)
    return None if difference <= _MOST_DIFFERENCE else "the kernel gives other pixels than PyTorch here"


def choose_cropper(device: torch.device) -> Cropper:
    """The kernel on a GPU where it works, else the matrices; one line says why."""
    if device.type != "cuda":
        return crops_by_matrices
    if (reason := why_no_kernel(device)) is None:
        return crops_by_kernel
    note(f"crops are cut without the Triton kernel: {reason}")
    return crops_by_matrices
