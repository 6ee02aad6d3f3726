"""The saves of a run: folders saves/NUMBER that each hold all files of one moment of the training.

state.safetensors  what `--resume` continues from
last.safetensors   weights of the last epoch        best.safetensors  weights of the best epoch
metrics.csv        one row an epoch                 manifest.json     sizes and hashes of the others, written last

A save is written into a hidden folder, forced to the disk and renamed, so that it is there whole or not at all. A file
that did not change since the save before is a hard link to that one. best, last and metrics.csv in the run folder
itself are links into the newest save (`publish`).

`write_save` writes a save. `newest_save` compares files with the manifest (`Save.problem`) and passes over damaged
saves with a note.

A run of a version without saves has these files in its own folder. It is read as save 0, and becomes save 1 when the
next one is written (`adopt`).
"""

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from vggnet.console import note
from vggnet.data.listing import OUTPUT_MARK
from vggnet.description import BEST_FILE, LAST_FILE
from vggnet.errors import UserError
from vggnet.files import creating_folder, json_text, link_or_copy, replacing, write_flushed, write_whole

SAVES = "saves"
MANIFEST = "manifest.json"
STATE, METRICS = "state.safetensors", "metrics.csv"
PUBLISHED = (BEST_FILE, LAST_FILE, METRICS)  # in the run folder, too

Content = Iterable[bytes | memoryview] | str  # the parts of a new file, or the name of a new file that is the same


@dataclass(frozen=True)
class Save:
    """A save, by its folder. Save 0 is a run folder that was written without saves.

    `files` are size in bytes and SHA-256 by name, `facts` what else the manifest says.
    """

    folder: Path
    number: int
    files: Mapping[str, tuple[int, str]]
    facts: Mapping[str, Any]

    @property
    def state(self) -> Path:
        """The file of the training's state."""
        return self.folder / STATE

    def problem(self) -> str | None:
        """Return what is wrong with the save in words; None where every file is as it was written."""
        for name, (size, digest) in self.files.items():
            file = self.folder / name
            try:
                found = file.stat()
                if found.st_size != size:
                    return f"{name} has {found.st_size:,} bytes, written were {size:,}"
                if _digest(file, found.st_dev, found.st_ino, found.st_mtime_ns) != digest:
                    return f"{name} has changed since it was written"
            except OSError as error:
                return f"{name}: {error.strerror or error}"
        return None


