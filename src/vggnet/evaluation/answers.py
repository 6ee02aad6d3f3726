"""What a row of a table answered for each image: the best classes, the true class and its posterior.

Shapes: n images, K classes, T = min(5, K).
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vggnet.evaluation.metrics import TOP


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers of one row for n images; classes are numbered as in `classes`.

    `best` int64 (n, T) and `posteriors` float64 (n, T) are the most probable classes, the best first. `truth` int64
    (n,) is the true class, `of_truth` float64 (n,) its posterior, and `places` int64 (n,) its place, 0 the best.
    """

    row: str
    root: str
    files: tuple[str, ...]
    classes: tuple[str, ...]
    best: np.ndarray
    posteriors: np.ndarray
    truth: np.ndarray
    of_truth: np.ndarray
    places: np.ndarray

    @classmethod
    def of(
        cls,
        row: str,
        root: str,
        files: tuple[str, ...],
        classes: tuple[str, ...],
        posteriors: np.ndarray,
        truth: np.ndarray,
        places: np.ndarray,
    ) -> "Answers":
        """Return the answers of a row: its posteriors (n, K), the true classes and their places (n,)."""
        top = min(TOP, posteriors.shape[1])
        some = np.sort(np.argpartition(-posteriors, top - 1, axis=1)[:, :top], axis=1)  # equal ones by index
        order = np.argsort(-np.take_along_axis(posteriors, some, 1), axis=1, kind="stable")
        best = np.take_along_axis(some, order, 1)
        of_truth = np.take_along_axis(posteriors, truth[:, None], 1)[:, 0]
        of_best = np.take_along_axis(posteriors, best, 1)
        return cls(row, root, files, classes, best, of_best, truth, of_truth, places)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def wrong(self) -> np.ndarray:
        """Return whether the best class of each image is not the true one, bool (n,)."""
        result: np.ndarray = self.places >= 1
        return result


def answers_csv(rows: Sequence[Answers]) -> str:
    """Return CSV text, a line for each image of each row: true class, right or wrong, the best classes."""
    count = max((each.best.shape[1] for each in rows), default=0)
    numbers = range(1, count + 1)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    best = [f"{name}_{number}" for name in ("class", "posterior") for number in numbers]
    writer.writerow(["row", "image", "true_class", "right", "true_posterior", "true_place", *best])
    for each in rows:
        blank = [""] * (count - each.best.shape[1])
        for place, file in enumerate(each.files):
            names = [each.classes[index] for index in each.best[place].tolist()]
            shown = [f"{value:.6f}" for value in each.posteriors[place].tolist()]
            truth = each.classes[int(each.truth[place])]
            right = "no" if each.places[place] else "yes"
            facts = [truth, right, f"{each.of_truth[place]:.6f}", int(each.places[place]) + 1]
            writer.writerow([each.row, file, *facts, *names, *blank, *shown, *blank])
    return text.getvalue()
