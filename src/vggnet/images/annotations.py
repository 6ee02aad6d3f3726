"""Boxes that lie apart from their images: plain csv, COCO json, XML as VOC and ILSVRC write it.

All become objects: an image's name, a class, inclusive pixel corners counted from 0, and where that was read. What the
formats do not say the same way is settled here:
- VOC counts pixels from 1 (its XML names "VOC" as database or folder): 1 is subtracted. ILSVRC's XML counts from 0.
- COCO's boxes are x, y, width, height in fractions of pixels; they cover [x, x + width), rounded.
  Category and image ids are matched by value, never by position; crowds are left out.
- XML is read by defusedxml: entities, external references and DTDs are refused.

An image's objects are matched to it by path, else by its file name. Where the images lie in class folders (or have
labels otherwise), an image keeps the boxes of its own class. Where they lie in one folder (VOC's JPEGImages, COCO's
train2017), labels come from the annotations: an image with objects of two classes is two examples.
"""

import csv
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree as SafeXml  # type: ignore[import-untyped]
import numpy as np
from defusedxml import DefusedXmlException

from vggnet.console import counted
from vggnet.errors import UserError
from vggnet.images.datasets import VAL_FRACTION, open_data
from vggnet.images.dividing import set_aside
from vggnet.images.listing import list_images, subfolders
from vggnet.images.splits import ImageData, Split, named, stem_of

COLUMNS = ("image", "class", "xmin", "ymin", "xmax", "ymax")
_NO_BOX = np.empty((0, 4), np.int64)


@dataclass(frozen=True)
class LabelledBox:
    """One object: `image` as the file names it, its class, inclusive corners counted from 0; `source` is file:line."""

    image: str
    name: str
    corners: tuple[int, int, int, int]
    source: str


def read_annotations(path: Path) -> tuple[list[LabelledBox], list[str]]:
    """All objects of a csv, a COCO json, an XML file or a folder of XML files; and notes on what was left out.

    UserError names file and line of what cannot be read.
    """
    path = path.expanduser()
    if path.is_dir():
        files = sorted(file for file in path.rglob("*.xml") if not file.name.startswith("."))
        if not files:
            raise UserError(f"{path}: no XML files in this folder; give a csv, a COCO json, or a folder of XML files")
        found = [read_xml(file) for file in files]
        empty = sum(not boxes for boxes in found)
        notes = [f"{empty} of {len(files)} XML files name no object"] if empty else []
        return [box for boxes in found for box in boxes], notes
    if not path.is_file():
        raise UserError(f"{path}: there is no such file or folder of annotations")
    kind = path.suffix.lower()
    if kind == ".csv":
        return read_csv(path), []
    if kind == ".json":
        return read_coco(path)
    if kind == ".xml":
        return read_xml(path), []
    raise UserError(f"{path}: annotations are read from .csv, .json (COCO) and .xml, not from {kind or 'such a file'}")


def read_csv(path: Path) -> list[LabelledBox]:
    """The plain csv: image, class, xmin, ymin, xmax, ymax; inclusive pixels counted from 0."""
    boxes = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
            if missing:
                raise UserError(f"{path}:1: no column {', '.join(missing)}; expected {','.join(COLUMNS)}")
            for row in rows:
                where = f"{path}:{rows.line_num}"
                if not row["image"] or row["class"] is None:
                    raise UserError(f"{where}: image or class is empty")
                corners = [_whole(row[name], where, name) for name in COLUMNS[2:]]
                boxes.append(_box(row["image"], row["class"], corners, where))
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a csv file ({error})") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    return boxes