@lru_cache(maxsize=64)
def _digest(file: Path, *_version: int) -> str:
    """Return the SHA-256 of one version of a file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def newest_save(run: Path, only: Collection[str] | None = None) -> tuple[Save | None, list[Path]]:
    """Return the newest save that is whole, and the folders of newer ones that are not.

    Prints a note for each save that is passed over. None where nothing was saved yet.

    Args:
        run: The run folder.
        only: Hashes of the lists of images that a save may have been made on; None for any.

    Raises:
        UserError: where no save is whole.
    """
    broken: list[tuple[Path, str]] = []
    for number, folder in _folders(run):
        save, problem = _read(folder, number)
        images = None if save is None else save.facts.get("images_sha256")
        if save is not None and only is not None and images is not None and images not in only:
            problem = "it belongs to a training on other images"
        problem = problem or (save.problem() if save is not None else None)
        if save is not None and problem is None:
            for path, reason in broken:
                note(f"{path}: passed over, since {reason}; {save.folder} before it is used")
            return save, [path for path, _ in broken]
        broken.append((folder, str(problem)))
    if broken:
        listing = "\n".join(f"  {path}: {reason}" for path, reason in broken)
        raise UserError(
            f"{run}: damaged: no save can be used:\n{listing}\nPut one back from a backup, or start anew in another "
            "`out`"
        )
    return (Save(run, 0, {}, {}), []) if (run / STATE).exists() else (None, [])


def _folders(run: Path) -> list[tuple[int, Path]]:
    """Return the folders of the saves with their numbers, the newest first."""
    try:
        names = os.listdir(run / SAVES)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(((int(name), run / SAVES / name) for name in names if name.isdecimal()), reverse=True)


def _read(folder: Path, number: int) -> tuple[Save | None, str | None]:
    """Return the save in `folder`, or what is wrong with its manifest."""
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = {str(name): (int(each["bytes"]), str(each["sha256"])) for name, each in content.pop("files").items()}
        if STATE not in files:
            raise ValueError(f"{STATE} is not listed")
    except OSError as error:
        return None, f"{MANIFEST}: {error.strerror or error}"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return None, f"{MANIFEST} is damaged ({error})"
    return Save(folder, number, files, content), None


def write_save(run: Path, before: Save | None, new: Mapping[str, Content], facts: Mapping[str, Any]) -> Save:
    """Write the next save, and return it: the files in `new`, and those of the save `before` that are not in it.

    Raises OSError that names the save. The saves before are then as they were.
    """
    if before is not None and before.number == 0:
        before = adopt(run, before)
    number = 1 + max((number for number, _ in _folders(run)), default=0)
    folder = run / SAVES / f"{number:06d}"
    folder.parent.mkdir(exist_ok=True)
    (folder.parent / OUTPUT_MARK).touch()  # the folder holds no images to learn from
    with creating_folder(folder) as part:
        files: dict[str, tuple[int, str]] = {}
        for name, content in new.items():
            if isinstance(content, str):
                link_or_copy(part / content, part / name)
                files[name] = files[content]
            else:
                files[name] = write_flushed(part / name, content)
        for name, entry in before.files.items() if before is not None else ():
            if name not in files:
                link_or_copy(before.folder / name, part / name)  # type: ignore[union-attr]
                files[name] = entry
        _write_manifest(part, files, facts)
    return Save(folder, number, files, facts)


def _write_manifest(folder: Path, files: Mapping[str, tuple[int, str]], facts: Mapping[str, Any]) -> None:
    listed = {name: {"bytes": size, "sha256": digest} for name, (size, digest) in files.items()}
    write_whole(folder / MANIFEST, json_text({**facts, "files": listed}))


def adopt(run: Path, earlier: Save) -> Save:
    """Make save 1 of the files of a run that was written without saves. Return it."""
    folder = run / SAVES / f"{1:06d}"
    files: dict[str, tuple[int, str]] = {}
    with creating_folder(folder) as part:
        for name in (STATE, *PUBLISHED):
            if (run / name).exists():
                link_or_copy(run / name, part / name)
                with (part / name).open("rb") as content:
                    files[name] = (part / name).stat().st_size, hashlib.file_digest(content, "sha256").hexdigest()
        _write_manifest(part, files, earlier.facts)
    earlier.state.unlink()
    return Save(folder, 1, files, earlier.facts)


def publish(run: Path, save: Save) -> None:
    """Make best, last and metrics.csv of the run folder those of the save."""
    for name in PUBLISHED if save.number else ():
        target = run / name
        if name not in save.files:
            target.unlink(missing_ok=True)  # of an epoch that a damaged save took with it
        elif not (target.exists() and os.path.samefile(target, save.folder / name)):
            with replacing(target) as temporary:
                temporary.unlink(missing_ok=True)
                link_or_copy(save.folder / name, temporary)


def prune(run: Path, keep: int, broken: Collection[Path] = ()) -> None:
    """Remove broken saves, and all but the newest `keep` of the others."""
    folders = [folder for _, folder in _folders(run)]
    whole = [folder for folder in folders if folder not in broken]
    for folder in (*(folder for folder in folders if folder in broken), *whole[keep:]):
        with suppress(OSError):  # removed the next time
            aside = folder.with_name(f".{folder.name}.part")
            folder.rename(aside)  # what a kill leaves of it is then no save
            shutil.rmtree(aside)


def remove_unfinished(run: Path) -> None:
    """Remove what killed processes left in the folder of saves."""
    for part in (run / SAVES).glob(".*.part"):
        shutil.rmtree(part, ignore_errors=True)
