"""`vggnet features`: descriptors of images into a file, for the command line and for Python."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vggnet.data.splits import Split
from vggnet.errors import UserError
from vggnet.evaluation.matching import open_split
from vggnet.files import write_result
from vggnet.transfer_learning.descriptors import (
    Descriptors,
    DescriptorSettings,
    Model,
    Progress,
    check_models,
    describe_images,
)
from vggnet.transfer_learning.examples import open_labelled


def write_features(
    models: Sequence[Model],
    data: str,
    out: str | Path,
    settings: DescriptorSettings,
    on_progress: Progress | None = None,
) -> tuple[Descriptors, Path]:
    """Descriptors of all images of `data` (class folders, or a folder without labels) into `out` (.npz or .csv).

    The .npz holds `descriptors` float32 (n, D), `files` (n,), and where there are labels `labels` (n,) and `classes`
    (K,); no pickles.
    """
    out = Path(out)
    if out.suffix not in (".npz", ".csv"):
        raise UserError(f"--out {out}: descriptors are written as .npz or .csv")
    check_models(models)
    opened = open_split(data)
    classes: tuple[str, ...] = ()
    if isinstance(opened, Split):
        split = opened
    else:
        labelled = open_labelled(data)
        split, classes = labelled.split, labelled.classes
    found = describe_images(models, [split], settings, on_progress)
    files = [split.path(int(index)) for index in found.indices]
    labels = None if split.labels is None else split.labels[found.indices]
    form = _as_csv if out.suffix == ".csv" else _as_npz
    write_result(out, form(found, files, labels, classes), option="--out")
    return found, out


def _as_npz(found: Descriptors, files: list[str], labels: np.ndarray | None, classes: tuple[str, ...]) -> bytes:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"descriptors": found.values, "files": np.array(files)}
    if labels is not None:
        arrays |= {"labels": labels, "classes": np.array(classes)}
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _as_csv(found: Descriptors, files: list[str], labels: np.ndarray | None, classes: tuple[str, ...]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "class", *range(found.values.shape[1])])
    for row, (file, values) in enumerate(zip(files, found.values, strict=True)):
        writer.writerow([file, "" if labels is None else classes[labels[row]], *(f"{value:.7g}" for value in values)])
    return text.getvalue()
