"""Find out whether nets have learnt from the images that they are tested on."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vggnet.console import counted
from vggnet.data.learnt import content_digests, read_learnt
from vggnet.data.opening import data_names
from vggnet.data.splits import ImageData, Split
from vggnet.errors import UserError
from vggnet.network.weights import read_description

_SAMPLE = 1000  # training images that are looked up to find out whether a net has learnt from a folder


def trained_on(models: Sequence[Path], data: str, opened: ImageData) -> bool:
    """Return whether one of the runs was trained on this undivided folder, wherever it lay then.

    True also for nets that may have been trained on it: weights of vggnet that lie apart from their run, and runs
    without a record of their images (version 0.1) whose folder is not found.

    Raises UserError for a run without such a record that divided the folder by another seed than 0: its validation
    images are not those of `opened`.
    """
    train = opened.train
    if train is None:
        return False
    sample = train.subset(np.unique(np.linspace(0, len(train) - 1, min(len(train), _SAMPLE)).astype(int)))
    digests: np.ndarray | None = None
    found = False
    for model in models:
        learnt = read_learnt(model)
        if learnt is not None:
            digests = content_digests(sample) if digests is None else digests
            found |= bool(learnt.holds_images(sample, digests).any())
        elif (config := _config(model)) and _same_folder(config.get("data"), data):
            if config.get("seed", 0) != 0 and config.get("check") != "none":
                raise UserError(
                    f"{model}: an earlier version trained this run on {data}, with a part of the images set aside by "
                    f"seed {config['seed']}. Now no seed decides, so the run has learnt from images that are to be "
                    "tested on: train it anew, or evaluate it on images that it has not seen"
                )
            found = True
        elif _may_know(model):
            found = True
    return found


def count_learnt(models: Sequence[Path], opened: ImageData, split: Split) -> dict[Path, int | None]:
    """Return from how many images of `split` each model has learnt; None for a model without a record of its images.

    Raises UserError where the images were set aside from a folder, and a model has learnt from some of them: it was
    trained on another division of the folder.
    """
    counts: dict[Path, int | None] = {}
    digests: np.ndarray | None = None
    for model in models:
        learnt = read_learnt(model)
        if learnt is None:
            counts[model] = None
            continue
        digests = content_digests(split) if digests is None else digests
        if opened.divided and (known := int(learnt.holds_images(split, digests).sum())):
            raise UserError(
                f"{model}: has learnt from {known} of the {len(split)} images of {opened.root} that are set aside for "
                "testing, since the folder was divided otherwise for its training. Evaluate it on images that it has "
                "not seen, in a folder of their own, or train it anew"
            )
        counts[model] = int(learnt.holds_contents(digests).sum())
    return counts


def note_learnt(counts: dict[Path, int | None], opened: ImageData, images: int) -> tuple[str, ...]:
    """Return notes on models that have learnt from test images, of which there are `images`; see `count_learnt`."""
    notes: tuple[str, ...] = ()
    for model, known in counts.items():
        if known is None and opened.divided and _may_know(model):
            notes += (f"only the part set aside counts: {model} has no record of the images it has learnt from",)
        if known:
            most = f"{100 * known / images:.3g} {'point' if 100 * known == images else 'points'}"
            of = f"{known:,} of these {counted(images, 'image')}"
            notes += (f"{model} has learnt from {of}: its errors may be too low by up to {most}",)
    return notes


def _may_know(model: Path) -> bool:
    """Return whether a net was trained by vggnet, without a record of its images, on a folder that is not found."""
    data = _config(model).get("data")
    if isinstance(data, str) and (data in data_names() or Path(data).expanduser().exists()):
        return False
    return data is not None or "learning_rate" in read_description(model).recipe  # only training writes the recipe


def _config(model: Path) -> dict[str, Any]:
    """Return the options that a run was started with; empty for other models, which may have another config.json."""
    file = (model if model.is_dir() else model.parent) / "config.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and "data" in content else {}


def _same_folder(one: object, other: str) -> bool:
    return isinstance(one, str) and Path(one).expanduser().resolve() == Path(other).expanduser().resolve()
