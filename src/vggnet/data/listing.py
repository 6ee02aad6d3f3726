"""The image files in folders, sorted, and what is left out: other files, system folders, vggnet's own outputs.

Listing uses `os.scandir` without a stat per file, so 1.3 million files take seconds. Everything is sorted, so nothing
depends on the order of the file system.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vggnet.console import counted, named
from vggnet.data.image_files import IMAGE_EXTENSIONS, begins_like_image
from vggnet.data.names import is_hidden, is_system
from vggnet.data.splits import Split
from vggnet.description import BEST_FILE, LAST_FILE, MODEL_FILE
from vggnet.errors import UserError

OUTPUT_MARK = ".vggnet"  # an empty file in a folder of pictures that vggnet drew
# what tells a run or a model; a class of images may well be called "saves"
_WEIGHTS = (BEST_FILE, LAST_FILE, MODEL_FILE, "state.safetensors", os.path.join("saves", OUTPUT_MARK))
_STARTED = (".lock", "config.json")  # all that a run has before its first weights are saved


@dataclass(frozen=True)
class LeftOut:
    """Entries that are no data: the number of files, names and numbers of system folders, paths of vggnet's outputs."""

    files: int = 0
    system: Counter[str] = field(default_factory=Counter)
    outputs: tuple[str, ...] = ()

    def __add__(self, other: "LeftOut") -> "LeftOut":
        return LeftOut(self.files + other.files, self.system + other.system, self.outputs + other.outputs)

    def notes(self, where: str) -> tuple[str, ...]:
        """Return a note for each kind of thing that was left out of the folder `where`."""
        notes = []
        if self.files:
            notes.append(f"left out: {counted(self.files, 'file')} in {where} without an image extension")
        if self.system:
            names = ", ".join(f"{name} ({count})" for name, count in sorted(self.system.items()))
            notes.append(f"left out: folders of the system in {where}: {names}")
        if self.outputs:
            notes.append(f"left out: outputs of vggnet: {', '.join(sorted(set(self.outputs)))}")
        return tuple(notes)


def is_image_name(name: str) -> bool:
    """Return whether a file has the extension of an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_EXTENSIONS


def is_image_entry(path: str, name: str) -> bool:
    """Return whether a file is an image by its extension; by its first bytes where it has none, or no usual one."""
    extension = os.path.splitext(name)[1]
    if extension.lower() in IMAGE_EXTENSIONS:
        return True
    # "photo", "1.2.840.10008.1", "a.jpg_large", "a.jpg?size=2": what other programs write has letters only
    return not extension[1:].isalpha() and os.path.isfile(path) and begins_like_image(path)


def is_output(folder: str) -> bool:
    """Return whether vggnet made `folder`: a run, a model, or pictures with boxes."""
    return any(os.path.lexists(os.path.join(folder, name)) for name in (OUTPUT_MARK, *_WEIGHTS))


def holds_runs(folder: str) -> bool:
    """Return whether a folder without images is, or holds, a run: finished, stopped or just starting."""
    folders = [folder, *(os.path.join(folder, name) for name in _folders(folder)[0])]
    return any(os.path.lexists(os.path.join(each, name)) for each in folders for name in (*_WEIGHTS, *_STARTED))


def subfolders(folder: str | Path) -> list[str]:
    """Return the names of the folders in `folder` that may hold data, sorted."""
    return visible_folders(folder)[0]


def visible_folders(folder: str | Path) -> tuple[list[str], LeftOut]:
    """Return `subfolders`, and the folders beside them that are left out."""
    names, left_out = _folders(folder)
    outputs = [name for name in names if is_output(os.path.join(folder, name))]
    left_out += LeftOut(outputs=tuple(os.path.join(folder, name) for name in outputs))
    return sorted(set(names) - set(outputs)), left_out


def _folders(folder: str | Path) -> tuple[list[str], LeftOut]:
    names, left_out = [], LeftOut()
    with os.scandir(folder) as entries:
        for entry in entries:
            if not is_hidden(entry.name) and entry.is_dir():
                names.append(entry.name)
            elif is_system(entry.name) and entry.is_dir():
                left_out += LeftOut(system=Counter([entry.name]))
    return names, left_out


def list_images(folder: str, prefix: str = "", recursive: bool = True) -> tuple[list[str], LeftOut]:
    """Return the sorted posix paths (`prefix` before them) of the image files under `folder`, and what is left out."""
    files: list[str] = []
    others, system, outputs = 0, Counter[str](), []
    pending, seen = [(folder, prefix)], {os.path.realpath(folder)}
    while pending:
        where, before = pending.pop()
        with os.scandir(where) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    system += Counter([entry.name] if is_system(entry.name) and entry.is_dir() else [])
                elif entry.is_dir():
                    real = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
                    if not recursive or real in seen:  # a link may lead back up
                        continue
                    seen.add(real)
                    if is_output(entry.path):
                        outputs.append(entry.path)
                    else:
                        pending.append((entry.path, f"{before}{entry.name}/"))
                elif is_image_entry(entry.path, entry.name):
                    files.append(before + entry.name)
                else:
                    others += 1
    return sorted(files), LeftOut(others, system, tuple(outputs))


def stem_of(file: str) -> str:
    """Return a file's name without folders and extension."""
    return os.path.splitext(file.rpartition("/")[2])[0]


