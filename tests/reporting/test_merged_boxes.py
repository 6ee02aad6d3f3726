"""Boxes before and after merging: what a report draws is what `localize evaluate` computes."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nets import save_random_net
from PIL import Image

from vggnet.evaluation.computing import Computing
from vggnet.localization.boxes import iou
from vggnet.localization.guessing import guess, load_nets
from vggnet.localization.objects import objects_of, open_localizable
from vggnet.network.weights import load_model
from vggnet.reporting.box_pictures import PREDICTED, draw_boxes
from vggnet.reporting.building import build_report
from vggnet.reporting.merged_boxes import Rating, merge_boxes, merged_gallery, rating_of
from vggnet.reporting.sources import Run, read_sources, with_results

CLASSES = ("class0", "class1", "class2")
CPU = Computing.of("cpu", "auto", 0, "skip")


@pytest.fixture
def located(class_folders: Callable[..., Path]) -> Path:
    """Images of three classes with a box each."""
    data = class_folders(train=2, val=3)
    files = sorted(data.glob("*/*/*.jpg"))
    with (data / "boxes.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("image", "class", "xmin", "ymin", "xmax", "ymax"))
        rows.writerows((f.relative_to(data).as_posix(), f.parent.name, 3, 4, 25, 30) for f in files)
    return data


@pytest.fixture
def nets(tmp_path: Path) -> tuple[Path, Path]:
    """A box net and a classifier."""
    paths = tmp_path / "boxes.safetensors", tmp_path / "classifier.safetensors"
    save_random_net(paths[0], CLASSES, boxes="pcr", seed=3)
    save_random_net(paths[1], CLASSES[::-1], seed=4)
    return paths


def test_the_best_merged_box_is_that_of_test_2(located: Path, nets: tuple[Path, Path]) -> None:
    run, classifier = nets
    opened = open_localizable(str(located), None, None)
    assert opened.val is not None
    val = objects_of(opened.val, bad_boxes="skip", workers=0, name="val")
    found = merge_boxes(run, load_model(run), Rating((classifier,)), opened, val, 64, CPU)
    matched = load_nets([run], [classifier])
    truth = np.array([matched.classes.index(CLASSES[label]) for label in val.labels])
    certain = np.eye(len(CLASSES))[truth]  # the true class is the best one
    places = np.array([each.index for each in found])
    (expected,) = guess(matched, [((0, 64),)], val.split, val.sizes, certain, places, CPU)
    np.testing.assert_allclose([each.merged[0] for each in found], expected.edges[:, 0])
    assert all(1 <= len(each.merged) <= len(each.windows) for each in found)
    assert any(len(each.merged) < len(each.windows) for each in found)
    for each in found:
        assert each.rates.sum() == pytest.approx(each.scores.sum())

    gallery = merged_gallery(found, val, CLASSES, Rating((classifier,)), 64)
    assert gallery is not None
    mean = np.mean([iou(each.merged[0], val.edges[each.index]) for each in found])
    assert f"the best merged one {mean:.2f}" in gallery.says
    assert "rated by classifier.safetensors" in gallery.says
    assert all(len(card.pictures) == 2 for card in gallery.cards)


def test_without_a_classifier_all_windows_count_alike(located: Path, nets: tuple[Path, Path]) -> None:
    opened = open_localizable(str(located), None, None)
    assert opened.val is not None
    val = objects_of(opened.val, bad_boxes="skip", workers=0, name="val")
    found = merge_boxes(nets[0], load_model(nets[0]), Rating(), opened, val, 40, CPU)
    assert all((each.scores == 1).all() for each in found)
    assert all(each.rates.sum() == len(each.windows) for each in found)


def test_boxes_are_rated_as_the_localisation_says_else_by_the_net_they_came_from(
    located: Path, nets: tuple[Path, Path], tmp_path: Path
) -> None:
    run, classifier = nets
    sources = read_sources([run])
    assert rating_of(sources.runs[0], sources) == Rating()
    content = {"test1": [], "test2": [], "merging": "centroid", "models": [str(run)], "classifiers": [str(classifier)]}
    told = with_results(sources, content)
    assert rating_of(sources.runs[0], told) == Rating((classifier,), "centroid")
    (tmp_path / "localisation.json").write_text(json.dumps(content | {"data": str(located)}))
    html = build_report([tmp_path / "localisation.json"], device="cpu", workers=0).html
    assert "Boxes before and after merging" in html
    assert "merged (centroid)" in html.replace("\n", " ")
    description = sources.runs[0].description
    from_net = Run(run, "boxes", description, config={"init_from": str(classifier)})
    assert rating_of(from_net, sources) == Rating((classifier,))
    gone = Run(run, "boxes", description, config={"init_from": str(tmp_path / "gone")})
    assert rating_of(gone, sources) == Rating()


def test_faint_boxes_are_as_opaque_as_they_are_rated() -> None:
    edges = np.array([[0, 0, 100, 100], [200, 200, 300, 300.0]])
    shown = np.asarray(draw_boxes(Image.new("RGB", (400, 400)), edges[:0], edges[:0], edges, np.array([1.0, 0.5])))
    colour = np.array([int(PREDICTED[place : place + 2], 16) for place in (1, 3, 5)])
    assert np.array_equal(shown[50, 0], colour)
    assert np.abs(shown[250, 200] - colour / 2).max() <= 1
    assert not shown[150, 150].any()
