"""localize train, evaluate and predict from the command line: runs, kills, mistakes."""

import dataclasses
import json
import os
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from vggnet.api.evaluation import evaluate
from vggnet.cli import run
from vggnet.description import AS_STORED, InputPolicy
from vggnet.errors import Diverged, UserError
from vggnet.localization import predicting
from vggnet.localization.drawing import COLOURS, draw
from vggnet.localization.evaluating import table_9_rows
from vggnet.localization.predictions import LabelledBox
from vggnet.localization.training import train_localizer
from vggnet.network.weights import load_model, read_tensors, save_model
from vggnet.options.choices import BoxLoss
from vggnet.options.flat import changed
from vggnet.options.localization import LocalizeTrainOptions


@pytest.fixture
def options(blocks, classifier, tmp_path):
    def make(**changes) -> LocalizeTrainOptions:
        values = {
            "data": str(blocks),
            "init_from": classifier,
            "epochs": 2,
            "batch": 8,
            "workers": 0,
            "threads": 1,
            "precision": "fp32",
            "out": tmp_path / "run",
            "device": "cpu",
        }
        return changed(LocalizeTrainOptions(str(blocks), classifier), **values | changes)

    return make


@pytest.mark.parametrize(("boxes", "outputs"), [("scr", 4), ("pcr", 24)])
def test_train_all_layers(options, classifier, boxes, outputs, capsys):
    result = train_localizer(options(boxes=boxes))
    model = load_model(result.run)
    assert model.architecture.outputs == outputs
    assert model.description.boxes == boxes
    assert model.description.classes == ("bee", "cat", "dog", "elk", "fox", "gnu")
    assert model.description.preprocessing == load_model(classifier).description.preprocessing
    assert model.description.train_scale == (40,)
    assert result.error.images == 12
    report = json.loads((result.run / "val.json").read_text())
    assert report["test1"]["wrong"] == result.error.wrong
    assert len(report["baselines"]) == 4
    said = capsys.readouterr().out
    assert "fc8 random (glorot), new head" in said
    assert "best constant box" in said
    before, after = read_tensors(classifier), read_tensors(result.run)
    assert all((before[name] != after[name]).any() for name in before if not name.startswith("fc8"))


def test_another_loss_gives_another_net_and_is_written_down(options, tmp_path, capsys):
    runs = [train_localizer(options(epochs=1, loss=loss, out=tmp_path / loss)).run for loss in get_args(BoxLoss)]
    weights = [read_tensors(run)["fc8.weight"] for run in runs]
    assert len({each.numpy().tobytes() for each in weights}) == 3
    assert [load_model(run).description.recipe["loss"] for run in runs] == [*get_args(BoxLoss)]
    said = capsys.readouterr().out
    assert "fine-tuned; Euclidean loss" in said
    assert "fine-tuned; loss giou, which is not the paper's" in said


def test_boxes_that_overflow_on_held_out_images_are_never_right_or_the_best(options):
    """One update at a rate that is far too high: the loss of the epoch is finite, the next forward pass is not."""
    with pytest.raises(Diverged, match="the weights have diverged"):
        train_localizer(options(epochs=1, batch=64, learning_rate=1000.0))
    out = options().out
    assert not (out / "best.safetensors").exists()
    assert not (out / "val.json").exists()
    assert not (out / "metrics.csv").exists() or len((out / "metrics.csv").read_text().splitlines()) <= 1


@pytest.mark.parametrize("batch_norm", [False, True])
def test_only_the_fully_connected_layers(options, save_net, tmp_path, batch_norm):
    classifier = tmp_path / "start.safetensors"
    save_net(classifier, batch_norm=batch_norm)
    run_folder = train_localizer(options(init_from=classifier, layers="fc")).run
    before, after = read_tensors(classifier), read_tensors(run_folder)
    for name in before:
        if name.startswith(("conv", "norm")):  # running averages, too
            torch.testing.assert_close(before[name], after[name], rtol=0, atol=0)
        elif not name.startswith("fc8"):
            assert (before[name] != after[name]).any(), name
    assert load_model(run_folder).description.recipe["layers"] == "fc"


