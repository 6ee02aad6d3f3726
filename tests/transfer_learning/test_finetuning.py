"""Fine-tuning: some or all layers of a trained net, a rate of its own for a new head, the source's preprocessing."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vggnet.description import Preprocessing
from vggnet.errors import UserError
from vggnet.network.initialization import build
from vggnet.network.pretrained import save_pretrained
from vggnet.network.vgg import without_head
from vggnet.network.weights import load_model
from vggnet.options.flat import changed
from vggnet.options.training import TrainOptions
from vggnet.paper.recipes import Recipe
from vggnet.training.checkpoints import TrainingProgress
from vggnet.training.classification import train_classifier
from vggnet.training.optimization import build_optimizer

TINY = Preprocessing((120.0, 110.0, 100.0), (60.0, 55.0, 50.0))


def source(folder: Path, small_net: Callable, trunk: bool = False, **options) -> Path:
    model = small_net("A", **options)
    model.description = dataclasses.replace(model.description, preprocessing=TINY)
    return save_pretrained(without_head(model) if trunk else model, folder)


def options(data: Path, model: Path, out: Path, **more) -> TrainOptions:
    small = {"net": "A", "width": 1 / 16, "crop": 64, "epochs": 1, "batch": 16, "workers": 0, "device": "cpu"}
    given = TrainOptions(data=str(data), init_from=model, out=out, new_head=True)
    return changed(given, **small | more)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_only_the_layers_asked_for_change(
    small_net: Callable, colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], batch_norm: bool
) -> None:
    model = source(tmp_path / "model", small_net, batch_norm=batch_norm)
    more = {"batch_norm": batch_norm, "train_from": "conv5_1", "head_learning_rate": 0.05}
    result = train_classifier(options(colours, model, tmp_path / "run", **more))
    before, after = load_model(model).state_dict(), load_model(result.run).state_dict()
    for name, tensor in after.items():
        trains = name.split(".")[0][4:] >= "5_1" or name.startswith("fc")
        same = before[name].shape == tensor.shape and torch.equal(before[name], tensor)
        assert same != trains or name.endswith("num_batches_tracked"), name
    said = capsys.readouterr().out
    assert "trained   from conv5_1 on" in said
    assert "input     as of the source net: mean 120.0 110.0 100.0, deviation 60.0 55.0 50.0" in said
    assert load_model(result.run).description.preprocessing == TINY
    assert load_model(result.run).description.classes == ("blue", "green", "red", "white")


def test_a_resumed_run_keeps_layers_frozen_and_the_sources_preprocessing(
    small_net: Callable, colours: Path, tmp_path: Path
) -> None:
    model = source(tmp_path / "model", small_net)
    more = {"train_from": "fc8", "epochs": 2}
    train_classifier(options(colours, model, tmp_path / "whole", **more))

    def stop(run: Path, progress: TrainingProgress, epochs: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_classifier(options(colours, model, tmp_path / "part", **more), after_epoch=stop)
    (model / "model.safetensors").unlink()  # a continued run needs its source no more
    start = options(colours, model, tmp_path / "part", **more)
    train_classifier(dataclasses.replace(start, resume=True, init_from=None, new_head=True))
    whole, part = (load_model(tmp_path / name) for name in ("whole", "part"))
    assert part.description.preprocessing == TINY
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, part.state_dict()[name]), name


def test_a_trunk_gets_a_new_head(small_net: Callable, colours: Path, tmp_path: Path) -> None:
    model = source(tmp_path / "model", small_net, trunk=True)
    result = train_classifier(options(colours, model, tmp_path / "run", train_from="fc6"))
    trained = load_model(result.run)
    assert torch.equal(trained.conv1_1.weight, load_model(model).conv1_1.weight)
    assert not trained.architecture.convolutions_only


def test_the_heads_rate_is_a_group_of_its_own() -> None:
    model = build("A", num_classes=3, width=1 / 16, crop=64).freeze_before("fc7")
    optimizer = build_optimizer(model, Recipe(learning_rate=0.001, head_learning_rate=0.01))
    head, others = optimizer.param_groups
    assert head["rate_factor"] == pytest.approx(10)
    assert {id(each) for each in head["params"]} == {id(model.fc8.weight), id(model.fc8.bias)}
    assert {id(each) for each in others["params"]} == {id(model.fc7.weight), id(model.fc7.bias)}
    assert len(build_optimizer(model, Recipe()).param_groups) == 1


def test_frozen_norms_stay_in_evaluation_mode() -> None:
    model = build("A", num_classes=3, width=1 / 16, crop=64, batch_norm=True).freeze_before("conv3_1").train()
    modes = {name: module.training for name, module in model.named_modules() if name.startswith("norm")}
    assert [name for name, training in modes.items() if not training] == ["norm1_1", "norm2_1"]


def test_mistakes_are_said(small_net: Callable, colours: Path, tmp_path: Path) -> None:
    model = source(tmp_path / "model", small_net)
    with pytest.raises(UserError, match="net A has no layer 'conv9_9' to train from"):
        train_classifier(options(colours, model, tmp_path / "a", train_from="conv9_9"))
    with pytest.raises(UserError, match="give `init_from`, too"):
        train_classifier(dataclasses.replace(options(colours, model, tmp_path / "b", train_from="fc8"), init_from=None))
    with pytest.raises(UserError, match="`new_head` puts a new last layer on a trained net"):
        train_classifier(dataclasses.replace(options(colours, model, tmp_path / "c"), init_from=None))
    trunk = source(tmp_path / "trunk", small_net, trunk=True)
    with pytest.raises(UserError, match=r"would keep fc6 as it was drawn.*give `train_from` fc6"):
        train_classifier(options(colours, trunk, tmp_path / "d", train_from="fc8"))
    with pytest.raises(UserError, match="`head_learning_rate` -1: must be above 0"):
        Recipe(head_learning_rate=-1)
