"""Open data sets whose boxes are in separate files (`box_files`).

Where the images lie in class folders (or have labels otherwise), an image takes the boxes of its own class. Where they
lie in one folder (VOC's JPEGImages, COCO's train2017), labels come from the annotations: an image with objects of two
classes is two examples.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vggnet.console import counted, named
from vggnet.data.box_files import LabelledBox, read_annotations
from vggnet.data.box_matching import find_images, lay_boxes
from vggnet.data.compact import Names
from vggnet.data.dividing import set_aside
from vggnet.data.folders import Folder, folder_at, members_of
from vggnet.data.listing import is_flat, list_images
from vggnet.data.opening import VAL_FRACTION, open_data
from vggnet.data.splits import ImageData, Split
from vggnet.errors import UserError


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
    if is_flat(data):
        folder = folder_at(data)
        assert folder is not None
        return _open_flat(folder, [boxes for boxes, _ in given], notes, whole)
    opened = open_data(data, whole=whole)
    train, val = opened.train, opened.val
    if annotations is not None and val_annotations is None:
        (train, val), more = lay_boxes((train, val), given[0][0], opened.classes, str(annotations))
        notes += more
    if annotations is not None and val_annotations is not None:
        (train,), more = lay_boxes((train,), given[0][0], opened.classes, str(annotations))
        notes += more
    if val_annotations is not None:
        (val,), more = lay_boxes((val,), given[1][0], opened.classes, str(val_annotations))
        notes += more
    return replace(opened, train=train, val=val, notes=opened.notes + notes)


def _open_flat(folder: Folder, given: list[list[LabelledBox]], notes: tuple[str, ...], whole: bool) -> ImageData:
    files, _ = list_images(folder, recursive=False)
    places = find_images(files, (box.image for boxes in given for box in boxes))
    train_boxes, val_boxes = given
    classes = tuple(sorted({box.name for box in train_boxes} or {box.name for box in val_boxes}))
    strangers = sorted({box.name for box in val_boxes} - set(classes))
    if strangers:
        raise UserError(f"class {named(strangers)} has val boxes and no training boxes: a net cannot learn it")
    missing = sorted(image for image, place in places.items() if place is None)
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
            notes += (
                f"no annotations of a validation part: {counted(len(val), 'example')} set aside (by class and name)",
            )
    unnamed = len(files) - len({file for part in (train, val) if part is not None for file in part.files})
    if unnamed:
        notes += (f"left out: {unnamed} of {len(files)} images, without a box",)
    return ImageData(folder.resolve().name, str(folder), classes, (), train, val, notes, divided)


def _examples(
    folder: Folder,
    files: Names,
    places: dict[str, int | None],
    boxes: Sequence[LabelledBox],
    classes: tuple[str, ...],
) -> Split | None:
    """Return one example for each (image, class); None where there is none."""
    position = {name: label for label, name in enumerate(classes)}
    found: dict[tuple[int, int], list[LabelledBox]] = {}
    for box in boxes:
        place = places[box.image]
        if place is not None:
            found.setdefault((place, position[box.name]), []).append(box)
    if not found:
        return None
    keys = sorted(found)
    sizes = [next((box.size for box in found[key] if box.size is not None), (0, 0)) for key in keys]
    chosen = files.at(np.array([place for place, _ in keys], np.int64))
    return Split(
        str(folder),
        chosen,
        np.array([label for _, label in keys], np.int64),
        tuple(np.array([box.corners for box in found[key]], np.int64) for key in keys),
        stated_sizes=np.array(sizes, np.int64),
        members=members_of(folder, chosen),
    )
