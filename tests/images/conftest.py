"""Small folders of images, made where a test wants them."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MakeImage = Callable[..., Path]


@pytest.fixture
def make_image(tmp_path: Path) -> MakeImage:
    """make_image("train/cat/1.jpg", size=(40, 30)) writes noise, the same for the same name and seed."""

    def make(name: str, size: tuple[int, int] = (40, 30), seed: int = 0, **options: object) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, **options)
        return path

    return make


@pytest.fixture
def real_data() -> Path:
    """The folder of real images for tests ($VGGNET_TEST_DATA); the test is skipped where there is none."""
    folder = os.environ.get("VGGNET_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("VGGNET_TEST_DATA names no folder with photos/ or ilsvrc-tiny/")
    return Path(folder)
