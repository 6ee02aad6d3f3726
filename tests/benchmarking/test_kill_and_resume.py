"""Trainings that are killed ten and twenty times, each time while they train or save, lose nothing."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kill_and_resume.py"


def killed(data: Path, *options: str) -> dict[str, Any]:
    """Run the script on `data`; return what it has counted."""
    seed = os.environ.get("VGGNET_TEST_SEED", "0")
    command = [sys.executable, str(SCRIPT), str(data), "--batch", "8", "--width", "0.03", "--seed", seed, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "kills", "epochs"), [(1, 20, 14), (2, 10, 8)])
def test_each_resume_reaches_the_training_and_nothing_is_lost(
    class_folders: Callable[..., Path], processes: int, kills: int, epochs: int
) -> None:
    """33 training images in batches of 8: six saves an epoch, at most three of them between two kills."""
    data = class_folders(classes=3, train=12, val=2)
    numbers = ["--kills", str(kills), "--processes", str(processes), "--epochs", str(epochs), "--most-saves", "3"]
    found = killed(data, *numbers)
    assert found["kills"] == found["resumed"] == kills
    assert found["same_weights"]
    assert found["saves_passed_over"] == 0
