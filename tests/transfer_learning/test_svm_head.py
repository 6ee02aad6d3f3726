"""The net of `transfer --out` names the classes that its SVM names, and every command takes it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nets import random_net

import vggnet
from vggnet.cli import run
from vggnet.errors import UserError
from vggnet.network.weights import load_model, save_model

SMALL = ["--device", "cpu", "--workers", "0", "--test-scale", "40"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_model(tmp_path / "net.safetensors", random_net(("ant", "bee"), width=0.06))
    return tmp_path / "net.safetensors"


def transferred(model: Path, data: Path, out: Path, *options: str) -> dict:
    report = out.with_suffix(".json")
    command = ["transfer", str(model), str(data), "--train-per-class", "4", "--splits", "1", *SMALL, *options]
    assert run([*command, "--out", str(out), "--json", str(report)]) == 0
    return json.loads(report.read_text())


@pytest.mark.parametrize("classes", [2, 3])
def test_without_the_mirror_the_net_names_exactly_the_classes_of_the_svm(
    model: Path, class_folders: Callable[..., Path], tmp_path: Path, classes: int
) -> None:
    from sklearn.svm import LinearSVC

    data = class_folders(classes=classes, train=8, val=6)
    head = transferred(model, data, tmp_path / "svm", "--no-mirror")["head"]
    options = {"test_scale": 40, "mirror": False, "device": "cpu", "workers": 0}
    found = vggnet.descriptors(model, data, **options)
    train = np.array(["train" in Path(file).parts for file in found.files])
    svm = LinearSVC(C=head["cost"], fit_intercept=False, dual="auto", random_state=0, max_iter=100_000)
    svm.fit(found.values[train], found.labels[train])
    expected = [found.classes[label] for label in svm.predict(found.values)]
    predictions = vggnet.predict(tmp_path / "svm", list(found.files), top=1, device="cpu", precision="fp32")
    assert [each.classes[0].name for each in predictions] == expected
    assert head["train_images"] == 8 * classes
    unseen = zip(np.array(expected)[~train], found.labels[~train], strict=True)
    wrong = sum(name != found.classes[label] for name, label in unseen)
    assert head["val_wrong"] == wrong
    assert head["val_images"] == 6 * classes


def test_with_the_mirror_posteriors_are_averaged_in_place_of_activations(
    model: Path, class_folders: Callable[..., Path], tmp_path: Path
) -> None:
    data = class_folders(train=8, val=6)
    head = transferred(model, data, tmp_path / "svm")["head"]
    table = vggnet.evaluate(tmp_path / "svm", data, views="dense", device="cpu", precision="fp32", workers=0)
    assert table.rows[0].test_scale == "40"
    assert abs(table.rows[0].errors.top1.wrong - head["val_wrong"]) <= 1


def test_posteriors_are_fitted_to_held_out_images(
    model: Path, class_folders: Callable[..., Path], tmp_path: Path
) -> None:
    """The colour tells the class, so the SVM is sure; its raw scores differ by less than 1 in most images."""
    data = class_folders(train=12, val=6)
    transferred(model, data, tmp_path / "svm")
    predictions = vggnet.predict(tmp_path / "svm", data / "val", top=1, device="cpu", precision="fp32")
    right = [each.classes[0].posterior for each in predictions if each.classes[0].name in each.path]
    assert len(right) >= 15
    assert np.mean(right) > 0.8


@pytest.mark.slow
def test_export_takes_it(model: Path, class_folders: Callable[..., Path], tmp_path: Path) -> None:
    transferred(model, class_folders(train=6, val=2), tmp_path / "svm")
    assert run(["export", str(tmp_path / "svm"), "--format", "torch-export", "--out", str(tmp_path / "svm.pt2")]) == 0


def test_evaluate_and_convert_take_it_and_know_what_it_was_fitted_on(
    model: Path, class_folders: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = class_folders(train=6, val=2)
    out = tmp_path / "svm"
    transferred(model, data, out)
    assert run(["convert", str(out), "--layout", "vggnet", "--to", "vggnet", "--out", str(tmp_path / "again")]) == 0
    capsys.readouterr()
    assert run(["evaluate", str(out), str(data / "train"), "--views", "dense", *SMALL]) == 0
    assert "has learnt from" in capsys.readouterr().out
    net = load_model(out)
    assert net.description.classes == ("class0", "class1", "class2")
    assert net.description.train_scale == (40,)
    assert not net.fc8.bias.any()


def test_images_set_aside_stay_unseen(model: Path, class_folders: Callable[..., Path], tmp_path: Path) -> None:
    data = class_folders(train=10, val=1) / "train"
    head = transferred(model, data, tmp_path / "svm")["head"]
    assert head["val_images"] > 0
    assert head["train_images"] + head["val_images"] == 30
    table = vggnet.evaluate(tmp_path / "svm", data, views="dense", test_scale=40, device="cpu", workers=0)
    assert table.rows[0].errors.top1.images == head["val_images"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--layer fc6", "give one model, --layer fc7 and at most one --test-scale"),
        ("--test-scale 40 48", "give one model, --layer fc7 and at most one --test-scale"),
        ("--protocol voc", "only for --protocol caltech"),
    ],
)
def test_heads_that_no_net_can_have_are_refused_at_once(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: str, said: str
) -> None:
    assert run(["transfer", str(model), "photos", *options.split(), "--out", str(tmp_path / "svm")]) == 2
    assert said in capsys.readouterr().err


def test_a_folder_of_something_else_is_not_overwritten(model: Path, class_folders: Callable[..., Path]) -> None:
    data = class_folders(train=6, val=2)
    (data / "README.md").write_text("photographs")
    with pytest.raises(UserError, match="is not a model's"):
        vggnet.transfer(model, data, train_per_class=2, splits=1, out=data, device="cpu", workers=0)
