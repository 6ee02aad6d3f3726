"""List the image files in folders and archives, and what is left out: other files, system folders, vggnet's outputs.

Listing uses `os.scandir` without a stat per file, so 1.3 million files take seconds. Everything is sorted, so nothing
depends on the order of the file system.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np

from vggnet.console import counted, named
from vggnet.data.compact import Names
from vggnet.data.folders import ArchiveFolder, Folder, entries_of, file_of, folder_at, members_of
from vggnet.data.image_files import IMAGE_EXTENSIONS, File, begins_like_image
from vggnet.data.members import Member
from vggnet.data.names import is_hidden, is_system
from vggnet.data.splits import Split, joined
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


def is_image_entry(folder: Folder, name: str) -> bool:
    """Return whether a file is an image by its extension; by its first bytes where it has none, or no usual one."""
    extension = os.path.splitext(name)[1]
    if extension.lower() in IMAGE_EXTENSIONS:
        return True
    # "photo", "1.2.840.10008.1", "a.jpg_large", "a.jpg?size=2": what other programs write has letters only
    return not extension[1:].isalpha() and _begins_like_image(file_of(folder, name))


def _begins_like_image(file: File) -> bool:
    return (isinstance(file, Member) or os.path.isfile(file)) and begins_like_image(file)


def is_output(folder: Folder) -> bool:
    """Return whether vggnet made `folder`: a run, a model, or pictures with boxes."""
    return any(_exists(folder, name) for name in (OUTPUT_MARK, *_WEIGHTS))


def _exists(folder: Folder, name: str) -> bool:
    if isinstance(folder, ArchiveFolder):
        return (folder / name).is_file()
    return os.path.lexists(os.path.join(folder, name))


def holds_runs(folder: Folder) -> bool:
    """Return whether a folder without images is, or holds, a run: finished, stopped or just starting."""
    folders = [folder, *(folder / name for name in _folders(folder)[0])]
    return any(_exists(each, name) for each in folders for name in (*_WEIGHTS, *_STARTED))


def subfolders(folder: Folder) -> list[str]:
    """Return the names of the folders in `folder` that may hold data, sorted."""
    return visible_folders(folder)[0]


def visible_folders(folder: Folder) -> tuple[list[str], LeftOut]:
    """Return `subfolders`, and the folders beside them that are left out."""
    names, left_out = _folders(folder)
    outputs = [name for name in names if is_output(folder / name)]
    left_out += LeftOut(outputs=tuple(str(folder / name) for name in outputs))
    return sorted(set(names) - set(outputs)), left_out


def _folders(folder: Folder) -> tuple[list[str], LeftOut]:
    names, left_out = [], LeftOut()
    for entry in entries_of(folder):
        if not is_hidden(entry.name) and entry.is_dir():
            names.append(entry.name)
        elif is_system(entry.name) and entry.is_dir():
            left_out += LeftOut(system=Counter([entry.name]))
    return names, left_out


def list_images(folder: Folder, prefix: str = "", recursive: bool = True) -> tuple[Names, LeftOut]:
    """Return the sorted posix paths (`prefix` before them) of the image files under `folder`, and what is left out."""
    files: list[str] = []
    others, system, outputs = 0, Counter[str](), []
    pending, seen = [(folder, prefix)], {os.path.realpath(str(folder))}
    while pending:
        where, before = pending.pop()
        for entry in entries_of(where):
            if is_hidden(entry.name):
                system += Counter([entry.name] if is_system(entry.name) and entry.is_dir() else [])
            elif entry.is_dir():
                real = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
                if not recursive or real in seen:  # a link may lead back up
                    continue
                seen.add(real)
                below = where / entry.name
                if is_output(below):
                    outputs.append(entry.path)
                else:
                    pending.append((below, f"{before}{entry.name}/"))
            elif is_image_entry(where, entry.name):
                files.append(before + entry.name)
            else:
                others += 1
    return Names.of(sorted(files)), LeftOut(others, system, tuple(outputs))


def stem_of(file: str) -> str:
    """Return a file's name without folders and extension."""
    return os.path.splitext(file.rpartition("/")[2])[0]


def class_folders(root: Folder, part: str) -> tuple[dict[str, Names], LeftOut]:
    """Return {class: its files, relative to `root`} of the folders in `root/part`, and what is left out there.

    `part` is "" where the class folders lie in `root` itself. A class without images has an empty list.
    """
    prefix, where = f"{part}/" if part else "", root / part if part else root
    _refuse_broken_links(where)
    names, left_out = visible_folders(where)
    files_of = {}
    for name in names:
        folder = where / name
        files, others = list_images(folder, f"{prefix}{name}/")
        if not files and holds_runs(folder):
            left_out += LeftOut(outputs=(str(folder),))
            continue
        files_of[name] = files
        left_out += others
    return files_of, left_out


def _refuse_broken_links(folder: Folder) -> None:
    """Raise UserError for a broken link, since a class folder may be missing."""
    links = [entry for entry in entries_of(folder) if entry.is_symlink() and not is_hidden(entry.name)]
    broken = sorted(link.name for link in links if not os.path.exists(link.path))
    if broken:
        raise UserError(f"{folder}: {named(broken)} links to nothing: correct the link or remove it")


def labelled(root: Folder, files_of: Mapping[str, Sequence[str]], classes: Sequence[str], part: str = "") -> Split:
    """Return a split of the files of each class, in the order of `classes`; `part` as in `Split`."""
    groups = [files_of.get(name, ()) for name in classes]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(group) for group in groups])
    files = Names.of(chain.from_iterable(groups))
    return Split(str(root), files, labels, part=part, members=members_of(root, files))


def refuse_empty_classes(files_of: Mapping[str, Sequence[str]], where: str) -> None:
    """Raise UserError with the names of the classes without images."""
    empty = [name for name, files in files_of.items() if not files]
    if empty:
        raise UserError(f"{where}: no image in class {named(empty)}: fill or remove these folders")


def images_at(paths: Sequence[str | Path]) -> Split:
    """Return the images at `paths`; a folder or an archive stands for all images in it.

    Raises UserError for one without images.
    """
    parts = (Split("", (str(path),)) if folder_at(path) is None else unlabelled_folder(path) for path in paths)
    return joined(list(parts))


def is_flat(data: str | Path) -> bool:
    """Return whether `data` is a folder, or an archive, with images in it and no folder of images."""
    folder = folder_at(data)
    if folder is None or not list_images(folder, recursive=False)[0]:
        return False
    return not any(list_images(folder / name)[0] for name in subfolders(folder))


def unlabelled_folder(path: str | Path) -> Split:
    """Return all images under a folder or in an archive, sorted, without labels. Raises UserError without any."""
    folder = folder_at(path)
    if folder is None:
        raise UserError(f"{path}: no such folder")
    files, _ = list_images(folder)
    if not files:
        raise UserError(f"{path}: no image files in this folder (looked for {', '.join(sorted(IMAGE_EXTENSIONS))})")
    return Split(str(folder), files, members=members_of(folder, files))