def test_a_larger_crop_takes_the_same_net_on_a_finer_map(options, capsys):
    result = train_localizer(options(crop=64, epochs=1))
    described = load_model(result.run).description
    assert described.architecture.crop_px == 64
    assert described.train_scale == (80,)  # 40 at a crop of 32
    assert "fc6 <- A fc6 (resized from 1x1 to 2x2)" in capsys.readouterr().out


@pytest.mark.parametrize("steps", [1, 4])
def test_a_stopped_run_ends_with_the_same_weights(options, tmp_path, classifier, steps):
    whole = train_localizer(options(out=tmp_path / "whole")).run
    calls = []

    def stop(progress):
        calls.append(1)
        if len(calls) == steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_localizer(options(out=tmp_path / "killed", save_every=0.0), after_step=stop)
    classifier.unlink()  # what it started from may be gone
    resumed = train_localizer(options(out=tmp_path / "killed", save_every=0.0, resume=True)).run
    for name in ("last.safetensors", "best.safetensors"):
        one, other = load_file(whole / name), load_file(resumed / name)  # the order in their headers is by chance
        assert one.keys() == other.keys()
        assert all(torch.equal(one[each], other[each]) for each in one)


def stopped_after_a_step(options):
    """Start a run, and stop it after its first saved step."""

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_localizer(options(save_every=0.0), after_step=stop)


def test_a_run_with_other_boxes_is_not_continued(options, blocks):
    stopped_after_a_step(options)
    text = (blocks / "boxes.csv").read_text()
    line = next(line for line in text.splitlines() if line.startswith("train/bee/1.png"))
    number = int(line.rsplit(",", 1)[1])
    (blocks / "boxes.csv").write_text(text.replace(line, f"{line.rsplit(',', 1)[0]},{number - 1}"))
    with pytest.raises(UserError, match=r"1 image with other boxes: 'train/bee/1\.png'(.|\n)*`data_changed`"):
        train_localizer(options(resume=True))
    assert train_localizer(options(resume=True, data_changed=True)).error.images == 12
    (blocks / "boxes.csv").write_text(text)
    with pytest.raises(UserError, match="with other boxes"):
        train_localizer(options(resume=True))


def test_a_run_goes_on_without_an_image_that_is_gone(options, blocks, capsys):
    """The other images keep their places in the order, and their boxes."""
    stopped_after_a_step(options)
    capsys.readouterr()
    lost = blocks / "train" / "cat" / "2.png"
    lost.unlink()
    with pytest.raises(UserError, match="1 image gone or unreadable"):
        train_localizer(options(resume=True))
    result = train_localizer(options(resume=True, bad_images="skip"))
    assert result.error.images == 12
    assert str(lost) in (result.run / "skipped.csv").read_text()
    rows = (result.run / "metrics.csv").read_text().splitlines()
    assert len(rows) == 3
    assert "nan" not in "".join(rows)


def test_crops_from_the_devices_loader(options, tmp_path, monkeypatch):
    """With a CPU in the GPU's place; the images are PNGs, which are decoded as ever, so the training is the same."""
    by_processes = train_localizer(options(out=tmp_path / "processes", epochs=1)).run
    with pytest.raises(UserError, match="`decoder` gpu does not work here: the training runs on cpu"):
        train_localizer(options(out=tmp_path / "refused", decoder="gpu"))
    monkeypatch.setattr("vggnet.training.session.choose_decoder", lambda *_: "gpu")
    by_device = train_localizer(options(out=tmp_path / "gpu", epochs=1)).run
    decoders = [json.loads((each / "config.json").read_text())["decoder"] for each in (by_processes, by_device)]
    assert decoders == ["processes", "gpu"]
    one, other = read_tensors(by_processes), read_tensors(by_device)
    for name in one:  # crops differ by a gray level here and there
        torch.testing.assert_close(one[name], other[name], rtol=0.05, atol=0.01)


def test_a_refused_start_leaves_no_run_behind(options, blocks):
    with (blocks / "boxes.csv").open("a") as file:
        file.write("train/bee/1.png,bee,300,300,310,310\n")
    with pytest.raises(UserError, match="`bad_boxes` skip"):
        train_localizer(options())
    assert train_localizer(options(bad_boxes="skip")).error.images == 12


def test_resuming_with_another_crop_says_what_the_run_was_started_with(options):
    train_localizer(options(epochs=1))
    with pytest.raises(UserError, match="was started with `crop` 32, now it says 64"):
        train_localizer(options(epochs=1, crop=64, train_scale=(40,), resume=True))


