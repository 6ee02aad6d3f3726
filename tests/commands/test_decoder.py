"""--decoder: chosen at the start, written to config.json, unchanged on --resume. A stand-in plays the GPU."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from vggnet.cli import run
from vggnet.data.opening import open_data
from vggnet.errors import UserError
from vggnet.images.augmentation import Augmentation
from vggnet.images.loading import TrainingLoader
from vggnet.options.choices import DecoderName
from vggnet.options.flat import changed
from vggnet.options.machine import MachineOptions
from vggnet.options.training import TrainOptions
from vggnet.training.checkpoints import TrainingProgress
from vggnet.training.choose_decoder import choose_decoder, training_loader
from vggnet.training.classification import train_classifier
from vggnet.training.distributed import World
from vggnet.training.runs import RunFolder

Folders = Callable[..., Path]
ON_CPU, ON_GPU = World(), World(device=torch.device("cuda"))


def chosen(requested: DecoderName, run: RunFolder, world: World, cannot: str | None = None) -> str:
    """Return who decodes on a machine whose GPU can, or cannot for this reason."""
    return choose_decoder(requested, run, world, lambda device: cannot)


def started_with(folder: Path, **config: str) -> RunFolder:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return RunFolder(folder)


def test_a_new_run_is_decoded_by_the_gpu_only_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = RunFolder(tmp_path)
    assert chosen("auto", new, ON_GPU) == "processes"
    assert chosen("processes", new, ON_GPU) == "processes"
    assert [chosen("scaled", new, world) for world in (ON_CPU, ON_GPU)] == ["scaled", "scaled"]
    assert chosen("gpu", new, ON_GPU) == "gpu"
    assert chosen("auto", new, ON_CPU) == "processes"
    assert capsys.readouterr().err == ""
    cannot = "not compiled with nvJPEG support"
    assert chosen("auto", new, ON_GPU, cannot) == "processes"
    with pytest.raises(UserError, match=r"`decoder` gpu does not work here: not compiled.*`decoder` processes works"):
        chosen("gpu", new, ON_GPU, cannot)
    with pytest.raises(UserError, match="the training runs on cpu"):
        chosen("gpu", new, ON_CPU)


def test_a_continued_run_stays_as_it_was(tmp_path: Path) -> None:
    by_gpu = started_with(tmp_path / "gpu", decoder="gpu")
    by_processes = started_with(tmp_path / "processes", decoder="processes")
    unnamed = started_with(tmp_path / "unnamed")
    assert chosen("auto", started_with(tmp_path / "scaled", decoder="scaled"), ON_GPU) == "scaled"
    assert chosen("auto", by_gpu, ON_GPU) == "gpu"
    assert chosen("auto", by_processes, ON_GPU) == "processes"
    assert chosen("auto", unnamed, ON_GPU) == "processes"
    assert chosen("processes", by_gpu, ON_GPU) == "processes"  # an explicit choice counts
    with pytest.raises(UserError, match="the run was started with `decoder` gpu, which does not work here: no nvJPEG"):
        chosen("auto", by_gpu, ON_GPU, "no nvJPEG")


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


def test_scaled_decoding_is_stored_with_the_run_and_another_decoder_does_not_continue_it(
    class_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--crop", "32", "--width", "0.05", "--batch", "8", "--workers", "0", "--device", "cpu"]
    out = tmp_path / "run"
    start = ["train", str(class_folders(side=80)), "--net", "A", "--out", str(out), "--epochs", "1", *small]
    assert run([*start, "--decoder", "scaled"]) == 0
    assert "decoder   scaled: large JPEGs at 1/2" in capsys.readouterr().out
    assert json.loads((out / "config.json").read_text())["decoder"] == "scaled"
    for other in ("processes", "gpu"):
        assert run([*start, "--resume", "--decoder", other]) == 2
        assert f"was started with --decoder scaled, now it says {other}" in capsys.readouterr().err
    for same in ([], ["--decoder", "auto"], ["--decoder", "scaled"]):
        assert run([*start, "--resume", *same]) == 0
        assert "this run is finished" in capsys.readouterr().out


def test_only_a_training_with_the_scaled_decoder_reduces_its_images(class_folders: Folders) -> None:
    split = open_data(str(class_folders(classes=1, train=3, side=80))).train
    assert split is not None
    augmentation = Augmentation(0, (36, 40), 32, None)
    crops = {}
    for decoder in ("processes", "scaled"):
        with training_loader(split, augmentation, decoder, World(), 0) as loader:
            crops[decoder] = next(iter(loader.batches(0, [np.arange(3)]))).pixels
        with TrainingLoader(split, augmentation, workers=0, scaled=decoder == "scaled") as loader:
            assert torch.equal(crops[decoder], next(iter(loader.batches(0, [np.arange(3)]))).pixels)
    assert (crops["processes"] != crops["scaled"]).any()


def test_a_training_from_the_devices_loader_resumes_to_the_bit(
    class_folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole training with that loader, on a CPU in the GPU's place; stopped in an epoch, it goes on the same."""
    monkeypatch.setattr("vggnet.training.session.choose_decoder", lambda *_: "gpu")
    data = str(class_folders())
    small = {"net": "A", "crop": 32, "width": 0.05, "epochs": 2, "batch": 8, "workers": 1, "device": "cpu"}
    train_classifier(changed(TrainOptions(data, out=tmp_path / "whole"), **small))

    def stop_in_the_second_epoch(progress: TrainingProgress) -> None:
        if (progress.epoch, progress.step) == (1, 3):
            raise KeyboardInterrupt

    options = changed(TrainOptions(data, out=tmp_path / "stopped"), save_every=0.0, **small)
    with pytest.raises(KeyboardInterrupt):
        train_classifier(options, after_step=stop_in_the_second_epoch)
    train_classifier(changed(TrainOptions(data, out=tmp_path / "stopped", resume=True), **small))
    assert json.loads((tmp_path / "stopped" / "config.json").read_text())["decoder"] == "gpu"
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