def read_xml(path: Path) -> list[LabelledBox]:
    """One VOC or ILSVRC XML file: its objects, none or many."""
    try:
        root: Element = SafeXml.parse(path, forbid_dtd=True).getroot()
    except DefusedXmlException as error:
        raise UserError(
            f"{path}: refused, it declares entities or a document type ({error}): not an annotation"
        ) from error
    except ParseError as error:
        raise UserError(f"{path}:{error.position[0]}: malformed XML ({error})") from error
    except (OSError, ValueError, LookupError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    if root.tag != "annotation":
        raise UserError(f"{path}: <{root.tag}> is no annotation of VOC or ILSVRC (they are <annotation>)")
    database = (root.findtext("source/database") or "") + (root.findtext("folder") or "")
    first = 1 if "VOC" in database.upper() else 0
    image = (root.findtext("filename") or "").strip()
    if not image or image == "%s":  # some of ILSVRC's files have this
        image = path.stem
    boxes = []
    for number, each in enumerate(root.findall("object"), start=1):
        where = f"{path}: object {number}"
        name, bounds = (each.findtext("name") or "").strip(), each.find("bndbox")
        if not name or bounds is None:
            raise UserError(f"{where}: no <name> or no <bndbox>")
        corners = [_whole(bounds.findtext(side), where, side) - first for side in COLUMNS[2:]]
        boxes.append(_box(image, name, corners, where))
    return boxes


def read_coco(path: Path) -> tuple[list[LabelledBox], list[str]]:
    """COCO's instances json."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: malformed JSON ({error.msg})") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    boxes, crowds = [], 0
    try:
        images = {each["id"]: str(each["file_name"]) for each in content["images"]}
        names = {each["id"]: str(each["name"]) for each in content["categories"]}
        for place, each in enumerate(content["annotations"]):
            where = f"{path}: annotation {each.get('id', place)}"
            if each.get("iscrowd"):
                crowds += 1
                continue
            for key, known in (("image_id", images), ("category_id", names)):
                if each[key] not in known:
                    raise UserError(f"{where}: {key} {each[key]} is not in the file")
            boxes.append(_box(images[each["image_id"]], names[each["category_id"]], _from_coco(each, where), where))
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not COCO's format (images, categories, annotations): {error!r}") from error
    return boxes, [f"left out: {counted(crowds, 'crowd')} of {path.name}"] if crowds else []


def _from_coco(annotation: dict[str, Any], where: str) -> list[int]:
    values = annotation["bbox"]
    if not isinstance(values, list) or len(values) != 4:
        raise UserError(f"{where}: bbox is {values!r}, not x, y, width, height")
    x, y, width, height = (_number(value, where, "bbox") for value in values)
    if width < 0 or height < 0:
        raise UserError(f"{where}: a box of {width:g} x {height:g}")
    left, top = math.floor(x + 0.5), math.floor(y + 0.5)
    return [left, top, max(left, math.floor(x + width + 0.5) - 1), max(top, math.floor(y + height + 0.5) - 1)]


def _number(text: Any, where: str, name: str) -> float:
    try:
        value = float(text)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {name} is {text!r}, not a number") from error
    if not math.isfinite(value):
        raise UserError(f"{where}: {name} is {text!r}, not a finite number")
    return value


def _whole(text: Any, where: str, name: str) -> int:
    return math.floor(_number(text, where, name) + 0.5)  # VOC has a few fractions


def _box(image: str, name: str, corners: Iterable[int], where: str) -> LabelledBox:
    xmin, ymin, xmax, ymax = corners  # whether they lie on the image is judged with the image (`check_boxes`)
    return LabelledBox(image, name, (xmin, ymin, xmax, ymax), where)


def open_annotated(
    data: str, annotations: Path | None, val_annotations: Path | None, *, whole: bool = False
) -> ImageData:
    """Return `open_data` with boxes from annotations where they are given.

    A folder of images without class folders is labelled by its annotations; without `val_annotations` a fifth of it,
    by class and name, is for validation; with `whole` all of it. Raises UserError for annotations that name no image of
    the data.
    """
    if annotations is None and val_annotations is None:
        return open_data(data, whole=whole)
    given = [(read_annotations(path) if path else ([], [])) for path in (annotations, val_annotations)]
    notes = tuple(note for _, more in given for note in more)
    if _is_flat(data):
        return _open_flat(Path(data).expanduser(), [boxes for boxes, _ in given], notes, whole)
    opened = open_data(data, whole=whole)
    everything = [box for boxes, _ in given for box in boxes]
    parts = []
    for split in (opened.train, opened.val):
        parts.append(None if split is None else _with_boxes(split, everything, opened.classes))
    if not any(len(boxes) for part in parts if part is not None and part.boxes for boxes in part.boxes):
        raise UserError(
            f"{annotations or val_annotations}: none of its {len(everything)} objects is on an image of {data}, in the "
            f"image's own class: names such as {named([box.image for box in everything], 3) or 'none'} are looked for"
        )
    return replace(opened, train=parts[0], val=parts[1], notes=opened.notes + notes)


def _is_flat(data: str) -> bool:
    """Whether `data` is a folder with images in it, and no folder with images."""
    folder = Path(data).expanduser()
    if not folder.is_dir() or not list_images(str(folder), recursive=False)[0]:
        return False
    return not any(list_images(str(folder / name))[0] for name in subfolders(folder))


class _Places:
    """Finds a split's images by path, else by file name without its extension (ILSVRC's XML names have none)."""

    def __init__(self, files: tuple[str, ...]) -> None:
        self.by_path = {file: place for place, file in enumerate(files)}
        self.by_stem: dict[str, int] = {}
        for place, file in enumerate(files):
            # a stem that several images have finds none of them: their path must be given
            self.by_stem[stem_of(file)] = -1 if stem_of(file) in self.by_stem else place

    def find(self, image: str) -> int | None:
        place = self.by_path.get(image)
        if place is None:
            place = self.by_stem.get(stem_of(image), -1)
        return None if place < 0 else place


def _with_boxes(split: Split, boxes: list[LabelledBox], classes: tuple[str, ...]) -> Split:
    """The split with those boxes that have their image's class; boxes that it had stay where none are found."""
    assert split.labels is not None
    places = _Places(split.files)
    found: dict[int, list[tuple[int, int, int, int]]] = {}
    for box in boxes:
        place = places.find(box.image)
        if place is not None and box.name == classes[split.labels[place]]:
            found.setdefault(place, []).append(box.corners)
    before = split.boxes or (_NO_BOX,) * len(split)
    after = tuple(np.array(found[i], np.int64) if i in found else before[i] for i in range(len(split)))
    return replace(split, boxes=after)


