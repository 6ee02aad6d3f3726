"""--decoder: who decodes is chosen once, written down, and stays when a run goes on; what a GPU would do is played."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vggnet.cli import run
from vggnet.data.splits import Split
from vggnet.errors import UserError
from vggnet.images.gpu.loading import DeviceLoader
from vggnet.options.flat import changed
from vggnet.options.machine import MachineOptions
from vggnet.options.training import TrainOptions
from vggnet.training import choose_decoder as reading
from vggnet.training.choose_decoder import choose_decoder
from vggnet.training.classification import train_classifier
from vggnet.training.distributed import World
from vggnet.training.loop import Loop
from vggnet.training.runs import RunFolder
from vggnet.training.stopping import Interrupted

Folders = Callable[..., Path]
ON_CPU, ON_GPU = World(), World(device=torch.device("cuda"))
SPLIT = Split("nowhere", ("a.jpg",))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """gpu(cannot=..., slower=...): the reasons that the machine's GPU has."""
    monkeypatch.setattr("vggnet.console._noted", set())

    def make(cannot: str | None = None, slower: str | None = None) -> None:
        monkeypatch.setattr(reading, "why_not", lambda device: cannot)
        monkeypatch.setattr(reading, "why_not_worth_it", lambda split, device, processes: slower)

    make()
    return make


def started_with(folder: Path, **config: str) -> RunFolder:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return RunFolder(folder)


def test_at_the_start(tmp_path: Path, gpu: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    new = RunFolder(tmp_path)
    assert choose_decoder("auto", SPLIT, new, ON_GPU, 4) == "gpu"
    assert choose_decoder("gpu", SPLIT, new, ON_GPU, 4) == "gpu"
    assert choose_decoder("processes", SPLIT, new, ON_GPU, 4) == "processes"
    assert choose_decoder("auto", SPLIT, new, ON_CPU, 4) == "processes"
    assert capsys.readouterr().err == ""
    gpu(slower="3 of 64 images that were looked at are plain JPEGs")
    assert choose_decoder("auto", SPLIT, new, ON_GPU, 4) == "processes"
    assert choose_decoder("gpu", SPLIT, new, ON_GPU, 4) == "gpu"
    gpu(cannot="not compiled with nvJPEG support")
    assert choose_decoder("auto", SPLIT, new, ON_GPU, 4) == "processes"
    assert capsys.readouterr().err.splitlines() == [
        "images are decoded by processes, not by the GPU: 3 of 64 images that were looked at are plain JPEGs",
        "images are decoded by processes, not by the GPU: not compiled with nvJPEG support",
    ]
    with pytest.raises(UserError, match=r"--decoder gpu does not work here: not compiled.*--decoder processes works"):
        choose_decoder("gpu", SPLIT, new, ON_GPU, 4)
    with pytest.raises(UserError, match="the training runs on cpu"):
        choose_decoder("gpu", SPLIT, new, ON_CPU, 4)


def test_ranks_agree(tmp_path: Path, gpu: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "any", lambda self, flag: True)  # some rank has a reason
    assert choose_decoder("auto", SPLIT, RunFolder(tmp_path), ON_GPU, 4) == "processes"


def test_a_continued_run_stays_as_it_was(tmp_path: Path, gpu: Callable[..., None]) -> None:
    by_gpu = started_with(tmp_path / "gpu", decoder="gpu")
    by_processes = started_with(tmp_path / "processes", decoder="processes")
    older = started_with(tmp_path / "older")
    gpu(slower="the GPU decodes 10 images/s, 4 processes about 400")
    assert choose_decoder("auto", SPLIT, by_gpu, ON_GPU, 4) == "gpu"
    gpu()
    assert choose_decoder("auto", SPLIT, by_processes, ON_GPU, 4) == "processes"
    assert choose_decoder("auto", SPLIT, older, ON_GPU, 4) == "processes"
    assert choose_decoder("processes", SPLIT, by_gpu, ON_GPU, 4) == "processes"  # what is said counts
    gpu(cannot="no nvJPEG")
    with pytest.raises(UserError, match="the run was started with --decoder gpu, which does not work here: no nvJPEG"):
        choose_decoder("auto", SPLIT, by_gpu, ON_GPU, 4)


def test_the_command(class_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--crop", "32", "--width", "0.05", "--epochs", "1", "--batch", "8", "--workers", "0", "--device", "cpu"]
    data = class_folders()
    assert run(["train", str(data), "--net", "A", "--out", str(tmp_path / "run"), *small]) == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["decoder"] == "processes"
    capsys.readouterr()
    assert run(["train", str(data), "--net", "A", "--out", str(tmp_path / "gpu"), "--decoder", "gpu", *small]) == 2
    assert "--decoder gpu does not work here: the training runs on cpu" in capsys.readouterr().err
    bad = ["--decoder", "pillow"]
    with pytest.raises(SystemExit):
        run(["train", str(data), "--net", "A", "--out", str(tmp_path / "bad"), *bad, *small])


def test_a_training_from_the_devices_loader_resumes_to_the_bit(
    class_folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole training with that loader, on a CPU in the GPU's place; stopped in an epoch, it goes on the same."""
    monkeypatch.setattr("vggnet.training.session.choose_decoder", lambda *_: "gpu")
    loaders = []
    real = reading.training_loader
    monkeypatch.setattr(
        "vggnet.training.session.training_loader",
        lambda *given, **more: loaders.append(real(*given, **more)) or loaders[-1],
    )
    data = str(class_folders())
    small = {"net": "A", "crop": 32, "width": 0.05, "epochs": 2, "batch": 8, "workers": 1, "device": "cpu"}
    train_classifier(changed(TrainOptions(data, out=tmp_path / "whole"), **small))

    step = Loop._step

    def stop_in_the_second_epoch(loop: Loop, inputs: object, number: int) -> None:
        step(loop, inputs, number)  # type: ignore[arg-type]
        if loop.progress.epoch == 1 and number == 2:
            loop.progress.step = number + 1
            loop._save()
            raise Interrupted

    monkeypatch.setattr(Loop, "_step", stop_in_the_second_epoch)
    with pytest.raises(Interrupted):
        train_classifier(changed(TrainOptions(data, out=tmp_path / "stopped"), **small))
    monkeypatch.setattr(Loop, "_step", step)
    train_classifier(changed(TrainOptions(data, out=tmp_path / "stopped", resume=True), **small))
    assert len(loaders) == 3
    assert all(isinstance(loader, DeviceLoader) for loader in loaders)
    for name in ("last.safetensors", "best.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "stopped" / name).read_bytes()


@pytest.mark.gpu
def test_on_a_gpu(class_folders: Folders, tmp_path: Path) -> None:
    options = TrainOptions(
        str(class_folders(side=64)),
        net="A",
        out=tmp_path / "run",
        crop=32,
        width=0.125,
        epochs=2,
        batch=8,
        machine=MachineOptions(decoder="gpu"),
    )
    assert train_classifier(options).epochs == 2
    assert json.loads((tmp_path / "run" / "config.json").read_text())["decoder"] == "gpu"
