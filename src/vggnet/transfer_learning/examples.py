"""Open class folders, from which the protocol of Caltech draws its random splits."""

from dataclasses import dataclass

import numpy as np

from vggnet.data.opening import open_data
from vggnet.data.splits import Split
from vggnet.errors import UserError


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Images with one class each; `note` counts the images of each part of the data."""

    name: str
    split: Split
    classes: tuple[str, ...]
    note: str = ""


def open_labelled(data: str) -> LabelledSet:
    """Return all labelled images of `data`, training and validation parts together. Raises UserError without any."""
    opened = open_data(data)
    parts = [part for part in (opened.train, opened.val) if part is not None and part.labels is not None and len(part)]
    if not parts:
        raise UserError(f"{data}: no labelled images; expected a folder for each class")
    labels = np.concatenate([part.labels for part in parts if part.labels is not None])
    files = tuple(part.path(index) for part in parts for index in range(len(part)))
    note = " and ".join(f"{len(part)} of {name}" for part, name in zip(parts, ("train", "val"), strict=False))
    return LabelledSet(opened.name, Split("", files, labels), opened.classes, note)
