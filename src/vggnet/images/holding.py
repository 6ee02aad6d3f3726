"""Cache decoded images in memory that all workers share, so that a small data set is decoded once, not every epoch.

The process that reads an image first stores its pixels for the others. The first images read are cached as long as
they fit; the rest is decoded every time. The memory is an anonymous shared mapping, which forked processes inherit: it
needs no /dev/shm (64 MB in containers) and no file, ends with the last process, and only touched pages count. Where
processes are not forked, nothing is cached.
"""

import mmap
import multiprocessing

import numpy as np
from PIL import Image

from vggnet.images.geometry import Reduction

_ABSENT = -1
_PLACE = np.dtype(
    [
        ("start", np.int64),  # in the memory; _ABSENT where the image is not cached
        ("height", np.int32),  # of the pixels
        ("width", np.int32),  # written last
        ("factor", np.int32),  # by which the decoder reduced the image; 1: it is whole
        ("whole_width", np.int32),
        ("whole_height", np.int32),
        ("left", np.float32),  # of its Reduction, as `top`: eighths, so float32 rounds nothing
        ("top", np.float32),
    ],
    align=True,
)


class HeldImages:
    """A cache of `capacity` bytes for the pixels of `images` images. Create it before the processes that share it.

    Its lock is held for microseconds: who does not get it within `patience_s` finds that its holder was killed.
    """

    def __init__(self, images: int, capacity: int, patience_s: float = 5.0) -> None:
        if "fork" not in multiprocessing.get_all_start_methods():
            capacity = 0
        self._capacity = capacity
        self._locked_out, self._patience_s = False, patience_s
        if not capacity:
            return
        self._memory = mmap.mmap(-1, capacity)
        self._pixels = np.frombuffer(self._memory, np.uint8)
        # where each image lies; torch's shared memory is a file in /dev/shm, too, hence mmap again
        self._places = np.frombuffer(mmap.mmap(-1, max(1, images) * _PLACE.itemsize), _PLACE)
        self._places["start"] = self._places["width"] = _ABSENT
        self._used = np.frombuffer(mmap.mmap(-1, 8), np.int64)
        self._lock = multiprocessing.get_context("fork").Lock()

    def get(self, index: int) -> tuple[Image.Image, Reduction | None] | None:
        """Return the image and how its decoder reduced it, or None where it is not cached."""
        if not self._capacity:
            return None
        start, height, width, factor, whole_width, whole_height, left, top = self._places[index].tolist()
        if width == _ABSENT:
            return None
        pixels = self._pixels[start : start + height * width * 3]
        reduction = None if factor == 1 else Reduction(whole_width, whole_height, factor, left, top)
        return Image.fromarray(pixels.reshape(height, width, 3)), reduction

    def put(self, index: int, image: Image.Image, reduction: Reduction | None = None) -> None:
        """Cache a decoded RGB image if there is room and no process has stored it."""
        if not self._capacity or self._locked_out:
            return
        size = image.width * image.height * 3
        if not self._lock.acquire(timeout=self._patience_s):
            self._locked_out = True  # a process that was killed while it held the lock: it is never released
            return
        try:
            start = int(self._used[0])
            if self._places["start"][index] != _ABSENT or start + size > self._capacity:
                return
            self._used[0] = start + size
            self._places["start"][index] = start
        finally:
            self._lock.release()
        self._pixels[start : start + size] = np.asarray(image).reshape(-1)
        found = reduction or Reduction(*image.size, 1)
        place = self._places[index : index + 1]
        place["whole_width"], place["whole_height"], place["factor"] = found.width, found.height, found.factor
        place["left"], place["top"] = found.left, found.top
        place["height"] = image.height
        place["width"] = image.width

    @property
    def used_bytes(self) -> int:
        """Return the bytes of cached pixels, those being written included."""
        return int(self._used[0]) if self._capacity else 0
