"""Which row of Tables 11 and 12 stands beside a result, and what is said to differ."""

import dataclasses
from pathlib import Path

import pytest

from vggnet.cli import run
from vggnet.description import ModelDescription
from vggnet.paper.configurations import Architecture
from vggnet.transfer_learning.beside_paper import Setting, beside_paper

VOC = Setting(
    "voc",
    "VOCdevkit/VOC2007",
    "fc7",
    ((256, 384, 512, 640, 768),),
    "average",
    sets=("trainval", "test"),
    mirror=(True,),
)
CALTECH = Setting(
    "caltech",
    "data/caltech-101/101_ObjectCategories",
    "fc7",
    ((256, 384, 512),),
    "stack",
    sizes={"train_per_class": 30, "test_per_class": 50, "splits": 3},
    classes=102,
)


def net(name: str, **changes) -> ModelDescription:
    values = {"net": name, "outputs": 1000, "width": 1.0, "crop_px": 224} | changes
    scale = tuple(value * values["crop_px"] // 224 for value in (256, 512))
    return ModelDescription(Architecture(**values), train_scale=scale)


def twice(setting: Setting, **changes) -> Setting:
    return dataclasses.replace(setting, scales=setting.scales * 2, **changes)


@pytest.mark.parametrize(
    ("nets", "setting", "score", "source"),
    [
        ("D", VOC, 89.3, "Table 11"),
        ("E", dataclasses.replace(VOC, data="VOC2012/"), 89.0, "Table 11"),
        ("DE", twice(VOC, data="VOC2012"), 89.3, "Table 11"),
        ("ED", twice(VOC), 89.7, "Table 11"),
        ("D", CALTECH, 91.8, "Table 11"),
        ("E", CALTECH, 92.3, "Table 11"),
        (
            "DE",
            twice(
                CALTECH,
                data="256_ObjectCategories",
                sizes={"train_per_class": 60, "test_per_class": 999, "splits": 3},
                classes=257,
            ),
            86.2,
            "Table 11",
        ),
        ("DE", twice(VOC, protocol="actions", data="VOC2012"), 84.0, "Table 12"),
        ("DE", twice(VOC, protocol="actions", data="VOC2012", regions="image"), 79.2, "Table 12"),
    ],
)
def test_the_papers_own_setting_has_no_differences(nets: str, setting: Setting, score: float, source: str) -> None:
    found = beside_paper([net(name) for name in nets], setting)
    assert found is not None
    assert (found.row.score, found.row.source, found.differences) == (score, source, ())


def test_each_difference_is_said() -> None:
    changed = dataclasses.replace(
        VOC, layer="pool5", scales=((73, 96),), pool="stack", sets=("train", "val"), data="VOC2012"
    )
    found = beside_paper(
        [dataclasses.replace(net("B", crop_px=64, width=0.25, outputs=10), train_scale=(73,))], changed
    )
    assert found is not None
    assert found.row.score == 89.0
    expected = [
        "net",
        "crop 64",
        "width 0.25",
        "10 classes",
        "S",
        "Q",
        "layer pool5",
        "scales by stack",
        "sets train and val",
    ]
    assert list(found.differences) == expected
    sizes = {"train_per_class": 5, "test_per_class": 10, "splits": 2}
    found = beside_paper([net("D")], dataclasses.replace(CALTECH, sizes=sizes, classes=40, pool="max"))
    assert found is not None
    assert found.differences == (
        "scales by max",
        "5 training images a class",
        "at most 10 test images a class",
        "2 splits",
        "40 classes of images",
    )
    assert found.line() == (
        "paper: 91.8 +- 1.0 (Table 11, D on Caltech-101); not as in the paper: " + ", ".join(found.differences)
    )


def test_q_is_in_proportion_to_the_crop() -> None:
    setting = dataclasses.replace(VOC, scales=((512, 768, 1024, 1280, 1536),), mirror=(False,))
    found = beside_paper([net("D", crop_px=448)], setting)
    assert found is not None
    assert found.differences == ("crop 448", "no mirror in the test")
    headless = net("D", outputs=0, convolutions_only=True)
    found = beside_paper([headless], dataclasses.replace(VOC, layer="pool5"))
    assert found is not None
    assert found.differences == ("convolutions only", "layer pool5")


@pytest.mark.parametrize("data", ["flowers", "photos-101", "VOC2012"])
def test_other_data_have_no_row(data: str) -> None:
    assert beside_paper([net("D")], dataclasses.replace(CALTECH, data=data)) is None
    assert beside_paper([net("D")], dataclasses.replace(VOC, data="VOC2009")) is None


def test_it_is_printed(model_file: Path, colours: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "caltech101").symlink_to(colours)
    (tmp_path / "caltech").mkdir()
    data = tmp_path / "caltech" / "101_ObjectCategories"
    data.mkdir()
    for folder in colours.iterdir():
        (data / folder.name).mkdir()
        for file in folder.iterdir():
            (data / folder.name / file.name).write_bytes(file.read_bytes())
    options = ["--layer", "conv2_1", "--train-per-class", "5", "--costs", "100", "--device", "cpu", "--workers", "0"]
    assert run(["transfer", str(model_file), str(data), *options]) == 0
    said = capsys.readouterr().out
    assert "paper: 91.8 +- 1.0 (Table 11, D on Caltech-101); not as in the paper: crop 64, width 0.0625" in said
