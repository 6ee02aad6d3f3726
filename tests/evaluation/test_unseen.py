"""Nets are tested on images that they have not learnt from: on a whole folder, or on the part that was set aside."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from vggnet.api.evaluation import evaluate
from vggnet.data.learnt import Learnt, content_digests, copy_learnt, read_learnt, write_learnt
from vggnet.data.opening import open_data
from vggnet.data.splits import Split
from vggnet.errors import UserError
from vggnet.evaluation.tables import Table
from vggnet.network.weights import load_model, save_model

CLASSES = ("bee", "cat", "dog", "elk", "fox", "gnu")


def table_of(models: list[Path], data: Path) -> Table:
    table = evaluate(models, str(data), views=["center"], device="cpu", precision="fp32", workers=0)
    assert isinstance(table, Table)
    return table


def learn(run: Path, split: Split, before: Learnt | None = None) -> None:
    write_learnt(run, Learnt.of(split, content_digests(split)), before)


@pytest.fixture
def photos(tmp_path: Path, write_images: Callable) -> Path:
    """Class folders without a validation part: 6 classes of 5 images."""
    for seed, name in enumerate(CLASSES):
        write_images(tmp_path / "photos" / name, [(70, 70)] * 5, seed)
    return tmp_path / "photos"


def test_a_folder_that_no_net_was_trained_on_counts_whole(animals: Path, run_folder: Callable) -> None:
    """`evaluate RUN photos/val`: all its images, not a fifth of them."""
    run = run_folder()
    train = open_data(str(animals)).train
    learn(run, train)
    table = table_of([run], animals / "val")
    assert table.rows[0].expected == table.rows[0].errors.top1.images == 18
    assert "on val, " in table.title
    assert any("all 18 images count" in note for note in table.remarks())
    assert not any("has learnt from" in note for note in table.remarks())


def test_one_image_a_class_is_enough(tmp_path: Path, write_images: Callable, run_folder: Callable) -> None:
    """With a net that was converted, which has no record."""
    for seed, name in enumerate(CLASSES):
        write_images(tmp_path / "few" / name, [(70, 70)], seed)
    assert table_of([run_folder()], tmp_path / "few").rows[0].errors.top1.images == 6


@pytest.mark.parametrize("moved", [False, True])
def test_the_folder_that_a_run_was_trained_on_counts_in_part(
    photos: Path, tmp_path: Path, run_folder: Callable, moved: bool
) -> None:
    run = run_folder()
    opened = open_data(str(photos))
    learn(run, opened.train)
    if moved:  # copied to another disk
        photos = Path(shutil.copytree(photos, tmp_path / "scratch" / "copy"))
    table = table_of([run], photos)
    assert table.rows[0].expected == len(opened.val) < 30
    assert any("set aside" in note for note in table.remarks())
    assert not any("has learnt from" in note for note in table.remarks())


def test_the_training_images_can_be_evaluated_and_that_is_said(animals: Path, run_folder: Callable) -> None:
    run = run_folder()
    learn(run, open_data(str(animals)).train)
    table = table_of([run], animals / "train")
    assert table.rows[0].errors.top1.images == 12
    assert f"{run} has learnt from 12 of these 12 images: its errors may be too low by up to 100 points" in table.notes


@pytest.mark.parametrize("order", [1, -1])
def test_a_net_that_has_learnt_from_the_images_set_aside_stops_in_either_order(
    photos: Path, run_folder: Callable, order: int
) -> None:
    """Whichever net comes first, none is scored on its own training images."""
    one, other = run_folder("one"), run_folder("other")
    opened = open_data(str(photos))
    learn(one, opened.train)
    learn(other, open_data(str(photos), whole=True).val.subset(range(20)))
    with pytest.raises(UserError, match=r"other: has learnt from \d+ of the \d+ images .* set aside"):
        table_of([one, other][::order], photos)


def test_what_the_source_of_a_run_has_learnt_from_counts_too(photos: Path, run_folder: Callable) -> None:
    run = run_folder()
    opened = open_data(str(photos))
    before = Learnt.of(opened.val, content_digests(opened.val))
    learn(run, opened.train, before)
    with pytest.raises(UserError, match=f"has learnt from {len(opened.val)} of the {len(opened.val)} images"):
        table_of([run], photos)


def test_copies_of_training_images_are_counted(animals: Path, run_folder: Callable) -> None:
    train, val = animals / "train" / "bee" / "000.png", animals / "val" / "bee" / "000.png"
    shutil.copyfile(train, val)
    run = run_folder()
    learn(run, open_data(str(animals)).train)
    table = table_of([run], animals)
    assert table.rows[0].errors.top1.images == 18
    known = f"{run} has learnt from 1 of these 18 images: its errors may be too low by up to 5.56 points"
    assert known in table.notes
    assert table.facts["models"][0]["images_learnt_from"] == 1


def test_a_run_of_an_earlier_version(photos: Path, run_folder: Callable) -> None:
    """It has no record of its images. With seed 0 the folder was divided as now; with another it was not."""
    run = run_folder()
    (run / "config.json").write_text(json.dumps({"seed": 0, "data": str(photos)}))
    assert table_of([run], photos).rows[0].expected == len(open_data(str(photos)).val)
    (run / "config.json").write_text(json.dumps({"seed": 3, "data": f"{photos}/."}))
    with pytest.raises(UserError, match="set aside by seed 3"):
        table_of([run], photos)
    (run / "config.json").write_text(json.dumps({"seed": 3, "data": str(photos.parent)}))
    assert table_of([run], photos).rows[0].expected == 30
    (run / "config.json").write_text(json.dumps({"seed": 0, "data": "photos-that-were-moved"}))
    table = table_of([run], photos)
    assert table.rows[0].expected == len(open_data(str(photos)).val)
    assert any("has no record of the images" in note for note in table.remarks())


def test_a_damaged_record_is_named(photos: Path, run_folder: Callable) -> None:
    run = run_folder()
    (run / "learnt.npz").write_bytes(b"PK\3\4 and no more")
    with pytest.raises(UserError, match=r"run: learnt\.npz .* is damaged"):
        table_of([run], photos)


def test_trained_weights_apart_from_their_run_count_what_is_set_aside(
    photos: Path, tmp_path: Path, run_folder: Callable
) -> None:
    """A weight file alone does not know its images: none of those that it may have learnt from counts."""
    model = load_model(run_folder())
    model.description = dataclasses.replace(model.description, recipe={"learning_rate": 0.01})
    save_model(tmp_path / "mine.safetensors", model)
    table = table_of([tmp_path / "mine.safetensors"], photos)
    assert table.rows[0].expected == len(open_data(str(photos)).val)
    assert any("mine.safetensors has no record of the images" in note for note in table.remarks())


def test_a_quantized_net_keeps_the_record_of_its_images(photos: Path, tmp_path: Path, run_folder: Callable) -> None:
    run = run_folder()
    opened = open_data(str(photos))
    learn(run, opened.train, Learnt.of(opened.train, content_digests(opened.train)))
    copy_learnt(run / "best.safetensors", tmp_path)
    copied = read_learnt(tmp_path)
    assert copied.holds_images(opened.train, content_digests(opened.train)).all()
    assert not copied.holds_images(opened.val, content_digests(opened.val)).any()
