"""Small folders of images, made where a test wants them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vggnet.data.splits import Split
from vggnet.images.augmentation import Augmentation
from vggnet.images.color import ColorStatistics

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
def split(make_image: MakeImage, tmp_path: Path) -> Split:
    """50 images of unequal size, of four classes in turn."""
    files = tuple(f"d/{i:02d}.png" for i in range(50))
    for number, file in enumerate(files):
        make_image(file, size=(40 + number % 7, 30 + number % 5), seed=number)
    return Split(str(tmp_path), files, np.arange(50) % 4)


@pytest.fixture(scope="session")
def augmentation() -> Augmentation:
    """Of such images; each colour channel has a variance of its own."""
    statistics = ColorStatistics((0, 0, 0), (1, 1, 1), (900.0, 90.0, 9.0), ((1, 0, 0), (0, 1, 0), (0, 0, 1)))
    return Augmentation(5, (36, 48), 32, statistics)
