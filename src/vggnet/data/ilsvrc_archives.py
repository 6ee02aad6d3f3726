"""The ILSVRC 2012 download as image-net.org gives it: images are read inside their tars.

`ILSVRC2012_img_train.tar` holds a tar for each class (`n01440764.tar`), `ILSVRC2012_img_val.tar` the validation images
in no folder. `ILSVRC2012_devkit_t12.tar.gz` has the labels of these (a number in each line) and the classes behind the
numbers; `ILSVRC2012_bbox_train_v2.tar.gz` and `ILSVRC2012_bbox_val_v3.tgz` have boxes as XML. Files are named as in the
CLS-LOC layout (`train/n01440764/n01440764_10026.JPEG`, `val/ILSVRC2012_val_00000001.JPEG`), so that a training may go
on from either.
"""

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from vggnet.console import counted, named, progress
from vggnet.data.archive_listing import list_archive
from vggnet.data.box_files import read_xml
from vggnet.data.compact import BoxLists, Names, remember
from vggnet.data.folders import ArchiveFolder
from vggnet.data.ilsvrc import Solution, boxes_of_class, refuse_strangers, with_training_boxes
from vggnet.data.listing import class_folders, labelled, list_images, refuse_empty_classes, stem_of
from vggnet.data.members import Archive
from vggnet.data.splits import ImageData, Split
from vggnet.errors import UserError, missing_package, reason_of
from vggnet.files import default_cache

TRAIN, VAL = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
TRAIN_BOXES, VAL_BOXES = "ILSVRC2012_bbox_train_v2.tar.gz", "ILSVRC2012_bbox_val_v3.tgz"
_LABELS, _CLASSES = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"
_NUMBER = re.compile(r"_val_(\d+)$")
_MOST_BYTES = 2**25  # of a file in the devkit
_VERSION = 1  # part of the cached boxes' name: counts changes of what is stored


@dataclass(frozen=True)
class _Devkit:
    """The class of each number in the labels, readable names of the classes, and the label of each val image."""

    wnids: dict[int, str]
    titles: dict[str, str]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class _XmlFile:
    """An XML file in an archive."""

    path: str
    content: bytes

    def __str__(self) -> str:
        return self.path

    @property
    def stem(self) -> str:
        return stem_of(self.path)

    def read_bytes(self) -> bytes:
        return self.content


def is_download(root: Path) -> bool:
    """Return whether a folder holds the tars of the images."""
    return any((root / name).is_file() for name in (TRAIN, VAL))


def open_download(root: Path, name: str) -> ImageData:
    """Open the images of the tars in `root`, with labels and boxes from those beside them. Raises UserError."""
    devkit = _read_devkit(root / DEVKIT) if (root / DEVKIT).is_file() else None
    train, notes = _open_train(root) if (root / TRAIN).is_file() else (None, (f"{root / TRAIN} is missing",))
    if train is None:
        if devkit is None:
            raise UserError(f"{root}: {DEVKIT} is missing, which has the labels of {VAL}")
        classes = tuple(sorted(set(devkit.wnids.values())))
    else:
        classes = tuple(train)
    split = None if train is None else _train_split(root, train, classes)
    val = None
    if (root / VAL).is_file():
        val, more = _open_val(root, devkit, classes)
        notes += more
    else:
        notes += (f"{root / VAL} is missing: there is no validation set",)
    titles = () if devkit is None else tuple(devkit.titles.get(wnid) or wnid for wnid in classes)
    return ImageData(name, str(root), classes, titles, split, val, notes)


def _open_train(root: Path) -> tuple[dict[str, Names], tuple[str, ...]]:
    """Return the files of each class, relative to the archive, sorted by class; and notes."""
    listing = list_archive(root / TRAIN)
    files_of, left_out = class_folders(ArchiveFolder(listing), "")
    if not any(files_of.values()):
        raise UserError(f"{root / TRAIN}: no class in it; expected a tar for each class, such as n01440764.tar")
    refuse_empty_classes(files_of, str(root / TRAIN))
    return dict(sorted(files_of.items())), listing.notes() + left_out.notes(str(root / TRAIN))


