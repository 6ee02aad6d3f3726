"""Open a data set, a folder or a name, as lists of files with labels (`open_data`).

Layouts: class folders under `train/` and `val/` (`parts`: the usual names in any case and form); one folder of class
folders, divided by the images' names; the ILSVRC CLS-LOC download (`ilsvrc`) and Tiny ImageNet (`tiny_imagenet`) as
they are downloaded; any of these in a tar or a zip (`folders`); ILSVRC's own tars (`ilsvrc_archives`)
and its validation images in one folder (`ilsvrc_val`); packs (`packs`);
parquet files and sets of Hugging Face's `datasets` (`tables`).
To add a layout: a module here, called in `_open_layout`; its name in the help (`options.common.DATA_HELP`).
Names: `scenes` (drawn here, no download) and torchvision's sets (`downloads`). Classes are matched
by name, never by position. Faults of a layout are reported before any image is read.
"""

import difflib
from dataclasses import replace
from pathlib import Path

from vggnet.console import counted, named
from vggnet.data import downloads, ilsvrc, ilsvrc_archives, ilsvrc_val, packs, scenes, tables, tiny_imagenet
from vggnet.data.box_files import read_csv
from vggnet.data.box_matching import lay_boxes
from vggnet.data.compact import Names
from vggnet.data.dividing import set_aside
from vggnet.data.folders import Folder, folder_at
from vggnet.data.listing import LeftOut, class_folders, labelled, list_images, refuse_empty_classes
from vggnet.data.parts import Parts, find_parts, refuse_unknown_parts
from vggnet.data.splits import ImageData
from vggnet.errors import UserError
from vggnet.files import default_cache, made_once

VAL_FRACTION = 0.2  # set aside of images that come without a validation set
_LAYOUT = "expected train/CLASS/*.jpg with val/CLASS/*.jpg, or CLASS/*.jpg"


def data_names() -> tuple[str, ...]:
    """Return the names of data sets that `open_data` accepts besides folders."""
    return ("scenes", *sorted(downloads.SETS))


