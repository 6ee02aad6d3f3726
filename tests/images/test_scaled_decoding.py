"""JPEGs decoded at 1/2, 1/4 or 1/8 of their size: which, the pixels, and that a crop shows the same region."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from vggnet.data.splits import Split
from vggnet.description import AS_STORED, ImageReading
from vggnet.errors import BadImage
from vggnet.images.augmentation import Augmentation
from vggnet.images.decoding import decode, read_image
from vggnet.images.geometry import Reduction
from vggnet.images.loading import Batch, TrainingLoader

APPLY = ImageReading("apply")
LARGEST_S = 48  # of the fixture `augmentation`, whose crops have 32 pixels


def smooth(width: int, height: int) -> Image.Image:
    """Return an image whose red tells the column and whose green tells the row, from 0 to 255."""
    columns, rows = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([columns, rows, np.full_like(rows, 90)], -1).round().astype(np.uint8))


def saved(path: Path, image: Image.Image, orientation: int = 1, **options: object) -> str:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, **{"exif": exif, "quality": 95} | options)
    return str(path)


def batch_of(split: Split, augmentation: Augmentation, epoch: int = 0, **how: object) -> Batch:
    with TrainingLoader(split, augmentation, **{"workers": 0} | how) as loader:
        (batch,) = loader.batches(epoch, [np.arange(len(split))])
    return batch


@pytest.fixture
def jpegs(tmp_path: Path) -> Split:
    """JPEGs of 1/1 to 1/8, two of them turned by EXIF, one gray, one CMYK, and a large PNG."""
    (tmp_path / "d").mkdir()
    sizes = {"a": (95, 120), "b": (131, 97), "c": (257, 193), "d": (500, 389), "e": (401, 385), "f": (385, 511)}
    for number, (name, size) in enumerate(sizes.items()):
        saved(tmp_path / "d" / f"{name}.jpg", smooth(*size), orientation=(1, 1, 6, 3, 1, 1)[number])
    saved(tmp_path / "d" / "g.jpg", smooth(300, 200).convert("L"))
    saved(tmp_path / "d" / "h.jpg", smooth(300, 200).convert("CMYK"))
    smooth(400, 400).save(tmp_path / "d" / "i.png")
    files = tuple(f"d/{name}" for name in (*(f"{each}.jpg" for each in "abcdefgh"), "i.png"))
    return Split(str(tmp_path), files, np.arange(9) % 3, reading=APPLY)


@pytest.mark.parametrize(
    ("size", "factor", "reduced"),
    [
        ((95, 400), 1, (95, 400)),  # twice 48 is 96
        ((96, 400), 2, (48, 200)),
        ((400, 191), 2, (200, 96)),  # 191 / 4 = 47.75 is less than 48
        ((193, 192), 4, (49, 48)),  # 193 / 4 = 48.25: the last column stands for one
        ((383, 900), 4, (96, 225)),
        ((385, 384), 8, (49, 48)),
        ((2000, 1000), 8, (250, 125)),  # libjpeg has no 1/16 for Pillow
    ],
)
def test_a_jpeg_is_reduced_as_far_as_its_smallest_side_stays_at_or_above_the_largest_s(tmp_path, size, factor, reduced):
    file = saved(tmp_path / "a.jpg", Image.new("RGB", size, (20, 90, 160)))
    found = read_image(file, least_side=LARGEST_S)
    assert found.image.size == reduced
    assert found.reduction == (None if factor == 1 else Reduction(*size, factor))
    assert np.array_equal(np.asarray(found.image)[0, 0], np.asarray(decode(file))[0, 0])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(10, 260), st.integers(10, 260), st.integers(8, 80))
def test_it_is_never_below_s_and_halved_once_more_it_would_be(tmp_path, width, height, least_side):
    file = saved(tmp_path / "a.jpg", Image.new("L", (width, height), 7))
    found = read_image(file, least_side=least_side)
    factor = found.reduction.factor if found.reduction else 1
    assert factor in (1, 2, 4, 8)
    side = min(width, height)
    assert side / factor >= least_side or factor == 1
    assert side / factor / 2 < least_side or factor == 8
    assert found.image.size == (-(-width // factor), -(-height // factor))


def test_crops_are_those_of_pillows_draft(tmp_path, augmentation):
    generator = np.random.default_rng(0)
    for name, size in (("a", (401, 257)), ("b", (205, 410))):
        noise = Image.fromarray(generator.integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8))
        saved(tmp_path / f"{name}.jpg", noise.resize(size))
    split = Split(str(tmp_path), ("a.jpg", "b.jpg"), np.zeros(2, np.int64))
    batch = batch_of(split, augmentation, epoch=3, scaled=True)
    for place, (width, height) in enumerate([(401, 257), (205, 410)]):
        with Image.open(split.path(place)) as image:
            image.draft("RGB", (LARGEST_S, LARGEST_S))
            assert image.size == [(101, 65), (52, 103)][place]  # a quarter, rounded up
            image.load()
            scale, left, top, mirrored = batch.views[place].tolist()
            shrink = min(width, height) / scale  # of the photograph, on its shorter side
            long = round(max(width, height) / shrink)
            wide, high = (int(scale), long) if width < height else (long, int(scale))
            sides = [left * width / wide, top * height / high, (left + 32) * width / wide, (top + 32) * height / high]
            crop = image.resize((32, 32), Image.Resampling.BILINEAR, box=[side / 4 for side in sides])
        expected = np.asarray(crop)[:, ::-1] if mirrored else np.asarray(crop)
        assert np.array_equal(batch.pixels[place].numpy(), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(257, 385), (391, 263)])  # 1/8: 33 x 49 and 49 x 33, the last ones of 1 or 7 pixels
def test_a_crop_shows_the_same_region_however_the_photograph_is_turned(tmp_path, size, orientation):
    """Red and green rise by 255 / 48 levels a pixel of the rescaled image, or more: a tenth of it is 0.5."""
    file = saved(tmp_path / "a.jpg", smooth(*size), orientation, subsampling=0, quality=100)
    split = Split(str(tmp_path), ("a.jpg",), np.zeros(1, np.int64), reading=APPLY)
    augmentation = Augmentation(orientation, (32,), 32, None)
    assert read_image(file, APPLY, least_side=32).reduction.factor == 8
    for epoch in range(4):
        whole, reduced = (batch_of(split, augmentation, epoch, scaled=scaled) for scaled in (False, True))
        assert torch.equal(whole.views, reduced.views)
        apart = (whole.pixels.int() - reduced.pixels.int())[0, 2:-2, 2:-2]  # the JPEG repeats its last column and row
        assert apart.float().mean((0, 1)).abs().max() < 0.5
        assert apart.abs().max() <= 2


def test_views_and_so_boxes_are_those_of_whole_images(jpegs, augmentation):
    whole, scaled = batch_of(jpegs, augmentation), batch_of(jpegs, augmentation, scaled=True)
    for name in ("views", "shift", "indices", "labels"):
        assert torch.equal(getattr(whole, name), getattr(scaled, name))
    apart = (whole.pixels.float() - scaled.pixels.float()).abs().mean((1, 2, 3))
    assert apart[[0, 8]].tolist() == [0, 0]  # a small JPEG and a PNG, bit by bit
    assert (apart[1:8] > 0).all()
    assert apart.max() < 3


def test_workers_and_held_images_change_nothing(jpegs, augmentation):
    order = [np.arange(5), np.arange(5, 9)]
    with (
        TrainingLoader(jpegs, augmentation, workers=0, scaled=True) as plain,
        TrainingLoader(jpegs, augmentation, workers=0, scaled=True, hold_bytes=10**6) as holding,
        TrainingLoader(jpegs, augmentation, workers=2, scaled=True, hold_bytes=10**6) as several,
    ):
        for epoch in range(3):  # from the second on, images come from memory
            for one, *others in zip(*(each.batches(epoch, order) for each in (plain, holding, several)), strict=True):
                for other in others:
                    for name in ("pixels", "views", "shift", "indices"):
                        assert torch.equal(getattr(one, name), getattr(other, name))


def test_the_same_image_is_decoded_whatever_s_is_drawn(jpegs, augmentation):
    """Held in memory, it serves all S: it depends on the largest one."""
    fixed = dataclasses.replace(augmentation, train_scale=(LARGEST_S,))
    jittered = dataclasses.replace(augmentation, train_scale=(32, LARGEST_S))
    sizes = []
    for each in (fixed, jittered):
        with TrainingLoader(jpegs, each, workers=0, scaled=True, hold_bytes=10**6) as loader:
            list(loader.batches(0, [np.arange(9)]))
            held = loader._workers.function.held
            sizes.append([held.get(index)[0].size for index in range(9)])
    assert sizes[0] == sizes[1]
    assert sizes[0][:6] == [(95, 120), (66, 49), (49, 65), (63, 49), (51, 49), (49, 64)]


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kept", [0.01, 0.3, 0.95])
def test_a_truncated_file_is_bad_for_the_same_reason(tmp_path, kept, progressive):
    file = saved(tmp_path / "a.jpg", smooth(400, 300), progressive=progressive)
    content = Path(file).read_bytes()
    Path(file).write_bytes(content[: int(kept * len(content))])
    reasons = []
    for least_side in (None, LARGEST_S):
        with pytest.raises(BadImage) as error:
            read_image(file, least_side=least_side)
        reasons.append(error.value.reason)
    assert reasons[0] == reasons[1]


@pytest.mark.parametrize(("size", "words"), [((30_000, 100), "too long"), ((20_000, 9_000), "more than 178,956,970")])
def test_sizes_are_checked_before_an_image_is_reduced(tmp_path, size, words):
    content = bytearray(Path(saved(tmp_path / "a.jpg", Image.new("L", (400, 300)))).read_bytes())
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = size[1].to_bytes(2) + size[0].to_bytes(2)
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(BadImage, match=words):
        read_image(str(tmp_path / "a.jpg"), least_side=LARGEST_S)


def test_notes_and_orientation_are_as_of_whole_images(jpegs):
    for index, reading in [(index, reading) for index in range(9) for reading in (APPLY, AS_STORED)]:
        whole = read_image(jpegs.path(index), reading)
        scaled = read_image(jpegs.path(index), reading, least_side=LARGEST_S)
        assert (scaled.note, scaled.orientation, scaled.brightest) == (whole.note, whole.orientation, whole.brightest)
        assert whole.reduction is None
        if scaled.reduction is not None:
            assert (scaled.reduction.width, scaled.reduction.height) == whole.image.size


def test_a_photograph_of_two_pictures_is_reduced_too(tmp_path):
    """MPO, as some cameras and phones write it; its first picture counts."""
    first = smooth(400, 300)
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[Image.new("RGB", (400, 300))], quality=95)
    found = read_image(str(tmp_path / "a.jpg"), least_side=LARGEST_S)
    assert found.image.size == (100, 75)
    expected = np.asarray(first.resize((100, 75), Image.Resampling.BOX)).astype(int)
    assert np.abs(np.asarray(found.image) - expected).mean() < 1.5
