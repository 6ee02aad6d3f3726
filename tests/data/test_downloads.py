"""Named sets with torchvision's classes replaced: no network."""

from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets
from PIL import Image

from vggnet.data.downloads import SETS
from vggnet.data.opening import open_data
from vggnet.errors import UserError
from vggnet.images.decoding import decode


class Arrays:
    """Like CIFAR10: images in memory, a flag for the split."""

    classes = ("air plane", "cat/dog")
    made = 0

    def __init__(self, root, train=True, download=False):
        assert download
        assert Path(root).is_dir()
        type(self).made += 1
        self.count = 4 if train else 2

    def __len__(self):
        return self.count

    def __getitem__(self, place):
        return Image.new("RGB", (32, 32), (place, 0, 0)), place % 2


class Files:
    """Like Imagenette: files on disk, a loader, tuples of names."""

    classes = (("tench", "Tinca tinca"), ("church",))

    def __init__(self, root, split="train", download=False, loader=None):
        self.loader, self.path = loader, Path(root) / f"{split}.JPEG"
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)).save(self.path)

    def __len__(self):
        return 2

    def __getitem__(self, place):
        return self.loader(self.path), place


def test_arrays_become_class_folders(monkeypatch, tmp_path):
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", Arrays)
    data = open_data("cifar10", cache=tmp_path)
    assert data.name == "cifar10"
    assert data.classes == ("air plane", "cat-dog")
    assert data.train.labels.tolist() == [0, 0, 1, 1]
    assert len(data.val) == 2
    reds = [np.asarray(decode(data.train.path(i)))[0, 0, 0] for i in range(4)]
    assert reds == [0, 2, 1, 3]
    made = Arrays.made
    open_data("cifar10", cache=tmp_path)
    assert Arrays.made == made
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cifar10", "downloads"]


def test_files_are_kept_byte_for_byte(monkeypatch, tmp_path):
    monkeypatch.setattr(torchvision.datasets, "Imagenette", Files)
    data = open_data("imagenette", cache=tmp_path)
    assert data.classes == ("church", "tench")
    Files(tmp_path, "original")
    assert Path(data.train.path(0)).read_bytes() == (tmp_path / "original.JPEG").read_bytes()


def test_failure_says_where_to_put_the_files(monkeypatch, tmp_path):
    def fail(*_args, **_options):
        raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr(torchvision.datasets, "Flowers102", fail)
    with pytest.raises(UserError, match=r"flowers102 could not be downloaded \(File not found.*flowers102/train/CLASS"):
        open_data("flowers102", cache=tmp_path)
    assert not (tmp_path / "flowers102").exists()


def test_offline_only_what_is_in_the_cache_is_opened(monkeypatch, tmp_path):
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", Arrays)
    open_data("cifar10", cache=tmp_path)
    monkeypatch.setenv("VGGNET_OFFLINE", "1")
    assert open_data("cifar10", cache=tmp_path).classes == ("air plane", "cat-dog")
    with pytest.raises(UserError, match=r"flowers102 is not in the cache.*flowers102/train/CLASS"):
        open_data("flowers102", cache=tmp_path)


@pytest.mark.parametrize("name", sorted(SETS))
def test_every_set_exists_with_these_arguments(name):
    import inspect

    spec = SETS[name]
    parameters = inspect.signature(getattr(torchvision.datasets, spec.dataset)).parameters
    assert "download" in parameters
    for arguments in spec.train + spec.val:
        assert set(arguments) <= set(parameters)
