"""Open image files without decoding: regular files only, by content, with limits on size and computing time.

No file can block the program: FIFOs and devices are not opened, and decoding stops for a file that is damaged, or made,
so that its decoder searches or computes for minutes.
"""

import io
import os
import stat
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image

from vggnet.errors import BadImage

MAX_BYTES = 2**30  # a file of MAX_PIXELS with 8 bits, transparency and no compression is 0.7 GB
MAX_SECONDS = 60.0  # computing time for one file; the largest images take a few seconds
IMAGE_EXTENSIONS = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib"),
        *(".webp", ".tif", ".tiff", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm"),
    )
)
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "JPEG2000")
_CERTAIN_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8")
_MAGIC = (
    *(b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff"),
    *(b"P%d" % kind for kind in range(1, 7)),
)
_PIECE = 2**16  # bytes read at once, as much as Pillow hands to a decoder


class TooSlow(Exception):
    """An image took more computing time than `MAX_SECONDS`."""


class _TimedFile(io.FileIO):
    """A file whose `read` raises TooSlow after `MAX_SECONDS` of this thread's computing time.

    Decoders read in small pieces, so this stops one that searches zeros for a marker or decodes thousands of scans.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._end = time.thread_time() + MAX_SECONDS

    def readinto(self, buffer: Any, /) -> int | None:
        if time.thread_time() > self._end:
            raise TooSlow(f"decoding takes more than {MAX_SECONDS:g} s")
        return super().readinto(buffer)


@contextmanager
def open_image(path: str) -> Iterator[Image.Image]:
    """Open an image with Pillow without reading its pixels.

    Raises BadImage for a file that is not regular or too big, and Pillow's own errors, which `decode` converts.
    """
    refuse_special(path)
    with io.BufferedReader(_TimedFile(path), _PIECE) as file, Image.open(file, formats=FORMATS) as image:
        yield image


def refuse_special(path: str) -> None:
    """Raise BadImage for a folder, a FIFO, a device or a socket, and for a file of more than `MAX_BYTES`."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise BadImage(path, f"this is {_kind(status.st_mode)}, not a file with an image: take it out")
    if status.st_size > MAX_BYTES:
        raise BadImage(path, f"{status.st_size:,} bytes are more than {MAX_BYTES:,}: reduce it or take it out")


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def header_problem(path: str) -> str | None:
    """Return why the file cannot be an image, by its first bytes; None where it may be one."""
    try:
        refuse_special(path)
        with open(path, "rb", buffering=0) as file:
            start = file.read(12)
    except BadImage as error:
        return error.reason
    except FileNotFoundError:
        return "the file is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if not start:
        return "0 bytes: the file is empty"
    return None if start.startswith(_MAGIC) else "not an image of a known format"


def begins_like_image(path: str) -> bool:
    """Return whether a file's header is an image's, whatever its name; False where it cannot be read."""
    if header_problem(path) is not None:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_image(path):
                return True
    except Exception:  # two bytes such as "BM" or "P3" begin many a text
        with open(path, "rb", buffering=0) as file:
            return file.read(12).startswith(_CERTAIN_MAGIC)


def why_unidentified(path: str) -> str:
    """Return why Pillow does not recognise a file: empty, damaged, or no image."""
    if os.path.getsize(path) == 0:
        return "0 bytes: the file is empty"
    if header_problem(path) is None:
        return "damaged: it begins like an image, but its header cannot be read"
    return "not an image of a known format, whatever its name says"
