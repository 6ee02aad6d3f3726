"""The loop: whole-batch gradients whatever the micro-batch and the ranks, exact resumption, faults."""

import os
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forked import Forked, command, run_command
from played_cudnn import any_channels, convolution_by
from safetensors.torch import load_file
from saved import progress_of
from torch.nn import functional as F
from waiting import children_of, exists, read_until, wait_until

from vggnet.backends.gpu_training import FusedVGG
from vggnet.cli import run
from vggnet.errors import Diverged
from vggnet.images import loading
from vggnet.images.augmentation import epoch_order
from vggnet.network.initialization import build
from vggnet.network.vgg import VGG
from vggnet.paper.recipes import Recipe
from vggnet.training.checkpoints import TrainingProgress
from vggnet.training.distributed import World
from vggnet.training.loop import Loop
from vggnet.training.runs import RunFolder
from vggnet.training.saving import Saver
from vggnet.training.tasks import Inputs, LoopSettings

Folders = Callable[..., Path]


class NoiseTask:
    """Ten fixed noise images of three classes; batches straight from memory."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.pixels = torch.randn(10, 3, 32, 32, generator=generator)
        self.labels = torch.arange(10) % 3

    @property
    def images(self) -> int:
        return 10

    def batches(self, epoch: int, batches: list[np.ndarray]) -> Iterator[Inputs]:
        for rows in batches:
            yield Inputs(self.pixels[rows], self.labels[rows], torch.from_numpy(rows))

    def losses(self, outputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return F.cross_entropy(outputs, targets, reduction="none"), outputs.argmax(1) != targets

    def judge(self, model: VGG) -> dict[str, float]:
        return {"error": 50.0}


def small_net(dropout: float = 0.0) -> VGG:
    return build("A", num_classes=3, width=1 / 32, crop=32, dropout=dropout, init="he", seed=3)


def loop_in(
    folder: Path,
    micro_batch: int,
    batch: int = 10,
    epochs: int = 1,
    dropout: float = 0.0,
    form: Callable[[VGG], VGG] = lambda model: model,
) -> Loop:
    folder.mkdir(exist_ok=True)
    recipe = Recipe(batch=batch, epochs=epochs, learning_rate=0.1)
    settings = LoopSettings(seed=5, micro_batch=micro_batch, precision="fp32")
    return Loop(form(small_net(dropout)), recipe, NoiseTask(), RunFolder(folder), World(), settings)


def test_the_first_step_is_plain_sgd_on_the_whole_batch(tmp_path: Path) -> None:
    """Against the update written out: w - lr * (mean gradient + decay * w); momentum is the gradient at step one."""
    loop = loop_in(tmp_path / "run", micro_batch=3)
    reference = small_net()
    task = NoiseTask()
    F.cross_entropy(reference(task.pixels).flatten(1), task.labels).backward()
    loop.run_to_end()
    for (name, ours), theirs in zip(loop.model.named_parameters(), reference.parameters(), strict=True):
        assert theirs.grad is not None
        expected = theirs - 0.1 * (theirs.grad + 5e-4 * theirs)
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6, msg=name)


def test_a_step_by_a_gpus_kernels_changes_rounding_only(tmp_path: Path) -> None:
    """In fp32 and, without a GPU, with cuDNN's operator written out: dropout, momentum and micro-batches included."""

    settings: dict[str, Any] = {"micro_batch": 5, "epochs": 2, "dropout": 0.5}  # momentum from the second step on
    plain = loop_in(tmp_path / "plain", **settings)
    plain.run_to_end()
    fused = loop_in(tmp_path / "fused", form=lambda model: FusedVGG(model, torch.float32), **settings)
    with convolution_by(any_channels):
        fused.run_to_end()
    assert isinstance(fused.form, FusedVGG)
    for (name, ours), theirs in zip(fused.model.named_parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("micro_batch", [1, 4, 10])
def test_the_micro_batch_changes_rounding_only(tmp_path: Path, micro_batch: int) -> None:
    """With dropout, in two steps an epoch."""
    whole = loop_in(tmp_path / "whole", micro_batch=10, batch=6, epochs=3, dropout=0.5)
    parts = loop_in(tmp_path / "parts", micro_batch=micro_batch, batch=6, epochs=3, dropout=0.5)
    whole.run_to_end()
    parts.run_to_end()
    for ours, theirs in zip(parts.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_short_last_batch_weighs_its_images_like_any_other(tmp_path: Path) -> None:
    """10 images in batches of 8: the second batch's two images count 2/8, not as a batch of their own."""
    loop = loop_in(tmp_path / "run", micro_batch=8, batch=8)
    reference, task = small_net(), NoiseTask()
    order = epoch_order(loop.settings.seed, 0, 10)
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    for rows in (order[:8], order[8:]):
        optimizer.zero_grad()
        loss = F.cross_entropy(reference(task.pixels[rows]).flatten(1), task.labels[rows], reduction="sum") / 8
        loss.backward()
        optimizer.step()
    loop.run_to_end()
    for ours, theirs in zip(loop.model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_dropout_follows_from_the_step_and_not_from_the_process(tmp_path: Path) -> None:
    first = loop_in(tmp_path / "first", micro_batch=5, epochs=2, dropout=0.5)
    first.run_to_end()
    torch.manual_seed(99)  # whatever the global generator held
    second = loop_in(tmp_path / "second", micro_batch=5, epochs=2, dropout=0.5)
    second.run_to_end()
    for ours, theirs in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def stored(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor in a run's files."""
    files = sorted(folder.rglob("*.safetensors"))
    return {f"{file} {name}": tensor for file in files for name, tensor in load_file(file).items()}


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda losses: losses * float("nan"), id="loss and gradient"),
        pytest.param(lambda losses: losses + float("inf"), id="loss alone"),
        pytest.param(lambda losses: losses + (losses - losses.detach()).abs().sqrt(), id="gradient alone"),
    ],
)
@pytest.mark.parametrize("bad_step", [0, 3])
def test_an_update_that_is_not_finite_is_never_made(
    tmp_path: Path, spoil: Callable[[torch.Tensor], torch.Tensor], bad_step: int
) -> None:
    """Two steps an epoch: step 0 is the very first one, step 3 the second of the second epoch."""
    loop = loop_in(tmp_path / "run", micro_batch=5, batch=5, epochs=3)
    object.__setattr__(loop.settings, "save_every_s", 0.0)
    before: list[list[torch.Tensor]] = []
    step, losses = loop._step, loop.task.losses

    def remember(inputs: Inputs, number: int) -> None:
        before.append([parameter.detach().clone() for parameter in loop.model.parameters()])
        step(inputs, number)

    def spoilt(outputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        given, wrong = losses(outputs, targets)
        return spoil(given) if len(before) == bad_step + 1 else given, wrong

    loop._step, loop.task.losses = remember, spoilt  # type: ignore[method-assign]
    with pytest.raises(Diverged, match=f"the weights have diverged: .* in epoch {1 + bad_step // 2}; "):
        loop.run_to_end()
    assert len(before) == bad_step + 1
    for ours, theirs in zip(loop.model.parameters(), before[-1], strict=True):
        assert torch.equal(ours, theirs)
    tensors = stored(tmp_path / "run")
    assert len(tensors) > 0 or bad_step == 0
    assert all(bool(tensor.isfinite().all()) for tensor in tensors.values())
    if bad_step:
        assert progress_of(tmp_path / "run").epoch == 1


@pytest.mark.parametrize("figure", ["error", "loss"])
def test_a_held_out_figure_that_is_not_a_number_is_never_the_best(tmp_path: Path, figure: str) -> None:
    loop = loop_in(tmp_path / "run", micro_batch=10, epochs=3)
    judged = iter([{"error": 50.0, "loss": 1.0}, {"error": 0.0, "loss": 0.0} | {figure: float("nan")}])
    loop.task.judge = lambda model: next(judged)  # type: ignore[method-assign]
    with pytest.raises(Diverged, match=f"held-out images the {figure} is not finite in epoch 2; .* epoch 1"):
        loop.run_to_end()
    progress = progress_of(tmp_path / "run")
    assert progress.best["epoch"] == 1
    assert [row["epoch"] for row in progress.rows] == [1]
    last, best = (load_file(tmp_path / "run" / name) for name in ("last.safetensors", "best.safetensors"))
    assert all(torch.equal(last[name], best[name]) for name in last)


def test_a_saved_state_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    """Versions before this one could write such a state."""
    loop = loop_in(tmp_path / "run", micro_batch=10)
    with torch.no_grad():
        loop.model.fc8.weight[0, 0] = float("nan")
    with Saver(loop.run, keep=2) as saver:
        saver.save(loop.model, loop.optimizer, TrainingProgress(epoch=1, rows=[{"epoch": 1.0}]))
    with pytest.raises(Diverged, match=r"fc8\.weight is not finite in the saved state"):
        loop_in(tmp_path / "run", micro_batch=10).restore()


SMALL = ["--net", "A", "--crop", "32", "--width", "0.05", "--batch", "8", "--epochs", "4", "--patience", "9"]
SMALL += ["--workers", "0", "--device", "cpu", "--threads", "1"]


def train(data: Path, out: Path, *more: str, session: bool = False) -> Forked:
    return command("train", data, "--out", out, *SMALL, *more, session=session)


def finish(process: Forked) -> str:
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


@pytest.mark.parametrize("batch_norm", [(), ("--batch-norm",)])
def test_a_run_killed_at_random_moments_and_resumed_ends_with_the_same_weights(
    class_folders: Folders, tmp_path: Path, batch_norm: tuple[str, ...]
) -> None:
    """SIGKILL, again and again, at moments drawn anew each time the test runs; the same bits at the end.

    A failure prints the seed of the moments; VGGNET_TEST_SEED=SEED draws the same ones again.
    """
    seed = int(os.environ.get("VGGNET_TEST_SEED") or secrets.randbits(32))
    print(f"VGGNET_TEST_SEED={seed}")
    moments = np.random.default_rng(seed)
    data = class_folders()
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(train(data, whole, *batch_norm))
    saved_often = ("--save-every", "0.01", "--resume", *batch_norm)
    for _ in range(3):
        process = train(data, killed, *saved_often)
        wait_until(lambda: (killed / "config.json").exists())
        time.sleep(float(moments.uniform(0.0, 0.8)))  # the moment is what is drawn
        process.kill()
        process.communicate()
    output = finish(train(data, killed, *saved_often))
    assert "trained 4 epochs" in output or "finished" in output
    for name in ("last.safetensors", "best.safetensors"):
        ours, theirs = load_file(killed / name), load_file(whole / name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name
    rows = [progress_of(run).rows for run in (whole, killed)]
    figures = [[(row["epoch"], row["train_loss"], row["error"]) for row in each] for each in rows]
    assert figures[0] == figures[1]
    assert len((killed / "metrics.csv").read_text().splitlines()) == 1 + 4


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_schedulers_save_and_say_how_to_go_on(
    class_folders: Folders, tmp_path: Path, workers: str, number: signal.Signals
) -> None:
    """The signal goes to the whole process group, reading processes included, as from a terminal or `timeout`."""
    more = ["--epochs", "500", "--workers", workers]
    process = train(class_folders(), tmp_path / "run", *more, session=True)
    read_until(process.stdout, "epoch 2/")
    os.killpg(process.pid, number)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number], rest
    assert "--resume continues" in rest
    assert "Traceback" not in rest
    progress = progress_of(tmp_path / "run")
    assert progress.epoch >= 2
    assert not progress.finished


def test_one_signal_ends_a_training_whose_reading_process_hangs(class_folders: Folders, tmp_path: Path) -> None:
    """It waits for images that do not come, and yet saves, and leaves no process behind."""
    process = train(class_folders(), tmp_path / "run", "--epochs", "500", "--workers", "1")
    read_until(process.stdout, "epoch 2/")
    readers = children_of(process.pid)
    assert readers
    for reader in readers:
        os.kill(reader, signal.SIGSTOP)
    process.terminate()
    try:
        rest, _ = process.communicate(timeout=60)
    finally:
        left = [reader for reader in readers if exists(reader)]
        for reader in left:
            os.kill(reader, signal.SIGKILL)
        process.kill()
    assert process.returncode == 143, rest
    assert "the state is saved" in rest
    assert left == []
    assert progress_of(tmp_path / "run").epoch >= 2


def test_a_reading_process_that_is_ended_from_outside_is_named_and_replaced(
    class_folders: Folders, tmp_path: Path
) -> None:
    """The training goes on, and ends with the weights of one that was not disturbed."""
    data, more = class_folders(), ["--workers", "1"]
    finish(train(data, tmp_path / "whole", *more))
    process = train(data, tmp_path / "run", *more)
    read_until(process.stdout, "epoch 1/")
    for reader in children_of(process.pid):
        os.kill(reader, signal.SIGKILL)
    rest = finish(process)
    assert "ended from outside: process" in rest
    assert "(ended by SIGKILL)" in rest
    ours, theirs = load_file(tmp_path / "run" / "last.safetensors"), load_file(tmp_path / "whole" / "last.safetensors")
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def train_with_readers_that_end(arguments: list[str]) -> None:
    """Run `vggnet ARGUMENTS` in a process of its own; a reading process ends at each item of epoch 1."""
    read = loading._CropReader.__call__

    def end_in_epoch_1(self: Any, item: Any) -> Any:
        if item[0] == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, item)

    loading._CropReader.__call__ = end_in_epoch_1  # type: ignore[method-assign]
    run_command(arguments)


def test_images_that_end_their_reading_process_twice_stop_a_training_which_is_saved(
    class_folders: Folders, tmp_path: Path
) -> None:
    arguments = ["train", str(class_folders()), "--out", str(tmp_path / "run"), *SMALL, "--workers", "1"]
    process = Forked(train_with_readers_that_end, arguments)
    said, _ = process.communicate()
    assert process.returncode == 1, said
    assert "which reads 8 images, the first of them" in said
    assert "; the second time)" in said
    assert "the state is saved" in said
    assert "Traceback" not in said
    assert progress_of(tmp_path / "run").epoch == 1


@pytest.mark.parametrize("batch_norm", [(), ("--batch-norm",)])
def test_a_rate_at_which_the_loss_overflows_leaves_a_finite_state(
    class_folders: Folders, tmp_path: Path, batch_norm: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """One epoch at a rate that works, then a rate that does not; --resume comes to the same message."""
    out = tmp_path / "run"
    arguments = ["train", str(class_folders()), "--out", str(out), *SMALL, "--save-every", "0", *batch_norm]
    arguments += ["--learning-rate", "1000", "--precision", "fp32"]
    for more in ((), ("--resume",)):
        assert run([*arguments, *more]) == 2
        message = capsys.readouterr().err
        assert "the weights have diverged" in message
        assert "--learning-rate below 1e+03" in message
        tensors = stored(out)
        assert len(tensors) > 0
        assert all(bool(tensor.isfinite().all()) for tensor in tensors.values())


def test_a_second_run_never_overwrites_the_first(class_folders: Folders, tmp_path: Path) -> None:
    data, out = class_folders(), tmp_path / "run"
    finish(train(data, out, "--epochs", "1"))
    before = (out / "last.safetensors").read_bytes()
    second = train(data, out, "--epochs", "1")
    text, _ = second.communicate(timeout=60)
    assert second.returncode == 2
    assert "--resume continues it" in text
    third = train(data, out, "--epochs", "1", "--resume")
    text, _ = third.communicate(timeout=60)
    assert third.returncode == 0
    assert "finished" in text
    other = train(data, out, "--epochs", "2", "--resume")
    text, _ = other.communicate(timeout=60)
    assert other.returncode == 2
    assert "--epochs 1" in text
    assert (out / "last.safetensors").read_bytes() == before


def test_a_resumed_run_needs_neither_its_options_again_nor_the_net_it_started_from(
    class_folders: Folders, tmp_path: Path
) -> None:
    data, shallow, deep = class_folders(), tmp_path / "shallow", tmp_path / "deep"
    finish(train(data, shallow, "--epochs", "1"))
    options = ["--net", "B", "--init-from", str(shallow), "--train-scale", "40", "50", "--save-every", "0.01"]
    process = train(data, deep, *options)
    wait_until(lambda: (deep / "saves" / "000001").exists() or process.poll() is not None)
    assert process.poll() is None
    process.kill()
    process.communicate()
    shutil.rmtree(shallow)
    assert "trained 4 epochs" in finish(train(data, deep, "--net", "B", "--resume"))
