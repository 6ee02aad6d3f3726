"""`Split`: files, labels and boxes of a training or validation set; `ImageData`: the parts of a data set."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vggnet.description import AS_STORED, ImageReading
from vggnet.errors import UserError
from vggnet.files import printable
from vggnet.images.listing import LeftOut, holds_runs, list_images, visible_folders
from vggnet.images.names import is_hidden
from vggnet.images.opening import IMAGE_EXTENSIONS


@dataclass(frozen=True, eq=False)
class Split:
    """Images with what is known about them. Labels are positions in the data's `classes`.

    `files` are posix paths relative to `root` (or absolute); `boxes[i]` is int64 (n, 4), n >= 0 boxes of image i as
    inclusive pixel corners xmin, ymin, xmax, ymax. Where `regions` are given, each entry is only that part of its
    image (a person in a photograph), and an image may be several entries. `stated_sizes` are widths and heights as
    annotations state them, 0 where they do not. `reading` says how the files are decoded. `part` is the folder,
    as "train/", that all files begin with where a folder without a validation part is divided: it has no say in how.
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
        """Where image `index` lies."""
        return os.path.join(self.root, self.files[index])

    def subset(self, indices: Sequence[int] | np.ndarray) -> "Split":
        """The images at `indices`, in that order."""
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
    """A data set. `titles` are readable names of `classes`, or empty; `notes` tell people what was found.

    `divided`: it came without a validation part, and `val` is set aside from its images.
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


def stem_of(file: str) -> str:
    """A file's name without folders and extension."""
    return os.path.splitext(file.rpartition("/")[2])[0]


def class_folders(root: str, part: str) -> tuple[dict[str, list[str]], LeftOut]:
    """Return {class: its files, relative to `root`} of the folders in `root/part`, and what is left out there.

    `part` is "" where the class folders lie in `root` itself. A class without images has an empty list.
    """
    prefix, where = f"{part}/" if part else "", os.path.join(root, part)
    _refuse_broken_links(where)
    names, left_out = visible_folders(where)
    files_of = {}
    for name in names:
        folder = os.path.join(where, name)
        files, others = list_images(folder, f"{prefix}{name}/")
        if not files and holds_runs(folder):
            left_out += LeftOut(outputs=(folder,))
            continue
        files_of[name] = files
        left_out += others
    return files_of, left_out


def _refuse_broken_links(folder: str) -> None:
    """UserError where a class may be lacking because its folder is a link to nothing."""
    with os.scandir(folder) as entries:
        links = [entry for entry in entries if entry.is_symlink() and not is_hidden(entry.name)]
    broken = sorted(link.name for link in links if not os.path.exists(link.path))
    if broken:
        raise UserError(f"{folder}: {named(broken)} links to nothing: mend the link or remove it")


def labelled(root: str, files_of: dict[str, list[str]], classes: Sequence[str], part: str = "") -> Split:
    """Return a split of the files of each class, in the order of `classes`; `part` as in `Split`."""
    groups = [files_of.get(name, []) for name in classes]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(group) for group in groups])
    return Split(root, tuple(file for group in groups for file in group), labels, part=part)


def refuse_empty_classes(files_of: dict[str, list[str]], where: str) -> None:
    """UserError that names the classes without images."""
    empty = [name for name, files in files_of.items() if not files]
    if empty:
        raise UserError(f"{where}: no image in class {named(empty)}: fill or remove these folders")


def named(names: Sequence[str], at_most: int = 5) -> str:
    """'a', 'b' and 3 more."""
    shown = ", ".join(repr(name) for name in names[:at_most])
    return shown if len(names) <= at_most else f"{shown} and {len(names) - at_most} more"


def images_at(paths: Sequence[str | Path]) -> Split:
    """Images, and all images in folders, one after another; UserError for a folder without any."""
    files: list[str] = []
    for path in map(Path, paths):
        if path.is_dir():
            folder = unlabelled_folder(path)
            files += [folder.path(index) for index in range(len(folder))]
        else:
            files.append(str(path))
    return Split("", tuple(files))


def unlabelled_folder(path: str | Path) -> Split:
    """All images under a folder, sorted; UserError where there are none."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise UserError(f"{path}: no such folder")
    files, _ = list_images(str(folder))
    if not files:
        raise UserError(f"{path}: no image files in this folder (looked for {', '.join(sorted(IMAGE_EXTENSIONS))})")
    return Split(str(folder), tuple(files))
