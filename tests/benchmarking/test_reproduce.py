"""The script of the paper's experiments says what is left, and runs to its end, stopped or not."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "reproduce.sh"


def status(out: Path) -> list[str]:
    done = subprocess.run([SCRIPT, "unused", out, "status"], check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def test_status_says_what_is_done_what_waits_and_what_is_left(tmp_path: Path) -> None:
    (tmp_path / "A").mkdir()
    (tmp_path / "A" / "val.json").write_text("{}")
    (tmp_path / "D").mkdir()
    (tmp_path / "D" / "metrics.csv").write_text("epoch,error\n1,90\n2,80\n")
    (tmp_path / "D-bn-usual-0.log").write_text("epoch 1/120: loss 3\nepoch 2/120: loss 3\nepoch 3/120: loss 3\n")
    assert status(tmp_path) == [
        "left      D-bn-0 (0 epochs of 60)",
        "waits     D-bn-jitter-0 (for D-bn-0)",
        "left      D-bn-usual-0 (3 epochs of 120)",
        "done      A",
        "left      A-jitter (0 epochs of 60)",
        "left      D (2 epochs of 60)",
        "waits     D-jitter (for D)",
    ]


def test_without_arguments_it_says_how_it_is_used() -> None:
    done = subprocess.run([SCRIPT], capture_output=True, text=True)
    assert done.returncode == 2
    assert "benchmarks/reproduce.sh DATA OUT status" in done.stdout


@pytest.mark.slow
def test_it_trains_all_nets_and_writes_the_tables(class_folders: Callable[..., Path], tmp_path: Path) -> None:
    data, out = class_folders(classes=3, train=12, val=4, side=96), tmp_path / "out"
    small = {"WIDTH": "0.03", "EPOCHS": "1", "BATCH": "8", "WORKERS": "0"}
    done = subprocess.run([SCRIPT, data, out], env=os.environ | small, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert {line.split()[0] for line in done.stdout.splitlines()[-7:]} == {"done"}
    for name in ("table3", "table4", "table5", "table6", "usual", "scales"):
        assert (out / f"{name}.md").stat().st_size > 0
        assert (out / f"{name}.json").stat().st_size > 0
    assert "<html" in (out / "report.html").read_text()[:200]
    again = subprocess.run([SCRIPT, data, out], env=os.environ | small, capture_output=True, text=True)
    assert again.returncode == 0
    assert "epoch 1/" not in again.stdout  # nothing is trained again
