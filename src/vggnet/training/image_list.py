"""The images of a run as they were at its start, written down, and what has changed since.

A row holds an image's part (train or val), its file relative to the data's folder, its size in bytes, the digest of its
content, its class, its boxes, and whether it was skipped because it could not be read. Where the folder lies does not
count.
"""

import csv
import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, groupby, islice
from pathlib import Path

import numpy as np

from vggnet.console import counted, named
from vggnet.data.compact import BoxLists, Names
from vggnet.data.members import Members
from vggnet.data.splits import ImageData, Split
from vggnet.errors import BadImage, UserError
from vggnet.files import write_whole
from vggnet.images.decoding import decode

_COLUMNS = ["part", "image", "bytes", "digest", "class", "boxes", "skipped"]
_GONE = "there is no such file any more"
_MISSING = -1  # in the place of a size
_NO_LABEL = -1
_PIECE = 65_536  # rows that are text at one time
_MOST_DECODED = 1000  # changed files that are decoded to see whether they are damaged or others


@dataclass(frozen=True, slots=True)
class Row:
    """One example of a training or validation set; an image may be several, one for each class."""

    part: str
    file: str
    size: int
    label: str  # name of the class; "" without
    boxes: str  # "xmin ymin xmax ymax;...", "" without
    digest: int = 0  # `learnt.content_digest`; 0 where it is not known
    skipped: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        return self.part, self.file, self.label

    def cells(self) -> list[str]:
        """The row as it is written."""
        mark = "1" if self.skipped else ""
        return [self.part, self.file, str(self.size), f"{self.digest:016x}", self.label, self.boxes, mark]


@dataclass(frozen=True)
class Changes:
    """Differences to the images at the start, files by kind. `unreadable` files are missing or damaged now."""

    classes: tuple[str, ...] = ()  # sentences
    unreadable: tuple[BadImage, ...] = ()
    replaced: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    relabelled: tuple[str, ...] = ()
    boxes: tuple[str, ...] = ()

    @property
    def others(self) -> bool:
        """Whether there is more than images that cannot be read."""
        return bool(self.classes or self.replaced or self.added or self.relabelled or self.boxes)

    def lines(self) -> list[str]:
        """What has changed, a line for each kind."""
        kinds = {
            "gone or unreadable": [error.path for error in self.unreadable],
            "with another content": self.replaced,
            "new": self.added,
            "in another class or part": self.relabelled,
            "with other boxes": self.boxes,
        }
        found = [f"{counted(len(files), 'image')} {kind}: {named(files, 3)}" for kind, files in kinds.items() if files]
        return [*self.classes, *found]


@dataclass(frozen=True, eq=False)
class _PartList:
    """The rows of one part as columns: N images. A label is a position in the list's classes, -1 without."""

    files: Names
    sizes: np.ndarray  # int64 (N,)
    labels: np.ndarray  # int32 (N,)
    boxes: BoxLists
    digests: np.ndarray  # uint64 (N,)
    skipped: np.ndarray  # bool (N,)

    @classmethod
    def of(cls, split: Split) -> "_PartList":
        count = len(split)
        labels = np.full(count, _NO_LABEL, np.int32) if split.labels is None else split.labels.astype(np.int32)
        nothing = BoxLists.joined(np.empty((0, 4), np.int64), np.zeros(count, np.int32))
        return cls(
            Names.of(split.files),
            split.states()[:, 0],
            labels,
            nothing if split.boxes is None else BoxLists.of(split.boxes),
            np.zeros(count, np.uint64),
            np.zeros(count, bool),
        )

    def checked(self, split: Split, digests: np.ndarray) -> "_PartList":
        """Return the list with the digests of `split`, whose images are some of these in the same order."""
        if split.files == self.files:
            return replace(self, digests=np.array(digests, np.uint64), skipped=np.zeros(len(self.files), bool))
        found, skipped, place = np.zeros(len(self.files), np.uint64), np.ones(len(self.files), bool), 0
        for row, file in enumerate(self.files):
            if place < len(split) and split.files[place] == file:
                found[row], skipped[row] = digests[place], False
                place += 1
        assert place == len(split)
        return replace(self, digests=found, skipped=skipped)

    def equals(self, now: "_PartList") -> bool:
        """Return whether these are the same images in the same order, with the same sizes and boxes."""
        if len(self.files) != len(now.files) or self.files != now.files or (self.labels != now.labels).any():
            return False
        same = (self.boxes.counts == now.boxes.counts).all() and (self.boxes.rows() == now.boxes.rows()).all()
        return bool(same and ((self.sizes == now.sizes) | self.skipped).all())

    def rows(self, part: str, classes: tuple[str, ...]) -> Iterator[Row]:
        """Yield the rows one by one."""
        columns = zip(
            self.sizes.tolist(), self.labels.tolist(), self.digests.tolist(), self.skipped.tolist(), strict=True
        )
        for place, (file, (size, label, digest, skipped)) in enumerate(zip(self.files, columns, strict=True)):
            boxes = ";".join(" ".join(map(str, box)) for box in self.boxes[place].tolist())
            name = "" if label == _NO_LABEL else classes[label]
            yield Row(part, file, size, name, boxes, digest, skipped)


