"""List what an archive holds: tar, tar of tars (as ILSVRC is distributed) and zip.

Names, offsets and sizes are read once; nothing is unpacked. The list is cached under the archive's path, size and time.
Hostile and damaged archives raise a UserError: names that lead out of the archive, two files of one name, an end that
is missing. Links and special files are counted and left out. Compressed tars are refused, because an image in the
middle of one cannot be reached without reading all before it.

Shapes: M members.
"""

import hashlib
import os
import tarfile
import zipfile
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO
from zipfile import BadZipFile

import numpy as np

from vggnet.console import Ticker, counted, named, progress
from vggnet.data.compact import Names, remember
from vggnet.data.members import DEFLATED, STORED, Archive, Members
from vggnet.errors import UserError
from vggnet.files import default_cache

_VERSION = 1  # part of the cached list's name: counts changes of what is listed
_COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ\0": "unxz", b"(\xb5/\xfd": "unzstd"}
_RARE = {b"Rar!\x1a\x07": "RAR", b"7z\xbc\xaf'\x1c": "7z"}
_SUFFIXES = frozenset((".tar", ".zip", ".tgz", ".tbz", ".txz", ".gz", ".bz2", ".xz", ".zst", ".rar", ".7z"))
_TAR_MARK, _TAR_MARK_AT = b"ustar", 257
_BLOCK = 512
_TICK = 4096  # members between two ticks of the progress display
_Row = tuple[bytes, int, int, int]  # name, start, length, size


@dataclass(frozen=True, eq=False)
class Listing:
    """The files of an archive, sorted by name. `links` and `special` were left out."""

    archive: Archive
    names: Names  # M, posix paths within the archive
    starts: np.ndarray  # int64 (M,), as in `Members`
    lengths: np.ndarray
    sizes: np.ndarray
    links: int = 0
    special: int = 0

    def find(self, name: bytes) -> int:
        """Return the place of the first file whose name is not below `name`."""
        return bisect_left(range(len(self.names)), name, key=self.names.encoded)

    def members(self, places: np.ndarray) -> Members:
        """Return where the files at `places`, int64 (n,), lie."""
        lengths = self.lengths[places]
        sizes = lengths if self.sizes is self.lengths else self.sizes[places]
        return Members((self.archive,), np.zeros(len(places), np.int32), self.starts[places], lengths, sizes)

    def notes(self) -> tuple[str, ...]:
        """Return notes on what was left out."""
        kinds = ((self.links, "link"), (self.special, "special file"))
        where = self.archive.path
        return tuple(f"left out: {counted(number, kind)} in {where}" for number, kind in kinds if number)


def is_archive(path: Path) -> bool:
    """Return whether a file is an archive, by name and content; also one that cannot be read in place."""
    return path.is_file() and _kind(path) is not None


def _kind(path: Path) -> str | None:
    """Return tar, zip, the program that unpacks it, or the name of a format that is not read; None for other files."""
    if path.suffix.lower() not in _SUFFIXES:  # by name, too: weight files of PyTorch and Keras are zips
        return None
    try:
        with path.open("rb") as file:
            start = file.read(_BLOCK)
    except OSError:
        return None
    if start[_TAR_MARK_AT:].startswith(_TAR_MARK) or (path.suffix == ".tar" and not start.strip(b"\0")):
        return "tar"
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    known = {**_COMPRESSED, **_RARE}
    found = next((what for mark, what in known.items() if start.startswith(mark)), None)
    return found or {".tar": "tar", ".zip": "zip"}.get(path.suffix.lower())


def list_archive(path: Path, *, cache: Path | None = None) -> Listing:
    """Return the files of a tar or a zip. `cache` is the folder for lists (None: the user's).

    Raises UserError for a file that is no such archive, is compressed as a whole, damaged, or hostile.
    """
    kind = _kind(path)
    if kind in _COMPRESSED.values():
        raise UserError(
            f"{path}: is compressed as a whole, so that no image can be reached without reading all before it: "
            f"`{kind} -k {path.name}` makes a tar that is read in place"
        )
    if kind not in ("tar", "zip"):
        raise UserError(
            f"{path}: {f'{kind} is' if kind else 'is'} not an archive that is read here: give a tar or a zip"
        )
    try:
        archive = Archive.at(str(path), "plain" if kind == "tar" else "zip")
        stored = _cache_file(archive, cache or default_cache())
        if (found := _read(stored, archive)) is not None:
            return found
        with progress(f"listing {path.name}") as tick, path.open("rb", buffering=4096) as file:
            rows: Iterator[_Row | None] = _tar_rows(path, file, tick) if kind == "tar" else _zip_rows(path, file)
            listing = _listing(archive, rows)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
    _write(stored, listing)
    return listing


def _listing(archive: Archive, rows: Iterator[_Row | None]) -> Listing:
    """Sort the rows by name. A row of None is a link, one without a name a special file."""
    kept, links, special = [], 0, 0
    for row in rows:
        if row is None:
            links += 1
        elif not row[0]:
            special += 1
        else:
            kept.append(row)
    kept.sort()
    twice = sorted({os.fsdecode(row[0]) for row, after in pairwise(kept) if row[0] == after[0]})
    if twice:
        raise UserError(
            f"{archive.path}: two files are called {named(twice, 3)}: which of them counts is not known. Write the "
            "archive again"
        )
    numbers = np.array([row[1:] for row in kept], np.int64).reshape(-1, 3)
    lengths, sizes = np.ascontiguousarray(numbers[:, 1]), np.ascontiguousarray(numbers[:, 2])
    names = Names.of(os.fsdecode(row[0]) for row in kept)
    same = bool((lengths == sizes).all())
    return Listing(
        archive, names, np.ascontiguousarray(numbers[:, 0]), lengths, lengths if same else sizes, links, special
    )


def _tar_rows(path: Path, file: BinaryIO, tick: Ticker) -> Iterator[_Row | None]:
    """Yield the files of a tar, and those of the tars in it, as a folder named by the tar's name without ".tar"."""
    size = os.fstat(file.fileno()).st_size
    for number, (name, start, length) in enumerate(_members_of_tar(path, file, 0, size)):
        if number % _TICK == 0:
            tick(start >> 20, size >> 20, "MB")
        if name is None:
            yield None
        elif not name.endswith(b".tar"):
            yield name, start, length, length
        else:
            for inner, inner_start, inner_length in _members_of_tar(path, file, start, length):
                yield None if inner is None else (name[:-4] + b"/" + inner, inner_start, inner_length, inner_length)


def _members_of_tar(path: Path, file: BinaryIO, start: int, length: int) -> Iterator[tuple[bytes | None, int, int]]:
    """Yield name, offset in the file and size of what a tar holds from byte `start` on. The name of a link is None."""
    where = f"{path} (at byte {start:,})" if start else str(path)
    end = start + length
    try:
        file.seek(start)
        with tarfile.TarFile(fileobj=file, mode="r", encoding="utf-8", errors="surrogateescape") as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # else it keeps all of them
                if member.isdir():
                    continue
                if member.issym() or member.islnk():
                    yield None, 0, 0
                elif not member.isreg() or member.sparse is not None:
                    yield b"", 0, 0
                elif member.offset_data + member.size > end:
                    raise UserError(f"{where}: ends within {member.name!r}: it is truncated, copy it again")
                else:
                    back = file.tell()
                    yield _checked_name(member.name, where), member.offset_data, member.size
                    file.seek(back)  # an inner tar was read meanwhile
            at = tar.offset
    except tarfile.TarError as error:
        raise UserError(f"{where}: not a tar, or a damaged one ({error}): copy it again") from error
    file.seek(at)
    if at + _BLOCK > end or file.read(_BLOCK).strip(b"\0"):
        what = "ends without the mark of a tar's end" if at + _BLOCK > end else f"is damaged at byte {at:,}"
        raise UserError(f"{where}: {what}: it is truncated or damaged, copy it again")


def _zip_rows(path: Path, file: BinaryIO) -> Iterator[_Row | None]:
    end = os.fstat(file.fileno()).st_size
    try:
        with zipfile.ZipFile(file) as found:
            for member in found.infolist():
                mode = member.external_attr >> 16
                if member.is_dir():
                    continue
                if mode and (mode & 0o170000) == 0o120000:
                    yield None
                    continue
                name = _checked_name(member.filename.replace("\\", "/"), str(path))
                if member.flag_bits & 1:
                    raise UserError(f"{path}: {member.filename!r} is encrypted: write the archive without a password")
                if member.compress_type not in (STORED, DEFLATED):
                    raise UserError(
                        f"{path}: {member.filename!r} is compressed by method {member.compress_type}, which is "
                        "not read: write the archive with `zip -0`, which suits images best"
                    )
                if not 0 <= member.header_offset <= end - member.compress_size:
                    raise UserError(
                        f"{path}: {member.filename!r} ends beyond the archive's end: it is truncated or damaged, copy "
                        "it again"
                    )
                yield name, member.header_offset, member.compress_size, member.file_size
    except (BadZipFile, NotImplementedError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: not a zip, or a damaged one ({error}): copy it again") from error


def _checked_name(name: str, where: str) -> bytes:
    """Return a posix path below the archive's root. Raises UserError for one that leads out of it."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or not parts:
        raise UserError(
            f"{where}: the name {name!r} leads out of the archive: it is damaged, or made to do harm. Write it with "
            "relative names (`tar -C FOLDER -cf ARCHIVE.tar .`)"
        )
    return os.fsencode("/".join(parts))


def _cache_file(archive: Archive, cache: Path) -> Path:
    content = repr((_VERSION, os.path.abspath(archive.path), archive.kind, archive.state))
    return cache / "archive-lists" / f"{hashlib.sha256(os.fsencode(content)).hexdigest()[:32]}.npz"


def _read(path: Path, archive: Archive) -> Listing | None:
    """Return the cached list; None where it is missing or damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            names = Names.joined(found["text"], found["name_lengths"])
            starts, lengths, sizes = found["starts"], found["lengths"], found["sizes"]
            links, special = (int(value) for value in found["left_out"])
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    return Listing(archive, names, starts, lengths, sizes if len(sizes) else lengths, links, special)


def _write(path: Path, listing: Listing) -> None:
    text, name_lengths = listing.names.arrays()
    arrays = {
        "text": text,
        "name_lengths": name_lengths,
        "starts": listing.starts,
        "lengths": listing.lengths,
        "sizes": listing.sizes[:0] if listing.sizes is listing.lengths else listing.sizes,
        "left_out": np.array([listing.links, listing.special]),
    }
    remember(path, arrays)
