"""Statistics against numpy's, the shift by hand, normalisation against the formula."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vggnet.description import Preprocessing
from vggnet.images.color import ColorStatistics, ColorSums, color_shift
from vggnet.images.normalization import normalize


def images(count: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    mixed = generator.normal(size=(count * 40 * 30, 3)) @ np.array([[40, 30, 20], [0, 15, -10], [0, 0, 5]])
    return np.clip(mixed + np.array([120, 110, 100]), 0, 255).astype(np.uint8).reshape(count, 30, 40, 3)


def test_statistics_of_equal_images_are_those_of_all_pixels():
    pixels = images(5)
    statistics = sum((ColorSums.of_image(each) for each in pixels), ColorSums()).statistics()
    flat = pixels.reshape(-1, 3).astype(float)
    covariance = np.cov(flat.T, bias=True)
    assert np.allclose(statistics.mean, flat.mean(0), rtol=1e-5)
    assert np.allclose(statistics.deviation, flat.std(0), rtol=1e-4)
    axes = np.array(statistics.eigenvectors)
    assert np.allclose(axes @ np.diag(statistics.eigenvalues) @ axes.T, covariance, rtol=1e-3, atol=0.1)
    assert list(statistics.eigenvalues) == sorted(statistics.eigenvalues, reverse=True)
    assert all(axes[np.abs(axes[:, i]).argmax(), i] > 0 for i in range(3))


def test_each_image_counts_once_whatever_its_size():
    dark, light = np.zeros((2, 2, 3), np.uint8), np.full((1200, 1100, 3), 200, np.uint8)
    statistics = (ColorSums.of_image(dark) + ColorSums.of_image(light)).statistics()
    assert np.allclose(statistics.mean, 100)
    assert np.allclose(statistics.deviation, 100)


def test_one_colour_has_no_deviation_and_no_image_no_mean():
    statistics = ColorSums.of_image(np.full((9, 9, 3), 77, np.uint8)).statistics()
    assert statistics.mean == (77, 77, 77)
    assert np.allclose(statistics.deviation, 0)
    with pytest.raises(ValueError, match="no image"):
        ColorSums().statistics()


def test_json_there_and_back():
    statistics = ColorSums.of_image(images(1)[0]).statistics()
    assert ColorStatistics.from_dict(json.loads(json.dumps(statistics.to_dict()))) == statistics
    with pytest.raises(KeyError):
        ColorStatistics.from_dict({})


def test_shift_by_hand():
    axes = ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))  # first axis: green, second: red
    statistics = ColorStatistics((0, 0, 0), (1, 1, 1), (400.0, 100.0, 0.0), axes)
    # 0.1 * 1 * sqrt(400) = 2 along green, 0.1 * -2 * sqrt(100) = -2 along red.
    assert color_shift(statistics, np.array([1.0, -2.0, 5.0]), 0.1).tolist() == [-2.0, 2.0, 0.0]


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.booleans(), st.booleans())
def test_normalize_is_the_formula(count, height, width, divided, shifted):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, generator=generator)
    shift = torch.randn(count, 3, generator=generator) if shifted else None
    preprocessing = Preprocessing(deviation=(58.0, 57.0, 56.0)) if divided else Preprocessing()
    expected = pixels.double() - torch.tensor(preprocessing.mean, dtype=torch.float64)
    if shift is not None:
        expected = expected + shift.double()[:, None, None]
    expected = (expected / torch.tensor(preprocessing.deviation, dtype=torch.float64)).permute(0, 3, 1, 2)
    result = normalize(pixels, preprocessing, shift)
    assert result.shape == (count, 3, height, width)
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(result.double(), expected, rtol=1e-5, atol=1e-4)
    half = normalize(pixels, preprocessing, shift, torch.bfloat16)
    assert torch.equal(half, result.to(torch.bfloat16))
    assert half.is_contiguous(memory_format=torch.channels_last)
