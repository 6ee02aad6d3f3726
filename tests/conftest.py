"""What all tests share: one thread a process, a cache of their own, and small folders of images."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: tests run side by side, and figures must not depend on the cores

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from PIL import Image

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # before Triton: its kernels run on the CPU then

from vggnet import console
from vggnet.data.splits import Split
from vggnet.images.augmentation import Augmentation
from vggnet.images.color import ColorStatistics

MakeImage = Callable[..., Path]

# a machine that is busy with other work makes examples slow: that is no fault of what is tested
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or fills the user's cache."""
    cache = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("VGGNET_CACHE", str(cache))
    return cache


@pytest.fixture(autouse=True)
def no_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of tests write no report, which takes a second; those of tests/reporting do."""
    monkeypatch.setattr("vggnet.reporting.unasked.written", lambda *_, **__: None)


@pytest.fixture
def nothing_noted() -> None:
    """A process has printed no notes yet: it prints each of them once."""
    console._noted.clear()


@pytest.fixture
def class_folders(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes train/CLASS and val/CLASS of small JPEGs whose colour tells the class."""

    def make(classes: int = 3, train: int = 12, val: int = 4, side: int = 40, name: str = "images") -> Path:
        generator = np.random.default_rng(0)
        root = tmp_path / name
        for part, count in (("train", train), ("val", val)):
            for label in range(classes):
                folder = root / part / f"class{label}"
                folder.mkdir(parents=True)
                for number in range(count):
                    pixels = generator.integers(0, 90, (side, side + number % 5, 3))
                    pixels[..., label % 3] += 120
                    Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.jpg", quality=95)
        return root

    return make


def real_data(name: str) -> Path:
    """A folder in that of real images for tests ($VGGNET_TEST_DATA); the test is skipped where there is none."""
    folder = Path(os.environ.get("VGGNET_TEST_DATA") or "nowhere") / name
    if not folder.is_dir():
        pytest.skip(f"VGGNET_TEST_DATA names no folder with {name}/")
    return folder


@pytest.fixture
def ilsvrc_tiny() -> Path:
    """40 classes in the layout of ILSVRC's download, 64 pixels a side, with boxes."""
    return real_data("ilsvrc-tiny")


@pytest.fixture
def photographs() -> list[Path]:
    """JPEGs of usual sizes and aspect ratios."""
    files = sorted(real_data("photos").glob("*.JPEG"))
    assert files
    return files


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
    """Return an augmentation of such images; each colour channel has a variance of its own."""
    statistics = ColorStatistics((0, 0, 0), (1, 1, 1), (900.0, 90.0, 9.0), ((1, 0, 0), (0, 1, 0), (0, 0, 1)))
    return Augmentation(5, (36, 48), 32, statistics)
