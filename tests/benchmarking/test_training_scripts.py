"""The scripts that time trainings run, and print what they say."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


def printed(script: str, *options: object) -> dict[str, Any]:
    command = [sys.executable, str(FOLDER / script), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_two_processes_are_timed_beside_one() -> None:
    small = ["--net", "A", "--width", "0.03", "--crop", "32", "--batch", "8", "--steps", "3", "--repeats", "1"]
    found = printed("ddp_cpu.py", *small)
    one, two = (found["images_per_s"][name] for name in ("one process of two threads", "two processes of one thread"))
    assert found["ratio"] == pytest.approx(two / one, rel=0.05)
    assert 0 < found["waited_for_the_exchange"] < 1


@pytest.mark.slow
def test_the_start_of_a_training_is_timed(class_folders: Callable[..., Path]) -> None:
    small = ["--net", "A", "--width", "0.03", "--crop", "32", "--batch", "8", "--device", "cpu", "--workers", "0"]
    found = printed("start_up.py", class_folders(), "--repeats", "1", *small)
    assert found["first_s"] > 0.5
    assert found["range"] == [found["later_s"], found["later_s"]]
