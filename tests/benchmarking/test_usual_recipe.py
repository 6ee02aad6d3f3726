"""The script that trains as people usually do runs, from random weights and from those of a net."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from nets import save_random_net
from safetensors.torch import load_file
from waiting import wait_until

from vggnet.network.weights import load_model

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "usual_recipe.py"


@pytest.mark.parametrize("fine_tuned", [False, True])
def test_it_writes_a_net_for_the_classes_of_the_data(
    class_folders: Callable[..., Path], tmp_path: Path, fine_tuned: bool
) -> None:
    source, out = tmp_path / "source.safetensors", tmp_path / "usual.safetensors"
    save_random_net(source, ("cat", "dog"), net="B", batch_norm=True)
    start = ["--init-from", source] if fine_tuned else ["--net", "A", "--width", "0.03", "--crop", "32"]
    options = ["--epochs", "1", "--batch", "8", "--threads", "1", "--workers", "0", "--out", out]
    data = class_folders(classes=3)
    subprocess.run([sys.executable, SCRIPT, data, *start, *options], check=True, capture_output=True, text=True)
    model = load_model(out)
    assert model.description.classes == ("class0", "class1", "class2")
    assert (model.architecture.net, model.architecture.batch_norm) == (("B", True) if fine_tuned else ("A", False))


def test_killed_and_continued_it_ends_with_the_weights_of_one_training(
    class_folders: Callable[..., Path], tmp_path: Path
) -> None:
    data, nets = class_folders(classes=3), []
    small = ["--net", "A", "--batch-norm", "--width", "0.03", "--crop", "32", "--batch", "8", "--threads", "1"]
    for name, killed in (("whole", False), ("killed", True)):
        out = tmp_path / f"{name}.safetensors"
        command = [sys.executable, str(SCRIPT), str(data), *small, "--workers", "0", "--epochs", "4", "--resume"]
        command += ["--out", str(out)]
        if killed:
            with subprocess.Popen(command, stdout=subprocess.DEVNULL) as program:
                wait_until(out.with_suffix(".state").exists)
                program.kill()
            assert not out.exists()
        subprocess.run(command, check=True, capture_output=True)
        assert not out.with_suffix(".state").exists()
        nets.append(load_file(out))
    for name, weight in nets[0].items():
        assert torch.equal(weight, nets[1][name]), name
