"""Faults that a training survives or stops at: numbers that are not finite, memory that does not suffice."""

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from saved import progress_of, save_of
from test_loop import NoiseTask, loop_in
from test_resuming import small

from vggnet.cli import run
from vggnet.errors import Diverged, UserError
from vggnet.images.augmentation import epoch_order
from vggnet.network.initialization import build
from vggnet.options.training import TrainOptions
from vggnet.paper.recipes import Recipe
from vggnet.training import diagnosing
from vggnet.training.classification import ClassificationTask, train_classifier
from vggnet.training.distributed import World
from vggnet.training.gradients import Gradients
from vggnet.training.loop import Loop
from vggnet.training.replay import read_replay
from vggnet.training.runs import RunFolder
from vggnet.training.tasks import Inputs, LoopSettings

Folders = Callable[..., Path]


def spoiled(loop: Loop, *steps: int, task: type = NoiseTask) -> Loop:
    """Make the loss infinite at the given steps, counted over all that the loop takes."""
    object.__setattr__(loop.settings, "on_divergence", "lower-rate")
    object.__setattr__(loop.settings, "save_every_s", 0.0)
    taken: list[int] = []
    step, losses = loop._step, loop.task.losses

    def count(inputs: Inputs, number: int) -> None:
        taken.append(number)
        step(inputs, number)

    def spoil(outputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        given, wrong = losses(outputs, targets)
        return given * (float("inf") if len(taken) - 1 in steps else 1.0), wrong

    loop._step, loop.task.losses = count, spoil  # type: ignore[method-assign]
    return loop


@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_training_that_diverges_goes_back_to_the_last_save_and_on_at_a_tenth_of_the_rate(
    tmp_path: Path, at: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two steps an epoch, saved after each: the same as a training whose rate is divided before step `at`."""
    loop = spoiled(loop_in(tmp_path / "run", micro_batch=5, batch=5, epochs=3, dropout=0.5), at)
    loop.run_to_end()
    assert "learning rate now 0.01" in capsys.readouterr().out
    expected = loop_in(tmp_path / "expected", micro_batch=5, batch=5, epochs=3, dropout=0.5)
    step = expected._step

    def lower(inputs: Inputs, number: int) -> None:
        if 2 * expected.progress.epoch + number == at:
            expected.schedule.lowered = 1
        step(inputs, number)

    expected._step = lower  # type: ignore[method-assign]
    expected.run_to_end()
    for ours, theirs in zip(loop.model.parameters(), expected.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert progress_of(tmp_path / "run").schedule.lowered == 1


def test_a_training_that_keeps_diverging_ends_after_three_divisions(tmp_path: Path) -> None:
    loop = spoiled(loop_in(tmp_path / "run", micro_batch=5, batch=5, epochs=3), *range(2, 99))
    with pytest.raises(Diverged):
        loop.run_to_end()
    progress = progress_of(tmp_path / "run")
    assert progress.schedule.lowered == 3
    assert (progress.epoch, progress.step) == (1, 0)


def test_the_batch_that_diverged_is_written_down_and_diagnosed(
    class_folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The third batch has an infinite loss for one image: `diagnose` sees the same pixels, weights and images.

    The JPEGs are twice as large as S, so the run's decoder reduces them, and `diagnose` has to do the same.
    """
    class_folders(side=80)
    seen: list[torch.Tensor] = []
    losses, step = ClassificationTask.losses, Loop._step

    def remember(self: Loop, inputs: Inputs, number: int) -> None:
        seen.append(inputs.images.clone())
        step(self, inputs, number)

    def spoil(self: ClassificationTask, *given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found, wrong = losses(self, *given)
        return found * (float("inf") if len(seen) == 3 else 1.0), wrong

    monkeypatch.setattr(ClassificationTask, "losses", spoil)
    monkeypatch.setattr(Loop, "_step", remember)
    with pytest.raises(Diverged, match=r"`vggnet diagnose .*run/diverged\.json` shows its batch"):
        train_classifier(small(tmp_path, save_every=0.0, decoder="scaled"))
    replay = read_replay(tmp_path / "run" / "diverged.json")
    images = json.loads((tmp_path / "run" / "config.json").read_text())["train_images"]
    assert replay.indices == epoch_order(0, 0, images)[16:24].tolist()
    assert (replay.place.epoch, replay.place.step, len(set(replay.images))) == (0, 2, 8)

    shown: list[torch.Tensor] = []
    real = diagnosing._losses

    def infinite(model: object, images: torch.Tensor, *more: object) -> torch.Tensor:
        shown.append(images)
        found = real(model, images, *more)  # type: ignore[arg-type]
        found[3] = float("inf")
        return found

    monkeypatch.setattr(diagnosing, "_losses", infinite)
    assert run(["diagnose", str(tmp_path / "run" / "diverged.json"), "--images", "4", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert torch.equal(shown[0], seen[2])
    assert f"images whose loss is not finite: '{replay.images[3]}'" in said
    assert "batch 3 of epoch 1" in said
    (tmp_path / "images" / replay.images[0]).unlink()
    assert run(["diagnose", str(tmp_path / "run" / "diverged.json")]) == 2
    assert replay.images[0] in capsys.readouterr().err
    (tmp_path / "run" / "diverged.json").write_text("{}")
    with pytest.raises(UserError, match=r"diverged\.json: not the batch of a training that diverged"):
        read_replay(tmp_path / "run" / "diverged.json")


def too_large(monkeypatch: pytest.MonkeyPatch, images: int) -> list[int]:
    """Let a pass of more than `images` images fail for lack of memory, after it has changed the sums; the sizes."""
    real, sizes = Gradients._accumulate, []

    def accumulate(self: Gradients, given: torch.Tensor, *more: torch.Tensor) -> None:
        sizes.append(len(given))
        real(self, given, *more)
        if len(given) > images:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Gradients, "_accumulate", accumulate)
    return sizes


def test_out_of_memory_halves_the_micro_batch_and_changes_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """10 images at once fail, and 5; 3 fit: weights, buffers and loss are those of a micro-batch of 3."""
    expected = loop_in(tmp_path / "expected", micro_batch=3, epochs=2, dropout=0.5)
    expected.run_to_end()
    with monkeypatch.context() as patch:
        sizes = too_large(patch, 3)
        loop = loop_in(tmp_path / "run", micro_batch=10, epochs=2, dropout=0.5)
        loop.run_to_end()
    assert sizes[:2] == [10, 5]
    assert max(sizes[2:]) == 3
    for ours, theirs in zip(loop.model.state_dict().values(), expected.model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    rows = [progress_of(tmp_path / name).rows[0]["train_loss"] for name in ("run", "expected")]
    assert rows[0] == rows[1]
    assert "the micro-batch is now 3 images, the batch as before" in capsys.readouterr().err


def train_as_rank(rank: int, folder: Path, micro_batch: int, fitting: dict[int, int]) -> None:
    """Train two epochs as one of two ranks; a pass of more than fitting[rank] images has no memory."""
    store = dist.FileStore(str(folder / "store"), 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    world = World(rank, 2, control=dist.new_group(backend="gloo"))
    net = build("A", num_classes=3, width=1 / 32, crop=32, dropout=0.5, batch_norm=True, init="he", seed=3)
    settings = LoopSettings(seed=5, micro_batch=micro_batch, precision="fp32")
    run = RunFolder(folder / f"rank{rank}")
    run.path.mkdir()
    (run.path / "config.json").write_text("{}")
    with pytest.MonkeyPatch.context() as patch:
        if rank in fitting:
            too_large(patch, fitting[rank])
        loop = Loop(net, Recipe(batch=10, epochs=2, learning_rate=0.1), NoiseTask(), run, world, settings)
        loop.run_to_end()
    save_file({name: each.contiguous() for name, each in net.state_dict().items()}, folder / f"{rank}.safetensors")
    dist.destroy_process_group()


@pytest.mark.slow
def test_several_ranks_halve_the_micro_batch_together(tmp_path: Path) -> None:
    """Five images a rank do not fit on the second one: the weights are those of two ranks with a micro-batch of 3."""
    context = multiprocessing.get_context("fork")
    for name, micro_batch, fitting in (("expected", 3, {}), ("run", 5, {1: 3})):
        (tmp_path / name).mkdir()
        ranks = [
            context.Process(target=train_as_rank, args=(rank, tmp_path / name, micro_batch, fitting)) for rank in (0, 1)
        ]
        for rank in ranks:
            rank.start()
        for rank in ranks:
            rank.join(120)
        assert [rank.exitcode for rank in ranks] == [0, 0]
    for rank in (0, 1):
        ours, theirs = (load_file(tmp_path / name / f"{rank}.safetensors") for name in ("run", "expected"))
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    configs = [json.loads((tmp_path / "run" / f"rank{rank}" / "config.json").read_text()) for rank in (0, 1)]
    assert configs == [{"micro_batch_fitting": 3}, {}]


def test_one_image_that_does_not_fit_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    too_large(monkeypatch, 0)
    with pytest.raises(torch.OutOfMemoryError):
        loop_in(tmp_path / "run", micro_batch=4).run_to_end()


def test_the_smaller_micro_batch_is_remembered(
    class_folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class_folders()
    options: TrainOptions = small(tmp_path, micro_batch=8, epochs=1)
    with monkeypatch.context() as patch:
        too_large(patch, 4)
        train_classifier(options)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["micro_batch"], config["micro_batch_fitting"]) == (8, 4)
    assert save_of(tmp_path / "run").facts["finished"]
    assert train_classifier(small(tmp_path, micro_batch=8, epochs=1, resume=True)).epochs == 1
    assert np.isfinite(progress_of(tmp_path / "run").rows[0]["train_loss"])
