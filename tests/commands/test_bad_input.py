"""A user's mistakes on the command line: a message with what, where and what to do; status 2; never a traceback."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from forked import Forked, run_command
from PIL import Image

from vggnet.cli import run
from vggnet.commands import evaluation, training
from vggnet.network.initialization import build
from vggnet.network.weights import save_model
from vggnet.training.stopping import Interrupted

Folders = Callable[..., Path]
SMALL = ["--crop", "32", "--width", "0.05", "--epochs", "1", "--workers", "0", "--device", "cpu", "--net", "A"]


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must be refused, and return its message. Notes on the machine may come before it."""
    capsys.readouterr()
    assert run([str(argument) for argument in arguments]) == 2
    output = capsys.readouterr().err
    assert "Traceback" not in output
    _, found, message = output.rpartition("vggnet: ")
    assert found
    return found + message


def test_bad_images_stop_the_run_before_the_first_epoch(
    class_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = class_folders(), tmp_path / "run"
    folder = data / "train" / "class1"
    good = (folder / "0.jpg").read_bytes()
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "cut.jpg").write_bytes(good[: len(good) // 2])
    (folder / "text.jpg").write_text("no image at all")
    Image.new("RGB", (1, 30000)).save(folder / "line.png")
    message = fails(capsys, "train", data, "--out", out, *SMALL)
    assert "4 of 40 train images cannot be used" in message
    for name in ("empty.jpg", "cut.jpg", "text.jpg", "line.png"):
        assert name in message
    assert "--bad-images skip" in message
    assert not (out / "last.safetensors").exists()
    assert run(["train", str(data), "--out", str(out), *SMALL, "--bad-images", "skip"]) == 0
    output = capsys.readouterr().out
    assert "skipping 4 bad train images" in output
    assert "4 bad images skipped" in output


def test_images_of_unusual_kinds_are_converted_and_said(
    class_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = class_folders()
    folder = data / "train" / "class0"
    Image.new("CMYK", (40, 40), (10, 20, 30, 40)).save(folder / "cmyk.jpg")
    Image.new("P", (40, 40)).save(folder / "palette.png")
    Image.new("I;16", (40, 40), 40000).save(folder / "deep.png")
    assert run(["train", str(data), "--out", str(tmp_path / "run"), *SMALL]) == 0
    output = capsys.readouterr().out
    assert "CMYK" in output
    assert "16-bit" in output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--batch", "0"], "--batch 0"),
        (["--epochs", "0"], "--epochs 0"),
        (["--net", "F"], "not in Table 1"),
        (["--crop", "50"], "multiple of 32"),
        (["--train-scale", "20"], "below the crop"),
        (["--train-scale", "64", "32"], "smallest and largest"),
        (["--width", "0"], "width 0"),
        (["--dropout", "1"], "dropout 1"),
        (["--learning-rate", "0"], "--learning-rate 0"),
        (["--holdout", "1"], "--holdout 1"),
        (["--device", "tpu"], "--device tpu"),
        (["--init-from", "nowhere"], "nowhere"),
        (["--workers", "-1"], "--workers -1: give a number from 0 to 1,024"),
        (["--threads", "0"], "--threads 0: give a number from 1 to 1,024"),
        (["--micro-batch", "0"], "--micro-batch 0: give a number from 1 to 1,000,000"),
        (["--micro-batch", "-3"], "--micro-batch -3: give a number from 1"),
        (["--save-every", "-1"], "--save-every -1.0: give a number 0 or more"),
        (["--save-every", "nan"], "--save-every nan: give a number 0 or more"),
        (["--crop", "3200000000"], "--crop 3200000000: give a number from 32 to 2,048"),
        (["--threads", "1000000"], "--threads 1000000: give a number from 1 to 1,024"),
        (["--workers", "1000000"], "--workers 1000000: give a number from 0 to 1,024"),
        (["--seed", "-1"], "--seed -1: give a number from 0 to 4,294,967,295"),
        (["--weight-decay", "nan"], "--weight-decay nan: give a number from 0 to 1,000"),
        (["--learning-rate", "inf"], "--learning-rate inf: give a number above 0 to 1,000"),
        (["--train-scale", "40", "1000000"], "--train-scale 1000000: give a number from 1 to 10,000"),
        (["--patience", "0"], "--patience 0"),
        (["--sigma", "0.1"], "--sigma 0.1 is the deviation of --init gaussian, not of glorot"),
    ],
)
def test_options_that_cannot_be(
    class_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    message = fails(capsys, "train", class_folders(), "--out", tmp_path / "run", *SMALL, *options)
    assert said in message


def test_folders_that_cannot_be_trained_on(
    class_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert "neither a folder nor" in fails(capsys, "train", "scenesx", "--out", out, *SMALL)
    data = class_folders()
    (data / "train" / "nothing").mkdir()
    assert "nothing" in fails(capsys, "train", data, "--out", out, *SMALL)
    (data / "train" / "nothing").rmdir()
    one = fails(capsys, "train", class_folders(classes=1, name="one"), "--out", out, *SMALL)
    assert "one class only, 'class0'" in one
    shutil.copytree(data / "val" / "class0", data / "val" / "onlyhere")
    assert "onlyhere" in fails(capsys, "train", data, "--out", out, *SMALL)


def test_an_output_folder_that_is_there_is_kept(
    class_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "letter.txt").write_text("dear")
    message = fails(capsys, "train", class_folders(), "--out", out, *SMALL)
    assert "never overwritten" in message
    assert "it is no run of vggnet" in fails(capsys, "train", class_folders(name="c"), "--out", out, *SMALL, "--resume")
    assert [path.name for path in out.iterdir()] == ["letter.txt"]
    assert "a file stands there" in fails(capsys, "train", class_folders(name="b"), "--out", out / "letter.txt", *SMALL)


def test_what_is_refused_at_the_start_leaves_no_run_behind(
    class_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = class_folders(), tmp_path / "runs" / "run"
    for options in (["--step", "fused"], ["--decoder", "gpu"], ["--holdout", "1"]):
        fails(capsys, "train", data, "--out", out, *SMALL, *options)
        assert not (tmp_path / "runs").exists(), options
    out.mkdir(parents=True)
    assert "is for GPUs" in fails(capsys, "train", data, "--out", out, *SMALL, "--step", "fused")
    assert list(out.iterdir()) == []  # the user's own folder stays
    assert run(["train", str(data), "--out", str(out), *SMALL]) == 0


def test_resuming_after_images_were_added_is_refused(
    class_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The epochs before and after would not be of one training."""
    data, out = class_folders(), tmp_path / "run"
    arguments = ["train", str(data), "--out", str(out), *SMALL]
    assert run(arguments) == 0
    capsys.readouterr()
    image = next((data / "train").glob("*/*.jpg"))
    for number in range(10):
        shutil.copy(image, image.with_name(f"new-{number}.jpg"))
    said = fails(capsys, *arguments, "--resume")
    assert "10 images new: 'train/class" in said
    assert "--data-changed" in said


def test_resuming_with_another_crop_says_what_the_run_was_started_with(
    class_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run's S, which the user did not give, is not what is wrong."""
    arguments = ["train", class_folders(), "--out", tmp_path / "run", *SMALL]
    assert run([str(argument) for argument in arguments]) == 0
    capsys.readouterr()
    assert "was started with --crop 32, now it says 64" in fails(capsys, *arguments, "--resume", "--crop", "64")


@pytest.mark.parametrize("layout", ["vggnet", "timm"])
def test_a_model_is_not_written_over_a_run_or_a_project(
    class_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str
) -> None:
    data, out = class_folders(), tmp_path / "run"
    assert run(["train", str(data), "--out", str(out), *SMALL]) == 0
    before = {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()}
    save_model(tmp_path / "other.safetensors", build("A", num_classes=2, width=1 / 16))
    convert = ["convert", tmp_path / "other.safetensors", "--layout", "vggnet", "--to", layout]
    assert "config.json exists and is" in fails(capsys, *convert, "--out", out)
    if layout == "vggnet":
        assert "config.json exists" in fails(capsys, "quantize", out, data, "--out", out, "--workers", "0")
        (tmp_path / "project").mkdir()
        (tmp_path / "project" / "README.md").write_text("# My project")
        assert "README.md exists and is not a model's" in fails(capsys, *convert, "--out", tmp_path / "project")
    assert {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()} == before
    for _ in range(2):  # its own it may write again
        assert run([str(argument) for argument in [*convert, "--out", tmp_path / "model"]]) == 0


def test_a_file_that_cannot_be_written_is_named_with_its_option(
    class_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(tmp_path / "a.safetensors", build("A", num_classes=2, width=1 / 16, crop=32))
    file = tmp_path / "file"
    file.write_text("no folder")
    arguments = ["features", tmp_path / "a.safetensors", class_folders(), "--test-scale", "40", "--workers", "0"]
    assert f"--out {file / 'f.npz'}: cannot be written (" in fails(capsys, *arguments, "--out", file / "f.npz")


def test_a_head_of_other_classes_is_refused_with_the_way_out(
    class_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source.safetensors"
    save_model(source, build("A", num_classes=1000, width=0.05, crop=32))
    given = ["--init-from", source, "--no-new-head"]
    message = fails(capsys, "train", class_folders(), "--out", tmp_path / "r", *SMALL, *given)
    assert "1000" in message
    assert "--new-head" in message


def test_no_space_left_is_said_before_training(
    class_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))  # type: ignore[attr-defined]
    message = fails(capsys, "train", class_folders(), "--out", tmp_path / "run", *SMALL)
    assert "GB are free" in message


def test_a_disk_that_fills_up_during_training_is_a_message_and_the_run_goes_on_later(
    class_folders: Folders, tmp_path: Path
) -> None:
    data, out = class_folders(), tmp_path / "run"
    command = ["train", str(data), "--out", str(out), *SMALL, "--resume"]
    on_a_full_disk(command)
    assert run(command) == 0


def test_a_disk_that_is_full_is_a_message_for_export_too(tmp_path: Path) -> None:
    """PyTorch's own writer would end the process with a trace of C++."""
    save_model(tmp_path / "a.safetensors", build("A", num_classes=3, width=0.1, crop=32))
    out = tmp_path / "a.pt2"
    on_a_full_disk(["export", str(tmp_path / "a.safetensors"), "--format", "torch-export", "--out", str(out)])
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def on_a_full_disk(command: list[str]) -> None:
    """A real limit: files may not grow beyond 200 kB, so that no weights can be written."""
    process = Forked(with_small_files, command)
    said, _ = process.communicate()
    assert process.returncode == 75, said
    assert "Traceback" not in said
    assert "space" in said or "too large" in said


def with_small_files(command: list[str]) -> None:
    """Run `vggnet COMMAND` in a process of its own that can write files of up to 200 kB."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    run_command(command)


@pytest.mark.parametrize(
    ("command", "module", "continued"),
    [
        (["train", "photos"], training, "the same command with --resume continues"),
        (["ladder", "photos", "--out", "runs"], training, "the same command continues"),
        (["quickstart"], training, "the same command continues"),
        (["evaluate", "run", "photos"], evaluation, "give the same command again"),
    ],
)
@pytest.mark.parametrize(
    ("error", "status"),
    [(Interrupted(), 130), (Interrupted(terminated=True), 143), (OSError(errno.ENOSPC, "full"), 75)],
)
def test_what_is_stopped_says_how_this_command_goes_on(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    module: ModuleType,
    continued: str,
    error: Exception,
    status: int,
) -> None:
    """The ladder and the quickstart have no --resume: they go on by themselves."""

    def stop(_: object) -> None:
        raise error

    monkeypatch.setattr(module, command[0], stop)
    assert run(command) == status
    assert capsys.readouterr().err.rstrip().endswith(continued)


def test_a_misspelt_option_or_command_names_the_right_one() -> None:
    for arguments, hint in ((["train", "x", "--epohcs", "3"], "--epochs"), (["trian", "x"], "train")):
        done = subprocess.run(
            [sys.executable, "-m", "vggnet", *arguments], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 2
        assert hint in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr


def test_a_class_whose_name_is_not_utf8_is_named_before_the_first_epoch(
    class_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = class_folders()
    for part in ("train", "val"):
        (data / part / "class1").rename(data / part / os.fsdecode(b"caf\xe9"))
    message = fails(capsys, "train", data, "--out", tmp_path / "run", *SMALL)
    assert r"the name of the class 'caf\xe9' is not UTF-8" in message
    assert "rename its folder" in message
    assert not (tmp_path / "run").exists()