def _train_split(root: Path, files_of: dict[str, Names], classes: tuple[str, ...]) -> Split:
    split = _below("train/", labelled(ArchiveFolder(list_archive(root / TRAIN)), files_of, classes))
    boxes = _read_boxes(root / TRAIN_BOXES)
    return split if boxes is None else with_training_boxes(split, classes, boxes)


def _below(part: str, split: Split) -> Split:
    """Return the split with file names as in the CLS-LOC layout."""
    return Split(split.root, Names.of(part + file for file in split.files), split.labels, members=split.members)


def _open_val(root: Path, devkit: _Devkit | None, classes: tuple[str, ...]) -> tuple[Split, tuple[str, ...]]:
    path = root / VAL
    if devkit is None:
        raise UserError(f"{path}: its labels are missing: put {DEVKIT} (2.5 MB, of the same download) beside it")
    folder = ArchiveFolder(list_archive(path))
    files, left_out = list_images(folder, recursive=False)
    if not files:
        raise UserError(f"{path}: no images; expected ILSVRC2012_val_00000001.JPEG and so on")
    numbers = [_number(file, path) for file in files]
    if max(numbers) > len(devkit.labels):
        raise UserError(
            f"{path}: image {max(numbers)} has no label: {root / DEVKIT} has {counted(len(devkit.labels), 'label')}. "
            "The two are not of one download"
        )
    notes: tuple[str, ...] = left_out.notes(str(path))
    if len(files) < len(devkit.labels):
        notes += (f"{counted(len(devkit.labels) - len(files), 'image')} with a label not in {path}",)
    wnids = [devkit.wnids[devkit.labels[number - 1]] for number in numbers]
    refuse_strangers(sorted(set(wnids) - set(classes)), str(root / DEVKIT), root / TRAIN)
    absent = sorted(set(classes) - set(wnids))
    if absent:
        notes += (f"{counted(len(absent), 'class')} without an image in val: {named(absent)}",)
    position = {wnid: place for place, wnid in enumerate(classes)}
    labels = np.array([position[wnid] for wnid in wnids], np.int64)
    found = _read_boxes(root / VAL_BOXES)
    nothing: tuple[list[str], np.ndarray] = ([], np.empty((0, 4), np.int64))
    boxes = None
    if found is not None:
        pairs = zip(files, wnids, strict=True)
        boxes = BoxLists.of(boxes_of_class(wnid, *found.get(stem_of(file), nothing)) for file, wnid in pairs)
    named_files = Names.of("val/" + file for file in files)
    return Split(str(path), named_files, labels, boxes, members=folder.members(files)), notes


def _number(file: str, path: Path) -> int:
    """Return the number in a validation image's name, from 1."""
    found = _NUMBER.search(stem_of(file))
    if found is None or not int(found[1]):
        raise UserError(f"{path}: {file!r} is not named as ILSVRC2012_val_00000001.JPEG: its label cannot be found")
    return int(found[1])


def _read_devkit(path: Path) -> _Devkit:
    """Read labels and classes. Raises UserError for a devkit that is damaged or lacks one of them."""
    found: dict[str, bytes] = {}
    for name, content in _files_in(path, (_LABELS, _CLASSES)):
        found[name.rpartition("/")[2]] = content
    for name in (_LABELS, _CLASSES):
        if name not in found:
            raise UserError(f"{path}: {name} is not in it: download it again")
    try:
        labels = tuple(int(line) for line in found[_LABELS].split())
    except ValueError as error:
        raise UserError(f"{path}: {_LABELS}: expected a number in each line ({error})") from error
    wnids, titles = _read_classes(path, found[_CLASSES])
    if unknown := sorted(set(labels) - set(wnids)):
        raise UserError(f"{path}: {_LABELS} has the class {unknown[0]}, which {_CLASSES} does not name")
    return _Devkit(wnids, titles, labels)


