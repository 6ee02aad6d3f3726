"""Every command and the Python of the README are run, in its order, on small images and with small nets."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from documented import ROOT, blocks, commands, run_command
from PIL import Image
from sources import entry_of, play_keras, play_torchvision, serving, write_keras_file, write_torchvision_file

README = ROOT / "README.md"
ELSEWHERE = {"make quickstart", "make test"}  # the slow test below; this very run


def written() -> list[str]:
    """The commands of the README that this test runs."""
    return [command for command, _ in commands(README) if command not in ELSEWHERE]


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A photograph, ImageNet's validation set, and a server that plays the sources of the models by name.

    The files there are of width 1/16, in the form of the published ones; torchvision's and Keras's addresses and hashes
    are those of these files (`sources`).
    """
    pixels = np.random.default_rng(0).integers(0, 256, (45, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg")
    (tmp_path / "IMAGENET" / "val").mkdir(parents=True)
    Image.fromarray(pixels).save(tmp_path / "IMAGENET" / "val" / "ILSVRC2012_val_00000001.JPEG")
    (tmp_path / "IMAGENET" / "map_clsloc.txt").write_text("n02119789 1 kit_fox\nn01440764 2 tench\n")
    (tmp_path / "IMAGENET" / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n")
    monkeypatch.setenv("VGGNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    with serving() as source:
        write_torchvision_file(tmp_path / "vgg16.pth", "D")
        play_torchvision(monkeypatch, source, entry_of("vgg16"), tmp_path / "vgg16.pth")
        for name in ("oxford/D", "oxford/E"):
            write_keras_file(tmp_path / f"{name[-1]}.h5", name[-1])
            play_keras(monkeypatch, source, entry_of(name), tmp_path / f"{name[-1]}.h5")
        yield


def test_the_readme_holds_commands() -> None:
    assert len(written()) >= 12
    assert all(word in " ".join(written()) for word in ("train", "ladder", "evaluate", "predict", "diagnose", "nets"))


def test_every_command_and_the_python_of_the_readme_run(
    class_folders: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    played: None,
) -> None:
    images = class_folders(classes=5, train=8, val=3, name="photos")
    boxes = [
        f"{file.relative_to(images).as_posix()},{file.parent.name},5,5,30,28"
        for file in sorted(images.glob("*/*/*.jpg"))
    ]
    (images / "boxes.csv").write_text("\n".join(["image,class,xmin,ymin,xmax,ymax", *boxes]) + "\n")
    shutil.copytree(images / "val" / "class0", tmp_path / "unlabelled")
    monkeypatch.chdir(tmp_path)
    for command in written():
        if command.startswith("torchrun "):  # the slow test below
            continue
        if "int8" not in command or torch.cpu._is_vnni_supported():
            run_command(command)
    assert (tmp_path / "table4.json").exists()
    assert len(list((tmp_path / "boxes").glob("*.png"))) == 15
    assert "mean_class_recall" in (tmp_path / "transfer.json").read_text()
    assert (tmp_path / "submission.csv").read_text().count("\n") == 1 + 3
    capsys.readouterr()
    for block in blocks(README, "python"):
        exec(compile(block, "README.md", "exec"), {})
    assert "class0" in capsys.readouterr().out


@pytest.mark.slow
def test_the_command_with_torchrun_runs(
    class_folders: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its processes import PyTorch three times. `test_two_processes_train_as_one` is the fast test of two ranks."""
    class_folders(classes=3, train=8, val=3, name="photos")
    monkeypatch.chdir(tmp_path)
    (command,) = (command for command in written() if command.startswith("torchrun "))
    run_command(command)
    assert (tmp_path / "runs" / "D2" / "best.safetensors").exists()


@pytest.mark.slow
def test_the_quickstart_trains_both_nets_below_20_percent(tmp_path: Path) -> None:
    """As `make quickstart` runs it, but for the folder."""
    done = subprocess.run(
        [sys.executable, "-m", "vggnet", "quickstart", "--out", str(tmp_path / "quickstart")],
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "quickstart" / "quickstart.json").read_text())
    assert [row["net"] for row in rows] == ["A", "D"]
    for row in rows:
        for kind in ("center", "dense"):
            assert row["val"][kind]["images"] >= 350
            assert row["val"][kind]["top1_error"] <= 20
    assert "three predictions" in done.stdout
