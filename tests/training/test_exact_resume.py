"""A training stopped anywhere and resumed ends with the bits of one that was not."""

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from saved import progress_of
from test_resuming import small
from waiting import wait_until

from vggnet.images.augmentation import epoch_order
from vggnet.options.training import TrainOptions
from vggnet.training.checkpoints import TrainingProgress
from vggnet.training.classification import ClassificationTask, train_classifier
from vggnet.training.distributed import World
from vggnet.training.epoch_results import AfterStep
from vggnet.training.loop import Loop
from vggnet.training.stopping import StopRequested, stop_requests, unless_stopped

Folders = Callable[..., Path]
STEPS = 5  # an epoch: 33 images in batches of 8


def same(one: Path, other: Path) -> None:
    """Assert that last and best weights, buffers included, and the figures of all epochs are the same."""
    for name in ("last.safetensors", "best.safetensors"):
        ours, theirs = load_file(one / name), load_file(other / name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[each], theirs[each]) for each in theirs), name
    kept = ("epoch", "learning_rate", "train_loss", "train_error", "error", "loss")
    rows = [[[row[name] for name in kept] for row in progress_of(run).rows] for run in (one, other)]
    assert rows[0] == rows[1]


def stop_after(steps: int) -> AfterStep:
    """Return what stops a training when it has taken so many steps."""
    taken: list[int] = []

    def stop(progress: TrainingProgress) -> None:
        taken.append(progress.step)
        if len(taken) == steps:
            raise KeyboardInterrupt

    return stop


def stopped_run(options: Callable[..., TrainOptions], out: Path, *steps: int) -> None:
    """Train into `out`, stopped after each of the given numbers of steps, and resume to the end."""
    for count in steps:
        with pytest.raises(KeyboardInterrupt):
            train_classifier(options(out=out, save_every=0.0, resume=True), after_step=stop_after(count))
    train_classifier(options(out=out, save_every=0.0, resume=True))