def _open_flat(folder: Path, given: list[list[LabelledBox]], notes: tuple[str, ...], whole: bool) -> ImageData:
    files = tuple(list_images(str(folder), recursive=False)[0])
    places = _Places(files)
    train_boxes, val_boxes = given
    classes = tuple(sorted({box.name for box in train_boxes} or {box.name for box in val_boxes}))
    strangers = sorted({box.name for box in val_boxes} - set(classes))
    if strangers:
        raise UserError(f"class {named(strangers)} has val boxes and no training boxes: a net cannot learn it")
    missing = sorted({box.image for boxes in given for box in boxes if places.find(box.image) is None})
    if missing:
        notes += (f"{counted(len(missing), 'annotated image')} not in {folder}: {named(missing, 3)}",)
    train, val = (_examples(folder, files, places, boxes, classes) for boxes in given)
    if train is None and val is None:
        raise UserError(f"{folder}: no annotated image lies there; names such as {named(missing, 3)} are looked for")
    divided = train is not None and val is None
    if train is not None and val is None:
        if whole:
            train, val, divided = None, train, False
        else:
            train, val = set_aside(train, VAL_FRACTION)
            notes += (f"no --val-annotations: {counted(len(val), 'example')} set aside (by class and name)",)
    unnamed = len(files) - len({file for part in (train, val) if part is not None for file in part.files})
    if unnamed:
        notes += (f"left out: {unnamed} of {len(files)} images, without a box",)
    return ImageData(folder.resolve().name, str(folder), classes, (), train, val, notes, divided)


def _examples(
    folder: Path, files: tuple[str, ...], places: _Places, boxes: list[LabelledBox], classes: tuple[str, ...]
) -> Split | None:
    """One example for each (image, class); None where there is none."""
    position = {name: label for label, name in enumerate(classes)}
    found: dict[tuple[int, int], list[tuple[int, int, int, int]]] = {}
    for place, box in _placed(places, boxes):
        found.setdefault((place, position[box.name]), []).append(box.corners)
    if not found:
        return None
    keys = sorted(found)
    return Split(
        str(folder),
        tuple(files[place] for place, _ in keys),
        np.array([label for _, label in keys], np.int64),
        tuple(np.array(found[key], np.int64) for key in keys),
    )


def _placed(places: _Places, boxes: list[LabelledBox]) -> Iterator[tuple[int, LabelledBox]]:
    for box in boxes:
        place = places.find(box.image)
        if place is not None:
            yield place, box
