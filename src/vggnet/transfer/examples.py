"""What a protocol learns from and is tested on: class folders, or the PASCAL VOC devkit's lists.

VOC: `ImageSets/Main/CLASS_SET.txt` has an image and 1, -1 or 0 (difficult) a line. Actions: `ImageSets/Action/
ACTION_SET.txt` has an image, the place of a person among its objects, and the target; the person's box is in
`Annotations/IMAGE.xml`. The devkit's action "other" is none: it is neither learnt nor counted.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree.ElementTree import ParseError

import defusedxml.ElementTree as SafeXml  # type: ignore[import-untyped]
import numpy as np
from defusedxml import DefusedXmlException

from vggnet.console import counted
from vggnet.errors import UserError
from vggnet.images.datasets import open_data
from vggnet.images.splits import Split, named

NO_ACTION = "other"  # the devkit's VOCinit skips it, and so do its evaluation and the paper's ten actions


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Images with one class each; `note` says where they came from."""

    name: str
    split: Split
    classes: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, eq=False)
class MultiLabelSet:
    """Images (or persons in them) with a target for each class: int8 (n, K) of 1, -1, 0; `train` and `test` places.

    `parts` show each example in one or more ways (the image; the image and a person's box).
    """

    name: str
    parts: tuple[Split, ...]
    classes: tuple[str, ...]
    targets: np.ndarray
    train: np.ndarray
    test: np.ndarray
    sets: tuple[str, str]


def open_labelled(data: str, seed: int) -> LabelledSet:
    """All labelled images of `data`, its training and validation parts together: protocols draw their own splits."""
    opened = open_data(data, seed=seed)
    parts = [part for part in (opened.train, opened.val) if part is not None and part.labels is not None and len(part)]
    if not parts:
        raise UserError(f"{data}: no labelled images; expected a folder for each class")
    labels = np.concatenate([part.labels for part in parts if part.labels is not None])
    files = tuple(part.path(index) for part in parts for index in range(len(part)))
    note = " and ".join(f"{len(part)} of {name}" for part, name in zip(parts, ("train", "val"), strict=False))
    return LabelledSet(opened.name, Split("", files, labels), opened.classes, note)


def open_voc(data: str, train: str | None, test: str | None) -> MultiLabelSet:
    """VOC's classification task in a folder that holds ImageSets/Main and JPEGImages."""
    root, lists = _voc_folder(data, "Main")
    classes, sets = _classes_and_sets(lists, train, test)
    names: list[str] = []
    columns: list[list[list[int]]] = []
    counts = []
    for each in sets:
        rows = {name: _read_list(lists / f"{name}_{each}.txt", 2) for name in classes}
        images = [fields[0] for fields in rows[classes[0]]]
        for name in classes:
            if [fields[0] for fields in rows[name]] != images:
                raise UserError(f"{lists}: {name}_{each}.txt and {classes[0]}_{each}.txt list different images")
        names += images
        counts.append(len(images))
        columns.append([[int(fields[1]) for fields in rows[name]] for name in classes])
    _check_apart(lists, sets, names[: counts[0]], names[counts[0] :])
    targets = np.concatenate([np.array(each, np.int8).T for each in columns])
    files = tuple(f"JPEGImages/{name}.jpg" for name in names)
    places = np.arange(len(names))
    split = Split(str(root), files)
    return MultiLabelSet(root.name, (split,), classes, targets, places[: counts[0]], places[counts[0] :], sets)


