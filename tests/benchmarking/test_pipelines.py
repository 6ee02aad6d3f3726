"""The benchmarks for GPUs: what they say without one, and their measuring with the CPU in its place."""

import argparse
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vggnet.benchmarking.problem import Problem
from vggnet.data.listing import unlabelled_folder

SCRIPTS = Path(__file__).parents[2] / "benchmarks"
SCRIPT = SCRIPTS / "input_pipeline_gpu.py"
ARGUMENTS = argparse.Namespace(workers=0, batch=4, repeats=2, batches=2, train_scale=[36], crop=32)


def loaded(file: Path) -> Any:
    description = importlib.util.spec_from_file_location(file.stem, file)
    assert description is not None
    assert description.loader is not None
    script = importlib.util.module_from_spec(description)
    description.loader.exec_module(script)
    return script


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), str(tmp_path)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert "PyTorch finds no GPU on this machine; benchmarks/input_pipeline_cpu.py" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_it_measures(class_folders: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    script = loaded(SCRIPT)
    monkeypatch.setattr(script, "HOLD_BYTES", 10**6)
    split = unlabelled_folder(class_folders(classes=1, train=6, val=1))
    facts = script.measure(split, torch.device("cpu"), ARGUMENTS)
    assert facts["images"] == 7
    assert facts["mean_difference"] < 0.5
    assert set(facts["crops_per_s"]) == {"processes", "gpu", "processes, held", "gpu, held"}
    assert set(facts["parts"]) == {"gpu: files read", "gpu: decoded", "gpu: drawn and cut"}
    for rates in (facts["crops_per_s"] | facts["parts"]).values():
        assert len(rates) == 2
        assert min(rates) > 0

    real = script.DeviceLoader.batches

    def shifted(self, epoch: int, order: list[np.ndarray]):  # type: ignore[no-untyped-def]
        for batch in real(self, epoch, order):
            batch.pixels = batch.pixels.roll(8, 1)
            yield batch

    monkeypatch.setattr(script.DeviceLoader, "batches", shifted)
    with pytest.raises(SystemExit, match="not the same views"):
        script.measure(split, torch.device("cpu"), ARGUMENTS)


def test_layers_of_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    """conv1_1 of 2 images of 32 px: 2 * 2 * 27 * 4 * 32^2 operations, 0.44 ms at 1 GFLOP/s; by bytes it is less."""
    script = loaded(SCRIPTS / "step_profile_gpu.py")
    problem = Problem("training", "cpu", 2, 1, width=1 / 16, crop=32)
    rates = {"flop_per_s": 1e9, "bytes_per_s": 1e12}
    forms = list(script._forms(problem, torch.device("cpu"), ["compiled", "plain"]))
    assert [(name, trains) for name, _, trains in forms] == [("training, plain", True), ("inference", False)]
    for name, form, trains in forms:
        layers = script._by_layer(form, problem, trains, rates, 1)
        assert list(layers) == [layer.name for layer in form.architecture.convolutions()]
        assert layers["conv1_1"]["forward_multiplying"] == pytest.approx(0.442368)
        assert layers["conv1_2"]["backward_multiplying"] == 2 * layers["conv1_2"]["forward_multiplying"]
        assert all(ms["forward"] > 0 and ("backward" in ms) == trains for ms in layers.values())
        script._say_layers(name, layers)
    assert "0.44 x" in capsys.readouterr().out
