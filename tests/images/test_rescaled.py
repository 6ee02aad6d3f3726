"""Whole images at several scales: what `rescale` gives, whatever brings them, and in their order."""

import dataclasses
import multiprocessing
import time

import numpy as np
import pytest
import torch

from vggnet.errors import BadImage
from vggnet.images.decoding import decode
from vggnet.images.geometry import rescale
from vggnet.images.rescaled import rescaled_images
from vggnet.images.whole_images import cut_region
from vggnet.images.workers import Workers, places_for

CPU = torch.device("cpu")


def expected(split, index, scale):
    image = decode(split.path(index))
    if split.regions is not None:
        image = cut_region(image, split.path(index), split.regions[index])
    return np.array(rescale(image, scale))


@pytest.mark.parametrize("workers", [0, 2])
def test_every_scale_of_every_image(split, make_image, workers):
    """Far more images than there is shared memory for, a slow reader, and one that is too long for its place."""
    make_image("d/07.png", size=(400, 30))
    order = np.random.default_rng(0).permutation(50)
    results = rescaled_images(split, order, [24, 40], workers=workers, device=CPU)
    kept = []
    for number, (index, pixels) in enumerate(results):
        if number % 9 == 0:
            time.sleep(0.05)  # the workers run ahead as far as they may
        kept.append((index, pixels))
    assert [index for index, _ in kept] == order.tolist()
    for index, pixels in kept:  # after all others were read: nothing was written over
        for scale, each in zip([24, 40], pixels, strict=True):
            assert each.dtype == torch.uint8
            assert np.array_equal(each.numpy(), expected(split, index, scale))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="nothing is inherited")
def test_shared_places_are_no_files():
    places = places_for(2, 4, (5,))
    assert not places.is_shared()  # as torch means it: by a file in /dev/shm
    with Workers(_Writer(places), 2, ahead=4) as pool:
        for number in pool.map(range(10)):
            assert places[number].tolist() == [number] * 5
    assert places_for(0, 4, (5,)) is None


@dataclasses.dataclass
class _Writer:
    places: torch.Tensor

    def __call__(self, number: int) -> int:
        self.places[number] = number
        return number


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_images_come_in_their_places(split, make_image, workers):
    make_image("d/01.png", size=(3000, 30))
    with open(split.path(3), "w") as file:
        file.write("words")
    results = list(rescaled_images(split, [0, 1, 2, 3, 4], [32, 210], workers=workers, device=CPU))
    assert [isinstance(result, BadImage) for result in results] == [False, True, False, True, False]
    assert results[1].path == split.path(1)
    assert "3000x30 becomes 21000x210" in results[1].reason
    assert results[3].path == split.path(3)
    assert [result[0] for result in results if not isinstance(result, BadImage)] == [0, 2, 4]


def test_a_scale_beyond_all_memory_is_the_images_fault(split):
    """No shared memory is asked for that an image could not have."""
    (result,) = rescaled_images(split, [0], [10**6], workers=1, device=CPU)
    assert isinstance(result, BadImage)
    assert "when its smallest side is 1000000" in result.reason


def test_regions_are_cut_out(split):
    regions = np.tile(np.array([3, 4, 25, 24], np.int64), (50, 1))
    part = dataclasses.replace(split, regions=regions)
    for index, (pixels,) in rescaled_images(part, [5, 6], [32], workers=0, device=CPU):
        assert np.array_equal(pixels.numpy(), expected(part, index, 32))
        assert pixels.shape == (32, 35, 3)  # 23 x 21


def test_leaving_early_leaves_no_processes(split):
    images = rescaled_images(split, range(50), [32], workers=2, device=CPU)
    next(images)
    children = multiprocessing.active_children()
    assert len(children) == 2
    images.close()
    for child in children:
        child.join(timeout=5)
    assert not any(child.is_alive() for child in children)
    assert list(rescaled_images(split, [], [32], workers=2, device=CPU)) == []


@pytest.mark.gpu
def test_on_a_gpu(split):
    device = torch.device("cuda")
    results = list(rescaled_images(split, range(50), [24, 40], workers=2, device=device))
    torch.cuda.synchronize()
    for index, pixels in results:
        for scale, each in zip([24, 40], pixels, strict=True):
            assert each.device.type == "cuda"
            assert np.array_equal(each.cpu().numpy(), expected(split, index, scale))
