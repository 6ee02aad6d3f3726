"""The numbers behind figures and sentences: against arithmetic by hand and naive loops."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nets import random_net

from vggnet.data.splits import ImageData, Split
from vggnet.evaluation.answers import Answers
from vggnet.evaluation.comparing import Difference, difference
from vggnet.evaluation.metrics import ranks
from vggnet.reporting.confusion import (
    MOST_SHOWN,
    calibration,
    calibration_chart,
    confused_pairs,
    confusion,
    counts_of,
    grouped,
    ordered,
)
from vggnet.reporting.contents import shortened
from vggnet.reporting.curves import training_section
from vggnet.reporting.seeing import RANDOM_COLOURFUL, colourful, grid_gaps, seeing_section
from vggnet.reporting.signals import signal_explained, verdict_in_words
from vggnet.reporting.sources import Run
from vggnet.reporting.style import SERIES, new_plot, styled, svg
from vggnet.reporting.words import at_most, listed, percent, points


def answers(posteriors: np.ndarray, truth: np.ndarray) -> Answers:
    classes = tuple(f"class{place}" for place in range(posteriors.shape[1]))
    files = tuple(f"{place}.jpg" for place in range(len(truth)))
    return Answers.of("row", "", files, classes, posteriors, truth, ranks(posteriors, truth))


def random_answers(images: int, classes: int, seed: int = 0) -> Answers:
    generator = np.random.default_rng(seed)
    posteriors = generator.dirichlet(np.ones(classes), images)
    return answers(posteriors, generator.integers(0, classes, images))


def test_a_difference_counts_the_images_that_one_way_alone_gets_wrong() -> None:
    first = np.array([1] * 30 + [0] * 70, bool)
    second = np.array([1] * 10 + [0] * 85 + [1] * 5, bool)
    found = difference(first, second)
    assert found.points == pytest.approx(-15)  # 15 wrong in place of 30
    p, q = 21 / 102, 6 / 102  # only the first wrong: 20; only the second: 5; one more each
    half = 1.959963984540054 * np.sqrt((p + q - (q - p) ** 2) / 102)
    assert (found.low, found.high) == pytest.approx((100 * (q - p - half), 100 * (q - p + half)))
    assert found.clear
    assert points(found) == f"15.0 points (95 % interval {-found.high:.1f} to {-found.low:.1f})"


def test_a_difference_across_zero_is_not_clear() -> None:
    first, second = np.zeros(50, bool), np.zeros(50, bool)
    first[:3], second[2:4] = True, True
    assert not difference(first, second).clear
    assert not difference(first, first).clear
    assert difference(np.zeros(0, bool), np.zeros(0, bool)) == Difference(0, -100, 100, difference(first, first).test)


def test_the_interval_covers_the_truth_about_95_times_of_100() -> None:
    generator, covered, tries = np.random.default_rng(1), 0, 600
    for _ in range(tries):
        draws = generator.random((200, 1)) < 0.3
        first = (draws[:, 0]) ^ (generator.random(200) < 0.05)
        second = (draws[:, 0]) ^ (generator.random(200) < 0.15)
        truth = 100 * ((0.3 * 0.85 + 0.7 * 0.15) - (0.3 * 0.95 + 0.7 * 0.05))
        found = difference(first, second)
        covered += found.low <= truth <= found.high
    assert 0.92 < covered / tries < 0.985


def test_counts_are_those_of_a_loop() -> None:
    found = random_answers(60, 6)
    expected = np.zeros((6, 6), int)
    for truth, best in zip(found.truth.tolist(), found.best.tolist(), strict=True):
        expected[truth, best[0]] += 1
    assert np.array_equal(counts_of(found), expected)


def test_classes_that_are_confused_stand_together() -> None:
    counts = np.diag([50] * 6)
    for one, other in ((0, 3), (1, 4), (2, 5)):
        counts[one, other] = counts[other, one] = 20
    order = ordered(counts).tolist()
    assert sorted(order) == list(range(6))
    for one, other in ((0, 3), (1, 4), (2, 5)):
        assert abs(order.index(one) - order.index(other)) == 1
    assert ordered(np.diag([3, 4, 5])).tolist() == [0, 1, 2]


def test_a_thousand_classes_are_joined_and_nothing_is_lost() -> None:
    found = random_answers(3000, 1000)
    counts = counts_of(found)
    matrix, groups = grouped(counts, ordered(counts))
    assert matrix.shape == (MOST_SHOWN, MOST_SHOWN)
    assert matrix.sum() == 3000
    assert sorted(np.concatenate(groups).tolist()) == list(range(1000))
    first, second = groups[3], groups[7]
    assert matrix[3, 7] == counts[np.ix_(first, second)].sum()
    drawn = svg(confusion(found, found.classes))
    assert len(drawn) < 200_000
    assert "+ 24" in drawn


def test_pairs_are_sorted_by_number_and_leave_the_diagonal_out() -> None:
    counts = np.array([[9, 1, 0], [4, 5, 0], [2, 2, 1]])
    found = [(pair.true, pair.answered, pair.times, pair.images) for pair in confused_pairs(counts)]
    assert found == [(1, 0, 4, 9), (2, 0, 2, 5), (2, 1, 2, 5), (0, 1, 1, 10)]


def test_calibration_is_the_mean_distance_of_posterior_and_truth() -> None:
    posteriors = np.array([[0.95, 0.05], [0.91, 0.09], [0.65, 0.35], [0.4, 0.6]])
    found = answers(posteriors, np.array([0, 1, 0, 1]))
    mean, right, images, error = calibration(found)
    assert images.tolist() == [0, 0, 0, 0, 0, 0, 2, 0, 0, 2]
    assert mean[9] == pytest.approx(0.93)
    assert right[9] == pytest.approx(0.5)
    assert error == pytest.approx((2 * abs(0.625 - 1) + 2 * abs(0.93 - 0.5)) / 4)


def test_a_figure_takes_its_colours_from_the_page_and_its_texts_are_escaped() -> None:
    with styled():
        plot = new_plot()
        axes = plot.subplots()
        axes.plot([0, 1], [0, 1], color=SERIES[1], label="<script>$x$ & \u0623\u0633\u0648\u062f")
        axes.legend()
    drawn = svg(plot)
    assert "var(--c2)" in drawn
    assert SERIES[1] not in drawn
    assert "&lt;script&gt;$x$ &amp; \u0623" in drawn
    assert "<script" not in drawn
    assert drawn == svg(plot)
    assert plot._repr_svg_().lstrip().startswith("<?xml")


def test_the_reliability_diagram_explains_its_line() -> None:
    found = answers(np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 1]))
    says = calibration_chart(found).says  # posteriors of 0.9 (right) and 0.8 (wrong)
    assert says.startswith("On the dashed line answers are right as often as their posterior says. The mean distance")
    assert "weighted by images, is 45.0 points (expected calibration error)" in says


def test_small_rates_are_not_zero() -> None:
    assert [percent(rate) for rate in (0, 0.0004, 0.0005, 0.038, 1)] == [
        "0.0 %",
        "below 0.1 %",
        "0.1 %",
        "3.8 %",
        "100.0 %",
    ]
    assert at_most(0.0004) == "all below 0.1 %"
    assert at_most(0.049) == "at most 4.9 %"


def test_neighbours_of_the_crop_grid_are_whole_pixels_apart() -> None:
    assert grid_gaps(73, 73, 64) == [2] * 6 + [3] * 2  # at 0, 2, 4 or 5, 7 and 9
    assert grid_gaps(84, 104, 64) == [5] * 4 + [10] * 4
    assert grid_gaps(64, 64, 64) == [0]


@pytest.mark.parametrize(
    ("side", "said"),
    [
        (41, "lie 2 to 3 pixels apart, so neighbours share at least 90.6 % of a side"),
        (40, "lie 2 pixels apart, so neighbours share at least 93.8 % of a side"),
    ],
)
def test_the_grid_is_described_by_its_gaps(
    make_image: Callable[..., Path], tmp_path: Path, side: int, said: str
) -> None:
    make_image("0.png", size=(50, 50))
    split = Split(str(tmp_path), ("0.png",), np.zeros(1, np.int64))
    nothing = ImageData("", "", (), (), None, split)
    found = seeing_section(Run(Path("run"), "run"), random_net(("a", "b")), nothing, split, side)
    assert f"At Q={side} the crops of 32 pixels {said}" in found.parts[0].says


def test_random_filters_answer_to_colour_as_often_as_is_said() -> None:
    weights = np.random.default_rng(0).normal(size=(40_000, 3, 3, 3))
    assert colourful(weights) / len(weights) == pytest.approx(RANDOM_COLOURFUL, abs=0.006)


def test_a_signal_is_explained_and_its_options_are_those_of_the_command_line() -> None:
    vanishes = {"verdict": "vanishes", "words": "Start from larger weights (`init` glorot) or (`init_from`)."}
    assert verdict_in_words(vanishes) == "Start from larger weights (--init glorot) or (--init-from)."
    assert any("the paper trained net A first" in text.text for text in signal_explained([("gaussian", vanishes)]))
    learns = [("gaussian", {"verdict": "learns"}), ("he", vanishes)]
    assert not any("the paper trained net A first" in text.text for text in signal_explained(learns))


def epoch(number: int, **columns: float) -> dict[str, float]:
    return {"epoch": number, "train_loss": 1.0, "loss": 1.0, "train_error": 50.0, "error": 50.0, **columns}


def test_an_epoch_that_was_not_timed_has_no_speed() -> None:
    rows = (epoch(1, images_per_s=80.0, waiting_share=0.0), epoch(2, images_per_s=0.0, waiting_share=0.0))
    table = training_section([Run(Path("run"), "run", rows=rows)]).parts[-1]
    assert table.columns[-1] == "part of the time spent waiting for images"
    assert [row[-2:] for row in table.rows] == [("80", "0"), ("-", "-")]


@pytest.mark.parametrize(
    ("holdout", "said"), [(0.1, "about 10 % of the training images"), (0, "Held out: the val images")]
)
def test_the_images_that_judge_the_epochs_are_named(holdout: float, said: str) -> None:
    run = Run(Path("run"), "run", config={"holdout": holdout}, rows=(epoch(1),))
    assert said in training_section([run]).parts[0].text


def test_lists_and_labels() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert shortened("x" * 30, 10) == "x" * 9 + "\N{HORIZONTAL ELLIPSIS}"
    assert shortened("short", 10) == "short"
