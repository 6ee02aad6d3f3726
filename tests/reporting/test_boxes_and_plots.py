"""Figures of vggnet.plot, boxes and crops: what is drawn is what other rooms compute."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nets import random_net
from PIL import Image

import vggnet
from vggnet.data.splits import Split
from vggnet.errors import UserError
from vggnet.images.augmentation import Augmentation
from vggnet.images.loading import TrainingLoader
from vggnet.localization.judging import CenterResult
from vggnet.localization.objects import Objects
from vggnet.reporting.box_pictures import draw_boxes
from vggnet.reporting.boxes import Boxes, size_chart
from vggnet.reporting.seeing import augmentation_of, training_crops
from vggnet.reporting.sources import Run


def test_crops_are_those_that_the_loader_gives_to_training(split: Split, augmentation: Augmentation) -> None:
    rows, views, sizes = training_crops(split, augmentation, [3, 7], epochs=2)
    assert len(views) == len(sizes) == 4
    with TrainingLoader(split, augmentation, workers=0) as loader:
        for epoch in range(2):
            (batch,) = loader.batches(epoch, [np.array([3, 7])])
            for place in range(2):
                expected = np.clip(batch.pixels[place].numpy() + batch.shift[place].numpy(), 0, 255).round()
                assert np.array_equal(np.asarray(rows[place][epoch]), expected.astype(np.uint8))


def test_a_config_tells_how_crops_are_drawn_or_does_not() -> None:
    statistics = {
        "mean": [1, 2, 3],
        "deviation": [1, 1, 1],
        "eigenvalues": [3, 2, 1],
        "eigenvectors": np.eye(3).tolist(),
    }
    config = {"seed": 4, "train_scale": [36, 48], "crop": 32, "statistics": statistics, "mirror": False}
    found = augmentation_of(Run(Path("run"), "run", config=config))
    assert found is not None
    assert (found.seed, found.train_scale, found.crop, found.mirror) == (4, (36, 48), 32, False)
    for missing in ("statistics", "seed", "train_scale"):
        less = {name: value for name, value in config.items() if name != missing}
        assert augmentation_of(Run(Path("run"), "run", config=less)) is None


def boxes_of(sizes: list[int], wrong: list[bool]) -> Boxes:
    """Objects of these sides on images of 100 pixels."""
    count = len(sizes)
    edges = np.array([[0, 0, side, side] for side in sizes], float)
    split = Split("", tuple(f"{place}.jpg" for place in range(count)), np.zeros(count, np.int64))
    objects = Objects(split, np.full((count, 2), 100), edges, np.arange(count + 1))
    overlaps = np.where(wrong, 0.2, 0.8)
    return Boxes(objects, CenterResult(np.arange(count), overlaps, np.zeros(count), edges), 40, ("thing",))


def test_sizes_are_compared_where_the_intervals_part() -> None:
    small_wrong = boxes_of([20] * 40 + [90] * 40, [True] * 36 + [False] * 4 + [False] * 40)
    chart = size_chart(small_wrong)
    assert chart is not None
    assert "0 to 10 % of the image are missed more often (90.0 %) than those of 50 to 100 % (0.0 %)" in chart.says
    few_large = size_chart(boxes_of([20] * 40 + [60] * 40 + [90] * 3, [True] * 20 + [False] * 63))
    assert few_large is not None
    assert "than those of 25 to 50 % (0.0 %)" in few_large.says  # three of the largest show nothing
    alike = size_chart(boxes_of([20] * 10 + [90] * 10, [True, False] * 10))
    assert alike is not None
    assert "no difference that 20 images can show" in alike.says
    assert size_chart(boxes_of([20] * 10, [True] * 10)) is None


def test_boxes_are_drawn_at_their_edges() -> None:
    shown = np.asarray(draw_boxes(Image.new("RGB", (100, 50)), np.array([[10, 10, 90, 40.0]]), np.zeros((0, 4))))
    assert shown.shape[:2] == (100, 200)
    assert shown[20, 100].any()  # the upper edge, twice as large
    assert not shown[50, 100].any()


def test_plots_are_figures_of_matplotlib(
    class_folders: Callable[..., Path], make_run: Callable[..., Path], tmp_path: Path
) -> None:
    data = class_folders()
    run = make_run("A", data)
    other = make_run("D", data, net="D", source="A")
    assert len(vggnet.plot.curves(run).axes) == 2
    assert [line.get_label() for line in vggnet.plot.curves([run, other]).axes[0].lines][::2] == ["A", "D"]
    model = random_net(("class0", "class1", "class2"))
    figure = vggnet.plot.score_map(model, Image.new("RGB", (50, 60), "red"), "class1")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["image", "score map: class1", "saliency"]
    with pytest.raises(UserError, match="`name` 'bee': the net has no such class"):
        vggnet.plot.score_map(model, Image.new("RGB", (50, 60)), "bee")
    with pytest.raises(UserError, match="no run of `train`"):
        vggnet.plot.crops(run)
    with pytest.raises(UserError, match="at least one result"):
        vggnet.plot.signal()
    (run / "metrics.csv").unlink()
    with pytest.raises(UserError, match="no run has finished an epoch"):
        vggnet.plot.curves(run)


def test_a_diagnosis_in_json_is_drawn(tmp_path: Path) -> None:
    layers = [
        {"name": name, "signal_rms": 1.0, "variation_rms": 0.5, "gradient_rms": 0.0} for name in ("conv1_1", "fc8")
    ]
    content = {"layers": layers, "verdict": "vanishes", "words": "Net E cannot learn."}
    (tmp_path / "e.json").write_text(json.dumps(content))
    report = vggnet.report(tmp_path / "e.json")
    assert "Net E cannot learn." in report.html
    assert "conv1_1" in report.html
