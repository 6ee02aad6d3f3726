"""Views, the paper's scales in proportion, and which of the paper's rows stands beside ours."""

import pytest

from vggnet.description import ModelDescription
from vggnet.errors import UserError
from vggnet.evaluation.protocols import Entrant, combinations, multiple_scales, single_scale
from vggnet.evaluation.views import View, describe, views_of
from vggnet.paper.configurations import Architecture


def described(net="D", train_scale=(256, 512), crop=224, **options):
    return ModelDescription(Architecture(net, crop_px=crop, **options), train_scale=train_scale)


def entrant(net="D", train_scale=(256, 512), crop=224, **options):
    return Entrant(net, described(net, train_scale, crop, **options))


SEVEN = [
    entrant(net, scale)
    for net, scale in (
        ("C", (256,)),
        ("C", (384,)),
        ("D", (256,)),
        ("D", (384,)),
        ("D", (256, 512)),
        ("E", (256,)),
        ("E", (384,)),
    )
]


def test_views_have_names_and_an_order():
    assert View("dense", 384).key == "dense-384"
    assert sorted([View("dense", 512), View("crops", 384), View("dense", 256)])[0] == View("crops", 384)
    assert describe(views_of(["dense", "crops"], [256, 384])) == "dense + crops, Q=256,384"


def test_a_scale_that_is_too_small_names_the_least_one():
    with pytest.raises(UserError, match=r"the pool5 map would be 6x6, fc6 needs 7x7: Q must be at least 224"):
        View("dense", 223).check(Architecture("D"))
    with pytest.raises(UserError, match=r"a crop of 64 does not fit .* 63: Q must be at least 64"):
        View("crops", 63).check(Architecture("D", crop_px=64))
    View("dense", 224).check(Architecture("D"))


def test_a_view_that_does_not_exist():
    with pytest.raises(UserError, match="'sparse' does not exist; the views are dense, crops, center, ten"):
        views_of(["sparse"], [256])


@pytest.mark.parametrize(
    ("train_scale", "crop", "single", "multiple"),
    [
        ((256,), 224, 256, (224, 256, 288)),
        ((384,), 224, 384, (352, 384, 416)),
        ((256, 512), 224, 384, (256, 384, 512)),
        ((73,), 64, 73, (64, 73, 82)),  # 32 * 64 / 224 = 9.14
        ((73, 146), 64, 110, (73, 110, 146)),  # 109.5
        ((110,), 64, 110, (101, 110, 119)),
        ((110,), 96, 110, (96, 110, 124)),  # 13.7
    ],
)
def test_scales_by_hand(train_scale, crop, single, multiple):
    description = described(train_scale=train_scale, crop=crop)
    assert single_scale(description) == (single,)
    assert multiple_scales(description) == multiple


def test_no_recipe_needs_test_scales():
    with pytest.raises(UserError, match="give `test_scale`"):
        combinations([entrant(train_scale=())], protocol="table4")
    (row,) = combinations([entrant(train_scale=())], protocol="table4", test_scale=[512, 256])
    assert row.members == ((0, (View("dense", 256), View("dense", 512))),)


def test_the_smallest_scale_is_not_clamped():
    with pytest.raises(UserError, match=r"S - 32 = 208 is below its crop of 224: give `test_scale`"):
        combinations([entrant(train_scale=(240,))], protocol="table4")


def test_table_5_and_6():
    rows = combinations([entrant("D"), entrant("E")], protocol="table5")
    assert [row.method for row in rows] == ["dense", "multi-crop", "both"] * 2
    assert [row.paper.top1 for row in rows if row.paper] == [24.8, 24.6, 24.4] * 2
    assert rows[2].members == ((0, views_of(["dense", "crops"], [256, 384, 512])),)
    rows = combinations([entrant("D"), entrant("E")], protocol="table6")
    assert [row.paper.top5 for row in rows if row.paper] == [7.1, 7.2, 6.8]
    assert all(row.differences == () for row in rows)
    with pytest.raises(UserError, match="two or more models"):
        combinations([entrant()], protocol="table6")


def test_what_is_not_as_in_the_paper_is_marked():
    def differences(*entrants, protocol):
        return combinations(entrants, protocol=protocol)[0].differences

    assert differences(entrant("D", (73,), 64), protocol="table3") == ("crop 64",)
    assert differences(entrant("D", (300,)), protocol="table3") == ("S", "Q")
    assert differences(entrant("D", (256,)), protocol="table5") == ("S", "Q")
    assert differences(entrant("D"), entrant("B"), protocol="table6") == ("net",)
    assert differences(*SEVEN, protocol="table6") == ()
    assert differences(*SEVEN[:5], protocol="table6") == ("net", "S", "Q")
    swapped = [entrant("C", (384,)), entrant("C", (384,)), *SEVEN[2:]]
    assert differences(*swapped, protocol="table6") == ("S", "Q")
    small = entrant("E", (73, 146), 64, width=0.25, batch_norm=True, outputs=40)
    assert differences(small, protocol="table4") == ("crop 64", "width 0.25", "batch norm", "40 classes")


def test_the_submissions_seven_nets_stand_beside_seven_nets():
    """Table 6: C, D and E at S = 256 and 384, D jittered; each at its own three Q."""
    rows = combinations(SEVEN, protocol="table6")
    assert [(row.method, row.paper.top1, len(row.paper.nets)) for row in rows] == [
        ("dense", 24.7, 7),
        ("multi-crop", 23.9, 2),  # the submission is dense
        ("both", 23.7, 2),
    ]
    scales = [sorted({view.scale for view in views}) for _, views in rows[0].members]
    assert scales == [[224, 256, 288], [352, 384, 416]] * 2 + [[256, 384, 512], [224, 256, 288], [352, 384, 416]]
    assert [row.paper.top1 for row in combinations(SEVEN[:3], protocol="table6")] == [24.0, 23.9, 23.7]


def test_the_paper_row_follows_the_scale():
    (fixed,) = combinations([entrant("D", (110,), 64)], protocol="table4")
    assert fixed.paper is not None
    assert (fixed.paper.train_scale, fixed.paper.top1) == ((384,), 26.5)
    (control,) = combinations([entrant("5x5", (256,))], protocol="table3")
    assert control.paper is None  # the paper has no number for it


def test_rows_without_a_protocol():
    rows = combinations([entrant()])
    assert [(row.method, row.members[0][1][0].scale) for row in rows] == [("center", 384), ("dense", 384)]
    assert [row.paper.top1 if row.paper else None for row in rows] == [None, 25.6]
    rows = combinations([entrant()], views=["dense", "crops"], test_scale=[256, 384, 512])
    assert [row.method for row in rows] == ["dense"] * 3 + ["multi-crop"] * 3 + ["dense", "multi-crop", "both"]
    assert [row.paper.top1 if row.paper else None for row in rows[-3:]] == [24.8, 24.6, 24.4]
    fused = combinations([entrant("D"), entrant("E")])[-1]
    assert [place for place, _ in fused.members] == [0, 1]


def test_what_does_not_go_together():
    with pytest.raises(UserError, match="leave out `views`"):
        combinations([entrant()], protocol="table3", views=["dense"])
    with pytest.raises(UserError, match="table7 does not exist"):
        combinations([entrant()], protocol="table7")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="Q must be at least 224"):
        combinations([entrant()], test_scale=[100])
