"""What a training takes from the net that it starts from, and the defaults of a new last layer."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import random_net, save_random_net

from vggnet.cli import run
from vggnet.description import Preprocessing
from vggnet.errors import UserError
from vggnet.network.weights import load_model, save_model
from vggnet.options.training import TrainOptions
from vggnet.training.classification import train_classifier
from vggnet.training.fine_tuning import FINE_TUNING, HEAD_FACTOR, RATE_WITH_BATCH_NORM, RATE_WITHOUT
from vggnet.training.plan import Resolved, resolve_training

Folders = Callable[..., Path]
OTHERS = ("cat", "dog", "eel", "fox")


def resolved(data: Path, source: Path | None, **given: Any) -> Resolved[TrainOptions]:
    return resolve_training(TrainOptions(str(data), init_from=source, **given))


def test_net_width_crop_and_batch_normalisation_are_those_of_the_source(class_folders: Folders, tmp_path: Path) -> None:
    source = tmp_path / "b.safetensors"
    save_random_net(source, OTHERS, net="B", width=0.05, crop=64, batch_norm=True)
    plan = resolved(class_folders(), source)
    assert plan.architecture == dataclasses.replace(load_model(source).architecture, outputs=1)
    assert plan.out == Path("runs/images-B")
    assert plan.options.new_head is True


def test_a_new_last_layer_has_the_measured_recipe_and_ten_times_the_rate(
    class_folders: Folders, tmp_path: Path
) -> None:
    save_random_net(tmp_path / "a.safetensors", OTHERS)
    data = class_folders()
    recipe = resolved(data, tmp_path / "a.safetensors").recipe
    assert {name: getattr(recipe, name) for name in FINE_TUNING} == FINE_TUNING
    assert recipe.learning_rate == RATE_WITHOUT
    assert recipe.head_learning_rate == pytest.approx(HEAD_FACTOR * recipe.learning_rate)
    save_random_net(tmp_path / "normalised.safetensors", OTHERS, batch_norm=True)
    assert resolved(data, tmp_path / "normalised.safetensors").recipe.learning_rate == RATE_WITH_BATCH_NORM
    given = {"learning_rate": 0.002, "epochs": 3, "batch": 7, "patience": 2}
    recipe = resolved(data, tmp_path / "a.safetensors", **given).recipe
    assert {name: getattr(recipe, name) for name in given} == given
    assert recipe.head_learning_rate == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("classes", "given", "new_head", "rate"),
    [
        (("class2", "class0", "class1"), {}, False, 0.001),  # the same classes in another order
        (("class0", "class1", "other"), {}, True, RATE_WITHOUT),
        (OTHERS, {}, True, RATE_WITHOUT),
        (("class0", "class1", "class2"), {"new_head": True}, True, RATE_WITHOUT),
        (("class0", "class1", "class2"), {"net": "D"}, False, 0.01),  # from a shallower net: trained as from scratch
        (OTHERS, {"net": "D"}, True, 0.01),
    ],
)
def test_the_classes_decide_on_a_new_last_layer(
    class_folders: Folders, tmp_path: Path, classes: tuple[str, ...], given: dict[str, Any], new_head: bool, rate: float
) -> None:
    save_random_net(tmp_path / "a.safetensors", classes)
    plan = resolved(class_folders(classes=3), tmp_path / "a.safetensors", **given)
    assert (plan.options.new_head, plan.recipe.learning_rate) == (new_head, rate)
    fine = new_head and "net" not in given
    assert (plan.recipe.epochs, plan.recipe.batch) == (
        (FINE_TUNING["epochs"], FINE_TUNING["batch"]) if fine else (74, 256)
    )
    assert (plan.recipe.head_learning_rate is not None) == fine


def test_the_command_without_options_fine_tunes_and_says_what_is_new(
    class_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "a.safetensors", tmp_path / "run"
    given = save_random_net(source, OTHERS)
    data = str(class_folders(classes=3))
    common = ["--epochs", "2", "--threads", "1", "--workers", "0", "--out", str(out)]
    assert run(["train", data, "--init-from", str(source), *common]) == 0
    printed = capsys.readouterr().out
    assert "head      fc8 is new: images has 3 classes, other ones than the 4 of the source net" in printed
    assert "learning rate 0.003 (last layer 0.03)" in printed
    model = load_model(out)
    assert model.description.classes == ("class0", "class1", "class2")
    moved = (model.conv1_1.weight - given.conv1_1.weight).abs().max()
    assert 0 < moved < 0.05  # the trunk goes on from the source's weights
    # the same command continues, also when the source has gone
    source.unlink()
    assert run(["train", data, "--init-from", str(source), *common, "--resume"]) == 0


def test_no_new_head_with_other_classes_is_refused(class_folders: Folders, tmp_path: Path) -> None:
    save_random_net(tmp_path / "a.safetensors", OTHERS)
    data = str(class_folders(classes=3))
    options = ["--init-from", str(tmp_path / "a.safetensors"), "--no-new-head", "--out", str(tmp_path / "run")]
    assert run(["train", data, *options]) == 2
    assert not (tmp_path / "run").exists()


def test_a_wider_net_than_the_source_is_refused_with_both_shapes(class_folders: Folders, tmp_path: Path) -> None:
    save_random_net(tmp_path / "a.safetensors", OTHERS, width=0.04)
    options = TrainOptions(str(class_folders()), init_from=tmp_path / "a.safetensors", width=0.08, out=tmp_path / "run")
    with pytest.raises(UserError, match=r"`width` 0\.04"):
        train_classifier(options)


def test_dividing_the_pixels_of_a_net_that_expects_them_undivided_is_refused(
    class_folders: Folders, tmp_path: Path
) -> None:
    source = random_net(OTHERS)
    undivided = Preprocessing((100.0, 110.0, 120.0))
    source.description = dataclasses.replace(source.description, preprocessing=undivided)
    save_model(tmp_path / "a.safetensors", source)
    options = TrainOptions(
        str(class_folders()), init_from=tmp_path / "a.safetensors", divide=True, out=tmp_path / "run"
    )
    with pytest.raises(UserError, match="`divide`: the net of `init_from` expects pixels minus the mean only"):
        train_classifier(options)
    assert not (tmp_path / "run").exists()


def test_switches_are_on_and_off_on_the_command_line(class_folders: Folders, tmp_path: Path) -> None:
    data = str(class_folders(classes=2))
    small = ["--net", "A", "--width", "0.03", "--crop", "32", "--epochs", "1", "--batch", "8", "--threads", "1"]
    for flag, normalised in (("--batch-norm", True), ("--no-batch-norm", False)):
        out = tmp_path / flag
        assert run(["train", data, *small, "--workers", "0", flag, "--out", str(out)]) == 0
        assert load_model(out).architecture.batch_norm is normalised
        assert any(isinstance(each, torch.nn.BatchNorm2d) for each in load_model(out).modules()) is normalised