@pytest.fixture
def options(class_folders: Folders, tmp_path: Path) -> Callable[..., TrainOptions]:
    class_folders()

    def make(**changes: object) -> TrainOptions:
        return small(tmp_path, **changes)

    return make


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((STEPS,), id="before the held-out evaluation"),
        pytest.param((1, 2), id="twice in one epoch"),
        pytest.param((STEPS + 3,), id="in the second epoch"),
    ],
)
def test_a_stopped_run_ends_with_the_same_bits(
    options: Callable[..., TrainOptions], tmp_path: Path, steps: tuple[int, ...]
) -> None:
    train_classifier(options(out=tmp_path / "whole"))
    stopped_run(options, tmp_path / "run", *steps)
    same(tmp_path / "run", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_every_step_can_be_the_last_before_a_stop(
    options: Callable[..., TrainOptions],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
    precision: str,
    batch_norm: bool,
) -> None:
    """Two epochs of five steps, stopped after each of them in turn. A CPU without bf16 computes it by emulation."""
    monkeypatch.setattr("vggnet.hardware.cpu_has_bf16", lambda: True)
    setting = {"workers": workers, "precision": precision, "batch_norm": batch_norm}
    train_classifier(options(out=tmp_path / "whole", **setting))
    for step in range(1, 2 * STEPS + 1):
        stopped_run(lambda **more: options(**setting, **more), tmp_path / "run", step)
        same(tmp_path / "run", tmp_path / "whole")
        shutil.rmtree(tmp_path / "run")


ON_RANKS = """
import os, sys
from pathlib import Path
sys.path[:0] = sys.argv[4].split(os.pathsep)
import vggnet.hardware
from test_resuming import small
from vggnet.training.classification import train_classifier
from vggnet.training.distributed import join_world
from vggnet.training.loop import Loop
vggnet.hardware.cpu_has_bf16 = lambda: True
root, steps, setting = Path(sys.argv[1]), int(sys.argv[2]), eval(sys.argv[3])
real, left = Loop._step, [0]

def step(self, inputs, number):
    if left[0] == 0:
        raise KeyboardInterrupt
    left[0] -= 1
    real(self, inputs, number)

Loop._step = step
with join_world("cpu"):
    left[0] = -1
    train_classifier(small(root, out=root / "whole", **setting))
    for count in range(steps):
        for left[0] in (count, -1):
            try:
                train_classifier(small(root, out=root / f"run{count}", save_every=0.0, resume=True, **setting))
            except KeyboardInterrupt:
                pass
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_every_step_can_be_the_last_before_a_stop_of_two_ranks(
    options: Callable[..., TrainOptions], tmp_path: Path, workers: int, precision: str, batch_norm: bool
) -> None:
    """Both ranks stop after each of two epochs' ten steps in turn, and go on: the bits of two ranks undisturbed."""
    (tmp_path / "on_ranks.py").write_text(ON_RANKS)
    setting = repr({"workers": workers, "precision": precision, "batch_norm": batch_norm})
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = [str(tmp_path / "on_ranks.py"), str(tmp_path), str(2 * STEPS), setting, os.pathsep.join(sys.path)]
    done = subprocess.run([*launch, *arguments], capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert len(re.findall("continuing in epoch", done.stdout)) >= 2 * STEPS - 2  # nothing was saved before the first
    for count in range(2 * STEPS):
        same(tmp_path / f"run{count}", tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_stopped_in_the_held_out_evaluation_judges_again(
    options: Callable[..., TrainOptions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    train_classifier(options(out=tmp_path / "whole"))
    real = ClassificationTask.judge

    def judge(self: ClassificationTask, model: object) -> dict[str, float]:
        os.kill(os.getpid(), number)
        time.sleep(5)  # the handler interrupts it
        return real(self, model)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(ClassificationTask, "judge", judge)
        with pytest.raises(Exception, match="the state is saved") as stopped:
            train_classifier(options(out=tmp_path / "run"))
    assert getattr(stopped.value, "status", None) == 128 + number
    progress = progress_of(tmp_path / "run")
    assert (progress.epoch, progress.step) == (0, STEPS)
    train_classifier(options(out=tmp_path / "run", resume=True))
    same(tmp_path / "run", tmp_path / "whole")


def test_the_state_is_saved_before_a_held_out_evaluation_that_would_outlast_the_interval(
    options: Callable[..., TrainOptions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill in the evaluation then loses nothing. The evaluation before took an hour."""
    seen: list[int] = []
    judge, run_epoch = ClassificationTask.judge, Loop._run_epoch

    def look(self: ClassificationTask, model: object) -> dict[str, float]:
        wait_until(lambda: (tmp_path / "run" / "saves" / "000001").exists())
        seen.append(progress_of(tmp_path / "run").step)
        return judge(self, model)  # type: ignore[arg-type]

    def after_an_hour(self: Loop, stop: object) -> tuple[float, float]:
        self._judging_s = 3600.0
        return run_epoch(self, stop)  # type: ignore[arg-type]

    monkeypatch.setattr(ClassificationTask, "judge", look)
    monkeypatch.setattr(Loop, "_run_epoch", after_an_hour)
    train_classifier(options(out=tmp_path / "run", epochs=1))
    assert seen == [STEPS]


def test_a_request_in_the_evaluation_of_one_rank_stops_all() -> None:
    """The signal interrupts what a rank computes; a rank without a signal learns of it from the sum over the ranks."""

    def scoring() -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)  # the handler interrupts it
        return "scores"

    asked, told = (SimpleNamespace(size=2, total=lambda values, more=more: [values[0] + more]) for more in (0, 1))
    with stop_requests(alone=False) as requests:
        with pytest.raises(StopRequested):
            unless_stopped(told, lambda: "scores")  # type: ignore[arg-type]
        assert unless_stopped(asked, lambda: "scores") == "scores"  # type: ignore[arg-type]
        begin = time.monotonic()
        with pytest.raises(StopRequested):
            unless_stopped(asked, scoring)  # type: ignore[arg-type]
        assert time.monotonic() - begin < 4
        assert requests.terminated


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_any_number_of_ranks_has_the_same_images_in_the_same_global_batches(size: int) -> None:
    """Whatever the number of ranks, the union of their parts is the batch that one process has."""
    order = epoch_order(3, 7, 101)
    for start in range(0, 101, 16):
        batch = order[start : start + 16]
        parts = [World(rank, size).share(batch) for rank in range(size)]
        assert sorted(np.concatenate(parts)) == sorted(batch)


SERVER = """
import os, signal, sys, time
import numpy as np
from pathlib import Path
sys.path[:0] = sys.argv[4].split(os.pathsep)
from test_resuming import small
from vggnet.training.classification import train_classifier
import torch.utils.tensorboard
root, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
moments = np.random.default_rng(seed)

def attempt(limit):
    child = os.fork()
    if child == 0:
        log = os.open(root / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1); os.dup2(log, 2)
        try:
            train_classifier(small(root, out=root / "run", save_every=0.0, resume=True, epochs=12))
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    if limit is not None:
        time.sleep(limit)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]

killed = 0
while killed < kills:
    status = attempt(float(moments.uniform(0.0, 0.8)))
    killed += os.WIFSIGNALED(status)
    if not os.WIFSIGNALED(status):
        assert status == 0, status
        import shutil
        shutil.rmtree(root / "run")  # it has come to the end: begin anew
assert attempt(None) == 0
print(killed)
"""


@pytest.fixture
def seed() -> int:
    """VGGNET_TEST_SEED, or a new one, which a failure prints."""
    drawn = int(os.environ.get("VGGNET_TEST_SEED") or secrets.randbits(32))
    print(f"VGGNET_TEST_SEED={drawn}")
    return drawn


@pytest.mark.slow
def test_a_hundred_kills_at_random_moments_lose_nothing(
    options: Callable[..., TrainOptions], tmp_path: Path, seed: int
) -> None:
    """12 epochs of 5 steps, saved after every step, so that about every second kill falls into a save."""
    train_classifier(options(out=tmp_path / "whole", epochs=12))
    command = [sys.executable, "-c", SERVER, str(tmp_path), "100", str(seed), os.pathsep.join(sys.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr + (tmp_path / "log").read_text()[-2000:]
    assert done.stdout.split()[-1] == "100"
    same(tmp_path / "run", tmp_path / "whole")
