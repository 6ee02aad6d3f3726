"""`Split`: the files, labels and boxes of a training or validation set; how folders are listed and sets are divided.

Listing uses `os.scandir` without a stat per file, so 1.3 million files take seconds. Hidden names and `__MACOSX` are
no data. Everything is sorted, so nothing depends on the order of the file system.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vggnet.console import counted
from vggnet.contract import AS_STORED, ImageReading
from vggnet.errors import UserError
from vggnet.files import printable
from vggnet.images.decoding import IMAGE_EXTENSIONS


@dataclass(frozen=True, eq=False)
class Split:
    """Images with what is known about them. Labels are positions in the data's `classes`.

    `files` are posix paths relative to `root` (or absolute); `boxes[i]` is int64 (n, 4), n >= 0 boxes of image i as
    inclusive pixel corners xmin, ymin, xmax, ymax. Where `regions` are given, each entry is only that part of its
    image (a person in a photograph), and an image may be several entries. `stated_sizes` are widths and heights as
    annotations state them, 0 where they do not. `reading` says how the files are decoded.
    """

    root: str
    files: tuple[str, ...]
    labels: np.ndarray | None = None  # int64 (N,)
    boxes: tuple[np.ndarray, ...] | None = None
    regions: np.ndarray | None = None  # int64 (N, 4), inclusive pixel corners
    stated_sizes: np.ndarray | None = None  # int64 (N, 2)
    reading: ImageReading = AS_STORED

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
    """A data set. `titles` are readable names of `classes`, or empty; `notes` tell people what was found."""

    name: str
    root: str
    classes: tuple[str, ...]
    titles: tuple[str, ...]
    train: Split | None
    val: Split | None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (name := next((each for each in self.classes if printable(each) != each), None)) is not None:
            raise UserError(
                f"{self.root}: the name of the class '{printable(name)}' is not UTF-8, and weights name their classes "
                "in UTF-8: rename its folder (`convmv -f latin1 -t utf8 --notest -r FOLDER` does where all are Latin-1)"
            )


def is_hidden(name: str) -> bool:
    """True for what operating systems leave lying about."""
    return name.startswith(".") or name == "__MACOSX"


def is_image_name(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_EXTENSIONS


def stem_of(file: str) -> str:
    """A file's name without folders and extension."""
    return os.path.splitext(file.rpartition("/")[2])[0]


