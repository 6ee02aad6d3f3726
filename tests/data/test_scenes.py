"""The embedded data set: honest splits, boxes on the ink, the same bytes from the same seed."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vggnet.data import scenes
from vggnet.data.opening import open_data


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def data(cache):
    return open_data("scenes", cache=cache)


def test_counts_and_classes(data):
    assert data.classes == tuple("0123456789")
    assert (len(data.train), len(data.val)) == (5388, 450)
    assert np.bincount(data.val.labels).min() >= 40
    assert data.notes == ()


def test_no_digit_is_in_both_splits_and_one_scene_each_in_val(data):
    def digits(split):
        return [Path(file).name.partition("-")[0] for file in split.files]

    train, val = digits(data.train), digits(data.val)
    assert not set(train) & set(val)
    assert len(set(val)) == len(val)
    assert len(set(train)) + len(set(val)) == 1797


def test_boxes_are_inside_and_of_the_stated_size(data):
    for split, step in ((data.val, 5), (data.train, 50)):
        for index in range(0, len(split), step):
            with Image.open(split.path(index)) as image:
                width, height = image.size
            ((left, top, right, bottom),) = split.boxes[index].tolist()
            assert 0 <= left <= right < width
            assert 0 <= top <= bottom < height
            assert 64 <= min(width, height) <= 96
            assert max(width, height) <= 1.41 * min(width, height) + 1
            assert 0.3 * min(width, height) <= bottom - top + 1 <= 0.92 * min(width, height)


def test_windows_do_not_overlap():
    ramp = np.broadcast_to(np.arange(640, dtype=np.float64) * 255 / 639, (427, 640))
    photograph = np.repeat(ramp[..., None], 3, axis=2).astype(np.uint8)
    ranges = {}
    for part in ("train", "val"):
        windows = [scenes._window(photograph, part, np.random.default_rng(i)) for i in range(300)]
        ranges[part] = (min(window.min() for window in windows), max(window.max() for window in windows))
    assert ranges["train"][1] <= ranges["val"][0]


def test_same_seed_same_bytes(data, tmp_path, monkeypatch):
    import sklearn.datasets

    digits = sklearn.datasets.load_digits()
    few = sklearn.utils.Bunch(images=digits.images[:60], target=digits.target[:60])
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda: few)

    def digest(folder, seed):
        folder.mkdir()
        scenes.write_scenes(folder, seed)
        total = hashlib.sha256()
        for path in sorted(folder.rglob("*.*")):
            total.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
        return total.hexdigest()

    first = digest(tmp_path / "a", 3)
    assert digest(tmp_path / "b", 3) == first
    assert digest(tmp_path / "c", 4) != first


def test_cached(cache, data):
    written = (cache / f"scenes-{scenes.VERSION}-0" / "boxes.csv").stat().st_mtime_ns
    assert open_data("scenes", cache=cache).train.files == data.train.files
    assert (cache / f"scenes-{scenes.VERSION}-0" / "boxes.csv").stat().st_mtime_ns == written
