"""Leave out images that a list names: the list that `vggnet data check` writes, or one by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from vggnet.console import counted, named
from vggnet.data.splits import ImageData, Split
from vggnet.data.text_files import read_rows
from vggnet.errors import UserError

COLUMNS = ("part", "image", "reason")


def leave_out(data: ImageData, path: Path) -> ImageData:
    """Return the data without the images of a csv with the columns part (train or val), image and reason.

    Raises UserError for a list that cannot be read, that names another part, or none of whose images is there.
    """
    listed: dict[str, set[str]] = {"train": set(), "val": set()}
    for row in read_rows(path, COLUMNS):
        part = row.text("part")
        if part not in listed:
            raise UserError(f"{row.at('part')}: {part!r} is neither train nor val")
        listed[part].add(row.text("image"))
    train, train_out = _without(data.train, listed["train"])
    val, val_out = _without(data.val, listed["val"])
    wanted, out = sum(map(len, listed.values())), train_out + val_out
    if wanted and not out:
        names = sorted(set.union(*listed.values()))
        raise UserError(f"{path}: none of its images is in {data.root}, such as {named(names, 3)}: it is of other data")
    notes: tuple[str, ...] = (f"left out {counted(out, 'image')} that {path} names",)
    if out < wanted:
        notes += (f"{counted(wanted - out, 'image')} of {path} not in the data",)
    return replace(data, train=train, val=val, notes=data.notes + notes)


def _without(split: Split | None, files: set[str]) -> tuple[Split | None, int]:
    """Return the split without `files`, and how many images that were."""
    if split is None or not files:
        return split, 0
    stays = np.array([file not in files for file in split.files], bool)
    return split.subset(np.flatnonzero(stays)), int((~stays).sum())
