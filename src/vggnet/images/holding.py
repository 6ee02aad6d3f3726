"""Decoded images held in memory that all reading processes share: small data sets are decoded once, not every epoch.

Whoever reads an image first leaves its pixels for the others. Images are kept as long as they fit, the first ones read;
the rest is decoded anew each time. Notable: the memory is an anonymous shared mapping, which forked processes inherit:
no /dev/shm (containers give it 64 MB), no file, gone with the last process, and only touched pages count. Where
processes are not forked there is nothing to share, and nothing is held.
"""

import mmap
import multiprocessing

import numpy as np
from PIL import Image

_START, _HEIGHT, _WIDTH = range(3)
_ABSENT = -1


class HeldImages:
    """Up to `capacity` bytes of the pixels of `images` images. Make it before the processes that share it."""

    def __init__(self, images: int, capacity: int) -> None:
        if "fork" not in multiprocessing.get_all_start_methods():
            capacity = 0
        self._capacity = capacity
        if not capacity:
            return
        self._memory = mmap.mmap(-1, capacity)
        self._pixels = np.frombuffer(self._memory, np.uint8)
        # where each image lies; torch's shared memory is a file in /dev/shm, too, hence mmap again
        self._places = np.frombuffer(mmap.mmap(-1, max(1, images) * 3 * 8), np.int64).reshape(-1, 3)
        self._places[:] = _ABSENT
        self._used = np.frombuffer(mmap.mmap(-1, 8), np.int64)
        self._lock = multiprocessing.get_context("fork").Lock()

    def get(self, index: int) -> Image.Image | None:
        """The image, or None where it is not held."""
        if not self._capacity:
            return None
        start, height, width = self._places[index].tolist()
        if width == _ABSENT:  # written last
            return None
        pixels = self._pixels[start : start + height * width * 3]
        return Image.fromarray(pixels.reshape(height, width, 3))

    def put(self, index: int, image: Image.Image) -> None:
        """Hold a decoded RGB image, where there is room for it and nobody has put it there yet."""
        if not self._capacity:
            return
        size = image.width * image.height * 3
        with self._lock:
            start = int(self._used[0])
            if self._places[index, _START] != _ABSENT or start + size > self._capacity:
                return
            self._used[0] = start + size
            self._places[index, _START] = start
        self._pixels[start : start + size] = np.asarray(image).reshape(-1)
        self._places[index, _HEIGHT] = image.height
        self._places[index, _WIDTH] = image.width

    @property
    def used_bytes(self) -> int:
        """Of pixels held by now, those that are being written included."""
        return int(self._used[0]) if self._capacity else 0
