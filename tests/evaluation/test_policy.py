"""A net is shown images as it was trained: no mirrored views where it never saw mirrored crops."""

import csv
import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from vggnet.api.evaluation import classify, evaluate, predict
from vggnet.cli import run
from vggnet.data.opening import open_data
from vggnet.description import InputPolicy, ModelDescription
from vggnet.evaluation.batching import Item
from vggnet.evaluation.forward import corners, ready_to_score
from vggnet.evaluation.metrics import count_errors
from vggnet.evaluation.policy import Shown, policy_notes
from vggnet.evaluation.protocols import Entrant, combinations
from vggnet.evaluation.views import View, describe, views_of
from vggnet.images.decoding import decode
from vggnet.images.geometry import rescale
from vggnet.images.normalization import normalize
from vggnet.network.weights import load_model, save_model
from vggnet.paper.configurations import Architecture

CPU = {"device": "cpu", "precision": "fp32", "workers": 0}
WITHOUT = "Without the mirror: D was trained without mirrored crops."


def posteriors_of(model, pixels) -> np.ndarray:
    """(K,) of pixels as they are, from first principles."""
    images = normalize(torch.from_numpy(np.ascontiguousarray(pixels))[None], model.description.preprocessing)
    return model.posteriors(images)[0].numpy()


@pytest.fixture
def unmirrored(run_folder):
    """Makes a run of a net that was trained without mirrored crops."""

    def make(name="run", net="D", mirror=False, **options) -> Path:
        folder = run_folder(name, net, **options)
        model = load_model(folder)
        model.description = dataclasses.replace(model.description, policy=InputPolicy(mirror=mirror))
        save_model(folder / "best.safetensors", model)
        return folder

    return make


def printed(result) -> str:
    console = Console(width=250, file=io.StringIO())
    result.print(console)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["dense", "crops", "ten"])
@pytest.mark.parametrize("limit_px", [2**20, 64 * 64])
def test_a_view_without_mirror_is_the_mean_of_what_is_not_mirrored(small_net, monkeypatch, kind, limit_px):
    monkeypatch.setattr("vggnet.evaluation.forward.batch_limit_px", lambda *_: limit_px)
    model, view = small_net("A"), View(kind, 73, mirror=False)
    images = [np.random.default_rng(i).integers(0, 256, (73, 80 + 9 * i, 3), np.uint8) for i in range(3)]
    with ready_to_score(model, "cpu", "fp32") as scorer:
        items = [Item(i, torch.from_numpy(image)) for i, image in enumerate(images)]
        batcher, batches = scorer.batcher(view), []
        for item in items:
            batches += batcher.add(item)
        batches += batcher.flush()
        found = {}
        for batch in batches:
            rows = scorer.posteriors(view, batch)
            found |= {item.position: row for item, row in zip(batch, rows, strict=True)}
    for i, image in enumerate(images):
        if kind == "dense":
            expected = posteriors_of(model, image)
        else:
            crops = [image[y : y + 64, x : x + 64] for x, y in corners(view, *image.shape[:2], 64)]
            expected = np.mean([posteriors_of(model, crop) for crop in crops], axis=0)
        np.testing.assert_allclose(found[i].numpy(), expected, rtol=1e-5)


def test_a_views_identity_tells_mirrored_from_not():
    for kind in ("dense", "crops", "ten"):
        assert View(kind, 73) != View(kind, 73, mirror=False)
        assert View(kind, 73).key == f"{kind}-73"  # as before: what is cached of it stays right
        assert View(kind, 73, mirror=False).key == f"{kind}-73-no-mirror"
    assert View("center", 73) == View("center", 73, mirror=False)
    assert View("center", 73).key == "center-73"
    views = (*views_of(["dense", "center"], [64], mirror=False), View("crops", 64))
    assert describe(views) == "dense without mirror + center + crops, Q=64"


def test_evaluate_leaves_the_mirror_out_and_says_so(animals, unmirrored, tmp_path):
    folder = unmirrored()
    files = {kind: tmp_path / f"t.{kind}" for kind in ("json", "csv", "markdown")}
    table = evaluate([folder], str(animals), views=["dense", "center"], **files, **CPU)
    model, val = load_model(folder), open_data(str(animals)).val
    each = [posteriors_of(model, np.array(rescale(decode(val.path(i)), 73))) for i in range(len(val))]
    assert table.rows[0].errors == count_errors(np.stack(each), val.labels)
    assert WITHOUT in printed(table)
    assert WITHOUT in files["markdown"].read_text()
    content = json.loads(files["json"].read_text())
    assert [row["mirror"] for row in content["rows"]] == [[False], [False]]
    assert WITHOUT in content["notes"]
    assert content["models"][0]["trained_with"]["mirror"] is False
    assert content["models"][0]["shown_with"]["mirror"] is False
    assert [line["mirror"] for line in csv.DictReader(files["csv"].read_text().splitlines())] == ["no", "no"]


def test_cached_posteriors_of_both_ways_stay_apart(animals, unmirrored):
    folder = unmirrored()
    first = {mirror: evaluate([folder], str(animals), mirror=mirror, **CPU) for mirror in (True, None, False)}
    assert first[None].rows == first[False].rows
    assert sorted(path.name.rsplit("-", 1)[0] for path in (folder / "posteriors").iterdir()) == [
        *("center-73", "dense-73", "dense-73-no-mirror"),
    ]
    again = {mirror: evaluate([folder], str(animals), mirror=mirror, **CPU) for mirror in (None, True)}
    assert again[None].rows == first[None].rows
    assert again[True].rows == first[True].rows
    assert "With the mirror, as asked: D was trained without mirrored crops." in printed(first[True])
    assert first[True].rows[1].mirrors == (True,)


