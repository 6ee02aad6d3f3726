"""Stand-ins in the form of the authors' files under the paper's protocol, on ImageNet's validation images."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sources import Source, entry_of, play_keras, play_torchvision, write_keras_file, write_torchvision_file

import vggnet
from vggnet.cli import run
from vggnet.paper.imagenet import imagenet_classes

CODES, WORDS = imagenet_classes()
ANSWERS = ("n02119789", "n01440764", "n01440764")  # of three images


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """Three validation images in one folder, and a devkit beside it."""
    for number in range(1, 4):
        pixels = np.random.default_rng(number).integers(0, 256, (26, 30, 3), np.uint8)
        file = tmp_path / "imagenet" / "val" / f"ILSVRC2012_val_{number:08d}.JPEG"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).resize((260, 225), Image.Resampling.BICUBIC).save(file, "JPEG")
    devkit = tmp_path / "imagenet" / "ILSVRC2012_devkit_t12" / "data"
    devkit.mkdir(parents=True)
    (devkit / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n2\n2\n")
    (devkit / "map_clsloc.txt").write_text("n02119789 1 kit_fox\nn01440764 2 tench\n")
    return tmp_path / "imagenet"


@pytest.fixture
def oxford(source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both nets at width 1/16 on the server."""
    for seed, name in enumerate(("oxford/D", "oxford/E")):
        write_keras_file(tmp_path / f"{name[-1]}.h5", name[-1], seed=seed)
        play_keras(monkeypatch, source, entry_of(name), tmp_path / f"{name[-1]}.h5")


def evaluated(command: str, tmp_path: Path) -> dict:
    out = tmp_path / "result.json"
    assert run([*command.split(), "--device", "cpu", "--precision", "fp32", "--workers", "0", "--json", str(out)]) == 0
    return json.loads(out.read_text())


def test_table_6_of_the_authors_nets_needs_no_scales_and_stands_beside_the_papers(
    oxford: None, imagenet: Path, tmp_path: Path
) -> None:
    for number in (2, 3):
        (imagenet / "val" / f"ILSVRC2012_val_{number:08d}.JPEG").unlink()
    result = evaluated(f"evaluate oxford/D oxford/E {imagenet} --protocol table6", tmp_path)
    rows = result["rows"]
    assert [row["method"] for row in rows] == ["dense", "multi-crop", "both"]
    assert [(row["paper"]["top1"], row["paper"]["top5"]) for row in rows] == [(24.0, 7.1), (23.9, 7.2), (23.7, 6.8)]
    assert all(row["not_as_in_the_paper"] == ["width 0.0625"] for row in rows)  # of the real files: none
    # the dense row, by hand: each net's mean over Q and mirror, then the mean of the nets
    means = []
    for name in ("oxford/D", "oxford/E"):
        model = vggnet.load(name)
        (file,) = (imagenet / "val").iterdir()
        scores = torch.zeros(1, 1000)
        for scale in (256, 384, 512):
            images = vggnet.preprocess(model, file, scale)
            scores += (model.posteriors(images) + model.posteriors(images.flip(3))) / 6
        means.append(scores)
    places = (sum(means) / 2).argsort(1, descending=True)
    wanted = CODES.index(ANSWERS[0])
    assert rows[0]["top1"]["wrong"] == int((places[:, :1] != wanted).all(1).sum())
    assert rows[0]["top5"]["wrong"] == int((places[:, :5] != wanted).all(1).sum())
    assert [each["name"] for each in result["models"]] == ["D", "E"]


def test_two_nets_of_one_kind_are_told_apart_by_their_names(
    oxford: None, source: Source, monkeypatch: pytest.MonkeyPatch, imagenet: Path, tmp_path: Path
) -> None:
    write_torchvision_file(tmp_path / "theirs.pth", "D")
    play_torchvision(monkeypatch, source, entry_of("vgg16"), tmp_path / "theirs.pth")
    rows = evaluated(f"evaluate vgg16 oxford/D {imagenet} --views center --test-scale 256", tmp_path)["rows"]
    assert [row["nets"] for row in rows[:2]] == ["D (torchvision/vgg16)", "D (oxford/D)"]


@pytest.mark.parametrize("table", ["table3", "table4"])
def test_the_other_tables_follow_from_s(oxford: None, imagenet: Path, tmp_path: Path, table: str) -> None:
    rows = evaluated(f"evaluate oxford/D {imagenet} --protocol {table}", tmp_path)["rows"]
    paper = {"table3": (25.6, 8.1), "table4": (24.8, 7.5)}[table]
    assert [(row["paper"]["top1"], row["paper"]["top5"]) for row in rows] == [paper]


def test_torchvisions_nets_are_tested_at_the_scale_of_their_published_error(
    source: Source, monkeypatch: pytest.MonkeyPatch, imagenet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_torchvision_file(tmp_path / "theirs.pth", "D")
    play_torchvision(monkeypatch, source, entry_of("vgg16"), tmp_path / "theirs.pth")
    rows = evaluated(f"evaluate vgg16 {imagenet} --views center", tmp_path)["rows"]
    assert [(row["nets"], row["method"], row["test_scale"]) for row in rows] == [("D", "center", "256")]
    assert run(["evaluate", "vgg16", str(imagenet), "--protocol", "table4"]) == 2
    assert "does not say at which scale it was trained" in capsys.readouterr().err


def test_class_folders_by_words_count_as_those_by_codes(oxford: None, imagenet: Path, tmp_path: Path) -> None:
    by_words, by_code = tmp_path / "words", tmp_path / "codes"
    for number, code in enumerate(ANSWERS, start=1):
        for root, name in ((by_words, WORDS[CODES.index(code)].replace(" ", "_")), (by_code, code)):
            file = root / "val" / name / f"{number}.JPEG"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes((imagenet / "val" / f"ILSVRC2012_val_{number:08d}.JPEG").read_bytes())
    command = "evaluate oxford/D {} --views center --test-scale 256"
    results = [evaluated(command.format(root), tmp_path)["rows"][0] for root in (imagenet, by_words, by_code)]
    assert len({(row["top1"]["wrong"], row["top5"]["wrong"], row["top1"]["images"]) for row in results}) == 1
