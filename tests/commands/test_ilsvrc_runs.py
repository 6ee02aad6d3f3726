"""ILSVRC's tars train, evaluate and localise without being unpacked: the bits of the CLS-LOC layout's folders."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ilsvrc import Corners, Download, Picture, val_name, write_folders, write_tars
from nets import save_random_net
from PIL import Image
from safetensors.torch import load_file

from vggnet.cli import run

FIXED = ["--device", "cpu", "--precision", "fp32", "--workers", "0", "--no-report"]
TRAINED = ["--batch", "8", "--threads", "1", *FIXED]


def classified(data: Path, out: Path) -> dict[str, Any]:
    """Train a classifier on `data` for two epochs and evaluate it; return weights and tables by name."""
    out.mkdir()
    net, table = out / "net", out / "errors.json"
    small = ["--net", "A", "--width", "0.0625", "--crop", "64", "--epochs", "2"]
    assert run(["train", str(data), *small, "--out", str(net), *TRAINED]) == 0
    assert run(["evaluate", str(net), str(data), "--views", "dense", "crops", "--json", str(table), *FIXED]) == 0
    return content_of(net) | {"errors": json.loads(table.read_text())["rows"]}


def localised(data: Path, net: Path, out: Path, epochs: int) -> dict[str, Any]:
    """Train a net of boxes from `net` on `data` and evaluate it; return weights and tables by name."""
    out.mkdir(exist_ok=True)
    boxes, table = out / "boxes", out / "boxes.json"
    train = ["--init-from", str(net), "--epochs", str(epochs), "--out", str(boxes)]
    assert run(["localize", "train", str(data), *train, *TRAINED]) == 0
    evaluate = ["--classifier", str(net), "--json", str(table)]
    assert run(["localize", "evaluate", str(boxes), str(data), *evaluate, *FIXED]) == 0
    tables = json.loads(table.read_text())
    return content_of(boxes) | {name: tables[name] for name in ("test1", "test2")}


def content_of(folder: Path) -> dict[str, Any]:
    """Return the weights and the figures on val of a run."""
    found: dict[str, Any] = {part: load_file(folder / f"{part}.safetensors") for part in ("best", "last")}
    return found | {"val": json.loads((folder / "val.json").read_text())}


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    for name, found in one.items():
        if name in ("best", "last"):
            assert all(torch.equal(tensor, other[name][key]) for key, tensor in found.items()), name
        else:
            assert found == other[name], name


def test_generated_tars_train_and_measure_boxes_as_the_folders(tmp_path: Path) -> None:
    """Three classes of five training and two validation images, of 40 pixels, each with a box."""
    wnids, generator = ("n01440764", "n01443537", "n02102040"), np.random.default_rng(0)

    def picture(name: str, label: int) -> Picture:
        pixels = generator.integers(0, 90, (40, 44, 3)).astype(np.uint8)
        left, top = (int(value) for value in generator.integers(0, 12, 2))
        pixels[top : top + 20, left : left + 20, label] += 120
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=95)
        return Picture(name, wnids[label], file.getvalue(), ((left, top, left + 19, top + 19),))

    train = [picture(f"{wnid}_{number}", label) for label, wnid in enumerate(wnids) for number in range(5)]
    val = [picture(val_name(number + 1), number % 3) for number in range(6)]
    download = Download(wnids, ("tench", "goldfish", "English springer"), train, val)
    net = tmp_path / "net.safetensors"
    save_random_net(net, wnids)
    packed = localised(write_tars(tmp_path / "tars", download), net, tmp_path / "packed", epochs=1)
    loose = localised(write_folders(tmp_path / "folders", download), net, tmp_path / "loose", epochs=1)
    assert_same(packed, loose)
    assert packed["test2"]


def real_download(root: Path, classes: int, train: int, val: int) -> Download:
    """Return a part of a data set in the CLS-LOC layout, with the val images renamed as in the tars."""
    base = root / "ILSVRC/Data/CLS-LOC"
    lines = (root / "LOC_synset_mapping.txt").read_text().splitlines()[:classes]
    wnids, titles = zip(*(line.split(" ", 1) for line in lines), strict=True)
    boxes: dict[str, tuple[Corners, ...]] = {}
    owners: dict[str, str] = {}
    for part in ("train", "val"):
        with (root / f"LOC_{part}_solution.csv").open(newline="") as file:
            for name, words in list(csv.reader(file))[1:]:
                fields = words.split()
                owners[name] = fields[0]
                places = range(0, len(fields), 5)
                boxes[name] = tuple(tuple(map(int, fields[at + 1 : at + 5])) for at in places)  # type: ignore[misc]

    def picture(path: Path, name: str, wnid: str) -> Picture:
        with Image.open(path) as image:
            return Picture(name, wnid, path.read_bytes(), boxes.get(path.stem, ()), image.size)

    trained = [
        picture(path, path.stem, wnid) for wnid in wnids for path in sorted((base / "train" / wnid).iterdir())[:train]
    ]
    tested: list[Picture] = []
    for wnid in wnids:
        for path in [path for path in sorted((base / "val").iterdir()) if owners.get(path.stem) == wnid][:val]:
            tested.append(picture(path, val_name(len(tested) + 1), wnid))
    return Download(wnids, titles, trained, tested)


@pytest.mark.slow
def test_tars_of_real_photographs_train_evaluate_and_localise_as_the_folders(ilsvrc_tiny: Path, tmp_path: Path) -> None:
    """Five classes of 40 training and 20 validation images of 64 pixels; two epochs."""
    download = real_download(ilsvrc_tiny, classes=5, train=40, val=20)
    assert (len(download.train), len(download.val)) == (200, 100)
    assert all(picture.boxes for picture in download.val)
    tars, folders = write_tars(tmp_path / "tars", download), write_folders(tmp_path / "folders", download)
    packed, loose = classified(tars, tmp_path / "packed"), classified(folders, tmp_path / "loose")
    assert_same(packed, loose)
    assert packed["val"]["center"]["top1"]["images"] == 100
    packed = localised(tars, tmp_path / "packed" / "net", tmp_path / "packed", epochs=2)
    loose = localised(folders, tmp_path / "loose" / "net", tmp_path / "loose", epochs=2)
    assert_same(packed, loose)
    assert not list((tmp_path / "tars").rglob("*.JPEG"))
