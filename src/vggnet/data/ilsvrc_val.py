"""The validation images of ILSVRC-2012 in one folder, as they are unpacked, with labels from a file beside them.

The images are ILSVRC2012_val_00000001.JPEG and so on, in DATA itself, in DATA/val or in DATA/ILSVRC2012_img_val. The
labels, a line for each image in the order of the numbers, come from one of these, in DATA or beside it:

    ILSVRC2012_validation_ground_truth.txt        of the devkit: numbers, whose classes are in its meta.mat or
                                                  map_clsloc.txt (ILSVRC2015_clsloc_validation_ground_truth.txt, too)
    imagenet_2012_validation_synset_labels.txt    codes (n01440764)

Class folders beside it (DATA/train/<wnid>) are the training set.
"""

import os
import re
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vggnet.console import counted, named
from vggnet.data.listing import class_folders, labelled, list_images, refuse_empty_classes
from vggnet.data.splits import ImageData, Split
from vggnet.data.text_files import read_text
from vggnet.errors import UserError
from vggnet.mat5 import Damaged, read_mat
from vggnet.paper.imagenet import imagenet_classes

_IMAGE = re.compile(r"ILSVRC2012_val_(\d{8})\.jpe?g", re.IGNORECASE)
_FOLDERS = ("val", "ILSVRC2012_img_val", "")
_LOOKED_AT = 50  # entries of a folder, to see whether it holds such images
_NUMBERS = "ILSVRC*validation_ground_truth.txt"
_CODES = "imagenet_2012_validation_synset_labels.txt"
DEVKIT = "ILSVRC2012_validation_ground_truth.txt and meta.mat"  # for messages
_META, _MAP = "meta.mat", "map_clsloc.txt"
_LARGEST_META = 2**26  # bytes; the devkit's has 300 kB


class ValFolder(NamedTuple):
    """The folder of the images, and the file of their labels."""

    images: Path
    labels: Path


def find_val(root: Path) -> ValFolder | None:
    """Return where the images and their labels lie; None where `root` holds no such folder, or no labels."""
    for name in _FOLDERS:
        folder = root / name
        if folder.is_dir() and _holds_val_images(folder):
            labels = _find_labels(root)
            return None if labels is None else ValFolder(folder, labels)
    return None


def open_val(root: Path, found: ValFolder, name: str) -> ImageData:
    """Return the images with their labels; DATA/train is the training set where it has class folders."""
    codes = _codes(found.labels)
    prefix = "" if found.images == root else f"{found.images.name}/"
    files, left_out = list_images(found.images, prefix, recursive=False)
    numbers = [_number(file) for file in files]
    strangers = [file for file, number in zip(files, numbers, strict=True) if not 0 < number <= len(codes)]
    if strangers:
        raise UserError(
            f"{found.labels}: has {counted(len(codes), 'line')} and none for {counted(len(strangers), 'image')} of "
            f"{found.images}, such as {named(strangers, 3)}"
        )
    given = [codes[number - 1] for number in numbers]
    notes = (f"labels come from {found.labels}", *left_out.notes(str(found.images)))
    train, classes = _train(root, given)
    position = {code: place for place, code in enumerate(classes)}
    if unknown := sorted(set(given) - set(classes)):
        raise UserError(
            f"{found.labels}: class {named(unknown)} has no folder in {root / 'train'}: a net cannot learn it"
        )
    labels = np.array([position[code] for code in given], np.int64)
    return ImageData(name, str(root), classes, _titles(classes), train, Split(str(root), files, labels), notes)


def _holds_val_images(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(_IMAGE.fullmatch(entry.name) for entry in islice(entries, _LOOKED_AT))


def _number(file: str) -> int:
    """Return the number in an image's name; 0 for another name."""
    found = _IMAGE.fullmatch(file.rpartition("/")[2])
    return int(found[1]) if found else 0


def _find_labels(root: Path) -> Path | None:
    """Return the file of labels in `root`, beside it, or in a devkit in or beside it."""
    for base in (root, root.resolve().parent):
        for folder in (base, base / "data", *sorted(base.glob("*devkit*")), *sorted(base.glob("*devkit*/data"))):
            for pattern in (_NUMBERS, _CODES):
                for path in sorted(folder.glob(pattern)):
                    return path
    return None


def _codes(path: Path) -> list[str]:
    """Return the class of each image, in the order of their numbers. Raises UserError for other content."""
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if path.name == _CODES:
        wrong = next((place for place, line in enumerate(lines) if not re.fullmatch(r"n\d{8}", line)), None)
        if wrong is not None:
            raise UserError(f"{path}:{wrong + 1}: {lines[wrong]!r} is not a code such as n01440764")
        return lines
    classes = _classes_by_number(path.parent)
    codes = []
    for place, line in enumerate(lines, start=1):
        code = classes.get(int(line)) if line.isdecimal() else None
        if code is None:
            raise UserError(f"{path}:{place}: {line!r} is not the number of a class (1 to {len(classes)})")
        codes.append(code)
    return codes


def _classes_by_number(devkit: Path) -> dict[int, str]:
    """Return {the devkit's number of a class: its code} from the file beside the labels."""
    for folder in (devkit, devkit / "data", devkit.parent):
        if (folder / _META).is_file():
            return _from_meta(folder / _META)
        if (folder / _MAP).is_file():
            return _from_map(folder / _MAP)
    raise UserError(
        f"{devkit}: neither {_META} nor {_MAP} beside the labels: the numbers of the devkit's classes have their own "
        "order, which is in these files"
    )


def _from_meta(path: Path) -> dict[int, str]:
    try:
        synsets = read_mat(path, {"synsets"}, _LARGEST_META)["synsets"]
        numbered = {int(np.asarray(each["ILSVRC2012_ID"]).item()): each["WNID"] for each in synsets}
    except (Damaged, OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not the devkit's table of classes ({error})") from error
    leaves = {number: code for number, code in numbered.items() if number <= len(imagenet_classes()[0])}
    if not all(isinstance(code, str) for code in leaves.values()):
        raise UserError(f"{path}: not the devkit's table of classes: a WNID is not a text")
    return leaves


def _from_map(path: Path) -> dict[int, str]:
    found = {}
    for place, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            words = line.split()
            if len(words) < 2 or not words[1].isdecimal():
                raise UserError(f"{path}:{place}: expected a code, a number and words, such as 'n02119789 1 kit_fox'")
            found[int(words[1])] = words[0]
    return found


def _train(root: Path, val_codes: list[str]) -> tuple[Split | None, tuple[str, ...]]:
    """Return the training images in class folders and the classes; without them the classes are those of val."""
    files_of = class_folders(root, "train")[0] if (root / "train").is_dir() else {}
    if not files_of:
        return None, tuple(sorted(set(val_codes)))
    refuse_empty_classes(files_of, str(root / "train"))
    classes = tuple(sorted(files_of))
    return labelled(root, files_of, classes), classes


def _titles(classes: tuple[str, ...]) -> tuple[str, ...]:
    words = dict(zip(*imagenet_classes(), strict=True))
    return tuple(words.get(code, code) for code in classes)