def _read_classes(path: Path, content: bytes) -> tuple[dict[int, str], dict[str, str]]:
    """Return the wnid of each class's number, and its names; synsets that have others below them are no classes."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise missing_package(DEVKIT, "scipy", "ilsvrc") from error
    try:
        synsets = np.atleast_1d(loadmat(io.BytesIO(content), squeeze_me=True)["synsets"])
        leaves = [each for each in synsets if int(each["num_children"]) == 0]
        wnids = {int(each["ILSVRC2012_ID"]): str(each["WNID"]) for each in leaves}
        titles = {str(each["WNID"]): str(each["words"]) for each in leaves}
    except Exception as error:  # scipy raises exceptions of any kind for damaged files
        raise UserError(f"{path}: {_CLASSES} cannot be read ({reason_of(error)}): download it again") from error
    return wnids, titles


def _files_in(path: Path, endings: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the files in a compressed tar, and in tars within it, whose names end so."""
    try:
        with tarfile.open(path, "r:*") as tar:
            yield from _files_of(tar, str(path), endings)
    except (tarfile.TarError, EOFError, OSError, UnicodeError) as error:
        raise UserError(f"{path}: damaged or truncated ({reason_of(error)}): download it again") from error


def _files_of(tar: tarfile.TarFile, where: str, endings: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    while (member := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]  # else it keeps all of them
        name = member.name
        inner = name.endswith((".tar", ".tar.gz", ".tgz"))
        if not member.isreg() or not (inner or name.endswith(endings)):
            continue
        if member.size > _MOST_BYTES:
            raise UserError(f"{where}: {name}: {member.size:,} bytes are more than such a file has: not the download")
        file = tar.extractfile(member)
        assert file is not None
        content = file.read()
        if not inner:
            yield name, content
            continue
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:*") as below:
            yield from _files_of(below, f"{where}/{name}", endings)


def _read_boxes(path: Path) -> Solution | None:
    """Return the boxes of an archive of XML by image; None where there is no such archive. They are cached."""
    if not path.is_file():
        return None
    content = repr((_VERSION, os.path.abspath(path), Archive.at(str(path), "plain").state))
    stored = default_cache() / "boxes" / f"{hashlib.sha256(os.fsencode(content)).hexdigest()[:32]}.npz"
    try:
        with stored.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return _unpacked(
                arrays["images"], arrays["image_lengths"], arrays["counts"], arrays["rows"], arrays["names"]
            )
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        pass
    found: Solution = {}
    with progress(f"reading {path.name}") as tick:
        for number, (name, xml) in enumerate(_files_in(path, (".xml",))):
            boxes = read_xml(_XmlFile(f"{path}/{name}", xml))
            corners = np.array([box.corners for box in boxes], np.int64).reshape(-1, 4)
            found[stem_of(name)] = [box.name for box in boxes], corners
            if number % 1000 == 0:
                tick(number, 0)
    if not found:
        raise UserError(f"{path}: no XML in it: download it again, or take it away to go on without boxes")
    _store(stored, found)
    return found


def _store(path: Path, found: Solution) -> None:
    images, lengths = Names.of(found).arrays()
    boxes = BoxLists.of(corners for _, corners in found.values())
    names = np.array([name for each, _ in found.values() for name in each] or [""])
    arrays = {"images": images, "image_lengths": lengths, "counts": boxes.counts, "rows": boxes.rows(), "names": names}
    remember(path, arrays)


def _unpacked(
    text: np.ndarray, lengths: np.ndarray, counts: np.ndarray, rows: np.ndarray, names: np.ndarray
) -> Solution:
    boxes, classes = BoxLists.joined(rows, counts), names.tolist()
    starts = (np.cumsum(counts) - counts).tolist()
    images = zip(Names.joined(text, lengths), starts, counts.tolist(), boxes, strict=True)
    return {image: (classes[start : start + count], corners) for image, start, count, corners in images}
