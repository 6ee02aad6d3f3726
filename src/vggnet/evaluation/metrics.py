"""Count errors, with their 95 % intervals, and test whether two differ.

Notable:
- Counts are divided once, at the end, so that ranks and shards may be of any size. An image counts once.
- Equal posteriors are ranked by class index: a net that gives every class the same is at chance, not at 0 % error.
- Two protocols are compared on the same images by McNemar's exact (binomial) test. It looks only at the images that
  one protocol gets right and the other wrong.

Shapes: n images, K classes, V views.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vggnet.errors import Diverged

NORMAL_95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution
TOP = 5


@dataclass(frozen=True)
class Count:
    """The number of wrong images among `images`."""

    wrong: int = 0
    images: int = 0

    @property
    def rate(self) -> float:
        """Return the error, 0 to 1; NaN where no image was counted."""
        return self.wrong / self.images if self.images else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Return the error's 95 % interval, as fractions."""
        return wilson(self.wrong, self.images)

    def cell(self) -> str:
        """Return the error in percent with its interval, for a table: `28.5 [26.6, 30.5]`; `-` without images."""
        if not self.images:
            return "-"
        low, high = self.interval
        return f"{100 * self.rate:.1f} [{100 * low:.1f}, {100 * high:.1f}]"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values: `error` and its interval `low`, `high` in percent, and the counts.

        `error` is None without images.
        """
        low, high = self.interval
        error = 100 * self.rate if self.images else None
        return {"error": error, "low": 100 * low, "high": 100 * high, "wrong": self.wrong, "images": self.images}

    def describe(self) -> str:
        """Return the error in words: `28.5 % (95 % interval 26.6 to 30.5), 570 of 2,000 images wrong`."""
        if not self.images:
            return "unknown: no image was counted"
        low, high = self.interval
        return (
            f"{100 * self.rate:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f}), "
            f"{self.wrong:,} of {self.images:,} images wrong"
        )


@dataclass(frozen=True)
class Errors:
    """Top-1 and top-5 errors of the same images; `top5` is None where there are fewer than five classes."""

    top1: Count
    top5: Count | None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values: `Count.to_dict` of both; `top5` is None where there are fewer than five classes."""
        return {"top1": self.top1.to_dict(), "top5": self.top5.to_dict() if self.top5 is not None else None}


def refuse_not_finite(posteriors: np.ndarray) -> None:
    """Raise Diverged where posteriors are not finite: comparisons with them would count every image as right."""
    if not np.isfinite(posteriors).all():
        raise Diverged(f"the posteriors are not finite; {Diverged.RETRAIN}")


def ranks(posteriors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the place of the true class (n,), 0 the best, of posteriors (n, K) and labels (n,).

    Raises Diverged where posteriors are not finite.
    """
    refuse_not_finite(posteriors)
    labels = np.asarray(labels, dtype=np.int64)
    true = np.take_along_axis(posteriors, labels[:, None], axis=1)
    before = np.arange(posteriors.shape[1])[None, :] < labels[:, None]
    return ((posteriors > true) | ((posteriors == true) & before)).sum(axis=1)


def count_errors(posteriors: np.ndarray, labels: np.ndarray) -> Errors:
    """Count top-1 and top-5 errors: posteriors (n, K), labels (n,)."""
    return count_ranks(ranks(posteriors, labels), posteriors.shape[1])


def count_ranks(places: np.ndarray, classes: int) -> Errors:
    """Count errors from the places that `ranks` gives, (n,), among `classes` K."""
    top5 = Count(int((places >= TOP).sum()), len(places)) if classes >= TOP else None
    return Errors(Count(int((places >= 1).sum()), len(places)), top5)


def wilson(wrong: int, images: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of the error wrong / images, as fractions; (0, 1) without images."""
    if images == 0:
        return 0.0, 1.0
    p, z = wrong / images, NORMAL_95
    center = p + z * z / (2 * images)
    half = z * math.sqrt(p * (1 - p) / images + z * z / (4 * images * images))
    scale = 1 + z * z / images
    # At no error and at only errors the exact bounds are 0 and 1: rounding would give 1e-19 in their place.
    low = 0.0 if wrong == 0 else (center - half) / scale
    return low, 1.0 if wrong == images else (center + half) / scale


@dataclass(frozen=True)
class PairedTest:
    """McNemar's exact test of two lists of outcomes for the same images.

    `corrected` is the p value for a test that is one of several (`comparing.holm`); None where it stands alone.
    """

    only_first_wrong: int
    only_second_wrong: int
    p_value: float
    corrected: float | None = None

    @property
    def final_p(self) -> float:
        """Return the corrected p value, or the plain one where the test stands alone."""
        return self.p_value if self.corrected is None else self.corrected

    @property
    def significant(self) -> bool:
        """Return whether the outcomes differ at the 5 % level."""
        return self.final_p < 0.05


def compare(first_wrong: np.ndarray, second_wrong: np.ndarray) -> PairedTest:
    """Test whether two protocols differ on the same images: booleans (n,) and (n,), in the same order of images."""
    assert first_wrong.shape == second_wrong.shape
    b = int((first_wrong & ~second_wrong).sum())
    c = int((second_wrong & ~first_wrong).sum())
    # the two tails are equal; at b = c they overlap, hence the minimum
    return PairedTest(b, c, min(1.0, 2 * at_most_of_fair(min(b, c), b + c)))


def at_most_of_fair(heads: int, throws: int) -> float:
    """Return the probability of at most `heads` heads in `throws` throws of a fair coin."""
    numbers = np.arange(1, heads + 1)
    choices = np.cumsum(np.log((throws - numbers + 1) / numbers))  # of 1, 2, ... heads among the throws, as logarithms
    return float(np.exp(np.append(0.0, choices) - throws * math.log(2)).sum())


def combine(posteriors: Iterable[np.ndarray]) -> np.ndarray:
    """Return the mean, float64, of posteriors (n, K) of several views or nets (Sect. 3.2, 4.5), read one at a time."""
    total: np.ndarray | None = None
    count = 0
    for array in posteriors:
        total = array.astype(np.float64) if total is None else np.add(total, array, out=total)
        count += 1
    if total is None:
        raise ValueError("nothing to combine: give the posteriors of one view at least")
    return total / count