def class_folders(root: str, part: str) -> tuple[dict[str, list[str]], LeftOut]:
    """Return {class: its files, relative to `root`} of the folders in `root/part`, and what is left out there.

    `part` is "" where the class folders lie in `root` itself. A class without images has an empty list.
    """
    prefix, where = f"{part}/" if part else "", os.path.join(root, part)
    _refuse_broken_links(where)
    names, left_out = visible_folders(where)
    files_of = {}
    for name in names:
        folder = os.path.join(where, name)
        files, others = list_images(folder, f"{prefix}{name}/")
        if not files and holds_runs(folder):
            left_out += LeftOut(outputs=(folder,))
            continue
        files_of[name] = files
        left_out += others
    return files_of, left_out


def _refuse_broken_links(folder: str) -> None:
    """Raise UserError for a broken link, since a class folder may be missing."""
    with os.scandir(folder) as entries:
        links = [entry for entry in entries if entry.is_symlink() and not is_hidden(entry.name)]
    broken = sorted(link.name for link in links if not os.path.exists(link.path))
    if broken:
        raise UserError(f"{folder}: {named(broken)} links to nothing: correct the link or remove it")


def labelled(root: str, files_of: dict[str, list[str]], classes: Sequence[str], part: str = "") -> Split:
    """Return a split of the files of each class, in the order of `classes`; `part` as in `Split`."""
    groups = [files_of.get(name, []) for name in classes]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(group) for group in groups])
    return Split(root, tuple(file for group in groups for file in group), labels, part=part)


def refuse_empty_classes(files_of: dict[str, list[str]], where: str) -> None:
    """Raise UserError with the names of the classes without images."""
    empty = [name for name, files in files_of.items() if not files]
    if empty:
        raise UserError(f"{where}: no image in class {named(empty)}: fill or remove these folders")


def images_at(paths: Sequence[str | Path]) -> Split:
    """Return the images at `paths`; a folder stands for all images in it. Raises UserError for an empty folder."""
    files: list[str] = []
    for path in map(Path, paths):
        if path.is_dir():
            folder = unlabelled_folder(path)
            files += [folder.path(index) for index in range(len(folder))]
        else:
            files.append(str(path))
    return Split("", tuple(files))


def is_flat(data: str | Path) -> bool:
    """Return whether `data` is a folder of images without class folders: with images in it, and no folder of images."""
    folder = Path(data).expanduser()
    if not folder.is_dir() or not list_images(str(folder), recursive=False)[0]:
        return False
    return not any(list_images(str(folder / name))[0] for name in subfolders(folder))


def unlabelled_folder(path: str | Path) -> Split:
    """Return all images under a folder, sorted, without labels. Raises UserError where there are none."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise UserError(f"{path}: no such folder")
    files, _ = list_images(str(folder))
    if not files:
        raise UserError(f"{path}: no image files in this folder (looked for {', '.join(sorted(IMAGE_EXTENSIONS))})")
    return Split(str(folder), tuple(files))
