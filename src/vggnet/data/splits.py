"""`Split`: files, labels and boxes of a training or validation set; `ImageData`: the parts of a data set."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vggnet.description import AS_STORED, ImageReading
from vggnet.errors import UserError
from vggnet.files import printable


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels and boxes. A label is a position in the data set's `classes`.

    `files` are posix paths relative to `root` (or absolute); `boxes[i]` is int64 (n, 4), n >= 0 boxes of image i as
    inclusive pixel corners xmin, ymin, xmax, ymax. Where `regions` are given, each entry is only that part of its
    image (a person in a photograph), and an image may be several entries. `stated_sizes` are widths and heights as
    annotations state them, 0 where they do not. `reading` says how the files are decoded. `part` is the folder
    ("train/") that all files begin with where a folder without a validation part is divided; `dividing` ignores it.
    """

    root: str
    files: tuple[str, ...]
    labels: np.ndarray | None = None  # int64 (N,)
    boxes: tuple[np.ndarray, ...] | None = None
    regions: np.ndarray | None = None  # int64 (N, 4), inclusive pixel corners
    stated_sizes: np.ndarray | None = None  # int64 (N, 2)
    reading: ImageReading = AS_STORED
    part: str = ""

    def __len__(self) -> int:
        return len(self.files)

    def path(self, index: int) -> str:
        """Return the path of image `index`."""
        return os.path.join(self.root, self.files[index])

    def subset(self, indices: Sequence[int] | np.ndarray) -> "Split":
        """Return the split of the images at `indices`, in that order."""
        chosen = np.asarray(indices, np.int64)
        places = chosen.tolist()
        return replace(
            self,
            files=tuple(self.files[place] for place in places),
            labels=None if self.labels is None else self.labels[chosen],
            boxes=None if self.boxes is None else tuple(self.boxes[place] for place in places),
            regions=None if self.regions is None else self.regions[chosen],
            stated_sizes=None if self.stated_sizes is None else self.stated_sizes[chosen],
        )

    def read_as(self, reading: ImageReading) -> "Split":
        """Return the same images, to be decoded as `reading` says."""
        return replace(self, reading=reading)


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
