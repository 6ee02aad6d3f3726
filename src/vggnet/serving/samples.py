"""Choose the samples that the page offers: the user's, else val images of the net's data, else two photographs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vggnet.data import scenes
from vggnet.data.listing import unlabelled_folder
from vggnet.data.opening import open_data
from vggnet.data.splits import ImageData
from vggnet.errors import UserError
from vggnet.files import default_cache, printable

SHOWN = 8


@dataclass(frozen=True)
class Sample:
    """An image file, and its true class or its name."""

    path: Path
    title: str


def find_samples(folder: Path | None, models: Sequence[Path]) -> tuple[Sample, ...]:
    """Return at most SHOWN samples: images of `folder`, or of the data that the first of `models` was trained on.

    Raises UserError for a folder without images.
    """
    if folder is not None:
        split = unlabelled_folder(folder)
        if split.members is not None:
            raise UserError(f"{folder}: an archive; samples are files: give a folder of images")
        paths = [Path(split.path(place)) for place in _spread(len(split))]
        return tuple(Sample(path, printable(path.name)) for path in paths)
    opened = _data_of(models[0])
    # samples are served as files; images in an archive are none
    shown = opened is not None and opened.val is not None and opened.val.members is None
    return _of_data(opened) if shown and opened is not None else _photographs()


def _spread(count: int) -> list[int]:
    """Return at most SHOWN places among `count`, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(SHOWN, count)).round().astype(int)).tolist()


def _data_of(model: Path) -> ImageData | None:
    """Return the data that a run was trained on; None where it is not known, or not on this machine."""
    try:
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
        data = config.get("data")
    except (OSError, ValueError, AttributeError):
        return None
    if not isinstance(data, str):
        return None
    cached = data == "scenes" and (default_cache() / f"scenes-{scenes.VERSION}-0").is_dir()
    try:
        return open_data(data) if cached or Path(data).expanduser().is_dir() else None
    except UserError:  # changed since the training, and no reason not to serve the net
        return None


def _of_data(opened: ImageData) -> tuple[Sample, ...]:
    """Return val images, each with its class."""
    split = opened.val
    assert split is not None
    assert split.labels is not None
    titles = opened.titles or opened.classes
    return tuple(Sample(Path(split.path(i)), titles[split.labels[i]]) for i in _spread(len(split)))


def _photographs() -> tuple[Sample, ...]:
    """Return scikit-learn's two photographs; none where it is not installed."""
    try:
        from sklearn.datasets import load_sample_images
    except ModuleNotFoundError:
        return ()

    files = [Path(file) for file in load_sample_images().filenames]
    return tuple(Sample(file, file.stem) for file in files)
