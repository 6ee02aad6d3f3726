"""A server that plays the sources, and a cache of each test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sources import Source, serving


@pytest.fixture
def source() -> Iterator[Source]:
    """A server on the loopback."""
    with serving() as found:
        yield found


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_noted: None) -> Path:
    """The cache of vggnet; those of the other libraries are empty. Every note counts as new."""
    monkeypatch.setenv("VGGNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("VGGNET_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "cache"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A JPEG of 60 x 45 pixels."""
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (45, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", quality=95)
    return tmp_path / "photo.jpg"
