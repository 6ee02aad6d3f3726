"""Small nets and small folders of images."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from nets import sharp_net
from PIL import Image

from vggnet.network.vgg import VGG
from vggnet.network.weights import save_model


@pytest.fixture(scope="session")
def small_net() -> Callable[..., VGG]:
    """Return the maker of nets whose posteriors are far from uniform."""
    return sharp_net


@pytest.fixture(scope="session")
def write_images() -> Callable[[Path, Sequence[tuple[int, int]]], list[str]]:
    """Write noise of the given (width, height) as PNGs; gives their names."""

    def write(folder: Path, sizes: Sequence[tuple[int, int]], seed: int = 0) -> list[str]:
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        names = [f"{place:03d}.png" for place in range(len(sizes))]
        for name, (width, height) in zip(names, sizes, strict=True):
            coarse = rng.integers(0, 256, (height // 9 + 2, width // 9 + 2, 3), np.uint8)
            Image.fromarray(coarse).resize((width, height)).save(folder / name)
        return names

    return write


CLASSES = ("bee", "cat", "dog", "elk", "fox", "gnu")


@pytest.fixture
def animals(tmp_path: Path, write_images: Callable) -> Path:
    """A data set of six classes: three val images each, two train images each."""
    for seed, name in enumerate(CLASSES):
        write_images(tmp_path / "data" / "val" / name, [(90, 70), (70, 95), (64, 64)], seed)
        write_images(tmp_path / "data" / "train" / name, [(70, 70), (80, 70)], seed + 100)
    return tmp_path / "data"


@pytest.fixture
def run_folder(tmp_path: Path) -> Callable[..., Path]:
    """A run folder holding a small net for the animals."""

    def make(name: str = "run", net: str = "D", classes: Sequence[str] = CLASSES, **options) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        save_model(folder / "best.safetensors", sharp_net(net, classes=classes, **options))
        return folder

    return make
