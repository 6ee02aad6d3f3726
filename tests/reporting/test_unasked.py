"""Reports that nobody asked for: which commands write them, where, and that they are named in the last line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from nets import save_random_net

import vggnet
from vggnet.cli import run as command
from vggnet.reporting import unasked
from vggnet.training.checkpoints import TrainingProgress

SMALL = ("--width", "0.04", "--crop", "32", "--epochs", "1", "--batch", "6", "--device", "cpu", "--workers", "0")


def test_a_training_writes_its_report_and_names_it_in_the_last_line(
    class_folders: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = class_folders(train=4, val=2), tmp_path / "run"
    assert command(["train", str(data), "--net", "A", "--out", str(out), *SMALL]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"report: {out / 'report.html'}"
    assert "Single images" in (out / "report.html").read_text()
    (out / "report.html").unlink()
    assert command(["train", str(data), "--net", "A", "--out", str(out), *SMALL, "--resume", "--no-report"]) == 0
    assert not (out / "report.html").exists()
    assert "report" not in json.loads((out / "config.json").read_text())


def test_evaluate_writes_a_report_where_it_is_asked_for(
    class_folders: Callable[..., Path],
    make_run: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = class_folders(train=4, val=2)
    run = make_run("A", data)
    asked = ["evaluate", str(run), str(data), "--device", "cpu", "--workers", "0"]
    assert command(asked) == 0
    assert not (run / "report.html").exists()
    assert command([*asked, "--report"]) == 0
    assert f"report: {run / 'report.html'}" in capsys.readouterr().out
    assert "Evaluation on images (val)" in (run / "report.html").read_text()
    assert command([*asked, "--report", "--json", str(tmp_path / "out" / "table.json")]) == 0
    assert (tmp_path / "out" / "report.html").exists()
    assert command(["evaluate", str(run), str(data / "val" / "class0"), "--device", "cpu", "--report"]) == 2
    assert "have no labels" in capsys.readouterr().err


def test_localize_evaluate_writes_tables_8_and_9(
    class_folders: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = class_folders(train=4, val=2)
    names = sorted(file.relative_to(data).as_posix() for file in data.glob("*/*/*.jpg"))
    lines = [f"{name},{name.split('/')[1]},5,5,30,28" for name in names]
    (data / "boxes.csv").write_text("\n".join(["image,class,xmin,ymin,xmax,ymax", *lines]) + "\n")
    classes = ("class0", "class1", "class2")
    boxes = tmp_path / "boxes"
    boxes.mkdir()
    save_random_net(boxes / "best.safetensors", classes, boxes="pcr", recipe={"layers": "all"})
    save_random_net(tmp_path / "classes.safetensors", classes)
    asked = ["localize", "evaluate", str(boxes), str(data), "--classifier", str(tmp_path / "classes.safetensors")]
    assert command([*asked, "--test-scale", "40", "--device", "cpu", "--workers", "0"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"report: {boxes / 'report.html'}"
    html = (boxes / "report.html").read_text()
    assert "Test 1: the box of the true class" in html
    assert "Test 2: dense" in html
    assert "Boxes of boxes" in html
    assert html.count("with its true and its predicted box") == 2 * 6


@pytest.mark.parametrize(
    ("wall_s", "finished", "writes"), [(100.0, False, True), (20.0, False, False), (100.0, True, False)]
)
def test_long_trainings_refresh_their_curves(
    class_folders: Callable[..., Path], make_run: Callable[..., Path], wall_s: float, finished: bool, writes: bool
) -> None:
    run = make_run("A", class_folders(train=2, val=1))
    after_epoch = unasked.refreshed(None, True)
    assert after_epoch is not None
    after_epoch(run, TrainingProgress(epoch=2, wall_s=wall_s, finished=finished), 7)
    assert (run / "report.html").exists() == writes
    if writes:
        html = (run / "report.html").read_text()
        assert "How it learnt" in html
        assert "Single images" not in html
    assert unasked.refreshed(None, False) is None


def test_the_loop_calls_after_each_epoch(class_folders: Callable[..., Path], tmp_path: Path) -> None:
    from vggnet.options.machine import MachineOptions
    from vggnet.options.training import TrainOptions
    from vggnet.training.classification import train_classifier

    seen: list[tuple[str, int, int, bool]] = []
    machine = MachineOptions(device="cpu", workers=0)
    options = TrainOptions(
        str(class_folders(train=4, val=1)),
        net="A",
        out=tmp_path / "run",
        width=0.04,
        crop=32,
        epochs=2,
        batch=6,
        machine=machine,
    )
    train_classifier(
        options, lambda run, progress, epochs: seen.append((run.name, progress.epoch, epochs, progress.finished))
    )
    assert seen == [("run", 1, 2, False), ("run", 2, 2, True)]


def test_python_writes_it_too_where_the_run_goes(class_folders: Callable[..., Path], tmp_path: Path) -> None:
    small = {"net": "A", "width": 0.04, "crop": 32, "epochs": 1, "batch": 6, "device": "cpu", "workers": 0}
    data = class_folders(train=4, val=1)
    vggnet.train(data, out=tmp_path / "with", **small)
    vggnet.train(data, out=tmp_path / "without", report=False, **small)
    assert (tmp_path / "with" / "report.html").exists()
    assert not (tmp_path / "without" / "report.html").exists()
