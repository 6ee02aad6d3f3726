"""Test which rows of a table differ, in pairs of rows, corrected for the number of comparisons.

Notable: a table of several rows compares many pairs, and its best row is chosen after looking. Without a correction a
third to two thirds of the tables of equally good rows would show a difference. Holm's correction keeps the probability
of one false difference or more in a column at 5 %. It is taken over the comparisons with the row above, and over those
with a baseline that the user named beforehand. Where the reference is the best row, it is taken over all pairs of rows,
since any pair might have been chosen.

Shapes: n images.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vggnet.evaluation.metrics import NORMAL_95, PairedTest, compare


@dataclass(frozen=True)
class Comparisons:
    """The tests of each row against the row above and against the row `reference`; None where there is no test."""

    above: tuple[PairedTest | None, ...]
    against: tuple[PairedTest | None, ...]
    reference: int


def holm(tests: Sequence[PairedTest]) -> list[PairedTest]:
    """Return the tests with p values corrected for their number (Holm 1979, step-down Bonferroni)."""
    order = sorted(range(len(tests)), key=lambda place: tests[place].p_value)
    corrected, least = [1.0] * len(tests), 0.0
    for done, place in enumerate(order):
        least = max(least, min(1.0, (len(tests) - done) * tests[place].p_value))
        corrected[place] = least
    return [replace(test, corrected=p) for test, p in zip(tests, corrected, strict=True)]


@dataclass(frozen=True)
class Difference:
    """The change of an error from a first to a second way on the same images, in points: below 0 the second is better.

    `low` and `high` are its 95 % interval; `test` is the paired test.
    """

    points: float
    low: float
    high: float
    test: PairedTest

    @property
    def clear(self) -> bool:
        """Return whether the interval excludes zero, and the test agrees."""
        return (self.low > 0 or self.high < 0) and self.test.significant


def difference(first_wrong: np.ndarray, second_wrong: np.ndarray) -> Difference:
    """Return how the error changes from a first to a second way: booleans (n,) and (n,) of the same images."""
    return difference_of(compare(first_wrong, second_wrong), len(first_wrong))


def difference_of(test: PairedTest, images: int) -> Difference:
    """Return how the error changes from the first to the second way of a test on so many images.

    The interval is Bonett and Price's (2012) for paired proportions: Wald's, with one image added to each of the two
    counts of images that only one way gets wrong.
    """
    if not images:
        return Difference(0.0, -100.0, 100.0, test)
    first, second = ((count + 1) / (images + 2) for count in (test.only_first_wrong, test.only_second_wrong))
    half = NORMAL_95 * math.sqrt((first + second - (second - first) ** 2) / (images + 2))
    change = (test.only_second_wrong - test.only_first_wrong) / images
    low, high = (max(-1.0, second - first - half), min(1.0, second - first + half))
    return Difference(100 * change, 100 * low, 100 * high, test)


def compare_rows(wrong: Sequence[np.ndarray], baseline: int | None = None) -> Comparisons:
    """Compare rows on the same images: `wrong` holds a boolean (n,) for each row.

    `baseline` is the row that the user named beforehand. None: the reference is the row of fewest errors.
    """
    rows = range(len(wrong))
    above = holm([compare(wrong[row - 1], wrong[row]) for row in rows[1:]])
    if baseline is not None:
        others = [row for row in rows if row != baseline]
        found = dict(zip(others, holm([compare(wrong[baseline], wrong[row]) for row in others]), strict=True))
        return Comparisons((None, *above), tuple(found.get(row) for row in rows), baseline)
    best = min(rows, key=lambda row: int(wrong[row].sum()))
    pairs = [(other, one) if other == best else (one, other) for one, other in itertools.combinations(rows, 2)]
    tests = dict(zip(pairs, holm([compare(wrong[one], wrong[other]) for one, other in pairs]), strict=True))
    against = tuple(tests.get((best, row)) for row in rows)
    return Comparisons((None, *above), against, best)
