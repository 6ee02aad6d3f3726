"""The same images in a folder, a tar, a zip and a pack: the same batches, weights, tables and descriptors."""

import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vggnet.cli import parse, run
from vggnet.data.opening import open_data
from vggnet.data.splits import ImageData
from vggnet.images.augmentation import Augmentation
from vggnet.images.loading import TrainingLoader
from vggnet.images.packing import pack
from vggnet.training.checkpoints import TrainingProgress
from vggnet.training.classification import train_classifier

SMALL = ["--net", "A", "--crop", "32", "--width", "0.03", "--batch", "8", "--epochs", "1", "--device", "cpu"]


@pytest.fixture
def layouts(class_folders, tmp_path: Path) -> dict[str, Path]:
    """The same images four times."""
    folder = class_folders(classes=3, train=6, val=3)
    made = {"folder": folder} | {name: tmp_path / name for name in ("images.tar", "images.zip", "pack")}
    with tarfile.open(made["images.tar"], "w") as tar:
        tar.add(folder, "images")
    with zipfile.ZipFile(made["images.zip"], "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*.jpg")):
            archive.write(path, path.relative_to(folder))
    pack(open_data(str(folder)), made["pack"])
    return made


def first_batches(data: ImageData, augmentation: Augmentation, workers: int) -> list[torch.Tensor]:
    assert data.train is not None
    order = np.random.default_rng(0).permutation(len(data.train))
    with TrainingLoader(data.train, augmentation, workers=workers) as loader:
        return [batch.pixels for batch in loader.batches(0, [order[:8], order[8:16]])]


def test_batches_are_the_same_bit_for_bit(layouts, augmentation):
    expected = first_batches(open_data(str(layouts["folder"])), augmentation, 0)
    for name, path in layouts.items():
        for workers in (0, 1):
            found = first_batches(open_data(str(path)), augmentation, workers)
            assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True)), name


def test_weights_tables_and_descriptors_are_the_same_bit_for_bit(layouts, tmp_path, capsys):
    results = {}
    for name, path in layouts.items():
        out = tmp_path / f"run-{name}"
        assert run(["train", str(path), "--out", str(out), *SMALL, "--workers", "0", "--threads", "1"]) == 0
        table, vectors = tmp_path / f"{name}.json", tmp_path / f"{name}.npz"
        assert run(["evaluate", str(out), str(path), "--views", "dense", "--json", str(table)]) == 0
        assert run(["features", str(out), str(path), "--out", str(vectors)]) == 0
        rows = json.loads(table.read_text())["rows"]
        results[name] = load_file(out / "best.safetensors"), rows, np.load(vectors)["descriptors"]
    capsys.readouterr()
    weights, rows, vectors = results["folder"]
    for name, (its, its_rows, its_vectors) in results.items():
        assert all(torch.equal(weights[key], its[key]) for key in weights), name
        assert its_rows == rows, name
        np.testing.assert_array_equal(its_vectors, vectors)


def test_a_run_that_was_started_on_a_folder_goes_on_from_an_archive(layouts, tmp_path):
    def command(data: str, out: str, *more: str) -> list[str]:
        arguments = ["train", str(layouts[data]), "--out", str(tmp_path / out), *SMALL, "--threads", "1"]
        return [*arguments, "--workers", "0", "--save-every", "0", *more]

    def stop(progress: TrainingProgress) -> None:
        raise KeyboardInterrupt

    assert run(command("folder", "whole")) == 0
    with pytest.raises(KeyboardInterrupt):
        train_classifier(parse(command("folder", "part")), after_step=stop)
    assert run(command("images.tar", "part", "--resume")) == 0
    whole, part = (load_file(tmp_path / out / "last.safetensors") for out in ("whole", "part"))
    assert all(torch.equal(whole[key], part[key]) for key in whole)


def test_single_images_and_boxes_of_an_archive(layouts, tmp_path, capsys):
    assert run(["train", str(layouts["folder"]), "--out", str(tmp_path / "run"), *SMALL, "--workers", "0"]) == 0
    capsys.readouterr()
    assert run(["predict", str(tmp_path / "run"), str(layouts["folder"] / "val"), "--json"]) == 0
    loose = json.loads(capsys.readouterr().out)
    with tarfile.open(tmp_path / "val.tar", "w") as tar:
        tar.add(layouts["folder"] / "val", ".")
    assert run(["predict", str(tmp_path / "run"), str(tmp_path / "val.tar"), "--json"]) == 0
    packed = json.loads(capsys.readouterr().out)
    assert str(packed).replace(str(tmp_path / "val.tar"), str(layouts["folder"] / "val")) == str(loose)