def open_actions(data: str, train: str | None, test: str | None) -> MultiLabelSet:
    """VOC's action task: each example is a person, described by the whole image and by the person's box."""
    root, lists = _voc_folder(data, "Action")
    classes, sets = _classes_and_sets(lists, train, test, without=NO_ACTION)
    persons: dict[tuple[str, int], int] = {}
    targets: list[list[int]] = []
    counts: list[int] = []
    listed: list[set[str]] = []
    for each in sets:
        listed.append(set())
        for place, name in enumerate(classes):
            for image, number, target in _read_list(lists / f"{name}_{each}.txt", 3):
                listed[-1].add(image)
                row = persons.setdefault((image, int(number)), len(persons))
                if row == len(targets):
                    targets.append([0] * len(classes))
                targets[row][place] = int(target)
        counts.append(len(persons))
    images = [image for image, _ in persons]
    _check_apart(lists, sets, *listed)
    boxes = {image: person_boxes(root / "Annotations" / f"{image}.xml") for image in dict.fromkeys(images)}
    regions = []
    for image, person in persons:
        if not 1 <= person <= len(boxes[image]):
            raise UserError(f"{root / 'Annotations' / image}.xml: has {len(boxes[image])} objects, no object {person}")
        regions.append(boxes[image][person - 1])
    whole = Split(str(root), tuple(f"JPEGImages/{image}.jpg" for image in images))
    boxed = replace(whole, regions=np.array(regions, np.int64).reshape(-1, 4))
    places = np.arange(len(persons))
    return MultiLabelSet(
        f"{root.name} actions",
        (whole, boxed),
        classes,
        np.array(targets, np.int8).reshape(-1, len(classes)),
        places[: counts[0]],
        places[counts[0] :],
        sets,
    )


def person_boxes(path: Path) -> list[tuple[int, int, int, int]]:
    """Corners of all objects in an annotation, in its order, counted from 0 (VOC counts pixels from 1)."""
    try:
        objects = SafeXml.parse(path).getroot().findall("object")
        boxes = []
        for each in objects:
            corners = [each.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
            left, top, right, bottom = (round(float(value or "")) - 1 for value in corners)
            boxes.append((left, top, right, bottom))
    except (OSError, ParseError, DefusedXmlException, ValueError) as error:
        raise UserError(f"{path}: not an annotation with the corners of each object ({error})") from error
    return boxes


def _voc_folder(data: str, kind: str) -> tuple[Path, Path]:
    root = Path(data).expanduser()
    lists = root / "ImageSets" / kind
    if not lists.is_dir():
        raise UserError(f"{data}: no ImageSets/{kind} in it: give one year's folder of the devkit (VOCdevkit/VOC2007)")
    return root.resolve(), lists


def _check_apart(lists: Path, sets: tuple[str, str], train: Collection[str], test: Collection[str]) -> None:
    """Refuse sets that share an image, or of which one is empty: what was learnt would be what is tested."""
    if sets[0] == sets[1]:
        raise UserError(f"--train-set and --test-set are both {sets[0]}: nothing is left to test on")
    for name, images in zip(sets, (train, test), strict=True):
        if not images:
            raise UserError(f"{lists}: the set {name} is empty")
    if shared := set(train) & set(test):
        raise UserError(
            f"{lists}: {counted(len(shared), 'image')} in {sets[0]} and in {sets[1]}, such as {min(shared)}: what is "
            "learnt from cannot be tested on"
        )


def _classes_and_sets(
    lists: Path, train: str | None, test: str | None, without: str = ""
) -> tuple[tuple[str, ...], tuple[str, str]]:
    """The classes that have lists, and the names of the sets: as given, else trainval and test, else train and val."""
    present = {path.stem for path in lists.glob("*_*.txt")}
    known = {stem.rpartition("_")[2] for stem in present}
    sets = (train or ("trainval" if "test" in known else "train"), test or ("test" if "test" in known else "val"))
    classes = sorted(stem.rpartition("_")[0] for stem in present if stem.endswith(f"_{sets[0]}"))
    classes = [name for name in classes if name != without]
    if not classes:
        raise UserError(f"{lists}: no CLASS_{sets[0]}.txt; the sets here are {', '.join(sorted(known)) or 'none'}")
    if lacking := [name for name in classes if f"{name}_{sets[1]}" not in present]:
        raise UserError(f"{lists}: no {sets[1]} list of {named(lacking)}")
    return tuple(classes), sets


def _read_list(path: Path, fields: int) -> Sequence[list[str]]:
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    for number, line in enumerate(lines, start=1):
        if len(line) != fields or line[-1] not in ("1", "-1", "0"):
            raise UserError(f"{path}:{number}: expected {fields} fields, the last of them 1, -1 or 0")
    return lines