def test_only_center_views_need_no_words(animals, unmirrored):
    assert "irror" not in printed(evaluate([unmirrored()], str(animals), views=["center"], **CPU))


def test_nets_of_both_kinds_are_fused_each_in_its_own_way(animals, unmirrored):
    runs = [unmirrored("one"), unmirrored("two", "A", mirror=True)]
    table = evaluate(runs, str(animals), views=["dense"], **CPU)
    models, val = [load_model(folder) for folder in runs], open_data(str(animals)).val
    means = []
    for index in range(len(val)):
        pixels = np.array(rescale(decode(val.path(index)), 73))
        both = [posteriors_of(models[1], each) for each in (pixels, pixels[:, ::-1])]
        means.append((posteriors_of(models[0], pixels) + (both[0] + both[1]) / 2) / 2)
    assert table.rows[-1].errors == count_errors(np.stack(means), val.labels)
    assert table.rows[-1].mirrors == (False, True)
    assert WITHOUT in printed(table)  # and nothing of A


def test_a_row_beside_the_papers_says_that_the_mirror_is_missing():
    description = ModelDescription(Architecture("D"), train_scale=(256,), policy=InputPolicy(mirror=False))
    (row,) = combinations([Entrant("D", description)], protocol="table3")
    assert row.differences == ("no mirrored crops in training", "no mirror in the test")
    (row,) = combinations([Entrant("D", description, mirror=True)], protocol="table3")
    assert row.differences == ("no mirrored crops in training",)
    trained = dataclasses.replace(description, policy=InputPolicy())
    (row,) = combinations([Entrant("D", trained, mirror=False)], protocol="table3")
    assert row.differences == ("no mirror in the test",)


def test_sentences_name_the_nets():
    yes, no = InputPolicy(), InputPolicy(mirror=False)
    assert policy_notes([Shown("A", yes, yes)]) == ()
    three = policy_notes([Shown("A", no, no), Shown("D", no, no), Shown("E", no, no)])
    assert three == ("Without the mirror: A, D and E were trained without mirrored crops.",)
    asked = policy_notes([Shown("A", yes, no)])
    assert asked == ("Without the mirror, as asked: A was trained with mirrored crops.",)


def test_files_of_before_hold_it_in_their_recipe(unmirrored):
    folder = unmirrored(mirror=True)
    text = json.loads(load_model(folder).description.to_json()) | {"recipe": {"mirror": False}}
    del text["policy"]
    assert ModelDescription.from_json(json.dumps(text), "old").policy == InputPolicy(mirror=False)
    text["recipe"]["mirror"] = True
    assert ModelDescription.from_json(json.dumps(text), "old").policy == InputPolicy()


def test_predict_and_submissions_leave_the_mirror_out(unmirrored, tmp_path, write_images, capsys):
    folder = unmirrored()
    (name,) = write_images(tmp_path / "flat", [(70, 90)])
    image, model = tmp_path / "flat" / name, load_model(folder)
    pixels = np.array(rescale(decode(str(image)), 73))
    alone, mirrored = (posteriors_of(model, each) for each in (pixels, pixels[:, ::-1]))
    for mirror, expected in ((None, alone), (False, alone), (True, (alone + mirrored) / 2)):
        (found,) = predict(folder, [image], top=6, mirror=mirror, device="cpu", precision="fp32")
        np.testing.assert_allclose(
            [each.posterior for each in found.classes], sorted(expected, reverse=True), rtol=1e-5
        )
    submission = classify([folder], str(tmp_path / "flat"), **CPU)
    np.testing.assert_allclose(
        [each.posterior for each in submission.predictions[0].classes], sorted(alone)[:0:-1], rtol=1e-5
    )
    assert WITHOUT in printed(submission)
    assert WITHOUT in submission.to_markdown()
    assert json.loads(submission.to_json())["mirror"] == [False]
    command = ["predict", str(folder), str(image), "--device", "cpu", "--precision", "fp32"]
    assert run([*command, "--json", str(tmp_path / "p.json")]) == 0
    assert "Without the mirror" in capsys.readouterr().out
    (written,) = json.loads((tmp_path / "p.json").read_text())
    assert written["mirror"] is False
    assert written["classes"][0]["posterior"] == pytest.approx(alone.max(), rel=1e-5)
    assert run([*command, "--mirror"]) == 0
    assert "With the mirror, as asked" in capsys.readouterr().out


def test_the_command_line_takes_both_ways(animals, unmirrored, tmp_path, capsys):
    folder, out = unmirrored(mirror=True), tmp_path / "t.json"
    command = ["evaluate", str(folder), str(animals), "--views", "dense", "--json", str(out), "--device", "cpu"]
    found = {}
    for flag in ("", "--mirror", "--no-mirror"):
        assert run([*command, "--workers", "0", *([flag] if flag else [])]) == 0
        found[flag] = json.loads(out.read_text())["rows"][0]["mirror"]
    assert found == {"": [True], "--mirror": [True], "--no-mirror": [False]}
    said = capsys.readouterr().out
    assert "Without the mirror, as asked: D was trained with mirrored crops." in said
    for name in ("evaluate", "predict", "features", "transfer", "quantize"):
        with pytest.raises(SystemExit):
            run([name, "--help"])
        assert "--mirror | --no-mirror" in capsys.readouterr().out
