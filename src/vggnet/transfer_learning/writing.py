"""Write descriptors of images to a file (`vggnet features`)."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vggnet.data.splits import Split
from vggnet.errors import BadImage, UserError
from vggnet.evaluation.matching import open_split
from vggnet.evaluation.policy import input_notes
from vggnet.files import write_result
from vggnet.transfer_learning.descriptors import (
    DescriptorSettings,
    Model,
    Progress,
    check_models,
    describe_images,
    shown_models,
)
from vggnet.transfer_learning.examples import open_labelled


@dataclass(frozen=True, eq=False)
class ImageDescriptors:
    """Descriptors float32 (n, D) of unit length, and the files (n) that they describe.

    `labels` int64 (n) are positions among `classes`; None and () for images without labels. `bad` are the images that
    cannot be used and were left out. `notes` say how images were shown to the nets, where this is not as in the paper
    or does not fit the images.
    """

    values: np.ndarray
    files: tuple[str, ...]
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    bad: tuple[BadImage, ...] = ()
    notes: tuple[str, ...] = ()


def describe_data(
    models: Sequence[Model], data: str, settings: DescriptorSettings, on_progress: Progress | None = None
) -> ImageDescriptors:
    """Return descriptors of all images of `data`: class folders, or a folder without labels."""
    check_models(models)
    opened = open_split(data)
    classes: tuple[str, ...] = ()
    if isinstance(opened, Split):
        split = opened
    else:
        labelled = open_labelled(data)
        split, classes = labelled.split, labelled.classes
    found = describe_images(models, [split], settings, on_progress)
    files = tuple(split.path(int(index)) for index in found.indices)
    labels = None if split.labels is None else split.labels[found.indices]
    notes = input_notes(split, shown_models(models, settings))
    return ImageDescriptors(found.values, files, labels, classes, found.bad, notes)


def check_suffix(out: Path) -> None:
    """Raise UserError for a file that is neither .npz nor .csv."""
    if out.suffix not in (".npz", ".csv"):
        raise UserError(f"`out` {out}: descriptors are written as .npz or .csv")


def write_descriptors(found: ImageDescriptors, out: Path) -> None:
    """Write descriptors to `out`, a .csv or an .npz.

    The .npz holds `descriptors` float32 (n, D), `files` (n,), and where there are labels `labels` (n,) and `classes`
    (K,); no pickles.
    """
    check_suffix(out)
    write_result(out, _as_csv(found) if out.suffix == ".csv" else _as_npz(found), option="`out`")


def write_features(
    models: Sequence[Model],
    data: str,
    out: str | Path,
    settings: DescriptorSettings,
    on_progress: Progress | None = None,
) -> tuple[ImageDescriptors, Path]:
    """Write descriptors of all images of `data` to `out`; return them and the file."""
    out = Path(out)
    check_suffix(out)  # before anything is computed
    found = describe_data(models, data, settings, on_progress)
    write_descriptors(found, out)
    return found, out


def _as_npz(found: ImageDescriptors) -> bytes:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"descriptors": found.values, "files": np.array(found.files)}
    if found.labels is not None:
        arrays |= {"labels": found.labels, "classes": np.array(found.classes)}
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _as_csv(found: ImageDescriptors) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "class", *range(found.values.shape[1])])
    for row, (file, values) in enumerate(zip(found.files, found.values, strict=True)):
        name = "" if found.labels is None else found.classes[found.labels[row]]
        writer.writerow([file, name, *(f"{value:.7g}" for value in values)])
    return text.getvalue()
