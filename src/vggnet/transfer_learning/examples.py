"""Open class folders, from which the protocol of Caltech draws its random splits."""

from dataclasses import dataclass

from vggnet.data.opening import open_data
from vggnet.data.splits import Split, joined
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
    note = " and ".join(f"{len(part)} of {name}" for part, name in zip(parts, ("train", "val"), strict=False))
    return LabelledSet(opened.name, joined(parts), opened.classes, note)
