"""Folders on a disk and folders in an archive, with the same operations for both.

A layout of a data set is recognised by the names of folders and files. `Folder` is a `Path` or an `ArchiveFolder`,
which has the part of `Path`'s methods that layouts need. So class folders, Tiny ImageNet or ILSVRC are read from an
archive by the same code as from a folder.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from vggnet.data.archive_listing import Listing, is_archive, list_archive
from vggnet.data.compact import Names
from vggnet.data.image_files import File, content_of
from vggnet.data.members import Members
from vggnet.data.names import is_hidden, part_of


class Entry(Protocol):
    """What `os.DirEntry` and `ArchiveEntry` have in common."""

    @property
    def name(self) -> str: ...
    @property
    def path(self) -> str: ...
    def is_dir(self) -> bool: ...
    def is_symlink(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """A file or a folder in a folder of an archive."""

    name: str
    path: str
    folder: bool

    def is_dir(self) -> bool:
        return self.folder

    def is_symlink(self) -> bool:
        return False


class ArchiveFolder:
    """A folder, or a file, within an archive; a subset of `pathlib.Path`."""

    def __init__(self, listing: Listing, inner: str = "") -> None:
        """Wrap the posix path `inner` within the archive; "" is the archive itself."""
        self.listing, self._inner = listing, inner

    def __truediv__(self, name: str) -> "ArchiveFolder":
        parts = [*self._inner.split("/"), *name.split("/")]
        return ArchiveFolder(self.listing, "/".join(part for part in parts if part))

    def __str__(self) -> str:
        return os.path.join(self.listing.archive.path, self._inner) if self._inner else self.listing.archive.path

    @property
    def name(self) -> str:
        """Return the last part of the path; of the archive itself its name without the extension."""
        return self._inner.rpartition("/")[2] if self._inner else Path(self.listing.archive.path).stem

    @property
    def stem(self) -> str:
        return os.path.splitext(self.name)[0]

    @property
    def parent(self) -> "ArchiveFolder":
        return ArchiveFolder(self.listing, self._inner.rpartition("/")[0])

    @property
    def parents(self) -> "list[ArchiveFolder]":
        """Return the folders above, the archive itself last."""
        found, at = [], self
        while at._inner:
            at = at.parent
            found.append(at)
        return found

    def resolve(self) -> "ArchiveFolder":
        return self

    def is_dir(self) -> bool:
        prefix = self._prefix
        place = self.listing.find(prefix)
        return place < len(self.listing.names) and self.listing.names.encoded(place).startswith(prefix)

    def is_file(self) -> bool:
        return self._place() is not None

    def read_bytes(self) -> bytes:
        """Return the content of a file. Raises FileNotFoundError."""
        return content_of(self.file())

    def file(self) -> File:
        """Return the file for reading. Raises FileNotFoundError."""
        place = self._place()
        if place is None:
            raise FileNotFoundError(str(self))
        return self.listing.members(np.array([place])).file(0, str(self))

    def entries(self) -> Iterator[ArchiveEntry]:
        """Yield the files and folders directly in this folder, by name."""
        names, prefix, where = self.listing.names, self._prefix, str(self)
        place = self.listing.find(prefix)
        while place < len(names) and (full := names.encoded(place)).startswith(prefix):
            first, slash, _ = full[len(prefix) :].partition(b"/")
            name = os.fsdecode(first)
            yield ArchiveEntry(name, f"{where}/{name}", bool(slash))
            place = self.listing.find(prefix + first + b"0") if slash else place + 1  # 0 comes after /

    def members(self, files: Iterable[str]) -> Members:
        """Return where `files`, posix paths relative to this folder, lie. They must be there."""
        prefix, names, places = self._prefix, self.listing.names, []
        place = -1
        for file in files:
            wanted = prefix + os.fsencode(file)
            place += 1
            if place >= len(names) or names.encoded(place) != wanted:  # most often the next one
                place = self.listing.find(wanted)
            assert names.encoded(place) == wanted, file
            places.append(place)
        return self.listing.members(np.array(places, np.int64))

    @property
    def _prefix(self) -> bytes:
        return os.fsencode(self._inner + "/") if self._inner else b""

    def _place(self) -> int | None:
        wanted = os.fsencode(self._inner)
        place = self.listing.find(wanted)
        there = place < len(self.listing.names) and self.listing.names.encoded(place) == wanted
        return place if there else None


Folder = Path | ArchiveFolder


def entries_of(folder: Folder) -> Iterator[Entry]:
    """Yield what lies directly in a folder, in any order. Raises OSError."""
    if isinstance(folder, ArchiveFolder):
        yield from folder.entries()
        return
    with os.scandir(folder) as found:
        yield from found


def file_of(folder: Folder, name: str) -> File:
    """Return the file `name` in a folder, for reading."""
    return (folder / name).file() if isinstance(folder, ArchiveFolder) else os.path.join(folder, name)


def members_of(root: Folder, files: Names) -> Members | None:
    """Return where files lie in an archive; None for a folder on a disk."""
    return root.members(files) if isinstance(root, ArchiveFolder) else None


def folder_at(data: str | Path) -> Folder | None:
    """Return the folder `data`, or the folder in the archive `data`; None for anything else.

    Raises UserError as `list_archive`.
    """
    path = Path(data).expanduser()
    if path.is_dir():
        return path
    return open_archive(path) if is_archive(path) else None


def open_archive(path: Path) -> ArchiveFolder:
    """Return the outermost folder of an archive that holds more than one other folder: archives often have one around
    everything. Raises UserError as `list_archive`.
    """
    at = ArchiveFolder(list_archive(path))
    while True:
        inside = [entry for entry in at.entries() if not is_hidden(entry.name)]
        if len(inside) != 1 or not inside[0].is_dir() or part_of(inside[0].name) is not None:
            return at
        at = at / inside[0].name
