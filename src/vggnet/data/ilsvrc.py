"""The ILSVRC CLS-LOC download as it comes from Kaggle.

`ILSVRC/Data/CLS-LOC/train/<wnid>/*.JPEG`, a flat `ILSVRC/Data/CLS-LOC/val/*.JPEG`, and beside `ILSVRC` the files
`LOC_train_solution.csv`, `LOC_val_solution.csv` (ImageId, then "wnid xmin ymin xmax ymax" for each box, inclusive
pixels) and `LOC_synset_mapping.txt` (wnid, then its names). Training labels come from the folders; only some training
images have boxes. The csv of the validation set is needed for its labels. An image takes the boxes of its own class.
Without `train` the validation set stands alone, and its classes are those of its labels or folders.
"""

from dataclasses import replace

import numpy as np

from vggnet.console import counted, named
from vggnet.data.box_files import whole
from vggnet.data.compact import BoxLists
from vggnet.data.folders import Folder, members_of
from vggnet.data.listing import class_folders, labelled, list_images, refuse_empty_classes, stem_of
from vggnet.data.splits import ImageData, Split
from vggnet.data.text_files import Row, read_rows, read_text
from vggnet.errors import UserError

VAL_LABELS = "LOC_val_solution.csv"
_TRAIN_BOXES = "LOC_train_solution.csv"
_TITLES = "LOC_synset_mapping.txt"
_BASES = ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "CLS-LOC")
_COLUMNS = ("ImageId", "PredictionString")
Solution = dict[str, tuple[list[str], np.ndarray]]  # image: the class of each box, and the boxes (n, 4)
_NO_BOX = np.empty((0, 4), np.int64)


def find_base(root: Folder) -> Folder | None:
    """Return the folder of `train` and `val` where `root` holds (or is) such a download, else None."""
    for base in _BASES:
        if (root / base / "train").is_dir() or (root / base / "val").is_dir():
            return root / base
    if any((root / part).is_dir() for part in ("train", "val")) and (
        root.resolve().name == "CLS-LOC" or (root / VAL_LABELS).is_file()
    ):
        return root
    return None


def open_download(root: Folder, base: Folder, name: str) -> ImageData:
    """Open both splits of the download at `base`; the csv files are searched from `root` upwards. Raises UserError."""
    if not (base / "train").is_dir():
        return _val_alone(root, base, name)
    files_of, left_out = class_folders(base, "train")
    if not files_of:
        raise UserError(f"{base / 'train'}: no class folders; expected train/<wnid>/*.JPEG")
    refuse_empty_classes(files_of, str(base / "train"))
    classes = tuple(sorted(files_of))
    train = labelled(base, files_of, classes)
    boxes_file = _find(root, _TRAIN_BOXES)
    if boxes_file:
        train = with_training_boxes(train, classes, _read_solution(boxes_file))
    val, notes = None, left_out.notes(str(base / "train"))
    if (base / "val").is_dir():
        val, val_notes = _open_val(root, base, classes)
        notes += val_notes
    else:
        notes += (f"{base / 'val'} is missing: there is no validation set",)
    return ImageData(name, str(root), classes, _read_titles(root, classes), train, val, notes)


def _val_alone(root: Folder, base: Folder, name: str) -> ImageData:
    """Open the validation set of a download without training images."""
    labels_file, (sorted_into, _) = _find(root, VAL_LABELS), class_folders(base, "val")
    named_in = {wnid for wnid, files in sorted_into.items() if files}
    if not named_in and labels_file is not None:
        named_in = {wnid for wnids, _ in _read_solution(labels_file).values() for wnid in wnids[:1]}
    classes = tuple(sorted(named_in))
    val, notes = _open_val(root, base, classes)
    return ImageData(name, str(root), classes, _read_titles(root, classes), None, val, notes)


def _find(root: Folder, name: str) -> Folder | None:
    """Return the file `name` in `root` or up to three folders above, where users give the inner folder; else None."""
    above: list[Folder] = list(root.resolve().parents)
    for folder in (root, *above[:3]):
        if (folder / name).is_file():
            return folder / name
    return None


