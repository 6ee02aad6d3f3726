"""The VOC devkit's sets, its unlabelled test sets and the files for its server, from the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from vggnet.cli import run
from vggnet.errors import UserError
from vggnet.transfer_learning.average_precision import average_precisions
from vggnet.transfer_learning.devkit import Sets, open_actions, open_voc
from vggnet.transfer_learning.protocols import average_precision_protocol
from vggnet.transfer_learning.voc_results import write_voc_results

BOX = "<bndbox><xmin>11</xmin><ymin>6</ymin><xmax>70</xmax><ymax>75</ymax></bndbox>"


@pytest.fixture
def voc(tmp_path: Path, write_noise: Callable) -> Path:
    """A devkit of 2012: 10 train, 6 val and 4 test photographs, red cats and blue dogs; the test set has no labels."""
    root = tmp_path / "VOC2012"
    for folder in ("ImageSets/Main", "ImageSets/Action", "Annotations"):
        (root / folder).mkdir(parents=True)
    lists: dict[str, list[str]] = {}
    for number in range(20):
        name, part = f"2012_{number:06d}", "train" if number < 10 else "val" if number < 16 else "test"
        red = number % 2
        write_noise(root / f"{name}.png", number, (96, 80), (200, 30, 20) if red else (20, 30, 200))
        (root / "JPEGImages").mkdir(exist_ok=True)
        (root / f"{name}.png").rename(root / "JPEGImages" / f"{name}.jpg")
        objects = f"<object><name>dog</name>{BOX}</object><object><name>person</name>{BOX}</object>"
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")
        if part == "test":
            lists.setdefault("Main/test", []).append(name)
            lists.setdefault("Action/test", []).append(f"{name} 2")
            continue
        for label, target in (("cat", 1 if red else -1), ("dog", -1 if red else 1)):
            for each in (part, "trainval"):
                lists.setdefault(f"Main/{label}_{each}", []).append(f"{name} {target:2d}")
                lists.setdefault(f"Action/{label}ting_{each}", []).append(f"{name} 2 {target:2d}")
    for file, lines in lists.items():
        (root / "ImageSets" / f"{file}.txt").write_text("\n".join(lines) + "\n")
    return root


def _transfer(model: Path, data: Path, *arguments: str | Path) -> int:
    common = ["--layer", "conv2_1", "--test-scale", "64", "--device", "cpu", "--workers", "0"]
    return run(["transfer", str(model), str(data), *common, *map(str, arguments)])


@pytest.mark.parametrize(
    ("protocol", "folder", "names", "ids"),
    [
        ("voc", "Main", ["comp2_cls_test_cat.txt", "comp2_cls_test_dog.txt"], ["2012_000016", "2012_000017"]),
        (
            "actions",
            "Action",
            ["comp10_action_test_catting.txt", "comp10_action_test_dogting.txt"],
            ["2012_000016 2", "2012_000017 2"],
        ),
    ],
)
def test_result_files_for_the_server(
    model_file: Path, voc: Path, tmp_path: Path, capsys, protocol: str, folder: str, names: list[str], ids: list[str]
) -> None:
    sets = ["--protocol", protocol, "--train-set", "trainval", "--test-set", "test", "--json", tmp_path / "t.json"]
    assert _transfer(model_file, voc, *sets) == 2  # nothing can be counted, and nothing would be written
    assert "test has no labels" in capsys.readouterr().err
    assert _transfer(model_file, voc, *sets, "--results", tmp_path / "results") == 0
    said = capsys.readouterr().out
    written = tmp_path / "results" / "VOC2012" / folder
    assert sorted(path.name for path in written.iterdir()) == names
    scores = []
    for name in names:
        lines = [line.rsplit(" ", 1) for line in (written / name).read_text().splitlines()]
        assert [line[0] for line in lines][:2] == ids
        assert len(lines) == 4
        scores.append([float(line[1]) for line in lines])
    cats, dogs = np.array(scores)
    assert (np.sign(cats) == [-1, 1, -1, 1]).all()  # odd ones are red: cats
    assert (np.sign(dogs) == [1, -1, 1, -1]).all()
    assert f"2 result files in {written}" in said
    content = json.loads((tmp_path / "t.json").read_text())
    assert content["mean_average_precision"] is None
    assert content["results"] == [str(written / name) for name in names]
    assert "no labels in test: only VOC's server can count the result" in said


def test_the_other_competition_and_what_does_not_go_together(
    model_file: Path, voc: Path, tmp_path: Path, capsys
) -> None:
    results = ["--results", tmp_path / "results"]
    assert _transfer(model_file, voc, "--protocol", "voc", *results, "--competition", "comp1") == 0
    assert (tmp_path / "results" / "VOC2012" / "Main" / "comp1_cls_val_cat.txt").is_file()  # a set with labels, too
    for arguments, message in (
        (["--protocol", "voc", *results, "--competition", "comp9"], "--protocol voc has comp1 and comp2"),
        (["--protocol", "voc", "--competition", "comp1"], "--competition comp1 names result files: give --results"),
        (["--protocol", "voc", "--regions", "image"], "--regions image: only for --protocol actions"),
        (["--protocol", "caltech", *results], "--results: only for --protocol voc and actions"),
        (["--protocol", "caltech", "--cost-sets", "train", "val"], "--cost-sets: only for --protocol voc and actions"),
        (["--protocol", "voc", "--cost-sets", "train"], "--cost-sets train: two sets, such as train val"),
        (["--protocol", "voc", "--cost-sets", "train", "val"], "such as 2012_000010, not in the training set train"),
        (["--protocol", "voc", "--cost-sets", "train", "dev"], "has no cat_dev.txt"),
        (
            [
                "--protocol",
                "actions",
                "--train-set",
                "trainval",
                "--test-set",
                "test",
                "--cost-sets",
                "train",
                "trainval",
            ],
            "both sets have 2012_000000 2",
        ),
    ):
        assert _transfer(model_file, voc, *arguments) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert _transfer(model_file, voc, "--protocol", "voc", "--results", tmp_path / "file") == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_class_that_was_not_learnt_has_no_file(tmp_path: Path) -> None:
    scores = np.array([[0.5, np.nan], [-1.25, np.nan]])
    ids = (("2012_000001",), ("2012_000002",))
    written = write_voc_results(tmp_path, "voc", "comp2", "VOC2012", "test", ("cat", "dog"), ids, scores)
    assert [path.name for path in written] == ["comp2_cls_test_cat.txt"]
    assert written[0].read_text() == "2012_000001 0.500000000\n2012_000002 -1.250000000\n"


def test_c_is_chosen_on_vocs_own_sets(voc: Path) -> None:
    """Against an SVM by hand: each C learns from train and is judged on val; all of trainval is learnt in the end."""
    examples = open_voc(str(voc), Sets("trainval", "test", ("train", "val")))
    assert examples.cost is not None
    learn, held = examples.cost
    assert [examples.ids[place][0] for place in learn] == [f"2012_{number:06d}" for number in range(10)]
    assert [examples.ids[place][0] for place in held] == [f"2012_{number:06d}" for number in range(10, 16)]
    assert not examples.labelled
    rng = np.random.default_rng(0)
    targets = examples.targets.copy()
    values = (targets[:, :1] + 3 * rng.normal(size=(len(targets), 6))).astype(np.float32)
    costs = (0.001, 0.1, 10.0)
    judged = {}
    for cost in costs:
        areas = []
        for column in range(2):
            svm = LinearSVC(C=cost, random_state=0, max_iter=100_000).fit(values[learn], targets[learn, column])
            areas.append(average_precisions(svm.decision_function(values[held]), targets[held, column])[1])
        judged[cost] = np.mean(areas)
    best = max(judged, key=lambda cost: (judged[cost], -cost))
    found = average_precision_protocol(
        values,
        targets,
        examples.classes,
        examples.train,
        examples.test,
        cost_places=examples.cost,
        labelled=False,
        costs=costs,
    )
    assert len(set(judged.values())) > 1
    assert found.cost == best
    svm = LinearSVC(C=best, random_state=0, max_iter=100_000).fit(values[examples.train], targets[examples.train, 0])
    np.testing.assert_allclose(found.scores[:, 0], svm.decision_function(values[examples.test]), atol=1e-4)
    with pytest.raises(UserError, match="none of 2 classes can be counted"):
        average_precision_protocol(values, targets, examples.classes, examples.train, examples.test)


def test_cost_sets_on_the_command_line(model_file: Path, voc: Path, tmp_path: Path) -> None:
    sets = ["--train-set", "trainval", "--test-set", "test", "--cost-sets", "train", "val"]
    for protocol in ("voc", "actions"):
        out = tmp_path / f"{protocol}.json"
        assert (
            _transfer(model_file, voc, "--protocol", protocol, *sets, "--results", tmp_path / "r", "--json", out) == 0
        )
        assert json.loads(out.read_text())["cost_sets"] == ["train", "val"]


def test_an_action_is_described_by_the_image_the_box_or_both(model_file: Path, voc: Path, tmp_path: Path) -> None:
    """Table 12 has the image alone and both; their descriptors are as long as the parts that are stacked."""
    regions = {name: open_actions(str(voc), Sets(), name).parts for name in ("image", "box", "both")}
    assert [len(parts) for parts in regions.values()] == [1, 1, 2]
    assert regions["image"][0].regions is None
    np.testing.assert_array_equal(regions["box"][0].regions[0], [10, 5, 69, 74])
    precisions = {}
    for name in regions:
        out = tmp_path / f"{name}.json"
        assert _transfer(model_file, voc, "--protocol", "actions", "--regions", name, "--json", out) == 0
        content = json.loads(out.read_text())
        assert content["regions"] == name
        precisions[name] = content["paper"]["score"]
    assert precisions == {"image": 79.2, "box": 84.0, "both": 84.0}


def test_lists_that_are_malformed_are_named(voc: Path) -> None:
    (voc / "ImageSets" / "Action" / "test.txt").write_text("2012_000016 second\n")
    with pytest.raises(UserError, match=r"test.txt:1: expected a person's place among the objects, not 'second'"):
        open_actions(str(voc), Sets("trainval", "test"))
    (voc / "ImageSets" / "Main" / "test.txt").write_text("2012_000016 1\n")
    with pytest.raises(UserError, match=r"test.txt:1: expected 1 field$"):
        open_voc(str(voc), Sets("trainval", "test"))
    main = voc / "ImageSets" / "Main" / "dog_train.txt"
    main.write_text("\n".join(main.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(UserError, match=r"dog_train.txt and cat_train.txt list different images"):
        open_voc(str(voc), Sets())
