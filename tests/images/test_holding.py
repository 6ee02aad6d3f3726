"""Decoded images in shared memory: the same pixels, one decoding each, never more than fits."""

import time

import numpy as np
import pytest
from PIL import Image

from vggnet.images import loading
from vggnet.images.geometry import Reduction
from vggnet.images.holding import HeldImages
from vggnet.images.loading import TrainingLoader
from vggnet.images.workers import Workers


def picture(seed: int, width: int = 6, height: int = 5) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8))


def pixels_of(held: HeldImages, index: int) -> np.ndarray:
    found = held.get(index)
    assert found is not None
    image, reduction = found
    assert reduction is None
    return np.asarray(image)


def test_what_was_put_is_got_as_long_as_it_fits():
    held = HeldImages(4, capacity=6 * 5 * 3 * 2 + 10)
    assert held.get(0) is None
    for index in (2, 0, 3):  # the third does not fit any more
        held.put(index, picture(index))
    assert held.get(3) is None
    assert held.get(1) is None
    for index in (2, 0):
        assert np.array_equal(pixels_of(held, index), np.asarray(picture(index)))
    held.put(1, picture(1, width=3, height=1))  # a small one still does: 9 of 10 bytes
    assert np.array_equal(pixels_of(held, 1), np.asarray(picture(1, width=3, height=1)))
    held.put(2, picture(99))  # the first one stays
    assert np.array_equal(pixels_of(held, 2), np.asarray(picture(2)))
    assert held.used_bytes == 2 * 90 + 9


def test_how_an_image_was_reduced_is_held_with_it():
    held = HeldImages(3, capacity=1000)
    reduction = Reduction(43, 33, 8, 0.625, 0.875)  # 43 / 8 = 5.375 of 6 columns, 33 / 8 = 4.125 of 5 rows
    held.put(1, picture(1), reduction)
    held.put(2, picture(2))
    image, found = held.get(1)
    assert found == reduction
    assert np.array_equal(np.asarray(image), np.asarray(picture(1)))
    assert held.get(2)[1] is None


def test_without_memory_nothing_is_held():
    held = HeldImages(2, capacity=0)
    held.put(0, picture(0))
    assert held.get(0) is None
    assert held.used_bytes == 0


class PutThenGet:
    """In a worker: put image `index` where it is not there yet; whether it was there, and its pixels' sum."""

    def __init__(self, held: HeldImages) -> None:
        self.held = held

    def __call__(self, index: int) -> tuple[bool, int]:
        there = self.held.get(index) is not None
        self.held.put(index, picture(index, 50, 40))
        return there, int(pixels_of(self.held, index).sum())


def test_a_lock_that_a_killed_process_holds_is_not_waited_for_twice():
    held = HeldImages(3, capacity=1000, patience_s=0.3)
    held.put(0, picture(0))
    held._lock.acquire()
    held.put(1, picture(1))
    begin = time.monotonic()
    held.put(2, picture(2))
    assert time.monotonic() - begin < 0.3
    assert held.get(0) is not None
    assert held.get(1) is None


def test_processes_share_it():
    held = HeldImages(100, capacity=100 * 50 * 40 * 3)
    sums = [int(np.asarray(picture(index, 50, 40)).sum()) for index in range(100)]
    with Workers(PutThenGet(held), 2) as pool:
        assert list(pool.map(range(100))) == [(False, each) for each in sums]
        again = list(pool.map(reversed(range(100))))  # items go to the workers in turn: half of them to the other one
    assert again == [(True, each) for each in reversed(sums)]
    assert held.used_bytes == 100 * 50 * 40 * 3


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("capacity", [10**6, 20_000])
def test_batches_are_the_same_and_held_images_need_their_files_no_more(
    split, augmentation, tmp_path, workers, capacity, monkeypatch
):
    order = [np.arange(30), np.arange(30, 50)]
    with (
        TrainingLoader(split, augmentation, workers=0) as plain,
        TrainingLoader(split, augmentation, workers=workers, hold_bytes=capacity) as holding,
    ):
        for epoch in range(2):
            for one, other in zip(plain.batches(epoch, order), holding.batches(epoch, order), strict=True):
                assert (one.pixels == other.pixels).all()
                assert (one.shift == other.shift).all()
        for file in split.files:
            (tmp_path / file).unlink()
        batches = list(holding.batches(2, order))
    read, bad = sum(len(batch) for batch in batches), sum(len(batch.bad) for batch in batches)
    sizes = [(40 + i % 7) * (30 + i % 5) * 3 for i in range(50)]
    assert (read, bad) == ((50, 0) if capacity >= sum(sizes) else (read, 50 - read))
    assert read >= 2


def test_each_image_is_decoded_once(split, augmentation, monkeypatch):
    decoded: list[str] = []
    real = loading.read_image
    monkeypatch.setattr(loading, "read_image", lambda *given, **how: decoded.append(given[0]) or real(*given, **how))
    with TrainingLoader(split, augmentation, workers=0, hold_bytes=10**6) as loader:
        for epoch in range(3):
            list(loader.batches(epoch, [np.arange(50)]))
    assert sorted(decoded) == sorted(split.path(index) for index in range(50))