def test_resuming_with_other_options_is_refused(options):
    train_localizer(options(epochs=1))
    with pytest.raises(UserError, match="`boxes` pcr, now it says scr"):
        train_localizer(options(epochs=1, boxes="scr", resume=True))
    with pytest.raises(UserError, match="`loss` euclidean, now it says giou"):
        train_localizer(options(epochs=1, loss="giou", resume=True))


def test_the_whole_command_line(blocks, classifier, tmp_path, capsys):
    """Two trainings, fused and evaluated, boxes drawn."""
    common = ["--init-from", str(classifier), "--epochs", "1", "--batch", "8", "--workers", "0", "--threads", "1"]
    for boxes in ("pcr", "scr"):
        out = ["--boxes", boxes, "--out", str(tmp_path / boxes)]
        assert run(["localize", "train", str(blocks), *common, *out]) == 0
    runs = [str(tmp_path / "pcr"), str(tmp_path / "scr")]
    asked = ["--classifier", str(classifier), "--test-scale", "40", "64", "--json", str(tmp_path / "tables.json")]
    assert run(["localize", "evaluate", *runs, str(blocks), *asked, "--workers", "0"]) == 0
    said = capsys.readouterr().out
    assert "as Table 8" in said
    assert "as Table 9" in said
    tables = json.loads((tmp_path / "tables.json").read_text())
    names = ["A (pcr)", "A (pcr)", "A (scr)", "A (scr)", "whole image"]
    assert [row["name"] for row in tables["test1"]][:5] == names
    assert [row["test_scales"] for row in tables["test1"]][:5] == [[40], [64], [40], [64], []]
    assert [row["paper"] for row in tables["test1"]][1:3] == [33.1, None]  # the paper has no SCR with all layers
    assert [row["test_scales"] for row in tables["test2"]] == [[40], [64], [40, 64]] * 2 + [[40, 64]]
    assert tables["test2"][-1]["paper"] == 26.9
    for row in tables["test2"]:
        assert row["top1"]["images"] == 12
        assert row["top1"]["wrong"] >= row["classification_top1"]["wrong"]
        assert row["top5"]["wrong"] >= row["classification_top5"]["wrong"]
    images = [str(blocks / "val" / "bee" / "0.png"), str(blocks / "val" / "cat")]
    drawn = ["--classifier", str(classifier), "--out", str(tmp_path / "drawn")]
    assert run(["localize", "predict", runs[0], *images, *drawn]) == 0
    assert len(list((tmp_path / "drawn").glob("*.png"))) == 3
    predicted = json.loads((tmp_path / "drawn" / "boxes.json").read_text())
    assert [len(each["boxes"]) for each in predicted] == [5, 5, 5]
    posteriors = [box["posterior"] for box in predicted[0]["boxes"]]
    assert posteriors == sorted(posteriors, reverse=True)


def test_a_classifiers_policy_goes_on_into_the_box_net_and_its_tests(options, blocks, save_net, tmp_path, capsys):
    classifier = tmp_path / "unmirrored.safetensors"
    model = save_net(classifier)
    model.description = dataclasses.replace(model.description, policy=InputPolicy(mirror=False))
    save_model(classifier, model)
    drawer = train_localizer(options(init_from=classifier, epochs=1)).run
    assert load_model(drawer).description.policy.mirror is False
    mirrored = options(init_from=classifier, epochs=1, out=tmp_path / "mirrored")
    asked = train_localizer(dataclasses.replace(mirrored, mirror=True)).run
    assert load_model(asked).description.policy.mirror is True
    train_localizer(dataclasses.replace(mirrored, resume=True))  # as it was started
    asked = ["--classifier", str(classifier), "--test-scale", "64", "--json", str(tmp_path / "t.json")]
    found = {}
    for flag in ("", "--no-mirror", "--mirror"):
        command = ["localize", "evaluate", str(drawer), str(blocks), *asked, "--workers", "0"]
        assert run([*command, *([flag] if flag else [])]) == 0
        found[flag] = json.loads((tmp_path / "t.json").read_text())
    assert found[""]["test2"] == found["--no-mirror"]["test2"]
    assert found[""]["test2"] != found["--mirror"]["test2"]
    assert any("without mirrored crops" in note for note in found[""]["notes"])
    assert any("With the mirror, as asked" in note for note in found["--mirror"]["notes"])
    drawn = ["--classifier", str(classifier), "--out", str(tmp_path / "drawn")]
    assert run(["localize", "predict", str(drawer), str(blocks / "val" / "cat"), *drawn]) == 0
    assert "without mirrored crops" in capsys.readouterr().err


