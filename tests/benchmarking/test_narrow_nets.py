"""The benchmark of narrow nets runs, and its ways give the same scores."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "narrow_nets_cpu.py"


@pytest.mark.slow
def test_it_times_every_way(tmp_path: Path) -> None:
    small = ["--net", "A", "--width", "0.06", "--crop", "32", "--batch", "2", "--repeats", "2"]
    subprocess.run([sys.executable, SCRIPT, *small, "--json", tmp_path / "a.json"], check=True, capture_output=True)
    rows = json.loads((tmp_path / "a.json").read_text())["rows"]
    ways = ["torchvision", "ours", "torchvision", "layers", "prepared"]
    assert [row["way"] for row in rows] == [*ways, *ways]
    assert all(len(row["rates"]) == 2 and min(row["rates"]) > 0 for row in rows)
