"""Open Tiny ImageNet in the layout of its archive.

`train/<wnid>/images/*.JPEG` with `train/<wnid>/<wnid>_boxes.txt`; `val/images/*.JPEG` with `val/val_annotations.txt`
(file, wnid and box of each image); `test/images`, without labels; `words.txt`, the names of all wnids. Fields are
separated by tabs; a box is xmin, ymin, xmax, ymax, inclusive pixels counted from 0. A `val` that was sorted into class
folders is read, too, as long as its annotations are there.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from vggnet.console import counted, named
from vggnet.data.compact import BoxLists
from vggnet.data.folders import Folder, members_of
from vggnet.data.listing import class_folders, labelled, list_images, refuse_empty_classes
from vggnet.data.splits import ImageData, Split
from vggnet.data.text_files import read_text
from vggnet.errors import UserError

_VAL = "val_annotations.txt"
_NO_BOX = np.empty((0, 4), np.int64)


def is_download(root: Folder) -> bool:
    """Return whether `root` holds such an archive's training and validation part."""
    return (root / "val" / _VAL).is_file() and (root / "train").is_dir()


def open_download(root: Folder, name: str) -> ImageData:
    """Return both parts of the archive with their boxes. Raises UserError for what is missing or malformed."""
    files_of, left_out = class_folders(root, "train")
    if not any(files_of.values()):
        raise UserError(f"{root / 'train'}: no images; expected train/<wnid>/images/*.JPEG")
    refuse_empty_classes(files_of, str(root / "train"))
    classes = tuple(sorted(files_of))
    box_files = [path for each in classes if (path := root / "train" / each / f"{each}_boxes.txt").is_file()]
    others = replace(left_out, files=left_out.files - len(box_files))
    boxes = {f"{path.parent.name}/{file}": box for path in box_files for file, _, box in _lines(path, 5)}
    train = labelled(root, files_of, classes)
    if box_files:
        train = replace(train, boxes=BoxLists.of(boxes.get(_in_class(file), _NO_BOX) for file in train.files))
    val, notes = _open_val(root, classes)
    if (root / "test").is_dir():
        notes += (f"not used: {counted(len(list_images(root / 'test')[0]), 'image')} in test, which have no labels",)
    return ImageData(name, str(root), classes, _titles(root, classes), train, val, others.notes(str(root)) + notes)


def _in_class(file: str) -> str:
    """Return "CLASS/NAME" of "train/CLASS/images/NAME"."""
    folders = file.split("/")
    return f"{folders[1]}/{folders[-1]}"


def _open_val(root: Folder, classes: tuple[str, ...]) -> tuple[Split, tuple[str, ...]]:
    path = root / "val" / _VAL
    known = {file: (wnid, box) for file, wnid, box in _lines(path, 6)}
    files, _ = list_images(root / "val", "val/")
    if not files:
        raise UserError(f"{root / 'val'}: no images; expected val/images/*.JPEG")
    names = [file.rpartition("/")[2] for file in files]
    unknown = [file for file, name in zip(files, names, strict=True) if name not in known]
    if unknown:
        raise UserError(f"{path}: no line for {counted(len(unknown), 'image')} of val, such as {named(unknown, 3)}")
    strangers = sorted({known[name][0] for name in names} - set(classes))
    if strangers:
        raise UserError(f"{path}: class {named(strangers)} has no folder in {root / 'train'}: a net cannot learn it")
    position = {wnid: place for place, wnid in enumerate(classes)}
    labels = np.array([position[known[name][0]] for name in names], np.int64)
    notes: tuple[str, ...] = ()
    if len(known) > len(files):
        notes += (f"{counted(len(known) - len(files), 'image')} of {path} not in {root / 'val'}",)
    absent = [wnid for place, wnid in enumerate(classes) if place not in set(labels.tolist())]
    if absent:
        notes += (f"{counted(len(absent), 'class')} without an image in val: {named(absent)}",)
    boxes = BoxLists.of(known[name][1] for name in names)
    return Split(str(root), files, labels, boxes, members=members_of(root, files)), notes


def _lines(path: Folder, fields: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield (file, the field before its box, box (1, 4)) of each line that is not blank."""
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        words = line.split()
        try:
            if len(words) != fields:
                raise ValueError(f"{len(words)} fields in place of {fields}")
            box = np.array([[int(word) for word in words[-4:]]], np.int64)
        except ValueError as error:
            raise UserError(f"{path}:{number}: expected a file, its class and xmin ymin xmax ymax: {error}") from error
        yield words[0], words[-5], box


def _titles(root: Folder, classes: tuple[str, ...]) -> tuple[str, ...]:
    path = root / "words.txt"
    if not path.is_file():
        return ()
    lines = read_text(path).splitlines()
    titles = {wnid: title.strip() for wnid, _, title in (line.partition("\t") for line in lines)}
    return tuple(titles.get(name) or name for name in classes)
