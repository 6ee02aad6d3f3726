"""From runs and a data set to a table, a csv of five classes, or a list of predictions."""

import csv
import errno
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from passes import no_forward_pass
from rich.console import Console

from vggnet.api.evaluation import classify, evaluate, predict
from vggnet.cli import run
from vggnet.data.opening import open_data
from vggnet.description import ModelDescription
from vggnet.errors import BadImage, UserError
from vggnet.evaluation.metrics import Count, count_errors
from vggnet.evaluation.scoring import score
from vggnet.evaluation.submission import Submission
from vggnet.evaluation.tables import Table
from vggnet.evaluation.views import View
from vggnet.network.vgg import VGG
from vggnet.network.weights import load_model, save_model
from vggnet.paper.configurations import Architecture

CLASSES = ("bee", "cat", "dog", "elk", "fox", "gnu")
CPU = {"device": "cpu", "precision": "fp32", "workers": 0}


def printed(result) -> str:
    console = Console(width=250, file=io.StringIO())
    result.print(console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_by_default_center_and_dense_at_the_scale_of_training(animals, run_folder):
    run = run_folder()
    table = evaluate([run], str(animals), **CPU)
    assert [(row.method, row.test_scale) for row in table.rows] == [("center", "73"), ("dense", "73")]
    split = open_data(str(animals)).val
    view = View("dense", 73)
    expected = count_errors(score(load_model(run), split, [view]).values[view], split.labels)
    assert table.rows[1].errors == expected
    assert table.rows[1].expected == 18
    assert table.rows[1].paper.top1 == 27.0
    assert "crop 64" in table.rows[1].differences
    assert "27.0/8.8" in printed(table)


def test_table_5_and_a_second_time_without_a_forward_pass(animals, run_folder, tmp_path):
    run = run_folder()
    files = {kind: tmp_path / "out" / f"table.{kind}" for kind in ("json", "csv", "markdown")}
    table = evaluate([run], str(animals), protocol="table5", **files, **CPU)
    with no_forward_pass():
        again = evaluate([run], str(animals), protocol="table5", **CPU)
        assert again.rows == table.rows
        evaluate([run], str(animals), protocol="table4", **CPU)
    assert [row.method for row in table.rows] == ["dense", "multi-crop", "both"]
    content = json.loads(files["json"].read_text())
    assert content["rows"][2]["top1"]["wrong"] == table.rows[2].errors.top1.wrong
    assert content["rows"][0]["images"] == {"evaluated": 18, "expected": 18}
    lines = list(csv.DictReader(files["csv"].read_text().splitlines()))
    assert lines[1]["method"] == "multi-crop"
    assert float(lines[1]["top1_error"]) == pytest.approx(100 * table.rows[1].errors.top1.rate)
    assert files["markdown"].read_text().count("| both |") == 1


def test_both_is_the_mean_of_dense_and_crops(animals, run_folder):
    run = run_folder()
    table = evaluate([run], str(animals), views=["dense", "crops"], test_scale=[64], **CPU)
    split = open_data(str(animals)).val
    scores = score(load_model(run), split, [View("dense", 64), View("crops", 64)])
    mean = np.mean(list(scores.values.values()), axis=0)
    assert table.rows[-1].method == "both"
    assert table.rows[-1].errors == count_errors(mean, split.labels)


def permuted(run: Path, target: Path, order) -> Path:
    """The same net with its outputs in another order."""
    import dataclasses

    model = load_model(run)
    with torch.no_grad():
        model.fc8.weight.copy_(model.fc8.weight[list(order)].clone())
        model.fc8.bias.copy_(model.fc8.bias[list(order)].clone())
    classes = tuple(model.description.classes[place] for place in order)
    model.description = dataclasses.replace(model.description, classes=classes)
    target.mkdir()
    save_model(target / "best.safetensors", model)
    return target


def test_classes_are_matched_by_name(animals, run_folder, tmp_path):
    run = run_folder()
    shuffled = permuted(run, tmp_path / "shuffled", [3, 0, 5, 1, 4, 2])
    first = evaluate([run], str(animals), **CPU)
    second = evaluate([shuffled], str(animals), **CPU)
    assert [row.errors for row in first.rows] == [row.errors for row in second.rows]
    both = evaluate([run, shuffled], str(animals), protocol="table6", **CPU)
    alone = evaluate([run], str(animals), protocol="table5", **CPU)
    assert [row.errors for row in both.rows] == [row.errors for row in alone.rows]
    assert both.rows[0].nets == "D (run) + D (shuffled)"
    assert both.rows[0].differences[0] == "net"


def test_a_model_of_more_classes_keeps_them(animals, run_folder):
    run = run_folder(classes=("ant", *CLASSES, "hen"))
    table = evaluate([run], str(animals), views=["center"], **CPU)
    split = open_data(str(animals)).val
    posteriors = score(load_model(run), split, [View("center", 73)]).values[View("center", 73)]
    assert table.rows[0].errors == count_errors(posteriors, split.labels + 1)


def test_classes_that_do_not_match(animals, run_folder):
    run, other = run_folder(), run_folder("other", classes=(*CLASSES[:5], "hen"))
    with pytest.raises(UserError, match=r"does not know: 'gnu' \(1 of 6; the model has 'bee'.*rename"):
        evaluate([other], str(animals), **CPU)
    with pytest.raises(UserError, match="does not name its classes"):
        evaluate([run_folder("nameless", classes=())], str(animals), **CPU)
    wider = run_folder("wider", classes=(*CLASSES, "hen"))
    with pytest.raises(UserError, match=r"models with different classes cannot be fused.*'hen'"):
        evaluate([run, wider], str(animals), **CPU)
    assert len(evaluate([run, wider], str(animals), protocol="table3", **CPU).rows) == 2


def test_few_classes_have_no_top5(run_folder, tmp_path, write_images):
    for name in ("bee", "cat", "dog"):
        write_images(tmp_path / "few" / "val" / name, [(70, 70)] * 2)
    table = evaluate([run_folder(classes=("bee", "cat", "dog"))], str(tmp_path / "few"), **CPU)
    assert table.rows[0].errors.top5 is None
    assert table.rows[0].cells()[5] == "-"
    assert "top-5 error" not in printed(table)


def test_bad_images_are_counted_and_listed(animals, run_folder):
    run = run_folder()
    bad = animals / "val" / "cat" / "001.png"
    bad.write_bytes(b"no image")
    with pytest.raises(BadImage, match=r"cat/001\.png"):
        evaluate([run], str(animals), **CPU)
    table = evaluate([run], str(animals), bad_images="skip", **CPU)
    assert {(row.errors.top1.images, row.expected) for row in table.rows} == {(17, 18)}
    text = printed(table)
    assert "17 of 18" in text
    assert str(bad) in text


def test_rows_are_tested_in_pairs(animals, run_folder):
    """Without a name the reference is the best row, and p values are corrected for all pairs."""
    table = evaluate([run_folder(), run_folder("other", net="A")], str(animals), **CPU)
    best = min(range(len(table.rows)), key=lambda index: table.rows[index].errors.top1.wrong)
    assert len(table.rows) == 6
    assert [row.above is None for row in table.rows] == [True] + [False] * 5
    assert [row.reference is None for row in table.rows] == [index == best for index in range(6)]
    assert table.reference.label == table.rows[best].label
    assert "the best (chosen after looking, hence over all 15 pairs of rows)." in printed(table)
    assert "Row above: over 5 comparisons." in printed(table)
    for row in table.rows:
        for test in (row.above, row.reference):
            assert test is None or test.corrected >= test.p_value


def test_the_change_from_a_named_row_is_shown_with_its_interval(animals, run_folder):
    runs = [run_folder(), run_folder("other", net="A")]
    table = evaluate(runs, str(animals), against="A center", **CPU)
    named = next(row for row in table.rows if row.label == "A center Q=73")
    for row, values in zip(table.rows, table.to_dict()["rows"], strict=True):
        if row is named:
            assert (values["change_from_reference"], values["change_low"]) == (None, None)
            continue
        change = 100 * (row.errors.top1.wrong - named.errors.top1.wrong) / 18
        assert values["change_from_reference"] == pytest.approx(change)
        assert values["change_low"] < change < values["change_high"]
        assert row.cells()[-1].startswith(f"{change:+.1f} [")
    assert "Change: of top-1 from the reference row" in printed(table)
    assert table.to_markdown().splitlines()[2].endswith("| change from the reference row |")
    best = evaluate(runs, str(animals), **CPU)  # whose choice would show in the interval, so it is not shown
    assert "hange" not in printed(best)
    assert best.to_markdown().splitlines()[2].endswith("| p, reference row |")


def test_a_row_named_beforehand_is_the_reference(animals, run_folder, tmp_path, capsys):
    runs = [run_folder(), run_folder("other", net="A")]
    table = evaluate(runs, str(animals), against="A  center", **CPU)
    assert table.reference.label == "A center Q=73"
    assert [row.reference is None for row in table.rows] == [row.label == "A center Q=73" for row in table.rows]
    assert "A center Q=73, named beforehand, over 5 comparisons." in printed(table)
    assert evaluate(runs, str(animals), against="a dense q=73", **CPU).reference.label == "A dense Q=73"
    out = tmp_path / "t.json"
    command = ["evaluate", *map(str, runs), str(animals), "--device", "cpu", "--workers", "0", "--json", str(out)]
    assert run([*command, "--against", "A dense"]) == 0
    content = json.loads(out.read_text())
    assert content["reference_row"] == {"label": "A dense Q=73", "named": True}
    assert [row["p_reference_row"] is None for row in content["rows"]].count(True) == 1
    for wanted, message in (
        ("D", r"4 rows fit; the rows are: D center Q=73; D dense Q=73; A center Q=73"),
        ("E dense", "this table has no such row; the rows are: D center"),
        ("", "this table has no such row"),
    ):
        with pytest.raises(UserError, match=message):
            evaluate(runs, str(animals), against=wanted, **CPU)
    (tmp_path / "flat").symlink_to(animals / "val" / "bee")
    capsys.readouterr()
    assert run([*command[:-7], str(tmp_path / "flat"), "--device", "cpu", "--against", "A dense"]) == 2
    assert "images without labels have none: leave it out" in capsys.readouterr().err


def test_a_folder_without_labels_gives_five_classes_an_image(run_folder, tmp_path, write_images):
    names = write_images(tmp_path / "flat", [(70, 90)] * 12)
    run = run_folder()
    result = classify([run], str(tmp_path / "flat"), csv=tmp_path / "out.csv", **CPU)
    assert isinstance(result, Submission)
    lines = list(csv.reader((tmp_path / "out.csv").read_text().splitlines()))
    assert lines[0] == ["image", *(f"class_{i}" for i in range(1, 6)), *(f"posterior_{i}" for i in range(1, 6))]
    assert [line[0] for line in lines[1:]] == names
    posteriors = [float(value) for value in lines[1][6:]]
    assert posteriors == sorted(posteriors, reverse=True)
    assert set(lines[1][1:6]) <= set(CLASSES)
    assert "12 of 12 images" in printed(result)
    first, *_ = predict(run, [tmp_path / "flat"], device="cpu", precision="fp32")
    assert first.path == str(tmp_path / "flat" / names[0])
    assert [guess.name for guess in first.classes] == lines[1][1:6]


def test_predict_stops_at_a_bad_image_or_leaves_it_out_and_tells(run_folder, tmp_path, write_images, capsys):
    run_path = run_folder()
    names = write_images(tmp_path / "flat", [(80, 90), (90, 80), (75, 75)])
    (tmp_path / "flat" / names[1]).write_bytes(b"")
    with pytest.raises(BadImage, match="`bad_images` skip"):
        predict(run_path, [tmp_path / "flat"], device="cpu", precision="fp32")
    told = []
    found = predict(
        run_path, [tmp_path / "flat"], device="cpu", precision="fp32", bad_images="skip", on_bad=told.append
    )
    assert [Path(each.path).name for each in found] == [names[0], names[2]]
    alone = predict(run_path, [tmp_path / "flat" / names[2]], device="cpu", precision="fp32")
    assert [guess.name for guess in found[1].classes] == [guess.name for guess in alone[0].classes]
    assert [Path(bad.path).name for bad in told] == [names[1]]
    assert run(["predict", str(run_path), str(tmp_path / "flat"), "--bad-images", "skip", "--device", "cpu"]) == 0
    captured = capsys.readouterr()
    assert f"{names[1]}: 0 bytes" in captured.err
    assert names[0] in captured.out
    assert names[1] not in captured.out


def test_predict(run_folder, tmp_path, write_images):
    write_images(tmp_path / "flat", [(70, 90)] * 2)
    run, image = run_folder(), tmp_path / "flat" / "000.png"
    (found,) = predict(run, [image], top=2, test_scale=64, device="cpu", precision="fp32")
    assert found.path == str(image)
    first, second = found.classes
    assert 1 >= first.posterior >= second.posterior >= 0
    with pytest.raises(BadImage, match="missing"):
        predict(run, [tmp_path / "nowhere.jpg"], device="cpu", precision="fp32")
    with pytest.raises(UserError, match="give a number from 1"):
        predict(run, [image], top=0)


def test_a_table_says_what_it_stands_for():
    table = Table("Nothing", (), ("a note",))
    assert "a note" in printed(table)
    assert Count(0, 0).interval == (0, 1)


def test_a_net_that_draws_boxes_is_refused_with_the_command_that_takes_it(animals, tmp_path):
    description = ModelDescription(Architecture("A", 4, 1 / 32, 64), classes=CLASSES, boxes="scr")
    path = tmp_path / "boxes.safetensors"
    save_model(path, VGG(description))
    with pytest.raises(UserError, match="vggnet localize"):
        evaluate([path], str(animals), **CPU)
    with pytest.raises(UserError, match="vggnet localize"):
        predict(path, [animals], device="cpu", precision="fp32")


NOT_UTF8 = os.fsdecode(b"caf\xe9.png")


def test_file_names_that_are_not_utf8_are_escaped_in_every_text(run_folder, tmp_path, write_images, capsys):
    run_path = run_folder()
    write_images(tmp_path / "flat", [(70, 70), (80, 70)])
    (tmp_path / "flat" / "001.png").rename(tmp_path / "flat" / NOT_UTF8)
    names = ("json", "csv", "markdown")
    for name in names:
        (tmp_path / name).write_text("earlier")
    outs = [argument for name in names for argument in (f"--{name}", str(tmp_path / name))]
    arguments = ["--workers", "0", "--device", "cpu"]
    assert run(["evaluate", str(run_path), str(tmp_path / "flat"), *outs, *arguments]) == 0
    assert r"caf\xe9.png: " in capsys.readouterr().out
    rows = list(csv.DictReader(io.StringIO((tmp_path / "csv").read_text(encoding="utf-8"))))
    assert [row["image"] for row in rows] == ["000.png", r"caf\xe9.png"]
    assert r"| caf\xe9.png | " in (tmp_path / "markdown").read_text(encoding="utf-8")
    images = json.loads((tmp_path / "json").read_text(encoding="utf-8"))["images"]
    assert images[1]["image"] == NOT_UTF8  # JSON escapes it by itself
    assert run(["predict", str(run_path), str(tmp_path / "flat" / NOT_UTF8), "--device", "cpu"]) == 0
    assert r"caf\xe9.png" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["json", "csv", "markdown"])
def test_a_table_that_cannot_be_written_leaves_the_earlier_one(animals, run_folder, tmp_path, monkeypatch, kind):
    out = tmp_path / "out" / f"table.{kind}"
    out.parent.mkdir()
    out.write_text("earlier")
    run_path = run_folder()
    evaluate([run_path], str(animals), views=["center"], **CPU)
    replace = os.replace

    def fail(source, target):
        if Path(target) == out:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UserError, match=rf"table\.{kind}: cannot be written \(No space left on device\)"):
        evaluate([run_path], str(animals), views=["center"], **{kind: out}, **CPU)
    assert out.read_text() == "earlier"
    assert list(out.parent.iterdir()) == [out]
