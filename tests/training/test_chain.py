"""Trainings that start from another's weights: their draws go on where the other's ended, and repeat none."""

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_resuming import stop_at
from torch.nn import functional as F

from vggnet.cli import parse, run
from vggnet.description import ModelDescription
from vggnet.errors import UserError
from vggnet.images.augmentation import Augmentation
from vggnet.images.loading import TrainingLoader
from vggnet.network.initialization import build
from vggnet.network.vgg import VGG
from vggnet.network.weights import load_model, read_description
from vggnet.paper.recipes import Recipe
from vggnet.training.classification import train_classifier
from vggnet.training.distributed import World
from vggnet.training.loop import Loop
from vggnet.training.runs import RunFolder
from vggnet.training.tasks import Inputs, LoopSettings

Folders = Callable[..., Path]
SMALL = ["--crop", "32", "--width", "0.05", "--batch", "16", "--workers", "0", "--device", "cpu", "--threads", "1"]


class Remembering:
    """Six images; remembers which epoch's draws were asked for, the order, and what dropout let through."""

    images = 6

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.orders: list[tuple[int, ...]] = []
        self.outputs: list[torch.Tensor] = []

    def batches(self, epoch: int, batches: list[np.ndarray]) -> Iterator[Inputs]:
        self.epochs.append(epoch)
        self.orders.append(tuple(int(index) for rows in batches for index in rows))
        for rows in batches:
            yield Inputs(torch.ones(len(rows), 3, 32, 32), torch.zeros(len(rows), dtype=torch.long), torch.tensor(rows))

    def losses(self, outputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.outputs.append(outputs.detach())
        return F.cross_entropy(outputs, targets, reduction="none"), outputs.argmax(1) != targets

    def judge(self, model: VGG) -> dict[str, float]:
        return {"error": 50.0 + len(self.epochs)}  # the first epoch is the best


def trained(folder: Path, epochs: int, before: int) -> tuple[Remembering, Loop]:
    """At a rate that changes no weight, so that what differs is dropout's."""
    folder.mkdir()
    task, model = Remembering(), build("A", num_classes=3, width=1 / 32, crop=32, dropout=0.5, init="he")
    model.description = replace(model.description, epochs_seen=before)
    settings = LoopSettings(3, 6, "fp32", epochs_before=before)
    recipe = Recipe(batch=6, epochs=epochs, learning_rate=1e-30, latest_drops=())
    loop = Loop(model, recipe, task, RunFolder(folder), World(), settings)  # type: ignore[arg-type]
    loop.run_to_end()
    return task, loop


def test_two_stages_draw_what_one_long_training_draws(tmp_path: Path) -> None:
    whole, _ = trained(tmp_path / "whole", 5, 0)
    first, _ = trained(tmp_path / "first", 2, 0)
    second, _ = trained(tmp_path / "second", 3, 2)
    assert whole.epochs == first.epochs + second.epochs == [0, 1, 2, 3, 4]
    assert whole.orders == first.orders + second.orders
    assert len(set(whole.orders)) == 5
    for ours, theirs in zip(first.outputs + second.outputs, whole.outputs, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not torch.allclose(whole.outputs[0], whole.outputs[2])


def test_weights_know_the_epochs_behind_them(tmp_path: Path) -> None:
    _, loop = trained(tmp_path / "run", 3, 20)
    assert read_description(loop.run.last).epochs_seen == 23
    assert read_description(loop.run.best).epochs_seen == 21


def test_a_description_holds_a_number_of_epochs() -> None:
    description = build("A", num_classes=3, width=0.04, crop=32).description
    assert description.epochs_seen == 0
    text = replace(description, epochs_seen=7).to_json()
    assert ModelDescription.from_json(text, "file").epochs_seen == 7
    older = json.loads(text)
    del older["epochs_seen"]
    assert ModelDescription.from_json(json.dumps(older), "file").epochs_seen == 0
    with pytest.raises(UserError, match="epochs_seen"):
        replace(description, epochs_seen=-1)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The epochs that crops were asked of."""
    epochs: list[int] = []
    view = Augmentation.view

    def remember(self: Augmentation, epoch: int, *more: int) -> object:
        if epoch not in epochs[-1:]:
            epochs.append(epoch)
        return view(self, epoch, *more)

    monkeypatch.setattr(Augmentation, "view", remember)
    assert TrainingLoader  # which calls it in this process, with --workers 0
    return epochs


def test_each_stage_of_a_ladder_goes_on(class_folders: Folders, tmp_path: Path, asked: list[int]) -> None:
    arguments = ["ladder", str(class_folders()), "--out", str(tmp_path / "ladder"), *SMALL, "--epochs", "2"]
    assert run([*arguments, "--nets", "B"]) == 0
    stages = sorted((tmp_path / "ladder").glob("*/config.json"), key=lambda file: file.stat().st_mtime_ns)
    before = [json.loads(file.read_text())["epochs_before"] for file in stages]
    seen = [read_description(file.parent / "best.safetensors").epochs_seen for file in stages]
    assert before == [0, *seen[:-1]]
    drawn = [epoch for each in before for epoch in (each, each + 1)]  # a stage begins with the best epoch's weights
    assert asked == [epoch for epoch, _ in itertools.groupby(drawn)]
    assert before[1] > 0


def test_a_resumed_stage_takes_the_very_steps_of_one_that_was_not_stopped(
    class_folders: Folders, tmp_path: Path
) -> None:
    """The source is gone by then: where the stage stands is in its own run."""
    data, source = str(class_folders()), tmp_path / "source"
    assert run(["train", data, "--net", "A", "--out", str(source), *SMALL, "--epochs", "2"]) == 0
    shutil.copy(source / "last.safetensors", tmp_path / "net.safetensors")
    common = ["--net", "B", *SMALL, "--epochs", "3", "--save-every", "0"]
    more = ["--init-from", str(tmp_path / "net.safetensors"), *common]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(["train", data, "--out", str(whole), *more]) == 0
    with pytest.raises(KeyboardInterrupt):
        train_classifier(parse(["train", data, "--out", str(parts), *more]), after_step=stop_at(epoch=1, step=1))
    (tmp_path / "net.safetensors").unlink()
    assert run(["train", data, "--out", str(parts), "--resume", *common]) == 0
    ours, theirs = load_file(parts / "last.safetensors"), load_file(whole / "last.safetensors")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert load_model(parts / "last.safetensors").description.epochs_seen == 5
