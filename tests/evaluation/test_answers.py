"""What rows answer for each image: in Python, as CSV, and from the command line."""

import csv
from pathlib import Path

import numpy as np
import pytest
from passes import no_forward_pass

from vggnet.api.arguments import options_of
from vggnet.api.evaluation import evaluate, predict
from vggnet.api.training import train
from vggnet.cli import run as command
from vggnet.errors import UserError
from vggnet.evaluation.answers import Answers, answers_csv
from vggnet.evaluation.computing import ON_CPU
from vggnet.evaluation.evaluate import evaluate as run_evaluation
from vggnet.evaluation.evaluate import evaluate_rows
from vggnet.evaluation.metrics import ranks
from vggnet.evaluation.protocols import combinations
from vggnet.evaluation.store import Store
from vggnet.evaluation.views import View
from vggnet.network.weights import read_description
from vggnet.options.evaluation import EvaluateOptions

CPU = {"device": "cpu", "precision": "fp32", "workers": 0}


def test_the_best_classes_are_those_of_a_sort_with_equal_ones_by_index() -> None:
    posteriors = np.array([[0.1, 0.3, 0.3, 0.05, 0.05, 0.2], [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]])
    truth = np.array([2, 5])
    found = Answers.of("row", "", ("a", "b"), tuple("uvwxyz"), posteriors, truth, ranks(posteriors, truth))
    assert found.best[0].tolist() == [1, 2, 5, 0, 3]
    assert found.best[1].tolist()[0] == 0
    assert found.posteriors[0].tolist() == [0.3, 0.3, 0.2, 0.1, 0.05]
    assert found.of_truth.tolist() == [0.3, 0.1]
    assert found.places.tolist() == [1, 5]
    assert found.wrong.tolist() == [True, True]


def test_a_net_of_three_classes_has_three_and_the_lines_have_one_length() -> None:
    posteriors = np.array([[0.2, 0.5, 0.3]])
    few = Answers.of("few", "", ("a",), tuple("uvw"), posteriors, np.array([1]), np.array([0]))
    many = Answers.of("many", "", ("a",), tuple("uvwxyz"), np.full((1, 6), 1 / 6), np.array([1]), np.array([1]))
    lines = list(csv.reader(answers_csv([few, many]).splitlines()))
    assert {len(line) for line in lines} == {16}
    assert lines[1] == [
        "few",
        "a",
        "v",
        "yes",
        "0.500000",
        "1",
        *"vwu",
        "",
        "",
        "0.500000",
        "0.300000",
        "0.200000",
        "",
        "",
    ]


def test_per_image_lists_each_image_of_each_row_and_counts_the_errors_of_the_table(
    animals: Path, run_folder, tmp_path: Path
) -> None:
    run = run_folder()
    table = evaluate([run], str(animals), per_image=tmp_path / "images.csv", **CPU)
    lines = list(csv.DictReader((tmp_path / "images.csv").read_text().splitlines()))
    assert len(lines) == 2 * 18
    for row in table.rows:
        own = [line for line in lines if line["row"] == row.label]
        assert sum(line["right"] == "no" for line in own) == row.errors.top1.wrong
        assert sum(int(line["true_place"]) > 5 for line in own) == row.errors.top5.wrong
        assert all((line["class_1"] == line["true_class"]) == (line["right"] == "yes") for line in own)
        assert all(line["true_class"] in line["image"] for line in own)


def test_the_command_line_writes_both_files_and_names_them(
    animals: Path, run_folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, images, classes = run_folder(), tmp_path / "images.csv", tmp_path / "predictions.csv"
    assert command(["evaluate", str(run), str(animals), "--views", "center", "--per-image", str(images)]) == 0
    assert command(["predict", str(run), str(animals / "val" / "bee"), "--top", "2", "--csv", str(classes)]) == 0
    printed = capsys.readouterr().out
    assert f"written to {images}" in printed
    assert f"written to {classes}" in printed
    lines = list(csv.DictReader(classes.read_text().splitlines()))
    assert list(lines[0]) == ["image", "class_1", "class_2", "posterior_1", "posterior_2"]
    expected = predict(run, [animals / "val" / "bee"], top=2, **CPU)
    assert [line["image"] for line in lines] == [each.path for each in expected]
    assert float(lines[0]["posterior_1"]) == pytest.approx(expected[0].classes[0].posterior, abs=1e-6)


def test_images_without_labels_have_no_answers_to_compare(animals: Path, run_folder, tmp_path: Path) -> None:
    options = options_of(EvaluateOptions, CPU, inputs=(), per_image=tmp_path / "a.csv")
    with pytest.raises(UserError, match="`csv` writes the answers"):
        run_evaluation(options, [run_folder()], animals / "val" / "bee")


def test_rows_of_stored_views_need_no_forward_pass(animals: Path, run_folder) -> None:
    run = run_folder()
    expected = evaluate([run], str(animals), views=["center", "dense"], test_scale=[64, 73], **CPU)
    stored = []

    def choose(entrants, opened):
        store = Store.of(run, read_description(run), opened.val, ON_CPU)
        stored.extend(store.stored_views())
        return combinations(entrants, views=["dense"], test_scale=[view.scale for view in stored])

    with no_forward_pass():
        table = evaluate_rows([run], animals, choose, ON_CPU)
    assert stored == [View("center", 64), View("center", 73), View("dense", 64), View("dense", 73)]
    dense = {row.label: row.errors for row in expected.rows if row.method == "dense"}
    assert {row.label: row.errors for row in table.rows} == dense


def test_values_that_were_computed_elsewhere_are_found_again(animals: Path, run_folder) -> None:
    from vggnet.data.opening import open_data

    run = run_folder()
    split = open_data(str(animals)).val
    store = Store.of(run, read_description(run), split, ON_CPU)
    values = np.random.default_rng(0).random((2, 6)).astype(np.float32)
    store.add(View("center", 73), np.array([3, 5]), values)
    again, present = Store.of(run, read_description(run), split, ON_CPU).read(View("center", 73))
    assert np.flatnonzero(present).tolist() == [3, 5]
    assert np.array_equal(again[[3, 5]], values)


def test_a_training_stores_what_it_computed_on_val(class_folders, tmp_path: Path) -> None:
    data, out = class_folders(train=4, val=2), tmp_path / "run"
    result = train(data, net="A", width=0.04, crop=32, epochs=1, batch=6, out=out, device="cpu", workers=0)
    with no_forward_pass():
        table = evaluate([out], str(data), **CPU)
    assert [row.errors for row in table.rows] == [result.errors["center"], result.errors["dense"]]
