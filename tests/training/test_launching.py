"""`--processes`: ranks that are killed, restarted and stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from saved import progress_of
from test_distributed import TINY
from waiting import children_of, read_until

from vggnet.cli import run

Folders = Callable[..., Path]
EPOCHS = ["--epochs", "9", "--patience", "9", "--save-every", "0.01"]


def start(data: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "vggnet", "train", str(data), *TINY, *EPOCHS, "--out", str(out)]
    return subprocess.Popen([*command, *more], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ended(process: subprocess.Popen[str], status: int) -> str:
    text, _ = process.communicate(timeout=240)
    assert process.returncode == status, text
    return text


@pytest.mark.parametrize(("option", "value"), [("--processes", "0"), ("--max-restarts", "-1")])
def test_numbers_of_processes_that_do_not_exist(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "scenes", option, value]) == 2
    assert f"{option} {value}: give a number" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--processes", "2"], ["--max-restarts", "3"]])
@pytest.mark.parametrize("name", ["TORCHELASTIC_RUN_ID", "WORLD_SIZE"])
def test_started_processes_start_no_others(
    options: list[str], name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """torchrun's restarts would not happen, and nobody would know until a process is killed."""
    monkeypatch.setenv(name, "2")
    assert run(["train", "scenes", *options]) == 2
    assert "--processes and --max-restarts start processes, and these are started already" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_rank_is_named_and_a_restart_ends_with_the_weights_of_an_undisturbed_run(
    class_folders: Folders, tmp_path: Path
) -> None:
    data = class_folders(classes=3, train=12, val=5)
    ended(start(data, tmp_path / "whole", "--processes", "2"), 0)
    launch = start(data, tmp_path / "run", "--processes", "2")
    read_until(launch.stdout, "epoch 2/")
    victim = children_of(launch.pid)[-1]
    os.kill(victim, signal.SIGKILL)
    said = ended(launch, 1)
    assert f"rank 1 (process {victim} on " in said
    assert "was ended by SIGKILL; the same command with --resume continues" in said
    launch = start(data, tmp_path / "run", "--processes", "2", "--max-restarts", "2", "--resume")
    for epoch in ("epoch 4/", "epoch 6/"):
        read_until(launch.stdout, epoch)
        os.kill(children_of(launch.pid)[0], signal.SIGKILL)
    said = ended(launch, 0)
    assert "epoch 9/9" in said
    ours, theirs = (load_file(tmp_path / name / "last.safetensors") for name in ("run", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
def test_sigterm_stops_all_ranks_at_one_step_with_status_143(class_folders: Folders, tmp_path: Path) -> None:
    launch = start(class_folders(classes=3, train=12, val=5), tmp_path / "run", "--processes", "2", "--epochs", "900")
    read_until(launch.stdout, "epoch 2/")
    launch.terminate()
    said = ended(launch, 143)
    assert said.count("stopped; the state is saved") == 1
    assert progress_of(tmp_path / "run").epoch >= 2
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_ranks(class_folders: Folders, tmp_path: Path) -> None:
    """Without dropout the weights agree to rounding: the same images in the same global batches."""
    data = class_folders(classes=3, train=12, val=5)
    ended(start(data, tmp_path / "whole", "--dropout", "0"), 0)
    for place, more in enumerate((["--processes", "2"], [], ["--processes", "3"])):
        process = start(data, tmp_path / "run", "--dropout", "0", "--resume", *more)
        read_until(process.stdout, f"epoch {3 * place + 2}/")
        process.terminate()
        ended(process, 143)
    ended(start(data, tmp_path / "run", "--dropout", "0", "--resume"), 0)
    ours, theirs = (load_file(tmp_path / name / "last.safetensors") for name in ("run", "whole"))
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=2e-3, atol=2e-5, msg=name)
