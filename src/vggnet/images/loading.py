"""Batches of random crops for training, decoded in worker processes.

Workers return crops as bytes, uint8; `normalization.normalize` turns them into the net's input on the net's device.
Several workers decode parts of one batch. A bad image is left out of its batch and listed in `Batch.bad`.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from vggnet.data.splits import Split
from vggnet.errors import BadImage
from vggnet.images.augmentation import Augmentation
from vggnet.images.decoding import read_image
from vggnet.images.holding import HeldImages
from vggnet.images.silence import in_words
from vggnet.images.workers import Workers, chunks, places_for

_PIECE = 32  # images that a worker hands over at once: 5 MB of 224 x 224 crops
_AHEAD = 4  # pieces that a worker may be ahead
_Piece = tuple[torch.Tensor | int, np.ndarray, np.ndarray, np.ndarray, tuple[BadImage, ...]]


_NO_SHIFT, _NO_VIEW = np.empty((0, 3), np.float32), np.empty((0, 4), np.float32)
_NO_INDEX = np.empty(0, np.int64)


@dataclass
class Batch:
    """N crops of N images; the images in `bad` are missing from it.

    `views` rows are (scale, left, top, mirrored): where the crop lies in the rescaled image, for boxes.
    """

    pixels: torch.Tensor  # uint8 (N, crop, crop, 3)
    shift: torch.Tensor  # float32 (N, 3), gray levels to add
    labels: torch.Tensor  # int64 (N,); -1 where the split has none
    indices: torch.Tensor  # int64 (N,), places in the split
    views: torch.Tensor  # float32 (N, 4)
    bad: tuple[BadImage, ...] = ()

    def __len__(self) -> int:
        return len(self.indices)

    @classmethod
    def of(
        cls,
        split: Split,
        pixels: torch.Tensor,
        indices: np.ndarray,
        *,
        shift: np.ndarray,
        views: np.ndarray,
        bad: tuple[BadImage, ...],
    ) -> "Batch":
        """Return a batch with the labels of the split."""
        labels = split.labels[indices] if split.labels is not None else np.full(len(indices), -1)
        return cls(
            pixels,
            torch.from_numpy(shift),
            torch.from_numpy(labels.astype(np.int64)),
            torch.from_numpy(indices),
            torch.from_numpy(views),
            bad,
        )


class CropLoader(ABC):
    """Batches of random crops of a split. A context manager."""

    @abstractmethod
    def batches(self, epoch: int, order: Iterable[np.ndarray]) -> Iterator[Batch]:
        """Yield a Batch for each array of indices in `order`.

        A batch depends on the seed, the epoch and its images only. Where the caller stops early, the next call drops
        the batches that are left.
        """

    @abstractmethod
    def close(self) -> None:
        """End the processes or threads that read images."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class _CropReader:
    """Read the crops of some images of one epoch, in a worker.

    `slots` is memory shared with the main process, reused in turn. New shared memory for each piece would cost more
    than the crops themselves, because its pages are zeroed and mapped in both processes. With `slots` the result holds
    the number of the slot instead of the pixels. JPEGs are reduced as they are decoded if `least_side` is not None.
    """

    split: Split
    augmentation: Augmentation
    held: HeldImages
    slots: torch.Tensor | None  # uint8 (slots, _PIECE, crop, crop, 3)
    least_side: int | None

    def describe(self, item: tuple[int, np.ndarray, int]) -> str:
        return in_words(self.split, item[1])

    def __call__(self, item: tuple[int, np.ndarray, int]) -> _Piece:
        epoch, wanted, slot = item
        crop = self.augmentation.crop
        if self.slots is not None:
            pixels = self.slots[slot]
        else:
            pixels = torch.empty((len(wanted), crop, crop, 3), dtype=torch.uint8)
        shifts, views = np.empty((len(wanted), 3), np.float32), np.empty((len(wanted), 4), np.float32)
        read: list[int] = []
        bad: list[BadImage] = []
        for index in wanted.tolist():
            held = self.held.get(index)
            if held is None:
                try:
                    decoded = read_image(self.split.file(index), self.split.reading, least_side=self.least_side)
                except BadImage as error:
                    bad.append(error)
                    continue
                held = decoded.image, decoded.reduction
                self.held.put(index, *held)
            image, reduction = held
            place = len(read)
            size = image.size if reduction is None else (reduction.width, reduction.height)
            view = self.augmentation.view(epoch, index, *size)
            pixels[place] = self.augmentation.pixels(image, view, reduction)
            shifts[place], views[place] = view.shift, (view.scale, view.left, view.top, view.mirrored)
            read.append(index)
        count = len(read)
        handed_over = slot if self.slots is not None else pixels[:count]
        return handed_over, shifts[:count], views[:count], np.array(read, np.int64), tuple(bad)


