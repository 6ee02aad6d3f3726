"""Photographs of phones (HEIC) are read where pillow-heif is installed, and named where it is not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vggnet.cli import run
from vggnet.data import image_files
from vggnet.data.image_files import NO_HEIF, header_problem, register_heif
from vggnet.data.listing import unlabelled_folder
from vggnet.errors import BadImage
from vggnet.images.decoding import decode


@pytest.fixture
def heic(tmp_path: Path) -> Path:
    """A HEIC file of soft colours."""
    pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    register_heif()
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    image = Image.fromarray(coarse).resize((80, 60), Image.Resampling.BICUBIC)
    image.save(tmp_path / "photo.png")
    image.save(tmp_path / "photo.heic", quality=95)
    return tmp_path / "photo.heic"


@pytest.fixture
def without_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "register_heif", lambda: False)


def test_a_heic_file_is_decoded(heic: Path) -> None:
    assert header_problem(str(heic)) is None
    found = np.asarray(decode(str(heic))).astype(int)
    with Image.open(heic) as image:
        np.testing.assert_array_equal(found, np.asarray(image.convert("RGB")))
    expected = np.asarray(Image.open(heic.with_name("photo.png"))).astype(int)
    assert np.abs(found - expected).mean() < 10  # HEIC loses a little


def test_its_name_counts_as_an_images(heic: Path) -> None:
    heic.with_name("photo.png").unlink()
    assert list(unlabelled_folder(str(heic.parent)).files) == ["photo.heic"]


def test_without_the_package_the_extra_is_named(heic: Path, without_package: None) -> None:
    assert header_problem(str(heic)) == NO_HEIF
    with pytest.raises(BadImage, match=r"photo\.heic: a HEIC file, .*pip install 'vggnet\[heic\]'"):
        decode(str(heic))


def test_a_training_names_the_extra(
    heic: Path, without_package: None, class_folders: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = class_folders(train=3, val=1)
    heic.rename(data / "train" / "class0" / "phone.heic")
    assert run(["train", str(data), "--net", "A", "--width", "0.04", "--crop", "32", "--out", str(data / "run")]) == 2
    assert "pip install 'vggnet[heic]'" in capsys.readouterr().err


def test_a_damaged_heic_file_is_a_bad_image(heic: Path) -> None:
    heic.write_bytes(heic.read_bytes()[:300])
    with pytest.raises(BadImage, match=r"photo\.heic: damaged"):
        decode(str(heic))
