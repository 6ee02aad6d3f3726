"""Choose which images go through the net together, within bounded memory.

Notable: photographs come in a few common sizes and many rare ones. Images of the same shape form batches as they
arrive. Images of rare shapes wait until there are enough of them, are sorted, and form buckets with little padding
(see `masking`). After an isotropic rescale one side of every image is Q, so that a bucket is mostly uneven in one
direction. All limits are in pixels after rescaling, because activations grow with pixels, not with images.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vggnet.hardware import free_on_gpu_bytes
from vggnet.paper.configurations import Architecture

WASTE = 0.1  # largest share of padding in a bucket
USUAL_CHANNELS = 64  # of the first maps of a net that does not describe itself
WAITING_PX = 2**25  # of rescaled images waiting for others of their shape: 100 MB


def batch_limit_px(architecture: Architecture | None, device: torch.device, *, free: int | None = None) -> int:
    """Return how many pixels may go through the net in one pass. None: of a net that is not known.

    `free`: the bytes that a GPU has; None: that are free now.

    About three maps of the first stage are in memory at once, each of at most 64 channels of 4 bytes. A single image
    may exceed the limit (up to `rescaled.LARGEST_IMAGE_PX`) and then forms a batch of its own.
    """
    channels = USUAL_CHANNELS if architecture is None else next(architecture.convolutions()).out_channels
    bytes_per_px = 3 * 4 * channels
    if device.type == "cuda":
        free = free_on_gpu_bytes(device) if free is None else free
        return max(2**18, min(2**24, int(free * 0.6) // bytes_per_px))
    return max(2**18, min(2**22, 2**30 // bytes_per_px))  # a gigabyte


@dataclass(frozen=True)
class Item:
    """A rescaled image: its place in the result, and its uint8 pixels (H, W, 3) on the device."""

    position: int
    pixels: Tensor

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def area(self) -> int:
        return self.pixels.shape[0] * self.pixels.shape[1]


@dataclass
class Batcher:
    """Collect items into batches of at most `limit_px` pixels, padding included, or of a single image.

    `copies` is how often each image's pixels go through the net (2 where its mirror image is averaged in). `waste` is
    the largest share of padding in a batch; with 0 only images of one shape share a batch.
    """

    limit_px: int
    copies: int = 2
    waste: float = WASTE
    waiting_px: int = WAITING_PX
    _waiting: dict[tuple[int, int], list[Item]] = field(default_factory=dict)
    _px: int = 0

    def add(self, item: Item) -> Iterator[list[Item]]:
        """Take an item. Yield the batches that are complete now."""
        same = self._waiting.setdefault(item.size, [])
        same.append(item)
        self._px += item.area
        if (len(same) + 1) * item.area * self.copies > self.limit_px:
            del self._waiting[item.size]
            self._px -= len(same) * item.area
            yield same
        elif self._px > self.waiting_px:
            yield from self.flush()

    def flush(self) -> Iterator[list[Item]]:
        """Yield the items that wait, in buckets."""
        items = [item for same in self._waiting.values() for item in same]
        self._waiting, self._px = {}, 0
        yield from buckets(items, self.limit_px // self.copies, self.waste)


def buckets(items: list[Item], limit_px: int, waste: float = WASTE) -> Iterator[list[Item]]:
    """Yield batches of similar size: at most `limit_px` pixels with padding, of which padding is at most `waste`."""
    bucket: list[Item] = []
    height = width = used = 0
    for item in sorted(items, key=lambda item: (item.size, item.position)):
        rows, columns = max(height, item.size[0]), max(width, item.size[1])
        padded = rows * columns * (len(bucket) + 1)
        if bucket and (padded > limit_px or padded - used - item.area > waste * padded):
            yield bucket
            bucket, used, (rows, columns) = [], 0, item.size
        bucket.append(item)
        height, width, used = rows, columns, used + item.area
    if bucket:
        yield bucket


@dataclass
class CountingBatcher:
    """Collect items into batches of at most `limit` images of any size: for crops, which have one shape."""

    limit: int
    _waiting: list[Item] = field(default_factory=list)

    def add(self, item: Item) -> Iterator[list[Item]]:
        """Take an item. Yield the batch if it is complete now."""
        self._waiting.append(item)
        if len(self._waiting) >= self.limit:
            yield from self.flush()

    def flush(self) -> Iterator[list[Item]]:
        """Yield the items that wait."""
        items, self._waiting = self._waiting, []
        if items:
            yield items
