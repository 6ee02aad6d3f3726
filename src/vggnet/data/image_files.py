"""Open image files without decoding: regular files only, by content, with limits on size and computing time.

A `File` is a path, or an image inside an archive (`members.Member`): everything that reads images takes either.

No file can block the program: FIFOs and devices are not opened, and decoding stops for a file that is damaged, or made,
so that its decoder searches or computes for minutes.
"""

import importlib.util
import io
import os
import stat
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from PIL import Image

from vggnet.data.members import ABSENT, MAX_BYTES, NO_STATE, Member, State, state_of_status
from vggnet.errors import BadImage

File = str | Member

MAX_SECONDS = 60.0  # computing time for one file; the largest images take a few seconds
IMAGE_EXTENSIONS = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib"),
        *(".webp", ".tif", ".tiff", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm", ".heic", ".heif"),
    )
)
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "JPEG2000")
HEIF = "HEIF"  # Pillow's name of what phones write as .heic; decoded by the package pillow-heif
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
NO_HEIF = "a HEIC file, as phones write them: pip install 'vggnet[heic]' to read it, or save it as JPEG"
_CERTAIN_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8")
_MAGIC = (
    *(b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff"),
    *(b"P%d" % kind for kind in range(1, 7)),
)
_PIECE = 2**16  # bytes read at once, as much as Pillow hands to a decoder


class TooSlow(Exception):
    """An image took more computing time than it may."""


class _Timed(io.RawIOBase):
    """A file whose `read` raises TooSlow after `max_seconds` of this thread's computing time.

    Decoders read in small pieces, so this stops one that searches zeros for a marker or decodes thousands of scans.
    """

    def __init__(self, raw: io.RawIOBase, max_seconds: float) -> None:
        super().__init__()
        self._raw = raw
        self._max_seconds = max_seconds
        self._end = time.thread_time() + max_seconds

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        return self._raw.tell()

    def readinto(self, buffer: Any, /) -> int | None:
        if time.thread_time() > self._end:
            raise TooSlow(f"decoding takes more than {self._max_seconds:g} s")
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


@contextmanager
def open_image(file: File, max_seconds: float | None = None) -> Iterator[Image.Image]:
    """Open an image with Pillow without reading its pixels.

    `max_seconds` limits the computing time of decoding (None: MAX_SECONDS).

    Raises BadImage for a file that is not regular or too big, and Pillow's own errors, which `decode` converts.
    """
    refuse_special(file)
    limit = MAX_SECONDS if max_seconds is None else max_seconds
    with io.BufferedReader(_Timed(open_file(file), limit), _PIECE) as raw:
        formats = _formats_of(str(file), raw.peek(12)[:12])
        with Image.open(raw, formats=formats) as image:
            yield image


def _formats_of(path: str, start: bytes) -> tuple[str, ...]:
    """Return the formats that a file beginning with `start` may have. Raises BadImage for HEIC without its package."""
    if not _is_heif(start):
        return FORMATS
    if not register_heif():
        raise BadImage(path, NO_HEIF)
    return (HEIF,)


def _is_heif(start: bytes) -> bool:
    return start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS


@cache
def register_heif() -> bool:
    """Let Pillow read HEIC, once in a process. Return whether the package pillow-heif is there."""
    if importlib.util.find_spec("pillow_heif") is None:
        return False
    import pillow_heif

    pillow_heif.register_heif_opener()
    return True


def open_file(file: File) -> io.RawIOBase:
    """Return the file, opened for reading without a buffer. Raises OSError, and BadImage for a damaged archive."""
    return file.open() if isinstance(file, Member) else io.FileIO(file)


def content_of(file: File) -> bytes:
    """Return all bytes of a file. Raises as `open_file`, and BadImage as `refuse_special`."""
    refuse_special(file)
    with open_file(file) as raw:
        return raw.read()


def refuse_special(file: File) -> None:
    """Raise BadImage for a folder, a FIFO, a device or a socket, and for a file of more than `MAX_BYTES`."""
    if isinstance(file, Member):
        size = file.size
    else:
        status = os.stat(file)
        if not stat.S_ISREG(status.st_mode):
            raise BadImage(file, f"this is {_kind(status.st_mode)}, not a file with an image: take it out")
        size = status.st_size
    if size > MAX_BYTES:
        raise BadImage(str(file), f"{size:,} bytes are more than {MAX_BYTES:,}: reduce it or take it out")


def size_of(file: File) -> int:
    """Return the number of bytes of a file. Raises OSError."""
    return file.size if isinstance(file, Member) else os.path.getsize(file)


def state_of(file: File) -> State:
    """Return a file's size, time of writing, inode and time of change; times and inode of an archive are its members'.

    The size is -1 for what is no regular file, is larger than `MAX_BYTES`, or cannot be read.
    """
    if isinstance(file, Member) and file.start == ABSENT:
        return NO_STATE
    try:
        status = os.stat(file.archive.path if isinstance(file, Member) else file)
    except OSError:
        return NO_STATE
    size = file.size if isinstance(file, Member) else status.st_size
    if not stat.S_ISREG(status.st_mode) or size > MAX_BYTES:
        return NO_STATE
    return size, *state_of_status(status)[1:]


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def header_problem(file: File) -> str | None:
    """Return why the file cannot be an image, by its first bytes; None where it may be one."""
    try:
        refuse_special(file)
        with open_file(file) as raw:
            start = raw.read(12)
    except BadImage as error:
        return error.reason
    except FileNotFoundError:
        return "the file is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if not start:
        return "0 bytes: the file is empty"
    if _is_heif(start):
        return None if register_heif() else NO_HEIF
    return None if start.startswith(_MAGIC) else "not an image of a known format"


def begins_like_image(file: File) -> bool:
    """Return whether a file's header is an image's, whatever its name; False where it cannot be read."""
    if header_problem(file) is not None:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_image(file):
                return True
    except Exception:  # two bytes such as "BM" or "P3" begin many a text
        with open_file(file) as raw:
            return raw.read(12).startswith(_CERTAIN_MAGIC)


def why_unidentified(file: File) -> str:
    """Return why Pillow does not recognise a file: empty, damaged, or no image."""
    if size_of(file) == 0:
        return "0 bytes: the file is empty"
    if header_problem(file) is None:
        return "damaged: it begins like an image, but its header cannot be read"
    return "not an image of a known format, whatever its name says"
