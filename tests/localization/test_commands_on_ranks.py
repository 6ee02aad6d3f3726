"""The commands that show images to nets, under torchrun: each image counts once, and one table is printed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nets import save_random_net

TOGETHER = """
import sys
from vggnet.cli import run
from commands import COMMANDS
for command in COMMANDS(sys.argv[1], sys.argv[2]):
    status = run(command)
    assert status == 0, (command, status)
"""
COMMANDS = """
def COMMANDS(folder, out):
    net, data, boxes = f"{folder}/classifier.safetensors", f"{folder}/blocks", f"{folder}/boxes.safetensors"
    fixed = ["--device", "cpu", "--precision", "fp32", "--workers", "0"]
    return [
        ["evaluate", net, data, "--json", f"{out}/evaluate.json", "--views", "dense", "center", *fixed],
        ["predict", net, f"{data}/val", "--json", f"{out}/predict.json", *fixed],
        ["features", net, data, "--out", f"{out}/features.npz", *fixed],
        ["transfer", net, data, "--train-per-class", "2", "--splits", "2", "--json", f"{out}/transfer.json", *fixed],
        ["localize", "evaluate", boxes, data, "--classifier", net, "--json", f"{out}/boxes.json", *fixed],
        ["localize", "predict", boxes, f"{data}/val", "--classifier", net, "--json", f"{out}/found.json",
         "--out", f"{out}/drawn", *fixed],
    ]
"""


@pytest.mark.slow
def test_commands_under_torchrun_count_each_image_once_and_print_one_table(
    tmp_path: Path, blocks: Path, classifier: Path
) -> None:
    """11 val images, on 1, 2 and 3 ranks: the same tables, predictions, descriptors and boxes."""
    classes = tuple(sorted(path.name for path in (blocks / "val").iterdir()))
    save_random_net(tmp_path / "boxes.safetensors", classes, boxes="pcr", seed=1)
    (blocks / "val" / classes[0] / "1.png").unlink()
    table = blocks / "boxes.csv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(line for line in lines if f"val/{classes[0]}/1.png" not in line))
    (tmp_path / "commands.py").write_text(COMMANDS)
    (tmp_path / "together.py").write_text(TOGETHER)
    results = {}
    for size in (1, 2, 3):
        out = tmp_path / f"out{size}"
        out.mkdir()
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size)]
        done = subprocess.run(
            [*(launch if size > 1 else [sys.executable]), str(tmp_path / "together.py"), str(tmp_path), str(out)],
            env=os.environ | {"VGGNET_CACHE": str(tmp_path / f"cache{size}")},
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("Evaluation on ") == 1
        read = {name: json.loads((out / f"{name}.json").read_text()) for name in ("evaluate", "predict", "transfer")}
        read |= {name: json.loads((out / f"{name}.json").read_text()) for name in ("boxes", "found")}
        results[size] = read, np.load(out / "features.npz")
    alone, described = results[1]
    assert [row["images"]["evaluated"] for row in alone["evaluate"]["rows"]] == [11, 11]
    for size in (2, 3):
        shared, features = results[size]
        assert shared["evaluate"]["rows"] == alone["evaluate"]["rows"]
        assert guesses(shared["predict"]) == guesses(alone["predict"])
        np.testing.assert_allclose(features["descriptors"], described["descriptors"], rtol=1e-4, atol=1e-6)
        assert shared["transfer"]["mean_class_recall"] == pytest.approx(alone["transfer"]["mean_class_recall"])
        for test in ("test1", "test2"):
            assert len(alone["boxes"][test]) >= 1
            assert list(leaves(shared["boxes"][test])) == pytest.approx(list(leaves(alone["boxes"][test])), rel=1e-3)
        assert [each["image"] for each in shared["found"]] == [each["image"] for each in alone["found"]]
        assert [len(each["boxes"]) for each in shared["found"]] == [len(each["boxes"]) for each in alone["found"]]


def leaves(value: Any) -> Iterator[float]:
    """Yield all numbers in JSON values, in order."""
    if isinstance(value, (dict, list)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from leaves(each)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield float(value)


def guesses(predictions: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Each image with its best class."""
    return [(each["image"], each["classes"][0]["class"]) for each in predictions]
