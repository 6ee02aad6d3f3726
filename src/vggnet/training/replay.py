"""Write down a batch whose loss or gradient was not finite, so that `vggnet diagnose` can look at it again.

diverged.json         the batch: where it stands, its images, and what its random draws follow from
diverged.safetensors  the weights before its update
"""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from vggnet.description import first_problem
from vggnet.errors import UserError
from vggnet.files import json_text, write_whole
from vggnet.network.vgg import VGG
from vggnet.network.weights import save_model
from vggnet.options.choices import TrainPrecision

REPLAY, WEIGHTS = "diverged.json", "diverged.safetensors"


@dataclass(frozen=True)
class Place:
    """Where a batch stands: epoch and step count from 0, `draws` is the epoch that its random draws follow from."""

    epoch: int
    step: int
    draws: int
    seed: int
    learning_rate: float
    precision: TrainPrecision


@dataclass(frozen=True)
class Replay:
    """A batch: its place, the number of each image in the training set, and the image's file as in the data."""

    place: Place
    indices: list[int]
    images: list[str]


def write_replay(
    run: Path, model: VGG, place: Place, batch: np.ndarray, image_name: Callable[[int], str] | None
) -> Path:
    """Write both files into the run, and return the path of the description."""
    indices = batch.tolist()
    names = [] if image_name is None else [image_name(index) for index in indices]
    save_model(run / WEIGHTS, model)
    write_whole(run / REPLAY, json_text(dataclasses.asdict(Replay(place, indices, names))))
    return run / REPLAY


def read_replay(path: Path) -> Replay:
    """Return the batch that a file describes. UserError where the file is none of `write_replay`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return TypeAdapter(Replay).validate_python(content)
    except (OSError, ValueError) as error:
        problem = first_problem(error) if isinstance(error, ValidationError) else str(error)
        raise UserError(f"{path}: not the batch of a training that diverged ({problem})") from error
