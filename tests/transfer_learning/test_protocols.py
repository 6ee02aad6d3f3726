"""Random splits, the SVM, the protocols; then the commands end to end on small images."""

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.svm import LinearSVC

from vggnet.cli import run
from vggnet.errors import UserError
from vggnet.transfer_learning import svm
from vggnet.transfer_learning.devkit import Sets, open_actions
from vggnet.transfer_learning.protocols import average_precision_protocol, class_recall_protocol, random_splits
from vggnet.transfer_learning.report import TransferReport

NAMES = ("a", "b", "c")


def clusters(images: int = 40, spread: float = 0.5, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Points around a corner for each class."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), images)
    return (np.eye(classes)[labels] + spread * rng.normal(size=(len(labels), classes))).astype(np.float32), labels


def test_splits_are_disjoint_balanced_and_depend_on_nothing_but_the_seed() -> None:
    labels = np.array([0] * 10 + [1] * 7 + [2] * 60)
    made = random_splits(labels, NAMES, train=5, test=50, splits=3, seed=4)
    for split in made:
        assert not set(split.train) & set(split.test)
        assert np.bincount(labels[split.train]).tolist() == [5, 5, 5]
        assert np.bincount(labels[split.test]).tolist() == [5, 2, 50]
    again = random_splits(labels, NAMES, train=5, test=50, splits=1, seed=4)
    assert np.array_equal(again[0].train, made[0].train)
    assert not np.array_equal(made[0].train, made[1].train)
    with pytest.raises(UserError, match="class 'b' has 7 images: too few"):
        random_splits(labels, NAMES, train=7, test=50, splits=1, seed=4)


def test_mean_class_recall_weighs_classes_alike() -> None:
    recalls = svm.class_recalls(np.array([0, 0, 1, 1, 0]), np.array([0, 0, 1, 1, 1]), 3)
    np.testing.assert_allclose(recalls, [1, 2 / 3, np.nan])


def test_the_recall_protocol_is_an_svm_on_the_chosen_cost() -> None:
    values, labels = clusters()
    splits = random_splits(labels, NAMES, train=20, test=50, splits=3, seed=0)
    result = class_recall_protocol(values, labels, 3, splits, costs=(0.1, 10.0))
    for split, found in zip(splits, result.splits, strict=True):
        plain = LinearSVC(C=found.cost, random_state=0, max_iter=100_000).fit(values[split.train], labels[split.train])
        wrong = plain.predict(values[split.test]) != labels[split.test]
        assert np.array_equal(found.wrong, wrong)
        assert found.mean_class_recall == pytest.approx(100 * (1 - wrong.mean()))  # classes are of one size here
    recalls = [split.mean_class_recall for split in result.splits]
    assert result.mean_class_recall == pytest.approx(np.mean(recalls))
    assert result.deviation == pytest.approx(np.std(recalls, ddof=1))


def test_a_better_descriptor_wins_in_pairs() -> None:
    good, labels = clusters(80, 0.3)
    bad, _ = clusters(80, 3.0)
    splits = random_splits(labels, NAMES, train=20, test=50, splits=2, seed=0)
    first, second = (class_recall_protocol(values, labels, 3, splits) for values in (good, bad))
    assert all(test.significant and test.only_second_wrong > test.only_first_wrong for test in first.against(second))


def test_an_unconverged_fit_is_an_error() -> None:
    values, labels = clusters(spread=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match="did not converge in 2 iterations"):
            svm.fit(values, labels, 100.0, 0, iterations=(1, 2))


def test_costs_and_validation_parts() -> None:
    assert svm.choose_cost({1.0: 0.5, 0.1: 0.7, 10.0: 0.7}.__getitem__, (1.0, 10.0, 0.1)) == 0.1
    with pytest.raises(UserError, match="above 0"):
        svm.choose_cost(float, (0.0,))
    rest, held = svm.hold_out_places(np.array([0] * 10 + [1] * 2), 0.2, np.random.default_rng(0))
    assert len(held) == 3
    assert not set(rest) & set(held)
    with pytest.raises(UserError, match="two training images a class"):
        svm.hold_out_places(np.array([0, 1, 1]), 0.2, np.random.default_rng(0))


def test_average_precision_leaves_difficult_images_out() -> None:
    values, labels = clusters(40, 0.2)
    targets = np.where(labels[:, None] == np.arange(3), 1, -1).astype(np.int8)
    order = np.random.default_rng(0).permutation(len(labels))
    train, test = order[:60], order[60:]
    result = average_precision_protocol(values, targets, NAMES, train, test)
    assert result.mean_area > 99
    hidden = targets.copy()
    wrong = test[labels[test] == 0][:5]
    hidden[wrong, 0] = 0
    values[wrong] = -values[wrong]  # as badly ranked as can be, but difficult
    assert average_precision_protocol(values, hidden, NAMES, train, test).area[0] > 99
    assert average_precision_protocol(values, targets, NAMES, train, test).area[0] < 99


def test_a_class_that_cannot_be_counted_is_left_out_and_is_null_in_json() -> None:
    values, labels = clusters(40, 0.2)
    targets = np.where(labels[:, None] == np.arange(3), 1, -1).astype(np.int8)
    order = np.random.default_rng(0).permutation(len(labels))
    train, test = order[:60], order[60:]
    targets[test[targets[test, 1] == 1], 1] = -1  # no positive test image of b
    result = average_precision_protocol(values, targets, NAMES, train, test)
    assert result.mean_area == pytest.approx((result.area[0] + result.area[2]) / 2)
    report = TransferReport(result, (), (), {})
    content = json.loads(report.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert content["classes"]["b"] == {"area": None, "11_points": None}
    assert "b                    not counted" in "\n".join(report.lines())
    targets[test] = -1
    with pytest.raises(UserError, match="none of 3 classes can be counted"):
        average_precision_protocol(values, targets, NAMES, train, test)
    with pytest.raises(UserError, match="no test image"):
        average_precision_protocol(values, targets, NAMES, train, test[:0])


def test_transfer_on_the_command_line(model_file: Path, colours: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "t.json"
    options = ["--layer", "conv2_1", "--test-scale", "64", "96", "--train-per-class", "5", "--splits", "2"]
    options += ["--costs", "100"]  # four images to judge a cost by would leave the recall to chance
    arguments = ["transfer", str(model_file), str(colours), *options, "--against", "pixels", "random"]
    assert run([*arguments, "--json", str(out), "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    content = json.loads(out.read_text())
    assert content["mean_class_recall"] > 90  # the classes are colours
    assert f"mean class recall {content['mean_class_recall']:.2f} %" in said
    assert [each["name"] for each in content["against"]] == ["pixels", "random"]
    assert content["splits"][0]["test_images"] == 20
    assert len(content["against"][0]["paired"]) == 2
    assert run(["transfer", str(model_file), str(colours), "--train-per-class", "10"]) == 2
    assert "has 10 images: too few for --train-per-class 10" in capsys.readouterr().err


def test_features_on_the_command_line(model_file: Path, colours: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "f.npz"
    arguments = ["features", str(model_file), str(model_file), str(colours), "--layer", "pool5", "--pool", "average"]
    assert run([*arguments, "--test-scale", "64", "80", "--out", str(out), "--device", "cpu"]) == 0
    assert "40 descriptors of 64 numbers" in capsys.readouterr().out
    assert run(["features", str(model_file)]) == 2
    assert "models first" in capsys.readouterr().err


@pytest.fixture
def voc(tmp_path: Path, write_noise: Callable) -> Path:
    """A devkit of one year: 12 photographs with cats (red) and dogs (blue), a person with a box in each."""
    root = tmp_path / "VOC2012"
    for folder in ("Main", "Action"):
        (root / "ImageSets" / folder).mkdir(parents=True)
    (root / "Annotations").mkdir()
    rows: dict[str, list[str]] = {}
    for number in range(24):
        name, part = f"2008_{number:06d}", "train" if number < 14 else "val"
        red = number % 2
        write_noise(root / "JPEGImages" / f"{name}.png", number, (96, 80), (200, 30, 20) if red else (20, 30, 200))
        (root / "JPEGImages" / f"{name}.png").rename(root / "JPEGImages" / f"{name}.jpg")
        targets = {"cat": 1 if red else -1, "dog": -1 if red else 1}
        targets["cat"] = 0 if number == 20 else targets["cat"]
        for label, target in targets.items():
            rows.setdefault(f"Main/{label}_{part}", []).append(f"{name} {target:2d}")
            rows.setdefault(f"Action/{label}ting_{part}", []).append(f"{name} 2 {target:2d}")
        rows.setdefault(f"Action/other_{part}", []).append(f"{name} 2 -1")  # the devkit's "other" is no action
        box = "<bndbox><xmin>11</xmin><ymin>6</ymin><xmax>70</xmax><ymax>75</ymax></bndbox>"
        text = (
            f"<annotation><object><name>dog</name>{box}</object><object><name>person</name>{box}</object></annotation>"
        )
        (root / "Annotations" / f"{name}.xml").write_text(text)
    for file, lines in rows.items():
        (root / "ImageSets" / f"{file}.txt").write_text("\n".join(lines) + "\n")
    return root


@pytest.mark.parametrize("protocol", ["voc", "actions"])
def test_vocs_protocols_on_the_command_line(model_file: Path, voc: Path, tmp_path: Path, protocol: str) -> None:
    out = tmp_path / "voc.json"
    options = [
        "--layer",
        "conv2_1",
        "--test-scale",
        "64",
        "--json",
        str(out),
        "--device",
        "cpu",
        "--protocol",
        protocol,
    ]
    assert run(["transfer", str(model_file), str(voc), *options]) == 0
    content = json.loads(out.read_text())
    assert content["mean_average_precision"] > 90
    assert content["mean_average_precision_11_points"] > 90
    assert content["sets"] == ["train", "val"]
    assert list(content["classes"]) == (["cat", "dog"] if protocol == "voc" else ["catting", "dogting"])


@pytest.mark.parametrize("protocol", ["voc", "actions"])
def test_caltechs_options_are_refused_where_they_would_do_nothing(
    model_file: Path, voc: Path, protocol: str, capsys
) -> None:
    arguments = ["transfer", str(model_file), str(voc), "--layer", "pool5", "--protocol", protocol]
    for option, value in (
        ("--splits", "3"),  # the default, but given
        ("--train-per-class", "30"),
        ("--test-per-class", "5"),
        ("--against", "pixels"),
    ):
        assert run([*arguments, option, value]) == 2
        assert f"{option}: only for --protocol caltech" in capsys.readouterr().err


def test_what_a_devkit_lacks_is_named(model_file: Path, voc: Path, colours: Path, capsys) -> None:
    arguments = ["transfer", str(model_file), str(voc), "--layer", "pool5", "--protocol", "voc"]
    assert run([*arguments, "--test-set", "test"]) == 2
    assert "no test list of 'cat', 'dog'" in capsys.readouterr().err
    assert run(["transfer", str(model_file), str(colours), "--protocol", "voc"]) == 2
    assert "no ImageSets/Main" in capsys.readouterr().err
    main = voc / "ImageSets" / "Main"
    for protocol, folder, names in (("voc", main, ("cat", "dog")), ("actions", main.parent / "Action", ("catting",))):
        assert run([*arguments[:-1], protocol, "--train-set", "train", "--test-set", "train"]) == 2
        assert "--train-set and --test-set are both train" in capsys.readouterr().err
        for name in (*names, "dogting") if protocol == "actions" else names:
            both = (folder / f"{name}_train.txt").read_text() + (folder / f"{name}_val.txt").read_text()
            (folder / f"{name}_trainval.txt").write_text(both)
        assert run([*arguments[:-1], protocol, "--train-set", "trainval", "--test-set", "val"]) == 2
        assert "10 images in trainval and in val, such as 2008_000014" in capsys.readouterr().err
    assert run(["transfer", str(model_file), str(colours), "--train-set", "train"]) == 2
    assert "--train-set: only for --protocol voc and actions" in capsys.readouterr().err
    (voc / "ImageSets" / "Main" / "cat_val.txt").write_text("2008_000014 maybe\n")
    assert run(arguments) == 2
    assert "cat_val.txt:1: expected 2 fields" in capsys.readouterr().err
    (voc / "Annotations" / "2008_000003.xml").write_text("<annotation/>")
    assert run([*arguments[:-1], "actions"]) == 2
    assert "no object 2" in capsys.readouterr().err


def test_persons_boxes_are_read_as_all_boxes_are(voc: Path) -> None:
    path = next((voc / "Annotations").glob("*.xml"))
    before = open_actions(str(voc), Sets()).parts[1].regions
    assert before is not None
    text = path.read_text()
    number = re.search(r"<xmin>(\d+)</xmin>", text)
    assert number is not None
    path.write_text(text.replace(number[0], f"<xmin>{int(number[1]) - 0.5}</xmin>"))  # rounded up, always
    after = open_actions(str(voc), Sets()).parts[1].regions
    assert np.array_equal(before, after)
    path.write_text("<!DOCTYPE annotation>" + text)
    with pytest.raises(UserError, match="refused, it declares entities or a document type"):
        open_actions(str(voc), Sets())


def test_persons_boxes_on_images_of_another_size_are_refused(model_file: Path, voc: Path, capsys) -> None:
    for path in (voc / "Annotations").glob("*.xml"):
        with Image.open(voc / "JPEGImages" / f"{path.stem}.jpg") as image:
            size = image.size
        stated = f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>"
        path.write_text(path.read_text().replace("<annotation>", stated))
    arguments = ["transfer", str(model_file), str(voc), "--layer", "pool5", "--protocol", "actions", "--device", "cpu"]
    right = path.read_text()
    path.write_text(right.replace(f"<width>{size[0]}<", f"<width>{size[0] + 7}<"))
    assert run(arguments) == 2
    assert f"its annotation is of an image of {size[0] + 7}x{size[1]}, and it is read as" in capsys.readouterr().err
    path.write_text(right)
    assert run(arguments) == 0


def test_lists_of_the_devkit_as_windows_saves_them(voc: Path) -> None:
    before = open_actions(str(voc), Sets())
    for path in (voc / "ImageSets" / "Action").glob("*.txt"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    after = open_actions(str(voc), Sets())
    assert after.ids == before.ids
    assert np.array_equal(after.targets, before.targets)
    list_file = voc / "ImageSets" / "Action" / "catting_train.txt"
    list_file.write_text("\n\n2008_000001 2 7\n")
    with pytest.raises(UserError, match=r"catting_train\.txt:3: expected 3 fields"):
        open_actions(str(voc), Sets())
