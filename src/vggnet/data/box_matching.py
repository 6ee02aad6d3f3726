"""Match boxes with images by path, or by the part of the path that the annotation gives.

An image in a class folder (or with a label otherwise) takes the boxes of its own class. Boxes of other classes, and of
images that are not there, are left out and counted.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from vggnet.console import counted, named
from vggnet.data.box_files import LabelledBox
from vggnet.data.splits import Split
from vggnet.errors import UserError

_NO_BOX = np.empty((0, 4), np.int64)


def find_images(files: Sequence[str], names: Iterable[str]) -> dict[str, int | None]:
    """Return the place among `files` of the image that each name means; None where it is none, or could be several.

    In this order: the path itself; a file's path that ends with the name (without its extension, where the name has
    none or another: ILSVRC's XML names have none); a name that ends with a file's path (of another computer, or of a
    folder above).
    """
    wanted = {name: name.removeprefix("./") for name in names}
    paths = {file: place for place, file in enumerate(files)}
    stems = {os.path.splitext(file)[0]: place for place, file in enumerate(files)}
    endings = {ending: -2 for name in wanted.values() for ending in (name, os.path.splitext(name)[0])}
    for place, file in enumerate(files):
        for ending in _endings(file):
            if ending in endings:
                endings[ending] = place if endings[ending] in (-2, place) else -1
    return {name: _find(as_path, paths, stems, endings) for name, as_path in wanted.items()}


def _endings(file: str) -> Iterator[str]:
    """Yield a path's endings at its slashes, each with and without the extension."""
    for path in {file, os.path.splitext(file)[0]}:
        yield path
        while "/" in path:
            path = path.partition("/")[2]
            yield path


def _find(name: str, paths: dict[str, int], stems: dict[str, int], endings: dict[str, int]) -> int | None:
    if name in paths:
        return paths[name]
    for ending in (name, os.path.splitext(name)[0]):
        if endings[ending] != -2:
            return endings[ending] if endings[ending] >= 0 else None
    rest = name
    while "/" in rest:
        rest = rest.partition("/")[2]
        place = paths.get(rest, stems.get(os.path.splitext(rest)[0]))
        if place is not None:
            return place
    return None


def lay_boxes(
    parts: Sequence[Split | None], boxes: Sequence[LabelledBox], classes: Sequence[str], where: str
) -> tuple[list[Split | None], tuple[str, ...]]:
    """Return the parts with those boxes that have their image's class, and notes on the others.

    Boxes that an image had stay where it gets none. `where` is the file of the boxes. Raises UserError where no image
    gets one.
    """
    files = [file for part in parts if part is not None for file in part.files]
    labels = np.concatenate(
        [np.empty(0, np.int64), *(part.labels for part in parts if part and part.labels is not None)]
    )
    places = find_images(files, (box.image for box in boxes))
    found: dict[int, list[LabelledBox]] = {}
    missing, others = [], []
    for box in boxes:
        place = places[box.image]
        if place is None:
            missing.append(box)
        elif box.name != classes[labels[place]]:
            others.append(box)
        else:
            found.setdefault(place, []).append(box)
    if not found:
        raise UserError(
            f"{where}: none of its {len(boxes)} objects is on an image of the data, in the image's own class: names "
            f"such as {named([box.image for box in boxes], 3) or 'none'} are looked for"
        )
    laid: list[Split | None] = []
    start = 0
    for part in parts:
        laid.append(None if part is None else _with_boxes(part, found, start))
        start += 0 if part is None else len(part)
    return laid, _notes(missing, others, where)


def _notes(missing: Sequence[LabelledBox], others: Sequence[LabelledBox], where: str) -> tuple[str, ...]:
    notes = []
    if missing:
        images = sorted({box.image for box in missing})
        notes.append(
            f"{where}: left out {counted(len(missing), 'box')} of {counted(len(images), 'image')} that cannot be found "
            f"or are ambiguous: {named(images, 3)}"
        )
    if others:
        first = f"{others[0].name!r} on {others[0].image}"
        notes.append(
            f"{where}: left out {counted(len(others), 'box')} of another class than the image's, such as {first}"
        )
    return tuple(notes)


def _with_boxes(split: Split, found: dict[int, list[LabelledBox]], start: int) -> Split:
    """Return the split, whose images begin at place `start`, with the boxes found and the sizes that files state."""
    before = (_NO_BOX,) * len(split) if split.boxes is None else split.boxes
    sizes = np.zeros((len(split), 2), np.int64) if split.stated_sizes is None else split.stated_sizes.copy()
    after = list(before)
    for place, boxes in found.items():
        if start <= place < start + len(split):
            after[place - start] = np.array([box.corners for box in boxes], np.int64)
            sizes[place - start] = next((box.size for box in boxes if box.size is not None), (0, 0))
    return replace(split, boxes=tuple(after), stated_sizes=sizes)
