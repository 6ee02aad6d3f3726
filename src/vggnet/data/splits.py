"""`Split`: files, labels and boxes of a training or validation set; `ImageData`: the parts of a data set.

A split of 10 million images takes less than a gigabyte: names and boxes are `compact`, and of images in archives the
offsets are arrays (`members`).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vggnet.data.compact import BoxLists, Names
from vggnet.data.image_files import File, state_of
from vggnet.data.members import Members, concatenated
from vggnet.description import AS_STORED, ImageReading
from vggnet.errors import UserError
from vggnet.files import printable


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels and boxes. A label is a position in the data set's `classes`.

    `files` are posix paths relative to `root` (or absolute); where `members` are given, images lie in archives, and
    `root` and `files` name them for people only. Any sequence of strings becomes `Names`, and any of boxes `BoxLists`.
    `boxes[i]` is int64 (n, 4), n >= 0 boxes of image i as
    inclusive pixel corners xmin, ymin, xmax, ymax. Where `regions` are given, each entry is only that part of its
    image (a person in a photograph), and an image may be several entries. `stated_sizes` are widths and heights as
    annotations state them, 0 where they do not. `reading` says how the files are decoded. `part` is the folder
    ("train/") that all files begin with where a folder without a validation part is divided; `dividing` ignores it.
    """

    root: str
    files: Sequence[str]
    labels: np.ndarray | None = None  # int64 (N,)
    boxes: Sequence[np.ndarray] | None = None
    regions: np.ndarray | None = None  # int64 (N, 4), inclusive pixel corners
    stated_sizes: np.ndarray | None = None  # int64 (N, 2)
    reading: ImageReading = AS_STORED
    part: str = ""
    members: Members | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", Names.of(self.files))
        if self.boxes is not None:
            object.__setattr__(self, "boxes", BoxLists.of(self.boxes))

    def __len__(self) -> int:
        return len(self.files)

    def path(self, index: int) -> str:
        """Return the path of image `index`, for messages; `file` is what can be read."""
        return os.path.join(self.root, self.files[index])

    def file(self, index: int) -> File:
        """Return image `index` for reading: its path, or where it lies in an archive."""
        path = self.path(index)
        return path if self.members is None else self.members.file(index, path)

    def states(self) -> np.ndarray:
        """Return the `state_of` each file, int64 (N, 4): one look at each archive, or at each file in a folder."""
        found = np.empty((len(self), 4), np.int64)
        alone = np.arange(len(self))
        if self.members is not None:
            alone = np.flatnonzero(self.members.which < 0)
            found[:] = self.members.states()
        for index in alone.tolist():
            found[index] = state_of(self.path(index))
        return found

    def subset(self, indices: Sequence[int] | np.ndarray) -> "Split":
        """Return the split of the images at `indices`, in that order."""
        chosen = np.asarray(indices, np.int64)
        assert isinstance(self.files, Names)
        assert self.boxes is None or isinstance(self.boxes, BoxLists)
        return replace(
            self,
            files=self.files.at(chosen),
            labels=None if self.labels is None else self.labels[chosen],
            boxes=None if self.boxes is None else self.boxes.at(chosen),
            regions=None if self.regions is None else self.regions[chosen],
            stated_sizes=None if self.stated_sizes is None else self.stated_sizes[chosen],
            members=None if self.members is None else self.members.at(chosen),
        )

    def read_as(self, reading: ImageReading) -> "Split":
        """Return the same images, to be decoded as `reading` says."""
        return replace(self, reading=reading)


def joined(parts: Sequence[Split]) -> Split:
    """Return the images of several splits with their labels, one after another; files become absolute paths."""
    labels = [part.labels for part in parts if part.labels is not None]
    packed = any(part.members is not None for part in parts)
    return Split(
        "",
        Names.of(part.path(index) for part in parts for index in range(len(part))),
        np.concatenate(labels) if len(labels) == len(parts) else None,
        members=concatenated([part.members or Members.none(len(part)) for part in parts]) if packed else None,
    )


@dataclass(frozen=True, eq=False)
class ImageData:
    """A data set. `titles` are readable names of `classes`, or empty; `notes` are lines to print about it.

    `divided` is True where the data has no validation part, and `val` was set aside from the training images.
    """

    name: str
    root: str
    classes: tuple[str, ...]
    titles: tuple[str, ...]
    train: Split | None
    val: Split | None
    notes: tuple[str, ...] = ()
    divided: bool = False

    def __post_init__(self) -> None:
        if (name := next((each for each in self.classes if printable(each) != each), None)) is not None:
            raise UserError(
                f"{self.root}: the name of the class '{printable(name)}' is not UTF-8, and weights name their classes "
                "in UTF-8: rename its folder (`convmv -f latin1 -t utf8 --notest -r FOLDER` does where all are Latin-1)"
            )
