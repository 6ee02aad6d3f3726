"""A new head on a convolutions-only trunk learns alike whatever the size of the trunk's features."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_resuming import stop_at

from vggnet.cli import parse, run
from vggnet.description import ModelDescription, Preprocessing
from vggnet.errors import UserError
from vggnet.network.initialization import build
from vggnet.network.vgg import VGG, without_head
from vggnet.network.weights import load_model, read_description, save_model
from vggnet.paper.recipes import Recipe
from vggnet.training.classification import train_classifier
from vggnet.training.optimization import build_optimizer

Folders = Callable[..., Path]
SMALL = ["--net", "A", "--crop", "32", "--width", "0.05", "--batch", "12", "--workers", "0", "--device", "cpu"]
SMALL += ["--threads", "1", "--precision", "fp32"]


def trunk(file: Path, factor: float) -> Path:
    """Convolutions whose features are `factor` times as large: the last one's weights and biases are."""
    model = build("A", num_classes=3, width=0.05, crop=32, init="he", seed=1)
    model.description = replace(model.description, preprocessing=Preprocessing((85.0, 85.0, 85.0)))
    last = model.get_submodule("conv5_2")
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.mul_(factor)
    save_model(file, without_head(model))
    return file


def figures(folder: Path) -> list[tuple[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return [(row["train_loss"], row["loss"]) for row in csv.DictReader(file)]


def arguments(data: Path, source: Path, out: Path, *more: str) -> list[str]:
    return ["train", str(data), "--init-from", str(source), "--new-head", "--out", str(out), *SMALL, *more]


def fine_tune(data: Path, source: Path, out: Path, *more: str) -> int:
    return run(arguments(data, source, out, *more))


def test_the_size_of_frozen_features_changes_nothing(class_folders: Folders, tmp_path: Path) -> None:
    """To the bit: sizes are powers of two. The old head began at a loss of hundreds, and diverged."""
    data, seen = class_folders(), []
    for factor in (1, 64, 2**-6):
        out = tmp_path / f"run{factor}"
        source = trunk(tmp_path / f"{factor}.safetensors", factor)
        assert fine_tune(data, source, out, "--train-from", "fc6", "--epochs", "3", "--learning-rate", "0.01") == 0
        seen.append((figures(out), load_model(out / "last.safetensors")))
        assert float(seen[-1][0][0][0]) < 2  # ln 3 is 1.1
    (plain, first), *others = seen
    for factor, (rows, model) in zip((64, 2**-6), others, strict=True):
        assert rows == plain
        assert model.description.feature_scale == factor * first.description.feature_scale
        assert torch.equal(model.fc6.weight * factor, first.fc6.weight)
        assert torch.equal(model.fc8.weight, first.fc8.weight)


def test_large_features_do_not_diverge_where_all_layers_train(class_folders: Folders, tmp_path: Path) -> None:
    data, out = class_folders(), tmp_path / "run"
    assert fine_tune(data, trunk(tmp_path / "net.safetensors", 300), out, "--epochs", "3") == 0
    losses = [float(value) for row in figures(out) for value in row]
    assert max(losses) < 2
    # a further training from this net goes on with fc6 as it is
    again = tmp_path / "again"
    assert run(["train", str(data), "--init-from", str(out), "--out", str(again), *SMALL, "--epochs", "1"]) == 0
    assert read_description(again).feature_scale == read_description(out).feature_scale > 16
    assert max(float(value) for row in figures(again) for value in row) < 2


def test_a_continued_run_knows_the_size(class_folders: Folders, tmp_path: Path) -> None:
    data, source = class_folders(), trunk(tmp_path / "net.safetensors", 300)
    common = ["--epochs", "2", "--save-every", "0"]
    assert fine_tune(data, source, tmp_path / "whole", *common) == 0
    options = parse(arguments(data, source, tmp_path / "parts", *common))
    with pytest.raises(KeyboardInterrupt):
        train_classifier(options, after_step=stop_at(epoch=0, step=2))
    assert fine_tune(data, source, tmp_path / "parts", "--resume", *common) == 0
    ours, theirs = (load_file(tmp_path / name / "last.safetensors") for name in ("parts", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    scales = [read_description(tmp_path / name).feature_scale for name in ("parts", "whole")]
    assert scales[0] == scales[1] == json.loads((tmp_path / "parts" / "config.json").read_text())["feature_scale"]


def test_the_rate_of_fc6_follows_the_size() -> None:
    model: VGG = build("A", num_classes=3, width=0.04, crop=32)
    recipe = Recipe(learning_rate=0.01, head_learning_rate=0.1, weight_decay=5e-4)
    groups = build_optimizer(model, recipe, 4.0).param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {
        names[id(each)]: (group["rate_factor"], group["weight_decay"]) for group in groups for each in group["params"]
    }
    assert found.pop("fc6.weight") == (1 / 16, 8e-3)
    assert found.pop("fc8.weight") == found.pop("fc8.bias") == (10.0, 5e-4)
    assert set(found.values()) == {(1.0, 5e-4)}
    assert len(found) == len(names) - 3


def test_a_description_holds_a_size() -> None:
    description = build("A", num_classes=3, width=0.04, crop=32).description
    assert ModelDescription.from_json(replace(description, feature_scale=8.0).to_json(), "file").feature_scale == 8
    for wrong in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(UserError, match="feature_scale"):
            replace(description, feature_scale=wrong)
