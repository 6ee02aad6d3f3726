"""What a check of a data set finds, what it writes, and a training that takes its list."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vggnet.cli import run
from vggnet.data.leaving_out import leave_out
from vggnet.data.opening import open_data
from vggnet.errors import UserError
from vggnet.images.checking import check_data, write_check


@pytest.fixture
def faulty(class_folders) -> Path:
    """Class folders with a fault of each kind."""
    root = class_folders(classes=2, train=6, val=3)
    (root / "train/class0/0.jpg").write_bytes(b"")
    whole = (root / "train/class0/1.jpg").read_bytes()
    (root / "train/class0/1.jpg").write_bytes(whole[: len(whole) // 2])
    Image.open(root / "val/class1/2.jpg").save(root / "train/class1/5.png")  # the same pixels, another format
    shutil.copy(root / "train/class1/1.jpg", root / "train/class0/other.jpg")
    shutil.copy(root / "train/class1/2.jpg", root / "train/class1/again.jpg")
    return root


def found_in(root: Path, workers: int = 0) -> set[tuple[str, str, str]]:
    return {(each.kind, each.part, each.image) for each in check_data(open_data(str(root)), workers=workers).findings}


@pytest.mark.parametrize("workers", [0, 1])
def test_each_kind_of_fault_is_found_and_nothing_else(faulty, workers):
    before = {path: path.read_bytes() for path in faulty.rglob("*") if path.is_file()}
    assert found_in(faulty, workers) == {
        ("unreadable", "train", "train/class0/0.jpg"),
        ("unreadable", "train", "train/class0/1.jpg"),
        ("copy across parts", "train", "train/class1/5.png"),
        ("two classes", "train", "train/class0/other.jpg"),
        ("two classes", "train", "train/class1/1.jpg"),
        ("copy", "train", "train/class1/again.jpg"),
    }
    assert {path: path.read_bytes() for path in faulty.rglob("*") if path.is_file()} == before  # nothing is deleted


def test_images_named_after_another_wordnet_class(make_image, tmp_path):
    for number, wnid in enumerate(("n01440764", "n01443537")):
        for part in ("train", "val"):
            make_image(f"in/{part}/{wnid}/{wnid}_{number}.png", seed=10 * number + (part == "val"))
    make_image("in/train/n01440764/n01443537_7.png", seed=7)
    make_image("in/train/n01440764/n09999999_8.png", seed=8)  # of a class that is not here
    assert found_in(tmp_path / "in") == {("another class by name", "train", "train/n01440764/n01443537_7.png")}


def test_the_next_check_names_changed_and_missing_images(class_folders):
    root = class_folders(classes=2, train=3, val=1)
    assert check_data(open_data(str(root))).compared is False
    again = check_data(open_data(str(root)))
    assert (again.findings, again.compared) == ((), True)
    state = (root / "train/class0/1.jpg").stat()
    Image.fromarray(np.full((40, 40, 3), 7, np.uint8)).save(root / "train/class0/1.jpg")
    os.utime(root / "train/class0/1.jpg", ns=(state.st_atime_ns, state.st_mtime_ns))
    (root / "train/class1/2.jpg").unlink()
    assert found_in(root) == {("changed", "train", "train/class0/1.jpg"), ("gone", "train", "train/class1/2.jpg")}
    assert found_in(root) == set()


def test_the_command_writes_a_report_and_a_list_that_a_training_takes(faulty, tmp_path, capsys):
    out = tmp_path / "check"
    assert run(["data", "check", str(faulty), "--out", str(out), "--workers", "0"]) == 0
    printed = capsys.readouterr().out
    assert "2 cannot be read:\n  train: train/class0/0.jpg: 0 bytes: the file is empty\n" in printed
    assert f"--leave-out {out / 'leave-out.csv'}" in printed
    report = json.loads((out / "report.json").read_text())
    assert (report["images"], len(report["findings"])) == ({"train": 15, "val": 6}, 6)
    with (out / "leave-out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5
    small = ["--net", "A", "--crop", "32", "--width", "0.03", "--epochs", "1", "--workers", "0", "--device", "cpu"]
    more = ["--leave-out", str(out / "leave-out.csv"), "--out", str(tmp_path / "run")]
    assert run(["train", str(faulty), *small, *more]) == 0
    assert f"note: left out 5 images that {out / 'leave-out.csv'} names" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "config.json").read_text())["leave_out"] == str(out / "leave-out.csv")
    assert run(["train", str(faulty), "--resume", *small[:-2], "--out", str(tmp_path / "run")]) == 0


def test_lists_that_do_not_fit_have_a_message(class_folders, tmp_path):
    data, path = open_data(str(class_folders())), tmp_path / "list.csv"
    path.write_text("part,image,reason\ntrain,train/class0/none.jpg,x\n")
    with pytest.raises(UserError, match=r"none of its images is in .*: it is of other data"):
        leave_out(data, path)
    path.write_text("part,image,reason\ntest,train/class0/0.jpg,x\n")
    with pytest.raises(UserError, match=r"list.csv:2: column part: 'test' is neither train nor val"):
        leave_out(data, path)
    path.write_text("part,image,reason\n")
    assert len(leave_out(data, path).train) == len(data.train)


def test_nothing_found_writes_an_empty_list(class_folders, tmp_path):
    found = check_data(open_data(str(class_folders(classes=2, train=2, val=1))))
    write_check(found, tmp_path / "out")
    assert found.lines() == ["checked 4 images of train and 2 images of val: nothing found"]
    assert (tmp_path / "out/leave-out.csv").read_text() == "part,image,reason\n"
