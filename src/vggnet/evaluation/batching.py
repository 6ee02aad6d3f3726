"""Which images go through the net together, within bounded memory.

Notable: photographs come in a few common sizes and many rare ones. Images of exactly one shape form batches as they
arrive; the rare ones wait until enough have come, are sorted, and go in buckets whose padding wastes little (it is
masked, see `masking`). After an isotropic rescale one side of every image is Q, so a bucket is uneven in one direction.
All limits are in pixels after rescaling, since activations grow with pixels and not with images.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vggnet.hardware import free_on_gpu_bytes
from vggnet.paper.configurations import CHANNELS, Architecture

WASTE = 0.1  # largest share of padding in a bucket
WAITING_PX = 2**25  # of rescaled images waiting for others of their shape: 100 MB


def batch_limit_px(architecture: Architecture, device: torch.device) -> int:
    """Pixels that may go through the net in one pass, by the memory at hand.

    About three maps of the first stage live at once, 64 channels of 4 bytes at most. A single image may exceed the
    limit (to `rescaled.LARGEST_IMAGE_PX`); it then goes alone.
    """
    bytes_per_px = 3 * 4 * max(1, round(CHANNELS[0] * architecture.width))
    if device.type == "cuda":
        return max(2**18, min(2**24, int(free_on_gpu_bytes(device) * 0.6) // bytes_per_px))
    return max(2**18, min(2**22, 2**30 // bytes_per_px))  # a gigabyte


@dataclass(frozen=True)
class Item:
    """A rescaled image on its way: its place in the result, and its uint8 pixels (H, W, 3) on the device."""

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
    """Collects items and gives out batches of at most `limit_px` pixels, padding included, or of a single image.

    `copies` is how often each image's pixels go through the net (2 with its mirror).
    """

    limit_px: int
    copies: int = 2
    waiting_px: int = WAITING_PX
    _waiting: dict[tuple[int, int], list[Item]] = field(default_factory=dict)
    _px: int = 0

    def add(self, item: Item) -> Iterator[list[Item]]:
        """Take an item; yields the batches that are complete now."""
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
        """Yield everything that waits, in buckets."""
        items = [item for same in self._waiting.values() for item in same]
        self._waiting, self._px = {}, 0
        yield from buckets(items, self.limit_px // self.copies)


def buckets(items: list[Item], limit_px: int) -> Iterator[list[Item]]:
    """Split items into batches of similar size: padding at most WASTE of a batch, `limit_px` pixels with padding."""
    bucket: list[Item] = []
    height = width = used = 0
    for item in sorted(items, key=lambda item: (item.size, item.position)):
        rows, columns = max(height, item.size[0]), max(width, item.size[1])
        padded = rows * columns * (len(bucket) + 1)
        if bucket and (padded > limit_px or padded - used - item.area > WASTE * padded):
            yield bucket
            bucket, used, (rows, columns) = [], 0, item.size
        bucket.append(item)
        height, width, used = rows, columns, used + item.area
    if bucket:
        yield bucket


@dataclass
class CountingBatcher:
    """Batches of at most `limit` images, whatever their size: for crops, which are all of one shape."""

    limit: int
    _waiting: list[Item] = field(default_factory=list)

    def add(self, item: Item) -> Iterator[list[Item]]:
        """Take an item; yields the batch that is complete now."""
        self._waiting.append(item)
        if len(self._waiting) >= self.limit:
            yield from self.flush()

    def flush(self) -> Iterator[list[Item]]:
        """Yield what waits."""
        items, self._waiting = self._waiting, []
        if items:
            yield items
