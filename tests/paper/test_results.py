"""The published tables hold together: each agrees with what the paper says about it."""

import pytest

from vggnet.paper.configurations import CONFIGURATIONS
from vggnet.paper.results import (
    CLASSIFICATION,
    JITTERED,
    SUBMISSION,
    TABLE_3,
    TABLE_4,
    TABLE_5,
    TABLE_6,
    TABLE_8,
    TABLE_9,
    TABLE_11,
    TABLE_12,
    THREE_SCALES,
)


def test_rows_are_nets_of_table_1_and_their_errors_are_in_order() -> None:
    for row in CLASSIFICATION:
        assert set(row.nets) <= set(CONFIGURATIONS)
        assert 0 < row.top5 < row.top1 < 100
    assert (len(TABLE_3), len(TABLE_4), len(TABLE_5), len(TABLE_6)) == (12, 10, 6, 3)


def test_errors_are_those_of_the_published_tables() -> None:
    """Top-1 and top-5 error in percent, in the order of the rows."""
    errors = [[(row.top1, row.top5) for row in table] for table in (TABLE_3, TABLE_4, TABLE_5)]
    assert errors[0] == [
        *((29.6, 10.4), (29.7, 10.5), (28.7, 9.9)),  # A, A-LRN, B
        *((28.1, 9.4), (28.1, 9.3), (27.3, 8.8)),  # C
        *((27.0, 8.8), (26.8, 8.7), (25.6, 8.1)),  # D
        *((27.3, 9.0), (26.9, 8.7), (25.5, 8.0)),  # E
    ]
    assert errors[1] == [
        (28.2, 9.6),  # B
        *((27.7, 9.2), (27.8, 9.2), (26.3, 8.2)),  # C
        *((26.6, 8.6), (26.5, 8.6), (24.8, 7.5)),  # D
        *((26.9, 8.7), (26.7, 8.6), (24.8, 7.5)),  # E
    ]
    assert errors[2] == [
        *((24.8, 7.5), (24.6, 7.5), (24.4, 7.2)),  # D: dense, multi-crop, both
        *((24.8, 7.5), (24.6, 7.4), (24.4, 7.1)),  # E
    ]


def test_scales_follow_the_protocol() -> None:
    for row in TABLE_3:
        assert row.test_scales == (sum(row.train_scale) // len(row.train_scale),)
    for row in TABLE_4:
        expected = THREE_SCALES if row.train_scale == JITTERED else tuple(row.train_scale[0] + d for d in (-32, 0, 32))
        assert row.test_scales == expected


def test_several_scales_are_better_than_one() -> None:
    single = {(row.nets, row.train_scale): row for row in TABLE_3}
    for row in TABLE_4:
        assert row.top1 < single[row.nets, row.train_scale].top1
        assert row.top5 < single[row.nets, row.train_scale].top5


def test_dense_rows_of_table_5_repeat_table_4() -> None:
    jittered = {row.nets: (row.top1, row.top5) for row in TABLE_4 if row.train_scale == JITTERED}
    assert all(jittered[row.nets] == (row.top1, row.top5) for row in TABLE_5 if row.method == "dense")


@pytest.mark.parametrize("rows", [TABLE_5, TABLE_6])
def test_both_methods_are_better_than_either(rows: tuple) -> None:
    for best in (row for row in rows if row.method == "both"):
        assert all(best.top1 <= row.top1 and best.top5 <= row.top5 for row in rows if row.nets == best.nets)


def test_two_nets_are_better_than_one() -> None:
    for fused in TABLE_6:
        assert all(fused.top1 < row.top1 for row in TABLE_5 if row.method == fused.method)


def test_one_box_per_class_and_all_layers_and_fusion_are_better() -> None:
    assert [row.error for row in TABLE_8] == sorted((row.error for row in TABLE_8), reverse=True)
    assert [row.error for row in TABLE_9] == sorted((row.error for row in TABLE_9), reverse=True)


def test_stacked_features_are_better() -> None:
    for data in {row.data for row in TABLE_11}:
        rows = [row for row in TABLE_11 if row.data == data]
        assert max(rows, key=lambda row: row.score).nets == ("D", "E")


def test_the_persons_box_helps() -> None:
    whole, both = TABLE_12
    assert (whole.score, both.score) == (79.2, 84.0)
    assert whole.data.endswith("whole image")


def test_the_submissions_nets_are_each_tested_at_table_4s_scales() -> None:
    known = {(row.nets[0], row.train_scale): row for row in TABLE_4}
    assert len(SUBMISSION.members) == 7
    assert SUBMISSION.nets == ("C", "C", "D", "D", "D", "E", "E")
    for net, train_scale, test_scales in SUBMISSION.members:
        row = known[net, train_scale]
        assert row.test_scales == test_scales
        assert SUBMISSION.top1 < row.top1


def test_table_9s_fused_nets_have_the_scales_of_its_single_ones() -> None:
    fused = TABLE_9[3]
    assert [(scale,) for scale in fused.train_scales] == [row.train_scales for row in (TABLE_9[0], TABLE_9[2])]
    assert fused.scales_by_net == (TABLE_9[0].test_scales, TABLE_9[2].test_scales)
    assert fused.test_scales == tuple(sorted({q for each in fused.scales_by_net for q in each}))