def _evaluated(tmp_path, capsys, *arguments) -> tuple[dict, str]:
    table = tmp_path / "evaluated.json"
    common = ["--workers", "0", "--precision", "fp32", "--json", str(table)]
    assert run(["localize", "evaluate", *map(str, arguments), *common]) == 0
    return json.loads(table.read_text()), capsys.readouterr().out


@pytest.fixture
def draw_boxes(save_net, tmp_path):
    """A net that draws boxes of about half its window, in its middle."""

    def make(seed: int) -> Path:
        path = tmp_path / f"boxes{seed}.safetensors"
        net = save_net(path, boxes="pcr", seed=seed)
        with torch.no_grad():
            net.fc8.weight.mul_(0.2)
            net.fc8.bias.copy_(torch.tensor([0.0, 0.0, 0.5, 0.5]).repeat(6))
        save_model(path, net)
        return path

    return make


def test_each_net_has_its_own_scales(blocks, classifier, draw_boxes, tmp_path, capsys):
    """Table 9's last row: the first net at one Q, the second at two."""
    nets = [draw_boxes(0), draw_boxes(1)]
    common = [blocks, "--classifier", classifier, "--classifier-scale", "40"]
    both, said = _evaluated(tmp_path, capsys, *nets, *common, "--test-scale-by-net", "40", "64,48")
    rows = both["test2"]
    assert [row["test_scales_by_net"] for row in rows] == [[[40]], [[48]], [[64]], [[48, 64]], [[40], [48, 64]]]
    assert "40 + 48,64" in said
    assert [row["test_scales"] for row in both["test1"]][:3] == [[40], [48], [64]]
    alone = [
        _evaluated(tmp_path, capsys, net, *common, "--test-scale", *scales)[0]["test2"][-1]
        for net, scales in zip(nets, (["40"], ["48", "64"]), strict=True)
    ]
    for row, expected in ((rows[0], alone[0]), (rows[3], alone[1])):
        assert row["mean_iou_of_true_class"] == expected["mean_iou_of_true_class"]
        assert row["top5"] == expected["top5"]
    assert rows[4]["mean_iou_of_true_class"] not in [row["mean_iou_of_true_class"] for row in rows[:4]]


def test_the_classes_come_from_several_classifiers_by_their_own_views(
    blocks, classifier, draw_boxes, save_net, tmp_path, capsys
):
    """As Table 9 has them: D and E, dense and multi-crop. The same error as `vggnet evaluate` gives for these views."""
    second = tmp_path / "second.safetensors"
    save_net(second, seed=5)
    common = [draw_boxes(1), blocks, "--classifier", classifier, second, "--classifier-views"]
    expected = evaluate(
        [classifier, second], blocks, views=["dense", "crops"], test_scale=[40, 64], precision="fp32", workers=0
    ).rows[-1]
    assert expected.method == "both"
    found, said = _evaluated(tmp_path, capsys, *common, "dense", "crops", "--classifier-scale", "64", "40")
    assert found["test2"][0]["classification_top1"]["wrong"] == expected.errors.top1.wrong
    assert found["test2"][0]["classification_top5"]["wrong"] == expected.errors.top5.wrong
    assert found["classifier_views"] == [["dense-40", "dense-64", "crops-40", "crops-64"]] * 2
    assert "classes: A (dense + crops, Q=40,64) + A (dense + crops, Q=40,64); boxes merged by overfeat" in said
    # S = 40 at a crop of 32: the three Q of Table 5 are 40 - 5, 40, 40 + 5
    own, _ = _evaluated(tmp_path, capsys, *common, "crops", "--classifier-scale", "own")
    assert own["classifier_views"] == [["crops-35", "crops-40", "crops-45"]] * 2
    plain, _ = _evaluated(tmp_path, capsys, *common[:-1], "--test-scale", "40", "64")
    assert plain["classifier_views"] == [["dense-40", "dense-64"]] * 2