@dataclass(frozen=True, eq=False)
class ImageList:
    """The images of a data set, train before val, in the order of its splits."""

    classes: tuple[str, ...]
    parts: dict[str, _PartList] = field(repr=False)

    @classmethod
    def of(cls, data: ImageData) -> "ImageList":
        """Return the list of `data`, with the sizes that its files have now."""
        splits = (("train", data.train), ("val", data.val))
        return cls(data.classes, {part: _PartList.of(split) for part, split in splits if split is not None})

    def checked(self, part: str, split: Split, digests: np.ndarray) -> "ImageList":
        """Return the list with the digests of a part's images. Those that are not in `split` are marked as skipped."""
        return ImageList(self.classes, self.parts | {part: self.parts[part].checked(split, digests)})

    @property
    def rows(self) -> Iterator[Row]:
        """Yield the rows of all parts."""
        for part, listed in self.parts.items():
            yield from listed.rows(part, self.classes)

    def write(self, path: Path) -> str:
        """Write the list; return its hash."""
        content, digest = io.BytesIO(), hashlib.sha256()
        with gzip.GzipFile("", "wb", 6, content, mtime=0) as packed:
            for rows in chain([[[*_COLUMNS, *self.classes]]], _in_pieces(row.cells() for row in self.rows)):
                text = io.StringIO()
                csv.writer(text, lineterminator="\n").writerows(rows)
                piece = text.getvalue().encode("utf-8", "surrogateescape")
                digest.update(piece)
                packed.write(piece)
        write_whole(path, content.getvalue())
        return digest.hexdigest()

    @staticmethod
    def read(path: Path, expected: str) -> bytes:
        """Return what `write` wrote, compressed. UserError where it is not the list with the hash `expected`."""
        why = "not as it was written"
        try:
            content = path.read_bytes()
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
                found = hashlib.file_digest(packed, "sha256").hexdigest()
            if found == expected:
                return content
        except (OSError, EOFError, zlib.error) as error:
            why = str(error)
        raise UserError(
            f"{path}: the list of the run's images cannot be read ({why}); put it back from a backup, or accept "
            "the images as they are now with `data_changed`"
        )

    @classmethod
    def of_bytes(cls, content: bytes) -> "ImageList":
        """Return the list that `read` has returned."""
        packed = gzip.GzipFile(fileobj=io.BytesIO(content))
        table = csv.reader(io.TextIOWrapper(packed, "utf-8", "surrogateescape", newline=""))
        classes = tuple(next(table)[len(_COLUMNS) :])
        place = {name: label for label, name in enumerate(classes)} | {"": _NO_LABEL}
        pieces: dict[str, list[_PartList]] = {}
        for part, rows in groupby(table, key=lambda cells: cells[0]):
            pieces.setdefault(part, []).extend(_piece(cells, place) for cells in _in_pieces(rows))
        return cls(classes, {part: _joined(found) for part, found in pieces.items()})

    def used(self, part: str) -> np.ndarray:
        """Return the places of the rows of a part that were not skipped, int64 (n,)."""
        listed = self.parts.get(part)
        return np.empty(0, np.int64) if listed is None else np.flatnonzero(~listed.skipped)

    def digests(self, part: str) -> np.ndarray:
        """Return the digests of the rows that were used, uint64 (n,)."""
        return self.parts[part].digests[self.used(part)]

    def restored(self, part: str, now: Split | None) -> Split | None:
        """Return the split that the run was started with, `now` being that of its data; None where there was none."""
        used = self.used(part)
        if not len(used) or now is None:
            return None
        listed = self.parts[part]
        files, labels, boxes = listed.files.at(used), listed.labels[used].astype(np.int64), listed.boxes.at(used)
        has_boxes = now.boxes is not None or bool(boxes.counts.any())
        sizes = now.stated_sizes
        if sizes is not None:
            stated = dict(zip(now.files, sizes.tolist(), strict=True))
            sizes = np.array([stated.get(file, [0, 0]) for file in files], np.int64)
        return replace(
            now,
            files=files,
            labels=None if labels[0] == _NO_LABEL else labels,
            boxes=boxes if has_boxes else None,
            stated_sizes=sizes,
            members=_members_of(files, now),
        )

    def changes(self, now: "ImageList", data: ImageData) -> Changes:
        """Return what is otherwise in `now`, the list of `data`. Images that were skipped at the start do not count."""
        alike = self.classes == now.classes and self.parts.keys() == now.parts.keys()
        if alike and all(listed.equals(now.parts[part]) for part, listed in self.parts.items()):
            return Changes()
        before = {row.key: row for row in self.rows}
        after = {row.key: row for row in now.rows}
        absent = [row for key, row in before.items() if key not in after and not row.skipped]
        added = [row for key, row in after.items() if key not in before]
        places = {row.file for row in added}
        moved = {row.file for row in absent if row.file in places}
        same = [(row, after[key]) for key, row in before.items() if key in after and not row.skipped]
        resized = [new for old, new in same if old.size != new.size]
        gone = {row.file: BadImage(_path(data, row), _GONE) for row in absent if row.file not in moved}
        unreadable = gone | _damaged(resized, data)
        return Changes(
            tuple(_renamed(self.classes, now.classes)),
            tuple(unreadable.values()),
            _files(row.file for row in resized if row.file not in unreadable),
            _files(row.file for row in added if row.file not in moved),
            _files(moved),
            _files(old.file for old, new in same if old.boxes != new.boxes),
        )