def subfolders(folder: str | Path) -> list[str]:
    """Names of the visible folders in `folder`, sorted."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not is_hidden(entry.name) and entry.is_dir())


def list_images(folder: str, prefix: str = "", recursive: bool = True) -> tuple[list[str], int]:
    """Sorted posix paths (`prefix` before them) of the image files under `folder`, and the number of other files."""
    files: list[str] = []
    others = 0
    pending, seen = [(folder, prefix)], {os.path.realpath(folder)}
    while pending:
        where, before = pending.pop()
        with os.scandir(where) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                if entry.is_dir():
                    real = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
                    if recursive and real not in seen:  # a link may lead back up
                        seen.add(real)
                        pending.append((entry.path, f"{before}{entry.name}/"))
                elif is_image_name(entry.name):
                    files.append(before + entry.name)
                else:
                    others += 1
    return sorted(files), others


def others_note(count: int, where: str) -> tuple[str, ...]:
    """The note about files that are no images by their names; none where there are none."""
    return (f"left out: {counted(count, 'file')} in {where} without an image extension",) if count else ()


def class_folders(root: str, part: str) -> tuple[dict[str, list[str]], int]:
    """{class: its files, relative to `root`} of the folders in `root/part`, and how many other files lie in them.

    `part` is "" where the class folders lie in `root` itself. A class without images has an empty list.
    """
    prefix = f"{part}/" if part else ""
    files_of, others = {}, 0
    _refuse_broken_links(os.path.join(root, part))
    for name in subfolders(os.path.join(root, part)):
        files_of[name], other = list_images(os.path.join(root, part, name), f"{prefix}{name}/")
        others += other
    return files_of, others


def _refuse_broken_links(folder: str) -> None:
    """UserError where a class may be lacking because its folder is a link to nothing."""
    with os.scandir(folder) as entries:
        links = [entry for entry in entries if entry.is_symlink() and not is_hidden(entry.name)]
    broken = sorted(link.name for link in links if not os.path.exists(link.path))
    if broken:
        raise UserError(f"{folder}: {named(broken)} links to nothing: mend the link or remove it")


def labelled(root: str, files_of: dict[str, list[str]], classes: Sequence[str]) -> Split:
    """A split of the files of each class, in the order of `classes`."""
    groups = [files_of.get(name, []) for name in classes]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(group) for group in groups])
    return Split(root, tuple(file for group in groups for file in group), labels)


def refuse_empty_classes(files_of: dict[str, list[str]], where: str) -> None:
    """UserError that names the classes without images."""
    empty = [name for name, files in files_of.items() if not files]
    if empty:
        raise UserError(f"{where}: no image in class {named(empty)}: fill or remove these folders")


def named(names: Sequence[str], at_most: int = 5) -> str:
    """'a', 'b' and 3 more."""
    shown = ", ".join(repr(name) for name in names[:at_most])
    return shown if len(names) <= at_most else f"{shown} and {len(names) - at_most} more"


def hold_out(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """(the rest, the part held out): `fraction` of each class, at random by `seed`, both in the order of `split`.

    A class of two or more images gives at least one and keeps at least one; a single image stays.
    """
    _check_fraction(fraction)
    labels = np.zeros(len(split), np.int64) if split.labels is None else split.labels
    held = np.zeros(len(split), bool)
    for label in np.unique(labels) if fraction else ():
        places = np.flatnonzero(labels == label)
        wanted = min(max(1, round(fraction * len(places))), len(places) - 1)
        generator = np.random.default_rng([seed & ((1 << 64) - 1), int(label)])
        held[generator.permutation(places)[:wanted]] = True
    return split.subset(np.flatnonzero(~held)), split.subset(np.flatnonzero(held))


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


def set_aside(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """(training, validation) of images that come undivided: about `fraction` of each class, by `seed`.

    A hash of an image's name decides, so it stays on its side when others are added or removed: a folder grows, and a
    net must not be tested on what it has learnt from. For the same reason an image that is an example of several
    classes is so on one side only. A class has at least one image for training, and where it has others of its own, one
    for validation.
    """
    _check_fraction(fraction)
    labels = np.zeros(len(split), np.int64) if split.labels is None else split.labels
    draws = np.array([_draw(file, seed) for file in split.files])
    aside = draws < fraction
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)] if fraction else []
    for places in classes:
        if len(places) > 1 and not aside[places].any():
            aside[draws == draws[places].min()] = True  # all examples of that image
    for places in classes:
        if aside[places].all():
            aside[draws == draws[places].max()] = False
    return split.subset(np.flatnonzero(~aside)), split.subset(np.flatnonzero(aside))


def _check_fraction(fraction: float) -> None:
    if not 0 <= fraction < 1:
        raise UserError(f"the fraction held out must be at least 0 and below 1, not {fraction}")


def _draw(file: str, seed: int) -> float:
    """A number in [0, 1) that depends on a file's name and the seed only."""
    digest = hashlib.sha256(os.fsencode(f"{seed} {file}")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def unlabelled_folder(path: str | Path) -> Split:
    """All images under a folder, sorted; UserError where there are none."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise UserError(f"{path}: no such folder")
    files, _ = list_images(str(folder))
    if not files:
        raise UserError(f"{path}: no image files in this folder (looked for {', '.join(sorted(IMAGE_EXTENSIONS))})")
    return Split(str(folder), tuple(files))
