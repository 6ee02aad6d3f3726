"""Images inside archives, read in place: where each one lies, and how its bytes are read.

No file is unpacked to the disk; a compressed image of a zip is unpacked in memory. An image is named by its archive,
its offset and its length, so any order of reading costs the same. A process opens an archive once and reads with
`os.pread`, which needs no position of its own: threads and forked processes share the file. `Members` holds these facts
for millions of images in a few arrays.
"""

import io
import os
import stat
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from vggnet.data.parquet_rows import read_row
from vggnet.errors import BadImage, reason_of

# bytes as they are (tar, Arrow); behind a zip's local header, perhaps compressed; in the rows of a parquet file
Kind = Literal["plain", "zip", "parquet"]
State = tuple[int, int, int, int]  # size, time of writing, inode, time of change
MAX_BYTES = 2**30  # a file of `decoding.MAX_PIXELS` with 8 bits, transparency and no compression is 0.7 GB
NO_STATE: State = (-1, 0, 0, 0)  # of what is no image file
_CHANGED = "the archive has changed since its images were listed: start again"
_MOST_OPEN = 64  # archives that a process holds open
_ZIP_HEADER = 30  # bytes before the name
_ZIP_MARK = b"PK\x03\x04"
STORED, DEFLATED = 0, 8  # zip's methods
ABSENT = -1  # in the place of an offset
_ALONE = -1  # in the place of an archive: a file by itself


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive as it was when its members were listed; `column` is that of the images in a parquet file."""

    path: str
    kind: Kind
    state: State
    column: str = ""

    @classmethod
    def at(cls, path: str, kind: Kind, column: str = "") -> "Archive":
        """Return the archive at `path` in its present state. Raises OSError."""
        return cls(path, kind, state_of_status(os.stat(path)), column)

    def is_as_listed(self) -> bool:
        """Return whether the archive is unchanged. Raises OSError."""
        return state_of_status(os.stat(self.path))[:3] == self.state[:3]


def state_of_status(status: os.stat_result) -> State:
    """Return what tells whether a file is still the same."""
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns


@dataclass(frozen=True, slots=True)
class Member:
    """An image in an archive. `path` names it for people: the archive's path, and its name within.

    `start` is the offset of its bytes (in a zip, of its local header; in a parquet file, its row), `length` their
    number as they are stored, and `size` the number of bytes of the file.
    """

    path: str
    archive: Archive
    start: int
    length: int
    size: int

    def __str__(self) -> str:
        return self.path

    def open(self) -> io.RawIOBase:
        """Return the member as a file for reading that can be positioned.

        Raises BadImage where the archive is damaged or has changed since its members were listed, FileNotFoundError
        where it holds no such image.
        """
        if self.start == ABSENT:
            raise FileNotFoundError(self.path)
        if self.archive.kind == "parquet":
            return _Content(self._in_row())
        handle = _opened(self.archive)
        if self.archive.kind == "plain":
            return _Window(handle, self.start, self.size, self.path)
        start, method = self._in_zip(handle)
        if method == STORED:
            return _Window(handle, start, self.size, self.path)
        return _Content(self._inflated(handle.read(start, self.length)))

    def _in_row(self) -> bytes:
        if not self.archive.is_as_listed():
            raise BadImage(self.path, _CHANGED)
        try:
            return read_row(self.archive.path, self.archive.state, self.archive.column, self.start)
        except FileNotFoundError:
            raise
        except Exception as error:  # pyarrow raises exceptions of several kinds for damaged files
            raise BadImage(self.path, f"the table is damaged ({reason_of(error)}): copy it again") from error

    def _in_zip(self, handle: "_Handle") -> tuple[int, int]:
        """Return where the member's bytes begin, and the method of their compression."""
        header = handle.read(self.start, _ZIP_HEADER)
        if len(header) < _ZIP_HEADER or not header.startswith(_ZIP_MARK):
            raise BadImage(self.path, f"the archive is damaged at byte {self.start:,}: copy it again")
        lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        return self.start + _ZIP_HEADER + lengths, int.from_bytes(header[8:10], "little")

    def _inflated(self, stored: bytes) -> bytes:
        try:
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored, max(1, self.size))  # 0 is no limit
        except zlib.error as error:
            raise BadImage(self.path, f"its compressed bytes are damaged ({error}): copy the archive again") from None
        if len(content) != self.size:
            raise BadImage(self.path, f"{len(content):,} of {self.size:,} bytes: the archive is damaged, copy it again")
        return content


