"""Fit linear SVMs on descriptors, and choose C on a part of the training images (App. B).

A fit that does not converge raises an error. scikit-learn's LinearSVC learns each class against the rest.

Shapes: n images, D numbers of a descriptor, K classes.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vggnet.console import counted
from vggnet.data.dividing import held_out_of_class
from vggnet.errors import UserError, is_installed, missing_package

if TYPE_CHECKING:
    from sklearn.svm import LinearSVC

COSTS = (0.01, 0.1, 1.0, 10.0, 100.0)
ITERATIONS = (1_000, 10_000, 100_000)
VALIDATION = 0.2  # of the training images


def check_installed() -> None:
    """Raise UserError where scikit-learn is not installed."""
    if not is_installed("sklearn"):
        raise missing_package("a linear SVM", "scikit-learn", "transfer")


def fit(
    values: np.ndarray,
    labels: np.ndarray,
    cost: float,
    seed: int,
    *,
    intercept: bool = True,
    iterations: Sequence[int] = ITERATIONS,
) -> "LinearSVC":
    """Return a linear SVM with C = `cost`: values (n, D), labels (n,).

    `iterations` are tried in turn. Raises UserError where it does not converge.
    """
    from sklearn.exceptions import (
        ConvergenceWarning,  # not above: it takes a second, and `vggnet features` does not need it
    )
    from sklearn.svm import LinearSVC

    for most in iterations:
        svm = LinearSVC(C=cost, max_iter=most, random_state=seed, dual="auto", fit_intercept=intercept)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", ConvergenceWarning)
                return svm.fit(values, labels)
        except ConvergenceWarning:
            continue
    raise UserError(
        f"the SVM with C={cost:g} did not converge in {iterations[-1]:,} iterations on "
        f"{counted(len(labels), 'image')}: give smaller `costs`"
    )


def choose_cost(score: Callable[[float], float], costs: Sequence[float] = COSTS) -> float:
    """Return the cost with the highest score, the smallest of equals. Raises UserError for a cost of 0 or less."""
    if not costs or min(costs) <= 0:
        raise UserError(f"`costs` {' '.join(map(str, costs))}: one or more numbers above 0")
    scores = {cost: score(cost) for cost in sorted(costs)}
    return max(scores, key=lambda cost: (scores[cost], -cost))


def hold_out_places(labels: np.ndarray, fraction: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(rest, held out): places in `labels` (n,), `fraction` of each class, at least one of a class and never all.

    Raises UserError where a class has a single image.
    """
    if not 0 < fraction < 1:
        raise UserError(f"`validation` {fraction}: a part of the training images, above 0 and below 1")
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        if len(places) < 2:
            raise UserError("choosing the SVM's C needs at least two training images a class")
        held[rng.permutation(places)[: held_out_of_class(len(places), fraction)]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def class_recalls(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the part of each class's images that is recognised, (K,); NaN for a class without images."""
    images = np.bincount(labels, minlength=classes).astype(np.float64)
    right = np.bincount(labels[predicted == labels], minlength=classes)
    return np.divide(right, images, out=np.full(classes, np.nan), where=images > 0)
