"""Sizes and corners by hand; the crop of the rescaled image against rescaling everything."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vggnet.errors import UserError
from vggnet.images.geometry import (
    center_crop_corner,
    crop_grid,
    crop_of_rescaled,
    rescale,
    rescaled_size,
    ten_crop_corners,
)


@pytest.mark.parametrize(
    ("size", "scale", "expected"),
    [
        ((500, 375), 256, (341, 256)),  # 341.33
        ((375, 500), 256, (256, 341)),
        ((64, 64), 73, (73, 73)),
        ((2, 5), 1, (1, 3)),  # 2.5 rounds up
        ((1, 100), 224, (224, 22400)),
        ((1000, 999), 256, (256, 256)),  # 256.26
    ],
)
def test_rescaled_size(size, scale, expected):
    assert rescaled_size(*size, scale) == expected


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 600))
def test_smallest_side_is_the_scale(width, height, scale):
    new_width, new_height = rescaled_size(width, height, scale)
    assert min(new_width, new_height) == scale
    assert (new_width >= new_height) == (width >= height) or new_width == new_height
    assert abs(max(new_width, new_height) - scale * max(width, height) / min(width, height)) <= 0.5


@settings(deadline=None, max_examples=75)
@given(st.data())
def test_crop_of_rescaled_is_the_crop_of_the_rescaled(data):
    width, height = data.draw(st.integers(16, 300)), data.draw(st.integers(16, 300))
    scale = data.draw(st.integers(16, 200))
    full = rescaled_size(width, height, scale)
    crop = data.draw(st.integers(8, scale))
    left, top = data.draw(st.integers(0, full[0] - crop)), data.draw(st.integers(0, full[1] - crop))
    noise = np.random.default_rng(data.draw(st.integers(0, 1000))).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    expected = np.asarray(rescale(image, scale).crop((left, top, left + crop, top + crop)))
    difference = np.abs(crop_of_rescaled(image, scale, left, top, crop).astype(int) - expected)
    assert difference.max() <= 2  # noise is the worst case: ties of both passes may fall the other way


def test_crop_of_rescaled_photographs(photographs):
    for path in photographs[:16]:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        full = np.asarray(rescale(image, 256)).astype(int)
        top, left = full.shape[0] - 224 - 5, full.shape[1] - 224 - 3
        difference = np.abs(full[top : top + 224, left : left + 224] - crop_of_rescaled(image, 256, left, top, 224))
        assert difference.max() <= 1
        assert difference.mean() < 0.3


def test_crop_outside_is_refused():
    with pytest.raises(UserError, match="not inside 64x64"):
        crop_of_rescaled(Image.new("RGB", (100, 100)), 64, 1, 0, 64)


def test_rescale_at_its_own_size_is_the_image():
    image = Image.new("RGB", (30, 20))
    assert rescale(image, 20) is image


def test_center():
    assert center_crop_corner(341, 256, 224) == (58, 16)
    with pytest.raises(UserError, match="does not fit"):
        center_crop_corner(200, 300, 224)


def test_grid_of_five_by_hand():
    # 341 - 224 = 117: 0, 29.25, 58.5, 87.75, 117. 256 - 224 = 32: 0, 8, 16, 24, 32.
    lefts, tops = [0, 29, 59, 88, 117], [0, 8, 16, 24, 32]
    assert crop_grid(341, 256, 224) == [(left, top) for top in tops for left in lefts]


def test_other_grids():
    assert crop_grid(256, 256, 224, n=1) == [(16, 16)]
    assert crop_grid(224, 224, 224, n=2) == [(0, 0)] * 4
    assert ten_crop_corners(256, 300, 224) == [(0, 0), (32, 0), (0, 76), (32, 76), (16, 38)]


@given(st.integers(1, 500), st.integers(0, 500), st.integers(0, 500), st.integers(1, 7))
def test_grid_is_inside_and_symmetric(crop, more_width, more_height, n):
    corners = crop_grid(crop + more_width, crop + more_height, crop, n)
    assert len(corners) == n * n
    if n > 1:
        assert {(0, 0), (more_width, 0), (0, more_height), (more_width, more_height)} <= set(corners)
    for (left, top), (other_left, other_top) in zip(corners, reversed(corners), strict=True):
        assert 0 <= left <= more_width
        assert 0 <= top <= more_height
        assert abs(left + other_left - more_width) <= 1
        assert abs(top + other_top - more_height) <= 1