def _in_pieces(rows: Iterable[list[str]]) -> Iterator[list[list[str]]]:
    """Yield rows by the thousands, so that millions are never text at one time."""
    found = iter(rows)
    while piece := list(islice(found, _PIECE)):
        yield piece


def _piece(rows: list[list[str]], place: dict[str, int]) -> _PartList:
    """Return rows of one part as columns; `place` is the label of each class."""
    _, files, sizes, digests, labels, boxes, marks = zip(*rows, strict=True)
    return _PartList(
        Names.of(files),
        np.array(list(map(int, sizes)), np.int64),
        np.array([place[label] for label in labels], np.int32),
        BoxLists.of(map(_boxes_of, boxes)),
        np.array([int(digest, 16) for digest in digests], np.uint64),
        np.array([mark == "1" for mark in marks], bool),
    )


def _joined(pieces: list[_PartList]) -> _PartList:
    names = [piece.files.arrays() for piece in pieces]
    boxes = BoxLists.joined(
        np.concatenate([piece.boxes.rows() for piece in pieces]),
        np.concatenate([piece.boxes.counts for piece in pieces]),
    )
    return _PartList(
        Names.joined(np.concatenate([text for text, _ in names]), np.concatenate([lengths for _, lengths in names])),
        np.concatenate([piece.sizes for piece in pieces]),
        np.concatenate([piece.labels for piece in pieces]),
        boxes,
        np.concatenate([piece.digests for piece in pieces]),
        np.concatenate([piece.skipped for piece in pieces]),
    )


def _files(files: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(files))


def _members_of(files: Names, now: Split) -> Members | None:
    """Return where `files` lie among the images of `now`; None in folders."""
    if now.members is None or files == now.files:
        return now.members
    place = {file: index for index, file in enumerate(now.files)}
    return now.members.at(np.array([place.get(file, -1) for file in files], np.int64))


def _boxes_of(text: str) -> np.ndarray:
    corners = [[int(number) for number in box.split(" ")] for box in text.split(";")] if text else []
    return np.array(corners, np.int64).reshape(-1, 4)


def _part(data: ImageData, part: str) -> Split:
    split = data.train if part == "train" else data.val
    assert split is not None
    return split


def _path(data: ImageData, row: Row) -> str:
    """Return the path of a row's image, whether or not it is there, for messages."""
    split = data.train if row.part == "train" or data.val is None else data.val
    return os.path.join(data.root if split is None else split.root, row.file)


def _damaged(rows: list[Row], data: ImageData) -> dict[str, BadImage]:
    """Return the unreadable files among images whose size in bytes has changed."""
    found = {}
    for row in rows[:_MOST_DECODED]:
        split = _part(data, row.part)
        if row.size == _MISSING:
            found[row.file] = BadImage(_path(data, row), _GONE)
            continue
        try:
            decode(split.file(split.files.index(row.file)))
        except BadImage as error:
            found[row.file] = error
    return found


def _renamed(before: tuple[str, ...], now: tuple[str, ...]) -> Iterator[str]:
    """Yield a sentence for each kind of change of the classes."""
    gone, new = [name for name in before if name not in now], [name for name in now if name not in before]
    for names, word in ((gone, "gone"), (new, "new")):
        if names:
            yield f"{counted(len(names), 'class')} {word}: {named(names)}"
    if before != now and not gone and not new:
        yield "the classes are in another order"
