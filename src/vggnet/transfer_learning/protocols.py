"""Run the protocols of Appendix B on given descriptors.

    Caltech   random splits: n training images a class, at most m test images a class; a linear SVM; the mean over
              classes of the part recognised; its mean and deviation over the splits
    VOC       one SVM a class, one against the rest; the mean over classes of the average precision

A split depends on (seed, split, class) alone. So two kinds of descriptors are tested on the same images, and compared
in pairs (McNemar's exact test, as in classification).

Shapes: n images, D numbers of a descriptor, K classes.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vggnet.console import counted
from vggnet.errors import UserError
from vggnet.evaluation.metrics import PairedTest, compare
from vggnet.randomness import numbered_generator
from vggnet.transfer_learning.average_precision import average_precisions
from vggnet.transfer_learning.svm import COSTS, VALIDATION, choose_cost, class_recalls, fit, hold_out_places


@dataclass(frozen=True)
class RandomSplit:
    """The places of the training and test images of one split, int64 each."""

    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class SplitResult:
    """The mean class recall of one split in percent, the chosen C, and which test images were wrong, bool (n,)."""

    mean_class_recall: float
    cost: float
    train_images: int
    wrong: np.ndarray


@dataclass(frozen=True)
class RecallResult:
    """The results of all splits."""

    splits: tuple[SplitResult, ...]

    @property
    def mean_class_recall(self) -> float:
        """The mean over the splits, in percent."""
        return statistics.fmean(split.mean_class_recall for split in self.splits)

    @property
    def deviation(self) -> float:
        """The sample deviation over the splits, in percent; 0 for a single split."""
        recalls = [split.mean_class_recall for split in self.splits]
        return statistics.stdev(recalls) if len(recalls) > 1 else 0.0

    def against(self, other: "RecallResult") -> tuple[PairedTest, ...]:
        """Return a paired test for each split: this result is the first, the other the second."""
        return tuple(compare(own.wrong, theirs.wrong) for own, theirs in zip(self.splits, other.splits, strict=True))


def random_splits(
    labels: np.ndarray, classes: Sequence[str], *, train: int, test: int, splits: int, seed: int
) -> tuple[RandomSplit, ...]:
    """Draw `splits` times `train` images of each class, and at most `test` of the rest.

    Raises UserError for a class with too few images.
    """
    if train < 2 or test < 1 or splits < 1:
        raise UserError(f"at least 2 training and 1 test image a class and 1 split, not {train}, {test} and {splits}")
    made = []
    for number in range(splits):
        chosen: list[np.ndarray] = []
        tested: list[np.ndarray] = []
        for label, name in enumerate(classes):
            places = np.flatnonzero(labels == label)
            if len(places) <= train:
                raise UserError(
                    f"class {name!r} has {counted(len(places), 'image')}: too few for `train_per_class` {train} and a "
                    "test image"
                )
            rng = numbered_generator(seed, number, label)
            order = rng.permutation(places)
            chosen.append(order[:train])
            tested.append(order[train : train + test])
        made.append(RandomSplit(np.sort(np.concatenate(chosen)), np.sort(np.concatenate(tested))))
    return tuple(made)


def class_recall_protocol(
    values: np.ndarray,
    labels: np.ndarray,
    classes: int,
    splits: Sequence[RandomSplit],
    *,
    costs: Sequence[float] = COSTS,
    validation: float = VALIDATION,
    seed: int = 0,
) -> RecallResult:
    """Run the protocol of Caltech: values (n, D), labels (n,).

    Each split chooses its C on a part of its training images, and then fits the SVM on all of them.
    """
    results = []
    for number, split in enumerate(splits):
        rng = numbered_generator(seed, number, classes)
        rest, held = (split.train[part] for part in hold_out_places(labels[split.train], validation, rng))

        def score(cost: float, rest: np.ndarray = rest, held: np.ndarray = held) -> float:
            predicted = fit(values[rest], labels[rest], cost, seed).predict(values[held])
            return float(np.nanmean(class_recalls(predicted, labels[held], classes)))

        cost = choose_cost(score, costs)
        predicted = fit(values[split.train], labels[split.train], cost, seed).predict(values[split.test])
        recall = 100 * float(np.nanmean(class_recalls(predicted, labels[split.test], classes)))
        results.append(SplitResult(recall, cost, len(split.train), predicted != labels[split.test]))
    return RecallResult(tuple(results))


@dataclass(frozen=True)
class PrecisionResult:
    """Average precisions by class in percent, in both of VOC's forms, and the C that was chosen for all classes.

    `scores` (n, K) are those of the SVMs for the test examples; NaN for a class that could not be learnt.
    """

    classes: tuple[str, ...]
    eleven_point: tuple[float, ...]
    area: tuple[float, ...]
    cost: float
    scores: np.ndarray

    @property
    def mean_eleven_point(self) -> float:
        """The mean over the classes that can be counted, in percent; NaN where none can."""
        return _mean(self.eleven_point)

    @property
    def mean_area(self) -> float:
        """The mean over the classes that can be counted, in percent; NaN where none can."""
        return _mean(self.area)


def _mean(values: Sequence[float]) -> float:
    """Return the mean of the values that are not NaN; NaN without any."""
    counting = [value for value in values if not np.isnan(value)]
    return statistics.fmean(counting) if counting else float("nan")


def average_precision_protocol(
    values: np.ndarray,
    targets: np.ndarray,
    classes: Sequence[str],
    train: np.ndarray,
    test: np.ndarray,
    *,
    cost_places: tuple[np.ndarray, np.ndarray] | None = None,
    labelled: bool = True,
    costs: Sequence[float] = COSTS,
    validation: float = VALIDATION,
    seed: int = 0,
) -> PrecisionResult:
    """Run the protocol of VOC: values (n, D), targets int8 (n, K) of 1, -1, or 0.

    An example with target 0 is left out of training and of counting. C is chosen by learning on the first of
    `cost_places` and testing on the second, by default on a random `validation` part of `train`. The final SVMs learn
    from all of `train`. With `labelled=False` the labels of `test` are unknown here, and only scores are wanted. Raises
    UserError where there is nothing to learn from or to test on.
    """
    if not len(test):
        raise UserError("no test image could be described: nothing is left to test on")
    rest, held = _divided(train, validation, seed, len(classes)) if cost_places is None else cost_places
    if not len(rest) or not len(held):
        raise UserError("`cost_sets`: no image of one of the sets could be described: C cannot be chosen on them")

    def score(cost: float) -> float:
        area = _mean([area for _, area in _precisions(_scores(values, targets, rest, held, cost, seed), targets[held])])
        return 0.0 if np.isnan(area) else area

    cost = choose_cost(score, costs)
    scores = _scores(values, targets, train, test, cost, seed)
    found = _precisions(scores, targets[test])
    if np.isnan(scores).all() or (labelled and all(np.isnan(area) for _, area in found)):
        raise UserError(
            f"none of {len(classes)} classes can be counted: each needs positive and negative training images and a "
            "positive test image"
        )
    points, areas = (tuple(100 * each for each in column) for column in zip(*found, strict=True))
    return PrecisionResult(tuple(classes), points, areas, cost, scores)


def _divided(train: np.ndarray, validation: float, seed: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the places (rest, held out) of a random division of `train`. Raises UserError where one is empty."""
    order = numbered_generator(seed, classes).permutation(train)
    wanted = max(1, round(validation * len(train)))
    if not 0 < validation < 1 or wanted >= len(train):
        raise UserError(
            f"`validation` {validation} of {counted(len(train), 'training image')} leaves nothing to learn or to judge"
        )
    return order[wanted:], order[:wanted]


def _scores(
    values: np.ndarray, targets: np.ndarray, train: np.ndarray, test: np.ndarray, cost: float, seed: int
) -> np.ndarray:
    """Return the SVM scores (len(test), K); NaN for a class without positive or negative examples in `train`."""
    scores = np.full((len(test), targets.shape[1]), np.nan)
    for column in range(targets.shape[1]):
        certain = train[targets[train, column] != 0]
        wanted = targets[certain, column]
        if len(np.unique(wanted)) == 2:
            scores[:, column] = fit(values[certain], wanted, cost, seed).decision_function(values[test])
    return scores


def _precisions(scores: np.ndarray, targets: np.ndarray) -> list[tuple[float, float]]:
    """Return (11 points, area) of each class, from scores and targets (n, K); NaN for a class that was not learnt."""
    return [
        (float("nan"), float("nan")) if np.isnan(column).any() else average_precisions(column, wanted)
        for column, wanted in zip(scores.T, targets.T, strict=True)
    ]