class TrainingLoader(CropLoader):
    """Batches of random crops from processes that stay alive between epochs. A context manager.

    Args:
        workers: number of processes; 0 reads in this process.
        pin: put pixels in page-locked memory where there is a GPU.
        hold_bytes: decoded images that stay in memory between epochs, in bytes.
        scaled: decode a JPEG at 1/2, 1/4 or 1/8 of its size where its smallest side stays at or above the largest S.
            The crops show the same regions; their pixels differ by some gray levels.
    """

    def __init__(
        self,
        split: Split,
        augmentation: Augmentation,
        *,
        workers: int,
        pin: bool = False,
        hold_bytes: int = 0,
        scaled: bool = False,
    ) -> None:
        self.split, self.crop = split, augmentation.crop
        self.pin = pin and torch.cuda.is_available()
        self._slots = places_for(workers, _AHEAD, (_PIECE, self.crop, self.crop, 3))
        held = HeldImages(len(split), hold_bytes)
        least_side = augmentation.train_scale[-1] if scaled else None  # not the drawn S: held images are used again
        reader = _CropReader(split, augmentation, held, self._slots, least_side)
        self._workers: Workers[tuple[int, np.ndarray, int], _Piece] = Workers(reader, workers, ahead=_AHEAD)

    def batches(self, epoch: int, order: Iterable[np.ndarray]) -> Iterator[Batch]:
        """Yield a Batch for each array of indices in `order`, the same for any number of workers."""
        pieces_of_batches = [chunks(np.asarray(indices, np.int64), _PIECE) for indices in order]
        pieces = [piece for pieces in pieces_of_batches for piece in pieces]
        slots = len(self._slots) if self._slots is not None else 1
        results = self._workers.map([(epoch, piece, place % slots) for place, piece in enumerate(pieces)])
        for wanted in pieces_of_batches:
            yield self._together(sum(map(len, wanted)), results, len(wanted))

    def _together(self, images: int, results: Iterator[_Piece], pieces: int) -> Batch:
        """Join the next `pieces` results, of at most `images` images. Each slot is copied before the next request."""
        pixels = torch.empty((images, self.crop, self.crop, 3), dtype=torch.uint8, pin_memory=self.pin)
        shifts, views, read = [_NO_SHIFT], [_NO_VIEW], [_NO_INDEX]
        bad: list[BadImage] = []
        start = 0
        for crops, shift, view, indices, faults in itertools.islice(results, pieces):
            source = self._slots[crops] if isinstance(crops, int) and self._slots is not None else crops
            assert isinstance(source, torch.Tensor)
            pixels[start : start + len(indices)] = source[: len(indices)]
            start += len(indices)
            shifts.append(shift)
            views.append(view)
            read.append(indices)
            bad.extend(faults)
        return Batch.of(
            self.split,
            pixels[:start],
            np.concatenate(read),
            shift=np.concatenate(shifts),
            views=np.concatenate(views),
            bad=tuple(bad),
        )

    def close(self) -> None:
        """End the worker processes."""
        self._workers.close()
