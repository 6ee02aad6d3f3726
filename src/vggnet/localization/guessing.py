"""Run test 2 (App. A): take an image's best classes from the classifiers, and a box for each from the box nets.

- The five classes and their order are those of classification (Sect. 3.2): posteriors averaged over views, Q and nets.
  Views are dense unless other ones are given.
- Each window of the dense map gives a box, whose score is the classifiers' posterior in the same window. Boxes of one
  class are merged, and a merged box has the sum of the scores. The best box of a class has the largest sum.
- The boxes of several box nets are merged together.

Shapes: n images, K classes, T = min(5, K).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from vggnet.console import named, note
from vggnet.data.splits import Split
from vggnet.description import ImageReading, ModelDescription
from vggnet.errors import UserError
from vggnet.evaluation.computing import Computing
from vggnet.evaluation.metrics import TOP, combine
from vggnet.evaluation.policy import Shown
from vggnet.evaluation.ranks import gathered_results
from vggnet.evaluation.store import Store
from vggnet.evaluation.views import View
from vggnet.localization.dense import Candidates, MatchedNet, dense_candidates
from vggnet.localization.merging import best_boxes
from vggnet.network.vgg import VGG
from vggnet.network.weights import load_model, read_description
from vggnet.options.choices import Merging

_SHARD = 256  # images whose boxes are in memory at once


BoxSources = tuple[tuple[int, int], ...]  # (box net, Q) pairs whose boxes are merged together


@dataclass(frozen=True, eq=False)
class LocalizationNets:
    """Box nets and the classifiers that rate their boxes; classes are numbered as the first classifier numbers them.

    `descriptions` are those of the classifiers. `shown` is how images are shown to the nets, for `input_notes`.
    """

    box_nets: tuple[MatchedNet, ...]
    classifiers: tuple[MatchedNet, ...]
    classifier_paths: tuple[Path, ...]
    descriptions: tuple[ModelDescription, ...]
    shown: tuple[Shown, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the first classifier."""
        return self.descriptions[0].classes


@dataclass(frozen=True, eq=False)
class Guesses:
    """The best classes of n images, the best first, each with its box: classes, posteriors (n, T), edges (n, T, 4)."""

    classes: np.ndarray
    edges: np.ndarray
    posteriors: np.ndarray


def load_nets(
    runs: Sequence[str | Path],
    classifiers: Sequence[str | Path],
    mirror: bool | None = None,
    load: Callable[[str | Path], VGG] = load_model,
) -> LocalizationNets:
    """Load box nets and classifiers, and match their classes by name.

    `mirror` tells whether mirrored images are shown to all nets; None: to each net as it was trained. `load` returns
    the net at a path, for callers that have loaded some already. Raises UserError for nets that cannot work together.
    """
    described = [read_description(path) for path in classifiers]
    boxes = [read_description(path) for path in runs]
    for path, description in zip(classifiers, described, strict=True):
        if description.boxes:
            raise UserError(f"`classifier` {path}: this net draws boxes; give a classification run")
    for path, description in zip(runs, boxes, strict=True):
        check_box_net(path, description)
    _note_other_readings(classifiers, described, one_reading(runs, boxes))
    crops = {each.architecture.crop_px for each in (*described, *boxes)}
    if len(crops) > 1:
        raise UserError(
            f"nets of different crops ({', '.join(map(str, sorted(crops)))}) see different windows: give box nets and "
            "classifiers of one crop"
        )
    shown = [*shown_nets(runs, boxes, mirror), *shown_nets(classifiers, described, mirror)]

    def matched(path: str | Path, description: ModelDescription) -> MatchedNet:
        order = _class_order(described[0].classes, description.classes, path)
        return MatchedNet(load(path), order, description.policy.chosen(mirror).mirror)

    rating = tuple(matched(path, description) for path, description in zip(classifiers, described, strict=True))
    boxing = tuple(matched(path, description) for path, description in zip(runs, boxes, strict=True))
    return LocalizationNets(boxing, rating, tuple(map(Path, classifiers)), tuple(described), tuple(shown))


def shown_nets(
    paths: Sequence[str | Path],
    descriptions: Sequence[ModelDescription],
    mirror: bool | None = None,
    *,
    mirrors: bool = True,
) -> list[Shown]:
    """Return how images are shown to nets; `mirrors` as in `Shown`."""
    return [
        Shown(str(path), description.policy, description.policy.chosen(mirror), mirrors)
        for path, description in zip(paths, descriptions, strict=True)
    ]