class _Handle:
    """An open archive; closed when no member uses it any more."""

    def __init__(self, archive: Archive) -> None:
        self.file = -1
        self.file = os.open(archive.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        status = os.fstat(self.file)
        if state_of_status(status)[:3] != archive.state[:3] or not stat.S_ISREG(status.st_mode):
            raise BadImage(archive.path, _CHANGED)

    def read(self, start: int, length: int) -> bytes:
        return os.pread(self.file, length, start)

    def __del__(self) -> None:
        if self.file >= 0:
            os.close(self.file)


@lru_cache(_MOST_OPEN)
def _opened(archive: Archive) -> _Handle:
    return _Handle(archive)


class _Window(io.RawIOBase):
    """The bytes of an archive from `start` on, as a file of their own."""

    def __init__(self, handle: _Handle, start: int, size: int, path: str) -> None:
        super().__init__()
        self._handle, self._start, self._size, self._path = handle, start, size, path
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        wanted = min(len(buffer), max(0, self._size - self._at))
        content = self._handle.read(self._start + self._at, wanted) if wanted else b""
        if len(content) < wanted:
            raise BadImage(self._path, "the archive ends within this image: it is truncated, copy it again")
        buffer[:wanted] = content
        self._at += wanted
        return wanted


class _Content(io.RawIOBase):
    """Bytes in memory as a raw file."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._file = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any, /) -> int:
        return self._file.readinto(buffer)


@dataclass(frozen=True, eq=False)
class Members:
    """Where the images of a split lie. N images; `which` int32 (N,) is the archive of each, -1 for a file by itself.

    `starts`, `lengths` and `sizes`, int64 (N,), as in `Member`; `sizes` is `lengths` where nothing is compressed.
    """

    archives: tuple[Archive, ...]
    which: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.which)

    @classmethod
    def none(cls, count: int) -> "Members":
        """Return the table of `count` files that lie in no archive."""
        nothing = np.zeros(count, np.int64)
        return cls((), np.full(count, _ALONE, np.int32), nothing, nothing, nothing)

    def file(self, index: int, path: str) -> str | Member:
        """Return image `index`, named `path`."""
        if self.which[index] == _ALONE:
            return path
        archive = self.archives[self.which[index]]
        return Member(path, archive, int(self.starts[index]), int(self.lengths[index]), int(self.sizes[index]))

    def states(self) -> np.ndarray:
        """Return size, time of writing, inode and time of change of each image in an archive, int64 (N, 4).

        Times and inode are those of the archive now. The size is -1 for an image that is absent, is too large, or whose
        archive cannot be read, and for a file by itself.
        """
        now = np.array([*map(_state_now, self.archives), NO_STATE], np.int64)
        found = now[self.which]  # -1 is the last one
        usable = (found[:, 0] >= 0) & (self.starts != ABSENT) & (self.sizes <= MAX_BYTES)
        found[:, 0] = np.where(usable, self.sizes, -1)
        return found

    def at(self, places: np.ndarray) -> "Members":
        """Return the members at `places`, int64 (n,), in that order; a place below 0 is an image that is absent."""
        same = self.sizes is self.lengths
        lengths = self.lengths[places]
        sizes = lengths if same else self.sizes[places]
        starts = np.where(places < 0, ABSENT, self.starts[places])
        return replace(self, which=self.which[places], starts=starts, lengths=lengths, sizes=sizes)


def _state_now(archive: Archive) -> State:
    try:
        status = os.stat(archive.path)
    except OSError:
        return NO_STATE
    return state_of_status(status) if stat.S_ISREG(status.st_mode) else NO_STATE


def concatenated(parts: "list[Members]") -> Members:
    """Return the members of several tables, one after another."""
    archives = tuple(archive for part in parts for archive in part.archives)
    firsts = np.cumsum([0, *(len(part.archives) for part in parts[:-1])])
    placed = list(zip(parts, firsts.astype(np.int32), strict=True))
    lengths = np.concatenate([part.lengths for part in parts])
    same = all(part.sizes is part.lengths for part in parts)
    return Members(
        archives,
        np.concatenate([np.where(part.which < 0, part.which, part.which + first) for part, first in placed]),
        np.concatenate([part.starts for part in parts]),
        lengths,
        lengths if same else np.concatenate([part.sizes for part in parts]),
    )
