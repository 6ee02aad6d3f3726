"""benchmarks/input_pipeline_gpu.py: what it says without a GPU, and its measuring with the CPU in the GPU's place."""

import argparse
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from vggnet.images.splits import unlabelled_folder

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "input_pipeline_gpu.py"
ARGUMENTS = argparse.Namespace(workers=0, batch=4, repeats=2, batches=2, train_scale=[36], crop=32)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), str(tmp_path)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert "PyTorch finds no GPU on this machine; benchmarks/input_pipeline_cpu.py" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_it_measures(class_folders: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    description = importlib.util.spec_from_file_location("input_pipeline_gpu", SCRIPT)
    assert description is not None
    assert description.loader is not None
    script = importlib.util.module_from_spec(description)
    description.loader.exec_module(script)
    monkeypatch.setattr(script, "HOLD_BYTES", 10**6)
    split = unlabelled_folder(class_folders(classes=1, train=6, val=1))
    facts = script.measure(split, torch.device("cpu"), ARGUMENTS)
    assert facts["images"] == 7
    assert facts["mean_difference"] < 0.5
    assert set(facts["crops_per_s"]) == {"processes", "gpu", "processes, held", "gpu, held"}
    assert all(len(rates) == 2 and min(rates) > 0 for rates in facts["crops_per_s"].values())

    real = script.DeviceLoader.batches

    def shifted(self, epoch: int, order: list[np.ndarray]):  # type: ignore[no-untyped-def]
        for batch in real(self, epoch, order):
            batch.pixels = batch.pixels.roll(8, 1)
            yield batch

    monkeypatch.setattr(script.DeviceLoader, "batches", shifted)
    with pytest.raises(SystemExit, match="not the same views"):
        script.measure(split, torch.device("cpu"), ARGUMENTS)
