"""A data set of bright blocks with boxes, and a small classifier for it."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vggnet.description import InputPolicy, ModelDescription, Preprocessing
from vggnet.network.initialization import initialize
from vggnet.network.vgg import VGG, on_meta
from vggnet.network.weights import save_model
from vggnet.paper.configurations import Architecture

CLASSES = ("bee", "cat", "dog", "elk", "fox", "gnu")


@pytest.fixture
def blocks(tmp_path: Path) -> Path:
    """Six classes of images with one block each (an image of every class with two); boxes.csv beside the folders."""
    generator = np.random.default_rng(0)
    rows = [("image", "class", "xmin", "ymin", "xmax", "ymax")]
    for part, count in (("train", 4), ("val", 2)):
        for label, name in enumerate(CLASSES):
            for number in range(count):
                width, height = (48, 40) if number % 2 else (40, 44)
                pixels = generator.integers(0, 60, (height, width, 3)).astype(np.uint8)
                path = tmp_path / "blocks" / part / name / f"{number}.png"
                for _ in range(2 if number == 0 else 1):
                    left, top = (int(value) for value in generator.integers(0, 12, 2))
                    right, bottom = left + 12 + int(generator.integers(12)), top + 12 + int(generator.integers(12))
                    pixels[top : bottom + 1, left : right + 1, label % 3] = 220
                    rows.append((f"{part}/{name}/{number}.png", name, left, top, right, bottom))
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    with (tmp_path / "blocks" / "boxes.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return tmp_path / "blocks"


def _save_net(path: Path, *, seed: int = 0, boxes: str = "", classes=CLASSES, crop: int = 32, recipe=None, **options):
    """A small net with random weights; `boxes` makes it one that draws them. Gives the net."""
    outputs = {"": len(classes), "scr": 4, "pcr": 4 * len(classes)}[boxes]
    policy = options.pop("policy", InputPolicy())
    description = ModelDescription(
        Architecture(options.pop("net", "A"), outputs, 0.04, crop, **options),
        Preprocessing((60.0, 60.0, 60.0), (64.0, 64.0, 64.0)),
        tuple(classes),
        train_scale=(40,),
        recipe=recipe or {},
        boxes=boxes,
        policy=policy,
    )
    model = on_meta(description).to_empty(device="cpu")
    initialize(model, "he", seed=seed)
    save_model(path, model)
    return model


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    path = tmp_path / "classifier.safetensors"
    _save_net(path)
    return path


@pytest.fixture
def save_net() -> Callable[..., VGG]:
    return _save_net
