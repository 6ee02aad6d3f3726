"""Score maps, saliency and pictures: against the net itself, gradients by differences, and arithmetic by hand."""

import base64
import io

import numpy as np
import pytest
import torch
from nets import sharp_net
from PIL import Image

from vggnet.errors import UserError
from vggnet.explaining.pictures import (
    data_uri,
    draw_windows,
    filter_pictures,
    fitted,
    grid,
    heat,
    overlay,
    saliency_picture,
)
from vggnet.explaining.saliency import saliency
from vggnet.explaining.score_maps import ScoreMap, fitting_step, score_map


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.randn(1, 3, 90, 101, generator=torch.Generator().manual_seed(0))


def test_a_map_of_step_32_is_the_nets_own_and_its_mean_the_nets_scores(image: torch.Tensor) -> None:
    model = sharp_net(crop=32)
    found = score_map(model, image)
    with torch.no_grad():
        assert np.allclose(found.scores, model(image)[0].numpy())
    assert np.allclose(found.scores.mean((1, 2)), model.scores(image)[0].numpy(), atol=1e-5)
    assert np.allclose(found.posteriors.sum(0), 1)


def test_positions_in_between_are_the_answers_for_the_window_alone(image: torch.Tensor) -> None:
    model = sharp_net(crop=32)
    found = score_map(model, image, step=16)
    assert found.scores.shape == (7, (90 - 32) // 16 + 1, (101 - 32) // 16 + 1)
    with torch.no_grad():
        for row, column in ((0, 0), (3, 1), (3, 4)):
            window = image[:, :, 16 * row : 16 * row + 32, 16 * column : 16 * column + 32]
            assert np.allclose(found.scores[:, row, column], model(window)[0, :, 0, 0].numpy(), atol=1e-5)


def test_an_image_of_the_crops_size_has_one_position_whatever_the_step() -> None:
    model = sharp_net(crop=32)
    image = torch.zeros(1, 3, 32, 32)
    found = score_map(model, image, step=4)
    assert found.scores.shape == (7, 1, 1)
    assert np.allclose(found.scores[:, 0, 0], model.scores(image)[0].numpy(), atol=1e-6)


@pytest.mark.parametrize("step", [0, 5, 64])
def test_a_step_that_does_not_divide_the_stride_is_refused(image: torch.Tensor, step: int) -> None:
    with pytest.raises(UserError, match="divisor"):
        score_map(sharp_net(crop=32), image, step)


def test_values_stand_in_the_middle_of_their_window() -> None:
    found = ScoreMap(np.zeros((1, 2, 2), np.float32), step=32, window=32, height=64, width=64)
    shown = found.on_image(np.array([[0.0, 1.0], [0.0, 1.0]]))
    assert shown.shape == (64, 64)
    assert shown[5, :15].max() == 0  # left of the first middle at 16
    assert shown[40, 50:].min() == 1  # right of the second at 48
    assert shown[0, 31] == pytest.approx((31.5 - 16) / 32)


@pytest.mark.parametrize(("side", "step"), [(64, 8), (96, 8), (448, 32), (256, 32), (200, 16)])
def test_the_step_gives_a_map_of_enough_positions(side: int, step: int) -> None:
    crop = {64: 32, 96: 64, 448: 224, 256: 128, 200: 128}[side]
    assert fitting_step(crop, side, side + 10) == step


def test_saliency_is_the_gradient_of_the_class_score() -> None:
    model = sharp_net(crop=32).double()
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    model.float()
    found = saliency(model, image, torch.tensor([2]))[0]
    model.double()
    place, by_channel = (11, 17), []
    for channel in range(3):
        scores = []
        for sign in (1, -1):
            moved = image.double().clone()
            moved[0, channel, place[0], place[1]] += sign * 1e-6
            scores.append(float(model.scores(moved)[0, 2]))
        by_channel.append(abs(scores[0] - scores[1]) / 2e-6)
    assert found[place] == pytest.approx(max(by_channel), rel=1e-3)
    assert found.shape == (32, 32)


def test_saliency_leaves_no_gradients_and_works_in_inference_mode() -> None:
    model = sharp_net(crop=32)
    with torch.inference_mode():
        found = saliency(model, torch.ones(2, 3, 40, 32), torch.tensor([0, 1]))
    assert found.shape == (2, 40, 32)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_overlay_leaves_the_image_where_the_value_is_0_and_colours_it_where_it_is_1() -> None:
    image = Image.new("RGB", (4, 2), (90, 90, 90))
    shown = np.asarray(overlay(image, np.array([[0, 0, 1, 1.0], [0, 0, 1, 2.0]])))
    assert (shown[:, :2] == 90).all()
    assert (shown[:, 2:] == (0.25 * 90 + 0.75 * np.array([252, 255, 164])).round()).all()
    assert np.diff(heat(np.linspace(0, 1, 50)).astype(int) @ [299, 587, 114]).min() > 0  # brightness rises all the way


def test_pictures_of_saliency_and_filters_have_the_scale_of_the_largest() -> None:
    assert np.asarray(saliency_picture(np.zeros((3, 3)))).max() == 4
    values = np.zeros((10, 10))
    values[0, :2] = 5
    assert np.asarray(saliency_picture(values))[0, 0].tolist() == [252, 255, 164]
    weights = np.zeros((2, 3, 1, 1))
    weights[:, 0] = [[[2]], [[-2]]]
    first, second = (np.asarray(picture)[0, 0].tolist() for picture in filter_pictures(weights))
    assert (first, second) == ([255, 128, 128], [0, 128, 128])


def test_windows_are_drawn_where_they_are_and_the_last_one_is_filled() -> None:
    image = Image.new("RGB", (100, 60))
    shown = np.asarray(draw_windows(image, [(0, 0), (60, 20)], 40))
    assert shown[0, 0].any()
    assert shown[40, 80].any()  # within the last window
    assert not shown[10, 20].any()  # within the first one
    assert not np.asarray(image).any()


def test_grids_fit_and_uris_hold_the_picture() -> None:
    pictures = [Image.new("RGB", (5, 4), (0, 0, place)) for place in range(5)]
    sheet = grid(pictures, 2)
    assert sheet.size == (12, 16)
    assert sheet.getpixel((7, 6)) == (0, 0, 3)
    uri = data_uri(sheet, exact=True)
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as again:
        assert again.convert("RGB").tobytes() == sheet.tobytes()
    assert data_uri(sheet).startswith("data:image/jpeg;base64,")
    assert fitted(Image.new("L", (400, 10)), 100).size == (100, 2)
    assert fitted(Image.new("L", (40, 10)), 100).size == (40, 10)
