"""Read files of boxes: plain csv, COCO json, and the XML of VOC and ILSVRC.

Each box becomes a `LabelledBox`: an image's name, a class, inclusive pixel corners counted from 0, the image's size
where the file states it, and the place in the file. The formats differ:
- VOC counts pixels from 1 (its XML names "VOC" as database or folder): 1 is subtracted. ILSVRC's XML counts from 0.
- COCO's boxes are x, y, width, height in fractions of pixels; they cover [x, x + width), rounded.
  Category and image ids are matched by value, never by position; crowds are left out.
- Fractions are rounded to the nearest pixel, halves up, in every format.
- A backslash in an image's name is Windows' slash.
- XML is read by defusedxml: entities, external references and DTDs are refused.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree as SafeXml  # type: ignore[import-untyped]
from defusedxml import DefusedXmlException

from vggnet.console import counted
from vggnet.data.text_files import Readable, read_rows, read_text
from vggnet.errors import UserError

COLUMNS = ("image", "class", "xmin", "ymin", "xmax", "ymax")
Size = tuple[int, int]  # width, height


class XmlFile(Readable, Protocol):
    """A `Path`, or a file in an archive."""

    @property
    def stem(self) -> str: ...


@dataclass(frozen=True)
class LabelledBox:
    """One object: `image` as the file names it, its class, inclusive corners counted from 0.

    `source` is file:line; `size` the image's width and height as the file states them, None where it does not.
    """

    image: str
    name: str
    corners: tuple[int, int, int, int]
    source: str
    size: Size | None = None


def read_annotations(path: Path) -> tuple[list[LabelledBox], list[str]]:
    """Return all objects of a csv, a COCO json, an XML file or a folder of XML files; and notes on what was left out.

    Raises UserError with file and line of what cannot be read.
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


def read_csv(path: Readable) -> list[LabelledBox]:
    """Read the plain csv: image, class, xmin, ymin, xmax, ymax; inclusive pixels counted from 0."""
    boxes = []
    for row in read_rows(path, COLUMNS):
        corners = [whole(row.values[column], row.at(column)) for column in COLUMNS[2:]]
        boxes.append(_box(row.text("image"), row.text("class"), corners, row.where))
    return boxes


def read_xml(path: XmlFile, first: int | None = None) -> list[LabelledBox]:
    """Read one VOC or ILSVRC XML file: its objects, none or many.

    `first` is the number of the first pixel; by default 1 in a file of VOC, and 0 in others.
    """
    root = _annotation(path)
    if first is None:
        database = (root.findtext("source/database") or "") + (root.findtext("folder") or "")
        first = 1 if "VOC" in database.upper() else 0
    image = (root.findtext("filename") or "").strip()
    if not image or image == "%s":  # some of ILSVRC's files have this
        image = path.stem
    size = _stated(root.findtext("size/width"), root.findtext("size/height"))
    boxes = []
    for number, each in enumerate(root.findall("object"), start=1):
        where = f"{path}: object {number}"
        name, bounds = (each.findtext("name") or "").strip(), each.find("bndbox")
        if not name or bounds is None:
            raise UserError(f"{where}: no <name> or no <bndbox>")
        corners = [whole(bounds.findtext(side), f"{where}: {side}") - first for side in COLUMNS[2:]]
        boxes.append(_box(image, name, corners, where, size))
    return boxes


def _annotation(path: XmlFile) -> Element:
    try:
        root: Element = SafeXml.fromstring(path.read_bytes(), forbid_dtd=True)
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
    return root


def read_coco(path: Path) -> tuple[list[LabelledBox], list[str]]:
    """Read COCO's instances json: its objects, and a note on the crowds that are left out."""
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}:{error.colno}: malformed JSON ({error.msg})") from error
    except RecursionError as error:
        raise UserError(f"{path}: not COCO's format: lists are nested too deeply") from error
    boxes, crowds = [], 0
    try:
        images = {each["id"]: str(each["file_name"]) for each in content["images"]}
        sizes = {each["id"]: _stated(each.get("width"), each.get("height")) for each in content["images"]}
        names = {each["id"]: str(each["name"]) for each in content["categories"]}
        for place, each in enumerate(content["annotations"]):
            where = f"{path}: annotation {each.get('id', place)}"
            if each.get("iscrowd"):
                crowds += 1
                continue
            for key, known in (("image_id", images), ("category_id", names)):
                if each[key] not in known:
                    raise UserError(f"{where}: {key} {each[key]} is not in the file")
            image, name = each["image_id"], names[each["category_id"]]
            boxes.append(_box(images[image], name, _from_coco(each, where), where, sizes[image]))
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not COCO's format (images, categories, annotations): {error!r}") from error
    return boxes, [f"left out: {counted(crowds, 'crowd')} of {path.name}"] if crowds else []


def _from_coco(annotation: dict[str, Any], where: str) -> list[int]:
    values = annotation["bbox"]
    if not isinstance(values, list) or len(values) != 4:
        raise UserError(f"{where}: bbox is {values!r}, not x, y, width, height")
    x, y, width, height = (_number(value, f"{where}: bbox") for value in values)
    if width < 0 or height < 0:
        raise UserError(f"{where}: a box of {width:g} x {height:g}")
    left, top = math.floor(x + 0.5), math.floor(y + 0.5)
    return [left, top, max(left, math.floor(x + width + 0.5) - 1), max(top, math.floor(y + height + 0.5) - 1)]


def _stated(width: Any, height: Any) -> Size | None:
    """Return an image's size as a file states it; None where it is missing or 0 x 0."""
    try:
        size = round(float(width)), round(float(height))
    except (TypeError, ValueError, OverflowError):
        return None
    return size if min(size) > 0 else None


def whole(value: Any, where: str) -> int:
    """Return the nearest pixel, halves up, of a number or its text. Raises UserError, which begins with `where`."""
    return math.floor(_number(value, where) + 0.5)


def _number(value: Any, where: str) -> float:
    if value is None or value == "":
        raise UserError(f"{where}: is missing")
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {value!r} is not a number") from error
    if not math.isfinite(number):
        raise UserError(f"{where}: {value!r} is not a finite number")
    return number


def _box(image: str, name: str, corners: Iterable[int], where: str, size: Size | None = None) -> LabelledBox:
    xmin, ymin, xmax, ymax = corners  # whether they lie on the image is checked with the image (`check_boxes`)
    return LabelledBox(image.replace("\\", "/"), name, (xmin, ymin, xmax, ymax), where, size)
