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
from pathlib import Path

import numpy as np

from vggnet.console import counted, named
from vggnet.data.compact import Names
from vggnet.data.members import Members
from vggnet.data.splits import ImageData, Split
from vggnet.errors import BadImage, UserError
from vggnet.files import write_whole
from vggnet.images.decoding import decode

_COLUMNS = ["part", "image", "bytes", "digest", "class", "boxes", "skipped"]
_GONE = "there is no such file any more"
_MISSING = -1  # in the place of a size
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


@dataclass(frozen=True)
class ImageList:
    """The rows of a data set, train before val, in the order of its splits."""

    classes: tuple[str, ...]
    rows: tuple[Row, ...] = field(repr=False)

    @classmethod
    def of(cls, data: ImageData) -> "ImageList":
        """The list of `data`, with the sizes that its files have now."""
        rows: list[Row] = []
        for part, split in (("train", data.train), ("val", data.val)):
            if split is not None:
                rows += _rows(part, split, data.classes)
        return cls(data.classes, tuple(rows))

    def checked(self, part: str, split: Split, digests: np.ndarray) -> "ImageList":
        """Return the list with the digests of a part's images. Those that are not in `split` are marked as skipped."""
        known = dict(zip(split.files, digests.tolist(), strict=True))
        rows = (
            row if row.part != part else replace(row, digest=known.get(row.file, 0), skipped=row.file not in known)
            for row in self.rows
        )
        return ImageList(self.classes, tuple(rows))

    def write(self, path: Path) -> str:
        """Write the list; its hash."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*_COLUMNS, *self.classes])
        writer.writerows(row.cells() for row in self.rows)
        content = text.getvalue().encode("utf-8", "surrogateescape")
        write_whole(path, gzip.compress(content, 6, mtime=0))
        return hashlib.sha256(content).hexdigest()

    @staticmethod
    def read(path: Path, expected: str) -> bytes:
        """Return what `write` wrote, compressed. UserError where it is not the list with the hash `expected`."""
        why = "not as it was written"
        try:
            content = path.read_bytes()
            if hashlib.sha256(gzip.decompress(content)).hexdigest() == expected:
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
        text = gzip.decompress(content).decode("utf-8", "surrogateescape")
        table = csv.reader(io.StringIO(text, newline=""))
        header = next(table)
        rows = (
            Row(part, file, int(size), label, boxes, int(digest, 16), mark == "1")
            for part, file, size, digest, label, boxes, mark in table
        )
        return cls(tuple(header[len(_COLUMNS) :]), tuple(rows))

    def used(self, part: str) -> tuple[Row, ...]:
        """The rows of a part that were not skipped."""
        return tuple(row for row in self.rows if row.part == part and not row.skipped)

    def digests(self, part: str) -> np.ndarray:
        """Return the digests of the rows that were used, uint64 (n,)."""
        return np.array([row.digest for row in self.used(part)], np.uint64)

    def restored(self, part: str, now: Split | None) -> Split | None:
        """Return the split that the run was started with, `now` being that of its data; None where there was none."""
        rows = self.used(part)
        if not rows or now is None:
            return None
        place = {name: label for label, name in enumerate(self.classes)}
        labels = np.array([place[row.label] for row in rows], np.int64) if rows[0].label else None
        has_boxes = now.boxes is not None or any(row.boxes for row in rows)
        boxes = tuple(_boxes_of(row.boxes) for row in rows) if has_boxes else None
        sizes = now.stated_sizes
        if sizes is not None:
            stated = dict(zip(now.files, sizes.tolist(), strict=True))
            sizes = np.array([stated.get(row.file, [0, 0]) for row in rows], np.int64)
        files = Names.of(row.file for row in rows)
        return replace(
            now, files=files, labels=labels, boxes=boxes, stated_sizes=sizes, members=_members_of(files, now)
        )

    def changes(self, now: "ImageList", data: ImageData) -> Changes:
        """What is otherwise in `now`, the list of `data`. Images that were skipped at the start do not count."""
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


def _files(files: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(files))


def _rows(part: str, split: Split, classes: tuple[str, ...]) -> Iterator[Row]:
    sizes = split.states()[:, 0].tolist()
    for index, (file, size) in enumerate(zip(split.files, sizes, strict=True)):
        label = "" if split.labels is None else classes[split.labels[index]]
        boxes = "" if split.boxes is None else ";".join(" ".join(map(str, box)) for box in split.boxes[index].tolist())
        yield Row(part, file, size, label, boxes)


def _members_of(files: Names, now: Split) -> Members | None:
    """Return where `files` lie among the images of `now`; None in folders."""
    if now.members is None:
        return None
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
    if gone:
        yield f"{counted(len(gone), 'class')} gone: {named(gone)}"
    if new:
        yield f"{counted(len(new), 'class')} new: {named(new)}"
    if before != now and not gone and not new:
        yield "the classes are in another order"
