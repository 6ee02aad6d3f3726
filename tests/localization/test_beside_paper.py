"""The paper's number for a localisation table is chosen by what the row is, and what differs is named."""

import dataclasses
import io

import pytest
from rich.console import Console

from vggnet.description import InputPolicy, ModelDescription
from vggnet.evaluation.metrics import Count
from vggnet.evaluation.tables import mark_of
from vggnet.localization.beside_paper import beside_table_8, beside_table_9
from vggnet.localization.judging import LocalizationErrors
from vggnet.localization.report import CenterRow, DenseRow, LocalizationReport
from vggnet.paper.configurations import Architecture

CLASSES = tuple(map(str, range(1000)))


def net(s=256, name="D", boxes="pcr", layers="all", classes=CLASSES, crop=224, **options):
    outputs = 4 if boxes == "scr" else 4 * len(classes)
    return ModelDescription(
        Architecture(name, outputs, crop_px=crop, **options),
        classes=classes,
        train_scale=s if isinstance(s, tuple) else (s,),
        recipe={"layers": layers},
        boxes=boxes,
    )


def dense(*nets_and_scales, merging="overfeat"):
    nets, scales = zip(*nets_and_scales, strict=True)
    found = beside_table_9(nets, scales, merging)
    return found.paper.error, found.differences


def test_the_papers_own_rows_have_no_differences():
    assert dense((net(256), (256,))) == (29.5, ())
    assert dense((net(384), (384,))) == (28.2, ())
    assert dense((net(384), (352, 384))) == (27.5, ())
    assert dense((net(256), (256,)), (net(384), (352, 384))) == (26.9, ())
    assert dense((net(384), (352, 384)), (net(256), (256,))) == (26.9, ())  # whatever their order
    for boxes, layers, error in (("scr", "fc", 36.4), ("pcr", "fc", 34.3), ("pcr", "all", 33.1)):
        found = beside_table_8(net(384, boxes=boxes, layers=layers), 384)
        assert (found.paper.error, found.differences) == (error, ())


def test_an_scr_net_a_at_any_scale_is_marked():
    error, differences = dense((net(300, name="A", boxes="scr", layers="fc"), (500,)))
    assert error == 29.5  # the nearest S
    assert differences == ("net", "boxes", "fine-tuned layers", "S", "Q")
    assert dense((net(380), (500,)))[0] == 28.2
    fused = [(net(256, name="A"), (700,)), (net(384), (352, 384)), (net(384), (352, 384))]
    assert dense(*fused) == (26.9, ("net", "3 nets", "S", "Q"))
    assert dense((net(256), (256, 384)), (net(384), (256, 384))) == (26.9, ("Q",))  # not each its own


def test_pixel_sizes_follow_the_crop():
    small = {"crop": 64, "classes": ("a", "b"), "width": 0.25}
    assert dense((net(73, **small), (73,))) == (29.5, ("crop 64", "width 0.25", "2 classes"))
    assert dense((net(110, **small), (101, 110)))[0] == 27.5
    assert dense((net((64, 73), **small), (64,))) == (29.5, ("S", "Q", "crop 64", "width 0.25", "2 classes"))


def test_merging_and_mirrors_are_named():
    assert dense((net(256), (256,)), merging="centroid") == (29.5, ("merging",))
    unmirrored = dataclasses.replace(net(256), policy=InputPolicy(mirror=False))
    assert dense((unmirrored, (256,))) == (29.5, ("no mirrored crops in training",))


def test_table_8_has_no_row_of_one_box_with_all_layers():
    assert beside_table_8(net(384, boxes="scr"), 384) is None
    found = beside_table_8(net(256, layers="fc"), 500)
    assert (found.paper.error, found.differences) == (34.3, ("S", "Q"))


def test_marks_stand_beside_the_numbers_and_below_the_table():
    count = Count(1, 4)
    errors = LocalizationErrors(count, count, count, count, 0.5)
    center = (
        CenterRow("D", net(384), 384, count, 0.5),
        CenterRow("A", net(384, name="A"), 384, count, 0.5),
        CenterRow("whole image", None, None, count, None),
    )
    rows = (DenseRow("D", (net(256),), (256,), errors), DenseRow("A", (net(256, name="A"),), (256,), errors))
    report = LocalizationReport("photos", center, rows)
    console = Console(width=200, file=io.StringIO())
    report.print(console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "33.1 a" in text
    assert "29.5 a" in text
    assert text.count("not as in the paper") == 1
    assert "a  not as in the paper: net" in text
    content = report.to_dict()
    assert [row["not_as_in_the_paper"] for row in content["test1"]] == [[], ["net"], []]
    assert [(row["paper"], row["not_as_in_the_paper"]) for row in content["test2"]] == [(29.5, []), (29.5, ["net"])]


@pytest.mark.parametrize(("place", "mark"), [(0, "a"), (25, "z"), (26, "aa"), (27, "ab"), (52, "ba")])
def test_there_are_marks_enough(place, mark):
    assert mark_of(place) == mark
