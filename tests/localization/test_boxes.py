"""Overlaps by hand; boxes there and back through every rescale, crop and mirror; boxes that are not on their images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vggnet.data.opening import open_data
from vggnet.data.splits import Split
from vggnet.description import ImageReading
from vggnet.errors import UserError
from vggnet.images.augmentation import Augmentation
from vggnet.images.geometry import crop_of_rescaled, rescaled_size
from vggnet.images.loading import TrainingLoader
from vggnet.localization.boxes import (
    Windows,
    check_boxes,
    clip,
    corners_of,
    decode,
    edges_of,
    encode,
    iou,
    refuse_faults,
    rescaled_sizes,
)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0, 0, 9, 9), (0, 0, 9, 9), 1.0),
        ((0, 0, 9, 9), (5, 0, 14, 9), 50 / 150),  # 5 columns of 10 in common
        ((3, 4, 3, 4), (3, 4, 3, 4), 1.0),  # one pixel: without the +1 it would have no area
        ((0, 0, 0, 9), (0, 0, 1, 9), 0.5),
        ((0, 0, 9, 9), (10, 0, 19, 9), 0.0),  # side by side
    ],
)
def test_iou_of_inclusive_corners(first, second, expected):
    assert iou(edges_of(np.array(first)), edges_of(np.array(second))) == pytest.approx(expected)


def test_iou_broadcasts():
    boxes = edges_of(np.array([[0, 0, 9, 9], [0, 0, 4, 9]]))
    np.testing.assert_allclose(iou(boxes[:, None], boxes), [[1, 0.5], [0.5, 1]])


@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(1, 600))
def test_rescaled_sizes_are_those_of_the_images(width, height, scale):
    assert tuple(rescaled_sizes(np.array([[width, height]]), scale)[0]) == rescaled_size(width, height, scale)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_corners_there_and_back(data):
    width, height = data.draw(st.integers(8, 800)), data.draw(st.integers(8, 800))
    scale = data.draw(st.integers(32, 512))
    side = data.draw(st.integers(16, scale))
    full_width, full_height = rescaled_size(width, height, scale)
    left, top = data.draw(st.integers(0, full_width - side)), data.draw(st.integers(0, full_height - side))
    xmin, ymin = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    corners = np.array(
        [[xmin, ymin, data.draw(st.integers(xmin, width - 1)), data.draw(st.integers(ymin, height - 1))]]
    )
    view = np.array([[scale, left, top, data.draw(st.booleans())]], np.float32)
    windows = Windows.of_views(np.array([[width, height]]), view, side)
    inside = windows.enter(edges_of(corners))
    np.testing.assert_array_equal(corners_of(windows.leave(decode(encode(inside, side), side))), corners)
    assert (inside[:, 2:] > inside[:, :2]).all()


def test_a_mirror_is_that_of_pixels():
    windows = Windows.of_views(np.array([[50, 40]]), np.array([[40, 7, 3, 1]]), 32)
    corners = corners_of(windows.enter(edges_of(np.array([[10, 5, 19, 9]]))))
    # columns 10 to 19 are 3 to 12 of the window, and x becomes 31 - x
    np.testing.assert_array_equal(corners, [[31 - 12, 2, 31 - 3, 6]])


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("scale", "left", "top"), [(60, 11, 4), (120, 40, 25), (180, 60, 70)])
def test_boxes_follow_the_pixels(scale, left, top, mirrored):
    """A bright block on black: where it is bright in the crop, there is its box."""
    pixels = np.zeros((60, 90, 3), np.uint8)
    pixels[20:40, 30:50] = 255
    crop = crop_of_rescaled(Image.fromarray(pixels), scale, left, top, 56)
    crop = crop[:, ::-1] if mirrored else crop
    windows = Windows.of_views(np.array([[90, 60]]), np.array([[scale, left, top, mirrored]]), 56)
    box = corners_of(clip(windows.enter(edges_of(np.array([[30, 20, 49, 39]]))), np.array([[56, 56]])))[0]
    ys, xs = np.nonzero(crop[..., 0] > 127)
    np.testing.assert_allclose(box, [xs.min(), ys.min(), xs.max(), ys.max()], atol=1)
    if scale == 60:  # nothing is interpolated
        np.testing.assert_array_equal(box, [xs.min(), ys.min(), xs.max(), ys.max()])


def test_what_is_regressed():
    # a box that fills the crop; one of a quarter's area in its upper left; one that reaches beyond, uncut
    edges = np.array([[0, 0, 64, 64], [0, 0, 32, 32], [32, 0, 96, 64]], float)
    expected = [[0, 0, 1, 1], [-0.25, -0.25, 0.5, 0.5], [0.5, 0, 1, 1]]
    np.testing.assert_allclose(encode(edges, 64), expected)
    np.testing.assert_allclose(decode(np.array(expected), 64), edges)


def test_a_negative_size_is_none():
    np.testing.assert_allclose(decode(np.array([[0, 0, -1, 0.5]]), 64), [[32, 16, 32, 48]])


def test_boxes_beside_their_images():
    boxes = (
        np.array([[0, 0, 63, 63]]),
        np.array([[-1, 0, 64, 63], [3, 3, 3, 9]]),  # a pixel beyond on two sides; one pixel wide
        np.array([[0, 0, 66, 10], [5, 5, 4, 9]]),  # too far beyond; turned
        np.array([[0, 0, 5000, 5000]]),  # an image whose size is not known
    )
    sizes = np.array([[64, 64], [64, 64], [64, 64], [0, 0]])
    checked = check_boxes(("a", "b", "c", "d"), boxes, sizes)
    assert [each.tolist() for each in checked.boxes] == [
        [[0, 0, 63, 63]],
        [[0, 0, 63, 63], [3, 3, 3, 9]],
        [],
        [[0, 0, 5000, 5000]],
    ]
    assert checked.clipped == 1
    assert [fault.image for fault in checked.faults] == ["c", "c"]
    with pytest.raises(UserError, match=r"2 boxes(.|\n)*c: box 0 0 66 10: more than a pixel(.|\n)*xmin > xmax"):
        refuse_faults(checked.faults)
    refuse_faults(())


def test_no_boxes_at_all():
    checked = check_boxes(("a",), (np.empty((0, 4), np.int64),), np.array([[5, 5]]))
    assert len(checked.boxes) == 1
    assert checked.boxes[0].shape == (0, 4)


def test_ilsvrc_tiny_boxes_one_pixel_wide(ilsvrc_tiny):
    opened = open_data(str(ilsvrc_tiny))
    thin = 0
    for split in (opened.train, opened.val):
        corners = np.concatenate(split.boxes)
        checked = check_boxes(split.files, split.boxes, np.full((len(split), 2), 64))
        assert not checked.faults
        assert checked.clipped == 0
        thin += int((corners[:, 0] == corners[:, 2]).sum())
        assert (iou(edges_of(corners), edges_of(corners)) == 1).all()
    assert thin == 28


@pytest.mark.parametrize("turned", [False, True])
def test_a_box_is_where_its_object_is_in_a_jpeg_decoded_at_an_eighth(tmp_path, turned):
    """A white rectangle on black: the mean place and the number of its pixels in the crop are those of its box."""
    width, height = 391, 297  # at 1/8: 48.875 x 37.125, so the last column and row stand for less than 8
    pixels = np.zeros((height, width, 3), np.uint8)
    edges = np.array([[160, 110, 251, 190]], np.float64)
    pixels[110:190, 160:251] = 255
    upright = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 3 if turned else 1
    stored = upright.transpose(Image.Transpose.ROTATE_180) if turned else upright
    stored.save(tmp_path / "a.jpg", exif=exif, quality=100)
    split = Split(str(tmp_path), ("a.jpg",), np.zeros(1, np.int64), reading=ImageReading("apply"))
    with TrainingLoader(split, Augmentation(0, (34, 37), 32, None), workers=0, scaled=True) as loader:
        for epoch in range(6):
            (batch,) = loader.batches(epoch, [np.array([0])])
            ((left, top, right, bottom),) = Windows.of_views(
                np.array([[width, height]]), batch.views.numpy(), 32
            ).enter(edges)
            bright = batch.pixels[0, ..., 0].numpy().astype(float) / 255
            assert bright[:, [0, -1]].max() < 0.05  # all of it is in the crop
            columns, rows = (bright.sum(axis) for axis in (0, 1))
            middle = [float((each * (np.arange(32) + 0.5)).sum() / each.sum()) for each in (columns, rows)]
            assert middle == pytest.approx([(left + right) / 2, (top + bottom) / 2], abs=0.1)
            assert bright.sum() == pytest.approx((right - left) * (bottom - top), rel=0.03)
