"""Batches of random crops that are decoded and cut on a GPU; on a CPU `images.loading.TrainingLoader` does this.

Threads read files. Another thread decodes them in batches (nvJPEG) and cuts the crops (a Triton kernel), some batches
ahead of the training, on its own stream. An image that is no plain JPEG is decoded on the CPU by `decoding.decode`. The
crops are those of `TrainingLoader` for the same seed, epoch and image; only decoders differ, by some gray levels. On a
CPU the same code runs without streams, for tests.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vggnet.data.splits import Split
from vggnet.errors import BadImage
from vggnet.images.augmentation import Augmentation
from vggnet.images.decoding import MAX_ASPECT, MAX_PIXELS, UPRIGHT, decode, orientation_in
from vggnet.images.gpu.ahead import Ahead
from vggnet.images.gpu.cropping import CropBoxes, Cropper, choose_cropper
from vggnet.images.gpu.decoding import Decoder, by_torchvision, decode_jpegs, read_file, turn_upright
from vggnet.images.gpu.jpeg import has_metadata, plain_size
from vggnet.images.loading import Batch, CropLoader
from vggnet.images.workers import chunks

_PIECE = 32  # files that a thread reads at once
_READ_AHEAD, _MADE_AHEAD = 3, 3  # batches


@dataclass(frozen=True)
class _Read:
    """An image that was read: the content of its file where it is a plain JPEG, else its pixels uint8 (3, H, W).

    `size` is the size before `orientation`, which is EXIF's and not applied yet.
    """

    index: int
    size: tuple[int, int]  # width, height
    file: Tensor | None = None
    orientation: int = UPRIGHT
    pixels: Tensor | None = None


@dataclass(frozen=True)
class _Part:
    """Some crops of a batch, in the shapes of `Batch`."""

    pixels: Tensor
    shift: np.ndarray
    views: np.ndarray
    indices: np.ndarray


class HeldOnDevice:
    """Cache decoded images on the device between epochs: the first ones read, up to `capacity` bytes."""

    def __init__(self, capacity: int) -> None:
        self._capacity, self.used_bytes = capacity, 0
        self._images: dict[int, Tensor] = {}

    def get(self, index: int) -> Tensor | None:
        return self._images.get(index)

    def put(self, index: int, pixels: Tensor) -> None:
        """Cache an image where there is room for it."""
        size = pixels.numel()
        if index not in self._images and self.used_bytes + size <= self._capacity:
            self.used_bytes += size
            self._images[index] = pixels

    def clear(self) -> None:
        self._images.clear()
        self.used_bytes = 0


class _Reader:
    """Read files, and decode those that the device cannot; called by several threads."""

    def __init__(self, split: Split, held: HeldOnDevice) -> None:
        self.split, self.held = split, held
        self.refused: set[int] = set()  # plain JPEGs by their markers, which the device's decoder would not take

    def __call__(self, indices: np.ndarray) -> list[_Read | BadImage]:
        return [self._read(index) for index in indices.tolist()]

    def _read(self, index: int) -> _Read | BadImage:
        if (pixels := self.held.get(index)) is not None:
            height, width = pixels.shape[1:]
            return _Read(index, (width, height), pixels=pixels)
        if index not in self.refused:
            file = read_file(self.split.file(index))
            if file is not None and (size := plain_size(file)) and _is_within_limits(*size):
                turned = self.split.reading.orientation == "apply" and has_metadata(file)
                orientation = orientation_in(file.data) if turned else UPRIGHT
                return _Read(index, size, file=torch.from_numpy(file), orientation=orientation)
        return self.decoded_here(index)

    def decoded_here(self, index: int) -> _Read | BadImage:
        """Decode an image on the CPU; return the BadImage where that fails."""
        try:
            image = decode(self.split.file(index), self.split.reading)
        except BadImage as error:
            return error
        return _Read(index, image.size, pixels=torch.from_numpy(np.array(image)).permute(2, 0, 1))


def _is_within_limits(width: int, height: int) -> bool:
    """Return whether `decode` accepts an image of this size (if not, `decode` raises the reason)."""
    return width * height <= MAX_PIXELS and max(width, height) <= MAX_ASPECT * min(width, height)


class DeviceLoader(CropLoader):
    """Batches of random crops on `device`. A context manager.

    Args:
        workers: number of threads that read files, at least one.
        hold_bytes: decoded images that stay on the device between epochs, in bytes.
        cropper: cuts the crops; None chooses the fastest.
        decoder: decodes plain JPEGs, some of a batch at once.
        decoded_bytes: of pixels that are decoded at once; a single image may have more.
    """

    def __init__(
        self,
        split: Split,
        augmentation: Augmentation,
        *,
        device: torch.device,
        workers: int,
        hold_bytes: int = 0,
        cropper: Cropper | None = None,
        decoder: Decoder = by_torchvision,
        decoded_bytes: int = 1 << 29,
    ) -> None:
        self.split, self.device, self.crop = split, device, augmentation.crop
        self._augmentation = augmentation
        self._held = HeldOnDevice(hold_bytes)
        self._reader = _Reader(split, self._held)
        self._cropper = cropper or choose_cropper(device)
        self._decoder, self._decoded_bytes = decoder, decoded_bytes
        # high priority: small kernels on which the next training step waits
        self._stream = torch.cuda.Stream(device, priority=-1) if device.type == "cuda" else None
        self._threads = ThreadPoolExecutor(max(1, workers), "vggnet-read")
        self._round: Ahead[tuple[Batch, torch.cuda.Event | None]] | None = None

    def batches(self, epoch: int, order: Iterable[np.ndarray]) -> Iterator[Batch]:
        """Yield a Batch for each array of indices in `order`."""
        self._end_round()
        wanted = [np.asarray(indices, np.int64) for indices in order]
        self._round = made = Ahead(self._make(epoch, wanted), _MADE_AHEAD)
        try:
            for batch, done in made:
                if done is not None:
                    reader = torch.cuda.current_stream(self.device)
                    reader.wait_event(done)
                    batch.pixels.record_stream(reader)  # no reuse of its memory before that stream is done
                yield batch
        finally:
            made.close()

    def _make(self, epoch: int, order: list[np.ndarray]) -> Iterator[tuple[Batch, torch.cuda.Event | None]]:
        """Yield each batch and the event after which its pixels are complete; runs in the thread of `Ahead`."""
        on_stream: AbstractContextManager[object] = nullcontext()
        if self._stream is not None:
            on_stream = torch.cuda.stream(self._stream)
        with on_stream:
            for reads in self._read_ahead(order):
                yield self._batch(epoch, reads), self._stream.record_event() if self._stream is not None else None

    def _read_ahead(self, order: list[np.ndarray]) -> Iterator[list[_Read | BadImage]]:
        """Yield the images read for each batch, by threads that are some batches ahead."""
        pending: deque[list[Future[list[_Read | BadImage]]]] = deque()
        try:
            for indices in order:
                pending.append([self._threads.submit(self._reader, piece) for piece in chunks(indices, _PIECE)])
                if len(pending) > _READ_AHEAD:
                    yield [read for future in pending.popleft() for read in future.result()]
            while pending:
                yield [read for future in pending.popleft() for read in future.result()]
        finally:
            for futures in pending:
                for future in futures:
                    future.cancel()

    def _batch(self, epoch: int, reads: list[_Read | BadImage]) -> Batch:
        parts, bad = [], []
        for piece in _pieces(reads, self._decoded_bytes):
            decoded = list(self._decoded(piece))
            bad += [each for each in decoded if isinstance(each, BadImage)]
            if images := [each for each in decoded if not isinstance(each, BadImage)]:
                parts.append(self._cut(epoch, images))
        whole = parts[0] if len(parts) == 1 else self._together(parts)
        return Batch.of(self.split, whole.pixels, whole.indices, shift=whole.shift, views=whole.views, bad=tuple(bad))

    def _together(self, parts: list[_Part]) -> _Part:
        """Join parts; none gives an empty part."""
        nothing = torch.empty((0, self.crop, self.crop, 3), dtype=torch.uint8, device=self.device)
        return _Part(
            torch.cat([nothing, *(part.pixels for part in parts)]),
            np.concatenate([np.empty((0, 3), np.float32), *(part.shift for part in parts)]),
            np.concatenate([np.empty((0, 4), np.float32), *(part.views for part in parts)]),
            np.concatenate([np.empty(0, np.int64), *(part.indices for part in parts)]),
        )

    def _cut(self, epoch: int, images: list[tuple[int, Tensor]]) -> _Part:
        """Cut the crops of this epoch from images (index, pixels)."""
        indices, pixels = [index for index, _ in images], [pixels for _, pixels in images]
        sizes = [(each.shape[2], each.shape[1]) for each in pixels]
        drawn = [self._augmentation.view(epoch, index, *size) for index, size in zip(indices, sizes, strict=True)]
        views = np.array([(view.scale, view.left, view.top, view.mirrored) for view in drawn], np.float32)
        crops = self._cropper(pixels, CropBoxes.of_views(sizes, views, self.crop), self.crop)
        return _Part(crops, np.stack([view.shift for view in drawn]), views, np.array(indices, np.int64))

    def _decoded(self, reads: Sequence[_Read | BadImage]) -> Iterator[tuple[int, Tensor] | BadImage]:
        """Yield (index, pixels uint8 (3, H, W) on the device) of each image, or its BadImage."""
        files = [read.file for read in reads if isinstance(read, _Read) and read.file is not None]
        decoded = iter(decode_jpegs(files, self.device, self._decoder))
        for read in reads:
            if isinstance(read, _Read) and read.file is not None:
                pixels = next(decoded)
                if pixels is None or pixels.shape[1:] != read.size[::-1]:
                    self._reader.refused.add(read.index)
                    read = self._reader.decoded_here(read.index)
                else:
                    pixels = turn_upright(pixels, read.orientation)
            if isinstance(read, BadImage):
                yield read
                continue
            if read.file is None:
                assert read.pixels is not None
                pixels = read.pixels.to(self.device)
            assert pixels is not None
            self._held.put(read.index, pixels)
            yield read.index, pixels

    def _end_round(self) -> None:
        if self._round is not None:
            self._round.close()
            self._round = None

    def close(self) -> None:
        """End the threads and free the memory."""
        self._end_round()
        self._threads.shutdown(cancel_futures=True)
        self._held.clear()


def _pieces(reads: list[_Read | BadImage], most_bytes: int) -> Iterator[list[_Read | BadImage]]:
    """Yield parts of a batch whose decoded pixels have at most `most_bytes`."""
    piece: list[_Read | BadImage] = []
    size = 0
    for read in reads:
        own = 3 * read.size[0] * read.size[1] if isinstance(read, _Read) else 0
        if piece and size + own > most_bytes:
            yield piece
            piece, size = [], 0
        piece.append(read)
        size += own
    if piece:
        yield piece