def open_data(data: str, *, whole: bool = False, cache: Path | None = None) -> ImageData:
    """Return the data set `data`: a folder, or one of `data_names()` (a folder of such a name is reached as ./NAME).

    A folder without a validation part is divided (`ImageData.divided`); with `whole` all its images are `val`. `cache`
    is the folder for named sets. Raises UserError where a folder lacks something or the name does not exist.
    """
    cache = cache or default_cache()
    if data == "scenes":
        root = made_once(cache / f"scenes-{scenes.VERSION}-0", scenes.write_scenes)
        return _open_folder(root, "scenes", whole)
    if data in downloads.SETS:
        return _open_folder(downloads.fetched(data, cache), data, whole)
    if data.startswith(tables.HUB):
        return _perhaps_divided(tables.open_hub(data), whole)
    path = Path(data).expanduser()
    if path.is_file() and tables.is_table(path):
        return _perhaps_divided(tables.open_tables(path, path.stem), whole)
    folder = folder_at(data)
    if folder is not None:
        try:
            opened = _open_folder(folder, folder.resolve().name, whole)
        except OSError as error:
            raise UserError(f"{error.filename or folder}: {error.strerror}") from error
        return opened if isinstance(folder, Path) else replace(opened, notes=folder.listing.notes() + opened.notes)
    if Path(data).expanduser().exists():
        raise UserError(
            f"{data} is a file: DATA is a folder of images, a tar or a zip of one, or a name "
            f"({', '.join(data_names())})"
        )
    near = difflib.get_close_matches(data.lower(), data_names(), n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else f"the names are {', '.join(data_names())}"
    raise UserError(f"{data!r} is neither a folder nor the name of a data set: {hint}")


def has_boxes_of_stored_pixels(data: str) -> bool:
    """Return whether boxes of `data` refer to pixels before EXIF orientations are applied, as those of ILSVRC do."""
    folder = None if data in data_names() else folder_at(data)
    if folder is None or ilsvrc.find_base(folder) is not None:
        return folder is not None
    return isinstance(folder, Path) and (
        ilsvrc_archives.is_download(folder) or packs.has_boxes_of_stored_pixels(folder)
    )


def _open_folder(root: Folder, name: str, whole: bool) -> ImageData:
    return _with_own_boxes(root, _open_layout(root, name, whole))


def _open_layout(root: Folder, name: str, whole: bool) -> ImageData:
    if isinstance(root, Path) and packs.is_pack(root):
        return _perhaps_divided(packs.open_pack(root, name), whole)
    if isinstance(root, Path) and tables.is_table(root):
        return _perhaps_divided(tables.open_tables(root, name), whole)
    if base := ilsvrc.find_base(root):
        return ilsvrc.open_download(root, base, name)
    if isinstance(root, Path) and (flat := ilsvrc_val.find_val(root)) is not None:
        return ilsvrc_val.open_val(root, flat, name)
    if isinstance(root, Path) and ilsvrc_archives.is_download(root):
        return ilsvrc_archives.open_download(root, name)
    if tiny_imagenet.is_download(root):
        return tiny_imagenet.open_download(root, name)
    parts = find_parts(root)
    if parts.train is None:
        if parts.val is not None:
            return _open_val_only(root, name, parts.val)
        refuse_unknown_parts(root)
        return _open_undivided(root, "", name, whole)
    if parts.val is None or parts.unlabelled:
        opened = _open_undivided(root, parts.train, name, whole)
        return replace(opened, notes=parts.notes + opened.notes)
    return _open_parts(root, name, parts.train, parts.val, parts)


def _open_parts(root: Folder, name: str, train: str, val: str, parts: Parts) -> ImageData:
    """Return the folders `train` and `val`, both of class folders."""
    files_of, left_out, notes = _read_classes(root, train)
    classes = tuple(sorted(files_of))
    val_files_of, val_left_out = _val_classes(root, val)
    strangers = sorted(set(val_files_of) - set(classes))
    if strangers:
        raise UserError(
            f"{root / val}: class {named(strangers)} has no folder in {root / train}: "
            "a net cannot learn it; add training images or remove it"
        )
    absent = [each for each in classes if not val_files_of.get(each)]
    if absent:
        notes += (f"{counted(len(absent), 'class')} without an image in {val}: {named(absent)}",)
    return ImageData(
        name,
        str(root),
        classes,
        (),
        labelled(root, files_of, classes),
        labelled(root, val_files_of, classes),
        parts.notes + notes + (left_out + val_left_out).notes(str(root)),
    )


def _val_classes(root: Folder, val: str) -> tuple[dict[str, Names], LeftOut]:
    """Return the class folders of a validation part, without empty ones. Raises UserError for a flat folder."""
    files_of, left_out = class_folders(root, val)
    files_of = {each: files for each, files in files_of.items() if files}
    if not files_of:
        flat, _ = list_images(root / val, recursive=False)
        if not flat:
            raise UserError(f"{root / val}: no image in any class folder; expected {val}/CLASS/*.jpg")
        raise UserError(
            f"{root / val}: {counted(len(flat), 'image')} without labels: put each in a folder of its class "
            f"({val}/CLASS/*.jpg), or rename the folder to test to train without it; for the ILSVRC download, "
            f"{ilsvrc.VAL_LABELS} is missing in {root}, or the devkit with {ilsvrc_val.DEVKIT}"
        )
    return files_of, left_out


def _open_val_only(root: Folder, name: str, val: str) -> ImageData:
    files_of, left_out = _val_classes(root, val)
    classes = tuple(sorted(files_of))
    split = labelled(root, files_of, classes)
    return ImageData(name, str(root), classes, (), None, split, left_out.notes(str(root)))


def _open_undivided(root: Folder, part: str, name: str, whole: bool) -> ImageData:
    """Return class folders without a validation part: some of each class are set aside, or all are `val`."""
    files_of, left_out, notes = _read_classes(root, part)
    notes += left_out.notes(str(root))
    classes = tuple(sorted(files_of))
    everything = labelled(root, files_of, classes, f"{part}/" if part else "")
    return _divided(ImageData(name, str(root), classes, (), None, everything, notes), whole)


def _perhaps_divided(opened: ImageData, whole: bool) -> ImageData:
    """Divide data that was opened as one part (`ImageData.divided`)."""
    return _divided(opened, whole) if opened.divided else opened


def _divided(opened: ImageData, whole: bool) -> ImageData:
    """Return data, all of which is `val`, as it is (`whole`), or with a part set aside for validation."""
    everything, classes, notes = opened.val, opened.classes, opened.notes
    assert everything is not None
    if whole:
        notes = (f"no validation folder: all {counted(len(everything), 'image')} count", *notes)
        return replace(opened, notes=notes, divided=False)
    train, val = set_aside(everything, VAL_FRACTION)
    notes = (f"no validation folder: {len(val)} of {len(everything)} images set aside (by class and name)", *notes)
    assert val.labels is not None
    absent = [classes[label] for label in sorted(set(range(len(classes))) - set(val.labels.tolist()))]
    if absent:
        notes += (f"{counted(len(absent), 'class')} of a single image, which is for training: {named(absent)}",)
    return replace(opened, train=train, val=val, notes=notes, divided=True)


def _read_classes(root: Folder, part: str) -> tuple[dict[str, Names], LeftOut, tuple[str, ...]]:
    """Return training classes: {class: files}, what is left out, notes. Raises UserError for an empty class."""
    where = root / part if part else root
    files_of, left_out = class_folders(root, part)
    flat, _ = list_images(where, recursive=False)
    if not any(files_of.values()):
        found = f"{counted(len(flat), 'image')} outside class folders" if flat else "no images"
        raise UserError(f"{where}: {found}; {_LAYOUT}")
    refuse_empty_classes(files_of, str(where))
    notes = (f"left out: {counted(len(flat), 'image')} in {where} outside class folders",) if flat else ()
    return files_of, left_out, notes


def _with_own_boxes(root: Folder, opened: ImageData) -> ImageData:
    """Return the data with the boxes of `boxes.csv` at the top of `root`, if that exists (`box_files.read_csv`)."""
    path = root / "boxes.csv"
    boxes = read_csv(path) if path.is_file() else []
    if not boxes:
        return opened
    (train, val), notes = lay_boxes((opened.train, opened.val), boxes, opened.classes, str(path))
    return replace(opened, train=train, val=val, notes=opened.notes + notes)
