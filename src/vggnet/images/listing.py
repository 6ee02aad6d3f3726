"""The image files in folders, sorted, and what is left out: other files, system folders, vggnet's own outputs.

Listing uses `os.scandir` without a stat per file, so 1.3 million files take seconds. Everything is sorted, so nothing
depends on the order of the file system.
"""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from vggnet.console import counted
from vggnet.images.names import is_hidden, is_system
from vggnet.images.opening import IMAGE_EXTENSIONS, begins_like_image

OUTPUT_MARK = ".vggnet"  # an empty file in a folder of pictures that vggnet drew
_WEIGHTS = ("best.safetensors", "last.safetensors", "state.safetensors", "model.safetensors")
_STARTED = (".lock", "config.json")  # all that a run has before its first weights are saved


@dataclass(frozen=True)
class LeftOut:
    """What is no data: files by number, files and folders of systems by name and number, own outputs by path."""

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