def _read_solution(path: Folder) -> Solution:
    """Read a LOC_*_solution.csv. Raises UserError with file, line and column of what is malformed."""
    return {row.text(_COLUMNS[0]): _boxes_of(row) for row in read_rows(path, _COLUMNS)}


def _boxes_of(row: Row) -> tuple[list[str], np.ndarray]:
    """Return the classes and the boxes (n, 4) of one image."""
    words = row.text(_COLUMNS[1]).split()
    where = row.at(_COLUMNS[1])
    if len(words) % 5:
        raise UserError(f"{where}: {len(words)} words; expected 'wnid xmin ymin xmax ymax' for each box")
    starts = range(0, len(words), 5)
    corners = [[whole(word, where) for word in words[start + 1 : start + 5]] for start in starts]
    return [words[start] for start in starts], np.array(corners, np.int64)


def boxes_of_class(wnid: str, names: list[str], boxes: np.ndarray) -> np.ndarray:
    """Return the boxes of the class `wnid` among those of an image."""
    return boxes[[name == wnid for name in names]]


def with_training_boxes(train: Split, classes: tuple[str, ...], solution: Solution) -> Split:
    """Return training images with the boxes of their own class, none where `solution` has none."""
    assert train.labels is not None
    boxes = []
    for file, label in zip(train.files, train.labels.tolist(), strict=True):
        found = solution.get(stem_of(file))
        boxes.append(_NO_BOX if found is None else boxes_of_class(classes[label], *found))
    return replace(train, boxes=BoxLists.of(boxes))


def _open_val(root: Folder, base: Folder, classes: tuple[str, ...]) -> tuple[Split, tuple[str, ...]]:
    """Open the flat validation folder with its labels, or class folders where a user has sorted it into those."""
    where = base / "val"
    files, left_out = list_images(where, "val/", recursive=False)
    notes = left_out.notes(str(where))
    if not files:
        files_of, _ = class_folders(base, "val")
        if not any(files_of.values()):
            raise UserError(f"{where}: no images; expected val/*.JPEG")
        refuse_strangers(sorted(set(files_of) - set(classes)), str(where), base / "train")
        return labelled(base, files_of, classes), notes
    labels_file = _find(root, VAL_LABELS)
    if labels_file is None:
        raise UserError(
            f"{where}: {counted(len(files), 'image')} without labels: {VAL_LABELS} is missing; "
            f"it comes with the download and belongs in {root}"
        )
    solution = _read_solution(labels_file)
    unknown = [file for file in files if stem_of(file) not in solution]
    if unknown:
        raise UserError(
            f"{labels_file}: no line for {counted(len(unknown), 'image')} of {where}, such as {named(unknown, 3)}"
        )
    wnids = [solution[stem_of(file)][0][0] for file in files]
    refuse_strangers(sorted(set(wnids) - set(classes)), str(labels_file), base / "train")
    if len(solution) > len(files):
        notes += (f"{counted(len(solution) - len(files), 'image')} of {labels_file} not in {where}",)
    absent = sorted(set(classes) - set(wnids))
    if absent:
        notes += (f"{counted(len(absent), 'class')} without an image in val: {named(absent)}",)
    position = {wnid: place for place, wnid in enumerate(classes)}
    labels = np.array([position[wnid] for wnid in wnids], np.int64)
    boxes = BoxLists.of(boxes_of_class(wnid, *solution[stem_of(file)]) for file, wnid in zip(files, wnids, strict=True))
    return Split(str(base), files, labels, boxes, members=members_of(base, files)), notes


def refuse_strangers(strangers: list[str], where: str, train: Folder) -> None:
    """Raise UserError for classes that `where` names and the training images in `train` do not have."""
    if strangers:
        raise UserError(f"{where}: class {named(strangers)} has no folder in {train}: a net cannot learn it")


def _read_titles(root: Folder, classes: tuple[str, ...]) -> tuple[str, ...]:
    path = _find(root, _TITLES)
    if path is None:
        return ()
    titles = {wnid: title.strip() for wnid, _, title in (line.partition(" ") for line in read_text(path).splitlines())}
    return tuple(titles.get(name) or name for name in classes)