def test_merging_as_overfeat_does(blocks, classifier, draw_boxes, tmp_path, capsys):
    net = draw_boxes(1)
    common = [blocks, "--classifier", classifier, "--test-scale", "64", "96"]
    by_way = {way: _evaluated(tmp_path, capsys, net, *common, "--merging", way) for way in ("centroid", "overfeat")}
    assert [content["merging"] for content, _ in by_way.values()] == ["centroid", "overfeat"]
    overlaps = [content["test2"][-1]["mean_iou_of_true_class"] for content, _ in by_way.values()]
    assert overlaps[0] != overlaps[1]
    assert "boxes merged by overfeat" in by_way["overfeat"][1]
    image = str(blocks / "val" / "bee" / "0.png")
    boxes = []
    for way in ("centroid", "overfeat"):
        arguments = [str(net), image, "--classifier", str(classifier), "--merging", way, "--out", str(tmp_path / way)]
        assert run(["localize", "predict", *arguments, "--test-scale", "96", "--classifier-views", "crops"]) == 0
        boxes.append(json.loads((tmp_path / way / "boxes.json").read_text())[0]["boxes"])
    assert [box["posterior"] for box in boxes[0]] == [box["posterior"] for box in boxes[1]]
    assert boxes[0] != boxes[1]


@pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="this CPU has no VNNI instructions")
def test_both_nets_in_int8(blocks, classifier, options, tmp_path, capsys):
    models = {"boxes": train_localizer(options(boxes="scr", epochs=8)).run, "classes": classifier}
    for name, model in models.items():
        asked = ["--out", str(tmp_path / name), "--images", "8", "--workers", "0"]
        assert run(["quantize", str(model), str(blocks), *asked]) == 0
    assert "`vggnet localize evaluate` says what int8 costs" in capsys.readouterr().out
    asked = ["--classifier", str(tmp_path / "classes"), "--json", str(tmp_path / "int8.json"), "--workers", "0"]
    assert run(["localize", "evaluate", str(tmp_path / "boxes"), str(blocks), *asked, "--precision", "int8"]) == 0
    overlap = json.loads((tmp_path / "int8.json").read_text())["test1"][0]["mean_iou"]
    asked = ["--json", str(tmp_path / "fp32.json"), "--workers", "0", "--precision", "fp32"]
    assert run(["localize", "evaluate", str(tmp_path / "boxes"), str(blocks), *asked]) == 0
    exact = json.loads((tmp_path / "fp32.json").read_text())["test1"][0]["mean_iou"]
    capsys.readouterr()
    assert run(["localize", "evaluate", *asked[2:], str(tmp_path / "boxes"), str(blocks), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test1"][0]["mean_iou"] == exact  # alone on standard output
    assert exact > 0.2  # it draws boxes on its objects
    assert overlap == pytest.approx(exact, abs=0.05)
    assert overlap != exact


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "CLASSIFIER", "DATA"], "draws no boxes; `vggnet localize train` makes one"),
        (["evaluate", "DATA"], "give the models first and the images last"),
        (["predict", "CLASSIFIER", "IMAGE"], "--classifier is needed"),
        (["predict", "CLASSIFIER", "IMAGE", "--classifier", "CLASSIFIER"], "draws no boxes"),
        (["predict", "CLASSIFIER", "missing.png", "--classifier", "CLASSIFIER"], "missing.png"),
        (["evaluate", "BOXES", "DATA", "--classifier-views", "crops"], "name them with --classifier"),
        (["evaluate", "BOXES", "DATA", "--test-scale-by-net", "40", "64"], "2 for 1 box nets: give each net"),
        (["evaluate", "BOXES", "DATA", "--test-scale-by-net", "40,x"], "expected numbers of pixels, such as 256 384"),
        (["evaluate", "BOXES", "DATA", "--test-scale-by-net", "40", "--test-scale", "40"], "leave one of them out"),
        (
            ["evaluate", "BOXES", "DATA", "--classifier", "CLASSIFIER", "--classifier-scale", "own", "40"],
            "--classifier-scale own 40: numbers, or own alone",
        ),
        (["evaluate", "BOXES", "DATA", "--classifier", "CLASSIFIER", "--classifier-scale", "20"], "test scale 20"),
        (
            ["evaluate", "BOXES", "DATA", "--classifier", "CLASSIFIER", "--classifier-views", "sparse"],
            "view 'sparse' does not exist",
        ),
        (["train", "DATA", "--init-from", "nowhere"], "nowhere: no such file or run folder, and no model of that name"),
        (["train", "DATA", "--init-from", "CLASSIFIER", "--annotations", "no.csv"], "no.csv: there is no such file"),
        (["train", "DATA", "--init-from", "CLASSIFIER", "--train-scale", "20"], "below the crop of 32"),
        (
            ["train", "DATA", "--init-from", "CLASSIFIER", "--device", "cpu", "--step", "fused"],
            "--step fused is for GPUs",
        ),
    ],
)
def test_mistakes(arguments, message, blocks, classifier, save_net, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_net(tmp_path / "boxes.safetensors", boxes="pcr")
    names = {
        "CLASSIFIER": str(classifier),
        "BOXES": "boxes.safetensors",
        "DATA": str(blocks),
        "IMAGE": str(blocks / "val" / "bee" / "0.png"),
    }
    assert run(["localize", *(names.get(each, each) for each in arguments)]) == 2
    assert message in capsys.readouterr().err


def test_nets_that_do_not_go_together(blocks, classifier, save_net, tmp_path, capsys):
    for name, changes in (
        ("crop", {"crop": 64, "boxes": "pcr"}),
        ("classes", {"classes": ("bee", "ant"), "boxes": "pcr"}),
        ("fine", {"boxes": "pcr"}),
    ):
        save_net(tmp_path / f"{name}.safetensors", **changes)

    def evaluate(net: str, judge=classifier) -> str:
        arguments = [str(tmp_path / f"{net}.safetensors"), str(blocks), "--classifier", str(judge), "--workers", "0"]
        assert run(["localize", "evaluate", *arguments, "--test-scale", "64"]) == 2
        return capsys.readouterr().err

    assert "nets of different crops (32, 64)" in evaluate("crop")
    assert "its classes are not those of the first classifier" in evaluate("classes")
    assert "this net draws boxes; give a classification run" in evaluate("fine", tmp_path / "fine.safetensors")


def test_an_unreadable_image(blocks, classifier, save_net, tmp_path, capsys):
    save_net(tmp_path / "net.safetensors", boxes="pcr")
    broken = blocks / "val" / "bee" / "0.png"
    broken.write_bytes(broken.read_bytes()[:200])
    arguments = [str(tmp_path / "net.safetensors"), str(blocks), "--classifier", str(classifier), "--workers", "0"]
    assert run(["localize", "evaluate", *arguments]) == 2
    assert "--bad-images skip leaves such images out" in capsys.readouterr().err
    table = tmp_path / "t.json"
    assert run(["localize", "evaluate", *arguments, "--bad-images", "skip", "--json", str(table)]) == 0
    rows = json.loads(table.read_text())
    assert rows["test2"][0]["top1"]["images"] == 11
    assert rows["test1"][0]["error"]["images"] == 11
    assert "not counted: 1 of 12 images, which could not be used" in capsys.readouterr().out


def test_rows_of_table_9():
    rows = table_9_rows([(64, 80), (64,)])
    assert rows == [
        ((0, 64),),
        ((0, 80),),
        ((0, 64), (0, 80)),
        ((1, 64),),
        ((0, 64), (0, 80), (1, 64)),
    ]


def test_the_best_box_is_drawn_where_it_is():
    guesses = [LabelledBox("a", "ant, emmet", 0.9, 10, 20, 29, 39), LabelledBox("b", "bee", 0.1, 0, 0, 5, 5)]
    picture = np.asarray(draw(Image.new("RGB", (64, 64)), guesses))
    assert picture.shape == (640 + 2 * 19 + 8, 640, 3)  # enlarged ten times; a line for each box
    colour = np.array([int(COLOURS[0][i : i + 2], 16) for i in (1, 3, 5)])
    ys, xs = np.nonzero((picture[:640] == colour).all(2))
    assert (xs.min(), ys.min(), xs.max(), ys.max()) == (100, 200, 299, 399)
    assert (picture[250, 150] == 0).all()  # not filled


def turn_on_their_sides(folder):
    """Store all images sideways, with the EXIF orientation that turns them back: boxes stay upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for path in folder.rglob("*.png"):
        Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)


def test_boxes_lie_on_photographs_turned_upright(blocks, options, save_net, tmp_path, capsys):
    drawer = tmp_path / "drawer.safetensors"
    save_net(drawer, boxes="pcr", policy=InputPolicy(orientation="apply"))
    classifier = tmp_path / "upright.safetensors"
    save_net(classifier, policy=InputPolicy(orientation="apply"))
    figures, drawn = [], []
    command = ["localize", "evaluate", str(drawer), str(blocks), "--classifier", str(classifier), "--device", "cpu"]
    image = blocks / "val/bee/1.png"
    for name in ("as they are", "on their sides"):
        json_file = tmp_path / f"{name}.json"
        assert run([*command, "--json", str(json_file), "--precision", "fp32"]) == 0
        figures.append({key: json.loads(json_file.read_text())[key] for key in ("test1", "test2")})
        out = tmp_path / name
        predicting = [
            "localize",
            "predict",
            str(drawer),
            str(image),
            "--classifier",
            str(classifier),
            "--out",
            str(out),
        ]
        assert run([*predicting, "--precision", "fp32"]) == 0
        drawn.append(np.asarray(Image.open(next(out.glob("*.png")))))
        if name == "as they are":
            turn_on_their_sides(blocks)
    assert figures[0] == figures[1]
    assert np.array_equal(*drawn)
    trained = train_localizer(options(epochs=1)).run
    assert "24 of 24 images have an EXIF orientation: turned upright" in capsys.readouterr().out
    assert load_model(trained).description.policy.orientation == "apply"


def test_box_nets_that_read_images_differently_are_not_fused(blocks, save_net, tmp_path, capsys):
    for name in ("apply", "ignore"):
        save_net(tmp_path / name, boxes="pcr", policy=InputPolicy(orientation=name))
    assert run(["localize", "evaluate", str(tmp_path / "apply"), str(tmp_path / "ignore"), str(blocks)]) != 0
    assert "read images differently" in capsys.readouterr().err


def test_a_drawn_image_that_does_not_fit_leaves_the_earlier_one(blocks, tmp_path, monkeypatch):
    image = str(blocks / "val" / "bee" / "0.png")
    target = predicting._write_picture(tmp_path / "boxes", 3, image, AS_STORED, [])
    assert target == tmp_path / "boxes" / "0003-0.png"
    before = target.read_bytes()

    def fail(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UserError, match=r"`out` .*0003-0\.png: cannot be written \(No space left"):
        predicting._write_picture(tmp_path / "boxes", 3, image, AS_STORED, [])
    assert target.read_bytes() == before
    assert sorted(file.name for file in target.parent.glob("[!.]*")) == ["0003-0.png"]
    assert not list(target.parent.glob("*.part"))


XML = """<annotation><folder>x</folder><filename>{name}</filename>
<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>
<object><name>{label}</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>20</xmax><ymax>20</ymax></bndbox></object>
</annotation>"""


def test_boxes_on_images_of_another_size_than_their_annotations_state_are_refused(blocks, options, tmp_path, capsys):
    (blocks / "boxes.csv").unlink()
    annotations = tmp_path / "xml"
    annotations.mkdir()
    for place, path in enumerate(sorted(blocks.rglob("*.png"))):
        name = path.relative_to(blocks).as_posix()
        with Image.open(path) as image:
            text = XML.format(name=name, size=image.size, label=path.parent.name)
        (annotations / f"{place}.xml").write_text(text)
    turn_on_their_sides(blocks)  # the annotations are of the upright images
    train_localizer(options(annotations=annotations, epochs=1))
    wrong = options(annotations=annotations, epochs=1, orientation="ignore", out=tmp_path / "ignore")
    with pytest.raises(UserError) as caught:
        train_localizer(wrong)
    said = str(caught.value)
    assert "box 2 2 20 20: its annotation is of an image of 40x44, and it is read as 44x40 (orientation ignore" in said
    assert "leave them out with `bad_boxes` skip" in said
    text = (annotations / "0.xml").read_text()
    (annotations / "0.xml").write_text(text.replace("<width>40<", "<width>400<").replace("<width>48<", "<width>480<"))
    capsys.readouterr()
    train_localizer(options(annotations=annotations, epochs=1, bad_boxes="skip", out=tmp_path / "skip"))
    assert "left out 1 box that cannot be used: train/bee/0.png: box 2 2 20 20: its annotation is" in (
        capsys.readouterr().out
    )


def test_faulty_boxes_on_photographs_that_could_be_turned_name_the_option(blocks, options):
    turn_on_their_sides(blocks)
    rows = (blocks / "boxes.csv").read_text().splitlines()
    taller = [row for row in rows if "/1.png" in row or "/3.png" in row][:1]  # 40 wide, 48 high where it is upright
    image, name = taller[0].split(",")[:2]
    (blocks / "boxes.csv").write_text("\n".join([*rows, f"{image},{name},1,1,47,39"]) + "\n")
    train_localizer(options(epochs=1))  # 48 wide, 40 high: upright, the box lies on it
    with pytest.raises(UserError) as caught:
        train_localizer(options(epochs=1, orientation="ignore", out=options().out.with_name("ignore")))
    said = str(caught.value)
    assert f"{image}: box 1 1 47 39: more than a pixel outside the image of 40x48" in said
    assert "1 image of these would be turned by `orientation` apply" in said


def test_the_boxes_of_the_ilsvrc_download_lie_on_the_pixels_as_they_are_stored(blocks, options, tmp_path):
    root = tmp_path / "download"
    lines: dict[str, dict[str, str]] = {"train": {}, "val": {}}
    for row in (blocks / "boxes.csv").read_text().splitlines()[1:]:
        image, name, *corners = row.split(",")
        part, _, file = image.split("/")
        box = " ".join([name, *corners])
        lines[part][f"{name}_{file[0]}"] = f"{lines[part].get(f'{name}_{file[0]}', '')} {box}"
        inner = f"train/{name}" if part == "train" else "val"
        target = root / "ILSVRC/Data/CLS-LOC" / inner / f"{name}_{file[0]}.JPEG"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((blocks / image).read_bytes())
    for part, rows in lines.items():
        text = "".join(f"{image},{boxes}\n" for image, boxes in rows.items())
        (root / f"LOC_{part}_solution.csv").write_text("ImageId,PredictionString\n" + text)
    run_folder = train_localizer(options(data=str(root), epochs=1)).run
    assert load_model(run_folder).description.policy.orientation == "ignore"
    applied = train_localizer(options(data=str(root), epochs=1, orientation="apply", out=tmp_path / "applied")).run
    assert load_model(applied).description.policy.orientation == "apply"


def test_predict_leaves_out_bad_images_and_writes_its_boxes_as_json(blocks, save_net, tmp_path, capsys):
    drawer, classifier = tmp_path / "drawer.safetensors", tmp_path / "classifier.safetensors"
    save_net(drawer, boxes="scr")
    save_net(classifier)
    damaged = blocks / "val" / "bee" / "0.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    command = ["localize", "predict", str(drawer), str(blocks / "val" / "bee"), "--classifier", str(classifier)]
    command += ["--out", str(tmp_path / "drawn"), "--device", "cpu", "--precision", "fp32"]
    assert run(command) == 2
    assert "bee/0.png" in capsys.readouterr().err
    assert not (tmp_path / "drawn").exists()
    assert run([*command, "--bad-images", "skip", "--workers", "1", "--json"]) == 0
    output = capsys.readouterr()
    assert "left out" in output.err
    assert "bee/0.png" in output.err
    predicted = json.loads(output.out)  # alone on standard output
    assert predicted == json.loads((tmp_path / "drawn" / "boxes.json").read_text())
    assert [Path(each["image"]).name for each in predicted] == ["1.png"]
    assert Path(predicted[0]["picture"]).is_file()


def test_localize_train_writes_test_1_as_json(options, tmp_path):
    found = train_localizer(options(epochs=1)).to_dict()
    report = json.loads((tmp_path / "run" / "val.json").read_text())
    assert found["run"] == str(tmp_path / "run")
    assert found["test1"]["wrong"] == report["test1"]["wrong"]
    assert found["test1"]["images"] == 12
    assert found["mean_iou"] == report["mean_iou"]
    assert list(found["baselines"]) == list(report["baselines"])
