"""Views are a function of (seed, epoch, index), inside the image, and spread as they should be."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vggnet.images.augmentation import Augmentation, epoch_order
from vggnet.images.color import ColorStatistics
from vggnet.images.geometry import rescaled_size

STATISTICS = ColorStatistics((0, 0, 0), (1, 1, 1), (900.0, 90.0, 9.0), ((1, 0, 0), (0, 1, 0), (0, 0, 1)))


@given(
    st.integers(-5, 2**64),
    st.integers(0, 10**6),
    st.integers(0, 2**40),
    st.integers(1, 2000),
    st.integers(1, 2000),
    st.integers(1, 100),
    st.integers(0, 50),
    st.integers(0, 50),
)
def test_inside_the_rescaled_image(seed, epoch, index, width, height, crop, margin, jitter):
    train_scale = (crop + margin, crop + margin + jitter)
    augmentation = Augmentation(seed, train_scale, crop, STATISTICS)
    view = augmentation.view(epoch, index, width, height)
    full_width, full_height = rescaled_size(width, height, view.scale)
    assert train_scale[0] <= view.scale <= train_scale[1]
    assert 0 <= view.left <= full_width - crop
    assert 0 <= view.top <= full_height - crop
    again = augmentation.view(epoch, index, width, height)
    assert np.array_equal(view.shift, again.shift)
    assert (view.scale, view.left, view.top, view.mirrored) == (again.scale, again.left, again.top, again.mirrored)


def test_spread():
    augmentation = Augmentation(7, (64, 67), 60, STATISTICS)
    views = [augmentation.view(3, index, 80, 64) for index in range(8000)]
    # 4 scales of probability 1/4, 2 mirrors of 1/2: 5 standard errors are 5 * sqrt(p (1 - p) / 8000) = 0.024, 0.028.
    for scale in range(64, 68):
        assert abs(np.mean([view.scale == scale for view in views]) - 1 / 4) < 0.024
    assert abs(np.mean([view.mirrored for view in views]) - 1 / 2) < 0.028
    tops = [view.top for view in views if view.scale == 64]
    assert set(tops) == set(range(5))
    assert all(abs(np.mean(np.array(tops) == top) - 1 / 5) < 0.045 for top in range(5))
    shifts = np.array([view.shift for view in views])
    assert np.allclose(shifts.std(axis=0), [3.0, 0.949, 0.3], rtol=0.05)  # a tenth of 30, 9.49, 3
    assert np.allclose(shifts.mean(axis=0), 0, atol=0.17)


def test_another_seed_epoch_or_image_is_another_view():
    base = (1, 2, 3)
    places = [base, (2, 2, 3), (1, 3, 3), (1, 2, 4), (2, 1, 3), (3, 2, 1)]
    shifts = [
        Augmentation(seed, (256, 512), 224, STATISTICS).view(epoch, index, 500, 375).shift.tolist()
        for seed, epoch, index in places
    ]
    assert len({tuple(shift) for shift in shifts}) == len(places)


def test_options_leave_the_other_draws_alone():
    full = Augmentation(1, (256, 512), 224, STATISTICS).view(2, 3, 500, 375)
    plain = Augmentation(1, (256, 512), 224, None, mirror=False).view(2, 3, 500, 375)
    assert (plain.scale, plain.left, plain.top) == (full.scale, full.left, full.top)
    stronger = Augmentation(1, (256, 512), 224, STATISTICS, color_deviation=0.2).view(2, 3, 500, 375)
    assert np.allclose(stronger.shift, 2 * full.shift)
    assert not plain.mirrored
    assert not plain.shift.any()
    assert not any(Augmentation(1, (9,), 9, None, mirror=False).view(2, i, 9, 9).mirrored for i in range(50))


def test_epoch_order():
    order = epoch_order(0, 0, 1000)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(1000))
    assert np.array_equal(order, epoch_order(0, 0, 1000))
    assert not np.array_equal(order, epoch_order(0, 1, 1000))
    assert not np.array_equal(order, epoch_order(1, 0, 1000))
    assert epoch_order(0, 0, 0).shape == (0,)
