"""One look at every training image: statistics, bad ones, conversions, and the kept result."""

import numpy as np
import pytest
from PIL import Image

from vggnet.data.listing import unlabelled_folder
from vggnet.description import ImageReading
from vggnet.errors import UserError
from vggnet.images import scanning
from vggnet.images.color import ColorSums
from vggnet.images.scanning import scan


@pytest.fixture
def split(make_image, tmp_path):
    for number in range(150):
        make_image(f"d/{number:03d}.png", size=(8, 6), seed=number)
    Image.new("L", (8, 6), 9).save(tmp_path / "d/gray.png")
    (tmp_path / "d/zero.jpg").touch()
    (tmp_path / "d/text.jpg").write_text("words, not pixels")
    return unlabelled_folder(tmp_path / "d")


@pytest.mark.parametrize("workers", [0, 2])
def test_everything_is_looked_at(split, workers):
    progress = []
    result = scan(split, workers=workers, on_progress=lambda done, total: progress.append((done, total)))
    assert result.checked == len(split) == 153
    assert [error.path.rpartition("/")[2] for error in result.bad] == ["text.jpg", "zero.jpg"]
    assert result.conversions == {"gray converted to RGB": 1}
    assert progress[-1] == (153, 153)
    good = [split.path(i) for i in range(len(split)) if split.files[i].endswith("png")]
    sums = sum((ColorSums.of_image(np.asarray(Image.open(path).convert("RGB"))) for path in good), ColorSums())
    assert np.allclose(result.statistics.mean, sums.statistics().mean)


def test_workers_change_nothing(split):
    assert scan(split, workers=0).statistics == scan(split, workers=2).statistics


def test_orientations_and_16_bit_pixels_are_counted(make_image, tmp_path):
    for number in range(5):
        exif = Image.Exif()
        exif[0x0112] = 1 + number % 2 * 7  # 1 and 8
        make_image(f"d/{number}.jpg", size=(8, 6), seed=number, exif=exif)
    for number, value in enumerate((4080, 16)):
        Image.fromarray(np.full((6, 8), value, np.uint16)).save(tmp_path / f"d/deep{number}.png")
    split = unlabelled_folder(tmp_path / "d")
    cache = tmp_path / "cache"
    for _ in range(2):  # measured, then from the cache
        found = scan(split, cache=cache)
        assert (found.checked, found.oriented, found.deep, found.brightest) == (7, 2, 2, 4080)
    brighter = scan(split.read_as(ImageReading(pixel_range=(0, 4095))), cache=cache)  # not the result in the cache
    means = [np.asarray(each.statistics.mean) for each in (found, brighter)]
    assert np.allclose(means[1] - means[0], (254 - 16 + 1 - 0) / 7)
    assert "16-bit gray, 0 to 4095 scaled to 8 bits" in brighter.conversions


def test_a_sample_of_many(split):
    result = scan(split, exhaustive_limit=100, sample=20, seed=1)
    assert result.checked == 20
    assert {error.path.rpartition("/")[2] for error in result.bad} == {"text.jpg", "zero.jpg"}
    assert scan(split, exhaustive_limit=100, sample=20, seed=1).statistics == result.statistics
    assert scan(split, exhaustive_limit=100, sample=20, seed=2).statistics != result.statistics


def test_kept_until_a_file_changes(split, tmp_path, monkeypatch, make_image):
    cache = tmp_path / "cache"
    first = scan(split, cache=cache)
    calls = []
    real = scanning._scan
    monkeypatch.setattr(scanning, "_scan", lambda *options: calls.append(1) or real(*options))
    again = scan(split, cache=cache)
    assert not calls
    assert again.statistics == first.statistics
    assert [str(error) for error in again.bad] == [str(error) for error in first.bad]
    assert again.conversions == first.conversions
    make_image("d/000.png", size=(9, 6), seed=999)
    assert scan(split, cache=cache).statistics != first.statistics
    assert calls
    for path in cache.rglob("*.json"):
        path.write_text("{damaged")
    assert scan(split, cache=cache).checked == 153


def test_nothing_readable(tmp_path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(UserError, match=r"none of 1 images can be read; the first: .*a\.jpg: 0 bytes"):
        scan(unlabelled_folder(tmp_path))


def test_headers_reads_a_sample_and_the_starts_and_none_reads_the_sample_alone(split):
    full = scan(split, check="decode", exhaustive_limit=10)
    headers, none = (scan(split, check=check, sample=20) for check in ("headers", "none"))
    assert (full.checked, headers.checked, none.checked) == (153, 20, 20)
    assert [len(found.bad) for found in (full, headers)] == [2, 2]
    assert headers.digests == full.digests
    known = np.frombuffer(none.digests, "<u8") != 0
    assert 18 <= known.sum() <= 20  # two of the files are empty or no images
    assert headers.statistics == none.statistics


def test_the_expected_time_is_told_before_a_large_check(split, monkeypatch):
    told: list[str] = []
    scan(split, on_start=told.append)
    assert told == []
    monkeypatch.setattr("vggnet.images.scanning._TIMED_FROM", 50)
    scan(split, on_start=told.append, check="headers", sample=10)
    assert told == ["the check takes about 0 s (decoding 10 images and reading the start of 143 others)"]
