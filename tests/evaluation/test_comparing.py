"""Corrections for many comparisons: by hand, and on tables of rows that are all equally good."""

import numpy as np
import pytest

from vggnet.evaluation.comparing import compare_rows, difference, holm
from vggnet.evaluation.metrics import PairedTest, compare


def test_holm_by_hand():
    tests = [PairedTest(0, 0, p) for p in (0.01, 0.04, 0.03, 0.005)]
    # sorted: 0.005 * 4, 0.01 * 3, 0.03 * 2, then 0.04 * 1 = 0.04, but never less than the one before
    assert [test.corrected for test in holm(tests)] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert [test.corrected for test in holm([PairedTest(0, 0, 0.6), PairedTest(0, 0, 0.9)])] == [1.0, 1.0]
    assert holm([]) == []
    assert [test.significant for test in holm(tests)] == [True, False, False, True]


def test_what_is_compared_with_what():
    rng = np.random.default_rng(0)
    wrong = [rng.random(500) < rate for rate in (0.4, 0.2, 0.3, 0.5)]
    found = compare_rows(wrong)
    assert found.reference == 1
    assert [test is None for test in found.against] == [False, True, False, False]
    for row in (0, 2, 3):  # the reference is the first of each pair, whatever their order in the table
        alone = compare(wrong[1], wrong[row])
        assert (found.against[row].only_first_wrong, found.against[row].p_value) == (
            alone.only_first_wrong,
            alone.p_value,
        )
        assert found.against[row].corrected <= 6 * alone.p_value
    assert found.above[2].p_value == compare(wrong[1], wrong[2]).p_value
    named = compare_rows(wrong, 3)
    assert named.reference == 3
    assert named.against[3] is None
    assert named.against[0].corrected <= found_of(wrong, 0, 3) * 3


def found_of(wrong, one, other):
    return compare(wrong[one], wrong[other]).p_value


@pytest.mark.parametrize("baseline", [None, 0])
def test_tables_of_equally_good_rows_seldom_show_a_difference(baseline):
    """In at most 5 % of them (here 3 standard deviations more). Uncorrected it is a third of tables of six rows."""
    rng = np.random.default_rng(1)
    starred = uncorrected = 0
    tables = 200
    for _ in range(tables):
        hard = rng.random(300) * 0.6  # images differ in difficulty, rows do not
        found = compare_rows([rng.random(300) < hard for _ in range(6)], baseline)
        tests = [test for test in found.against if test is not None]
        starred += any(test.significant for test in tests)
        uncorrected += any(test.p_value < 0.05 for test in tests)
    assert starred <= tables * (0.05 + 3 * (0.05 * 0.95 / tables) ** 0.5)
    assert uncorrected > 0.1 * tables
    if baseline is None:
        assert uncorrected > 0.25 * tables


def test_a_real_difference_is_still_shown():
    rng = np.random.default_rng(2)
    wrong = [rng.random(2000) < rate for rate in (0.40, 0.41, 0.30)]
    found = compare_rows(wrong)
    assert [test is not None and test.significant for test in found.against] == [True, True, False]


def test_one_row_is_compared_with_nothing():
    assert compare_rows([np.array([True, False])]).against == (None,)


def test_a_difference_is_bonett_and_prices():
    """98 images, 9 that only the first way gets wrong, 1 that only the second does: 10 and 2 of 100, with one added."""
    first, second = np.zeros(98, bool), np.zeros(98, bool)
    first[:9] = second[9] = True
    found = difference(first, second)
    assert found.points == pytest.approx(-100 * 8 / 98)
    half = 1.959964 * ((0.10 + 0.02 - 0.08**2) / 100) ** 0.5
    assert (found.low, found.high) == pytest.approx((-8 - 100 * half, -8 + 100 * half), abs=1e-4)
    assert found.clear
