"""Small nets in files, and images that a descriptor can tell apart."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from nets import sharp_net
from PIL import Image

from vggnet.network.vgg import VGG
from vggnet.network.weights import save_model

COLOURS = {"blue": (20, 30, 200), "green": (20, 190, 30), "red": (200, 30, 20), "white": (230, 230, 230)}


@pytest.fixture(scope="session")
def small_net() -> Callable[..., VGG]:
    """Return the maker of nets of five classes at width 1/16."""
    return partial(sharp_net, outputs=5, width=1 / 16)


@pytest.fixture
def model_file(tmp_path: Path, small_net: Callable[..., VGG]) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    save_model(folder / "best.safetensors", small_net())
    return folder


def write_noise(path: Path, seed: int, size: tuple[int, int], colour: tuple[int, int, int]) -> None:
    """A coarse pattern of the given (width, height) around a colour."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(-60, 60, (size[1] // 8, size[0] // 8, 3)) + np.array(colour)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize(size).save(path)


@pytest.fixture(scope="session", name="write_noise")
def _write_noise() -> Callable[..., None]:
    return write_noise


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes of ten images of unequal size."""
    root = tmp_path_factory.mktemp("colours")
    for place, (name, colour) in enumerate(COLOURS.items()):
        for number in range(10):
            size = [(80, 64), (64, 96), (72, 72)][number % 3]
            write_noise(root / name / f"{number}.png", 100 * place + number, size, colour)
    return root
