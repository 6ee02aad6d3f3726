"""A data set of bright blocks with boxes, and a small classifier for it."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nets import save_random_net
from PIL import Image

from vggnet.network.vgg import VGG

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


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    path = tmp_path / "classifier.safetensors"
    save_random_net(path, CLASSES)
    return path


@pytest.fixture
def save_net() -> Callable[..., VGG]:
    """Return a function that writes a small net of the six classes (or `classes`) to a file and returns it."""

    def save(path: Path, classes: Sequence[str] = CLASSES, **options: Any) -> VGG:
        return save_random_net(path, classes, **options)

    return save
