"""Two gloo processes under torchrun against one process: the same images, the same gradient to rounding."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from vggnet.errors import UserError
from vggnet.hardware import choose_device, choose_precision
from vggnet.training import distributed
from vggnet.training.distributed import World, join_world

SINGLE = [sys.executable, "-m"]
TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]


@given(count=st.integers(0, 600), size=st.integers(1, 8))
def test_ranks_share_a_batch_without_leaving_or_repeating_an_image(count: int, size: int) -> None:
    batch = np.random.default_rng(count).permutation(count)
    shares = [World(rank, size).share(batch) for rank in range(size)]
    assert sorted(np.concatenate(shares)) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def run(launcher: list[str], data: Path, out: Path) -> str:
    options = ["--net", "A", "--crop", "32", "--width", "0.05", "--batch", "8", "--epochs", "2", "--device", "cpu"]
    options += ["--dropout", "0.5", "--precision", "fp32", "--workers", "0", "--threads", "1", "--out", str(out)]
    done = subprocess.run(
        [*launcher, "vggnet", "train", str(data), *options], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_processes_train_as_one(class_folders: Callable[..., Path], tmp_path: Path) -> None:
    """33 training images in batches of 8: the last batch has one image, so that one rank has none in it.

    Dropout is drawn for each image, whichever rank has it.
    """
    data = class_folders(classes=3, train=12, val=5)
    one, two = tmp_path / "one", tmp_path / "two"
    run(SINGLE, data, one)
    output = run(TWO, data, two)
    assert "2 processes" in output
    assert output.count("val top-1 error, centre crop") == 1  # one rank speaks
    ours, theirs = load_file(two / "last.safetensors"), load_file(one / "last.safetensors")
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=1e-5, msg=name)
    counted = [json.loads((run / "val.json").read_text())["center"]["top1"]["images"] for run in (one, two)]
    assert counted == [15, 15]  # every image once, although 15 does not divide by two
    losses = [[line.split(",")[2] for line in (run / "metrics.csv").read_text().splitlines()[1:]] for run in (one, two)]
    np.testing.assert_allclose(np.array(losses[0], float), np.array(losses[1], float), rtol=1e-4)


def test_each_rank_has_its_own_gpu_and_waits_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Played: NCCL is told the GPU (or it guesses, and warns), and the first rank may check images for hours."""
    told: dict[str, object] = {}
    monkeypatch.setattr(distributed, "choose_device", lambda name, rank: torch.device(name, rank))
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda backend, **more: told.update(more, by=backend))
    monkeypatch.setattr(torch.distributed, "destroy_process_group", told.clear)
    for name, value in {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with join_world("cuda") as world:
        assert (world.rank, world.size, world.device) == (3, 4, torch.device("cuda:1"))
        assert told == {"by": "nccl", "device_id": torch.device("cuda:1"), "timeout": distributed.PATIENCE}
    assert not told


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_an_error_and_never_the_cpu() -> None:
    with pytest.raises(UserError, match="finds no GPU"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"


@pytest.mark.parametrize("name", ["gpu", "mps", "cuda:x"])
def test_a_device_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="--device"):
        choose_device(name)


def test_precision_is_fp32_on_request_and_never_something_unknown() -> None:
    assert choose_precision("fp32", torch.device("cpu")) == "fp32"
    assert choose_precision("auto", torch.device("cpu")) in ("bf16", "fp32")
    with pytest.raises(UserError, match="--precision"):
        choose_precision("fp16", torch.device("cpu"))  # type: ignore[arg-type]