def _note_other_readings(
    paths: Sequence[str | Path], descriptions: Sequence[ModelDescription], reading: ImageReading
) -> None:
    """Print a note for each classifier that was trained on images read in another way than `reading`."""
    for path, description in zip(paths, descriptions, strict=True):
        if description.policy.reading != reading:
            trained = _described(description.policy.reading)
            note(
                f"the classifier {path} was trained with {trained}; it rates boxes on images read with "
                f"{_described(reading)}"
            )


def one_reading(runs: Sequence[str | Path], descriptions: Sequence[ModelDescription]) -> ImageReading:
    """Return how the box nets read images.

    Raises UserError where they differ, since their boxes would then refer to different pixels.
    """
    readings = [description.policy.reading for description in descriptions]
    for run, reading in zip(runs, readings, strict=True):
        if reading != readings[0]:
            raise UserError(
                f"{runs[0]} and {run} read images differently ({_described(readings[0])}; {_described(reading)}): "
                "evaluate them one at a time"
            )
    return readings[0]


def _described(reading: ImageReading) -> str:
    low, high = reading.pixel_range
    return f"`orientation` {reading.orientation} `pixel_range` {low} {high}"


def check_box_net(path: str | Path, description: ModelDescription) -> None:
    """Raise UserError for a net that draws no boxes."""
    if not description.boxes:
        raise UserError(f"{path}: this net names classes and draws no boxes; `vggnet localize train` makes one from it")


def _class_order(base: tuple[str, ...], own: tuple[str, ...], path: str | Path) -> np.ndarray:
    """Return the places of the classes `base` among the net's own classes, int64 (K,). Raises UserError."""
    if set(base) != set(own):
        apart = sorted(set(base) ^ set(own))
        raise UserError(
            f"{path}: its classes are not those of the first classifier; only one of them has {named(apart)}"
        )
    position = {name: place for place, name in enumerate(own)}
    return np.array([position[name] for name in base], np.int64)


def classify(
    nets: LocalizationNets, split: Split, views: Sequence[Sequence[View]], computing: Computing
) -> tuple[np.ndarray, np.ndarray]:
    """Return the classifiers' mean posteriors (n, K), from the store, and which images have them, bool (n,).

    `views[i]` are the views of classifier i. The mean over these weighs as much as that of each other classifier.
    """
    means, present = [], np.ones(len(split), bool)
    for place, (path, net, description, shown) in enumerate(
        zip(nets.classifier_paths, nets.classifiers, nets.descriptions, views, strict=True)
    ):
        store = Store.of(path, description, split, computing)
        store.fill(shown, model=net.model)
        found = [store.read(view) for view in shown]
        for _, there in found:
            present &= there
        mean = combine(posteriors for posteriors, _ in found)
        means.append(mean if place == 0 else mean[:, net.order])
    return combine(means), present


def guess(
    nets: LocalizationNets,
    rows: Sequence[BoxSources],
    split: Split,
    sizes: np.ndarray,
    posteriors: np.ndarray,
    indices: np.ndarray,
    computing: Computing,
    merging: Merging = "overfeat",
) -> list[Guesses]:
    """Return for each row the guesses of the images at `indices`.

    `posteriors` (N, K) and `sizes` (N, 2) are those of all images of the split.
    """
    best = np.argsort(-posteriors, axis=1, kind="stable")[:, :TOP]
    scales = [
        sorted({scale for row in rows for place, scale in row if place == net}) for net in range(len(nets.box_nets))
    ]
    ranks = computing.ranks

    def boxes_of(share: np.ndarray) -> dict[int, list[np.ndarray]]:
        found = dense_candidates(nets.box_nets, nets.classifiers, split, sizes, best, share, scales, computing)
        return {
            index: [_merged([found[index][source] for source in row], merging) for row in rows]
            for index in share.tolist()
        }

    boxes: list[list[np.ndarray]] = [[] for _ in rows]
    for start in range(0, len(indices), _SHARD * ranks.size):
        shard = indices[start : start + _SHARD * ranks.size]
        merged: dict[int, list[np.ndarray]] = {}
        for part in gathered_results(ranks, partial(boxes_of, ranks.share(shard))):
            merged |= part
        for index in shard.tolist():
            for place, of_row in enumerate(merged[index]):
                boxes[place].append(of_row)
    chosen = best[indices]
    of_chosen = np.take_along_axis(posteriors[indices], chosen, 1)
    return [Guesses(chosen, np.stack(merged), of_chosen) for merged in boxes]


def _merged(candidates: Sequence[Candidates], merging: Merging) -> np.ndarray:
    """Return the best merged box of each class, (T, 4), from the candidates of several box nets and Q."""
    edges = np.concatenate([each.edges for each in candidates])
    return best_boxes(edges, np.concatenate([each.scores for each in candidates]), merging)[0]
